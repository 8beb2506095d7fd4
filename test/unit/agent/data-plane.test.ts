/** What the election holds, as the data plane takes it: who tells connections, what a cold standby has, the end. */
import { describe, expect, it } from 'vitest';
import { DataPlane } from '../../../src/agent/data-plane.ts';
import type { AgentParts } from '../../../src/agent/agent-parts.ts';
import type { ClusterSpec, IpvsSpec } from '../../../src/model/cluster.ts';
import { ok } from '../../../src/lib/result.ts';
import type { Sysctls } from '../../../src/ports/sysctls.ts';
import { directorId, groupId, type GroupId } from '../../../src/model/ids.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeIpvsKernel } from '../../fakes/fake-kernel.ts';
import { FakeMarks } from '../../fakes/fake-marks.ts';
import { FakeNotifier } from '../../fakes/fake-notifier.ts';
import { silentMetrics } from '../../fakes/silent-metrics.ts';
import { anyService, ip, server } from '../core/desired/spec-builders.ts';
import { group } from '../core/election/election-driver.ts';
import { FakeLedger, inputOf, RecordingLog, tableOf } from './reconcile-loop.fixture.ts';

const WEB = groupId('web');
const SYNC = {
  syncId: 7,
  interface: 'public',
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  maxLength: null,
  catchUpMs: 0,
};
type Kind = 'owned' | 'open' | 'leaving' | 'closing' | 'shut';

const ONLY = 'net.ipv4.vs.backup_only';

class FakeSysctls implements Sysctls {
  readonly values = new Map([
    [ONLY, '0'],
    ['net.ipv4.vs.conntrack', '0'],
  ]);
  /** Tells of each write. */
  wrote: () => void = () => {};
  async read(names: readonly string[]): ReturnType<Sysctls['read']> {
    return new Map(names.map((name) => [name, ok(this.values.get(name) ?? null)]));
  }
  async write(name: string, value: string): ReturnType<Sysctls['write']> {
    this.values.set(name, value);
    this.wrote();
    return ok(undefined);
  }
}

function setUp(ipvs: Partial<IpvsSpec> = {}, own: readonly string[] = []) {
  const sysctls = new FakeSysctls();
  const settings = {
    sysctls,
    ledger: { load: async () => ok(new Map()), save: async () => ok(undefined) },
  };
  const clock = new FakeClock();
  const kernel = new FakeIpvsKernel();
  const ledger = new FakeLedger();
  const log = new RecordingLog();
  const marks = new FakeMarks();
  const realServers = [...own, '10.90.0.21'].map((each) => server(each, { weight: 10 }));
  const input = inputOf([own.length === 0 ? anyService() : anyService({ realServers })]);
  const spec: ClusterSpec = {
    ...input.spec,
    groups: [group(WEB, { connectionSync: SYNC })],
    ipvs: { ...input.spec.ipvs, ...ipvs },
  };
  const election = {
    holdings: new Map<GroupId, { kind: Kind; since: number }>(),
    foreseen: new Set<GroupId>(),
    session: { kind: 'opening' },
    view: {
      operations: new Map<string, { value: { state: string; to: string; group: string } }>(),
    },
  };
  const addresses = new Set(own.map(ip));
  const document: { spec: ClusterSpec | null } = { spec };
  // Only what it looks at.
  const parts = {
    specs: { spec: () => document.spec },
    records: { overrides: [] },
    desk: {
      checks: () => ({ byRealServer: input.checks }),
      statuses: () => input.statuses,
      upSince: () => new Map(),
      dynamicWeights: () => new Map(),
    },
    hold: { state: () => election },
    served: { addresses: () => addresses },
  } as unknown as AgentParts;
  const plane = new DataPlane(
    { me: directorId('d1'), devices: new Map([['public', 'eth0']]) },
    {
      ipvs: kernel,
      ledger,
      clock,
      log,
      metrics: silentMetrics,
      notifier: new FakeNotifier({ clock }),
      marks,
      sysctls: settings,
    },
    { parts: () => parts, passed: () => {}, record: () => {} },
  );
  const stop = new AbortController();
  for (const loop of plane.loops()) void loop(stop.signal);
  const is = async (kind: Kind | null, ms = 50): Promise<void> => {
    election.session = { kind: 'open' };
    election.holdings = new Map(kind === null ? [] : [[WEB, { kind, since: clock.now() }]]);
    plane.look();
    await clock.advance(ms);
  };
  const daemon = async (): Promise<string | null> => {
    const read = await kernel.daemons();
    return read.ok ? (read.value[0]?.state ?? null) : null;
  };
  return {
    clock,
    kernel,
    ledger,
    log,
    marks,
    election,
    document,
    plane,
    stop,
    is,
    daemon,
    sysctls,
  };
}

