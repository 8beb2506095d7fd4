/**
 * A keepalived of the distribution and two directors in virtual routers of each version and way at once:
 * started, stopped and killed either way round. Judged from the client: never two that answer, but for the moment
 * in which a keepalived of higher priority preempts, which opens with its first advertisement. What the directors
 * said meanwhile is judged by Wireshark's decoder, and by keepalived's own complaints.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  dualTimeMs,
  startVoicesProbe,
  turnsOf,
  type VoiceRecord,
} from '../support/client-probe.ts';
import {
  CLIENT,
  CLIENT_ADDRESS,
  CLIENT_ADDRESS6,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
} from '../support/cluster-lab.ts';
import { switchOver } from '../support/faults.ts';
import { ensureKeepalived } from '../support/keepalived.ts';
import { longestGapMs, pausedMs } from '../support/pauses.ts';
import {
  type Daemon,
  descendantsOf,
  monotonicMs,
  signalAll,
  sleep,
  waitFor,
} from '../support/processes.ts';
import {
  ADVERT_S,
  groupsWith,
  instanceName,
  K1,
  K1_ADDRESSES,
  keepalivedConfig,
  LAB_ROUTERS,
  type LabRouter,
  prefixed,
} from '../support/vrrp-routers.ts';
import { captureVrrp, ensureTshark, type ReadVrrp, readVrrp } from '../support/tshark.ts';
import { waitedMs } from '../support/wait-meter.ts';

/** Three advertisements and the longest skew. */
const DOWN_MS = 4000 * ADVERT_S;
/** Beyond what VRRP asks: a claim, D' of a group that nobody ever owned, and a machine with other work. */
const CLAIM_MS = 2000;
/** Before a keepalived of priority 50 would speak, which waits for 3.8 s. */
const BEFORE_KEEPALIVED_MS = 3000;
/** What d1 may wait for a processor and still be there before d2, by 0.2 s of skew. */
const LEAD_MS = 150;
/** How long a gate that shut for want of a processor stays so. */
const SILENT_MS = 1000;
/** keepalived opens in the moment of its first advertisement, here for all groups at once. */
const PREEMPTION_OVERLAP_MAX_MS = 250;

let lab: ClusterLab;
let keepalived: Daemon | null = null;
let capture: Awaited<ReturnType<typeof captureVrrp>>;

beforeAll(async () => {
  await ensureKeepalived(() => {});
  await ensureTshark();
  lab = await createClusterLab({ name: 'vrrp', kind: 'namespace', profile: 'default' });
  await lab.network.addHost(K1, [`${K1_ADDRESSES[4]}/24`, `${K1_ADDRESSES[6]}/64`]);
  capture = await captureVrrp(lab.network, K1, join(lab.network.directory, 'vrrp.pcap'));
  await lab.etcd.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(`vrrp ${context.task.name}`);
});

afterAll(() => lab?.close());

const documentWith = (fields: object, directors?: object): object =>
  clusterDocument(lab, { groups: groupsWith(fields), ...(directors && { directors }) });

function startKeepalived(priority: number): void {
  const file = (suffix: string): string => join(lab.network.directory, `keepalived-k1${suffix}`);
  const peers = lab.directors.map(({ address }) => address);
  writeFileSync(file('.conf'), keepalivedConfig(priority, peers));
  for (const suffix of ['.pid', '-vrrp.pid']) rmSync(file(suffix), { force: true });
  const files = ['-f', file('.conf'), '-p', file('.pid'), '-r', file('-vrrp.pid')];
  const argv = ['keepalived', '-P', '-n', '-l', '-D', ...files];
  keepalived = lab.network.spawn(K1, 'keepalived', argv);
}

async function stopKeepalived(): Promise<void> {
  keepalived?.signal('SIGTERM');
  await keepalived?.ended;
  keepalived = null;
}

/** As a loss of power: what it leaves in the kernel speaks no more. */
async function powerOffKeepalived(): Promise<void> {
  await lab.network.cable(K1, 'out');
  if (keepalived !== null) signalAll(descendantsOf(keepalived.pid).toReversed(), 'SIGKILL');
  await keepalived?.ended;
  keepalived = null;
  const lines = LAB_ROUTERS.map((router) => `address delete ${prefixed(router)} dev eth0\n`).join(
    '',
  );
  await lab.network.exec(K1, ['ip', '-force', '-batch', '-'], { input: lines });
  await lab.network.cable(K1, 'in');
}

