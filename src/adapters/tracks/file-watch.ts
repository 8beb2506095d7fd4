/**
 * Follows files that hold a number: the kernel tells of changes in their directories, and a look every
 * second sees what it did not tell (a directory that is not there yet, a network file system).
 */
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';

import type { TrackSight } from '../../model/track.ts';
import type { Clock } from '../../ports/clock.ts';
import type { NumberReading } from '../programs/number-file.ts';
import type { FileTarget } from './track-protocol.ts';

export const FILE_LOOK_MS = 1000;
/** Events of one change come in bursts: one look for all of them. */
const BURST_MS = 20;
/** A file without a number may be half written: it counts only when it still is so after this. */
const TORN_MS = 100;

export type FileWatchWorld = {
  readonly clock: Clock;
  readonly read: (path: string) => NumberReading;
  /** Calls with the name of what changed, null where that is not known; null: cannot be watched now. */
  readonly watch: (
    directory: string,
    changed: (name: string | null) => void,
  ) => (() => void) | null;
  readonly seen: (target: string, sight: TrackSight) => void;
};

type File = {
  readonly target: FileTarget;
  /** What was told last, as text; null: nothing. */
  told: string | null;
  cancelLook: (() => void) | null;
};

export class FileWatch {
  readonly #world: FileWatchWorld;
  readonly #files = new Map<string, File>();
  readonly #watchers = new Map<string, () => void>();
  #cancelRound: (() => void) | null = null;

  constructor(world: FileWatchWorld) {
    this.#world = world;
  }

  set(targets: readonly FileTarget[]): void {
    const wanted = new Map(targets.map((target) => [target.id, target]));
    for (const [id, file] of this.#files)
      if (!wanted.has(id)) {
        file.cancelLook?.();
        this.#files.delete(id);
      }
    this.#dropWatchers();
    for (const [id, target] of wanted)
      if (!this.#files.has(id)) {
        const file: File = { target, told: null, cancelLook: null };
        this.#files.set(id, file);
        this.#lookAfter(file, 0);
      }
    if (this.#files.size === 0) {
      this.#cancelRound?.();
      this.#cancelRound = null;
    } else if (this.#cancelRound === null) this.#round();
  }

  #round(): void {
    for (const file of this.#files.values()) {
      // Told by nobody: the watch is of a directory that is no longer there.
      if (file.told !== null && this.#look(file)) this.#unwatch(dirname(file.target.path));
      this.#watch(dirname(file.target.path));
    }
    this.#cancelRound = this.#world.clock.schedule(FILE_LOOK_MS, () => this.#round());
  }

  #lookAfter(file: File, ms: number): void {
    if (file.cancelLook !== null) return;
    file.cancelLook = this.#world.clock.schedule(ms, () => {
      file.cancelLook = null;
      this.#look(file);
    });
  }

  /** True when there is something new. */
  #look(file: File): boolean {
    const { clock, read } = this.#world;
    const reading = read(file.target.path);
    if (file.told === textOf(reading)) return false;
    if (!reading.isTorn) this.#tell(file, reading);
    else if (file.cancelLook === null)
      file.cancelLook = clock.schedule(TORN_MS, () => {
        file.cancelLook = null;
        const again = read(file.target.path);
        if (file.told !== textOf(again)) this.#tell(file, again);
      });
    return true;
  }

  #tell(file: File, reading: NumberReading): void {
    const { number, detail } = reading;
    file.told = textOf(reading);
    this.#world.seen(file.target.id, { kind: 'file', number, detail });
  }

  #watch(directory: string): void {
    if (this.#watchers.has(directory)) return;
    const stop = this.#world.watch(directory, (name) => {
      for (const file of this.#files.values()) {
        const { path } = file.target;
        if (dirname(path) === directory && (name === null || name === basename(path)))
          this.#lookAfter(file, BURST_MS);
      }
    });
    if (stop !== null) this.#watchers.set(directory, stop);
  }

  #unwatch(directory: string): void {
    this.#watchers.get(directory)?.();
    this.#watchers.delete(directory);
  }

  #dropWatchers(): void {
    const needed = new Set([...this.#files.values()].map(({ target }) => dirname(target.path)));
    for (const directory of this.#watchers.keys())
      if (!needed.has(directory)) this.#unwatch(directory);
  }
}

const textOf = ({ number, detail }: NumberReading): string => `${number} ${detail}`;

/** inotify(7) by way of Node; null where the directory is not there or no watch is left. */
export function watchDirectory(
  directory: string,
  changed: (name: string | null) => void,
): (() => void) | null {
  let watcher: FSWatcher;
  try {
    watcher = watch(directory, { persistent: false }, (_event, name) => changed(name));
  } catch {
    return null;
  }
  // The look every second goes on without it.
  watcher.on('error', () => watcher.close());
  return () => watcher.close();
}
