/**
 * From the spec and the votes in the store to this director's checks and the cluster's statuses:
 * the glue between the store's view, the probe loop and the reconcile loop.
 */
import { assignCheckers, countCheckers } from '../core/health/assignment.ts';
import { deriveStatus } from '../core/health/check-status.ts';
import {
  type DerivedChecks,
  deriveChecksSteps,
  inheritChecksSteps,
} from '../core/health/checks.ts';
import { runSteps } from '../lib/steps.ts';
import type { Check, ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId, DirectorId, MonoMs } from '../model/ids.ts';
import { slowChecksSteps, stepUpSince, type UpSince } from './up-since.ts';
import { createVoteBook, type StatusChange, type VoteBook } from './vote-book.ts';

export type Living = {
  /** Those of the spec: nobody else has a vote. */
  readonly directors: readonly DirectorId[];
  /** Those of them whose report stands, and this one. */
  readonly alive: readonly DirectorId[];
  readonly now: MonoMs;
};

export type VotesByCheck = ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>;

export type HealthDesk = {
  setSpec(spec: ClusterSpec): void;
  /**
   * Does most of the work of `setSpec(spec)` before it, in pieces. `votes`: those in the store; checks that
   * are new have a status then from the beginning.
   */
  prepareSteps(spec: ClusterSpec, votes: VotesByCheck): Generator<undefined, void>;
  /** Who is there to vote; true where the votes are to be counted again for it. */
  setLiving(living: Living): boolean;
  /**
   * What was known before this start, of checks that nobody has a vote on: silence keeps what is known. Where
   * somebody votes, that is newer. Before there is a document it waits for one that is prepared.
   */
  recall(known: ReadonlyMap<CheckId, boolean>, votes: VotesByCheck): void;
  /**
   * The votes in the store; returns the verdicts that changed. `only`: the checks whose votes may have
   * changed since the last time; absent: all.
   */
  count(votes: VotesByCheck, only?: ReadonlySet<CheckId>): readonly StatusChange[];
  /** The checks that `me` runs, given the directors that are alive. */
  assignmentsOf(me: DirectorId, alive: readonly DirectorId[]): readonly Check[];
  /** The same in pieces. */
  assignmentSteps(
    me: DirectorId,
    alive: readonly DirectorId[],
  ): Generator<undefined, readonly Check[]>;
  checks(): DerivedChecks;
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
  /** Of the checks of real servers that start slowly; the same map until something of it changes. */
  upSince(): UpSince;
};

const NO_CHECKS: DerivedChecks = {
  checks: [],
  byRealServer: new Map(),
  alphaByCheck: new Map(),
};

/**
 * So long a director that was alive still counts among those whose votes are awaited. When leases are
 * lost, reports vanish together with votes: the first to be back must not take itself for the only one.
 */
const AWAITED_MS = 5000;

export const createHealthDesk = (): HealthDesk => new Desk();

/** What a document changes, worked out beforehand. */
type Prepared = {
  readonly spec: ClusterSpec;
  readonly before: ClusterSpec | null;
  readonly derived: DerivedChecks;
  readonly slow: ReadonlySet<CheckId>;
  /** New check to the one that it takes the place of. */
  readonly inherited: ReadonlyMap<CheckId, CheckId>;
  /** Of checks that are new. */
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
};

class Desk implements HealthDesk {
  readonly #book: VoteBook = createVoteBook();
  #spec: ClusterSpec | null = null;
  #derived = NO_CHECKS;
  #slow: ReadonlySet<CheckId> = new Set();
  #upSince: UpSince = new Map();
  #electorate: ReadonlySet<DirectorId> = new Set();
  /** Null: alive; else missing since then. */
  #awaited: ReadonlyMap<DirectorId, MonoMs | null> = new Map();
  #prepared: Prepared | null = null;
  /** What was known before this start, until there is a document. */
  #recalled: ReadonlyMap<CheckId, boolean> = new Map();

  *prepareSteps(next: ClusterSpec, votes: VotesByCheck): Generator<undefined, void> {
    this.#prepared = yield* this.#prepare(next, votes);
  }

