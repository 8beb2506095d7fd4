/** The hold loop carries out what the election decides, in order, and tells back whatever happens. */
import { describe, expect, it, vi } from 'vitest';
import { createEpochFence } from '../../../src/agent/epoch-fence.ts';
import { createHoldLoop, type HoldPorts } from '../../../src/agent/hold-loop.ts';
import { ClusterView } from '../../../src/agent/cluster-view.ts';
import type { ElectionConfig } from '../../../src/core/election/state.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import {
  type DirectorId,
  directorId,
  epochOf,
  type GroupId,
  groupId,
  monoMs,
  revision,
  sessionIdOf,
} from '../../../src/model/ids.ts';
import type { KernelError } from '../../../src/model/kernel.ts';
import type { IneligibleReason } from '../../../src/model/decision.ts';
import { formatRecord } from '../../../src/model/records.ts';
import type { GateGroup } from '../../../src/ports/gate.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { PeerMessage } from '../../../src/model/peer.ts';
import { ip } from '../core/desired/spec-builders.ts';
import {
  D1,
  D2,
  ElectionDriver,
  fit,
  G1,
  G2,
  group,
  keys,
  TIMING,
  WAIT_MS,
} from '../core/election/election-driver.ts';
import { recordingMetrics } from './reconcile-loop.fixture.ts';
import { storeBench } from './store-bench.ts';

const names = (groups: readonly GateGroup[]): string => groups.map((one) => one.group).join();

const REFUSED: Result<never, KernelError> = err({ code: 'EPERM', message: 'EPERM' });

function setUp(fields: Partial<HoldPorts> = {}) {
  const bench = storeBench();
  const { clock, store, log, cluster } = bench;
  const calls: string[] = [];
  const limits = new Map<string, number>();
  const sent: PeerMessage[] = [];
  const told = new Set<DirectorId>();
  /** What the next gate operations do instead of succeeding. */
  const next = {
    permit: (): Result<void, KernelError> => ok(undefined),
    arm: (): Result<void, KernelError> => ok(undefined),
    open: (): Result<void, KernelError> => ok(undefined),
    mute: (): Result<void, KernelError> => ok(undefined),
    close: (): Result<void, KernelError> => ok(undefined),
  };
  /** How long each kernel operation takes. */
  const kernel = { ms: 0, running: 0, most: 0 };
  const inKernel = async <T>(name: string, work: () => T): Promise<T> => {
    calls.push(name);
    kernel.most = Math.max(kernel.most, ++kernel.running);
    try {
      if (kernel.ms > 0) await clock.sleep(kernel.ms);
      return work();
    } finally {
      kernel.running--;
    }
  };
  const records = new ClusterView(keys, silentLog);
  let spoken: ReadonlySet<GroupId> = new Set();
  const loop = createHoldLoop({
    store,
    gate: {
      kind: 'netdev',
      permit: (round) => inKernel(`permit ${round}`, next.permit),
      arm: ({ round, groups, until }) =>
        inKernel(`arm ${round} ${groups.map((one) => `${one.group} ${one.mode}`).join()}`, () => {
          const done = next.arm();
          if (!done.ok) return done;
          const opened = groups.map((one) => one.group).filter((one) => !spoken.has(one));
          spoken = new Set([...spoken, ...opened]);
          return ok({
            opened,
            failed: [],
            unsettled: [],
            deferred: [],
            refused: [],
            speaksUntil: until,
          });
        }),
      open: (groups, until) =>
        inKernel(`open ${names(groups)}`, () => {
          const done = next.open();
          if (!done.ok) return done;
          return ok({
            opened: groups.map((one) => one.group),
            failed: [],
            unsettled: [],
            deferred: [],
            refused: [],
            speaksUntil: until,
          });
        }),
      foresee: async (groups) => {
        await inKernel(`foresee ${names(groups)}`, () => ok(undefined));
        return false;
      },
      mute: (groups) => inKernel(`mute ${names(groups)}`, next.mute),
      close: (groups) => inKernel(`close ${names(groups)}`, next.close),
    },
    announcer: {
      announce: (vips) => calls.push(`announce ${vips.map((one) => one.address).join()}`),
      stop: (vips) => calls.push(`hush ${vips.map((one) => one.address).join()}`),
      repeat: () => {},
      limit: (vips, until) => vips.forEach((one) => limits.set(one.address, until)),
    },
    peerLink: {
      send: ({ director }, message) => {
        sent.push(message);
        told.add(director);
      },
    },
    clock,
    log,
    metrics: recordingMetrics().metrics,
    parseReads: (reads, asOf) => records.electionReads(reads, asOf),
    gateGroup: (id) => ({ group: id, addresses: [] }),
    announcements: () => [{ device: 'eth0', address: ip('10.90.0.100') }],
    peers: () => [
      { director: D2, address: ip('10.90.0.12'), isNamed: true },
      { director: directorId('old'), address: ip('10.90.0.99'), isNamed: false },
    ],
    askGateway: () => Promise.resolve(false),
    probe: () => Promise.resolve(new Map()),
    epochs: createEpochFence({ log }),
    clearGate: (keep) => inKernel(['clear', ...keep].join(' '), () => new Map()),
    verify: async () => null,
    showLease: (id, epoch) => calls.push(`lease ${id} ${epoch === null ? 'ends' : 'shown'}`),
    reportOperation: () => {},
    noted: () => {},
    tell: ({ kind }) => calls.push(kind),
    changed: () => {},
    ...fields,
  });
  const config: ElectionConfig = { ...new ElectionDriver().config, groups: [group(G1)] };
  const fitness = (reason: IneligibleReason | null): void => loop.offer(fit([G1, reason]));
  /** As the watch does: everything that is stored now. */
  const see = (): void => {
    const update = records.apply({
      kind: 'snapshot',
      revision: cluster.revision,
      entries: cluster.entries(),
    });
    loop.offer({ kind: 'view', changes: update.election, isSynced: true });
  };
  const begin = async (): Promise<void> => {
    fitness(null);
    see();
    loop.setConfig(config);
    await clock.advance(WAIT_MS + 1000);
  };
  const holding = (): string => loop.state().holdings.get(groupId('g1'))?.kind ?? 'none';
  return {
    ...bench,
    loop,
    calls,
    limits,
    sent,
    told,
    next,
    kernel,
    config,
    see,
    begin,
    holding,
    fitness,
  };
}

