/** Remembers the status of every check, so that a tie or silence keeps what was known (design 8). */
import { deriveStatus } from '../core/health/check-status.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId } from '../model/ids.ts';

export type StatusChange = {
  readonly check: CheckId;
  /** Null, or with the basis `initial`: this is the first decision on the check. */
  readonly previous: CheckStatus | null;
  readonly current: CheckStatus;
};

export type VoteBook = {
  /**
   * Takes the live votes of all checks and returns the verdicts that changed. `alphaByCheck` names
   * the checks that exist: all others are forgotten, and votes on them do not count. `checkers`
   * directors run each of them.
   */
  update(
    votesByCheck: ReadonlyMap<CheckId, readonly Pick<Vote, 'isUp'>[]>,
    alphaByCheck: ReadonlyMap<CheckId, boolean>,
    checkers: number,
  ): readonly StatusChange[];
  /** What is known of checks that the book does not have yet; it stands until votes overrule it. */
  seed(verdicts: ReadonlyMap<CheckId, boolean>): void;
  /** The same map until a status changes. */
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
};

export function createVoteBook(): VoteBook {
  let statuses: ReadonlyMap<CheckId, CheckStatus> = new Map();
  return {
    statuses: () => statuses,
    seed: (verdicts) => {
      const next = new Map(statuses);
      for (const [check, isUp] of verdicts)
        if (!next.has(check)) next.set(check, { isUp, basis: 'kept', votesUp: 0, votesDown: 0 });
      if (next.size > statuses.size) statuses = next;
    },
    update: (votesByCheck, alphaByCheck, checkers) => {
      const next = new Map<CheckId, CheckStatus>();
      const changes: StatusChange[] = [];
      let isSame = alphaByCheck.size === statuses.size;
      for (const [check, alpha] of alphaByCheck) {
        const previous = statuses.get(check) ?? null;
        const current = deriveStatus(votesByCheck.get(check) ?? [], previous, alpha, checkers);
        if (previous !== null && equalStatus(previous, current)) {
          next.set(check, previous);
          continue;
        }
        isSame = false;
        next.set(check, current);
        if (isNews(previous, current)) changes.push({ check, previous, current });
      }
      if (!isSame) statuses = next;
      return changes;
    },
  };
}

/** A first decision is news also where it confirms what was assumed: services may have assumed otherwise. */
const isNews = (previous: CheckStatus | null, current: CheckStatus): boolean =>
  (previous?.basis ?? 'initial') === 'initial'
    ? current.basis !== 'initial'
    : previous?.isUp !== current.isUp;

const equalStatus = (a: CheckStatus, b: CheckStatus): boolean =>
  a.isUp === b.isUp &&
  a.basis === b.basis &&
  a.votesUp === b.votesUp &&
  a.votesDown === b.votesDown;
