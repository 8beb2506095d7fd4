/**
 * The Notifier port over a worker thread: starting a program stops the thread that does it for
 * milliseconds, and the hold loop has none to give.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { messageOf } from '../../lib/result.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type {
  FifoResult,
  FifoWrite,
  Notifier,
  NotifyJob,
  NotifyResult,
} from '../../ports/notifier.ts';
import type { FromNotifyWorker, ToNotifyWorker } from './notify-protocol.ts';

/** Programs get this long to be killed at the end. */
const CLOSE_MS = 1_200;

/** The thread starts with the first job, and anew after it died. */
export function createNotifier(ports: { readonly clock: Clock; readonly log: Log }): Notifier {
  return new WorkerNotifier(ports);
}

class WorkerNotifier implements Notifier {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #jobs = new Map<number, (result: NotifyResult) => void>();
  readonly #writes = new Map<number, (result: FifoResult) => void>();
  #worker: Worker | null = null;
  #lastId = 0;
  #closing: Promise<void> | null = null;
  #onClosed: () => void = () => {};

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  run(job: NotifyJob, signal: AbortSignal): Promise<NotifyResult> {
    if (this.#closing !== null || signal.aborted)
      return Promise.resolve({ kind: 'failed', message: 'the agent ends', output: '' });
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const kill = (): void => this.#post({ kind: 'kill', id });
      signal.addEventListener('abort', kill, { once: true });
      this.#jobs.set(id, (result) => {
        signal.removeEventListener('abort', kill);
        resolve(result);
      });
      this.#post({ kind: 'run', id, job });
    });
  }

  writeFifo(write: FifoWrite): Promise<FifoResult> {
    if (this.#closing !== null)
      return Promise.resolve({ kind: 'failed', message: 'the agent ends' });
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#writes.set(id, resolve);
      this.#post({ kind: 'write', id, write });
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    const closed = new Promise<void>((resolve) => {
      this.#onClosed = resolve;
    });
    this.#post({ kind: 'close' });
    const limit = new AbortController();
    await Promise.race([closed, this.#clock.sleep(CLOSE_MS, limit.signal)]);
    limit.abort();
    await worker.terminate();
    this.#failAll('the agent ends');
  }

  #post(message: ToNotifyWorker): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(message);
  }

  #start(): Worker {
    const worker = startWorker();
    worker.on('message', (message: FromNotifyWorker) => this.#take(message));
    worker.on('error', (error) => this.#log.error({ error: messageOf(error) }, 'notifier.crashed'));
    worker.once('exit', () => {
      this.#worker = null;
      this.#onClosed();
      this.#failAll('the thread that runs programs has died');
    });
    return worker;
  }

  #take(message: FromNotifyWorker): void {
    switch (message.kind) {
      case 'ran':
        this.#jobs.get(message.id)?.(message.result);
        this.#jobs.delete(message.id);
        return;
      case 'wrote':
        this.#writes.get(message.id)?.(message.result);
        this.#writes.delete(message.id);
        return;
      case 'closed':
        this.#onClosed();
        return;
    }
  }

  #failAll(message: string): void {
    for (const settle of this.#jobs.values()) settle({ kind: 'failed', message, output: '' });
    for (const settle of this.#writes.values()) settle({ kind: 'failed', message });
    this.#jobs.clear();
    this.#writes.clear();
  }
}

/**
 * The worker's file lies beside this one and has the same extension: `.js` when compiled; `.ts` in
 * development and tests, where the thread, which inherits no loader, registers tsx for itself.
 */
function startWorker(): Worker {
  const extension = extname(import.meta.url);
  const file = new URL(`./notify-worker${extension}`, import.meta.url);
  const execArgv = extension === '.ts' ? ['--import', tsxRegistration()] : [];
  return new Worker(file, { name: 'notify', execArgv });
}

/** A module as a URL: tsx's own entry registers itself on the main thread only. */
function tsxRegistration(): string {
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import { register } from ${tsx}; register();`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
