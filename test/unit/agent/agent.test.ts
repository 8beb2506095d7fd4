/** Whole agents on fakes: what an operator sees of a director's life from start to SIGTERM. */
import { afterEach, describe, expect, it } from 'vitest';
import { formatRecord, type OperationRecord } from '../../../src/model/records.ts';
import type { StatusDocument } from '../../../src/model/status.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { Machine } from '../../sim/machine.ts';
import { keys, timingOf, vipOf } from '../../sim/spec.ts';
import { World, type WorldOptions } from '../../sim/world.ts';
import type { FakeTarget } from '../../fakes/fake-prober.ts';
import { err, ok } from '../../../src/lib/result.ts';
import type { KnownStatuses, StatusLedger } from '../../../src/ports/status-ledger.ts';
import { operationOf } from '../core/election/election-driver.ts';

const timing = timingOf({ profile: 'relaxed', holdFactor: 1 });

const worlds: World[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

function newWorld(directors = 2, options: Partial<WorldOptions> = {}): World {
  const world = new World({
    seed: 3,
    directors,
    groups: 1,
    rateSpread: 0,
    expiryLagMs: 0,
    hasServices: true,
    ...options,
  });
  worlds.push(world);
  return world;
}

/** d1 holds g1. */
async function settled(
  options: Partial<WorldOptions> = {},
): Promise<{ world: World; d1: Machine; d2: Machine }> {
  const world = newWorld(2, options);
  const [d1, d2] = world.directors;
  if (d1 === undefined || d2 === undefined) throw new Error('two directors');
  world.applySpec();
  d1.start();
  d2.start();
  await world.clock.advance(8000);
  expect(world.holdersOf('g1')).toEqual(['d1']);
  return { world, d1, d2 };
}

const statusOf = (director: Machine): StatusDocument => {
  const status = director.agent?.view.status();
  if (status === undefined) throw new Error(`${director.name} does not run`);
  return status;
};

const daemonOf = async ({ ipvs }: Machine): Promise<string | null> => {
  const daemons = await ipvs.daemons();
  return daemons.ok ? (daemons.value[0]?.state ?? null) : null;
};

const operation = (world: World): OperationRecord =>
  JSON.parse(world.cluster.read(keys.operation('op')).value ?? 'null') as OperationRecord;

describe('two agents', () => {
  it('elect one holder and agree on it in their status', async () => {
    const { d1, d2 } = await settled();
    expect(statusOf(d1)).toMatchObject({ health: 'ok', ready: true, problems: [] });
    expect(statusOf(d1).groups[0]).toMatchObject({ holder: 'd1', state: 'held-here' });
    expect(statusOf(d2).groups[0]).toMatchObject({ holder: 'd1', state: 'held-elsewhere' });
    expect(d1.agent?.view.holdsNow(d1.agent.view.spec().spec?.groups[0]?.id as never)).toBe(true);
    expect([d1, d2].map((one) => one.agent?.view.isLive())).toEqual([true, true]);
  });

  it('vote on every real server and program IPVS on both', async () => {
    const { d1, d2 } = await settled();
    for (const director of [d1, d2]) {
      const [service] = statusOf(director).services;
      expect(service?.realServers.map(({ health, votes }) => [health, votes.length])).toEqual([
        ['up', 2],
        ['up', 2],
      ]);
      expect(director.ipvs.table().services[0]?.destinations).toHaveLength(2);
    }
  });

  it('repair what somebody flushed', async () => {
    const { world, d2 } = await settled();
    d2.ipvs.flush();
    await world.clock.advance(2500);
    expect(d2.ipvs.table().services[0]?.destinations).toHaveLength(2);
    expect(statusOf(d2).ipvs.driftRepaired).toBeGreaterThan(0);
  });

  it('tell what happened in the event list of both, and to who watches', async () => {
    const { world, d2 } = await settled();
    const seen: string[] = [];
    const end = new AbortController();
    const watching = (async () => {
      for await (const { record } of d2.agent?.view.watchEvents(end.signal) ?? [])
        seen.push(`${record.director} ${record.kind}`);
    })();
    world.directors[0]?.stop();
    await world.clock.advance(2000);
    expect(seen).toContain('d2 holder.opened');
    expect(d2.agent?.view.events().map(({ record }) => record.kind)).toContain(
      'handover.completed',
    );
    end.abort();
    await world.clock.settle(watching);
  });
});

describe('when all agents were away for longer than their votes', () => {
  /** Both have seen the real servers as `probed` tells, then both end, and every lease does. */
  async function away(probed: FakeTarget): Promise<{ world: World; directors: Machine[] }> {
    const world = newWorld();
    const directors = [...world.directors];
    world.applySpec();
    for (const director of directors) {
      director.statuses = memoryStatuses();
      director.probed = probed;
      director.start();
    }
    await world.clock.advance(20_000);
    for (const director of directors) director.crash();
    await world.clock.advance(120_000);
    expect(world.cluster.entries(`${keys.prefix}run/vote/`)).toEqual([]);
    return { world, directors };
  }

  it('what was down stays down until it is seen up: it gets no traffic meanwhile', async () => {
    const { world, directors } = await away({ kind: 'down', detail: 'refused', latencyMs: 1 });
    for (const director of directors) {
      expect(director.ipvs.table().services[0]?.destinations).toEqual([]);
      director.probed = { kind: 'hang' };
      director.start();
    }
    await world.clock.advance(700);
    for (const director of directors) {
      const { realServers = [] } = statusOf(director).services[0] ?? {};
      expect(realServers.map(({ health, basis }) => [health, basis])).toEqual([
        ['down', 'kept'],
        ['down', 'kept'],
      ]);
      expect(director.ipvs.table().services[0]?.destinations ?? []).toEqual([]);
      director.probed = { kind: 'up', detail: 'up', latencyMs: 1 };
    }
    await world.clock.advance(20_000);
    for (const director of directors)
      expect(director.ipvs.table().services[0]?.destinations).toHaveLength(2);
  });
});

const memoryStatuses = (): StatusLedger => {
  let kept: KnownStatuses = new Map();
  return {
    load: async () => ok(kept),
    save: async (statuses) => {
      kept = statuses;
      return ok(undefined);
    },
  };
};

describe('operators', () => {
  it('drain a director, and give it back', async () => {
    const { world, d1 } = await settled();
    world.cluster.write(
      keys.drain(d1.id),
      formatRecord({ v: 1, by: 'op', reason: 'update', at: '' }),
    );
    await world.clock.advance(500);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(statusOf(d1).directors[0]).toMatchObject({ isDraining: true, drainReason: 'update' });
    world.cluster.remove(keys.drain(d1.id));
    await world.clock.advance(5000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
  });

  it('switch over, and read how it went', async () => {
    const { world, d1 } = await settled();
    world.cluster.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    await world.clock.advance(500);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(operation(world)).toMatchObject({ state: 'succeeded' });
    expect(operation(world).steps).toHaveLength(3);
    expect(d1.agent?.view.operations()).toHaveLength(1);
  });

  it('see each step of a switchover as it is done', async () => {
    const { world, d1, d2 } = await settled();
    world.lossOf.set('prepared', 1);
    world.cluster.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    const seen = new Set<string>();
    for (let i = 0; i < 100; i++) {
      await world.clock.advance(10);
      const steps = d2.agent?.view.operations()[0]?.record.steps ?? [];
      seen.add(`${operation(world).state} ${steps.length} ${world.holdersOf('g1').join()}`);
    }
    // While the successor is awaited the former holder answers.
    expect([...seen]).toEqual(['running 1 d1', 'succeeded 3 d2']);
    for (const { agent } of [d1, d2])
      expect(agent?.view.operations()).toMatchObject([
        { id: 'op', record: { state: 'succeeded' } },
      ]);
    expect(operation(world).steps.map(({ text }) => text)).toEqual([
      'the owner record names d2; d1 still answers',
      'mute here, forwarding on',
      expect.stringMatching(/^d2 holds the group, epoch [0-9]+$/),
    ]);
  });

  it('read why a switchover cannot be', async () => {
    const { world, d2 } = await settled();
    d2.crash();
    world.cluster.write(keys.operation('op'), formatRecord(operationOf({ to: 'd9' })));
    await world.clock.advance(500);
    expect(operation(world)).toMatchObject({
      state: 'failed',
      result: 'd9 is no candidate for the group',
    });
  });

  it('apply a document that cannot be used: the last good one stays in force', async () => {
    const { world, d1 } = await settled();
    const bad = { v: 1, document: {}, by: 'op', at: '' };
    world.cluster.write(keys.spec, formatRecord(bad));
    await world.clock.advance(10_000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    const { spec, health } = statusOf(d1);
    expect(spec.problem).not.toBeNull();
    expect(health).toBe('degraded');
    world.applySpec();
    await world.clock.advance(1000);
    expect(statusOf(d1).spec.problem).toBeNull();
  });

  it('delete the document: nothing moves', async () => {
    const { world } = await settled();
    world.cluster.remove(keys.spec);
    await world.clock.advance(10_000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
  });
});

describe('SIGTERM', () => {
  it('releases within moments: silent, handed over, the session closed', async () => {
    const { world, d1 } = await settled();
    d1.stop();
    await world.clock.advance(200);
    expect(d1.isAlive).toBe(false);
    expect(d1.kernel.isBound(vipOf('g1'))).toBe(false);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(JSON.parse(world.cluster.read(keys.session(d1.id)).value ?? '')).toMatchObject({
      state: 'closed',
    });
    expect(world.cluster.read(keys.report(d1.id)).value).toBeNull();
  });

  it.each([
    ['the gateway answers nobody', (world: World) => void (world.gatewayAnswers = false)],
    ['the word of being prepared is lost', (world: World) => void world.lossOf.set('prepared', 1)],
    ['the word of going mute is lost', (world: World) => void world.lossOf.set('muted', 1)],
    ['the proof is lost', (world: World) => void world.lossOf.set('verified', 1)],
  ])('with one ready peer ends within 1.5 s also where %s', async (_, hinder) => {
    const { world, d1, d2 } = await settled({ profile: 'default' });
    hinder(world);
    d1.stop();
    for (let i = 0; i < 1500; i++) {
      await world.clock.advance(1);
      // Somebody forwards at every instant.
      expect([d1, d2].some((one) => one.speaks(vipOf('g1')))).toBe(true);
    }
    expect(d1.isAlive).toBe(false);
    expect(d1.kernel.isBound(vipOf('g1'))).toBe(false);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });

  it('ends also when etcd is away: silent by the deadline, and the VIPs gone', async () => {
    const { world, d1 } = await settled();
    d1.store?.cut();
    d1.stop();
    await world.clock.advance(timing.holdMs);
    expect(d1.speaks(vipOf('g1'))).toBe(false);
    await world.clock.advance(15_000);
    expect(d1.isAlive).toBe(false);
    expect(d1.kernel.isBound(vipOf('g1'))).toBe(false);
  });

  it('takes the gate away with the last VIP', async () => {
    const { world, d1, d2 } = await settled();
    d1.stop();
    await world.clock.advance(8000);
    expect(await d1.fence?.observe()).toEqual({ ok: true, value: null });
    expect(await d2.fence?.observe()).not.toEqual({ ok: true, value: null });
    expect(world.holdersOf('g1')).toEqual(['d2']);
  });

  it('ends a director that never had a document', async () => {
    const world = newWorld(1);
    const [d1] = world.directors;
    d1?.start();
    await world.clock.advance(1000);
    expect(d1?.isAlive).toBe(true);
    d1?.stop();
    await world.clock.advance(6000);
    expect(d1?.isAlive).toBe(false);
    expect(world.violations).toEqual([]);
  });
});

describe('a new life', () => {
  it('after the last director ended goes on from what was known', async () => {
    const { world, d1, d2 } = await settled();
    for (const director of [d1, d2]) director.stop();
    await world.clock.advance(5000);
    expect([d1.isAlive, d2.isAlive]).toEqual([false, false]);
    d1.start();
    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) {
      await world.clock.advance(50);
      for (const service of statusOf(d1).services)
        for (const { basis } of service.realServers) seen.add(basis);
    }
    expect([...seen]).toEqual(['majority']);
  });

  it('after a kill frees its group at once: nobody waits for the deadline of the old one', async () => {
    const { world, d1 } = await settled();
    d1.crash();
    await world.clock.advance(100);
    d1.start();
    await world.clock.advance(500);
    expect(world.holdersOf('g1')).toHaveLength(1);
    expect(world.violations).toEqual([]);
  });
});

describe('a new life that is stopped before it has learnt anything', () => {
  it.each([
    ['killed', 'default', (d1: Machine) => d1.crash()],
    ['killed', 'relaxed', (d1: Machine) => d1.crash()],
    ['frozen', 'relaxed', (d1: Machine) => d1.stop('freeze')],
  ] as const)(
    'lets nothing of the life before, which was %s, speak without rules (%s)',
    async (_, profile, end) => {
      const { world, d1 } = await settled({ profile });
      const vip = vipOf('g1');
      end(d1);
      await world.clock.advance(d1.isAlive ? 6000 : 0);
      expect([d1.isAlive, d1.kernel.isBound(vip)]).toEqual([false, true]);
      // The new life gets no answer of etcd before it is told to stop.
      world.onConnect = (_machine, store) => store.cut();
      d1.start();
      d1.stop();
      for (let i = 0; i < 3000; i++) {
        await world.clock.advance(10);
        const rules = await d1.fence?.observe();
        const isGated = rules?.ok === true && rules.value !== null;
        expect(isGated || !d1.kernel.isBound(vip), `${i * 10} ms`).toBe(true);
        expect(world.holdersOf('g1').length).toBeLessThanOrEqual(1);
      }
      expect(d1.isAlive).toBe(false);
      expect(world.holdersOf('g1')).toEqual(['d2']);
      expect(world.violations).toEqual([]);
    },
  );
});

describe('the table at the end', () => {
  it('goes with the agent, when its groups have gone', async () => {
    const { world, d1, d2 } = await settled({ ipvs: { catchUpMs: 1000 } });
    d1.stop();
    for (let i = 0; i < 200 && d1.isAlive; i++) {
      await world.clock.advance(10);
      if (d1.speaks(vipOf('g1'))) expect(d1.ipvs.table().services).toHaveLength(1);
    }
    expect(d1.isAlive).toBe(false);
    expect(d1.ipvs.table().services).toEqual([]);
    expect(await daemonOf(d1)).toBeNull();
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(await daemonOf(d2)).toBe('master');
  });

  it('stays where the document says so', async () => {
    const { world, d1 } = await settled({ ipvs: { onExit: 'freeze' } });
    d1.stop();
    await world.clock.advance(5000);
    expect(d1.isAlive).toBe(false);
    expect(d1.ipvs.table().services).toHaveLength(1);
  });

  it('stays where the groups could not be given up: clients would be told that nobody is there', async () => {
    const { world, d1 } = await settled();
    for (const one of world.directors) one.cutFromStore('etcd is away');
    d1.stop();
    await world.clock.advance(10_000);
    expect(d1.isAlive).toBe(false);
    expect(d1.ipvs.table().services).toHaveLength(1);
  });
});

describe('connection sync', () => {
  it('goes with the holder, and a better director waits until it has caught up', async () => {
    const { world, d1, d2 } = await settled({ preempt: 'immediate', ipvs: { catchUpMs: 6000 } });
    expect([await daemonOf(d1), await daemonOf(d2)]).toEqual(['master', 'backup']);
    d1.crash();
    await world.clock.advance(12_000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(await daemonOf(d2)).toBe('master');
    d1.start();
    let waitedMs = 0;
    for (; world.holdersOf('g1').includes('d2') && waitedMs < 60_000; waitedMs += 100)
      await world.clock.advance(100);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    expect(waitedMs).toBeGreaterThan(6000);
    expect(waitedMs).toBeLessThan(16_000);
    await world.clock.advance(1000);
    expect([await daemonOf(d1), await daemonOf(d2)]).toEqual(['master', 'backup']);
    expect(world.violations).toEqual([]);
  });

  it('that has not caught up keeps no group from the only director that lives', async () => {
    const { world, d1, d2 } = await settled({ ipvs: { catchUpMs: 3_600_000 } });
    d1.crash();
    await world.clock.advance(12_000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    d2.crash();
    d1.start();
    await world.clock.advance(20_000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    expect(statusOf(d1).groups[0]).toMatchObject({ state: 'held-here' });
  });

  it('is told of as the reason why a director does not get a group yet', async () => {
    const { world, d1 } = await settled({ ipvs: { catchUpMs: 3_600_000 } });
    await world.clock.advance(5000);
    const { candidates } = statusOf(d1).groups[0] ?? {};
    expect(candidates?.map(({ director, reason }) => [director, reason])).toEqual([
      ['d1', null],
      ['d2', 'sync-catching-up'],
    ]);
    world.cluster.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    await world.clock.advance(1000);
    expect(operation(world)).toMatchObject({ state: 'failed' });
    expect(operation(world).result).toMatch(/sync-catching-up/);
  });
});

describe('a cold standby', () => {
  it('has no table until a group comes, by an operator or by a death', async () => {
    const { world, d1, d2 } = await settled({ ipvs: { standby: 'cold' } });
    expect([d1, d2].map(({ ipvs }) => ipvs.table().services.length)).toEqual([1, 0]);
    world.cluster.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    await world.clock.advance(500);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect([d1, d2].map(({ ipvs }) => ipvs.table().services.length)).toEqual([0, 1]);
    d2.crash();
    let servicesBefore = 0;
    for (let i = 0; i < 10_000 && !d1.speaks(vipOf('g1')); i++) {
      servicesBefore = d1.ipvs.table().services.length;
      await world.clock.advance(1);
    }
    expect(d1.speaks(vipOf('g1'))).toBe(true);
    // It had the time of the challenge for it.
    expect(servicesBefore).toBe(1);
  });
});

describe('freezing', () => {
  it('leaves VIPs, session, epoch and IPVS to a new process, which nobody notices', async () => {
    const { world, d1 } = await settled();
    const epoch = world.cluster.read(keys.owner(groupId('g1'))).modRevision;
    d1.stop('freeze');
    await world.clock.advance(4000);
    expect(d1.isAlive).toBe(false);
    expect(d1.speaks(vipOf('g1'))).toBe(true);
    expect(d1.ipvs.table().services).toHaveLength(1);
    d1.start();
    for (let i = 0; i < 100; i++) {
      await world.clock.advance(50);
      expect(world.holdersOf('g1')).toEqual(['d1']);
    }
    expect(world.cluster.read(keys.owner(groupId('g1'))).modRevision).toBe(epoch);
    expect(d1.agent?.view.events().map(({ record }) => record.kind)).toContain('session.adopted');
  });

  it('without a new process ends at the deadline, and the other director takes over', async () => {
    const { world, d1 } = await settled();
    d1.stop('freeze');
    await world.clock.advance(30_000);
    expect(d1.speaks(vipOf('g1'))).toBe(false);
    expect(world.holdersOf('g1')).toEqual(['d2']);
  });

  it('ends a director that never had a document', async () => {
    const world = newWorld(1);
    const [d1] = world.directors;
    d1?.start();
    await world.clock.advance(1000);
    d1?.stop('freeze');
    await world.clock.advance(6000);
    expect(d1?.isAlive).toBe(false);
  });
});

describe('the gate', () => {
  it('that somebody flushes is made anew, and the VIP is back within a second', async () => {
    const { world, d1 } = await settled();
    d1.fence?.flush();
    await world.clock.advance(1000);
    expect(await d1.fence?.observe()).not.toEqual({ ok: true, value: null });
    expect(world.holdersOf('g1')).toEqual(['d1']);
  });

  it('of address lifetimes alone is told, and too coarse for short hold times', async () => {
    const { d1 } = await settled({ hasFence: false });
    expect(statusOf(d1)).toMatchObject({ health: 'ok', hold: { gate: 'address-lifetime' } });
    const world = newWorld(2, { hasFence: false, profile: 'default' });
    world.applySpec();
    for (const director of world.directors) director.start();
    await world.clock.advance(10_000);
    expect(world.holdersOf('g1')).toEqual([]);
    const [first] = world.directors;
    if (first === undefined) throw new Error('two directors');
    expect(statusOf(first).problems.join()).toContain('nftables');
    expect(statusOf(first).groups[0]?.candidates[0]).toMatchObject({ reason: 'gate-too-coarse' });
  });
});

describe('a holder that lapses', () => {
  it('is silent at once also where the kernel drops its addresses late', async () => {
    const { world, d1 } = await settled({
      hasFence: false,
      isolation: 'gateway',
      expiryLagMs: 100_000,
    });
    world.gatewayAnswers = false;
    d1.cutFromStore('test');
    world.lossOf.set('relayed', 1);
    world.lossOf.set('promise', 1);
    const isLapsed = (): boolean => statusOf(d1).groups[0]?.state !== 'held-here';
    expect(await world.clock.runUntil(isLapsed, 10_000)).toBe(true);
    await world.clock.advance(1);
    expect(d1.answers(vipOf('g1'))).toBe(false);
  });
});

describe('a foreign voice', () => {
  it('for a VIP that is held becomes an event, and moves nothing', async () => {
    const { world, d1 } = await settled();
    d1.hear(vipOf('g1'));
    await world.clock.advance(1000);
    expect(d1.agent?.view.events().map(({ record }) => record.kind)).toContain('address.contested');
    expect(world.holdersOf('g1')).toEqual(['d1']);
  });

  it('is heard from the moment on when the group speaks here, whatever was done just before', async () => {
    for (const afterMs of [0, 7, 14, 21, 28, 35]) {
      const { world, d1, d2 } = await settled();
      await world.clock.advance(afterMs);
      d1.reboot();
      expect(await world.clock.runUntil(() => d2.answers(vipOf('g1')), 30_000)).toBe(true);
      await world.clock.advance(1);
      d2.hear(vipOf('g1'));
      await world.clock.advance(1000);
      const told = d2.agent?.view.events().map(({ record }) => record.kind);
      expect(told, `after ${afterMs} ms`).toContain('address.contested');
    }
  });
});

describe('without etcd, and then without the holder', () => {
  it('tells on each director who stands in, for whom, since when, and what keeps a candidate', async () => {
    const world = newWorld(3, { isolation: 'gateway' });
    const [d1, d2, d3] = world.directors;
    if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
    world.applySpec();
    for (const director of world.directors) director.start();
    await world.clock.advance(15_000);
    const [holder] = world.holdersOf('g1');
    const dead = world.directors.find(({ name }) => name === holder) ?? d1;
    const others = world.directors.filter((one) => one !== dead);
    world.cluster.halt('lose');
    await world.clock.advance(5000);
    dead.reboot();
    const phases = new Set<string>();
    const isStoodFor = (): boolean => {
      for (const one of others) phases.add(statusOf(one).groups[0]?.candidacy?.phase ?? 'none');
      return world.holdersOf('g1').length > 0;
    };
    for (let i = 0; i < 400 && !isStoodFor(); i++) await world.clock.advance(100);
    expect([...phases]).toEqual(expect.arrayContaining(['waiting', 'probing', 'promised']));
    const [standIn] = world.holdersOf('g1');
    expect(others.map(({ name }) => name)).toContain(standIn);
    await world.clock.advance(3000);
    for (const one of others) {
      const { groups, problems, isolation } = statusOf(one);
      expect(groups[0]).toMatchObject({
        holder: standIn,
        state: one.name === standIn ? 'held-here' : 'held-elsewhere',
        standIn: { recordHolder: dead.name },
        reason: 'stood-in',
      });
      const forMs = groups[0]?.standIn?.forMs ?? 0;
      expect(forMs).toBeGreaterThan(1000);
      expect(forMs).toBeLessThan(5000);
      expect(problems).toContain(
        `group g1: ${standIn} stands in for ${dead.name}, which the record still names`,
      );
      expect(isolation).toMatchObject({ policy: 'gateway', isReachable: true });
    }
    world.gatewayAnswers = false;
    await world.clock.advance(10_000);
    expect(world.holdersOf('g1')).toEqual([]);
    for (const one of others) {
      const { groups, problems } = statusOf(one);
      expect(problems.join()).toContain('no gateway target answers');
      expect(groups[0]?.standIn).toBeUndefined();
    }
    world.gatewayAnswers = true;
    world.cluster.resume();
    await world.clock.advance(20_000);
    const { groups } = statusOf(others[0] ?? d2);
    expect(world.holdersOf('g1')).toEqual([groups[0]?.holder]);
    expect(groups[0]).not.toHaveProperty('standIn');
  });
});

describe('a VIP that the document brings to a group, and that kernels refuse', () => {
  const MOVED = vipOf('g1');

  /** Refuses the VIP from now on; answers how to end that. */
  function refuse({ kernel }: Machine): () => void {
    const bind = kernel.bind.bind(kernel);
    const error = { code: 'EACCES', message: `bind ${MOVED}/24: EACCES` };
    kernel.bind = async (requests) => {
      const results = await bind(requests.filter(({ address }) => address !== MOVED));
      let next = 0;
      return requests.map(({ address }) =>
        address === MOVED ? err(error) : (results[next++] ?? err(error)),
      );
    };
    return () => (kernel.bind = bind);
  }

  /** d1 holds g1 and d2 g2, to which the VIP of g1 goes while the kernels of these refuse it. */
  async function moved(options: Partial<WorldOptions>, refusing: readonly string[]) {
    const { world, d1, d2 } = await settled({ groups: 2, ...options });
    world.switchover('g2', 'd2');
    await world.clock.advance(3000);
    expect(world.holdersOf('g2')).toEqual(['d2']);
    const ends = [d1, d2].filter(({ name }) => refusing.includes(name)).map(refuse);
    world.applySpec({ isMoved: true });
    await world.clock.advance(2000);
    return { world, d1, d2, mend: () => ends.forEach((end) => end()) };
  }

  it.each([
    ['rules', 'default', true],
    ['lifetimes', 'relaxed', false],
  ] as const)('stays silent, and no other does (%s)', async (_, profile, hasFence) => {
    const { world, d1, d2, mend } = await moved({ profile, hasFence }, ['d1', 'd2']);
    for (let i = 0; i < 60; i++) {
      await world.clock.advance(100);
      expect([world.holdersOf('g2'), d2.speaks(vipOf('g2'))]).toEqual([['d2'], true]);
      expect([d1, d2].some((one) => one.speaks(MOVED))).toBe(false);
    }
    expect(statusOf(d2).problems).toContainEqual(
      expect.stringContaining(`group g2: bind ${MOVED}/24: EACCES; the group goes on without`),
    );
    mend();
    await world.clock.advance(6000);
    expect(d2.speaks(MOVED)).toBe(true);
    expect(statusOf(d2).problems).toEqual([]);
  });

  it('silences no other in a new process either', async () => {
    const { world, d2 } = await moved({}, ['d1', 'd2']);
    d2.stop('freeze');
    await world.clock.advance(500);
    d2.start();
    await world.clock.advance(5000);
    expect([world.holdersOf('g2'), d2.speaks(vipOf('g2'))]).toEqual([['d2'], true]);
  });

  it('goes with its group to a director that can bind it', async () => {
    const { world, d1, d2 } = await moved({}, ['d2']);
    expect([d2.speaks(vipOf('g2')), d2.speaks(MOVED)]).toEqual([true, false]);
    world.switchover('g2', 'd1');
    await world.clock.advance(3000);
    expect(world.holdersOf('g2')).toEqual(['d1']);
    expect([d1.speaks(vipOf('g2')), d1.speaks(MOVED)]).toEqual([true, true]);
    expect(statusOf(d2).problems.join()).not.toContain('EACCES');
  });

  it('leaves the others to the last director when their holder dies', async () => {
    const { world, d1, d2, mend } = await moved({}, ['d1', 'd2']);
    d2.crash();
    const speaks = (): boolean => d1.speaks(vipOf('g2'));
    expect(await world.clock.runUntil(speaks, 10_000)).toBe(true);
    await world.clock.advance(10_000);
    expect([world.holdersOf('g2'), speaks(), d1.speaks(MOVED)]).toEqual([['d1'], true, false]);
    expect(statusOf(d1).problems.join()).toContain('the group goes on without this VIP');
    mend();
    await world.clock.advance(6000);
    expect(d1.speaks(MOVED)).toBe(true);
  });

  it('goes with its group to one that can bind it, before one that cannot, when the holder dies', async () => {
    const { world, d2 } = await moved({ directors: 3 }, ['d1', 'd2']);
    const [, , d3] = world.directors;
    d3?.start();
    await world.clock.advance(3000);
    d2.crash();
    expect(await world.clock.runUntil(() => d3?.speaks(MOVED) === true, 10_000)).toBe(true);
    expect([world.holdersOf('g2'), d3?.speaks(vipOf('g2'))]).toEqual([['d3'], true]);
  });

  it.each([[['d1']], [['d1', 'd2']]])(
    'keeps its group from a director that cannot: the holder goes on (%j refuse)',
    async (refusing) => {
      const { world, d2 } = await moved({}, refusing);
      world.switchover('g2', 'd1');
      for (let i = 0; i < 60; i++) {
        await world.clock.advance(100);
        expect(d2.speaks(vipOf('g2'))).toBe(true);
      }
      expect(world.holdersOf('g2')).toEqual(['d2']);
      expect(statusOf(d2).problems.join()).toContain('director d1: group g2: bind');
    },
  );
});
