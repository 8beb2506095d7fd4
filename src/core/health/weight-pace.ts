/**
 * How fast a director tells other weights: each is a write to the store, and weights that follow a load change at
 * every look. A few are told at once; of many each waits for its turn, and only its latest weight is told.
 */
import type { MonoMs } from '../../model/ids.ts';

/** Writes per second that all weights of one director may cost in the long run. */
export const WEIGHTS_PER_S = 50;
/** So many at once after a time without any. */
export const WEIGHTS_AT_ONCE = 200;

/** `left`: how many may be told now, a fraction counts on; as of `at`. */
export type WeightPace = { readonly left: number; readonly at: MonoMs };

export const freshPace = (at: MonoMs): WeightPace => ({ left: WEIGHTS_AT_ONCE, at });

/** The pace `wanted` weights later, and how many of them may be told now. */
export function spend(
  { left, at }: WeightPace,
  now: MonoMs,
  wanted: number,
): { readonly pace: WeightPace; readonly granted: number } {
  const earned = (Math.max(0, now - at) * WEIGHTS_PER_S) / 1000;
  const available = Math.min(WEIGHTS_AT_ONCE, left + earned);
  const granted = Math.min(wanted, Math.floor(available));
  return { pace: { left: available - granted, at: now }, granted };
}
