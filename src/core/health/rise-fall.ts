/** From observations of one target to one director's verdict on it: consecutive results count. */
import type { CheckTiming } from '../../model/cluster.ts';

export type RiseFallState = {
  /** Null: nothing observed yet. */
  readonly verdict: boolean | null;
  /** Observations in a row that contradict the verdict. */
  readonly contrary: number;
};

export type RiseFallStep = {
  readonly state: RiseFallState;
  /** The new verdict, where this observation changed it. */
  readonly change: boolean | null;
  /** The observation contradicts the verdict for the first time: look again without waiting. */
  readonly probeSoon: boolean;
};

export const UNOBSERVED: RiseFallState = { verdict: null, contrary: 0 };

/**
 * The very first observation decides at once: a director that starts must not vouch for a target
 * that it has only seen fail. After that `fall` failures or `rise` successes in a row are needed.
 */
export function stepRiseFall(
  state: RiseFallState,
  observation: { readonly isUp: boolean },
  timing: Pick<CheckTiming, 'rise' | 'fall'>,
): RiseFallStep {
  const { isUp } = observation;
  if (state.verdict === isUp)
    return { state: { verdict: isUp, contrary: 0 }, change: null, probeSoon: false };
  const contrary = state.contrary + 1;
  const needed = isUp ? timing.rise : timing.fall;
  if (state.verdict === null || contrary >= needed)
    return { state: { verdict: isUp, contrary: 0 }, change: isUp, probeSoon: false };
  return {
    state: { verdict: state.verdict, contrary },
    change: null,
    probeSoon: contrary === 1,
  };
}