  *#prepare(next: ClusterSpec, votes: VotesByCheck | null): Generator<undefined, Prepared> {
    const before = this.#spec;
    const derived = yield* deriveChecksSteps(next);
    const slow = yield* slowChecksSteps(next, derived.byRealServer);
    const inherited =
      before === null ? new Map<CheckId, CheckId>() : yield* inheritChecksSteps(before, next);
    const statuses = new Map<CheckId, CheckStatus>();
    const known = this.#book.statuses();
    // At the start nobody is known to be alive: those that it names are awaited.
    const electorate = new Set(next.directors.map(({ id }) => id));
    const checkers = countCheckers(this.#awaited.size || electorate.size, next.checkers);
    for (const [check, alpha] of votes === null ? [] : derived.alphaByCheck) {
      yield;
      if (known.has(check)) continue;
      const inheritedOne = inheritedStatus(known, inherited.get(check));
      const recalled = isVoted(votes?.get(check), next) ? undefined : this.#recalled.get(check);
      const previous = recalled === undefined ? inheritedOne : keptStatus(recalled);
      const counted = this.#validVotes(votes?.get(check), electorate);
      statuses.set(check, deriveStatus(counted, previous, alpha, checkers));
    }
    return { spec: next, before, derived, slow, inherited, statuses };
  }

