/**
 * A keepalived of the distribution and two directors in one virtual router: started, stopped and killed either way
 * round. Judged from the client: never two that answer, but for the moment in which a keepalived of higher
 * priority preempts, which opens with its first advertisement.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dualTimeMs, longestSilenceMs, startVoiceProbe, turnsOf } from '../support/client-probe.ts';
import {
  CLIENT,
  CLIENT_ADDRESS,
  type ClusterLab,
  clusterDocument,
  createClusterLab,
  VIP,
} from '../support/cluster-lab.ts';
import { ensureKeepalived } from '../support/keepalived.ts';
import {
  type Daemon,
  descendantsOf,
  monotonicMs,
  signalAll,
  sleep,
  waitFor,
} from '../support/processes.ts';

const K1 = 'k1';
const K1_ADDRESS = '10.90.0.14';
/** Seconds between two advertisements of all. */
const ADVERT_S = 1;
/** Three advertisements and the longest skew. */
const DOWN_MS = 4000 * ADVERT_S;
/** Beyond what VRRP asks: a claim, D' of a group that nobody ever owned, and a machine with other work. */
const CLAIM_MS = 2000;
/** keepalived opens in the moment of its first advertisement. */
const PREEMPTION_OVERLAP_MAX_MS = 50;

let lab: ClusterLab;
let keepalived: Daemon | null = null;

beforeAll(async () => {
  await ensureKeepalived(() => {});
  lab = await createClusterLab({ name: 'vrrp', kind: 'namespace', profile: 'default' });
  await lab.network.addHost(K1, [`${K1_ADDRESS}/24`]);
  await lab.etcd.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') await lab.collectEvidence(`vrrp ${context.task.name}`);
});

afterAll(() => lab?.close());

const documentWith = (group: object): object =>
  clusterDocument(lab, {
    groups: {
      web: {
        addresses: [`${VIP}/24`],
        interface: 'public',
        virtualRouterId: 51,
        priorities: { d1: 150, d2: 100 },
        vrrp: { version: 3, interval: `${ADVERT_S}s`, neighbours: [K1_ADDRESS] },
        ...group,
      },
    },
  });

function startKeepalived(priority: number): void {
  const file = (suffix: string): string => join(lab.network.directory, `keepalived-k1${suffix}`);
  writeFileSync(
    file('.conf'),
    ['vrrp_instance web {', 'state BACKUP', 'interface eth0', 'version 3', 'virtual_router_id 51']
      .concat(`priority ${priority}`, `advert_int ${ADVERT_S}`, `unicast_src_ip ${K1_ADDRESS}`)
      .concat('unicast_peer {', ...lab.directors.map(({ address }) => address), '}')
      .concat('virtual_ipaddress {', `${VIP}/24`, '}', '}', '')
      .join('\n'),
  );
  for (const suffix of ['.pid', '-vrrp.pid']) rmSync(file(suffix), { force: true });
  const files = ['-f', file('.conf'), '-p', file('.pid'), '-r', file('-vrrp.pid')];
  keepalived = lab.network.spawn(K1, 'keepalived', [
    'keepalived',
    '-P',
    '-n',
    '-l',
    '-D',
    ...files,
  ]);
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
  await lab.network.exec(K1, ['ip', 'address', 'delete', `${VIP}/24`, 'dev', 'eth0']);
  await lab.network.cable(K1, 'in');
}

async function speakers(): Promise<readonly string[]> {
  const shown = await lab.network.execOk(K1, ['ip', '-o', 'address']);
  const answering = await Promise.all(
    lab.directors.map(async (each) => (await each.get('/owner?group=web')).status === 200),
  );
  const names = lab.directors.flatMap(({ name }, i) => (answering[i] === true ? [name] : []));
  return shown.includes(` ${VIP}/`) ? [...names, K1] : names;
}

const spokenBy = (name: string, timeoutMs: number): Promise<unknown> =>
  waitFor(`${name} speaks, alone`, async () => (await speakers()).join() === name || null, {
    timeoutMs,
    intervalMs: 50,
  });

/** It speaks now, and goes on for longer than anybody would wait. */
async function staysWith(name: string): Promise<void> {
  for (const until = monotonicMs() + DOWN_MS + 500; monotonicMs() < until; await sleep(100))
    expect(await speakers()).toEqual([name]);
}

const reasonAt = async (director: string): Promise<string | null | undefined> =>
  (await lab.status(director)).groups[0]?.candidates.find((each) => each.director === director)
    ?.reason;

async function killAgents(): Promise<void> {
  for (const director of lab.directors) await director.signalAgent('SIGKILL');
}

type Seen = {
  readonly dualMs: number;
  readonly overlapMs: number;
  readonly silenceMs: number;
  readonly turns: number;
};

