import { describe, expect, it } from 'vitest';
import type { RealServer } from '../../../src/model/cluster.ts';
import { monoMs, serviceId } from '../../../src/model/ids.ts';
import type { IpvsTableOperation, IpvsService, IpvsServiceKey } from '../../../src/model/kernel.ts';
import { realServerKey } from '../../../src/core/health/checks.ts';
import { anyService, ip, server } from '../core/desired/spec-builders.ts';
import { inputOf, opsOf, setUp, tableOf } from './reconcile-loop.fixture.ts';

const A = server('10.90.0.21');
const B = server('10.90.0.22');
const WEB = anyService({ realServers: [A, B] });
const keyAt = (port: number): IpvsServiceKey => ({
  kind: 'address',
  protocol: 'tcp',
  address: ip('10.90.0.100'),
  port,
});
const WEB_KEY = 'tcp 10.90.0.100:80';
const service = (port: number, scheduler = 'wlc'): IpvsService => ({
  key: keyAt(port),
  scheduler,
  flags: 0,
  timeoutS: 0,
  persistencePrefix: 32,
  persistenceEngine: null,
});
const destination = (realServer: RealServer, weight = 1) => ({
  address: realServer.address,
  port: realServer.port,
  forward: 'dr' as const,
  tunnel: null,
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
});
const isFor =
  (op: IpvsTableOperation['op']) =>
  (operation: IpvsTableOperation): boolean =>
    operation.op === op;
const AS_WANTED = [`${WEB_KEY} wlc`, '  10.90.0.21 w1', '  10.90.0.22 w1'];

/** A loop that runs and whose table is as wanted. */
async function converged(...options: Parameters<typeof setUp>) {
  const world = setUp(...options);
  world.input = inputOf([WEB]);
  void world.start();
  await world.clock.advance(100);
  expect(tableOf(world.kernel)).toEqual(AS_WANTED);
  world.kernel.takeApplied();
  world.calls.length = 0;
  world.log.lines.length = 0;
  return world;
}

