/** The exported metrics: the promised names, help and units for all, and values as they were told. */
import { VRRP_DROPS, type VrrpDrop } from '../../../../src/model/vrrp.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { register } from 'prom-client';
import { CATALOGUE, type MetricSpec } from '../../../../src/adapters/prom/catalogue.ts';
import { createPromMetrics } from '../../../../src/adapters/prom/prom-metrics.ts';
import type { NotifyState } from '../../../../src/core/notify/transitions.ts';
import { directorId, groupId } from '../../../../src/model/ids.ts';
import { type IpAddress, parseIp } from '../../../../src/model/address.ts';
import { HOLD_BASES } from '../../../../src/model/decision.ts';
import { GATE_KINDS } from '../../../../src/model/kernel.ts';
import type { Metrics } from '../../../../src/ports/metrics.ts';
import type {
  RealServerReading,
  ServicesReading,
  TrafficReading,
} from '../../../../src/ports/service-reading.ts';
import type { MetricsText } from '../../../../src/ports/metrics-text.ts';

/** What dashboards, alert rules and users were promised. */
const PROMISED = [
  'leasehold_group_owner',
  'leasehold_group_epoch',
  'leasehold_lease_remaining_seconds',
  'leasehold_lease_renew_seconds',
  'leasehold_lease_renew_failures_total',
  'leasehold_event_loop_lag_seconds',
  'leasehold_gate_kind',
  'leasehold_handovers_total',
  'leasehold_address_conflicts_total',
  'leasehold_hold_basis',
  'leasehold_group_stand_in',
  'leasehold_group_stand_in_candidate',
  'leasehold_vips_answered_total',
  'leasehold_gateway_reachable',
  'leasehold_gateway_last_answer_timestamp_seconds',
  'leasehold_track_passing',
  'leasehold_notify_finished_total',
  'leasehold_takeover_seconds',
  'leasehold_transitions_total',
  'leasehold_garp_sent_total',
  'leasehold_check_duration_seconds',
  'leasehold_check_failures_total',
  'leasehold_real_server_up',
  'leasehold_reconcile_seconds',
  'leasehold_reconcile_operations_total',
  'leasehold_reconcile_drift_total',
  'leasehold_foreign_services',
  'leasehold_process_resident_memory_bytes',
  'leasehold_process_start_time_seconds',
  'leasehold_nodejs_eventloop_lag_p99_seconds',
];

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

let metrics: Metrics & MetricsText;

beforeEach(() => {
  metrics = createPromMetrics({ director: directorId('d1'), cluster: 'lab' });
});

afterEach(() => {
  // Nothing of ours may reach the global registry: two agents in one process would collide.
  expect(register.getMetricsAsArray()).toEqual([]);
});

/** The value of one sample; labels in any order, besides those of every sample. Null: not there. */
async function sample(name: string, labels: Record<string, string> = {}): Promise<number | null> {
  const wanted = Object.entries({ ...labels, cluster: 'lab', director: 'd1' })
    .map(([key, value]) => `${key}="${value}"`)
    .toSorted();
  for (const line of (await metrics.render()).split('\n')) {
    const match = /^([a-z_0-9]+)\{(.*)\} (\S+)$/.exec(line);
    if (match?.[1] !== name) continue;
    const found = (match[2] ?? '').match(/[a-z_]+="(?:[^"\\]|\\.)*"/g) ?? [];
    if (found.toSorted().join() === wanted.join()) return Number(match[3]);
  }
  return null;
}

