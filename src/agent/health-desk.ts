/**
 * From the spec and the votes in the store to this director's checks and the cluster's statuses:
 * the glue between the store's view, the probe loop and the reconcile loop.
 */
import { assignCheckers, countCheckers } from '../core/health/assignment.ts';
import { type DerivedChecks, deriveChecks, inheritChecks } from '../core/health/checks.ts';
import type { Check, ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId, DirectorId, MonoMs } from '../model/ids.ts';
import { slowChecks, stepUpSince, type UpSince } from './up-since.ts';
import { createVoteBook, type StatusChange, type VoteBook } from './vote-book.ts';

export type Living = {
  /** Those of the spec: nobody else has a vote. */
  readonly directors: readonly DirectorId[];
  /** Those of them whose report stands, and this one. */
  readonly alive: readonly DirectorId[];
  readonly now: MonoMs;
};

type Votes = ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>;

export type HealthDesk = {
  setSpec(spec: ClusterSpec): void;
  /** Who is there to vote; true where the votes are to be counted again for it. */
  setLiving(living: Living): boolean;
  /**
   * What was known before this start, of checks that nobody has a vote on: silence keeps what is known. Where
   * somebody votes, that is newer.
   */
  recall(known: ReadonlyMap<CheckId, boolean>, votes: Votes): void;
  /** The votes in the store; returns the verdicts that changed. */
  count(votes: Votes): readonly StatusChange[];
  /** The checks that `me` runs, given the directors that are alive. */
  assignmentsOf(me: DirectorId, alive: readonly DirectorId[]): readonly Check[];
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

export function createHealthDesk(): HealthDesk {
  const book: VoteBook = createVoteBook();
  let spec: ClusterSpec | null = null;
  let derived = NO_CHECKS;
  let slow: ReadonlySet<CheckId> = new Set();
  let upSince: UpSince = new Map();
  let electorate: ReadonlySet<DirectorId> = new Set();
  /** Null: alive; else missing since then. */
  let awaited: ReadonlyMap<DirectorId, MonoMs | null> = new Map();
  return {
    setSpec: (next) => {
      const before = spec;
      spec = next;
      derived = deriveChecks(next);
      slow = slowChecks(next, derived.byRealServer);
      if (before === null) return;
      const known = new Map<CheckId, boolean>();
      const since = new Map(upSince);
      for (const [check, old] of inheritChecks(before, next)) {
        const at = upSince.get(old);
        if (at !== undefined) since.set(check, at);
        const status = book.statuses().get(old);
        if (status !== undefined && status.basis !== 'initial') known.set(check, status.isUp);
      }
      book.seed(known);
      if (since.size > upSince.size) upSince = since;
    },
    setLiving: ({ directors, alive, now }) => {
      const next = new Map<DirectorId, MonoMs | null>();
      for (const [director, since] of awaited)
        if (now - (since ?? now) < AWAITED_MS) next.set(director, since ?? now);
      for (const director of alive) next.set(director, null);
      electorate = new Set(directors);
      for (const director of next.keys()) if (!electorate.has(director)) next.delete(director);
      const isSame =
        next.size === awaited.size &&
        [...next].every(([director, since]) => awaited.get(director) === since);
      awaited = next;
      return !isSame;
    },
    recall: (known, votes) =>
      book.seed(silentOf(known, votes, new Set(spec?.directors.map(({ id }) => id)), derived)),
    count: (votes) => {
      const counted = new Map<CheckId, readonly Vote[]>();
      for (const [check, byDirector] of votes) {
        const valid = [...byDirector.values()].filter((vote) => electorate.has(vote.director));
        // What one that has ended leaves for a while counts only where nobody alive speaks.
        const living = valid.filter((vote) => awaited.get(vote.director) === null);
        counted.set(check, living.length > 0 ? living : valid);
      }
      const checkers = countCheckers(awaited.size, spec?.checkers ?? null);
      const changes = book.update(counted, derived.alphaByCheck, checkers);
      if (slow.size > 0 || upSince.size > 0)
        upSince = stepUpSince(upSince, {
          slow,
          statuses: book.statuses(),
          votes: counted,
          checkers,
        });
      return changes;
    },
    assignmentsOf: (me, alive) =>
      derived.checks.filter((check) =>
        assignCheckers(check.id, alive, spec?.checkers ?? null).includes(me),
      ),
    checks: () => derived,
    statuses: () => book.statuses(),
    upSince: () => upSince,
  };
}

/** Of checks that there are, and that none of the directors votes on. */
function silentOf(
  known: ReadonlyMap<CheckId, boolean>,
  votes: Votes,
  directors: ReadonlySet<DirectorId>,
  { alphaByCheck }: DerivedChecks,
): ReadonlyMap<CheckId, boolean> {
  const isVoted = (check: CheckId): boolean =>
    [...(votes.get(check)?.keys() ?? [])].some((director) => directors.has(director));
  return new Map([...known].filter(([id]) => alphaByCheck.has(id) && !isVoted(id)));
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
