/** What the prober and its worker threads say to each other. */
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';

export type WorkerOptions = { readonly maxConcurrent: number; readonly seed: number };

export type ToWorker =
  /** The complete set of this worker; with `hasParts` the last ones of it. */
  | { readonly kind: 'set'; readonly checks: readonly Check[]; readonly hasParts?: true }
  /** Of a set that is too large for one message, before its `set`. */
  | { readonly kind: 'part'; readonly checks: readonly Check[]; readonly isFirst: boolean }
  | { readonly kind: 'soon'; readonly check: CheckId };

/** Two threads' clocks have different zeros: how long ago is said, not when. */
export type ProbeResult = {
  readonly check: CheckId;
  readonly isUp: boolean;
  readonly detail: string;
  readonly latencyMs: number;
  readonly ageMs: number;
};

export type FromWorker = {
  readonly results: readonly ProbeResult[];
  /** Why this machine could not make some of the probes; null: it made them all. */
  readonly localFailure: string | null;
};