describe('the hold loop', () => {
  it('decides nothing without a spec, and keeps what it learns until there is one', async () => {
    const { clock, loop, see, calls, cluster, config } = setUp();
    cluster.write(keys.drain(D2), formatRecord({ v: 1, by: '', reason: '', at: '' }));
    see();
    await clock.advance(60_000);
    expect(calls).toEqual([]);
    expect(loop.isLive()).toBe(true);
    loop.setConfig(config);
    await clock.advance(10);
    expect(calls.slice(0, 2)).toEqual(['clear', 'session.opened']);
    expect(loop.state().view.drains.size).toBe(1);
  });

  it('knows whom it heard before there was a spec', async () => {
    const { clock, loop, config } = setUp();
    await clock.advance(60_000);
    const armed = [{ group: G1, epoch: epochOf(revision(7)) }];
    const message = { kind: 'heartbeat', session: sessionIdOf(revision(5)), armed } as const;
    loop.offer({ kind: 'peer', from: D2, message });
    loop.setConfig(config);
    expect(loop.state().lastHeard.get(D2)).toBe(clock.now());
    expect(loop.state().heard.get(D2)?.epochOf(G1)).toBe(armed[0]?.epoch);
  });

  it('takes nothing for new that was said while it was stopped', async () => {
    const { clock, loop, begin } = setUp();
    await begin();
    const say = (): void =>
      loop.offer({
        kind: 'peer',
        from: D2,
        message: { kind: 'heartbeat', session: sessionIdOf(revision(99)), armed: [] },
      });
    const life = clock.now();
    say();
    expect(loop.state().lastHeard.get(D2)).toBe(life);
    // No timer of its own has fired when the first message is read.
    const passed = vi.spyOn(clock, 'now').mockReturnValue(monoMs(life + 10_000));
    say();
    passed.mockRestore();
    expect(loop.state().lastHeard.get(D2)).toBe(life);
    await clock.advance(10_100);
    say();
    expect(loop.state().lastHeard.get(D2)).toBe(clock.now());
  });

  it('opens in order: clear, permit, arm, announcement, and tells of it afterwards', async () => {
    const { calls, begin, holding } = setUp();
    await begin();
    expect(holding()).toBe('open');
    expect(calls.filter((call) => !/^(permit|arm) (?!1\b)/.test(call))).toEqual([
      'clear',
      'session.opened',
      // The claim rides on the round that opens.
      'permit 1',
      'holder.gained',
      'arm 1 g1 open',
      'announce 10.90.0.100',
      'holder.opened',
      'lease g1 shown',
    ]);
  });

  it('announces all groups that one arming opened in one go, before it tells of any', async () => {
    const { clock, loop, calls, see } = setUp({
      announcements: (id) => [
        { device: 'eth0', address: ip(id === G1 ? '10.90.0.100' : '10.90.0.101') },
      ],
    });
    loop.offer(fit([G1, null], [G2, null]));
    see();
    loop.setConfig(new ElectionDriver({ groups: [group(G1), group(G2)] }).config);
    await clock.advance(WAIT_MS + 1000);
    const told = calls.filter((call) => /^(announce|holder.opened|lease)/.test(call));
    expect(told).toEqual([
      'announce 10.90.0.100,10.90.0.101',
      'holder.opened',
      'lease g1 shown',
      'holder.opened',
      'lease g2 shown',
    ]);
  });

  it('announces nothing more that a document takes from a group, before the next round ends', async () => {
    const places = ['10.90.0.100', '10.90.0.101'].map((vip) => ({
      device: 'eth0',
      address: ip(vip),
    }));
    const { clock, loop, calls, limits, begin, config } = setUp({
      announcements: () => places.slice(),
    });
    await begin();
    const taken = places.pop();
    loop.setConfig(config);
    expect(limits.get('10.90.0.101')).toBe(clock.now());
    expect(limits.get('10.90.0.100')).toBeGreaterThan(clock.now());
    // Given back at once it goes on being announced; the kernel never had to be told.
    if (taken !== undefined) places.push(taken);
    await clock.advance(2 * TIMING.roundMs);
    expect(limits.get('10.90.0.101')).toBeGreaterThan(clock.now());
    expect(calls).not.toContain('hush 10.90.0.101');
    places.pop();
    loop.setConfig(config);
    await clock.advance(2 * TIMING.roundMs);
    expect(calls.filter((call) => call.startsWith('hush'))).toEqual(['hush 10.90.0.101']);
  });

  it('gives in order: hush and close, and only then is the record written', async () => {
    const { clock, fitness, calls, begin, kernel, cluster } = setUp();
    await begin();
    calls.length = 0;
    kernel.ms = 50;
    const { modRevision } = cluster.read(keys.owner(G1));
    fitness('interface-down');
    await clock.advance(40);
    expect(calls).toContain('close g1');
    expect(calls.indexOf('hush 10.90.0.100')).toBeLessThan(calls.indexOf('close g1'));
    expect(cluster.read(keys.owner(G1)).modRevision).toBe(modRevision);
    await clock.advance(100);
    expect(cluster.read(keys.owner(G1)).modRevision).toBeGreaterThan(modRevision);
  });

  it('makes one kernel operation at a time', async () => {
    const { clock, loop, fitness, begin, kernel } = setUp();
    await begin();
    kernel.ms = 30;
    loop.offer({ kind: 'address-lost', group: G1 });
    fitness('interface-down');
    await clock.advance(2000);
    expect(kernel.most).toBe(1);
  });

  it.each(['permit', 'arm'] as const)(
    'survives a %s that throws, and tries again',
    async (name) => {
      const { clock, next, begin, holding, log } = setUp();
      await begin();
      const works = next[name];
      next[name] = () => {
        throw new Error('netlink is gone');
      };
      await clock.advance(TIMING.holdMs + 1000);
      expect(holding()).toBe('owned');
      expect(log.of('kernel.failed')[0]).toMatchObject({ problem: 'netlink is gone' });
      next[name] = works;
      await clock.advance(2000);
      expect(holding()).toBe('open');
    },
  );

  it('asks for a permit at a bounded pace, also while something waits to be taken', async () => {
    const { clock, next, begin, holding, calls } = setUp();
    next.permit = () => REFUSED;
    await begin();
    calls.length = 0;
    await clock.advance(1000);
    const permits = calls.filter((call) => call.startsWith('permit')).length;
    expect(permits).toBeGreaterThan(0);
    expect(permits).toBeLessThanOrEqual(50);
    next.permit = () => ok(undefined);
    await clock.advance(1000);
    expect(holding()).toBe('open');
  });

  it('asks again for a silence that the kernel refused or that threw', async () => {
    const { clock, fitness, next, begin, calls, log, holding } = setUp();
    await begin();
    next.close = () => REFUSED;
    fitness('interface-down');
    await clock.advance(150);
    expect(log.events()).toContain('address.stuck');
    next.close = () => {
      throw new Error('gone');
    };
    await clock.advance(100);
    expect(holding()).toBe('closing');
    next.close = () => ok(undefined);
    await clock.advance(200);
    expect(holding()).toBe('none');
    expect(calls.filter((call) => call === 'close g1').length).toBeGreaterThanOrEqual(3);
  });

  it('takes a store that throws as a doubt', async () => {
    const broken = {
      txn: () => Promise.reject(new Error('socket')),
    };
    const { clock, loop, begin, calls } = setUp({ store: broken });
    await begin();
    await clock.advance(1000);
    expect(loop.state().session.kind).toBe('none');
    expect(calls).toEqual(['clear']);
  });

  it('sends heartbeats to every peer', async () => {
    const { sent, told, begin, clock } = setUp();
    await begin();
    sent.length = 0;
    await clock.advance(3000);
    expect(sent.length).toBeGreaterThanOrEqual(3);
    expect(sent[0]).toMatchObject({ kind: 'heartbeat', armed: [{ group: 'g1' }] });
    expect([...told]).toEqual([D2]);
  });

  it('sends them to whom the document does not name while it is heard', async () => {
    const { told, begin, clock, loop } = setUp();
    await begin();
    const from = directorId('old');
    loop.offer({
      kind: 'peer',
      from,
      message: { kind: 'heartbeat', session: sessionIdOf(revision(1)), armed: [] },
    });
    await clock.advance(2 * TIMING.heartbeatMs);
    expect([...told].toSorted()).toEqual(['d2', 'old']);
    await clock.advance(TIMING.suspectMs);
    told.clear();
    await clock.advance(2 * TIMING.heartbeatMs);
    expect([...told]).toEqual([D2]);
  });

  it('lapses in time when etcd goes away, and opens again when it is back', async () => {
    const { store, clock, begin, holding } = setUp();
    await begin();
    store.cut();
    await clock.advance(5000);
    expect(holding()).toBe('owned');
    store.heal();
    await clock.advance(2000);
    expect(holding()).toBe('open');
  });

  it('does nothing more after its end', async () => {
    const { clock, loop, begin, calls } = setUp();
    await begin();
    loop.end();
    calls.length = 0;
    loop.offer({ kind: 'stop' });
    await clock.advance(60_000);
    expect(calls).toEqual([]);
    expect(loop.state().isStopping).toBe(false);
  });

  it('steps at a bounded pace', async () => {
    const { clock, begin } = setUp();
    await begin();
    const before = clock.fired;
    await clock.advance(10_000);
    // A round, a heartbeat and their timers: far from one event a millisecond.
    expect(clock.fired - before).toBeLessThan(300);
  });
});