describe('reconcile loop: from desired to the kernel', () => {
  it('programs the table at the start and reports it', async () => {
    const { loop, calls, log } = await (async () => {
      const world = setUp();
      world.input = inputOf([WEB]);
      void world.start();
      await world.clock.advance(100);
      expect(tableOf(world.kernel)).toEqual(AS_WANTED);
      return world;
    })();
    expect(loop.state()).toMatchObject({
      available: true,
      problem: null,
      foreign: [],
      driftRepaired: 0,
      lastReconcileMs: 0,
    });
    expect(loop.state().problems.size).toBe(0);
    expect(loop.state().table?.services).toHaveLength(1);
    const explained = loop.state().explanations.get(realServerKey(WEB.id, A.id));
    expect(explained).toMatchObject({ why: 'up', wantedWeight: 1 });
    expect(calls).toContainEqual(['operationApplied', 'add-destination', 'ok', 2]);
    expect(calls).toContainEqual(['reconcileFinished', 0, 'ok']);
    expect(calls).toContainEqual(['ipvsAvailable', true]);
    expect(log.events()).toEqual(['ipvs.found', 'plan.applied']);
  });

  it('has a change in the kernel within 50 ms of the wake-up when idle', async () => {
    const world = await converged();
    world.input = inputOf([WEB], [A.address]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(tableOf(world.kernel)).toEqual([`${WEB_KEY} wlc`, '  10.90.0.22 w1']);
    expect(world.loop.state().driftRepaired).toBe(0);
  });

  it('has a change in the kernel by the timer where nobody wakes it', async () => {
    const world = await converged();
    world.input = inputOf([WEB], [A.address]);
    await world.clock.advance(1800);
    expect(tableOf(world.kernel)).toHaveLength(3);
    await world.clock.advance(200);
    expect(tableOf(world.kernel)).toHaveLength(2);
  });

  it.each(['spec', 'checks', 'overrides', 'statuses'] as const)(
    'sees a change of %s alone',
    async (part) => {
      const world = await converged();
      const before = world.input;
      if (before === null) throw new Error('an input');
      const override = { service: WEB.id, realServer: A.id, weight: null, by: 'op', reason: '' };
      const changed = {
        spec: inputOf([{ ...WEB, scheduler: 'rr' }]).spec,
        checks: new Map(),
        overrides: [{ ...override, state: 'maint' as const }],
        statuses: inputOf([WEB], [A.address]).statuses,
      };
      world.input = { ...before, overrides: [] };
      const { explanations } = world.loop.state();
      world.loop.wake();
      await world.clock.advance(50);
      expect(world.loop.state().explanations).toBe(explanations);
      world.input = { ...before, [part]: changed[part] };
      world.loop.wake();
      await world.clock.advance(50);
      expect(world.loop.state().explanations).not.toBe(explanations);
      expect(tableOf(world.kernel).length).toBe(
        part === 'spec' || part === 'checks' ? AS_WANTED.length : AS_WANTED.length - 1,
      );
    },
  );

  it('sees that one override took the place of another', async () => {
    const world = await converged();
    const before = world.input;
    if (before === null) throw new Error('an input');
    const common = { service: WEB.id, state: 'maint', weight: null, by: 'op', reason: '' } as const;
    for (const out of [A, B]) {
      world.input = { ...before, overrides: [{ ...common, realServer: out.id }] };
      world.loop.wake();
      await world.clock.advance(50);
      expect(tableOf(world.kernel)).toEqual(
        AS_WANTED.filter((line) => !line.includes(out.address)),
      );
    }
  });

  it('does nothing at rest: one dump a resync, no operation', async () => {
    const world = await converged();
    const before = world.counts.dumps;
    await world.clock.advance(20_000);
    expect(world.counts.dumps - before).toBe(10);
    expect(world.kernel.takeApplied()).toEqual([]);
    expect(world.log.lines).toEqual([]);
  });

  it('runs one pass at a time, and one more for all wake-ups during it', async () => {
    const world = setUp();
    world.applyMs = 500;
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(100);
    world.input = inputOf([WEB], [A.address]);
    for (let i = 0; i < 10; i++) world.loop.wake();
    await world.clock.advance(1100);
    expect(world.counts).toMatchObject({ applies: 2, most: 1 });
    expect(tableOf(world.kernel)).toEqual([`${WEB_KEY} wlc`, '  10.90.0.22 w1']);
  });

  it('keeps a gap between passes under a storm of wake-ups', async () => {
    const world = await converged();
    const before = world.counts.dumps;
    for (let i = 0; i < 1000; i++) {
      world.loop.wake();
      await world.clock.advance(1);
    }
    expect(world.counts.dumps - before).toBeLessThanOrEqual(51);
  });

  it('ends when the signal aborts, leaves the table and its timers behind clean', async () => {
    const world = setUp();
    world.input = inputOf([WEB]);
    const ended = world.start();
    await world.clock.advance(100);
    world.stop.abort();
    await ended;
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.clock.pending).toBe(0);
    const early = setUp();
    early.stop.abort();
    await early.start();
    expect(early.counts.capability).toBe(0);
  });
});

describe('reconcile loop: no usable spec', () => {
  it('touches nothing, neither at the start nor when the spec goes away', async () => {
    const world = setUp();
    world.kernel.drift({ op: 'add-service', service: service(80) });
    world.ledger.stored = new Set([WEB_KEY]);
    void world.start();
    await world.clock.advance(10_000);
    expect(tableOf(world.kernel)).toEqual([`${WEB_KEY} wlc`]);
    expect(world.counts).toMatchObject({ dumps: 0, applies: 0, capability: 1 });
    expect(world.ledger.stored).toEqual(new Set([WEB_KEY]));
    const later = await converged();
    later.input = null;
    later.loop.wake();
    await later.clock.advance(10_000);
    expect(tableOf(later.kernel)).toEqual(AS_WANTED);
    expect(later.kernel.takeApplied()).toEqual([]);
  });
});

