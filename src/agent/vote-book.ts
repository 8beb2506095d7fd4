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
  /** The same for these checks alone: all others stay as they are. */
  updateSome(
    votesByCheck: ReadonlyMap<CheckId, readonly Pick<Vote, 'isUp'>[]>,
    alphaByCheck: ReadonlyMap<CheckId, boolean>,
    checkers: number,
  ): readonly StatusChange[];
  /** What is known of checks that the book does not have yet; it stands until votes overrule it. */
  seed(statuses: ReadonlyMap<CheckId, CheckStatus>): void;
  /** All checks but these. */
  forget(alphaByCheck: ReadonlyMap<CheckId, boolean>): void;
  /** The same map until a status changes. */
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
};

export function createVoteBook(): VoteBook {
  let statuses: ReadonlyMap<CheckId, CheckStatus> = new Map();

  const forget: VoteBook['forget'] = (alphaByCheck) => {
    const next = [...statuses].filter(([check]) => alphaByCheck.has(check));
    if (next.length < statuses.size) statuses = new Map(next);
  };
  const updateSome: VoteBook['updateSome'] = (votesByCheck, alphaByCheck, checkers) => {
    /** A copy as soon as one changes. */
    let next: Map<CheckId, CheckStatus> | null = null;
    const changes: StatusChange[] = [];
    for (const [check, alpha] of alphaByCheck) {
      const previous = statuses.get(check) ?? null;
      const current = deriveStatus(votesByCheck.get(check) ?? [], previous, alpha, checkers);
      if (previous !== null && equalStatus(previous, current)) continue;
      next ??= new Map(statuses);
      next.set(check, current);
      if (isNews(previous, current)) changes.push({ check, previous, current });
    }
    if (next !== null) statuses = next;
    return changes;
  };

  return {
    statuses: () => statuses,
    seed: (known) => {
      const next = new Map(statuses);
      for (const [check, status] of known) if (!next.has(check)) next.set(check, status);
      if (next.size > statuses.size) statuses = next;
    },
    forget,
    updateSome,
    update: (votesByCheck, alphaByCheck, checkers) => {
      forget(alphaByCheck);
      return updateSome(votesByCheck, alphaByCheck, checkers);
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
