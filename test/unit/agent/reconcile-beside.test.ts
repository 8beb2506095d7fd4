/** Beside the table: sync daemons, timeouts, drains, quorums, cold standby, and the end of it all. */
import { describe, expect, it } from 'vitest';
import type { ReconcileInput } from '../../../src/agent/reconcile-loop.ts';
import { NO_DAEMON_MS } from '../../../src/agent/sync-desk.ts';
import { NO_FACTS } from '../../../src/core/desired/desired-state.ts';
import { realServerKey } from '../../../src/core/health/checks.ts';
import { err } from '../../../src/lib/result.ts';
import type { ConnectionSync, IpvsSpec, VirtualService } from '../../../src/model/cluster.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { IpvsDaemon } from '../../../src/model/kernel.ts';
import { anyService, ip, server, sorryServer } from '../core/desired/spec-builders.ts';
import { group } from '../core/election/election-driver.ts';
import { inputOf, setUp, tableOf } from './reconcile-loop.fixture.ts';

const WEB_GROUP = groupId('web');
const A = server('10.90.0.21', { weight: 5 });
const B = server('10.90.0.22', { weight: 5 });
const WEB = anyService({ realServers: [A, B], drain: { deadlineMs: 60_000 } });
const [WEB_KEY] = WEB.keys;
if (WEB_KEY === undefined) throw new Error('a key');
const SYNC: ConnectionSync = {
  syncId: 51,
  interface: 'public',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  catchUpMs: 10_000,
};
const DAEMON: IpvsDaemon = {
  state: 'backup',
  interface: 'eth0',
  syncId: 51,
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: 1400,
};

type Fields = Partial<Pick<ReconcileInput, 'held' | 'around' | 'overrides'>> & {
  readonly ipvs?: Partial<IpvsSpec>;
  readonly sync?: ConnectionSync | null;
};

function around(services: readonly VirtualService[], fields: Fields = {}): ReconcileInput {
  const input = inputOf(services);
  const { ipvs, sync = SYNC, ...rest } = fields;
  const groups = [group(WEB_GROUP, { connectionSync: sync })];
  const spec = { ...input.spec, groups, ipvs: { ...input.spec.ipvs, ...ipvs } };
  return { ...input, spec, ...rest };
}

async function running(input: ReconcileInput) {
  const world = setUp();
  world.input = input;
  void world.start();
  await world.clock.advance(100);
  const change = async (next: ReconcileInput, ms = 50): Promise<void> => {
    world.input = next;
    world.loop.wake();
    await world.clock.advance(ms);
  };
  const daemons = async (): Promise<string[]> => {
    const read = await world.kernel.daemons();
    return read.ok ? read.value.map(({ state, syncId }) => `${state} ${syncId}`) : [];
  };
  return { ...world, world, change, daemons };
}

const HELD: Fields = { held: new Set([WEB_GROUP]) };

