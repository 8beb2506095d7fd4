/** What the tracker and its worker thread say to each other. */
import type { TrackSight, TrackTarget } from '../../model/track.ts';

export type ScriptTarget = TrackTarget & { readonly kind: 'script' };
export type ProcessTarget = TrackTarget & { readonly kind: 'process' };
export type FileTarget = TrackTarget & { readonly kind: 'file' };

export type ToTrackWorker =
  /** The complete set. */
  | { readonly kind: 'set'; readonly targets: readonly TrackTarget[] }
  /** Kill what runs, and say when that is done. */
  | { readonly kind: 'close' };

/** Two threads' clocks have different zeros: how long ago is said, not when. */
export type TrackResult = {
  readonly target: string;
  readonly sight: TrackSight;
  readonly ageMs: number;
};

export type FromTrackWorker =
  | { readonly kind: 'results'; readonly results: readonly TrackResult[] }
  | { readonly kind: 'closed' };
