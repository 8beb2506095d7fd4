/** Which directors run a check: every director computes the same answer from the same live set. */
import { rendezvousOrder } from '../../lib/hash.ts';
import type { CheckId, DirectorId } from '../../model/ids.ts';

/** Three opinions outvote one director with a bad path; more only cost probes. */
const DEFAULT_CHECKERS = 3;

/**
 * The `k` directors of `live` that run the check (null: 3), fewer where fewer live. A director that
 * dies moves only the checks it had.
 */
export function assignCheckers(
  check: CheckId,
  live: readonly DirectorId[],
  k: number | null,
): DirectorId[] {
  return rendezvousOrder(check, live).slice(0, k ?? DEFAULT_CHECKERS);
}

/** How many directors run each check when `live` directors are alive. */
export const countCheckers = (live: number, k: number | null): number =>
  Math.min(live, k ?? DEFAULT_CHECKERS);
