/** From the votes of live directors to the cluster's verdict on a check (design 8). */
import type { CheckStatus } from '../../model/health.ts';

/**
 * The majority of `votes`. A tie, or no vote at all, keeps what was known: silence is no evidence.
 * While nothing was ever known the status is `initial`: up, or down where `alpha` asks for it.
 * Votes are those of live directors; a dead director's vote goes with its lease.
 */
export function deriveStatus(
  votes: readonly { readonly isUp: boolean }[],
  previous: CheckStatus | null,
  alpha: boolean,
): CheckStatus {
  const votesUp = votes.filter((vote) => vote.isUp).length;
  const votesDown = votes.length - votesUp;
  if (votesUp !== votesDown)
    return { isUp: votesUp > votesDown, basis: 'majority', votesUp, votesDown };
  if (previous === null || previous.basis === 'initial')
    return { isUp: !alpha, basis: 'initial', votesUp, votesDown };
  return { isUp: previous.isUp, basis: 'kept', votesUp, votesDown };
}
