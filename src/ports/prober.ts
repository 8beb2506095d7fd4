/** Runs checks in the background, away from the hold loop, and reports every probe's result. */
import type { Check } from '../model/cluster.ts';
import type { Observation } from '../model/health.ts';
import { type CheckId, monoMs } from '../model/ids.ts';

/** What a result says beside its numbers: one object for all results that say the same. */
export type ProbeSaid = Required<Pick<Observation, 'isUp' | 'detail' | 'reason' | 'weight'>>;

/** Of each result its part in every column, in order of arrival. */
export type ProbeBatch = {
  readonly checks: readonly CheckId[];
  readonly latencyMs: Float64Array;
  /** As `MonoMs`. */
  readonly at: Float64Array;
  readonly said: readonly ProbeSaid[];
};

/** The results of a batch as objects. */
export const observationsOf = ({ checks, latencyMs, at, said }: ProbeBatch): Observation[] =>
  checks.flatMap((check, n) => {
    const what = said[n];
    if (what === undefined) return [];
    return [{ check, ...what, latencyMs: latencyMs[n] ?? 0, at: monoMs(at[n] ?? 0) }];
  });

export interface Prober {
  /**
   * Most probes at once that this process has descriptors for. With more checks than that, and all of their targets
   * silent, some are probed less often than they ask for. Absent: no limit is known.
   */
  readonly limit?: number;
  /**
   * Why this machine has not been able to make some of its probes for a while, in words that stay as they are while
   * that lasts; null: it has. Absent: nobody knows.
   */
  problem?(): string | null;
  /**
   * The complete set to run from now on. A check that stays keeps its rhythm, and is made as the newest object says;
   * a new one starts at a random moment within its warmup.
   */
  setChecks(checks: readonly Check[]): void;
  /**
   * Probe sooner than the interval says (after a result that contradicts the verdict): the next probe comes
   * so many milliseconds from now, default 0, as soon as a slot is free then. Never later than it would have.
   */
  probeSoon(check: CheckId, afterMs?: number): void;
  /** In order of arrival, until the signal aborts. */
  observations(signal: AbortSignal): AsyncIterable<readonly Observation[]>;
  /**
   * The same as columns: of thousands a second an object each would cost more than the probes. Absent: only
   * `observations`.
   */
  results?(signal: AbortSignal): AsyncIterable<ProbeBatch>;
  /**
   * Why this machine could not make the last probe of a check, in words: no result came of it. Null where one came
   * since, or none was due yet.
   */
  problemOf?(check: CheckId): string | null;
  close(): Promise<void>;
}
