/** What the tracks of a group together say: whether this director may hold it, and how much it is worth. */
import { HIGHEST_PRIORITY, LOWEST_PRIORITY } from '../placement/order.ts';
import type { Track } from '../../model/cluster.ts';
import type { TrackState } from './track-state.ts';

export type JudgedTrack = { readonly track: Track; readonly state: TrackState };

export type TrackVerdict = {
  /** Null: no track forbids holding. */
  readonly obstacle: 'track-failed' | null;
  /** Which tracks forbid it and why, for people; null where none does. */
  readonly detail: string | null;
  /** Joins the director's priority, −253 to 253. */
  readonly bonus: number;
  /** Everything was seen at least once: what is passed on is not only the start of a track. */
  readonly isSettled: boolean;
};

/** No sum beyond it changes what is left after the clamp. */
export const BONUS_MAX = HIGHEST_PRIORITY - LOWEST_PRIORITY;

export function judgeTracks(tracks: readonly JudgedTrack[]): TrackVerdict {
  const failed = tracks.filter(forbidsHolding);
  const sum = tracks.reduce((total, one) => total + contributionOf(one), 0);
  return {
    obstacle: failed.length === 0 ? null : 'track-failed',
    detail:
      failed.length === 0
        ? null
        : failed.map(({ track, state }) => `${track.id} fails: ${state.detail}`).join('; '),
    bonus: Math.max(-BONUS_MAX, Math.min(BONUS_MAX, sum)),
    isSettled: tracks.every(({ state }) => state.isObserved),
  };
}

/** A failing track without weight, and a file whose weight × number took all priority there is. */
export function forbidsHolding({ track, state }: JudgedTrack): boolean {
  if (state.isPassing) return false;
  return track.weight === null || (track.kind === 'file' && !state.isWaiting);
}

/** What the track adds to the priority: positive weights while it passes, negative ones while it fails. */
export function contributionOf({ track, state }: JudgedTrack): number {
  const { weight, kind } = track;
  if (weight === null) return 0;
  if (kind === 'file') return weight * state.number;
  return weight > 0 === state.isPassing ? weight : 0;
}