describe('connections are told', () => {
  it('while the group speaks here, and taken while it does not', async () => {
    const { is, daemon } = setUp();
    await is(null);
    expect(await daemon()).toBe('backup');
    for (const [kind, state] of [
      ['owned', 'backup'],
      ['open', 'master'],
      ['owned', 'master'],
      ['leaving', 'master'],
      ['closing', 'backup'],
      ['shut', 'backup'],
    ] as const) {
      await is(kind);
      expect([kind, await daemon()]).toEqual([kind, state]);
    }
  });

  it('and no longer taken from when it is foreseen, where a kernel that listens forwards nothing', async () => {
    const sysctls = [{ name: 'net.ipv4.vs.backup_only', value: '1' }];
    const { is, daemon, election } = setUp({ sysctls });
    await is(null);
    expect(await daemon()).toBe('backup');
    election.foreseen = new Set([WEB]);
    await is(null);
    expect(await daemon()).toBe('master');
    election.foreseen = new Set();
    const value = { state: 'pending', to: 'd1', group: 'web' };
    election.view.operations.set('op', { value });
    await is(null);
    expect(await daemon(), 'sent here').toBe('master');
    election.view.operations.clear();
    await is(null);
    expect(await daemon()).toBe('backup');
    for (const [kind, state] of [
      ['owned', 'master'],
      ['open', 'master'],
      ['leaving', 'master'],
      ['closing', 'master'],
      ['shut', 'backup'],
    ] as const) {
      await is(kind);
      expect([kind, await daemon()]).toEqual([kind, state]);
    }
  });

  it('as an earlier process of this director told them, until the election knows', async () => {
    const { clock, kernel, ledger, is, daemon, plane } = setUp();
    ledger.stored = new Set(['sync master']);
    kernel.drift({ op: 'new-daemon', daemon: { ...SYNC, interface: 'eth0', state: 'master' } });
    plane.look();
    await clock.advance(5000);
    await is('owned');
    await is('open');
    expect(await daemon()).toBe('master');
    expect(kernel.takeControlled()).toEqual([]);
  });
});

describe('a kernel that is to forward nothing while it listens', () => {
  const other = groupId('mail');

  it('is told so when its daemon has ended, where this director serves another group', async () => {
    const { clock, document, kernel, sysctls, plane, is, daemon } = setUp();
    const { spec } = document;
    if (spec === null) throw new Error('no document');
    // It holds one and listens for the other.
    document.spec = { ...spec, groups: [...spec.groups, group(other, { connectionSync: SYNC })] };
    await is('open');
    const states = async (): Promise<readonly string[]> => {
      const read = await kernel.daemons();
      return read.ok ? read.value.map(({ state }) => state) : [];
    };
    expect(await states()).toEqual(['master', 'backup']);
    const seen: Promise<readonly string[]>[] = [];
    sysctls.wrote = () => seen.push(states());
    const ipvs = { ...spec.ipvs, sysctls: [{ name: ONLY, value: '1' }] };
    document.spec = { ...document.spec, ipvs };
    plane.specChanged();
    await clock.advance(200);
    expect(sysctls.values.get(ONLY)).toBe('1');
    expect(await Promise.all(seen)).toEqual([['master']]);
    expect(await daemon()).toBe('master');
    expect(plane.sysctls?.state().findings).toEqual([]);
  });

  it('is told so at once where it serves nothing', async () => {
    const { clock, document, sysctls, plane, is, daemon } = setUp();
    await is(null);
    const { spec } = document;
    if (spec === null) throw new Error('no document');
    const ipvs = { ...spec.ipvs, sysctls: [{ name: ONLY, value: '1' }] };
    document.spec = { ...spec, ipvs };
    plane.specChanged();
    await clock.advance(1);
    expect([sysctls.values.get(ONLY), await daemon()]).toEqual(['1', 'backup']);
  });
});