/** From the first answer of a new voice to the last one of the old: turns that follow each other in no time. */
function overlapOf(turns: ReturnType<typeof turnsOf>): number {
  let overlapMs = 0;
  for (const [i, turn] of turns.entries()) {
    const again = turns.slice(i + 2).findLast((later) => later.mac === turn.mac);
    const next = turns[i + 1];
    if (again === undefined || next === undefined) continue;
    // A voice that comes back after a second is no overlap.
    const isSoon = again.firstMs - next.firstMs < 1000;
    if (isSoon) overlapMs = Math.max(overlapMs, again.firstMs - next.firstMs);
  }
  return overlapMs;
}

/** What the client sees while this is done: who-has every 5 ms, echoes to whoever answered last. */
async function watched(act: () => Promise<void>): Promise<Seen> {
  const target = { client: CLIENT, ownAddress: CLIENT_ADDRESS, vip: VIP };
  const probe = await startVoiceProbe(lab.network, target);
  await sleep(300);
  const from = monotonicMs();
  await act();
  const to = monotonicMs();
  await sleep(150);
  const record = await probe.stop();
  return {
    dualMs: dualTimeMs(record),
    overlapMs: overlapOf(turnsOf(record)),
    silenceMs: longestSilenceMs(record, from, to),
    turns: turnsOf(record).length,
  };
}

/** Everything of VRRP that passes the client's side of the switch, decoded. */
async function decoded(): Promise<{ readonly stop: () => Promise<string> }> {
  const argv = ['tcpdump', '-l', '-n', '-vv', '-i', 'eth0', 'proto', '112'];
  const dump = lab.network.spawn(K1, 'tcpdump', argv);
  await waitFor('tcpdump listens', () => dump.log().includes('listening'), { timeoutMs: 5000 });
  return {
    stop: async () => {
      dump.signal('SIGTERM');
      await dump.ended;
      return dump.log();
    },
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
    expect(await reasonAt('d1')).toBe('vrrp-active-elsewhere');
    const stopped = await watched(async () => {
      await stopKeepalived();
      await spokenBy('d1', 1000 * ADVERT_S + CLAIM_MS);
    });
    expect(stopped.dualMs).toBe(0);
  });

  it('stays silent beside a director, whatever becomes of that, while another one lives', async () => {
    const dump = await decoded();
    const { dualMs } = await watched(async () => {
      startKeepalived(50);
      await staysWith('d1');
      await lab.director('d1').signalAgent('SIGTERM');
      await lab.director('d1').agentEnded(8000);
      await staysWith('d2');
      await lab.startAgents(['d1']);
      await sleep(DOWN_MS);
      await lab.director('d2').signalAgent('SIGKILL');
      await spokenBy('d1', CLAIM_MS);
      await staysWith('d1');
    });
    expect(dualMs).toBe(0);
    const said = await dump.stop();
    expect(said).toMatch(/10\.90\.0\.11 > 10\.90\.0\.14: VRRPv3, Advertisement, vrid 51, prio 150/);
    expect(said).toMatch(/10\.90\.0\.12 > 10\.90\.0\.14: VRRPv3, Advertisement, vrid 51, prio 100/);
    expect(said).not.toMatch(/bad|unknown|wrong|trunc/i);
    await lab.startAgents(['d2']);
  });

  it('takes over when all directors die, keeps it from those that come back, and is followed when it dies', async () => {
    await sleep(DOWN_MS);
    const died = await watched(async () => {
      await killAgents();
      await spokenBy(K1, DOWN_MS + 500);
      await lab.startAgents();
      await staysWith(K1);
    });
    expect(died.dualMs).toBe(0);
    expect(died.silenceMs).toBeLessThan(DOWN_MS + 500);
    const off = await watched(async () => {
      await powerOffKeepalived();
      await spokenBy('d1', DOWN_MS + CLAIM_MS);
    });
    expect(off.dualMs).toBe(0);
    expect(off.silenceMs).toBeLessThan(DOWN_MS + 1000);
  });

  it('gives way without a second voice where the group preempts', async () => {
    await lab.director('d1').signalAgent('SIGKILL');
    await lab.director('d2').signalAgent('SIGKILL');
    startKeepalived(50);
    await spokenBy(K1, 2 * DOWN_MS);
    const { dualMs } = await watched(async () => {
      await lab.startAgents();
      await lab.applyOk(documentWith({ preempt: 'immediate' }));
      await spokenBy('d1', 3 * DOWN_MS);
      await staysWith('d1');
    });
    expect(dualMs).toBe(0);
    const complaints = keepalived
      ?.log()
      .split('\n')
      .filter((line) =>
        /invalid|mismatch|bogus|incorrect|error|received.*(wrong|different)/i.test(line),
      );
    expect(complaints).toEqual([]);
    await stopKeepalived();
  });
});

describe('a keepalived of higher priority', () => {
  it('takes the group from a director, which comes back when it stops', async () => {
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
});