  setSpec(next: ClusterSpec): void {
    const { spec: before } = this.#prepared ?? {};
    const isReady = before === next && this.#prepared?.before === this.#spec;
    const ready = isReady ? this.#prepared : null;
    const { derived, slow, inherited, statuses } = ready ?? runSteps(this.#prepare(next, null));
    this.#prepared = null;
    this.#spec = next;
    this.#derived = derived;
    this.#slow = slow;
    const known = new Map(statuses);
    const since = new Map([...this.#upSince].filter(([check]) => slow.has(check)));
    for (const [check, old] of inherited) {
      const at = this.#upSince.get(old);
      if (at !== undefined && slow.has(check)) since.set(check, at);
      const status = inheritedStatus(this.#book.statuses(), old);
      if (status !== null && !known.has(check)) known.set(check, status);
    }
    // One that came at once was not prepared for.
    if (ready === null)
      for (const [check, isUp] of this.#recalled)
        if (derived.alphaByCheck.has(check) && !known.has(check))
          known.set(check, keptStatus(isUp));
    this.#recalled = new Map();
    this.#book.seed(known);
    this.#book.forget(derived.alphaByCheck);
    this.#upSince = since;
  }

  recall(known: ReadonlyMap<CheckId, boolean>, votes: VotesByCheck): void {
    const spec = this.#spec;
    if (spec === null) {
      this.#recalled = known;
      return;
    }
    const silent = [...known].filter(
      ([check]) => this.#derived.alphaByCheck.has(check) && !isVoted(votes.get(check), spec),
    );
    this.#book.seed(new Map(silent.map(([check, isUp]) => [check, keptStatus(isUp)])));
  }

  setLiving({ directors, alive, now }: Living): boolean {
    const next = new Map<DirectorId, MonoMs | null>();
    for (const [director, since] of this.#awaited)
      if (now - (since ?? now) < AWAITED_MS) next.set(director, since ?? now);
    for (const director of alive) next.set(director, null);
    const voters = this.#electorate;
    this.#electorate = new Set(directors);
    for (const director of next.keys()) if (!this.#electorate.has(director)) next.delete(director);
    const isSame =
      voters.size === this.#electorate.size &&
      directors.every((director) => voters.has(director)) &&
      next.size === this.#awaited.size &&
      [...next].every(([director, since]) => this.#awaited.get(director) === since);
    this.#awaited = next;
    return !isSame;
  }

  count(votes: VotesByCheck, only?: ReadonlySet<CheckId>): readonly StatusChange[] {
    const { alphaByCheck } = this.#derived;
    const alphas = only === undefined ? alphaByCheck : pick(alphaByCheck, only);
    const counted = new Map<CheckId, readonly Vote[]>();
    for (const check of alphas.keys()) counted.set(check, this.#validVotes(votes.get(check)));
    const checkers = countCheckers(this.#awaited.size, this.#spec?.checkers ?? null);
    const changes =
      only === undefined
        ? this.#book.update(counted, alphas, checkers)
        : this.#book.updateSome(counted, alphas, checkers);
    if (this.#slow.size > 0 || this.#upSince.size > 0)
      this.#upSince = stepUpSince(this.#upSince, {
        slow: this.#slow,
        statuses: this.#book.statuses(),
        votes: counted,
        checkers,
        ...(only === undefined ? {} : { only: alphas.keys() }),
      });
    return changes;
  }

  #validVotes(
    byDirector: ReadonlyMap<DirectorId, Vote> | undefined,
    electorate = this.#electorate,
  ): readonly Vote[] {
    if (byDirector === undefined) return [];
    const valid = [...byDirector.values()].filter((vote) => electorate.has(vote.director));
    // What one that has ended leaves for a while counts only where nobody alive speaks.
    const living = valid.filter((vote) => this.#awaited.get(vote.director) === null);
    return living.length > 0 ? living : valid;
  }

  assignmentsOf(me: DirectorId, alive: readonly DirectorId[]): readonly Check[] {
    return runSteps(this.assignmentSteps(me, alive));
  }

  *assignmentSteps(
    me: DirectorId,
    alive: readonly DirectorId[],
  ): Generator<undefined, readonly Check[]> {
    const checkers = this.#spec?.checkers ?? null;
    const mine: Check[] = [];
    for (const check of this.#derived.checks) {
      if (assignCheckers(check.id, alive, checkers).includes(me)) mine.push(check);
      yield;
    }
    return mine;
  }

  checks(): DerivedChecks {
    return this.#derived;
  }

  statuses(): ReadonlyMap<CheckId, CheckStatus> {
    return this.#book.statuses();
  }

  upSince(): UpSince {
    return this.#upSince;
  }
}

/** What is known of the check before: it stands until votes overrule it. */
function inheritedStatus(
  statuses: ReadonlyMap<CheckId, CheckStatus>,
  old: CheckId | undefined,
): CheckStatus | null {
  const status = old === undefined ? undefined : statuses.get(old);
  if (status === undefined || status.basis === 'initial') return null;
  return keptStatus(status.isUp);
}

const keptStatus = (isUp: boolean): CheckStatus => ({
  isUp,
  basis: 'kept',
  votesUp: 0,
  votesDown: 0,
});

/** By one of the directors of the document. */
const isVoted = (
  byDirector: ReadonlyMap<DirectorId, Vote> | undefined,
  { directors }: ClusterSpec,
): boolean => directors.some(({ id }) => byDirector?.has(id) === true);

function pick(
  alphaByCheck: ReadonlyMap<CheckId, boolean>,
  only: ReadonlySet<CheckId>,
): ReadonlyMap<CheckId, boolean> {
  const some = new Map<CheckId, boolean>();
  for (const check of only) {
    const alpha = alphaByCheck.get(check);
    if (alpha !== undefined) some.set(check, alpha);
  }
  return some;
}

/** Directors whose report stands in etcd are alive; `me` always counts itself. */
export function livingOf(
  me: DirectorId,
  spec: ClusterSpec | null,
  records: { readonly reports: ReadonlyMap<DirectorId, unknown> },
  now: MonoMs,
): Living {
  const directors = (spec?.directors ?? []).map((director) => director.id);
  const alive = directors.filter((id) => id === me || records.reports.has(id));
  return { directors, alive, now };
}

/** The votes of one director. */
export function votesOf(
  director: DirectorId,
  votes: ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>,
): ReadonlyMap<CheckId, Vote> {
  const mine = new Map<CheckId, Vote>();
  for (const [check, byDirector] of votes) {
    const vote = byDirector.get(director);
    if (vote !== undefined) mine.set(check, vote);
  }
  return mine;
}