/** Who speaks in each router by its own word, joined by commas. */
async function speakers(): Promise<Readonly<Record<string, string>>> {
  const [shown, ...held] = await Promise.all([
    lab.network.execOk(K1, ['ip', '-o', 'address']),
    ...lab.directors.map(heldBy),
  ]);
  const of = ({ group, vip }: LabRouter): string =>
    [
      ...lab.directors.filter((_, i) => held[i]?.has(group) === true).map(({ name }) => name),
      ...(shown.includes(` ${vip}/`) ? [K1] : []),
    ].join();
  return Object.fromEntries(LAB_ROUTERS.map((router) => [instanceName(router), of(router)]));
}

/** Groups that a director holds within its deadline; none where no agent answers. */
async function heldBy({ name }: { readonly name: string }): Promise<ReadonlySet<string>> {
  const status = await lab.status(name).catch(() => null);
  const held = status?.groups.filter(
    ({ state, remainingMs }) => state === 'held-here' && (remainingMs ?? 0) > 0,
  );
  return new Set(held?.map((group) => group.name));
}

const allBy = (name: string): Readonly<Record<string, string>> =>
  Object.fromEntries(LAB_ROUTERS.map((router) => [instanceName(router), name]));

async function spokenBy(name: string, timeoutMs: number): Promise<void> {
  const wanted = JSON.stringify(allBy(name));
  let seen = '';
  const isSo = async (): Promise<boolean> => {
    seen = JSON.stringify(await speakers());
    return seen === wanted;
  };
  await waitFor(`${name} speaks, alone`, isSo, { timeoutMs, intervalMs: 50 }).catch((cause) => {
    throw new Error(`${name} should speak: ${seen}`, { cause });
  });
}

/**
 * The directors follow a keepalived that goes: d1, the better one, whose skew is 0.2 s shorter. Where the machine is
 * later than that in single routers the other one is first there, and hands over; in all of them, where d1 waited for a
 * processor for so long.
 */
async function followedByD1(go: () => Promise<void>, timeoutMs: number): Promise<void> {
  const agent = lab.director('d1').agentPid();
  const waitedBefore = waitedMs(agent);
  await go();
  let seen: Awaited<ReturnType<typeof speakers>> = {};
  const isFollowed = async (): Promise<boolean> => {
    seen = await speakers();
    return Object.values(seen).every((name) => name === 'd1' || name === 'd2');
  };
  await waitFor('the directors speak', isFollowed, { timeoutMs, intervalMs: 50 }).catch((cause) => {
    throw new Error(`a director should speak in each: ${JSON.stringify(seen)}`, { cause });
  });
  const others = LAB_ROUTERS.filter((router) => seen[instanceName(router)] === 'd2');
  const isStarved = waitedMs(agent) - waitedBefore >= LEAD_MS;
  if (!isStarved) expect(others.length, JSON.stringify(seen)).toBeLessThan(LAB_ROUTERS.length / 2);
  for (const group of new Set(others.map((router) => router.group)))
    await switchOver(lab.director('d2'), group, 'd1');
  await spokenBy('d1', CLAIM_MS);
}

/**
 * It speaks now, and goes on for longer than anybody would wait. A director that the machine kept from its rounds may be
 * silent for a moment; nobody else speaks then, either.
 */
async function staysWith(name: string): Promise<void> {
  const untilMs = monotonicMs() + DOWN_MS + 500;
  let silentFromMs: number | null = null;
  for (; monotonicMs() < untilMs || silentFromMs !== null; await sleep(100)) {
    const lookedMs = monotonicMs();
    const seen = await speakers();
    const silent = LAB_ROUTERS.filter((router) => seen[instanceName(router)] === '');
    const isSilent = name !== K1 && silent.length > 0;
    const hushed = isSilent ? silent.map((router) => [instanceName(router), '']) : [];
    expect(seen).toEqual({ ...allBy(name), ...Object.fromEntries(hushed) });
    silentFromMs = isSilent ? (silentFromMs ?? lookedMs) : null;
    expect(lookedMs - (silentFromMs ?? lookedMs), JSON.stringify(seen)).toBeLessThan(SILENT_MS);
  }
}

async function reasonsAt(director: string): Promise<ReadonlySet<string | null | undefined>> {
  const { groups } = await lab.status(director);
  return new Set(
    groups.map(({ candidates }) => candidates.find((each) => each.director === director)?.reason),
  );
}

/** It would hold each group, but for the voice that it hears. */
async function waitsForKeepalived(director: string): Promise<void> {
  await waitFor(
    `${director} hears keepalived`,
    async () => [...(await reasonsAt(director))].join() === 'vrrp-active-elsewhere',
    { timeoutMs: 5000, intervalMs: 50 },
  );
}

async function killAgents(): Promise<void> {
  for (const director of lab.directors) await director.signalAgent('SIGKILL');
}

/** Of all groups the worst; overlap and silence without the pauses of the machine. */
type Seen = {
  readonly dualMs: number;
  readonly overlapMs: number;
  readonly silenceMs: number;
  readonly turns: number;
};