describe('what the election decides', () => {
  it('asks the gateways after an opening, and once more where none answered', async () => {
    const asked: number[] = [];
    const answers = [false, true];
    const { begin, loop } = setUp({
      verify: async (_, timeoutMs) => {
        asked.push(timeoutMs);
        return answers.shift() ?? true;
      },
    });
    await begin();
    expect(loop.state().holdings.get(G1)?.kind).toBe('open');
    expect(asked).toEqual([300, 300]);
  });

  it('hands what peers say to it as it came', async () => {
    const { begin, loop, clock } = setUp();
    await begin();
    const before = loop.state().lastHeard.get(D2);
    await clock.advance(10);
    const session = sessionIdOf(revision(1_000_000));
    loop.offer({ kind: 'peer', from: D2, message: { kind: 'heartbeat', session, armed: [] } });
    expect(loop.state().lastHeard.get(D2)).not.toBe(before);
  });

  it('arms nothing of an older epoch than something done already', async () => {
    const bench = setUp();
    const epochs = createEpochFence({ log: bench.log });
    epochs.admit(G1, epochOf(revision(1_000_000)), 'open');
    const { begin, calls, holding, log } = setUp({ epochs });
    await begin();
    expect(holding()).not.toBe('open');
    expect(calls.filter((call) => call.endsWith(' g1 open'))).toEqual([]);
    expect(bench.log.of('operation.refused')[0]).toMatchObject({ vipGroup: G1, operation: 'arm' });
    expect(log.events()).not.toContain('kernel.failed');
  });

  it('is frozen, and leaves the kernel as it is', async () => {
    const { begin, loop, clock, calls, cluster } = setUp();
    await begin();
    calls.length = 0;
    loop.offer({ kind: 'freeze' });
    await clock.advance(3000);
    expect(loop.state().isFrozen).toBe(true);
    expect(calls.some((call) => /^(close|hush)/.test(call))).toBe(false);
    expect(JSON.parse(cluster.read(keys.session(D1)).value ?? '')).toMatchObject({ state: 'open' });
  });

  it('is frozen at once where there was never a spec', () => {
    const { loop } = setUp();
    loop.offer({ kind: 'freeze' });
    expect(loop.state().isFrozen).toBe(true);
  });

  it('wakes those that follow the state at changes, not at steady rounds', async () => {
    let changes = 0;
    const { begin, clock, fitness } = setUp({ changed: () => void changes++ });
    await begin();
    changes = 0;
    await clock.advance(10_000);
    expect(changes).toBe(0);
    fitness('interface-down');
    expect(changes).toBeGreaterThan(0);
  });
});

describe('the identity of the holder', () => {
  it('is the director of the configuration', async () => {
    const { begin, cluster } = setUp();
    await begin();
    expect(JSON.parse(cluster.read(keys.owner(G1)).value ?? '')).toMatchObject({ director: D1 });
  });
});
