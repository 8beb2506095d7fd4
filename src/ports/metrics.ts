/** The typed catalogue of everything that is measured; `adapters/prom` exports it, tests ignore it. */
import type { ProbeReason } from '../model/check.ts';
import type { IpAddress } from '../model/address.ts';
import type { HoldBasis } from '../model/decision.ts';
import type { DirectorId, GroupId } from '../model/ids.ts';
import type { GateKind } from '../model/kernel.ts';
import type { ServicesReading } from './service-reading.ts';
import type { VrrpCounters } from './vrrp-link.ts';

/** Counters only grow; gauges are set. Names, help texts and units: `adapters/prom/catalogue.ts`. */
export interface Metrics {
  holder(group: GroupId, isHolder: boolean, epoch: number | null): void;
  transition(to: 'holder' | 'candidate', reason: string): void;
  roundFinished(
    seconds: number,
    result: 'confirmed' | 'lost' | 'ambiguous' | 'refused' | 'late',
  ): void;
  leaseRemaining(group: GroupId, seconds: number): void;
  /** Of holding, all other groups have left the document and are given up: nothing is said of them any more. */
  keepGroups(groups: ReadonlySet<GroupId>): void;
  takeover(seconds: number): void;
  eventLoopLag(seconds: number): void;
  /** D and P as this director uses them. */
  holdTiming(holdSeconds: number, permitSeconds: number): void;
  /** The gate that this director's kernel allows; exactly one kind is 1. */
  gate(kind: GateKind): void;
  /** Steps of planned handovers that this director took part in. */
  handover(step: 'started' | 'completed' | 'failed'): void;
  /** Somebody else spoke as a VIP that this director holds. */
  conflict(group: GroupId): void;
  /** On what evidence the kernel was armed last; exactly one is 1. Null: this director speaks for nothing. */
  holdBasis(basis: HoldBasis | null): void;
  /** Whether this director speaks for the group in its holder's place, or is about to, without etcd. */
  standIn(group: GroupId, role: 'none' | 'candidate' | 'stand-in'): void;
  /** Before the groups of another spec are told. */
  forgetStandIns(): void;
  /** Somebody had the VIPs of the group when this director asked the network before it would open them. */
  vipsAnswered(group: GroupId): void;
  /** Whether the gateway targets answered the last time that they were asked. */
  gateway(isReachable: boolean): void;
  /** A target answered, at this wall time; the set of targets is the document's. */
  gatewayAnswered(target: IpAddress, wallSeconds: number): void;
  /** Before the targets of another spec are asked. */
  forgetGateways(): void;
  track(group: GroupId, track: string, isPassing: boolean): void;
  /** Before the tracks of another spec are told. */
  forgetTracks(): void;
  notifyFinished(state: string, result: 'ok' | 'failed' | 'timeout'): void;
  storeRevision(revision: number): void;
  storeConnected(isConnected: boolean): void;
  specRevision(revision: number): void;
  specRejected(isRejected: boolean): void;
  reconcileFinished(seconds: number, result: 'ok' | 'failed'): void;
  operationApplied(op: string, result: 'ok' | 'failed', count: number): void;
  driftRepaired(kind: 'service' | 'destination' | 'address' | 'mark', count: number): void;
  foreignServices(count: number): void;
  ipvsAvailable(isAvailable: boolean): void;
  /** Called when somebody reads the metrics; the last one given counts. */
  services(read: () => ServicesReading): void;
  /** Which IPVS sync daemons run here, and how many of them others run. */
  syncDaemons(
    running: { readonly master: boolean; readonly backup: boolean },
    foreign: number,
  ): void;
  /** Of a group with connection sync. */
  groupSync(group: GroupId, isReady: boolean, remainingSeconds: number): void;
  /** Before the groups of another spec are told. */
  forgetGroupSyncs(): void;
  /** Services, timeouts, sync daemons and marks that are not as wanted. */
  ipvsProblems(count: number): void;
  probe(kind: string, isUp: boolean, seconds: number): void;
  /** Many at once that ended alike. */
  probes(kind: string, isUp: boolean, seconds: readonly number[]): void;
  /** So many probes of the kind failed for the reason. */
  probeFailures(kind: string, reason: ProbeReason, count: number): void;
  vote(isUp: boolean): void;
  /** Totals since the start, as the announcer counts them. */
  announcements(sent: number, failed: number): void;
  /** Null: never heard, or no peer any more. */
  peer(director: DirectorId, lastHeardSeconds: number | null): void;
  /** Totals since the start, as the peer link counts them. */
  peerRejected(malformed: number, unauthentic: number, replayed: number): void;
  /** Totals since the start, as the VRRP link counts them. */
  vrrp(counters: VrrpCounters): void;
}
