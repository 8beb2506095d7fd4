/** What the status says of quorums, drains, ramps, sync daemons and settings: from a real derivation to words. */
import { describe, expect, it } from 'vitest';
import { syncStatus, ipvsProblems, ipvsStatus } from '../../../src/agent/ipvs-status.ts';
import { readServices } from '../../../src/agent/service-reading.ts';
import { QuorumTimes } from '../../../src/agent/quorum-times.ts';
import { NOTHING_RECONCILED, type ReconcileState } from '../../../src/agent/reconcile-state.ts';
import {
  serviceProblems,
  serviceStatuses,
  type ServiceStatusInput,
} from '../../../src/agent/service-status.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import {
  deriveDesired,
  type DesiredFacts,
  NO_FACTS,
} from '../../../src/core/desired/desired-state.ts';
import { deriveSync } from '../../../src/core/desired/sync-daemons.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { stepDrains } from '../../../src/core/service/drain.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import type { CheckStatus, RealServerOverride } from '../../../src/model/health.ts';
import { directorId, groupId, realServerId, serviceId } from '../../../src/model/ids.ts';
import type { IpvsTable } from '../../../src/model/kernel.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';

function specOf(service: object = {}, group: object = {}): ClusterSpec {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' }, d2: { address: '10.90.0.12' } },
    groups: {
      web: { addresses: ['10.90.0.100/24'], interface: 'public', virtualRouterId: 51, ...group },
    },
    services: {
      shop: {
        group: 'web',
        address: '10.90.0.100',
        ports: [80, 443],
        check: { tcp: {}, port: 80 },
        realServers: [
          { address: '10.90.0.21', weight: 2 },
          { address: '10.90.0.22', weight: 1 },
        ],
        ...service,
      },
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.spec;
}

const SHOP = serviceId('shop');
const id = (n: number) => realServerId(`10.90.0.2${n}:0`);
const TRAFFIC = { connections: 5, packetsIn: 4, packetsOut: 3, bytesIn: 2, bytesOut: 1 };

type Day = {
  readonly spec: ClusterSpec;
  readonly down?: readonly string[];
  readonly facts?: Partial<DesiredFacts>;
  readonly overrides?: readonly RealServerOverride[];
  readonly left?: number;
};

/** A director whose kernel is as wanted, with `left` connections at each destination of each key. */
function seen({ spec, down = [], facts = {}, overrides = [], left = 0 }: Day) {
  const { checks, byRealServer } = deriveChecks(spec);
  const statuses = new Map(
    checks.map((check): [typeof check.id, CheckStatus] => [
      check.id,
      { isUp: !down.includes(check.address), basis: 'majority', votesUp: 1, votesDown: 0 },
    ]),
  );
  const nowMs = facts.nowMs ?? 1_000_000;
  const derive = (drains: DesiredFacts['drains']) =>
    deriveDesired({
      spec,
      checks: byRealServer,
      statuses,
      overrides,
      facts: { ...NO_FACTS, ...facts, nowMs, drains },
    });
  const tableOf = (made: ReturnType<typeof derive>): IpvsTable => ({
    services: made.services.map((service) => ({
      ...service,
      counters: TRAFFIC,
      rates: TRAFFIC,
      destinations: service.destinations.map((one) => ({
        ...one,
        activeConnections: left,
        inactiveConnections: 1,
        persistentConnections: 0,
        counters: TRAFFIC,
        rates: TRAFFIC,
      })),
    })),
  });
  const table = tableOf(derive(new Map()));
  const begun = { spec, before: null, overrides, observed: table };
  const drains = stepDrains(stepDrains(new Map(), { ...begun, nowMs: nowMs - 60_000 }), {
    ...begun,
    nowMs,
  });
  const made = derive(drains);
  const reconcile: ReconcileState = {
    ...NOTHING_RECONCILED,
    available: true,
    table: tableOf(made),
    explanations: made.explanations,
    serviceExplanations: made.serviceExplanations,
    sorryActive: made.sorryActive,
    quorums: made.quorums,
    drains,
    drainNowMs: nowMs,
  };
  const input: ServiceStatusInput = {
    spec,
    reconcile,
    marks: null,
    realServerLimit: 2000,
    quorumForMs: () => 42_000,
    checks: byRealServer,
    statuses,
    votesOn: () => undefined,
    overrides,
  };
  const [service] = serviceStatuses(input);
  if (service === undefined) throw new Error('no service');
  const explanation = made.serviceExplanations.get(SHOP) ?? null;
  const [reading] = readServices({ spec, reconcile }).services();
  return { service, problems: serviceProblems(service, explanation), reading };
}

describe('a service', () => {
  it('that is well has sums over its keys and nothing to explain', () => {
    const { service, problems } = seen({ spec: specOf(), left: 10 });
    expect(problems).toEqual([]);
    expect(service).toMatchObject({
      isProgrammed: true,
      isHere: true,
      quorum: { isUp: true, live: 3, total: 3, upAt: 1, downBelow: 1, forMs: 42_000 },
      failOpen: null,
      leaving: [],
      connections: { active: 40, inactive: 4, persistent: 0 },
      counters: { connections: 10, bytesOut: 2 },
    });
    expect(service.realServers[0]).toMatchObject({
      why: 'up',
      explanation: null,
      forward: 'dr',
      activeConnections: 20,
      counters: { connections: 10 },
    });
  });

  it('without its quorum tells weights and bounds, and who answers', () => {
    const sorryServer = { address: '10.90.0.29' };
    const spec = specOf({ quorum: { need: 2, hysteresis: 1 }, sorryServer });
    const { service, problems } = seen({ spec, down: ['10.90.0.21'] });
    expect(service.quorum).toMatchObject({ isUp: false, live: 1, upAt: 3, downBelow: 1 });
    expect(service.sorryServer).toMatchObject({ isActive: true, state: 'answering' });
    expect(problems).toEqual([
      'service shop: the quorum is lost: weight 1 is live, it is back at 3; the sorry server answers',
      'service shop: real server 10.90.0.21:0 is down',
    ]);
    expect(service.realServers[1]?.explanation).toContain('the sorry server answers in its place');
  });

  it('that fails open says so', () => {
    const { service, problems } = seen({ spec: specOf({ failOpen: 50 }), down: ['10.90.0.21'] });
    expect(service.failOpen).toEqual({ isOpen: true, percent: 50, up: 1, down: 2 });
    expect(problems.at(-1)).toContain('fail-open keeps all in');
    expect(service.realServers[0]).toMatchObject({ why: 'fail-open', wantedWeight: 2 });
  });

  it('ramps a real server up, with the time left', () => {
    const spec = specOf({
      slowStart: '100s',
      realServers: [{ address: '10.90.0.21', weight: 100 }],
    });
    const [check] = deriveChecks(spec).checks;
    if (check === undefined) throw new Error('no check');
    const facts = { nowMs: 1_000_000, upSince: new Map([[check.id, 975_000]]) };
    expect(seen({ spec, facts }).service.realServers[0]).toMatchObject({
      why: 'slow-start',
      ramp: { weight: 27, of: 100, remainingMs: 75_000 },
    });
    const future = { nowMs: 1_000_000, upSince: new Map([[check.id, 1_050_000]]) };
    expect(seen({ spec, facts: future }).service.realServers[0]?.ramp?.remainingMs).toBe(100_000);
  });

  it('tells how far a drain is, and its deadline', () => {
    const override: RealServerOverride = {
      service: SHOP,
      realServer: id(1),
      state: 'drain',
      weight: null,
      by: 'op',
      reason: 'disk',
    };
    const spec = specOf({ drain: { deadline: '5m' } });
    const { service, reading } = seen({ spec, overrides: [override], left: 7 });
    // In both of its IPVS services, and one real server.
    expect(reading).toMatchObject({ draining: 1, quorum: { isUp: true, live: 1, needed: 1 } });
    expect([...(reading?.realServers() ?? [])]).toMatchObject([
      { realServer: '10.90.0.21:0', isUp: true, weight: 0, draining: 16, traffic: { active: 14 } },
      { realServer: '10.90.0.22:0', weight: 1, draining: null },
    ]);
    expect(service.realServers[0]).toMatchObject({
      why: 'admin-drain',
      adminReason: 'disk',
      drain: {
        cause: 'admin',
        forMs: 60_000,
        deadlineInMs: 240_000,
        left: { active: 14, inactive: 2, persistent: 0 },
        end: null,
      },
    });
  });

  it('is no problem where this director is a cold standby for it', () => {
    const spec = { ...specOf(), ipvs: { ...specOf().ipvs, standby: 'cold' as const } };
    const { service, problems, reading } = seen({
      spec,
      facts: { groupsHere: new Set() },
      down: ['10.90.0.21', '10.90.0.22'],
    });
    expect(service).toMatchObject({ isHere: false, isProgrammed: false });
    expect(problems).toEqual([]);
    expect(service.realServers[0]?.why).toBe('standby-cold');
    expect(reading).toMatchObject({ quorum: null, traffic: null });
  });
});

describe('connection sync of a group', () => {
  const sync = { connectionSync: { id: 51, interface: 'sync', catchUp: '10s' } };
  const groupOf = (spec: ClusterSpec) => {
    const [group] = spec.groups;
    if (group === undefined) throw new Error('no group');
    return group;
  };
  function statusOf(held: boolean, devices: ReadonlyMap<string, string>, runs = true) {
    const group = groupOf(specOf({}, sync));
    const { explanations, daemons } = deriveSync({
      me: directorId('d1'),
      groups: [group],
      held: new Set(held ? [groupId('web')] : []),
      devices,
      services: [],
    });
    const syncReady = new Map([
      [group.id, { value: false, reason: 'catching-up' as const, remainingMs: 7200.4 }],
    ]);
    return syncStatus(group, {
      ...NOTHING_RECONCILED,
      sync: explanations,
      daemons: runs ? daemons : [],
      ...(held ? {} : { syncReady }),
    });
  }
  const devices = new Map([['sync', 'eth1']]);

  it('tells the daemon, and whether it runs', () => {
    expect(statusOf(true, devices)).toMatchObject({
      why: 'master',
      daemon: { state: 'master', interface: 'eth1', syncId: 51 },
      isRunning: true,
      isReady: true,
      remainingMs: null,
    });
    expect(statusOf(true, devices, false)).toMatchObject({
      isRunning: false,
      detail: expect.stringContaining('the master daemon does not run as wanted'),
    });
  });

  it('tells how long it still catches up', () => {
    expect(statusOf(false, devices)).toMatchObject({
      why: 'backup',
      isReady: false,
      remainingMs: 7200,
      detail: expect.stringContaining('catches up before the group may come here'),
    });
  });

  it('tells what is missing, with the remedy', () => {
    expect(statusOf(false, new Map())).toMatchObject({
      why: 'no-interface',
      daemon: null,
      isRunning: false,
      detail: expect.stringContaining('add it under interfaces'),
    });
    const plain = groupOf(specOf());
    expect(syncStatus(plain, NOTHING_RECONCILED)).toBeNull();
  });
});

describe('the kernel beside services', () => {
  const daemon = (state: 'master' | 'backup') => ({
    state,
    interface: 'eth1',
    syncId: 7,
    maxLength: 1472,
    group: '224.0.0.81' as never,
    port: 8848,
    ttl: 1,
  });

  it('tells timeouts, daemons of others, what is not as wanted, and the metrics that are left out', () => {
    const status = ipvsStatus({
      spec: specOf(),
      reconcile: {
        ...NOTHING_RECONCILED,
        timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 },
        daemons: [daemon('master'), daemon('backup')],
        foreignDaemons: [daemon('backup')],
        controlProblems: new Map([['timeouts', 'EPERM']]),
      },
      marks: { problem: 'no nf_tables', problems: new Map(), entries: [], driftRepaired: 0 },
      sysctls: null,
      realServerLimit: 1,
    });
    expect(status).toMatchObject({
      timeouts: { tcpS: 900 },
      daemons: [
        { state: 'master', isForeign: false },
        { state: 'backup', isForeign: true },
      ],
      problems: ['timeouts: EPERM', 'firewall marks: no nf_tables'],
      realServerSeries: { isExported: false, realServers: 2, limit: 1 },
    });
  });

  it('has problems where the document asks for what does not work; advice is none', () => {
    const finding = (severity: 'problem' | 'advice') => ({
      name: 'net.ipv4.ip_forward',
      value: '0',
      severity,
      text: `${severity}: net.ipv4.ip_forward is 0`,
    });
    const input = {
      spec: specOf(),
      reconcile: NOTHING_RECONCILED,
      marks: null,
      sysctls: {
        findings: [finding('problem'), finding('advice')],
        values: new Map(),
        changed: new Map(),
      },
      realServerLimit: 2000,
    };
    expect(ipvsProblems(input)).toEqual(['kernel setting: problem: net.ipv4.ip_forward is 0']);
    expect(ipvsStatus(input).settings).toHaveLength(2);
  });
});

describe('since when a service has its quorum', () => {
  it('is known from the first change on, and forgotten with the service', async () => {
    const clock = new FakeClock();
    const times = new QuorumTimes(clock);
    const up = new Map([[SHOP, true]]);
    const down = new Map([[SHOP, false]]);
    times.decided(new Map(), up);
    expect(times.forMs(SHOP)).toBeNull();
    times.decided(up, down);
    await clock.advance(5000);
    times.decided(down, new Map(down));
    expect(times.forMs(SHOP)).toBe(5000);
    times.decided(down, up);
    expect(times.forMs(SHOP)).toBe(0);
    times.decided(up, new Map());
    expect(times.forMs(SHOP)).toBeNull();
  });
});
