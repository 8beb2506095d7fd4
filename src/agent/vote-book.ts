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
   * Takes the live votes of all checks and returns the verdicts that changed, or that stand by another's word.
   * `alphaByCheck` names the checks that exist: all others are forgotten, and votes on them do not count. So many
   * `checkers` run each of them. `only`: nothing else has other votes, or other voters, than the last time.
   */
  update(
    votesByCheck: ReadonlyMap<CheckId, readonly Pick<Vote, 'isUp'>[]>,
    alphaByCheck: ReadonlyMap<CheckId, boolean>,
    checkers: number | ((check: CheckId) => number),
    only?: Iterable<CheckId> | null,
  ): readonly StatusChange[];
  /** What is known of checks that the book does not have yet; it stands until votes overrule it. */
  seed(statuses: ReadonlyMap<CheckId, CheckStatus>): void;
  /** All checks but these. */
  forget(alphaByCheck: ReadonlyMap<CheckId, boolean>): void;
  /** What this director found alone stands for these checks, whatever the votes say; takes effect with the next update. */
  judgeAlone(verdicts: ReadonlyMap<CheckId, boolean>): void;
  statusOf(check: CheckId): CheckStatus | undefined;
  /** The same map until a status changes. */
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
};

export function createVoteBook(): VoteBook {
  return new Book();
}

const NO_VERDICTS: ReadonlyMap<CheckId, boolean> = new Map();

class Book implements VoteBook {
  readonly #statuses = new Map<CheckId, CheckStatus>();
  /** Copied when somebody asks: a change at a time must not cost a copy each. */
  #shown: ReadonlyMap<CheckId, CheckStatus> | null = null;
  #alpha: ReadonlyMap<CheckId, boolean> | null = null;
  #alone = NO_VERDICTS;

  statuses(): ReadonlyMap<CheckId, CheckStatus> {
    this.#shown ??= new Map(this.#statuses);
    return this.#shown;
  }

  statusOf(check: CheckId): CheckStatus | undefined {
    return this.#statuses.get(check);
  }

  seed(statuses: ReadonlyMap<CheckId, CheckStatus>): void {
    for (const [check, status] of statuses)
      if (!this.#statuses.has(check)) this.#set(check, status);
  }

  forget(alphaByCheck: ReadonlyMap<CheckId, boolean>): void {
    for (const check of this.#statuses.keys())
      if (!alphaByCheck.has(check)) {
        this.#statuses.delete(check);
        this.#shown = null;
      }
  }

  judgeAlone(verdicts: ReadonlyMap<CheckId, boolean>): void {
    this.#alone = verdicts;
  }

  update(...[votes, alphaByCheck, checkers, only]: Parameters<VoteBook['update']>): StatusChange[] {
    if (alphaByCheck !== this.#alpha) this.forget(alphaByCheck);
    this.#alpha = alphaByCheck;
    const checkersOf = typeof checkers === 'number' ? () => checkers : checkers;
    const changes: StatusChange[] = [];
    for (const check of only ?? alphaByCheck.keys()) {
      const alpha = alphaByCheck.get(check);
      if (alpha === undefined) continue;
      const previous = this.#statuses.get(check) ?? null;
      const voted = deriveStatus(votes.get(check) ?? [], previous, alpha, checkersOf(check));
      const alone = this.#alone.get(check);
      const current: CheckStatus =
        alone === undefined ? voted : { ...voted, isUp: alone, basis: 'alone' };
      if (previous !== null && equalStatus(previous, current)) continue;
      this.#set(check, current);
      if (isNews(previous, current)) changes.push({ check, previous, current });
    }
    return changes;
  }

  #set(check: CheckId, status: CheckStatus): void {
    this.#statuses.set(check, status);
    this.#shown = null;
  }
}

/**
 * A first decision is news also where it confirms what was assumed: services may have assumed otherwise. So is whose
 * word it is, the cluster's or this director's alone.
 */
function isNews(previous: CheckStatus | null, current: CheckStatus): boolean {
  if (previous === null || previous.basis === 'initial') return current.basis !== 'initial';
  const wasAlone = previous.basis === 'alone';
  return previous.isUp !== current.isUp || wasAlone !== (current.basis === 'alone');
}

const equalStatus = (a: CheckStatus, b: CheckStatus): boolean =>
  a.isUp === b.isUp &&
  a.basis === b.basis &&
  a.votesUp === b.votesUp &&
  a.votesDown === b.votesDown;
