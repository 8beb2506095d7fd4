/**
 * Every metric leasehold exports: name, help, unit, labels. Dashboards and alert rules use these names,
 * so they are an interface. Every sample also has the labels `cluster` and `director`.
 */

import { SERVICE_CATALOGUE } from './service-catalogue.ts';

/** Seconds and totals show in the name's ending; the others are numbers without a unit. */
export type Unit =
  | 'seconds'
  | 'total'
  | 'boolean'
  | 'count'
  | 'revision'
  | 'epoch'
  | 'weight'
  | 'rate';

type Spec = {
  readonly name: `leasehold_${string}`;
  readonly help: string;
  readonly unit: Unit;
  readonly labels: readonly string[];
};
export type GaugeSpec = Spec & { readonly type: 'gauge' };
export type CounterSpec = Spec & { readonly type: 'counter'; readonly unit: 'total' };
export type HistogramSpec = Spec & {
  readonly type: 'histogram';
  readonly unit: 'seconds';
  /** Upper bounds in seconds. */
  readonly buckets: readonly number[];
};
export type MetricSpec = GaugeSpec | CounterSpec | HistogramSpec;

/** A round trip to the store or to a real server: 1 ms on a good LAN, seconds on a bad day. */
const ROUND_TRIP = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10];
/** From the fast profile's quarter of a second to a WAN's half minute. */
const OUTAGE = [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 30];

