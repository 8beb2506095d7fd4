/** The Prober port over worker threads: checks are spread by hash, results come back in batches. */
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { AsyncQueue } from '../../lib/async.ts';
import { hash32 } from '../../lib/hash.ts';
import { messageOf } from '../../lib/result.ts';
import type { Check } from '../../model/cluster.ts';
import type { Observation } from '../../model/health.ts';
import { type CheckId, monoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Prober } from '../../ports/prober.ts';
import type { Random } from '../../ports/random.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './probe-protocol.ts';

const CONCURRENT_DEFAULT = 512;
const WORKERS_DEFAULT_MAX = 4;
/** Batches waiting for a slow reader; beyond it the oldest are dropped. */
const BATCHES_MAX = 1_024;
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A worker that lived this long has recovered: the next restart is quick again. */
const RECOVERED_MS = 30_000;
/** Checks of one message: to copy them takes a millisecond. */
const PART = 500;
/** Out of sockets or memory: logged once in this time while it lasts. */
const STARVED_LOG_MS = 60_000;

export type ProberOptions = {
  /** Threads; default: one less than the machine's processors, 1 to 4. */
  readonly workers?: number;
  /** Probes at once per worker, default 512; targets that never answer may use half of them. */
  readonly maxConcurrent?: number;
};

export type ProberPorts = { readonly clock: Clock; readonly log: Log; readonly random: Random };

/** Threads start with the first checks. */
export function createProber(options: ProberOptions, ports: ProberPorts): Prober {
  return new WorkerProber(options, ports);
}

class WorkerProber implements Prober {
  readonly #threads: readonly ProbeThread[];
  readonly #clock: Clock;
  readonly #queues = new Set<AsyncQueue<readonly Observation[]>>();
  #current: ReadonlySet<CheckId> = new Set();
  #isClosed = false;

  constructor(options: ProberOptions, ports: ProberPorts) {
    this.#clock = ports.clock;
    const fallback = Math.min(WORKERS_DEFAULT_MAX, Math.max(1, availableParallelism() - 1));
    const count = options.workers ?? fallback;
    const maxConcurrent = options.maxConcurrent ?? CONCURRENT_DEFAULT;
    this.#threads = Array.from(
      { length: count },
      (_, n) => new ProbeThread(n, maxConcurrent, ports, (batch) => this.#deliver(batch)),
    );
  }

  setChecks(checks: readonly Check[]): void {
    const shares: Check[][] = this.#threads.map(() => []);
    for (const check of checks) shares[this.#threadOf(check.id)]?.push(check);
    this.#current = new Set(checks.map((check) => check.id));
    for (const [n, thread] of this.#threads.entries()) thread.setChecks(shares[n] ?? []);
  }

  probeSoon(check: CheckId): void {
    this.#threads[this.#threadOf(check)]?.post({ kind: 'soon', check });
  }

  /** A reader gets what arrives from this call on. */
  observations(signal: AbortSignal): AsyncIterable<readonly Observation[]> {
    const queue = new AsyncQueue<readonly Observation[]>(BATCHES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  #threadOf(check: CheckId): number {
    return hash32(check) % this.#threads.length;
  }

  #deliver(message: FromWorker): void {
    const now = this.#clock.now();
    const batch = message.results
      // A check may have been removed while its result was on the way.
      .filter((result) => this.#current.has(result.check))
      .map(({ ageMs, ...result }) => ({ ...result, at: monoMs(now - ageMs) }));
    if (batch.length === 0) return;
    for (const queue of this.#queues) queue.push(batch);
  }
}

/** One worker thread, restarted with its checks when it dies. */
class ProbeThread {
  readonly #name: string;
  readonly #maxConcurrent: number;
  readonly #ports: ProberPorts;
  readonly #onResults: (message: FromWorker) => void;
  #checks: readonly Check[] = [];
  #worker: Worker | null = null;
  #startedAt = 0;
  #restartMs = RESTART_MIN_MS;
  #cancelRestart: (() => void) | null = null;
  #cancelSend: (() => void) | null = null;
  #starvedLoggedAt = -Infinity;
  #isClosed = false;

  constructor(
    number: number,
    maxConcurrent: number,
    ports: ProberPorts,
    onResults: (message: FromWorker) => void,
  ) {
    this.#name = `probes-${number}`;
    this.#maxConcurrent = maxConcurrent;
    this.#ports = ports;
    this.#onResults = onResults;
  }

  setChecks(checks: readonly Check[]): void {
    this.#checks = checks;
    if (this.#worker !== null) this.#send();
    else if (checks.length > 0 && this.#cancelRestart === null) this.#start();
  }

  /** All of them, where there are many with a rest after each part. */
  #send(from = 0): void {
    this.#cancelSend?.();
    this.#cancelSend = null;
    const checks = this.#checks.slice(from, from + PART);
    if (from + PART >= this.#checks.length) {
      this.post(from === 0 ? { kind: 'set', checks } : { kind: 'set', checks, hasParts: true });
      return;
    }
    this.post({ kind: 'part', checks, isFirst: from === 0 });
    this.#cancelSend = this.#ports.clock.schedule(0, () => this.#send(from + PART));
  }

  post(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRestart?.();
    this.#cancelSend?.();
    await this.#worker?.terminate();
  }

  #start(): void {
    if (this.#isClosed) return;
    const options: WorkerOptions = {
      maxConcurrent: this.#maxConcurrent,
      seed: Number.parseInt(this.#ports.random.hex(4), 16),
    };
    const worker = startWorker(this.#name, options);
    this.#worker = worker;
    this.#startedAt = this.#ports.clock.now();
    worker.on('message', (message: FromWorker) => this.#onMessage(message));
    worker.on('error', (error) =>
      this.#ports.log.error({ worker: this.#name, error: messageOf(error) }, 'prober.crashed'),
    );
    worker.once('exit', (code) => this.#onExit(code));
    this.#send();
  }

  #onMessage(message: FromWorker): void {
    this.#onResults(message);
    const now = this.#ports.clock.now();
    if (message.localFailure === null || now - this.#starvedLoggedAt < STARVED_LOG_MS) return;
    this.#starvedLoggedAt = now;
    const fields = { worker: this.#name, error: message.localFailure };
    this.#ports.log.error(fields, 'prober.starved');
  }

  #onExit(code: number): void {
    this.#worker = null;
    if (this.#isClosed) return;
    const { clock, log } = this.#ports;
    const hadRecovered = clock.now() - this.#startedAt > RECOVERED_MS;
    const delayMs = hadRecovered ? RESTART_MIN_MS : this.#restartMs;
    this.#restartMs = Math.min(RESTART_MAX_MS, 2 * delayMs);
    log.error({ worker: this.#name, code, delayMs }, 'prober.restarted');
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
function startWorker(name: string, workerData: WorkerOptions): Worker {
  const extension = extname(import.meta.url);
  const file = new URL(`./probe-worker${extension}`, import.meta.url);
  const execArgv = extension === '.ts' ? ['--import', tsxRegistration()] : [];
  return new Worker(file, { name, workerData, execArgv });
}

/** A module as a URL: tsx's own entry registers itself on the main thread only. */
function tsxRegistration(): string {
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import { register } from ${tsx}; register();`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
