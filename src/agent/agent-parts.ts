/** What an agent is given, and the parts it is made of. */
import type { Identity } from '../core/election/state.ts';
import type { Result } from '../lib/result.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import type { SpecRecord } from '../model/records.ts';
import type { Announcer } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { Fence } from '../ports/fence.ts';
import type { IpvsKernel, NetworkKernel } from '../ports/kernel.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Log } from '../ports/log.ts';
import type { MarkTable } from '../ports/marks.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { GatewayPing } from '../ports/gateway.ts';
import type { Neighbours } from '../ports/neighbours.ts';
import type { Notifier } from '../ports/notifier.ts';
import type { PeerLink } from '../ports/peer-link.ts';
import type { Prober } from '../ports/prober.ts';
import type { Random } from '../ports/random.ts';
import type { StatusLedger } from '../ports/status-ledger.ts';
import type { SysctlLedger, Sysctls } from '../ports/sysctls.ts';
import type { Tracker } from '../ports/tracker.ts';
import type { VrrpLink } from '../ports/vrrp-link.ts';
import type { AddressKeeper } from './address-keeper.ts';
import type { CheckDesk } from './check-desk.ts';
import type { ClusterView } from './cluster-view.ts';
import type { DataPlane } from './data-plane.ts';
import type { DirectorLease } from './director-lease.ts';
import type { GateDesk } from './gate-desk.ts';
import type { GroupLeases } from './group-leases.ts';
import type { HealthDesk } from './health-desk.ts';
import type { HoldLoop } from './hold-loop.ts';
import type { InterfaceMap } from './interfaces.ts';
import type { LocalGate } from './local-gate.ts';
import type { ReconcileLoop } from './reconcile-loop.ts';
import type { ServedDesk } from './served-desk.ts';
import type { SpecDesk } from './spec-desk.ts';
import type { GatewayDesk } from './gateway-desk.ts';
import type { GatewayWatch } from './gateway-watch.ts';
import type { StandInBook } from './stand-in-book.ts';
import type { TrackLoop } from './track-loop.ts';
import type { VrrpDesk } from './vrrp-desk.ts';

export type AgentOptions = {
  readonly me: DirectorId;
  readonly cluster: string;
  readonly keys: Keys;
  readonly version: string;
  readonly identity: Identity;
  readonly startedAt: string;
  readonly devices: InterfaceMap;
  /** What keeps this process from holding anything, in words; empty where nothing does. */
  readonly hostProblems: readonly string[];
  /** Metrics of each real server are exported up to so many of them; default 2000. */
  readonly realServerSeries?: number;
  /** The stored document as a spec; the error is a sentence. */
  readonly parseSpec: (document: unknown) => Result<ClusterSpec, string>;
  /** The same of a record that may be long or packed, with rests; absent: all are parsed at once. */
  readonly loadSpec?: (record: SpecRecord) => Promise<Result<ClusterSpec, string>>;
};

export type AgentPorts = {
  readonly store: ClusterStore;
  readonly network: NetworkKernel;
  /** Null: this kernel builds none, and address lifetimes are the gate. */
  readonly fence: Fence | null;
  readonly neighbours: Neighbours;
  readonly gateway: Pick<GatewayPing, 'ask'>;
  readonly ipvs: IpvsKernel;
  readonly announcer: Announcer;
  readonly peerLink: PeerLink;
  readonly prober: Prober;
  readonly tracker: Tracker;
  readonly notifier: Notifier;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Absent: no firewall mark is written. */
  readonly marks?: MarkTable;
  /** Absent: what is known of checks is not kept on this machine. */
  readonly statuses?: StatusLedger;
  /** Absent: kernel settings are neither looked at nor set. */
  readonly sysctls?: { readonly sysctls: Sysctls; readonly ledger: SysctlLedger };
  /** Absent: nothing of VRRP is said or heard. Closed by the agent, after its last word. */
  readonly vrrp?: VrrpLink;
};

/** Those that others of this folder look into; all of them live as long as the agent. */
export type AgentParts = {
  readonly records: ClusterView;
  readonly specs: SpecDesk;
  readonly gate: LocalGate;
  readonly keeper: AddressKeeper;
  readonly hold: HoldLoop;
  readonly leases: GroupLeases;
  readonly directorLease: DirectorLease;
  readonly reconcile: ReconcileLoop;
  readonly plane: Pick<DataPlane, 'marks' | 'sysctls' | 'quorumTimes'>;
  readonly tracks: TrackLoop;
  readonly desk: HealthDesk;
  readonly checks: Pick<CheckDesk, 'seen' | 'problem' | 'health'>;
  readonly gates: GateDesk;
  readonly served: ServedDesk;
  readonly gateways: GatewayWatch;
  readonly gateway: Pick<GatewayDesk, 'seen'>;
  readonly standIns: StandInBook;
  readonly vrrp: VrrpDesk | null;
};
