/**
 * What the reconcile loop remembers of each service between passes: when it was last as wanted (to tell
 * drift from a change of mind), what is wrong with it, and when a refused service is tried again.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import { equalDesiredService } from '../core/plan/ipvs-plan.ts';
import { type MonoMs, monoMs } from '../model/ids.ts';
import type { DesiredService } from '../model/kernel.ts';

/** By key; a service that is to be deleted is not in it. */
export type DesiredByKey = ReadonlyMap<string, DesiredService>;

type Retry = {
  readonly failures: number;
  readonly at: MonoMs;
  /** What was refused; null: its deletion. */
  readonly desired: DesiredService | null;
};

export type PassOutcome = {
  readonly desired: DesiredByKey;
  /** Key → why: refused, or different though accepted. */
  readonly failed: ReadonlyMap<string, string>;
  /** Not tried in this pass. */
  readonly held: ReadonlySet<string>;
  readonly now: MonoMs;
};

export type ProblemChanges = {
  readonly appeared: readonly (readonly [key: string, problem: string])[];
  readonly cleared: readonly string[];
};

export class ReconcileBook {
  readonly #backoff: BackoffConfig;
  readonly #retries = new Map<string, Retry>();
  #converged: DesiredByKey = new Map();
  #problems: ReadonlyMap<string, string> = new Map();

  constructor(backoff: BackoffConfig) {
    this.#backoff = backoff;
  }

  get problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  /** The kernel refused exactly this a short while ago. A service wanted differently is tried at once. */
  isHeld(key: string, desired: DesiredByKey, now: MonoMs): boolean {
    const retry = this.#retries.get(key);
    return retry !== undefined && now < retry.at && isSame(retry.desired, desired.get(key) ?? null);
  }

  /** The service was as it is wanted now: somebody else changed it. */
  isDrift(key: string, desired: DesiredByKey): boolean {
    const before = this.#converged.get(key);
    return before !== undefined && isSame(before, desired.get(key) ?? null);
  }

  /** The earliest time at which a held service is due; null where none is held. */
  nextRetryAt(): MonoMs | null {
    let next: MonoMs | null = null;
    for (const { at } of this.#retries.values()) if (next === null || at < next) next = at;
    return next;
  }

  /** Takes the outcome of a pass; returns which problems came, changed or went. */
  settle(outcome: PassOutcome): ProblemChanges {
    const problems = new Map(outcome.failed);
    for (const key of outcome.held) {
      const problem = this.#problems.get(key);
      if (problem !== undefined) problems.set(key, problem);
    }
    for (const key of this.#retries.keys()) if (!problems.has(key)) this.#retries.delete(key);
    for (const key of outcome.failed.keys()) this.#retryLater(key, outcome);
    this.#converged = new Map(
      [...outcome.desired].filter(([key]) => !problems.has(key) && !outcome.held.has(key)),
    );
    const before = this.#problems;
    this.#problems = problems;
    return {
      appeared: [...problems].filter(([key, problem]) => before.get(key) !== problem),
      cleared: [...before.keys()].filter((key) => !problems.has(key)),
    };
  }

  #retryLater(key: string, { desired, now }: PassOutcome): void {
    const wanted = desired.get(key) ?? null;
    const last = this.#retries.get(key);
    const failures = last !== undefined && isSame(last.desired, wanted) ? last.failures + 1 : 1;
    const at = monoMs(now + deriveBackoffMs(failures, this.#backoff, 1));
    this.#retries.set(key, { failures, at, desired: wanted });
  }
}

const isSame = (a: DesiredService | null, b: DesiredService | null): boolean =>
  a === null || b === null ? a === b : equalDesiredService(a, b);