describe('the catalogue', () => {
  const specs: readonly MetricSpec[] = Object.values(CATALOGUE);

  it('has the promised names, each with its help in the text', async () => {
    const text = await metrics.render();
    for (const name of PROMISED) expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.{9,}$`, 'm'));
  });

  it('is exported in full, with help and type', async () => {
    const lines = (await metrics.render()).split('\n');
    for (const { name, help, type } of specs) {
      expect(lines).toContain(`# HELP ${name} ${help}`);
      expect(lines).toContain(`# TYPE ${name} ${type}`);
    }
  });

  it.each(specs.map((spec) => [spec.name, spec] as const))('%s ends in its unit', (name, spec) => {
    expect(name).toMatch(/^leasehold_[a-z]+(_[a-z]+)+$/);
    expect(name.endsWith('_seconds')).toBe(spec.unit === 'seconds');
    expect(name.endsWith('_total')).toBe(spec.unit === 'total');
    expect(spec.type === 'counter').toBe(spec.unit === 'total');
    expect(spec.help.length).toBeGreaterThan(20);
  });

  it('names each metric once, and its buckets rise', () => {
    expect(new Set(specs.map(({ name }) => name)).size).toBe(specs.length);
    for (const spec of specs)
      if (spec.type === 'histogram')
        expect(spec.buckets).toEqual(spec.buckets.toSorted((a, b) => a - b));
  });

  it('says what kind of text it is', () => {
    expect(metrics.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  });
});

describe('holding', () => {
  const web = groupId('web');

  it('shows who holds, the epoch and what is left', async () => {
    metrics.holder(web, true, 42);
    metrics.leaseRemaining(web, 2.5);
    expect(await sample('leasehold_group_owner', { group: 'web' })).toBe(1);
    expect(await sample('leasehold_group_epoch', { group: 'web' })).toBe(42);
    expect(await sample('leasehold_lease_remaining_seconds', { group: 'web' })).toBe(2.5);
  });

  it('forgets what is left when the group is given up', async () => {
    metrics.holder(web, true, 42);
    metrics.leaseRemaining(web, 2.5);
    metrics.holder(web, false, null);
    expect(await sample('leasehold_group_owner', { group: 'web' })).toBe(0);
    expect(await sample('leasehold_group_epoch', { group: 'web' })).toBeNull();
    expect(await sample('leasehold_lease_remaining_seconds', { group: 'web' })).toBeNull();
  });

  it('says nothing more of a group that has left the document', async () => {
    const mail = groupId('mail');
    metrics.holder(web, true, 42);
    metrics.holder(web, false, null);
    for (const group of [web, mail]) metrics.leaseRemaining(group, 0);
    metrics.keepGroups(new Set([mail]));
    for (const name of ['group_owner', 'lease_remaining_seconds', 'address_conflicts_total'])
      expect(await sample(`leasehold_${name}`, { group: 'web' })).toBeNull();
    expect(await sample('leasehold_lease_remaining_seconds', { group: 'mail' })).toBe(0);
    metrics.holder(web, true, 43);
    expect(await sample('leasehold_group_owner', { group: 'web' })).toBe(1);
  });

  it('counts rounds by result, and every result but confirmed as a failure', async () => {
    metrics.roundFinished(0.003, 'confirmed');
    metrics.roundFinished(0.004, 'confirmed');
    metrics.roundFinished(0.8, 'late');
    const count = 'leasehold_lease_renew_seconds_count';
    expect(await sample(count, { result: 'confirmed' })).toBe(2);
    expect(await sample(count, { result: 'late' })).toBe(1);
    expect(await sample('leasehold_lease_renew_failures_total', { reason: 'late' })).toBe(1);
    expect(
      await sample('leasehold_lease_renew_failures_total', { reason: 'confirmed' }),
    ).toBeNull();
    const bucket = 'leasehold_lease_renew_seconds_bucket';
    expect(await sample(bucket, { result: 'confirmed', le: '0.0025' })).toBe(0);
    expect(await sample(bucket, { result: 'confirmed', le: '0.005' })).toBe(2);
  });

  it('counts transitions and takeovers', async () => {
    metrics.transition('holder', 'holder-dead');
    metrics.takeover(4.2);
    metrics.eventLoopLag(0.02);
    const labels = { to: 'holder', reason: 'holder-dead' };
    // Another reading would be the last but one.
    expect(await sample('leasehold_event_loop_lag_seconds')).toBe(0.02);
    expect(await sample('leasehold_transitions_total', labels)).toBe(1);
    expect(await sample('leasehold_takeover_seconds_sum')).toBe(4.2);
  });

  it('show a late wake to the next two readers, however many in time came after it', async () => {
    metrics.eventLoopLag(0.3);
    metrics.eventLoopLag(0.001);
    const lag = (): Promise<number | null> => sample('leasehold_event_loop_lag_seconds');
    expect(await lag()).toBe(0.3);
    metrics.eventLoopLag(0.002);
    expect(await lag()).toBe(0.3);
    expect(await lag()).toBe(0.002);
    expect(await lag()).toBe(0);
  });
});