describe('reconcile loop: drift', () => {
  it('repairs what was deleted by hand, counts and logs it', async () => {
    const world = await converged();
    world.kernel.drift({ op: 'delete-service', service: keyAt(80) });
    await world.clock.advance(2000);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.loop.state().driftRepaired).toBe(3);
    expect(world.calls).toContainEqual(['driftRepaired', 'service', 1]);
    expect(world.calls).toContainEqual(['driftRepaired', 'destination', 2]);
    expect(world.log.of('drift.repaired')).toEqual([
      { services: 1, destinations: 2, of: [WEB_KEY] },
    ]);
  });

  it('repairs changed weights and schedulers and removes strange destinations', async () => {
    const world = await converged();
    world.kernel.drift(
      { op: 'set-service', service: service(80, 'rr') },
      { op: 'set-destination', service: keyAt(80), destination: destination(A, 0) },
      { op: 'add-destination', service: keyAt(80), destination: destination(server('10.9.9.9')) },
    );
    await world.clock.advance(2000);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.loop.state().driftRepaired).toBe(3);
  });

  it('does not call a change of the desired state drift, but what comes after it again', async () => {
    const world = await converged();
    world.input = inputOf([{ ...WEB, scheduler: 'rr' }]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.loop.state().driftRepaired).toBe(0);
    expect(world.log.events()).toEqual(['plan.applied']);
    world.kernel.drift({ op: 'set-service', service: service(80, 'wlc') });
    await world.clock.advance(2100);
    expect(world.loop.state().driftRepaired).toBe(1);
  });
});

