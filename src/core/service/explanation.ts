/** Why each real server and each virtual service is in the table as it is: what status and explain tell. */
import type { AdminState, CheckStatus } from '../../model/health.ts';
import type { RealServerId, ServiceId } from '../../model/ids.ts';
import type { Connections, Drain, DrainEnd } from './drain.ts';
import type { FailOpenDecision } from './fail-open.ts';
import type { QuorumDecision } from './quorum.ts';
import type { StandbyStage } from './own-standby.ts';
import type { WeightSteps } from './weight.ts';

/** Why a real server has the weight it has; a closed list. */
export const WEIGHT_REASONS = [
  'up',
  'unchecked', // no check is configured: counts as up
  'slow-start', // up, and on its way back to its full weight
  'fail-open', // down, but more is down at once than is believed
  'down-removed',
  'down-inhibited', // weight 0 instead of removal: inhibitOnFailure
  'sorry-removed', // up, but the quorum is lost and the sorry server answers
  'sorry-inhibited', // the same, with weight 0 instead of removal: inhibitOnFailure
  'admin-drain', // weight 0 until its connections are gone
  'drained', // they are gone, or the deadline has passed
  'admin-maint',
  'standby-cold', // this director has only the services of groups that it holds
  'standby-own', // this director itself: it answers what the holder of the group sends here
  'standby-waits', // another one, beside this director: the holder shares out
  'duplicate', // the same address and port, or the same service, stands earlier in the spec
] as const;
export type WeightReason = (typeof WEIGHT_REASONS)[number];

export type DrainProgress = Pick<Drain, 'cause' | 'sinceMs' | 'deadlineAtMs'> & {
  /** In this director's table, over all IPVS services of the virtual service; null: not seen yet. */
  readonly first: Connections | null;
  readonly left: Connections | null;
  /** Null: it goes on. */
  readonly end: DrainEnd | null;
};

export type Explanation = {
  readonly service: ServiceId;
  readonly realServer: RealServerId;
  /** Null: not to be in the table. */
  readonly wantedWeight: number | null;
  readonly why: WeightReason;
  readonly health: 'up' | 'down' | 'unchecked';
  readonly basis: CheckStatus['basis'] | 'unchecked';
  readonly admin: AdminState;
  /** How its weight comes about while it takes connections. */
  readonly weight: WeightSteps;
  /** When a slow start ends, on the clock of `nowMs`; null: none is under way. */
  readonly fullAtMs: number | null;
  readonly drain: DrainProgress | null;
};

/** What a sorry server does; a closed list. */
export const SORRY_STATES = [
  'none', // the service has none
  'idle', // the quorum is there: not in the table
  'inhibited', // the quorum is there: in the table with weight 0
  'answering', // the quorum is lost
  'held-back', // the quorum is lost, but fail-open keeps the real servers in
  'elsewhere', // the holder's matter: this director is a cold standby, or a real server of the service
] as const;
export type SorryState = (typeof SORRY_STATES)[number];

export type ServiceExplanation = {
  readonly service: ServiceId;
  /** False: a cold standby for its group. */
  readonly isHere: boolean;
  /** What a director that is a real server of it has of it while another one holds the group; null: all. */
  readonly standby: StandbyStage | null;
  readonly quorum: QuorumDecision;
  readonly failOpen: FailOpenDecision;
  readonly sorry: SorryState;
  /** Real servers that the document no longer names and that still have connections. */
  readonly leaving: readonly (DrainProgress & { readonly realServer: RealServerId })[];
};
