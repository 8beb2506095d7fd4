/**
 * Watches what tracks depend on outside this process - scripts, processes, files - in the background, away
 * from the hold loop. What it saw is judged in `core/tracks`.
 */
import type { TrackObservation, TrackTarget } from '../model/track.ts';

export interface Tracker {
  /**
   * The complete set to watch from now on. A target that stays keeps its rhythm; a script that leaves
   * is killed if it runs; a new one starts within a second, and never all at once.
   */
  setTargets(targets: readonly TrackTarget[]): void;
  /**
   * In order of arrival, until the signal aborts: every run of a script, and of processes and files the
   * first look and every change. A new reader first gets the latest of each target that was seen already.
   */
  observations(signal: AbortSignal): AsyncIterable<readonly TrackObservation[]>;
  /** Kills what runs. Idempotent. */
  close(): Promise<void>;
}
