/**
 * From what was seen of a track to whether it passes. keepalived's rules: consecutive results count
 * (rise, fall), the first one decides at once, and before it a track passes unless it is told to start
 * failed.
 */
import { unreachable } from '../../lib/assert.ts';
import type { Track } from '../../model/cluster.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import type { TrackSight } from '../../model/track.ts';

/** What a track of kind `interface` sees; the others' sights come from the tracker. */
export type LinkSight = {
  readonly kind: 'interface';
  readonly isUp: boolean;
  readonly detail: string;
};

export type TrackState = {
  readonly isPassing: boolean;
  /** Something was seen; before that the track's start says whether it passes. */
  readonly isObserved: boolean;
  /** Files that start as failed: no number was in it yet. */
  readonly isWaiting: boolean;
  /** Scripts: results in a row that contradict the verdict. */
  readonly contrary: number;
  /** Processes: since when what is seen contradicts the verdict; null: it does not. */
  readonly contrarySince: MonoMs | null;
  /** Files: their number, 0 where there is none. Processes: how many were seen. */
  readonly number: number;
  /** Words for people. */
  readonly detail: string;
};

/** A file's weight × number at which keepalived stops to count and takes the instance out of service. */
const FILE_FAULT = -254;

/**
 * The state before anything was seen. A track whose settings changed goes on from what is known of its
 * subject: `former` is its state under the old settings.
 */
export function startTrack(track: Track, former: TrackState | null = null): TrackState {
  if (former !== null && former.isObserved) return inherit(track, former);
  const isPassing = !((track.kind === 'script' || track.kind === 'file') && track.initFail);
  return {
    isPassing,
    isObserved: false,
    isWaiting: track.kind === 'file' && track.initFail,
    contrary: 0,
    contrarySince: null,
    number: 0,
    detail: isPassing ? 'not seen yet' : 'not seen yet, and starts as failed',
  };
}

export function stepTrack(
  track: Track,
  state: TrackState,
  sight: TrackSight | LinkSight,
  now: MonoMs,
): TrackState {
  switch (sight.kind) {
    case 'script':
      return track.kind === 'script' ? stepScript(track, state, sight) : state;
    case 'process':
      return track.kind === 'process' ? stepProcess(track, state, sight.count, now) : state;
    case 'file':
      return track.kind === 'file' ? stepFile(track, state, sight) : state;
    case 'interface':
      if (track.kind !== 'interface') return state;
      return { ...state, isObserved: true, isPassing: sight.isUp, detail: sight.detail };
    default:
      return unreachable(sight);
  }
}

/** When the passing of time alone changes the state; null: never. */
export function trackDueAt(track: Track, state: TrackState): MonoMs | null {
  if (track.kind !== 'process' || state.contrarySince === null) return null;
  return monoMs(state.contrarySince + track.delayMs);
}

/** Nothing was seen, but it is later now. */
export function tickTrack(track: Track, state: TrackState, now: MonoMs): TrackState {
  return track.kind === 'process' && state.isObserved
    ? stepProcess(track, state, state.number, now)
    : state;
}

type ScriptTrack = Track & { readonly kind: 'script' };
type ProcessTrack = Track & { readonly kind: 'process' };
type FileTrack = Track & { readonly kind: 'file' };

function stepScript(
  track: ScriptTrack,
  state: TrackState,
  { isPassing, detail }: TrackSight & { readonly kind: 'script' },
): TrackState {
  // Where the start is failed, it takes all of `rise` to get out of it, as after any failure.
  const isDecisive = !state.isObserved && !track.initFail;
  const base = { ...state, isObserved: true };
  if (isPassing === state.isPassing) return { ...base, contrary: 0, detail };
  const contrary = state.contrary + 1;
  const needed = isPassing ? track.rise : track.fall;
  if (isDecisive || contrary >= needed) return { ...base, isPassing, contrary: 0, detail };
  const word = isPassing ? 'passed' : 'failed';
  return { ...base, contrary, detail: `${detail} (${word} ${contrary} of ${needed})` };
}

function stepProcess(
  track: ProcessTrack,
  state: TrackState,
  count: number,
  now: MonoMs,
): TrackState {
  const isEnough = count >= track.quorum;
  const wanted = `${count} running, ${track.quorum} wanted`;
  const settled = { ...state, isObserved: true, contrarySince: null, number: count };
  if (isEnough === state.isPassing) return { ...settled, detail: wanted };
  const contrarySince = state.contrarySince ?? now;
  if (!state.isObserved || now - contrarySince >= track.delayMs)
    return { ...settled, isPassing: isEnough, detail: wanted };
  const detail = `${wanted} (counts after ${track.delayMs} ms)`;
  return { ...settled, contrarySince, detail };
}

function stepFile(
  track: FileTrack,
  state: TrackState,
  sight: TrackSight & { readonly kind: 'file' },
): TrackState {
  // Without a number it counts as 0, but where it starts as failed it needs one to get out of that.
  if (sight.number === null && state.isWaiting)
    return { ...state, isObserved: true, detail: `${sight.detail}, and starts as failed` };
  const number = sight.number ?? 0;
  return {
    ...state,
    isObserved: true,
    isWaiting: false,
    number,
    isPassing: isFilePassing(track, number),
    detail: sight.detail,
  };
}

function isFilePassing(track: FileTrack, number: number): boolean {
  return track.weight === null ? number === 0 : track.weight * number > FILE_FAULT;
}

function inherit(track: Track, former: TrackState): TrackState {
  const state = { ...former, contrary: 0, contrarySince: null };
  if (track.kind !== 'file') return state;
  const isWaiting = former.isWaiting && track.initFail;
  return { ...state, isWaiting, isPassing: !isWaiting && isFilePassing(track, former.number) };
}
