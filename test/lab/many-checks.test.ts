/**
 * Three directors with 2,000 real servers that each of them checks: what that costs etcd while all are well, and how
 * soon every kernel is told of one that dies. One cluster, cases in order.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addressOf, startTargets, TARGETS } from '../../bench/checks-targets.ts';
import { median } from '../../bench/statistics.ts';
import { type ClusterLab, clusterDocument, createClusterLab, VIP } from '../support/cluster-lab.ts';
import { API_PORT, type DirectorHost } from '../support/director-host.ts';
import { idleCost, measuredCalm } from '../support/idle-cost.ts';
import { monotonicMs, PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import { type DirectorRecord, recordSince, startRecordingAgents } from '../support/recording.ts';
import { heldBy } from '../support/settled.ts';

const SERVERS = 2000;
const EACH = 500;
const FALL = 2;
const CALM_MS = 2000;
const WATCHED_MS = 20_000;
const DEATHS = 15;
const BETWEEN_MS = 300;
/** Of the median, on a machine with other work; the figure is in docs/bench.md, and 50 ms the aim. */
const TOLD_MS = 250;

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'many-checks',
    kind: 'namespace',
    directors: 3,
    etcdMembers: 3,
  });
  await lab.etcd.start();
  await startTargets(lab.network, ['d1', 'd2', 'd3']);
  // Those in the set refuse, as a machine does whose server has ended.
  const table = `table inet gone {
  set gone { type ipv4_addr; }
  chain input {
    type filter hook input priority 0;
    ip daddr @gone tcp dport 80 reject with tcp reset
  }
}`;
  await lab.network.execOk(TARGETS, ['nft', '-f', '-'], { input: `${table}\n` });
  await startRecordingAgents(lab);
  await lab.applyOk(clusterDocument(lab, { services: services() }));
  await waitFor('all directors see all real servers up', isSettled, {
    timeoutMs: PATIENCE_MS,
    intervalMs: 500,
  });
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`many checks ${context.task.name}`);
});

afterAll(() => lab?.close());

/** Gives true, or tells what is wanting. */
async function isSettled(): Promise<true> {
  // The first probes of all take the processors: the group may move meanwhile.
  await heldBy(lab, 'd1');
  const { groups, services: all } = await lab.status('d1');
  const holder = groups[0]?.holder;
  if (holder !== 'd1') throw new Error(`${holder} holds by d1`);
  const known = all.flatMap(({ realServers }) => realServers);
  const wanting = known.filter((server) => !isUpForAll(server));
  if (known.length === SERVERS && wanting.length === 0) return true;
  throw new Error(`of ${known.length} not up: ${JSON.stringify(wanting).slice(0, 1000)}`);
}

const isUpForAll = ({ votes }: { readonly votes: readonly { readonly isUp: boolean }[] }) =>
  votes.filter(({ isUp }) => isUp).length === 3;

function services(): object {
  const service = (s: number): object => ({
    group: 'web',
    address: VIP,
    port: 80 + s,
    scheduler: 'rr',
    forward: 'nat',
    check: { tcp: {}, interval: '1s', timeout: '900ms', fall: FALL },
    realServers: Array.from({ length: EACH }, (_, n) => ({
      address: addressOf(s * EACH + n),
      port: 80,
    })),
  });
  const all = Array.from({ length: SERVERS / EACH }, (_, s) => [`s${s}`, service(s)] as const);
  return Object.fromEntries(all);
}

/** Of a counter or histogram, over all labels. */
async function total(director: DirectorHost, metric: string): Promise<number> {
  // All metrics of 2,000 real servers are megabytes.
  const text = await director.execOk(
    `set -o pipefail; curl -sf http://127.0.0.1:${API_PORT}/metrics | { grep '^${metric}{' || true; }`,
  );
  const values = [...text.matchAll(/\} (\S+)$/gm)];
  return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

const totals = (metric: string): Promise<readonly number[]> =>
  Promise.all(lab.directors.map((director) => total(director, metric)));

