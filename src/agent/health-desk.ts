/**
 * From the spec and the votes in the store to this director's checks and the cluster's statuses:
 * the glue between the store's view, the probe loop and the reconcile loop.
 */
import { CheckPlacement, countCheckers } from '../core/health/assignment.ts';
import { deriveStatus } from '../core/health/check-status.ts';
import {
  type DerivedChecks,
  deriveChecksSteps,
  inheritChecksSteps,
} from '../core/health/checks.ts';
import {
  combineAll,
  type Combined,
  withCompoundTimes,
  withCompoundWeights,
} from '../core/health/compound.ts';
import {
  deriveDutiesSteps,
  deriveUsesSteps,
  type Duties,
  type DutyInput,
} from '../core/health/duties.ts';
import { stepDynamicWeights } from '../core/health/dynamic-weights.ts';
import type { ElectionView } from '../core/election/view.ts';
import { runSteps } from '../lib/steps.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, DynamicWeight, Vote } from '../model/health.ts';
import { type CheckId, type DirectorId, type MonoMs, monoMs } from '../model/ids.ts';
import { slowChecksSteps, stepUpSince, type UpSince } from './up-since.ts';
import { LoneVotes } from './lone-votes.ts';
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
   * The votes in the store; returns the verdicts that changed. `only`: all other checks have the votes, and
   * voters, of the last time.
   */
  count(votes: VotesByCheck, only?: ReadonlySet<CheckId> | null): readonly StatusChange[];
  /** What this director found by itself stands for these checks from the next count on. */
  judgeAlone(verdicts: ReadonlyMap<CheckId, boolean>): void;
  /** The checks that a director runs, given the directors that are alive; in pieces. */
  dutySteps(
    director: Omit<DutyInput, 'placement'>,
    alive: readonly DirectorId[],
  ): Generator<undefined, Duties>;
  /** What the duties of a director that is not alone follow beside who is alive. */
  dutiesFollow(): { readonly holders: boolean; readonly overrides: boolean };
  /** How many directors' votes are awaited on a check. */
  checkersOf(check: CheckId): number;
  /** Checks whose few votes have waited long enough for the others': to be counted again. */
  overdue(): ReadonlySet<CheckId>;
  checks(): DerivedChecks;
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
  /** Of the checks of real servers that start slowly; the same map until something of it changes. */
  upSince(): UpSince;
  /** What checks and compounds say of weights; the same map until something of it changes. */
  dynamicWeights(): ReadonlyMap<CheckId, DynamicWeight>;
};