describe('the gate', () => {
  it('is of one kind at a time', async () => {
    metrics.gate('address-lifetime');
    metrics.gate('netdev');
    for (const kind of GATE_KINDS)
      expect(await sample('leasehold_gate_kind', { kind })).toBe(Number(kind === 'netdev'));
  });

  it('shows D and P beside the lag of the loop', async () => {
    metrics.holdTiming(0.5, 0.125);
    expect(await sample('leasehold_hold_seconds')).toBe(0.5);
    expect(await sample('leasehold_permit_seconds')).toBe(0.125);
  });

  it('counts handovers and conflicts from zero, so that the first one shows', async () => {
    const handovers = 'leasehold_handovers_total';
    const conflicts = 'leasehold_address_conflicts_total';
    metrics.holder(groupId('web'), true, 42);
    expect(await sample(handovers, { step: 'failed' })).toBe(0);
    expect(await sample(conflicts, { group: 'web' })).toBe(0);
    metrics.handover('failed');
    metrics.conflict(groupId('web'));
    expect(await sample(handovers, { step: 'failed' })).toBe(1);
    expect(await sample(conflicts, { group: 'web' })).toBe(1);
  });
});

describe('the gateway', () => {
  it('is there from its first question to the next change of the targets', async () => {
    const lastAnswer = 'leasehold_gateway_last_answer_timestamp_seconds';
    const target = '10.90.0.1';
    expect(await sample('leasehold_gateway_reachable')).toBeNull();
    metrics.gateway(true);
    metrics.gatewayAnswered(ip(target), 1_767_225_600.5);
    expect(await sample('leasehold_gateway_reachable')).toBe(1);
    expect(await sample(lastAnswer, { target })).toBe(1_767_225_600.5);
    metrics.gateway(false);
    expect(await sample('leasehold_gateway_reachable')).toBe(0);
    expect(await sample(lastAnswer, { target })).toBe(1_767_225_600.5);
    metrics.forgetGateways();
    expect(await sample('leasehold_gateway_reachable')).toBeNull();
    expect(await sample(lastAnswer, { target })).toBeNull();
  });
});

describe('what speaks without etcd', () => {
  it('is one basis at most', async () => {
    const bases = () =>
      Promise.all(HOLD_BASES.map((basis) => sample('leasehold_hold_basis', { basis })));
    metrics.holdBasis('segment');
    expect(await bases()).toEqual([0, 0, 0, 1]);
    metrics.holdBasis(null);
    expect(await bases()).toEqual([0, 0, 0, 0]);
  });

  it('is a stand-in, a candidate or neither, of each group', async () => {
    const group = groupId('web');
    const now = () =>
      Promise.all(
        ['leasehold_group_stand_in', 'leasehold_group_stand_in_candidate'].map((name) =>
          sample(name, { group }),
        ),
      );
    metrics.standIn(group, 'candidate');
    expect(await now()).toEqual([0, 1]);
    metrics.standIn(group, 'stand-in');
    expect(await now()).toEqual([1, 0]);
    metrics.standIn(group, 'none');
    expect(await now()).toEqual([0, 0]);
    metrics.forgetStandIns();
    expect(await now()).toEqual([null, null]);
  });

  it('counts who had the VIPs, from zero on', async () => {
    const group = groupId('web');
    const name = 'leasehold_vips_answered_total';
    metrics.standIn(group, 'none');
    expect(await sample(name, { group })).toBe(0);
    metrics.vipsAnswered(group);
    metrics.standIn(group, 'none');
    expect(await sample(name, { group })).toBe(1);
  });
});