describe('a group that comes by plan', () => {
  it.each<[string, Partial<IpvsSpec>, readonly string[], boolean]>([
    ['a cold standby has its services', { standby: 'cold' }, [], true],
    ['a director that serves it itself has the others', {}, ['10.0.0.1'], true],
    ['a kernel does not listen any more', { sysctls: [{ name: ONLY, value: '1' }] }, [], true],
    ['nothing is made: a warm standby has all', {}, [], false],
  ])('is awaited until %s', async (_, ipvs, own, isAwaited) => {
    const { clock, kernel, election, plane, is } = setUp(ipvs, own);
    await is(null);
    expect(plane.isAwaited(WEB), 'not here').toBe(false);
    const before = [tableOf(kernel), await kernel.daemons()];
    election.holdings = new Map([[WEB, { kind: 'owned', since: 0 }]]);
    plane.look();
    expect(plane.isAwaited(WEB)).toBe(isAwaited);
    while (plane.isAwaited(WEB)) await clock.advance(1);
    if (isAwaited) expect([tableOf(kernel), await kernel.daemons()]).not.toEqual(before);
    expect(clock.now()).toBeLessThan(150);
  });

  it('is awaited no longer where the kernel refuses', async () => {
    const { clock, kernel, plane, is } = setUp({ standby: 'cold' });
    await is(null);
    kernel.failNextDump('EIO');
    await is('owned', 0);
    await clock.advance(240);
    expect(plane.isAwaited(WEB)).toBe(true);
    await clock.advance(20);
    expect(plane.isAwaited(WEB)).toBe(false);
  });
});

describe('a cold standby', () => {
  it('has the table for what it holds, and for what is about to come', async () => {
    const { kernel, election, is } = setUp({ standby: 'cold' });
    await is(null);
    expect(tableOf(kernel)).toEqual([]);
    election.foreseen = new Set([WEB]);
    await is(null);
    expect(tableOf(kernel)).toHaveLength(2);
    election.foreseen = new Set();
    await is(null);
    expect(tableOf(kernel)).toEqual([]);
    for (const [state, to, services] of [
      ['pending', 'd2', 0],
      ['pending', 'd1', 2],
      ['failed', 'd1', 0],
    ] as const) {
      election.view.operations.set('op', { value: { state, to, group: 'web' } });
      await is(null);
      expect(tableOf(kernel)).toHaveLength(services);
    }
    for (const kind of ['owned', 'open', 'leaving', 'closing'] as const) {
      await is(kind);
      expect(tableOf(kernel)).toHaveLength(2);
    }
    await is('shut');
    expect(tableOf(kernel)).toEqual([]);
  });

  it('leaves what an earlier process had until the election knows', async () => {
    const { clock, kernel, ledger, document, is } = setUp({ standby: 'cold' });
    kernel.drift({
      op: 'add-service',
      service: {
        key: { kind: 'address', protocol: 'tcp', address: ip('10.90.0.100'), port: 80 },
        scheduler: 'wlc',
        flags: 0,
        timeoutS: 0,
        persistencePrefix: 32,
        persistenceEngine: null,
      },
    });
    ledger.stored = new Set(['tcp 10.90.0.100:80']);
    await clock.advance(5000);
    expect(tableOf(kernel)).toHaveLength(1);
    expect(document.spec?.ipvs.standby).toBe('cold');
    await is('owned');
    expect(tableOf(kernel)).toHaveLength(2);
  });
});

