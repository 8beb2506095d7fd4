/**
 * Fail-open: when more of a service is down at once than anybody believes, the checks are disbelieved,
 * not the real servers, and all of them stay in.
 */

export type FailOpenWeights = {
  /** Of the real servers that votes call up, or that nobody checks. */
  readonly up: number;
  /** Of those that votes call down. Who was taken out by an operator, or was never voted on, is in neither. */
  readonly down: number;
};

export type FailOpenDecision = FailOpenWeights & {
  readonly isOpen: boolean;
  /** Open while less than this share of the weight is up; null: never. */
  readonly percent: number | null;
};

export function decideFailOpen(percent: number | null, weights: FailOpenWeights): FailOpenDecision {
  const { up, down } = weights;
  const isOpen = percent !== null && down > 0 && up * 100 < percent * (up + down);
  return { up, down, isOpen, percent };
}