describe('reconcile loop: ownership', () => {
  it('leaves foreign services alone and tells of them once', async () => {
    const world = await converged();
    world.kernel.drift({ op: 'add-service', service: service(9999) });
    await world.clock.advance(6000);
    expect(world.loop.state().foreign).toEqual(['tcp 10.90.0.100:9999']);
    expect(world.kernel.takeApplied()).toEqual([]);
    expect(world.log.events()).toEqual(['foreign-services.changed']);
    expect(world.calls).toContainEqual(['foreignServices', 1]);
  });

  it('writes the ledger before it adds, and shortens it after it has deleted', async () => {
    const world = setUp();
    const tables: string[][] = [];
    world.ledger.onSave = () => tables.push(tableOf(world.kernel));
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(tables).toEqual([[]]);
    expect(world.ledger.saves).toEqual([[WEB_KEY]]);
    world.input = inputOf([]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(tableOf(world.kernel)).toEqual([]);
    expect(world.ledger.saves).toEqual([[WEB_KEY], []]);
  });

  it('adopts what it finds as wanted, without an operation', async () => {
    const world = setUp();
    world.kernel.drift({ op: 'add-service', service: service(80) });
    world.input = inputOf([anyService({ realServers: [] })]);
    void world.start();
    await world.clock.advance(100);
    expect(world.counts.applies).toBe(0);
    expect(world.ledger.stored).toEqual(new Set([WEB_KEY]));
    expect(world.log.of('service.adopted')).toEqual([{ services: [WEB_KEY] }]);
  });

  it('repairs what it adopts though the ledger cannot be written, and does not call it adopted yet', async () => {
    const world = setUp();
    world.ledger.saveError = 'disk full';
    world.kernel.drift({ op: 'add-service', service: service(80) });
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(5000);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.log.of('service.adopted')).toEqual([]);
    world.ledger.saveError = null;
    await world.clock.advance(2000);
    expect(world.log.of('service.adopted')).toEqual([{ services: [WEB_KEY] }]);
  });

  it('after a restart deletes what an earlier life made and nobody wants', async () => {
    const world = setUp();
    world.kernel.drift({ op: 'add-service', service: service(81) });
    world.ledger.stored = new Set(['tcp 10.90.0.100:81']);
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
  });

  it('creates nothing while the ledger cannot be written, but goes on with the rest', async () => {
    const world = await converged();
    world.ledger.saveError = 'disk full';
    world.input = inputOf([WEB, anyService({ id: 'new', port: 81 })], [A.address]);
    world.loop.wake();
    await world.clock.advance(4000);
    expect(tableOf(world.kernel)).toEqual([`${WEB_KEY} wlc`, '  10.90.0.22 w1']);
    expect(world.loop.state().problem).toBe('the ledger cannot be written: disk full');
    expect(world.log.of('reconcile.failed')).toHaveLength(1);
    expect(world.calls).toContainEqual(['reconcileFinished', 0, 'failed']);
    world.ledger.saveError = null;
    await world.clock.advance(2000);
    expect(tableOf(world.kernel)).toContain('tcp 10.90.0.100:81 wlc');
    expect(world.loop.state()).toMatchObject({ problem: null, driftRepaired: 0 });
    expect(world.log.of('reconcile.recovered')).toHaveLength(1);
  });

  it('keeps saying that the ledger cannot be shortened, without repeating itself', async () => {
    const world = await converged();
    world.ledger.saveError = 'disk full';
    world.input = inputOf([]);
    world.loop.wake();
    await world.clock.advance(6000);
    expect(tableOf(world.kernel)).toEqual([]);
    expect(world.loop.state().problem).toBe('the ledger cannot be written: disk full');
    expect(world.log.of('reconcile.failed')).toHaveLength(1);
    expect(world.log.of('reconcile.recovered')).toEqual([]);
  });

  it('waits for a ledger that cannot be read, touching nothing', async () => {
    const world = setUp();
    world.ledger.loadError = 'EIO';
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(world.loop.state().problem).toBe('the ledger cannot be read: EIO');
    expect(world.counts.dumps).toBe(0);
    world.ledger.loadError = null;
    await world.clock.advance(300);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.loop.state().problem).toBeNull();
    expect(world.log.events()).not.toContain('ledger.lost');
  });

  it('after three tries goes on owning nothing, so that it deletes nothing', async () => {
    const world = setUp();
    world.ledger.loadError = 'not JSON';
    world.kernel.drift({ op: 'add-service', service: service(81) });
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(1000);
    expect(tableOf(world.kernel)).toEqual(['tcp 10.90.0.100:81 wlc', ...AS_WANTED]);
    expect(world.loop.state().foreign).toEqual(['tcp 10.90.0.100:81']);
    expect(world.log.events()).toContain('ledger.lost');
  });
});

