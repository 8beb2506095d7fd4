/** Watches the targets of one worker: scripts, processes and files, each in its own way; results in batches. */
import type { TrackSight, TrackTarget } from '../../model/track.ts';
import type { Clock } from '../../ports/clock.ts';
import type { RunningProgram } from '../programs/run-program.ts';
import { FileWatch, type FileWatchWorld } from './file-watch.ts';
import { ProcessWatch, type ProcessWatchWorld } from './process-watch.ts';
import { ScriptRuns } from './script-runs.ts';
import type {
  FromTrackWorker,
  ScriptTarget,
  ToTrackWorker,
  TrackResult,
} from './track-protocol.ts';

/** Results wait this long for others. */
const FLUSH_MS = 10;
/** Scripts at once: they share the machine with the hold loop. */
const CONCURRENT_MAX = 16;

export type TrackWorld = {
  readonly clock: Clock;
  /** Uniform, 0 ≤ x < 1. */
  readonly random: () => number;
  readonly start: (target: ScriptTarget) => RunningProgram;
  readonly count: ProcessWatchWorld['count'];
  readonly read: FileWatchWorld['read'];
  readonly watch: FileWatchWorld['watch'];
  readonly post: (message: FromTrackWorker) => void;
};

type Seen = Omit<TrackResult, 'ageMs'> & { readonly at: number };

export class TrackRunner {
  readonly #world: TrackWorld;
  readonly #scripts: ScriptRuns;
  readonly #processes: ProcessWatch;
  readonly #files: FileWatch;
  #results: Seen[] = [];
  #cancelFlush: (() => void) | null = null;

  constructor(world: TrackWorld) {
    this.#world = world;
    const seen = (target: string, sight: TrackSight): void => this.#seen(target, sight);
    this.#scripts = new ScriptRuns({ maxConcurrent: CONCURRENT_MAX }, { ...world, seen });
    this.#processes = new ProcessWatch({ ...world, seen });
    this.#files = new FileWatch({ ...world, seen });
  }

  handle(message: ToTrackWorker): void {
    if (message.kind === 'set') this.#set(message.targets);
    else void this.#close();
  }

  #set(targets: readonly TrackTarget[]): void {
    this.#scripts.set(targets.filter((target) => target.kind === 'script'));
    this.#processes.set(targets.filter((target) => target.kind === 'process'));
    this.#files.set(targets.filter((target) => target.kind === 'file'));
  }

  async #close(): Promise<void> {
    this.#set([]);
    await this.#scripts.close();
    this.#cancelFlush?.();
    this.#world.post({ kind: 'closed' });
  }

  #seen(target: string, sight: TrackSight): void {
    const { clock } = this.#world;
    this.#results.push({ target, sight, at: clock.now() });
    this.#cancelFlush ??= clock.schedule(FLUSH_MS, () => this.#flush());
  }

  #flush(): void {
    const now = this.#world.clock.now();
    const results = this.#results.map(({ at, ...result }) => ({ ...result, ageMs: now - at }));
    this.#results = [];
    this.#cancelFlush = null;
    this.#world.post({ kind: 'results', results });
  }
}
