/** Runs checks in the background, away from the hold loop, and reports every probe's result. */
import type { Check } from '../model/cluster.ts';
import type { Observation } from '../model/health.ts';
import type { CheckId } from '../model/ids.ts';

export interface Prober {
  /**
   * The complete set to run from now on. A check that stays keeps its rhythm; a new one starts at a
   * random moment within its interval.
   */
  setChecks(checks: readonly Check[]): void;
  /** Probe sooner than the interval says: one probe as soon as a slot is free (after a first failure). */
  probeSoon(check: CheckId): void;
  /** In order of arrival, until the signal aborts. */
  observations(signal: AbortSignal): AsyncIterable<readonly Observation[]>;
  close(): Promise<void>;
}
