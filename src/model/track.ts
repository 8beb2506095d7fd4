/** What tracks look at outside this process, and what was seen there; `cluster.ts` has the tracks themselves. */
import type { MonoMs } from './ids.ts';

/** One thing to watch. Equal targets of several groups are one. */
export type TrackTarget = { readonly id: string } & (
  | {
      readonly kind: 'script';
      readonly command: readonly string[];
      readonly intervalMs: number;
      readonly timeoutMs: number;
      readonly user: string | null;
    }
  | {
      readonly kind: 'process';
      /** Name as in `/proc/PID/comm`, or an absolute path. */
      readonly process: string;
      /** Whether there are so many matters; how many there are beyond it need not be known at once. */
      readonly quorum: number;
    }
  | { readonly kind: 'file'; readonly path: string }
);

/** One look at a target. */
export type TrackSight =
  /** One run: passes with exit code 0. The detail says what it said, or why it did not run. */
  | { readonly kind: 'script'; readonly isPassing: boolean; readonly detail: string }
  | { readonly kind: 'process'; readonly count: number }
  /** The integer in the file; null: there is none, and the detail says why. */
  | { readonly kind: 'file'; readonly number: number | null; readonly detail: string };

export type TrackObservation = {
  readonly target: string;
  readonly at: MonoMs;
  readonly sight: TrackSight;
};
