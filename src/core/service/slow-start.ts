/**
 * The way of a recovered real server back to its full weight, in few steps. The share follows from
 * since when it has been up, which the statuses tell: a restart or another holder changes nothing.
 */

/** Of equal size, one at once, the full weight after the last. Each is one operation, so they are few. */
export const RAMP_STEPS = 10;

export type Ramp = {
  readonly weight: number;
  /** Until the next step; null: the weight is the full one. */
  readonly nextInMs: number | null;
};

/**
 * `upForMs` null: it is not known since when it is up; then there is no ramp. Never less than 1.
 * Times come from clocks of several machines: a time in the future begins the ramp, and one further
 * away than the ramp is long is a wrong clock, which must not keep a real server from its work.
 */
export function rampWeight(full: number, durationMs: number, upForMs: number | null): Ramp {
  if (upForMs === null || full <= 1) return { weight: full, nextInMs: null };
  if (upForMs >= durationMs || upForMs < -durationMs) return { weight: full, nextInMs: null };
  const stepMs = durationMs / RAMP_STEPS;
  const step = Math.min(Math.floor(Math.max(0, upForMs) / stepMs), RAMP_STEPS - 1);
  const weight = Math.max(1, Math.floor((full * (step + 1)) / (RAMP_STEPS + 1)));
  return { weight, nextInMs: Math.max(1, Math.ceil((step + 1) * stepMs - upForMs)) };
}

/**
 * Since when a real server counts as up by the votes alone: when enough of those that say so today had
 * said it. `upVotesSince` in any order, one time for each vote for up; null where too few.
 * The same on every director that sees the same votes, also on one that has just started.
 */
export function deriveUpSince(upVotesSince: readonly number[], checkers: number): number | null {
  const needed = Math.floor(Math.max(checkers, 1) / 2) + 1;
  const sorted = upVotesSince.toSorted((a, b) => a - b);
  return sorted[needed - 1] ?? null;
}