describe('sync daemons', () => {
  it('listen while the group is elsewhere, and tell while it is here', async () => {
    const { loop, change, daemons, ledger } = await running(around([WEB]));
    expect(await daemons()).toEqual(['backup 51']);
    expect(ledger.stored).toContain('sync backup');
    await change(around([WEB], HELD));
    expect(await daemons()).toEqual(['master 51']);
    expect(loop.state().sync.get(WEB_GROUP)).toMatchObject({ why: 'master' });
    expect(loop.state().daemons).toMatchObject([{ state: 'master', interface: 'eth0' }]);
    expect([...ledger.stored]).not.toContain('sync backup');
  });

  it('that an earlier process left stay until it is known what is held', async () => {
    const world = setUp();
    world.kernel.drift({ op: 'new-daemon', daemon: { ...DAEMON, state: 'master' } });
    world.ledger.stored = new Set(['sync master']);
    world.input = around([WEB], { held: null });
    void world.start();
    await world.clock.advance(6000);
    expect(world.kernel.takeControlled()).toEqual([]);
    expect(world.ledger.stored).toContain('sync master');
    expect(world.loop.state().controlProblems.size).toBe(0);
    world.input = around([WEB]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.kernel.takeControlled().map(({ op }) => op)).toEqual([
      'delete-daemon',
      'new-daemon',
    ]);
  });

  it('of others are told of and left alone', async () => {
    const { world, loop, log } = await running(around([WEB], { sync: null }));
    world.kernel.drift({ op: 'new-daemon', daemon: DAEMON });
    await world.clock.advance(6000);
    expect(loop.state().foreignDaemons).toEqual([DAEMON]);
    expect(world.kernel.takeControlled()).toEqual([]);
    expect(log.of('foreign-daemons.changed')).toEqual([{ daemons: ['backup'] }]);
  });

  it('that somebody stops are back with the next pass, and that counts as drift', async () => {
    const { world, loop, daemons, log } = await running(around([WEB]));
    world.kernel.drift({ op: 'delete-daemon', daemon: { state: 'backup' } });
    await world.clock.advance(2000);
    expect(await daemons()).toEqual(['backup 51']);
    expect(loop.state().driftRepaired).toBe(1);
    expect(log.of('drift.repaired')).toEqual([
      { services: 0, destinations: 0, of: ['sync backup'] },
    ]);
  });

  it('that the kernel refuses are told, tried again later and later, and stop nothing else', async () => {
    const world = setUp();
    for (let i = 0; i < 4; i++) world.kernel.failNextControl('ENODEV', 'new-daemon');
    world.input = around([WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toHaveLength(3);
    expect(world.loop.state().controlProblems.get('sync backup')).toMatch(/ENODEV/);
    expect(world.log.of('ipvs.refused')).toHaveLength(1);
    await world.clock.advance(1500);
    expect(world.kernel.takeControlled()).toHaveLength(3);
    await world.clock.advance(10_000);
    expect(world.loop.state().controlProblems.size).toBe(0);
    expect(world.log.events()).toContain('ipvs.recovered');
  });

  it('that the kernel tells nothing of are a problem, and the table is kept all the same', async () => {
    const world = setUp();
    world.kernel.daemons = async () => err({ code: 'EPERM', message: 'not permitted' });
    world.input = around([WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toHaveLength(3);
    expect(world.loop.state()).toMatchObject({ daemons: null, problem: null });
    expect([...world.loop.state().controlProblems]).toEqual([
      ['sync backup', 'the sync daemons cannot be read: not permitted (EPERM)'],
    ]);
    expect(world.kernel.takeControlled()).toEqual([]);
    world.input = around([WEB], { sync: null });
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.loop.state().controlProblems.size).toBe(0);
  });
});

describe('readiness of connection sync', () => {
  it('comes when the daemon has run for long enough, and wakes the loop then', async () => {
    const { world, loop, counts } = await running(around([WEB]));
    expect(loop.state().syncReady.get(WEB_GROUP)).toMatchObject({ reason: 'catching-up' });
    expect([...loop.state().syncAwaited]).toEqual([WEB_GROUP]);
    await world.clock.advance(9800);
    expect(loop.state().syncAwaited.size).toBe(1);
    const before = counts.dumps;
    await world.clock.advance(150);
    expect(loop.state().syncReady.get(WEB_GROUP)).toMatchObject({ reason: 'caught-up' });
    expect(loop.state().syncAwaited.size).toBe(0);
    expect(counts.dumps).toBeGreaterThan(before);
  });

  it('is not waited for forever where the daemon can never run', async () => {
    const world = setUp();
    world.kernel.daemons = async () => err({ code: 'EPERM', message: 'not permitted' });
    world.input = around([WEB]);
    void world.start();
    await world.clock.advance(NO_DAEMON_MS - 1000);
    expect([...world.loop.state().syncAwaited]).toEqual([WEB_GROUP]);
    await world.clock.advance(1500);
    expect(world.loop.state().syncAwaited.size).toBe(0);
    expect(world.loop.state().syncReady.get(WEB_GROUP)).toMatchObject({ value: false });
  });

  it('is nothing to wait for without ip_vs, after a while', async () => {
    const world = setUp();
    world.kernel.setMissing('modprobe ip_vs');
    world.input = around([WEB]);
    void world.start();
    await world.clock.advance(1000);
    expect([...world.loop.state().syncAwaited]).toEqual([WEB_GROUP]);
    await world.clock.advance(NO_DAEMON_MS + 10_000);
    expect(world.loop.state().syncAwaited.size).toBe(0);
  });
});

describe('timeouts', () => {
  const LONG = { tcpS: 3600, tcpFinS: null, udpS: null };

  it('are set where the document names them, and only those', async () => {
    const { world, loop, change } = await running(around([WEB], { ipvs: { timeouts: LONG } }));
    expect(loop.state().timeouts).toEqual({ tcpS: 3600, tcpFinS: 120, udpS: 300 });
    world.kernel.drift({ op: 'set-timeouts', timeouts: { tcpS: 60, tcpFinS: 30, udpS: 0 } });
    await world.clock.advance(2000);
    expect(loop.state().timeouts).toEqual({ tcpS: 3600, tcpFinS: 30, udpS: 300 });
    expect(loop.state().driftRepaired).toBe(1);
    await change(around([WEB]));
    expect(loop.state().timeouts?.tcpS).toBe(3600);
  });

  it('that are refused are a problem of their own', async () => {
    const timeouts = { ...LONG, tcpS: 3_000_000 };
    const { loop, kernel } = await running(around([WEB], { ipvs: { timeouts } }));
    expect([...loop.state().controlProblems.keys()]).toEqual(['timeouts']);
    expect(tableOf(kernel)).toHaveLength(3);
  });
});

describe('a real server on its way out', () => {
  const endpoint = { address: A.address, port: A.port };

  it('that the document no longer names keeps its connections, then goes', async () => {
    const { world, loop, change } = await running(around([WEB], { sync: null }));
    world.kernel.setConnections(WEB_KEY, endpoint, 3, 1, 2);
    await world.clock.advance(2000);
    await change(around([{ ...WEB, realServers: [B] }], { sync: null }));
    expect(tableOf(world.kernel)).toEqual([
      'tcp 10.90.0.100:80 wlc',
      '  10.90.0.21 w0',
      '  10.90.0.22 w5',
    ]);
    const [drain] = loop.state().drains.values();
    expect(drain).toMatchObject({
      cause: 'leaving',
      left: { active: 3, inactive: 1, persistent: 2 },
    });
    expect(drain?.deadlineAtMs ?? 0).toBeGreaterThan(loop.state().drainNowMs + 59_000);
    world.kernel.setConnections(WEB_KEY, endpoint, 0, 0, 1);
    await world.clock.advance(4000);
    expect(tableOf(world.kernel)).toHaveLength(3);
    world.kernel.setConnections(WEB_KEY, endpoint, 0);
    await world.clock.advance(2000);
    expect(tableOf(world.kernel)).toEqual(['tcp 10.90.0.100:80 wlc', '  10.90.0.22 w5']);
    await world.clock.advance(2000);
    expect(loop.state().drains.size).toBe(0);
  });

  it('goes at its deadline to the moment, whoever is still connected', async () => {
    const short = { ...WEB, drain: { deadlineMs: 5300 } };
    const { world, change } = await running(around([short], { sync: null }));
    world.kernel.setConnections(WEB_KEY, endpoint, 3);
    await change(around([{ ...short, realServers: [B] }], { sync: null }));
    await world.clock.advance(5200);
    expect(tableOf(world.kernel)).toHaveLength(3);
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toHaveLength(2);
  });

  it('that was named before two documents that came at once is not forgotten', async () => {
    const { world, change } = await running(around([WEB], { sync: null }));
    world.kernel.setConnections(WEB_KEY, endpoint, 3);
    world.input = around([{ ...WEB, realServers: [B] }], { sync: null });
    await change(around([{ ...WEB, scheduler: 'rr', realServers: [B] }], { sync: null }));
    expect(tableOf(world.kernel)).toEqual([
      'tcp 10.90.0.100:80 rr',
      '  10.90.0.21 w0',
      '  10.90.0.22 w5',
    ]);
  });

  it('by an operator has weight 0, is gone when nobody is connected, and comes back when told', async () => {
    const { world, loop, change } = await running(around([WEB], { sync: null }));
    world.kernel.setConnections(WEB_KEY, endpoint, 1);
    const drain = {
      service: WEB.id,
      realServer: A.id,
      state: 'drain',
      weight: null,
      by: 'op',
      reason: '',
    } as const;
    await change(around([WEB], { sync: null, overrides: [drain] }));
    expect(tableOf(world.kernel)).toContain('  10.90.0.21 w0');
    world.kernel.setConnections(WEB_KEY, endpoint, 0);
    await world.clock.advance(2000);
    expect(tableOf(world.kernel)).toEqual(['tcp 10.90.0.100:80 wlc', '  10.90.0.22 w5']);
    expect(loop.state().explanations.get(realServerKey(WEB.id, A.id))).toMatchObject({
      why: 'drained',
      drain: { end: 'gone' },
    });
    await change(around([WEB], { sync: null }));
    expect(tableOf(world.kernel)).toContain('  10.90.0.21 w5');
  });

  it('is drained for as long as it was told, also when the wall clock is set meanwhile', async () => {
    const short = { ...WEB, drain: { deadlineMs: 20_000 } };
    const { world, change, loop } = await running(around([short], { sync: null }));
    world.kernel.setConnections(WEB_KEY, endpoint, 3);
    await change(around([{ ...short, realServers: [B] }], { sync: null }));
    const wallMs = world.clock.wallMs.bind(world.clock);
    world.clock.wallMs = () => wallMs() + 3_600_000;
    await world.clock.advance(10_000);
    expect(tableOf(world.kernel)).toHaveLength(3);
    const [drain] = loop.state().drains.values();
    const leftMs = (drain?.deadlineAtMs ?? 0) - loop.state().drainNowMs;
    expect(leftMs).toBeGreaterThan(9000);
    expect(leftMs).toBeLessThan(11_000);
    await world.clock.advance(10_100);
    expect(tableOf(world.kernel)).toHaveLength(2);
  });
});

describe('a quorum', () => {
  const SORRY = sorryServer('10.90.0.29');
  const QUORUM = { ...WEB.quorum, need: 8, hysteresis: 2 };
  const service = { ...WEB, quorum: QUORUM, sorryServer: SORRY };

  it('that was lost before a restart stays lost until it is back by its hysteresis', async () => {
    const world = setUp();
    world.kernel.drift(
      {
        op: 'add-service',
        service: {
          key: WEB_KEY,
          scheduler: 'wlc',
          flags: 0,
          timeoutS: 0,
          persistencePrefix: 32,
          persistenceEngine: null,
        },
      },
      {
        op: 'add-destination',
        service: WEB_KEY,
        destination: { ...SORRY, upperThreshold: 0, lowerThreshold: 0 },
      },
    );
    const third = server('10.90.0.23', { weight: 2 });
    const three = { ...service, realServers: [{ ...A, weight: 4 }, { ...B, weight: 4 }, third] };
    const whole = around([three], { sync: null });
    // 8 of 10 is live: enough to stay up, and too little to come up.
    world.input = { ...whole, statuses: inputOf([three], [third.address]).statuses };
    void world.start();
    await world.clock.advance(100);
    expect(world.decisions[0]?.before.get(WEB.id)).toBe(false);
    expect(world.loop.state().quorums.get(WEB.id)).toBe(false);
    expect(tableOf(world.kernel)).toEqual(['tcp 10.90.0.100:80 wlc', '  10.90.0.29 w1']);
    world.input = whole;
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.loop.state().quorums.get(WEB.id)).toBe(true);
    expect(tableOf(world.kernel)).toHaveLength(4);
  });

  it('is decided from what was decided before, and each decision is told once', async () => {
    const { world, decisions, change } = await running(around([service], { sync: null }));
    const count = decisions.length;
    await world.clock.advance(6000);
    expect(decisions.length).toBe(count);
    const statuses = inputOf([service], [A.address]).statuses;
    await change({ ...around([service], { sync: null }), statuses });
    const last = decisions.at(-1);
    expect(last?.before.get(WEB.id)).toBe(true);
    expect(last?.desired.quorums.get(WEB.id)).toBe(false);
    expect(world.loop.state().sorryActive.has(WEB.id)).toBe(true);
    expect(world.loop.state().serviceExplanations.get(WEB.id)).toMatchObject({
      sorry: 'answering',
    });
  });
});

describe('slow start', () => {
  it('goes on by itself: nobody has to wake the loop for a step', async () => {
    const slow = { ...WEB, slowStartMs: 11_000, realServers: [{ ...A, weight: 110 }, B] };
    const world = setUp();
    const base = around([slow], { sync: null });
    const check = base.checks.get(realServerKey(WEB.id, A.id));
    if (check === undefined) throw new Error('a check');
    const upSince = new Map([[check, world.clock.wallMs()]]);
    world.input = { ...base, around: { ...NO_FACTS, upSince } };
    void world.start();
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toContain('  10.90.0.21 w10');
    await world.clock.advance(1050);
    expect(tableOf(world.kernel)).toContain('  10.90.0.21 w20');
    await world.clock.advance(12_000);
    expect(tableOf(world.kernel)).toContain('  10.90.0.21 w110');
  });
});

describe('a cold standby', () => {
  const cold = (here: readonly string[]): ReconcileInput =>
    around([WEB], {
      sync: null,
      ipvs: { standby: 'cold' },
      around: { ...NO_FACTS, groupsHere: new Set(here.map(groupId)) },
    });

  it('has the services of a group when it comes, and no longer than that', async () => {
    const { kernel, change } = await running(cold([]));
    expect(tableOf(kernel)).toEqual([]);
    await change(cold(['web']));
    expect(tableOf(kernel)).toHaveLength(3);
    await change(cold([]));
    expect(tableOf(kernel)).toEqual([]);
  });
});

describe('an end that releases', () => {
  it('takes away what is ours, and nothing else', async () => {
    const { world, loop, ledger, kernel } = await running(around([WEB]));
    const foreign = { ...WEB_KEY, port: 9999 };
    kernel.drift({
      op: 'add-service',
      service: {
        key: foreign,
        scheduler: 'rr',
        flags: 0,
        timeoutS: 0,
        persistencePrefix: 32,
        persistenceEngine: null,
      },
    });
    world.stop.abort();
    await world.clock.advance(100);
    expect(await loop.release()).toMatchObject({ ok: true });
    expect(tableOf(kernel)).toEqual(['tcp 10.90.0.100:9999 rr']);
    expect(await kernel.daemons()).toMatchObject({ ok: true, value: [] });
    expect(ledger.stored.size).toBe(0);
  });

  it('says what is left, and remembers that it is ours', async () => {
    const { world, loop, ledger, kernel } = await running(around([WEB]));
    world.stop.abort();
    await world.clock.advance(100);
    kernel.failNext('EBUSY');
    const released = await loop.release();
    expect(released.ok ? '' : released.error).toMatch(/EBUSY/);
    expect(ledger.stored).toEqual(new Set(['tcp 10.90.0.100:80']));
    expect(await loop.release()).toMatchObject({ ok: true });
    expect(tableOf(kernel)).toEqual([]);
  });

  it('ends a daemon of ours, too, where the kernel does not tell which run', async () => {
    const { world, loop, ledger, kernel } = await running(around([WEB], { held: new Set() }));
    expect(ledger.stored).toContain('sync backup');
    world.stop.abort();
    await world.clock.advance(100);
    const tell = kernel.daemons.bind(kernel);
    kernel.daemons = async () => err({ code: 'EPERM', message: 'dump the sync daemons' });
    expect(await loop.release()).toEqual({
      ok: true,
      value: { services: 1, daemons: ['backup'] },
    });
    expect(await tell()).toMatchObject({ ok: true, value: [] });
    expect(ledger.stored.size).toBe(0);
  });

  it('says what is left where such a daemon cannot be ended', async () => {
    const { world, loop, ledger, kernel } = await running(around([WEB], { held: new Set() }));
    world.stop.abort();
    await world.clock.advance(100);
    kernel.daemons = async () => err({ code: 'EPERM', message: 'dump the sync daemons' });
    kernel.failNextControl('EPERM', 'delete-daemon');
    const released = await loop.release();
    expect(released.ok ? '' : released.error).toBe('delete-daemon: EPERM (EPERM)');
    expect(ledger.stored).toEqual(new Set(['sync backup']));
  });

  it('believes what it sees, not what the kernel says that it did', async () => {
    const { world, loop, ledger, kernel } = await running(around([WEB], { held: new Set() }));
    world.stop.abort();
    await world.clock.advance(100);
    kernel.apply = async (operations) => operations.map(() => ({ ok: true, value: undefined }));
    const released = await loop.release();
    expect(released.ok ? '' : released.error).toBe(
      'tcp 10.90.0.100:80: still there after its removal; sync backup: still there after its removal',
    );
    expect(ledger.stored).toEqual(new Set(['tcp 10.90.0.100:80', 'sync backup']));
  });

  it('does nothing where nothing was ours, and touches nothing where the ledger cannot be read', async () => {
    const world = setUp();
    expect(await world.loop.release()).toMatchObject({ ok: true });
    expect(world.counts.dumps).toBe(0);
    const blind = setUp();
    blind.ledger.loadError = 'input/output error';
    expect(await blind.loop.release()).toMatchObject({ ok: false });
    expect(blind.counts.applies).toBe(0);
  });
});
