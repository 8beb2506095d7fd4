/**
 * Flap damping (design 6): a director that failed a VIP group several times in short order takes it
 * only when nobody else can, until it has been calm for a while. Local to a director and per group; one
 * `Damping` each. A fault is a lapse, an address that cannot be bound, or an interface or a track that
 * fails while holding. The idea of a decaying penalty with two thresholds is that of RFC 2439.
 */
import { type MonoMs, monoMs } from '../../model/ids.ts';

/** What one fault adds is 1. */
export type Damping = {
  /** Penalty when it was last added to; it halves every 60 s from then. */
  readonly penalty: number;
  readonly at: MonoMs;
  /** Went over the limit and has not been calm since. */
  readonly isSuppressed: boolean;
};

export const HALF_LIFE_MS = 60_000;
/** The third fault in short order (each within 40 s of the one before) goes beyond two faults' worth. */
export const SUPPRESS_ABOVE = 2;
/** The group may be taken as usual again when the penalty is no more than this. */
export const REUSE_AT = 1;
/** Bounds the wait after the last of many faults: three half-lives. */
export const PENALTY_MAX = 8;

/** No fault yet. */
export const CALM: Damping = { penalty: 0, at: monoMs(0), isSuppressed: false };

/** After one more fault at `now`. */
export function recordFault(state: Damping, now: MonoMs): Damping {
  const penalty = Math.min(PENALTY_MAX, penaltyAt(state, now) + 1);
  return {
    penalty,
    at: now,
    isSuppressed: isFlapping(state, now) || penalty > SUPPRESS_ABOVE,
  };
}

/** Whether the director should leave the group to others. */
export function isFlapping(state: Damping, now: MonoMs): boolean {
  const calm = calmAt(state);
  return calm !== null && now < calm;
}

/** When it ends to be flapping, if no fault follows; null: it is not suppressed. */
export function calmAt(state: Damping): MonoMs | null {
  if (!state.isSuppressed) return null;
  const halfLives = Math.log2(Math.max(1, state.penalty / REUSE_AT));
  return monoMs(state.at + Math.ceil(halfLives * HALF_LIFE_MS));
}

/** The decayed penalty. */
export function penaltyAt({ penalty, at }: Damping, now: MonoMs): number {
  return penalty * 2 ** (-Math.max(0, now - at) / HALF_LIFE_MS);
}
