/**
 * From the spec and the votes in the store to this director's checks and the cluster's statuses:
 * the glue between the store's view, the probe loop and the reconcile loop.
 */
import { assignCheckers } from '../core/health/assignment.ts';
import { type DerivedChecks, deriveChecks, inheritChecks } from '../core/health/checks.ts';
import type { Check, ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId, DirectorId } from '../model/ids.ts';
import { createVoteBook, type StatusChange, type VoteBook } from './vote-book.ts';

export type HealthDesk = {
  setSpec(spec: ClusterSpec): void;
  /** The live votes of all directors; returns the verdicts that changed. */
  count(
    votes: ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>,
    directors: readonly DirectorId[],
  ): readonly StatusChange[];
  /** The checks that `me` runs, given the directors that are alive. */
  assignmentsOf(me: DirectorId, alive: readonly DirectorId[]): readonly Check[];
  checks(): DerivedChecks;
  statuses(): ReadonlyMap<CheckId, CheckStatus>;
};

const NO_CHECKS: DerivedChecks = {
  checks: [],
  byRealServer: new Map(),
  alphaByCheck: new Map(),
};

export function createHealthDesk(): HealthDesk {
  const book: VoteBook = createVoteBook();
  let spec: ClusterSpec | null = null;
  let derived = NO_CHECKS;
  return {
    setSpec: (next) => {
      const before = spec;
      spec = next;
      derived = deriveChecks(next);
      if (before === null) return;
      const known = new Map<CheckId, boolean>();
      for (const [check, old] of inheritChecks(before, next)) {
        const status = book.statuses().get(old);
        if (status !== undefined && status.basis !== 'initial') known.set(check, status.isUp);
      }
      book.seed(known);
    },
    count: (votes, directors) => {
      const live = new Map<CheckId, readonly Vote[]>();
      for (const [check, byDirector] of votes)
        live.set(
          check,
          [...byDirector.values()].filter((vote) => directors.includes(vote.director)),
        );
      return book.update(live, derived.alphaByCheck);
    },
    assignmentsOf: (me, alive) =>
      derived.checks.filter((check) =>
        assignCheckers(check.id, alive, spec?.checkers ?? null).includes(me),
      ),
    checks: () => derived,
    statuses: () => book.statuses(),
  };
}