describe('reconcile loop: a kernel that refuses', () => {
  it('names a missing scheduler module, while other services proceed', async () => {
    const world = setUp();
    const odd = anyService({ id: 'odd', port: 81, scheduler: 'mh' });
    const isOdd = (op: IpvsTableOperation): boolean =>
      op.op === 'add-service' && op.service.scheduler === 'mh';
    for (let i = 0; i < 2; i++) world.kernel.failNext('ENOENT', isOdd);
    world.input = inputOf([odd, WEB]);
    void world.start();
    await world.clock.advance(100);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect([...world.loop.state().problems]).toEqual([
      ['tcp 10.90.0.100:81', 'scheduler mh: kernel module ip_vs_mh is missing'],
    ]);
    expect(world.calls).toContainEqual(['operationApplied', 'add-service', 'failed', 1]);
    await world.clock.advance(400);
    expect(world.counts.applies).toBe(2);
    expect(world.log.of('service.refused')).toHaveLength(1);
    await world.clock.advance(500);
    expect(tableOf(world.kernel)).toContain('tcp 10.90.0.100:81 mh');
    expect(world.loop.state().problems.size).toBe(0);
    expect(world.log.of('service.recovered')).toHaveLength(1);
    expect(world.loop.state().driftRepaired).toBe(0);
  });

  it('tries a refused service less and less often, at least every 5 s', async () => {
    const world = setUp();
    for (let i = 0; i < 100; i++) world.kernel.failNext('EPERM', isFor('add-service'));
    world.input = inputOf([anyService({ realServers: [] })]);
    void world.start();
    await world.clock.advance(10_000);
    const first = world.counts.applies;
    expect(first).toBeLessThanOrEqual(7);
    await world.clock.advance(20_000);
    expect(world.counts.applies - first).toBeGreaterThanOrEqual(4);
    expect(world.counts.applies - first).toBeLessThanOrEqual(5);
    expect([...world.loop.state().problems.values()]).toEqual([
      'add-service: add-service: EPERM (EPERM)',
    ]);
  });

  it('holds only the refused service: wake-ups and drift of others are served', async () => {
    const world = await converged();
    for (let i = 0; i < 100; i++)
      world.kernel.failNext(
        'EPERM',
        (op) =>
          op.op === 'add-service' &&
          op.service.key.kind === 'address' &&
          op.service.key.port === 81,
      );
    world.input = inputOf([WEB, anyService({ id: 'odd', port: 81, realServers: [] })]);
    world.loop.wake();
    await world.clock.advance(4000);
    const applies = world.counts.applies;
    world.kernel.drift({ op: 'delete-destination', service: keyAt(80), destination: A });
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.counts.applies).toBe(applies + 1);
    expect(opsOf(world.kernel.takeApplied()).at(-1)).toBe('add-destination');
    expect(world.loop.state()).toMatchObject({ driftRepaired: 1 });
    expect(world.loop.state().problems.size).toBe(1);
  });

  it('tries a refused service at once when it is wanted differently', async () => {
    const world = await converged();
    for (let i = 0; i < 6; i++) world.kernel.failNext('ENOENT', isFor('set-service'));
    world.input = inputOf([{ ...WEB, scheduler: 'mh' }]);
    world.loop.wake();
    await world.clock.advance(10_000);
    const applies = world.counts.applies;
    world.input = inputOf([{ ...WEB, scheduler: 'rr' }]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.counts.applies).toBe(applies + 1);
  });

  it('says so when the kernel accepts and does not do it', async () => {
    const world = setUp();
    world.input = inputOf([WEB]);
    // `add-service` of what is there is a success that changes nothing: here it comes in between.
    world.ledger.onSave = () =>
      world.kernel.drift({ op: 'add-service', service: service(80, 'rr') });
    void world.start();
    await world.clock.advance(100);
    expect([...world.loop.state().problems]).toEqual([
      [WEB_KEY, 'not as wanted after apply: set-service'],
    ]);
    await world.clock.advance(300);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.loop.state().problems.size).toBe(0);
  });

  it('keeps a service in the ledger whose deletion is refused', async () => {
    const world = await converged();
    world.kernel.failNext('EPERM', isFor('delete-service'));
    world.input = inputOf([]);
    world.loop.wake();
    await world.clock.advance(50);
    expect(world.ledger.stored).toEqual(new Set([WEB_KEY]));
    expect(world.loop.state().problems.get(WEB_KEY)).toMatch(/^delete-service: /);
    await world.clock.advance(300);
    expect(tableOf(world.kernel)).toEqual([]);
    expect(world.ledger.stored.size).toBe(0);
  });

  it('backs off when the table cannot be dumped, whoever wakes it, and asks the capability again', async () => {
    const world = await converged();
    const { capability, dumps } = world.counts;
    world.kernel.failNextDump('ENOBUFS');
    world.loop.wake();
    await world.clock.advance(100);
    expect(world.loop.state().problem).toBe(
      'the IPVS table cannot be read: dump (injected): ENOBUFS (ENOBUFS)',
    );
    for (let i = 0; i < 10; i++) {
      world.loop.wake();
      await world.clock.advance(10);
    }
    expect(world.counts.dumps).toBe(dumps + 1);
    await world.clock.advance(100);
    expect(world.counts).toMatchObject({ dumps: dumps + 2, capability: capability + 1 });
    expect(world.loop.state().problem).toBeNull();
    expect(world.log.events()).toEqual(['reconcile.failed', 'reconcile.recovered']);
  });

  it('starts with a short wait again after a recovery', async () => {
    const world = await converged();
    for (let i = 0; i < 2; i++) {
      world.kernel.failNextDump('EIO');
      world.loop.wake();
      await world.clock.advance(50);
      expect(world.loop.state().problem).toMatch(/EIO/);
      await world.clock.advance(250);
      expect(world.loop.state().problem).toBeNull();
    }
  });

  it('treats a failed second dump as a failed pass', async () => {
    const world = await converged();
    world.input = inputOf([WEB], [A.address]);
    world.applyMs = 10;
    world.loop.wake();
    await world.clock.advance(5);
    world.kernel.failNextDump('EIO');
    await world.clock.advance(10);
    expect(world.loop.state().problem).toMatch(/EIO/);
    await world.clock.advance(300);
    expect(world.loop.state()).toMatchObject({ problem: null, driftRepaired: 0 });
    expect(tableOf(world.kernel)).toHaveLength(2);
  });
});

