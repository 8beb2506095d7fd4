/** What probes see and what directors say of it. */
import type { ProbeReason } from './check.ts';
import type { CheckId, DirectorId, MonoMs, RealServerId, ServiceId } from './ids.ts';

/** What a check says of the weight: the weight itself, what to add to the configured one, or its share. */
export type DynamicWeight =
  | { readonly kind: 'set'; readonly weight: number }
  | { readonly kind: 'add'; readonly by: number }
  | { readonly kind: 'percent'; readonly percent: number };

/** The result of one probe. */
export type Observation = {
  readonly check: CheckId;
  readonly isUp: boolean;
  /** Human words: "connection refused", "HTTP status 503, wanted 200". */
  readonly detail: string;
  readonly latencyMs: number;
  readonly at: MonoMs;
  /** Why it failed, in one word; null or absent: it did not. */
  readonly reason?: ProbeReason | null;
  /** What the target says of its weight; null or absent: nothing. */
  readonly weight?: DynamicWeight | null;
};

/** Probes in a row that said the same. */
export type VoteEvidence = {
  readonly isUp: boolean;
  readonly detail: string;
  readonly times: number;
  /** Of the last of them. */
  readonly latencyMs: number;
};

/** A director's opinion on a check, after rise and fall. */
export type Vote = {
  readonly director: DirectorId;
  readonly isUp: boolean;
  /** Wall clock, ISO 8601, for people only. */
  readonly since: string;
  readonly detail: string;
  /** What it had seen when it voted, the latest last. Absent: it does not say. */
  readonly seen?: readonly VoteEvidence[];
  /** What this director's last probe says of the weight; null or absent: nothing. */
  readonly weight?: DynamicWeight | null;
};

/**
 * The cluster's verdict on a check. `kept`: what was known stands, as votes do not overrule it. `initial`: nobody
 * voted yet and nothing was known before. `alone`: etcd is away, and what this director finds counts here.
 */
export type CheckStatus = {
  readonly isUp: boolean;
  readonly basis: 'majority' | 'kept' | 'initial' | 'alone';
  readonly votesUp: number;
  readonly votesDown: number;
};

export type AdminState = 'ready' | 'drain' | 'maint';

/** An operator's override of one real server (key `admin/real/<service>/<rs>`). */
export type RealServerOverride = {
  readonly service: ServiceId;
  readonly realServer: RealServerId;
  readonly state: AdminState;
  readonly weight: number | null;
  /** Of a drain; 0: as long as it takes. Absent: as the service says. */
  readonly deadlineMs?: number;
  readonly by: string;
  readonly reason: string;
};