describe('a director that is a real server of its VIP', () => {
  const ME = '10.0.0.1';
  const table = (kernel: FakeIpvsKernel): readonly string[] =>
    tableOf(kernel).flatMap((line) => (line.startsWith('tcp') ? [] : [line.trim()]));
  const ALONE = [`${ME} w1`];
  const READY = [`${ME} w1`, '10.90.0.21 w0'];
  const WHOLE = [`${ME} w10`, '10.90.0.21 w10'];

  it('shares out what it holds, and nothing else', async () => {
    const { kernel, election, is } = setUp({}, [ME]);
    await is(null);
    expect(table(kernel)).toEqual(ALONE);
    election.foreseen = new Set([WEB]);
    await is(null);
    expect(table(kernel)).toEqual(READY);
    election.foreseen = new Set();
    const value = { state: 'pending', to: 'd1', group: 'web' };
    election.view.operations.set('op', { value });
    await is(null);
    expect(table(kernel), 'sent here').toEqual(READY);
    election.view.operations.clear();
    for (const [kind, wanted] of [
      ['owned', READY],
      ['open', WHOLE],
      // It fell silent for a moment.
      ['owned', WHOLE],
      // Its successor may send here what this one would send back.
      ['leaving', READY],
      ['closing', READY],
      ['shut', ALONE],
    ] as const) {
      await is(kind);
      expect([kind, table(kernel)]).toEqual([kind, wanted]);
    }
  });

  it('shares out no more what has been silent for a second: another one may have it', async () => {
    const { clock, kernel, plane, stop, is } = setUp({}, [ME]);
    await is('open');
    await is('owned', 900);
    expect(table(kernel)).toEqual(WHOLE);
    await clock.advance(200);
    expect(table(kernel)).toEqual(READY);
    await is('open');
    expect(table(kernel)).toEqual(WHOLE);
    await is('owned');
    plane.end();
    stop.abort();
    await clock.advance(2000);
    expect(table(kernel), 'at the end all stays as it is').toEqual(WHOLE);
  });

  it('leaves the table as an earlier process left it until the election knows', async () => {
    const { clock, kernel, is } = setUp({}, [ME]);
    await clock.advance(5000);
    expect(tableOf(kernel)).toEqual([]);
    await is('owned');
    expect(table(kernel), 'adopted').toEqual(WHOLE);
  });
});

describe('an end', () => {
  const ended = async (ipvs: Partial<IpvsSpec>) => {
    const world = setUp(ipvs);
    await world.is('open');
    world.plane.end();
    world.stop.abort();
    await world.clock.advance(100);
    return world;
  };

  it('that releases takes our services and daemons away', async () => {
    const { plane, kernel, daemon, log } = await ended({ onExit: 'release' });
    await plane.release();
    expect(tableOf(kernel)).toEqual([]);
    expect(await daemon()).toBeNull();
    expect(log.of('ipvs.released')).toEqual([
      { services: 1, daemons: ['master'], marks: false, stays: [] },
    ]);
  });

  it('tells what stays although it releases: settings of the kernel', async () => {
    const { plane, log } = await ended({
      onExit: 'release',
      sysctls: [{ name: 'net.ipv4.vs.conntrack', value: '1' }],
      timeouts: { tcpS: 900, tcpFinS: null, udpS: null },
    });
    await plane.release();
    expect(log.of('ipvs.released')).toMatchObject([
      { stays: ['net.ipv4.vs.conntrack = 1 (0 before)', 'the IPVS timeouts of the document'] },
    ]);
  });

  it('does not say released where the marks or the table could not be taken away', async () => {
    const { plane, kernel, marks, log } = await ended({ onExit: 'release' });
    marks.fail('remove', { code: 'EPERM', message: 'remove the table: EPERM' });
    kernel.failNext('EBUSY');
    await plane.release();
    expect(log.events()).not.toContain('ipvs.released');
    expect(log.of('ipvs.left')).toMatchObject([
      {
        problem: expect.stringMatching(
          /EBUSY.*; the table of firewall marks: remove the table: EPERM$/,
        ),
      },
    ]);
  });

  it('leaves all where the document says so, or where there is none', async () => {
    const frozen = await ended({ onExit: 'freeze' });
    await frozen.plane.release();
    const unknown = await ended({ onExit: 'release' });
    unknown.document.spec = null;
    await unknown.plane.release();
    expect(frozen.log.of('ipvs.kept')).toEqual([
      {
        why: 'the cluster document says onExit: freeze',
        services: 1,
        daemons: ['master'],
        marks: 0,
        stays: [],
      },
    ]);
    expect(unknown.log.of('ipvs.kept')).toMatchObject([
      { why: 'there is no cluster document that says otherwise', services: 1 },
    ]);
    for (const { kernel, daemon } of [frozen, unknown]) {
      expect(tableOf(kernel)).toHaveLength(2);
      expect(await daemon()).toBe('master');
    }
  });
});