/** From the first answer of a new voice to the last one of the old: turns that follow each other in no time. */
function overlapOf(record: VoiceRecord): number {
  const turns = turnsOf(record);
  let overlapMs = 0;
  for (const [i, turn] of turns.entries()) {
    const again = turns.slice(i + 2).findLast((later) => later.mac === turn.mac);
    const next = turns[i + 1];
    if (again === undefined || next === undefined) continue;
    // A voice that comes back after a second is no overlap.
    const isSoon = again.firstMs - next.firstMs < 1000;
    const paused = pausedMs(record.pauses, next.firstMs, again.firstMs);
    if (isSoon) overlapMs = Math.max(overlapMs, again.firstMs - next.firstMs - paused);
  }
  return overlapMs;
}

/** What the client sees while this is done: who-has every 5 ms for each VIP, echoes to whoever answered last. */
async function watched(act: () => Promise<void>): Promise<Seen> {
  const targets = LAB_ROUTERS.map(({ vip, family }) => ({
    vip,
    ownAddress: family === 4 ? CLIENT_ADDRESS : CLIENT_ADDRESS6,
  }));
  const probe = await startVoicesProbe(lab.network, { client: CLIENT, targets, echo: 'neighbour' });
  await sleep(300);
  const from = monotonicMs();
  await act();
  const to = monotonicMs();
  await sleep(150);
  const records = await probe.stop();
  for (const record of records) expect(record.answers.length).toBeGreaterThan(0);
  const worst = (of: (record: (typeof records)[number]) => number): number =>
    Math.max(...records.map(of));
  return {
    dualMs: worst(dualTimeMs),
    overlapMs: worst(overlapOf),
    silenceMs: worst(({ echoes, pauses }) => {
      const heard = echoes.map(({ atMs }) => atMs);
      return longestGapMs(heard, from, to, pauses);
    }),
    turns: worst((record) => turnsOf(record).length),
  };
}

describe('a keepalived of lower priority', () => {
  it('is waited for by directors that start later, and followed when it stops', async () => {
    startKeepalived(50);
    await spokenBy(K1, DOWN_MS + CLAIM_MS);
    const started = await watched(async () => {
      await lab.startAgents();
      await lab.applyOk(documentWith({}));
      await staysWith(K1);
    });
    expect(started).toMatchObject({ dualMs: 0, turns: 1 });
    await waitsForKeepalived('d1');
    const stopped = await watched(async () => {
      await followedByD1(stopKeepalived, 1000 * ADVERT_S + CLAIM_MS);
    });
    expect(stopped.dualMs).toBe(0);
  });

  it('stays silent beside a director, whatever becomes of that, while another one lives', async () => {
    const { dualMs } = await watched(async () => {
      startKeepalived(50);
      await staysWith('d1');
      await lab.director('d1').signalAgent('SIGTERM');
      await lab.director('d1').agentEnded(8000);
      await staysWith('d2');
      await lab.startAgents(['d1']);
      await sleep(DOWN_MS);
      await lab.until('d1 may hold all', 'd2', ({ groups }) =>
        groups.every(({ candidates }) =>
          candidates.some(({ director, eligible }) => director === 'd1' && eligible),
        ),
      );
      await lab.director('d2').signalAgent('SIGKILL');
      await spokenBy('d1', BEFORE_KEEPALIVED_MS);
      await staysWith('d1');
    });
    expect(dualMs).toBe(0);
    await lab.startAgents(['d2']);
  });

  it('is told goodbye by the last director, and does not wait any longer than its skew', async () => {
    await lab.director('d2').signalAgent('SIGTERM');
    await lab.director('d2').agentEnded(8000);
    const { dualMs, silenceMs } = await watched(async () => {
      await lab.director('d1').signalAgent('SIGTERM');
      await spokenBy(K1, 1000 * ADVERT_S + CLAIM_MS);
    });
    expect(dualMs).toBe(0);
    expect(silenceMs).toBeLessThan(1000 * ADVERT_S + 500);
    await lab.director('d1').agentEnded(8000);
    await lab.startAgents();
    // Before that, whoever began first would follow.
    for (const { name } of lab.directors) await waitsForKeepalived(name);
    await followedByD1(stopKeepalived, 1000 * ADVERT_S + CLAIM_MS);
    startKeepalived(50);
  });

  it('takes over when all directors die, keeps it from those that come back, and is followed when it dies', async () => {
    await sleep(DOWN_MS);
    const died = await watched(async () => {
      await killAgents();
      await spokenBy(K1, DOWN_MS + CLAIM_MS);
      await lab.startAgents();
      await staysWith(K1);
    });
    expect(died.dualMs).toBe(0);
    expect(died.silenceMs).toBeLessThan(DOWN_MS + 500);
    const off = await watched(async () => {
      await followedByD1(powerOffKeepalived, DOWN_MS + CLAIM_MS);
    });
    expect(off.dualMs).toBe(0);
    expect(off.silenceMs).toBeLessThan(DOWN_MS + 1000);
  });

  it('gives way without a second voice where the group preempts', async () => {
    await killAgents();
    startKeepalived(50);
    await spokenBy(K1, 2 * DOWN_MS);
    const { dualMs } = await watched(async () => {
      await lab.startAgents();
      await lab.applyOk(documentWith({ preempt: 'immediate' }));
      await spokenBy('d1', 3 * DOWN_MS);
      await staysWith('d1');
    });
    expect(dualMs).toBe(0);
    await stopKeepalived();
  });
});

