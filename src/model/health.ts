/** What probes see and what directors say of it. */
import type { CheckId, DirectorId, MonoMs, RealServerId, ServiceId } from './ids.ts';

/** The result of one probe. */
export type Observation = {
  readonly check: CheckId;
  readonly isUp: boolean;
  /** Human words: "connection refused", "HTTP status 503, wanted 200". */
  readonly detail: string;
  readonly latencyMs: number;
  readonly at: MonoMs;
};

/** A director's opinion on a check, after rise and fall. */
export type Vote = {
  readonly director: DirectorId;
  readonly isUp: boolean;
  /** Wall clock, ISO 8601, for people only. */
  readonly since: string;
  readonly detail: string;
};

/** The cluster's verdict on a check. `initial`: nobody voted yet and nothing was known before. */
export type CheckStatus = {
  readonly isUp: boolean;
  readonly basis: 'majority' | 'kept' | 'initial';
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