export const CATALOGUE = {
  groupOwner: {
    type: 'gauge',
    name: 'leasehold_group_owner',
    help: '1 while this director holds the VIP group, by its own judgement; else 0',
    unit: 'boolean',
    labels: ['group'],
  },
  groupEpoch: {
    type: 'gauge',
    name: 'leasehold_group_epoch',
    help: 'Epoch (fencing token) of the VIP group, where this director knows one',
    unit: 'epoch',
    labels: ['group'],
  },
  leaseRemaining: {
    type: 'gauge',
    name: 'leasehold_lease_remaining_seconds',
    help: 'What is left of the etcd lease that shows the group as held here, 0 where it is not',
    unit: 'seconds',
    labels: ['group'],
  },
  leaseRenew: {
    type: 'histogram',
    name: 'leasehold_lease_renew_seconds',
    help: 'Duration of the rounds that renew the hold, from send to outcome, by result',
    unit: 'seconds',
    labels: ['result'],
    buckets: ROUND_TRIP,
  },
  leaseRenewFailures: {
    type: 'counter',
    name: 'leasehold_lease_renew_failures_total',
    help: 'Rounds that did not renew the hold, by reason',
    unit: 'total',
    labels: ['reason'],
  },
  transitions: {
    type: 'counter',
    name: 'leasehold_transitions_total',
    help: 'Changes of this director between holder and candidate of any VIP group, by reason',
    unit: 'total',
    labels: ['to', 'reason'],
  },
  takeover: {
    type: 'histogram',
    name: 'leasehold_takeover_seconds',
    help: 'From the last sign of life of the former holder to VIPs that are open here',
    unit: 'seconds',
    labels: [],
    buckets: OUTAGE,
  },
  gate: {
    type: 'gauge',
    name: 'leasehold_gate_kind',
    help: '1 for the kernel gate that silences VIPs on this director, 0 for the other kinds',
    unit: 'boolean',
    labels: ['kind'],
  },
  hold: {
    type: 'gauge',
    name: 'leasehold_hold_seconds',
    help: 'D: how long one confirmed round lets the VIPs speak',
    unit: 'seconds',
    labels: [],
  },
  permit: {
    type: 'gauge',
    name: 'leasehold_permit_seconds',
    help: 'P: how late the answer to a round may be and still count',
    unit: 'seconds',
    labels: [],
  },
  handovers: {
    type: 'counter',
    name: 'leasehold_handovers_total',
    help: 'Planned handovers that this director took part in, by what became of them',
    unit: 'total',
    labels: ['step'],
  },
  conflicts: {
    type: 'counter',
    name: 'leasehold_address_conflicts_total',
    help: 'Times that somebody else spoke as a VIP which this director holds',
    unit: 'total',
    labels: ['group'],
  },
  holdBasis: {
    type: 'gauge',
    name: 'leasehold_hold_basis',
    help: '1 for the evidence on which the VIPs speak here, 0 for the others; all 0 where none do',
    unit: 'boolean',
    labels: ['basis'],
  },
  standIn: {
    type: 'gauge',
    name: 'leasehold_group_stand_in',
    help: '1 while this director speaks for the VIP group and the record names another; else 0',
    unit: 'boolean',
    labels: ['group'],
  },
  standInCandidate: {
    type: 'gauge',
    name: 'leasehold_group_stand_in_candidate',
    help: '1 while this director asks network and peers whether it may stand in for the holder of the VIP group; else 0',
    unit: 'boolean',
    labels: ['group'],
  },
  vipsAnswered: {
    type: 'counter',
    name: 'leasehold_vips_answered_total',
    help: 'Times that somebody had the VIPs when this director asked the network before opening them, or that it could not be found out',
    unit: 'total',
    labels: ['group'],
  },
  gatewayReachable: {
    type: 'gauge',
    name: 'leasehold_gateway_reachable',
    help: '1 where the gateway targets answered this director when they were last asked; else 0',
    unit: 'boolean',
    labels: [],
  },
  gatewayLastAnswer: {
    type: 'gauge',
    name: 'leasehold_gateway_last_answer_timestamp_seconds',
    help: 'Wall time of the last answer of the gateway target, in seconds since 1970',
    unit: 'seconds',
    labels: ['target'],
  },
  trackPassing: {
    type: 'gauge',
    name: 'leasehold_track_passing',
    help: '1 while the track of the VIP group passes on this director; else 0',
    unit: 'boolean',
    labels: ['group', 'track'],
  },
  notify: {
    type: 'counter',
    name: 'leasehold_notify_finished_total',
    help: 'Notify programs that ended, by the state they were told and how they ended',
    unit: 'total',
    labels: ['state', 'result'],
  },
  eventLoopLag: {
    type: 'gauge',
    name: 'leasehold_event_loop_lag_seconds',
    help: 'How late the hold loop woke up, at most, since the last reading but one',
    unit: 'seconds',
    labels: [],
  },
  storeRevision: {
    type: 'gauge',
    name: 'leasehold_store_revision',
    help: 'Revision of the store that this director has seen',
    unit: 'revision',
    labels: [],
  },
  storeConnected: {
    type: 'gauge',
    name: 'leasehold_store_connected',
    help: '1 while the store answers this director; else 0',
    unit: 'boolean',
    labels: [],
  },
  specRevision: {
    type: 'gauge',
    name: 'leasehold_spec_revision',
    help: 'Revision of the cluster document that this director enforces; 0 before the first',
    unit: 'revision',
    labels: [],
  },
  specRejected: {
    type: 'gauge',
    name: 'leasehold_spec_rejected',
    help: '1 while the stored cluster document cannot be used and the last good one is; else 0',
    unit: 'boolean',
    labels: [],
  },
  reconcile: {
    type: 'histogram',
    name: 'leasehold_reconcile_seconds',
    help: 'Duration of the passes that make the kernel as it should be, by result',
    unit: 'seconds',
    labels: ['result'],
    buckets: ROUND_TRIP,
  },
  reconcileOperations: {
    type: 'counter',
    name: 'leasehold_reconcile_operations_total',
    help: 'Operations applied to the IPVS table, by kind and result',
    unit: 'total',
    labels: ['op', 'result'],
  },
  reconcileDrift: {
    type: 'counter',
    name: 'leasehold_reconcile_drift_total',
    help: 'Things somebody else had changed in the kernel and that were put back, by kind',
    unit: 'total',
    labels: ['kind'],
  },
  foreignServices: {
    type: 'gauge',
    name: 'leasehold_foreign_services',
    help: 'IPVS services of others in the kernel; they are left alone',
    unit: 'count',
    labels: [],
  },
  ipvsAvailable: {
    type: 'gauge',
    name: 'leasehold_ipvs_available',
    help: '1 where the kernel has IPVS and lets the agent use it; else 0',
    unit: 'boolean',
    labels: [],
  },
  syncDaemon: {
    type: 'gauge',
    name: 'leasehold_sync_daemon_running',
    help: '1 while the IPVS sync daemon runs here, whoever started it; else 0',
    unit: 'boolean',
    labels: ['state'],
  },
  foreignDaemons: {
    type: 'gauge',
    name: 'leasehold_foreign_sync_daemons',
    help: 'IPVS sync daemons of others in the kernel; they are left alone',
    unit: 'count',
    labels: [],
  },
  groupSyncReady: {
    type: 'gauge',
    name: 'leasehold_group_sync_ready',
    help: '1 where the connections of the VIP group are known here as far as sync can tell; else 0',
    unit: 'boolean',
    labels: ['group'],
  },
  groupSyncRemaining: {
    type: 'gauge',
    name: 'leasehold_group_sync_remaining_seconds',
    help: 'How long connection sync still catches up before the VIP group may come here',
    unit: 'seconds',
    labels: ['group'],
  },
  ipvsProblems: {
    type: 'gauge',
    name: 'leasehold_ipvs_problems',
    help: 'Services, timeouts, sync daemons and marks that are not as wanted in this kernel',
    unit: 'count',
    labels: [],
  },
  checkDuration: {
    type: 'histogram',
    name: 'leasehold_check_duration_seconds',
    help: 'Duration of the probes of this director, by kind of check and result',
    unit: 'seconds',
    labels: ['kind', 'result'],
    buckets: ROUND_TRIP,
  },
  checkFailures: {
    type: 'counter',
    name: 'leasehold_check_failures_total',
    help: 'Probes of this director that failed, by kind of check and why (docs/checks.md)',
    unit: 'total',
    labels: ['kind', 'reason'],
  },
  votes: {
    type: 'counter',
    name: 'leasehold_votes_total',
    help: 'Votes of this director on real servers, by what they say; one for each change of mind',
    unit: 'total',
    labels: ['result'],
  },
  garpSent: {
    type: 'counter',
    name: 'leasehold_garp_sent_total',
    help: 'Announcements of VIPs (gratuitous ARP, unsolicited NA) handed to the kernel',
    unit: 'total',
    labels: [],
  },
  garpFailed: {
    type: 'counter',
    name: 'leasehold_garp_failed_total',
    help: 'Announcements of VIPs that the kernel refused',
    unit: 'total',
    labels: [],
  },
  peerLastHeard: {
    type: 'gauge',
    name: 'leasehold_peer_last_heard_seconds',
    help: 'Time since the last authentic message of the peer; absent where none ever came',
    unit: 'seconds',
    labels: ['peer'],
  },
  peerRejected: {
    type: 'counter',
    name: 'leasehold_peer_rejected_total',
    help: 'Messages on the peer port that were dropped, by reason',
    unit: 'total',
    labels: ['reason'],
  },
  vrrpSent: {
    type: 'counter',
    name: 'leasehold_vrrp_sent_total',
    help: 'VRRP advertisements handed to the kernel, one for each neighbour',
    unit: 'total',
    labels: [],
  },
  vrrpFailed: {
    type: 'counter',
    name: 'leasehold_vrrp_failed_total',
    help: 'VRRP advertisements that could not be sent, or were too late to be',
    unit: 'total',
    labels: [],
  },
  vrrpReceived: {
    type: 'counter',
    name: 'leasehold_vrrp_received_total',
    help: 'Valid VRRP advertisements of other routers',
    unit: 'total',
    labels: [],
  },
  vrrpDropped: {
    type: 'counter',
    name: 'leasehold_vrrp_dropped_total',
    help: 'VRRP packets that were dropped, by reason',
    unit: 'total',
    labels: ['reason'],
  },
  ...SERVICE_CATALOGUE,
} as const satisfies Readonly<Record<string, MetricSpec>>;