const rounds = () => totals('leasehold_lease_renew_seconds_count');
const probes = () => totals('leasehold_check_duration_seconds_count');

const growth = (before: readonly number[], after: readonly number[]): readonly number[] =>
  after.map((value, n) => value - (before[n] ?? Number.NaN));

describe('2,000 checks by each of three directors', () => {
  it('write nothing into etcd while all are well, and who holds nothing makes no rounds', async () => {
    const { cost, probed, made } = await measuredCalm(lab, async () => {
      await heldBy(lab, 'd1');
      await sleep(CALM_MS);
      const before = { rounds: await rounds(), probes: await probes() };
      const whole = await idleCost(lab, WATCHED_MS);
      const probesMade = growth(before.probes, await probes());
      return { cost: whole, probed: probesMade, made: growth(before.rounds, await rounds()) };
    });
    const [ofHolder, ...ofOthers] = made;
    for (const [name, { cpuPercent, rssMb }] of cost.agents)
      console.log(`${name}: ${cpuPercent.toFixed(1)} % of a core, ${rssMb.toFixed(0)} MB`);
    console.log(`${probed.join(', ')} probes, ${ofHolder} rounds, ${cost.raftEntries} entries`);
    expect(cost.writes).toEqual([]);
    expect(cost.revisionAfter).toBe(cost.revisionBefore);
    // Jitter, and a machine with other work.
    const due = (SERVERS * WATCHED_MS) / 1000;
    for (const count of probed) expect(count).toBeGreaterThan(0.9 * due);
    expect(ofHolder).toBeGreaterThan(WATCHED_MS / 1000);
    expect(ofOthers).toEqual([0, 0]);
  });

  it('have every kernel told soon after the majority has found one dead', async () => {
    const startMs = monotonicMs();
    // Of each service some.
    const dead = Array.from({ length: DEATHS }, (_, n) => addressOf(n * 131));
    for (const address of dead) {
      await lab.network.execOk(TARGETS, [
        'nft',
        'add',
        'element',
        'inet',
        'gone',
        'gone',
        `{ ${address} }`,
      ]);
      await sleep(BETWEEN_MS);
    }
    const look = (): readonly (readonly number[])[] | null => {
      const records = lab.directors.map((director) => recordSince(director, startMs));
      const found = dead.map((address) => toldAfterMs(records, `${address}:80`));
      return found.every((each) => each !== null) ? found : null;
    };
    const told = await waitFor('every director has told its kernel of all', look, {
      timeoutMs: 10_000,
      intervalMs: 200,
    });
    const last = told.map((each) => Math.max(...each)).toSorted((a, b) => a - b);
    console.log(`the last kernel was told after ${last.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    console.log(
      `median ${median(last).toFixed(1)} ms; of all ${median(told.flat()).toFixed(1)} ms`,
    );
    expect(median(last)).toBeLessThanOrEqual(TOLD_MS);
    // Nobody else left.
    for (const director of lab.directors) {
      const left = recordSince(director, startMs).operations.map(
        ({ op, target }) => `${op} ${target}`,
      );
      const wanted = dead.map((address) => `delete-destination ${address}:80`);
      expect(left.toSorted()).toEqual(wanted.toSorted());
    }
  });
});

/** From the result that made a majority of directors say down to the operation, for each director; null: not yet. */
function toldAfterMs(records: readonly DirectorRecord[], target: string): readonly number[] | null {
  const found = records.flatMap(({ failures }) => {
    const [...own] = failures.filter((failure) => failure.target === target);
    return own[FALL - 1]?.atMs ?? [];
  });
  const detectedMs = found.toSorted((a, b) => a - b)[records.length >> 1];
  const told = records.flatMap(({ operations }) => {
    return operations.find((operation) => operation.target === target)?.atMs ?? [];
  });
  if (detectedMs === undefined || told.length < records.length) return null;
  return told.map((atMs) => atMs - detectedMs);
}