describe('tracks and notify programs', () => {
  it('are shown and counted', async () => {
    const labels = { group: 'web', track: 'script /bin/check' };
    metrics.track(groupId('web'), labels.track, true);
    expect(await sample('leasehold_track_passing', labels)).toBe(1);
    metrics.track(groupId('web'), labels.track, false);
    expect(await sample('leasehold_track_passing', labels)).toBe(0);
    metrics.notifyFinished('MASTER', 'timeout');
    const finished = { state: 'MASTER', result: 'timeout' };
    expect(await sample('leasehold_notify_finished_total', finished)).toBe(1);
  });

  it('count programs from 0 on: an alert sees no increase in what begins with 1', async () => {
    const states: readonly NotifyState[] = ['MASTER', 'BACKUP', 'FAULT', 'STOP'];
    for (const state of states)
      for (const result of ['ok', 'failed', 'timeout'])
        expect(await sample('leasehold_notify_finished_total', { state, result })).toBe(0);
  });
});

describe('store and spec', () => {
  it('show what is known', async () => {
    metrics.storeRevision(7);
    metrics.storeConnected(true);
    metrics.specRevision(6);
    metrics.specRejected(true);
    expect(await sample('leasehold_store_revision')).toBe(7);
    expect(await sample('leasehold_store_connected')).toBe(1);
    expect(await sample('leasehold_spec_revision')).toBe(6);
    expect(await sample('leasehold_spec_rejected')).toBe(1);
    metrics.storeConnected(false);
    metrics.specRejected(false);
    expect(await sample('leasehold_store_connected')).toBe(0);
    expect(await sample('leasehold_spec_rejected')).toBe(0);
  });
});

describe('the kernel', () => {
  it('shows passes, operations, drift and foreign services', async () => {
    metrics.reconcileFinished(0.1, 'ok');
    metrics.operationApplied('add-service', 'ok', 3);
    metrics.operationApplied('add-service', 'failed', 1);
    metrics.driftRepaired('destination', 2);
    metrics.foreignServices(5);
    metrics.ipvsAvailable(true);
    const operations = 'leasehold_reconcile_operations_total';
    expect(await sample('leasehold_reconcile_seconds_count', { result: 'ok' })).toBe(1);
    expect(await sample(operations, { op: 'add-service', result: 'ok' })).toBe(3);
    expect(await sample(operations, { op: 'add-service', result: 'failed' })).toBe(1);
    expect(await sample('leasehold_reconcile_drift_total', { kind: 'destination' })).toBe(2);
    expect(await sample('leasehold_foreign_services')).toBe(5);
    expect(await sample('leasehold_ipvs_available')).toBe(1);
  });
});

describe('health', () => {
  it('counts probes and votes', async () => {
    metrics.probe('http', false, 1);
    metrics.vote(true);
    metrics.vote(false);
    metrics.vote(false);
    metrics.probeFailures('http', 'wrong-status', 3);
    const failures = { kind: 'http', reason: 'wrong-status' };
    expect(await sample('leasehold_check_failures_total', failures)).toBe(3);
    const probes = 'leasehold_check_duration_seconds_count';
    expect(await sample(probes, { kind: 'http', result: 'down' })).toBe(1);
    expect(await sample('leasehold_votes_total', { result: 'up' })).toBe(1);
    expect(await sample('leasehold_votes_total', { result: 'down' })).toBe(2);
  });
});

