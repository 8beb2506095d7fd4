/** The tracker's real rhythm on virtual time; what it sees is what the test's world says. */
import { parseNumber } from '../../src/adapters/programs/number-file.ts';
import type { ScriptTarget } from '../../src/adapters/tracks/track-protocol.ts';
import { TrackRunner } from '../../src/adapters/tracks/track-runner.ts';
import type { ProgramResult, RunningProgram } from '../../src/adapters/programs/run-program.ts';
import { AsyncQueue } from '../../src/lib/async.ts';
import { monoMs } from '../../src/model/ids.ts';
import type { TrackObservation, TrackTarget } from '../../src/model/track.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Random } from '../../src/ports/random.ts';
import type { Tracker } from '../../src/ports/tracker.ts';

/** What a script does when it is started; `hang` runs into its timeout and then dies at once. */
export type FakeScript =
  | { readonly kind: 'exit'; readonly code: number; readonly ms: number; readonly output?: string }
  | { readonly kind: 'missing'; readonly message: string }
  | { readonly kind: 'hang' };

export type FakeTrackWorld = {
  /** Asked at each start; passes at once by default. */
  readonly script?: (target: ScriptTarget) => FakeScript;
  /** How many processes of that name run; none by default. */
  readonly processes?: (process: string) => number;
  /** Text of the file; null: there is none, which is the default. */
  readonly file?: (path: string) => string | null;
};

const BATCHES_MAX = 1024;

export class FakeTracker implements Tracker {
  readonly #runner: TrackRunner;
  readonly #queues = new Set<AsyncQueue<readonly TrackObservation[]>>();
  readonly #latest = new Map<string, TrackObservation>();
  #ids: ReadonlySet<string> = new Set();
  #isClosed = false;
  /** Scripts started, for tests that count. */
  started = 0;
  /** Looks through the processes, for the same. */
  looks = 0;

  constructor(
    world: FakeTrackWorld,
    ports: { readonly clock: Clock; readonly random: Pick<Random, 'next'> },
  ) {
    const { clock, random } = ports;
    const script = world.script ?? (() => ({ kind: 'exit', code: 0, ms: 0 }) as const);
    this.#runner = new TrackRunner({
      clock,
      random: () => random.next(),
      start: (target) => {
        this.started++;
        return new FakeProgram(script(target), target, clock);
      },
      count: (targets) => {
        this.looks++;
        return new Map(targets.map(({ id, process }) => [id, world.processes?.(process) ?? 0]));
      },
      read: (path) => {
        const text = world.file?.(path) ?? null;
        if (text !== null) return parseNumber(text);
        return { number: null, detail: 'does not exist, counts as 0', isTorn: false };
      },
      watch: () => null,
      post: (message) => {
        if (message.kind !== 'results') return;
        const now = clock.now();
        const batch = message.results
          .filter(({ target }) => this.#ids.has(target))
          .map(({ target, sight, ageMs }) => ({ target, sight, at: monoMs(now - ageMs) }));
        if (batch.length === 0) return;
        for (const observation of batch) this.#latest.set(observation.target, observation);
        for (const queue of this.#queues) queue.push(batch);
      },
    });
  }

  setTargets(targets: readonly TrackTarget[]): void {
    if (this.#isClosed) return;
    this.#ids = new Set(targets.map(({ id }) => id));
    for (const id of this.#latest.keys()) if (!this.#ids.has(id)) this.#latest.delete(id);
    this.#runner.handle({ kind: 'set', targets });
  }

  observations(signal: AbortSignal): AsyncIterable<readonly TrackObservation[]> {
    const queue = new AsyncQueue<readonly TrackObservation[]>(BATCHES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      if (this.#latest.size > 0) queue.push([...this.#latest.values()]);
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  async close(): Promise<void> {
    this.setTargets([]);
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }
}

class FakeProgram implements RunningProgram {
  readonly result: Promise<ProgramResult>;
  readonly gone: Promise<void>;
  #end: (result: ProgramResult) => void = () => {};
  readonly #cancel: () => void;

  constructor(script: FakeScript, { timeoutMs }: ScriptTarget, clock: Clock) {
    this.result = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.gone = this.result.then(() => {});
    const { ms, result } = courseOf(script, timeoutMs);
    this.#cancel = clock.schedule(ms, () => this.#end(result));
  }

  kill(): void {
    this.#cancel();
    this.#end({ kind: 'failed', message: 'ended by leasehold' });
  }
}

function courseOf(
  script: FakeScript,
  timeoutMs: number,
): { readonly ms: number; readonly result: ProgramResult } {
  if (script.kind === 'missing')
    return { ms: 0, result: { kind: 'failed', message: script.message } };
  if (script.kind === 'hang' || script.ms >= timeoutMs)
    return { ms: timeoutMs, result: { kind: 'timed-out' } };
  const { code, ms, output = '' } = script;
  return { ms, result: { kind: 'exited', code, output } };
}