const NO_CHECKS: DerivedChecks = {
  checks: [],
  compounds: [],
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
  #ofHolders: ReadonlySet<CheckId> = new Set();
  #hasResting = false;
  /** By check: votes that count. */
  readonly #counted = new Map<CheckId, readonly Vote[]>();
  #upSince: UpSince = new Map();
  #weights: ReadonlyMap<CheckId, DynamicWeight> = new Map();
  #combined: Combined | null = null;
  readonly #allTimes = memo(withCompoundTimes);
  readonly #allWeights = memo(withCompoundWeights);
  readonly #lone = new LoneVotes();
  #now: MonoMs = monoMs(0);
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
    yield* deriveUsesSteps(next);
    const slow = yield* slowChecksSteps(next, derived);
    const inherited =
      before === null ? new Map<CheckId, CheckId>() : yield* inheritChecksSteps(before, next);
    const statuses = new Map<CheckId, CheckStatus>();
    const known = this.#book.statuses();
    const knownBefore = this.statuses();
    // At the start nobody is known to be alive: those that it names are awaited.
    const electorate = new Set(next.directors.map(({ id }) => id));
    const checkers = countCheckers(this.#awaited.size || electorate.size, next.checkers);
    const ofHolders = holdersOwn(derived);
    for (const [check, alpha] of votes === null ? [] : derived.alphaByCheck) {
      yield;
      if (known.has(check)) continue;
      const inheritedOne = inheritedStatus(knownBefore, inherited.get(check));
      const recalled = isVoted(votes?.get(check), next) ? undefined : this.#recalled.get(check);
      const previous = recalled === undefined ? inheritedOne : keptStatus(recalled);
      const counted = this.#validVotes(votes?.get(check), electorate);
      const needed = ofHolders.has(check) ? 1 : checkers;
      statuses.set(check, deriveStatus(counted, previous, alpha, needed));
    }
    return { spec: next, before, derived, slow, inherited, statuses };
  }

  setSpec(next: ClusterSpec): void {
    const { spec: preparedFor } = this.#prepared ?? {};
    const isReady = preparedFor === next && this.#prepared?.before === this.#spec;
    const ready = isReady ? this.#prepared : null;
    const { derived, slow, inherited, statuses } = ready ?? runSteps(this.#prepare(next, null));
    this.#prepared = null;
    const before = this.statuses();
    this.#spec = next;
    this.#derived = derived;
    this.#ofHolders = holdersOwn(derived);
    this.#hasResting = derived.checks.some(({ spec }) => spec.whileDrained === false);
    this.#slow = slow;
    const known = new Map(statuses);
    const since = new Map([...this.#upSince].filter(([check]) => slow.has(check)));
    for (const [check, old] of inherited) {
      const at = this.#upSince.get(old);
      if (at !== undefined && slow.has(check)) since.set(check, at);
      const status = inheritedStatus(before, old);
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
    for (const check of this.#counted.keys())
      if (!derived.alphaByCheck.has(check)) this.#counted.delete(check);
    this.#lone.retime(derived.checks);
    this.#keepWeights(derived, inherited);
  }

  /** What a check has asked for stands under its new name until somebody votes: else all would get full weights. */
  #keepWeights({ alphaByCheck }: DerivedChecks, inherited: ReadonlyMap<CheckId, CheckId>): void {
    const before = this.#weights;
    const next = new Map([...before].filter(([check]) => alphaByCheck.has(check)));
    const isKept = next.size === before.size;
    // Weights of several are added up: none counts twice.
    const given = new Set<CheckId>();
    for (const [check, old] of inherited) {
      const weight = before.get(old);
      if (weight === undefined || next.has(check) || given.has(old)) continue;
      given.add(old);
      next.set(check, weight);
    }
    if (!isKept || given.size > 0) this.#weights = next;
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
    this.#now = now;
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

  count(votes: VotesByCheck, only: ReadonlySet<CheckId> | null = null): readonly StatusChange[] {
    const counted = this.#counted;
    if (only === null) counted.clear();
    for (const check of only ?? votes.keys()) {
      const valid = this.#validVotes(votes.get(check));
      if (valid.length > 0) counted.set(check, valid);
      else counted.delete(check);
    }
    const { alphaByCheck } = this.#derived;
    const checkersOf = (check: CheckId): number => this.checkersOf(check);
    const changes = this.#book.update(counted, alphaByCheck, checkersOf, only);
    for (const check of only ?? alphaByCheck.keys())
      this.#lone.look(check, this.#book.statusOf(check), this.#now);
    if (this.#slow.size > 0 || this.#upSince.size > 0)
      this.#upSince = stepUpSince(this.#upSince, {
        slow: this.#slow,
        statuses: this.#book.statuses(),
        votes: counted,
        checkersOf,
        ...(only === null ? {} : { only }),
      });
    if (this.#weights.size > 0 || sayWeights(counted, only))
      this.#weights = stepDynamicWeights(this.#weights, {
        votes: counted,
        statuses: this.#book.statuses(),
        only,
      });
    return changes;
  }

  judgeAlone(verdicts: ReadonlyMap<CheckId, boolean>): void {
    this.#book.judgeAlone(verdicts);
  }

  *dutySteps(
    director: Omit<DutyInput, 'placement'>,
    alive: readonly DirectorId[],
  ): Generator<undefined, Duties> {
    if (this.#spec === null) return { checks: [], own: new Set() };
    const placement = new CheckPlacement(alive, this.#spec.checkers);
    return yield* deriveDutiesSteps(this.#spec, { ...director, placement });
  }

  dutiesFollow(): { readonly holders: boolean; readonly overrides: boolean } {
    return { holders: this.#ofHolders.size > 0, overrides: this.#hasResting };
  }

  /** Of what holders check, the holder's vote is the only one that comes. */
  checkersOf(check: CheckId): number {
    if (this.#ofHolders.has(check)) return 1;
    const all = this.#countCheckers();
    const voters = this.#counted.get(check)?.length ?? 0;
    return this.#lone.isOverdue(check, this.#now) ? Math.min(all, voters) : all;
  }

  overdue(): ReadonlySet<CheckId> {
    return this.#lone.overdue(this.#now);
  }

  checks(): DerivedChecks {
    return this.#derived;
  }

  statuses(): ReadonlyMap<CheckId, CheckStatus> {
    this.#combined = combineAll(this.#book.statuses(), this.#derived.compounds, this.#combined);
    return this.#combined.all;
  }

  upSince(): UpSince {
    return this.#allTimes(this.#upSince, this.#derived.compounds);
  }

  dynamicWeights(): ReadonlyMap<CheckId, DynamicWeight> {
    return this.#allWeights(this.#weights, this.#derived.compounds);
  }

  #countCheckers(): number {
    return countCheckers(this.#awaited.size, this.#spec?.checkers ?? null);
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
}

/** Whether any of the votes that came says something of a weight. */
function sayWeights(
  counted: ReadonlyMap<CheckId, readonly Vote[]>,
  only: ReadonlySet<CheckId> | null,
): boolean {
  for (const check of only ?? counted.keys())
    if (counted.get(check)?.some(({ weight }) => (weight ?? null) !== null) === true) return true;
  return false;
}

/** The last result, as long as the arguments are the very same: who asks sees that nothing changed. */
function memo<A, B, R>(derive: (a: A, b: B) => R): (a: A, b: B) => R {
  let last: { readonly a: A; readonly b: B; readonly result: R } | null = null;
  return (a, b) => {
    if (last === null || last.a !== a || last.b !== b) last = { a, b, result: derive(a, b) };
    return last.result;
  };
}

/** Checks that holders alone make. */
const holdersOwn = ({ checks }: DerivedChecks): ReadonlySet<CheckId> =>
  new Set(checks.filter(({ spec }) => spec.runBy === 'holder').map(({ id }) => id));

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

/**
 * Directors whose report stands in etcd are alive, but for those that others had to end: the report and the votes of a
 * dead one outlast it by its lease. `me` always counts itself.
 */
export function livingOf(
  me: DirectorId,
  spec: ClusterSpec | null,
  records: {
    readonly reports: ReadonlyMap<DirectorId, unknown>;
    readonly sessions: ElectionView['sessions'];
  },
  now: MonoMs,
): Living {
  const directors = (spec?.directors ?? []).map((director) => director.id);
  const isEnded = (id: DirectorId): boolean => records.sessions.get(id)?.value?.state === 'broken';
  const alive = directors.filter((id) => id === me || (records.reports.has(id) && !isEnded(id)));
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
