/**
 * Whether enough of a virtual service's real servers are live: a sum of weights against a quorum, with
 * hysteresis both ways. The rules are keepalived's, so that a configuration means the same here.
 */
import type { Quorum } from '../../model/cluster.ts';
import type { ServiceId } from '../../model/ids.ts';

export type QuorumWeights = {
  /** Sum of the effective weights of the real servers that are live. */
  readonly live: number;
  /** Sum of the configured weights of all: no quorum can ask for more. */
  readonly total: number;
};

/** Why a service has its quorum or not; a closed list. */
export const QUORUM_REASONS = [
  'reached', // first decision, or regained: live >= need + hysteresis
  'kept', // up before, and not below need - hysteresis
  'not-reached', // first decision, or down before: below need + hysteresis
  'lost', // up before: below need - hysteresis
  'no-live-weight', // nothing is live, whatever the quorum is
] as const;
export type QuorumReason = (typeof QUORUM_REASONS)[number];

export type QuorumDecision = QuorumWeights & {
  readonly isUp: boolean;
  readonly reason: QuorumReason;
  /** Live weight that brings a service up. */
  readonly upAt: number;
  /** Live weight below which a service that is up goes down. */
  readonly downBelow: number;
  /** The configured weights do not add up to what was asked for: they are what is asked for. */
  readonly isLowered: boolean;
};

/** `wasUp` null: nothing is known from before, and the service has to reach the upper threshold. */
export function decideQuorum(
  spec: Pick<Quorum, 'need' | 'hysteresis'>,
  weights: QuorumWeights,
  wasUp: boolean | null,
): QuorumDecision {
  const total = Math.max(weights.total, 1);
  const need = Math.min(Math.max(spec.need, 1), total);
  const hysteresis = Math.min(Math.max(spec.hysteresis, 0), need - 1);
  // With everything live a service is up: a threshold above the total would never be reached.
  const upAt = Math.min(need + hysteresis, total);
  const downBelow = need - hysteresis;
  const isLowered = need < spec.need || upAt < need + hysteresis;
  const reason = judge(weights.live, wasUp, { upAt, downBelow });
  const isUp = reason === 'reached' || reason === 'kept';
  return { ...weights, isUp, reason, upAt, downBelow, isLowered };
}

function judge(
  live: number,
  wasUp: boolean | null,
  { upAt, downBelow }: Pick<QuorumDecision, 'upAt' | 'downBelow'>,
): QuorumReason {
  if (live <= 0) return 'no-live-weight';
  if (wasUp === true) return live < downBelow ? 'lost' : 'kept';
  return live >= upAt ? 'reached' : 'not-reached';
}

export type QuorumEvent = {
  readonly service: ServiceId;
  readonly kind: 'quorum-up' | 'quorum-down';
  readonly decision: QuorumDecision;
};

/**
 * What is to be told after a new decision of each service. A service without a decision before tells
 * only that it starts without its quorum: that it has it is no news.
 */
export function deriveQuorumEvents(
  before: ReadonlyMap<ServiceId, boolean>,
  after: ReadonlyMap<ServiceId, QuorumDecision>,
): readonly QuorumEvent[] {
  const events: QuorumEvent[] = [];
  for (const [service, decision] of after) {
    const wasUp = before.get(service) ?? true;
    if (decision.isUp === wasUp) continue;
    events.push({ service, kind: decision.isUp ? 'quorum-up' : 'quorum-down', decision });
  }
  return events;
}