describe('reconcile loop: ip_vs missing', () => {
  it('says why, looks again every 10 s, and programs the table when it comes', async () => {
    const world = setUp();
    world.kernel.setMissing('modprobe ip_vs');
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(9900);
    expect(world.counts).toMatchObject({ capability: 1, dumps: 0 });
    expect(world.loop.state()).toMatchObject({
      available: false,
      detail: 'modprobe ip_vs',
      table: null,
    });
    expect(world.calls).toContainEqual(['ipvsAvailable', false]);
    await world.clock.advance(10_000);
    expect(world.log.events()).toEqual(['ipvs.missed']);
    world.kernel.setMissing(null);
    await world.clock.advance(10_000);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
    expect(world.log.events()).toContain('ipvs.found');
  });

  it('explains what is wanted meanwhile, at each wake-up, without asking the kernel', async () => {
    const world = setUp();
    world.kernel.setMissing('modprobe ip_vs');
    world.input = inputOf([WEB]);
    void world.start();
    await world.clock.advance(100);
    world.input = inputOf([WEB], [A.address]);
    world.loop.wake();
    await world.clock.advance(50);
    const explained = world.loop.state().explanations.get(realServerKey(serviceId('web'), A.id));
    expect(explained).toMatchObject({ why: 'down-removed' });
    expect(world.counts.capability).toBe(1);
  });

  it('notices when it goes away', async () => {
    const world = await converged();
    world.kernel.setMissing('rmmod');
    await world.clock.advance(2500);
    expect(world.loop.state()).toMatchObject({ available: false, table: null, problem: null });
    expect(world.log.events()).toContain('ipvs.missed');
    world.kernel.setMissing(null);
    await world.clock.advance(10_000);
    expect(tableOf(world.kernel)).toEqual(AS_WANTED);
  });
});

describe('a large table', () => {
  it('is worked out with rests, so that the hold loop has its turns', async () => {
    const world = setUp();
    const services = Array.from({ length: 50 }, (_, i) =>
      anyService({
        id: `web-${i}`,
        port: 8000 + i,
        realServers: Array.from({ length: 100 }, (__, n) => server(`10.91.${i}.${n + 1}`)),
      }),
    );
    world.input = inputOf(services);
    let rests = 0;
    const sleep = world.clock.sleep.bind(world.clock);
    world.clock.sleep = (ms, signal) => {
      if (ms === 0) rests++;
      return sleep(ms, signal);
    };
    // Work takes its time: half a millisecond from one look at the clock to the next.
    let workedMs = 0;
    const now = world.clock.now.bind(world.clock);
    world.clock.now = () => monoMs(now() + (workedMs += 0.5));
    void world.start();
    await world.clock.advance(10);
    expect(tableOf(world.kernel)).toHaveLength(5050);
    expect(world.loop.state().lastReconcileAt).not.toBeNull();
    // One derivation, and a plan before and after what was done.
    expect(rests).toBeGreaterThanOrEqual(3 * 3);
    world.stop.abort();
  });
});
