/**
 * The Tracker port over one worker thread: starting a program stops the thread that does it for
 * milliseconds, and looking through /proc takes as long; the hold loop's thread must do neither.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

import { AsyncQueue } from '../../lib/async.ts';
import { messageOf } from '../../lib/result.ts';
import { monoMs } from '../../model/ids.ts';
import type { TrackObservation, TrackTarget } from '../../model/track.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Tracker } from '../../ports/tracker.ts';
import type { FromTrackWorker, ToTrackWorker, TrackResult } from './track-protocol.ts';

/** Batches waiting for a slow reader; beyond it the oldest are dropped. */
const BATCHES_MAX = 1024;
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5000;
/** A worker that lived this long has recovered: the next restart is quick again. */
const RECOVERED_MS = 30_000;
/** Scripts get this long to be killed at the end. */
const CLOSE_MS = 2500;

export type TrackerPorts = { readonly clock: Clock; readonly log: Log };

/** The thread starts with the first targets. */
export function createTracker(ports: TrackerPorts): Tracker {
  return new WorkerTracker(ports);
}

class WorkerTracker implements Tracker {
  readonly #ports: TrackerPorts;
  readonly #queues = new Set<AsyncQueue<readonly TrackObservation[]>>();
  readonly #latest = new Map<string, TrackObservation>();
  #targets: readonly TrackTarget[] = [];
  #ids: ReadonlySet<string> = new Set();
  #worker: Worker | null = null;
  #startedAt = 0;
  #restartMs = RESTART_MIN_MS;
  #cancelRestart: (() => void) | null = null;
  #closing: Promise<void> | null = null;
  #onClosed: () => void = () => {};

  constructor(ports: TrackerPorts) {
    this.#ports = ports;
  }

  setTargets(targets: readonly TrackTarget[]): void {
    if (this.#closing !== null) return;
    this.#targets = targets;
    this.#ids = new Set(targets.map(({ id }) => id));
    for (const id of this.#latest.keys()) if (!this.#ids.has(id)) this.#latest.delete(id);
    if (this.#worker !== null) this.#post({ kind: 'set', targets });
    else if (targets.length > 0 && this.#cancelRestart === null) this.#start();
  }

  observations(signal: AbortSignal): AsyncIterable<readonly TrackObservation[]> {
    const queue = new AsyncQueue<readonly TrackObservation[]>(BATCHES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#closing !== null) queue.end();
    else {
      if (this.#latest.size > 0) queue.push([...this.#latest.values()]);
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    this.#cancelRestart?.();
    const worker = this.#worker;
    if (worker === null) return;
    const closed = new Promise<void>((resolve) => {
      this.#onClosed = resolve;
    });
    this.#post({ kind: 'close' });
    const limit = new AbortController();
    await Promise.race([closed, this.#ports.clock.sleep(CLOSE_MS, limit.signal)]);
    limit.abort();
    await worker.terminate();
  }

  #post(message: ToTrackWorker): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    const { clock, log } = this.#ports;
    const worker = startWorker();
    this.#worker = worker;
    this.#startedAt = clock.now();
    worker.on('message', (message: FromTrackWorker) => {
      if (message.kind === 'closed') this.#onClosed();
      else this.#deliver(message.results);
    });
    worker.on('error', (error) => log.error({ error: messageOf(error) }, 'tracker.crashed'));
    worker.once('exit', (code) => this.#onExit(code));
    this.#post({ kind: 'set', targets: this.#targets });
  }

  #deliver(results: readonly TrackResult[]): void {
    const now = this.#ports.clock.now();
    const batch = results
      // A target may have been removed while its result was on the way.
      .filter(({ target }) => this.#ids.has(target))
      .map(({ target, sight, ageMs }) => ({ target, sight, at: monoMs(now - ageMs) }));
    if (batch.length === 0) return;
    for (const observation of batch) this.#latest.set(observation.target, observation);
    for (const queue of this.#queues) queue.push(batch);
  }

  #onExit(code: number): void {
    this.#worker = null;
    this.#onClosed();
    if (this.#closing !== null) return;
    const { clock, log } = this.#ports;
    const hadRecovered = clock.now() - this.#startedAt > RECOVERED_MS;
    const delayMs = hadRecovered ? RESTART_MIN_MS : this.#restartMs;
    this.#restartMs = Math.min(RESTART_MAX_MS, 2 * delayMs);
    log.error({ code, delayMs }, 'tracker.restarted');
    this.#cancelRestart = clock.schedule(delayMs, () => {
      this.#cancelRestart = null;
      this.#start();
    });
  }
}

/**
 * The worker's file lies beside this one and has the same extension: `.js` when compiled; `.ts` in
 * development and tests, where the thread, which inherits no loader, registers tsx for itself.
 */
function startWorker(): Worker {
  const extension = extname(import.meta.url);
  const file = new URL(`./track-worker${extension}`, import.meta.url);
  const execArgv = extension === '.ts' ? ['--import', tsxRegistration()] : [];
  return new Worker(file, { name: 'tracks', execArgv });
}

/** A module as a URL: tsx's own entry registers itself on the main thread only. */
function tsxRegistration(): string {
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import { register } from ${tsx}; register();`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