describe('the network', () => {
  it('takes totals, and never lets a counter fall', async () => {
    metrics.announcements(10, 1);
    metrics.announcements(15, 1);
    metrics.announcements(3, 0);
    metrics.announcements(16, 2);
    metrics.peerRejected(1, 0, 2);
    metrics.peerRejected(1, 4, 3);
    expect(await sample('leasehold_garp_sent_total')).toBe(16);
    expect(await sample('leasehold_garp_failed_total')).toBe(2);
    const rejected = 'leasehold_peer_rejected_total';
    expect(await sample(rejected, { reason: 'malformed' })).toBe(1);
    expect(await sample(rejected, { reason: 'unauthentic' })).toBe(4);
    expect(await sample(rejected, { reason: 'replayed' })).toBe(3);
  });

  it('counts advertisements, and what was dropped by reason', async () => {
    const nothing = Object.fromEntries(VRRP_DROPS.map((drop) => [drop, 0]));
    const dropped = { ...nothing, checksum: 2 } as Record<VrrpDrop, number>;
    metrics.vrrp({ sent: 3, failed: 1, received: 4, dropped });
    metrics.vrrp({ sent: 5, failed: 1, received: 4, dropped });
    expect(await sample('leasehold_vrrp_sent_total')).toBe(5);
    expect(await sample('leasehold_vrrp_failed_total')).toBe(1);
    expect(await sample('leasehold_vrrp_received_total')).toBe(4);
    expect(await sample('leasehold_vrrp_dropped_total', { reason: 'checksum' })).toBe(2);
    expect(await sample('leasehold_vrrp_dropped_total', { reason: 'ttl' })).toBe(0);
  });

  it('shows when a peer was heard last, and nothing where it never was', async () => {
    const last = 'leasehold_peer_last_heard_seconds';
    metrics.peer(directorId('d2'), 0.4);
    expect(await sample(last, { peer: 'd2' })).toBe(0.4);
    metrics.peer(directorId('d2'), null);
    expect(await sample(last, { peer: 'd2' })).toBeNull();
  });
});

describe('two directors in one process', () => {
  it('have metrics of their own', async () => {
    const other = createPromMetrics({ director: directorId('d2'), cluster: 'lab' });
    metrics.foreignServices(1);
    other.foreignServices(2);
    expect(await sample('leasehold_foreign_services')).toBe(1);
    expect(await other.render()).toContain(
      'leasehold_foreign_services{cluster="lab",director="d2"} 2',
    );
  });
});

