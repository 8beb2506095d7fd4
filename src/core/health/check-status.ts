/** From the votes of live directors to the cluster's verdict on a check (design 8). */
import type { CheckStatus } from '../../model/health.ts';

/**
 * The majority of `votes`. A tie, or no vote at all, keeps what was known: silence is no evidence. Nor
 * is one voice while others are on their way: against what is known it takes more than half of the
 * `checkers`, the number of directors that run the check. While nothing was ever known the status is
 * `initial`: up, or down where `alpha` asks for it; then any majority decides.
 * Votes are those of live directors; a dead director's vote goes with its lease.
 */
export function deriveStatus(
  votes: readonly { readonly isUp: boolean }[],
  previous: CheckStatus | null,
  alpha: boolean,
  checkers: number,
): CheckStatus {
  const votesUp = votes.filter((vote) => vote.isUp).length;
  const votesDown = votes.length - votesUp;
  const isKnown = previous !== null && previous.basis !== 'initial';
  const isUp = votesUp > votesDown;
  if (votesUp !== votesDown) {
    const isOverruling = isKnown && previous.isUp !== isUp;
    if (!isOverruling || Math.max(votesUp, votesDown) * 2 > checkers)
      return { isUp, basis: 'majority', votesUp, votesDown };
  }
  if (!isKnown) return { isUp: !alpha, basis: 'initial', votesUp, votesDown };
  return { isUp: previous.isUp, basis: 'kept', votesUp, votesDown };
}
