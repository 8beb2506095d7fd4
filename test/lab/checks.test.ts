/**
 * Three directors, two real servers, three members of etcd: whose word counts on a real server while etcd answers,
 * and while it does not; what a person is told of it, and what kernels are asked to do. One cluster, cases in order.
 */
import { isDeepStrictEqual } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RealServerStatus } from '../../src/model/status.ts';
import { type ClusterLab, clusterDocument, createClusterLab, VIP } from '../support/cluster-lab.ts';
import { monotonicMs, PATIENCE_MS, sleep, waitFor } from '../support/processes.ts';
import {
  decisionsAfter,
  type RecordedOperation,
  recordSince,
  startRecordingAgents,
} from '../support/recording.ts';
import { heldBy } from '../support/settled.ts';

const CHECK = { interval: '500ms', timeout: '300ms', rise: 2, fall: 2 };
/** Interval times fall, the timeout, and a second. */
const BOUND_MS = 500 * 2 + 300 + 1000;
const SERVICE = 'web-http';
/** Votes end so long after their director. */
const LEASE_MS = 5000;
/** Etcd counts as away by then. */
const AWAY_MS = 4000;
/** Whatever follows from something has followed by then. */
const CALM_MS = 1500;
const NAMES = ['d1', 'd2', 'd3'] as const;

let lab: ClusterLab;

beforeAll(async () => {
  lab = await createClusterLab({
    name: 'checks',
    kind: 'namespace',
    directors: 3,
    etcdMembers: 3,
    realServers: 2,
  });
  await lab.etcd.start();
  for (const server of lab.realServers) await server.start();
  await startRecordingAgents(lab);
  const service = {
    group: 'web',
    address: VIP,
    port: 80,
    scheduler: 'rr',
    forward: 'dr',
    check: { tcp: {}, ...CHECK },
    realServers: lab.realServers.map(({ address }) => ({ address })),
  };
  const timing = { profile: lab.profile, leaseTtl: `${LEASE_MS}ms` };
  await lab.applyOk(clusterDocument(lab, { timing, services: { [SERVICE]: service } }));
  await waitFor('all three directors vote, and d1 holds', isSettled, { timeoutMs: PATIENCE_MS });
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail')
    await lab.collectEvidence(`checks ${context.task.name}`);
});

afterAll(() => lab?.close());

async function first(director: string): Promise<RealServerStatus> {
  const { services } = await lab.status(director);
  const found = services[0]?.realServers[0];
  if (found === undefined) throw new Error('no real server in the status');
  return found;
}

const isUpForAll = ({ health, votes }: RealServerStatus): boolean =>
  health === 'up' && votes.filter(({ isUp }) => isUp).length === NAMES.length;

async function isSettled(): Promise<boolean> {
  // It moves where an agent has to wait for a processor.
  await heldBy(lab, 'd1');
  const { groups } = await lab.status('d1');
  if (groups[0]?.holder !== 'd1') return false;
  for (const name of NAMES) {
    const servers = (await lab.status(name)).services[0]?.realServers ?? [];
    if (servers.length !== lab.realServers.length || !servers.every(isUpForAll)) return false;
  }
  return true;
}

const settled = (): Promise<unknown> =>
  waitFor('all of them see it up', isSettled, { timeoutMs: PATIENCE_MS });

const seenBy = (director: string, what: string, is: (server: RealServerStatus) => boolean) =>
  waitFor(`${what} on ${director}`, async () => is(await first(director)), {
    timeoutMs: 15_000,
    intervalMs: 50,
  });

const healthIs = (director: string, health: RealServerStatus['health']) =>
  seenBy(director, health, (server) => server.health === health);

/** Waits until a director knows that another one says so; null: that it says nothing. */
const hears = (director: string, voter: string, isUp: boolean | null) =>
  seenBy(director, `the word of ${voter}`, ({ votes }) => {
    const vote = votes.find((each) => each.director === voter);
    return (vote?.isUp ?? null) === isUp;
  });

/** From now on: what these directors decide on real servers, and what they have their kernels do. */
function watch(names: readonly string[]): () => readonly (readonly [string, Outcome])[] {
  const startMs = monotonicMs();
  const marks = names.map((name) => [name, lab.director(name).agentLog().length] as const);
  return () =>
    marks.map(([name, mark]) => {
      const director = lab.director(name);
      const { operations } = recordSince(director, startMs);
      const decided = decisionsAfter(director, mark).map(({ isUp }) => isUp);
      return [name, { decided, operations: operations.map(words) }];
    });
}

type Outcome = { readonly decided: readonly boolean[]; readonly operations: readonly string[] };