describe('a keepalived of higher priority', () => {
  it('takes the group from a director, which comes back when it stops', async () => {
    // On the machine of a director whose agent does not run, as it is on the way from one to the other.
    const addresses = [...lab.directors, { name: K1, address: K1_ADDRESSES[4] }];
    const directors = Object.fromEntries(addresses.map(({ name, address }) => [name, { address }]));
    await lab.applyOk(documentWith({ preempt: 'immediate' }, directors));
    const { overlapMs } = await watched(async () => {
      startKeepalived(200);
      await spokenBy(K1, 2 * DOWN_MS);
      await staysWith(K1);
      await stopKeepalived();
      await spokenBy('d1', 1000 * ADVERT_S + CLAIM_MS);
    });
    expect(overlapMs).toBeLessThanOrEqual(PREEMPTION_OVERLAP_MAX_MS);
    expect(lab.director('d1').agentLog()).toContain('vrrp.yielded');
  });

  it('gives way to the owner of the addresses, which takes them back from a director as well', async () => {
    await killAgents();
    startKeepalived(254);
    await spokenBy(K1, 2 * DOWN_MS);
    const { dualMs } = await watched(async () => {
      await lab.startAgents();
      await lab.applyOk(documentWith({ priorities: { d1: 255, d2: 100 } }));
      await spokenBy('d1', 3 * DOWN_MS);
      await stopKeepalived();
      await lab.director('d1').signalAgent('SIGTERM');
      await lab.director('d1').agentEnded(8000);
      await spokenBy('d2', CLAIM_MS);
      await lab.startAgents(['d1']);
      await spokenBy('d1', DOWN_MS + CLAIM_MS);
    });
    expect(dualMs).toBe(0);
  });
});

describe('what the directors said', () => {
  it('is found right by keepalived', () => {
    const log = readFileSync(join(lab.network.directory, `${K1}-keepalived.log`), 'utf8');
    const complaints = log
      .split('\n')
      .filter((line) =>
        /invalid|mismatch|bogus|incorrect|error|received.*(wrong|different)/i.test(line),
      );
    expect(log).toContain('Entering MASTER STATE');
    expect(complaints).toEqual([]);
  });

  it('is valid VRRP to the decoder of Wireshark, packet by packet', async () => {
    const packets = await readVrrp(await capture.stop());
    const shown = await lab.network.execOk(K1, ['ip', '-o', 'address']);
    const ours = packets.filter(({ source }) => !shown.includes(` ${source}/`));
    expect(ours.filter(({ faults }) => faults.length > 0)).toEqual([]);
    for (const router of LAB_ROUTERS) {
      const said = ours.filter((packet) => isOf(packet, router));
      expect(new Set(said.map(essenceOf))).toEqual(new Set([essenceFor(router)]));
      // Of each director, of an owner, and goodbyes.
      const priorities = new Set(said.map(({ priority }) => priority));
      expect([...priorities].toSorted((a, b) => a - b)).toEqual([0, 100, 150, 255]);
    }
  });
});

const isOf = ({ routerId, source }: ReadVrrp, router: LabRouter): boolean =>
  routerId === router.routerId && source.includes(':') === (router.family === 6);

/** What is the same in all advertisements of a router. */
const essenceOf = ({
  version,
  type,
  ttl,
  intervalMs,
  addresses,
  password,
  destination,
}: ReadVrrp) =>
  JSON.stringify({ version, type, ttl, intervalMs, addresses, password, destination });

function essenceFor({ version, family, vip, isMulticast, pass }: LabRouter): string {
  const group = family === 4 ? '224.0.0.18' : 'ff02::12';
  return JSON.stringify({
    version,
    type: 1,
    ttl: 255,
    intervalMs: 1000 * ADVERT_S,
    addresses: [vip],
    password: pass ?? '',
    destination: isMulticast ? group : K1_ADDRESSES[family],
  });
}
