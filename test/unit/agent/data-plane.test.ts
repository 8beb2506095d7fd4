/** What the election holds, as the data plane takes it: who tells connections, what a cold standby has, the end. */
import { describe, expect, it } from 'vitest';
import { DataPlane } from '../../../src/agent/data-plane.ts';
import type { AgentParts, AgentPorts } from '../../../src/agent/agent-parts.ts';
import { ok } from '../../../src/lib/result.ts';
import type { ClusterSpec, IpvsSpec } from '../../../src/model/cluster.ts';
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

/** Kernel settings in memory. */
function memorySysctls(): NonNullable<AgentPorts['sysctls']> {
  const values = new Map([['net.ipv4.vs.conntrack', '0']]);
  return {
    sysctls: {
      read: async (names) => new Map(names.map((name) => [name, ok(values.get(name) ?? null)])),
      write: async (name, value) => {
        values.set(name, value);
        return ok(undefined);
      },
    },
    ledger: { load: async () => ok(new Map()), save: async () => ok(undefined) },
  };
}

function setUp(ipvs: Partial<IpvsSpec> = {}, own: readonly string[] = []) {
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
    holdings: new Map<GroupId, { kind: Kind }>(),
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
      sysctls: memorySysctls(),
    },
    { parts: () => parts, passed: () => {}, record: () => {} },
  );
  const stop = new AbortController();
  for (const loop of plane.loops()) void loop(stop.signal);
  const is = async (kind: Kind | null, ms = 50): Promise<void> => {
    election.session = { kind: 'open' };
    election.holdings = new Map(kind === null ? [] : [[WEB, { kind }]]);
    plane.look();
    await clock.advance(ms);
  };
  const daemon = async (): Promise<string | null> => {
    const read = await kernel.daemons();
    return read.ok ? (read.value[0]?.state ?? null) : null;
  };
  return { clock, kernel, ledger, log, marks, election, document, plane, stop, is, daemon };
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
      ['leaving', WHOLE],
      ['closing', READY],
      ['shut', ALONE],
    ] as const) {
      await is(kind);
      expect([kind, table(kernel)]).toEqual([kind, wanted]);
    }
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