const words = ({ op, target }: RecordedOperation): string =>
  target === null ? op : `${op} ${target}`;

const outcomes = (names: readonly string[], outcome: Outcome) =>
  names.map((name) => [name, outcome]);

const NOTHING: Outcome = { decided: [], operations: [] };
const WENT: Outcome = { decided: [false], operations: ['delete-destination 10.90.0.21:80'] };
const CAME: Outcome = { decided: [true], operations: ['add-destination 10.90.0.21:80'] };

/** A director dies; until its votes have ended, and for a while after, the others change nothing. */
async function diesUnnoticed(name: string): Promise<void> {
  const others = NAMES.filter((each) => each !== name);
  const seen = watch(others);
  await lab.director(name).signalAgent('SIGKILL');
  for (const other of others) await hears(other, name, null);
  await sleep(CALM_MS);
  expect(seen()).toEqual(outcomes(others, NOTHING));
}

describe('checks of real servers', () => {
  it('one director that does not reach it is outvoted, and two are not', async () => {
    const seen = watch(NAMES);
    await lab.network.cut('d1', 'rs1');
    await hears('d3', 'd1', false);
    await sleep(CALM_MS);
    expect(seen()).toEqual(outcomes(NAMES, NOTHING));
    for (const name of NAMES) expect((await first(name)).health).toBe('up');
    const told = await lab.director('d1').cli(['explain', 'rs', `${SERVICE}/10.90.0.21`]);
    expect(told.code).toBe(0);
    expect(told.stdout).toContain('d1 says down, and the others outvote it');
    expect(told.stdout).toContain('d1 (here): DOWN since');
    expect(told.stdout).toContain('no connection within 300 ms');
    expect(told.stdout).toContain('it is down when 2 of the 3 directors that check it say so');
    await lab.network.cut('d2', 'rs1');
    for (const name of NAMES) await healthIs(name, 'down');
    await sleep(CALM_MS);
    expect(seen()).toEqual(outcomes(NAMES, WENT));
    await lab.network.heal();
    await settled();
  });

  it('a voter that dies leaves the verdict as it is, up or down', async () => {
    await lab.network.cut('d1', 'rs1');
    for (const name of NAMES) await hears(name, 'd1', false);
    // One word against one is left.
    await diesUnnoticed('d3');
    for (const name of ['d1', 'd2']) expect((await first(name)).health).toBe('up');
    await lab.network.cut('d2', 'rs1');
    for (const name of ['d1', 'd2']) await healthIs(name, 'down');
    await startRecordingAgents(lab, ['d3']);
    for (const name of NAMES) await hears(name, 'd3', true);
    // Again.
    await diesUnnoticed('d2');
    for (const name of ['d1', 'd3']) expect((await first(name)).health).toBe('down');
    await lab.network.heal();
    await startRecordingAgents(lab, ['d2']);
    await settled();
  });

  it('without etcd, one that dies leaves the holder’s table in time; after, one verdict stands at once', async () => {
    for (const member of lab.etcd.hosts.keys()) lab.etcd.stop(member);
    await sleep(AWAY_MS);
    const [holder = 'none'] = await lab.directorsWith(VIP);
    expect((await first(holder)).health).toBe('up');
    const seen = watch(NAMES);
    const startMs = monotonicMs();
    await lab.realServers[0]?.stop();
    await healthIs(holder, 'down');
    expect((await first(holder)).basis).toBe('alone');
    const [gone] = recordSince(lab.director(holder), startMs).operations;
    expect(gone && words(gone)).toBe('delete-destination 10.90.0.21:80');
    expect((gone?.atMs ?? Infinity) - startMs).toBeLessThan(BOUND_MS);
    // What is in etcd by then has no lease any more.
    await sleep(LEASE_MS);
    expect(seen()).toEqual(NAMES.map((name) => [name, name === holder ? WENT : NOTHING]));
    lab.etcd.contAll();
    for (const name of NAMES)
      await seenBy(name, 'down by votes', ({ health, basis, votes }) => {
        return health === 'down' && basis === 'majority' && votes.length === 3;
      });
    await sleep(CALM_MS);
    expect(seen()).toEqual(outcomes(NAMES, WENT));
    const back = watch(NAMES);
    await lab.realServers[0]?.start();
    await settled();
    // Status and kernel come before the log.
    const isTold = (): boolean => isDeepStrictEqual(back(), outcomes(NAMES, CAME));
    await waitFor('all have it back', isTold, { timeoutMs: 5000 }).catch(() => {});
    await sleep(CALM_MS);
    expect(back()).toEqual(outcomes(NAMES, CAME));
  });
});