describe('services and real servers', () => {
  const TRAFFIC: TrafficReading = {
    active: 3,
    inactive: 2,
    templates: 1,
    counters: { connections: 50, packetsIn: 40, packetsOut: 30, bytesIn: 20, bytesOut: 10 },
    rates: { connections: 5, packetsIn: 4, packetsOut: 3, bytesIn: 2, bytesOut: 1 },
  };
  const server = (realServer: string, fields: Partial<RealServerReading> = {}) => ({
    realServer,
    isUp: true,
    weight: 3,
    traffic: TRAFFIC,
    draining: null,
    health: { votesUp: 2, votesDown: 1, changedAtMs: 1_700_000_000_500 },
    ...fields,
  });
  const reading = (servers: readonly RealServerReading[]): ServicesReading => ({
    services: () => [
      {
        service: 'http',
        quorum: { isUp: false, live: 2, needed: 4 },
        isSorryActive: true,
        isFailOpen: false,
        draining: 1,
        traffic: TRAFFIC,
        realServers: () => servers,
      },
    ],
    realServers: servers.length,
  });
  const service = { service: 'http' };
  const labels = { ...service, real_server: '[fd90::21]:80' };

  it('are told as they are when somebody asks', async () => {
    let servers = [server('[fd90::21]:80', { draining: 7 })];
    metrics.services(() => reading(servers));
    expect(await sample('leasehold_real_server_up', labels)).toBe(1);
    expect(await sample('leasehold_real_server_weight', labels)).toBe(3);
    expect(await sample('leasehold_real_server_votes', { ...labels, result: 'up' })).toBe(2);
    expect(await sample('leasehold_real_server_votes', { ...labels, result: 'down' })).toBe(1);
    const changed = 'leasehold_real_server_last_change_timestamp_seconds';
    expect(await sample(changed, labels)).toBe(1_700_000_000.5);
    expect(await sample('leasehold_real_server_drain_connections', labels)).toBe(7);
    expect(await sample('leasehold_real_server_active_connections', labels)).toBe(3);
    const out = { ...labels, direction: 'out' };
    expect(await sample('leasehold_real_server_bytes_total', out)).toBe(10);
    expect(await sample('leasehold_real_server_packets_rate', out)).toBe(3);
    expect(await sample('leasehold_service_quorum_up', service)).toBe(0);
    expect(await sample('leasehold_service_live_weight', service)).toBe(2);
    expect(await sample('leasehold_service_quorum_weight', service)).toBe(4);
    expect(await sample('leasehold_service_sorry_active', service)).toBe(1);
    expect(await sample('leasehold_service_connections_total', service)).toBe(50);
    expect(await sample('leasehold_service_bytes_rate', { ...service, direction: 'in' })).toBe(2);
    servers = [];
    expect(await sample('leasehold_real_server_up', labels)).toBeNull();
  });

  it('are told for each service alone where there are too many real servers', async () => {
    metrics = createPromMetrics({
      director: directorId('d1'),
      cluster: 'lab',
      realServerSeries: 1,
    });
    metrics.services(() => reading([server('[fd90::21]:80')]));
    expect(await sample('leasehold_real_server_up', labels)).toBe(1);
    expect(await sample('leasehold_real_server_series')).toBe(1);
    metrics.services(() => reading([server('[fd90::21]:80'), server('[fd90::22]:80')]));
    expect(await sample('leasehold_real_server_up', labels)).toBeNull();
    expect(await sample('leasehold_service_connections_total', service)).toBe(50);
    expect(await sample('leasehold_real_server_series')).toBe(0);
    expect(await sample('leasehold_real_servers')).toBe(2);
  });

  it('leave out what is not in the table, and escape names', async () => {
    metrics.services(() => reading([server('a"b', { traffic: null })]));
    const text = await metrics.render();
    expect(text).toContain('real_server="a\\"b"');
    expect(text).not.toMatch(/^leasehold_real_server_active_connections\{/m);
  });

  it('are written once for all who ask at the same time, and anew for who asks later', async () => {
    let readings = 0;
    metrics.services(() => {
      readings++;
      return reading([server('[fd90::21]:80')]);
    });
    const [one, other] = await Promise.all([metrics.render(), metrics.render()]);
    expect(other).toBe(one);
    expect(readings).toBe(1);
    await metrics.render();
    expect(readings).toBe(2);
  });

  it('let other work go on while tens of thousands are written', async () => {
    const servers = Array.from({ length: 2000 }, (_, n) => server(`10.0.${n >> 8}.${n & 255}:80`));
    metrics.services(() => reading(servers));
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const text = await metrics.render();
    isDone = true;
    expect(turns).toBeGreaterThan(15);
    expect(text.split('\n').length).toBeGreaterThan(30_000);
    // Each metric once, with all its samples in one piece.
    const types = text.match(/^# TYPE (\S+)/gm) ?? [];
    expect(new Set(types).size).toBe(types.length);
  });
});

describe('connection sync', () => {
  it('is told for daemons and groups', async () => {
    metrics.syncDaemons({ master: true, backup: false }, 1);
    metrics.groupSync(groupId('web'), false, 7.5);
    metrics.ipvsProblems(2);
    expect(await sample('leasehold_sync_daemon_running', { state: 'master' })).toBe(1);
    expect(await sample('leasehold_sync_daemon_running', { state: 'backup' })).toBe(0);
    expect(await sample('leasehold_foreign_sync_daemons')).toBe(1);
    expect(await sample('leasehold_group_sync_ready', { group: 'web' })).toBe(0);
    expect(await sample('leasehold_group_sync_remaining_seconds', { group: 'web' })).toBe(7.5);
    expect(await sample('leasehold_ipvs_problems')).toBe(2);
    metrics.forgetGroupSyncs();
    expect(await sample('leasehold_group_sync_ready', { group: 'web' })).toBeNull();
  });
});
