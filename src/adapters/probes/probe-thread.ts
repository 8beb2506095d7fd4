/** One worker thread of the prober, restarted with its checks when it dies. */
import { closeSync, writeSync } from 'node:fs';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { messageOf } from '../../lib/result.ts';
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import { KILL_GRACE_MS } from '../programs/run-program.ts';
import type { ProberPorts } from './create-prober.ts';
import type {
  ConnectWorkerReady,
  PackedResults,
  SoonWish,
  ToWorker,
  WorkerOptions,
} from './probe-protocol.ts';

const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A worker that lived this long has recovered: the next restart is quick again. */
const RECOVERED_MS = 30_000;
/** Out of sockets or memory: logged once in this time while it lasts. */
const STARVED_LOG_MS = 60_000;
/**
 * A thread that was told to end has ended its probes by then, and killed its programs, or is ended anyway. It kills by
 * a timer of its own: one that begins late must not leave a program behind.
 */
const STOP_MS = 2 * KILL_GRACE_MS + 500;
/** Checks of one message: to copy them takes a millisecond. */
const PART = 500;
/** What eventfd(2) takes: it becomes readable. */
const WAKE = new Uint8Array(BigUint64Array.of(1n).buffer);

export type ThreadKind = {
  readonly name: string;
  /** `connect`: waits for its descriptors instead of its event loop. */
  readonly kind: 'probe' | 'connect';
};

export type ThreadHooks = {
  readonly onResults: (packed: PackedResults) => void;
  /** By which results name a check. */
  readonly numberOf: (check: CheckId) => number;
};

type Living = {
  readonly worker: Worker;
  readonly startedAt: number;
  /** Written to when a message waits; null: its event loop sees that by itself. */
  wakeFd: number | null;
};

export class ProbeThread {
  readonly #of: ThreadKind;
  readonly #ports: ProberPorts;
  readonly #hooks: ThreadHooks;
  readonly #checks = new Map<CheckId, Check>();
  #slots = 1;
  #wishes: SoonWish[] = [];
  #living: Living | null = null;
  #restartMs = RESTART_MIN_MS;
  #cancelRestart: (() => void) | null = null;
  /** Changes that the worker has not been told yet, in order. */
  #waiting: ToWorker[] = [];
  #cancelSend: (() => void) | null = null;
  #starvedLoggedAt = -Infinity;
  #isClosed = false;

  constructor(of: ThreadKind, ports: ProberPorts, hooks: ThreadHooks) {
    this.#of = of;
    this.#ports = ports;
    this.#hooks = hooks;
  }

  checkOf(id: CheckId): Check | undefined {
    return this.#checks.get(id);
  }

  ids(): Iterable<CheckId> {
    return this.#checks.keys();
  }

  has(check: CheckId): boolean {
    return this.#checks.has(check);
  }

  /** What is new and what is gone, and how many of all may be probed at once. */
  change(added: readonly Check[], gone: readonly CheckId[], slots: number): void {
    for (const id of gone) this.#checks.delete(id);
    for (const check of added) this.#checks.set(check.id, check);
    const isOther = slots !== this.#slots;
    this.#slots = slots;
    if (this.#living === null) {
      if (this.#checks.size > 0 && this.#cancelRestart === null) this.#start();
      return;
    }
    if (added.length > 0 || gone.length > 0 || isOther) this.#tell(added, gone);
  }

  /** Thousands may be wanted at once: they go together, when whoever wants them is done. */
  soon(wish: SoonWish): void {
    if (this.#wishes.length === 0) queueMicrotask(() => this.#postWishes());
    this.#wishes.push(wish);
  }

  #postWishes(): void {
    const wishes = this.#wishes;
    this.#wishes = [];
    this.post({ kind: 'soons', wishes });
  }

  post(message: ToWorker): void {
    this.#living?.worker.postMessage(message);
    const wakeFd = this.#living?.wakeFd ?? null;
    if (wakeFd !== null) writeSync(wakeFd, WAKE);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRestart?.();
    this.#forgetWaiting();
    const living = this.#living;
    if (living === null) return;
    const ended = new Promise<void>((resolve) => living.worker.once('exit', () => resolve()));
    this.post({ kind: 'stop' });
    const cancel = this.#ports.clock.schedule(STOP_MS, () => void living.worker.terminate());
    await ended;
    cancel();
  }

  /** Where there are many, in parts with a rest after each: what shares the thread has its turn. */
  #tell(added: readonly Check[], gone: readonly CheckId[]): void {
    for (let from = 0; from === 0 || from < added.length; from += PART) {
      const part = added.slice(from, from + PART);
      this.#waiting.push({
        kind: 'change',
        added: part,
        numbers: part.map(({ id }) => this.#hooks.numberOf(id)),
        gone: from === 0 ? gone : [],
        maxConcurrent: this.#slots,
      });
    }
    if (this.#cancelSend === null) this.#send();
  }

  #send(): void {
    this.#cancelSend = null;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.post(next);
    if (this.#waiting.length > 0)
      this.#cancelSend = this.#ports.clock.schedule(0, () => this.#send());
  }

  /** Whoever comes next is told everything anew. */
  #forgetWaiting(): void {
    this.#cancelSend?.();
    this.#cancelSend = null;
    this.#waiting = [];
  }

  #start(): void {
    if (this.#isClosed) return;
    const { clock, log, random } = this.#ports;
    const { name, kind } = this.#of;
    const seed = Number.parseInt(random.hex(4), 16);
    const worker = startWorker(name, kind, { maxConcurrent: this.#slots, seed });
    const living: Living = { worker, startedAt: clock.now(), wakeFd: null };
    this.#living = living;
    worker.on('message', (message: PackedResults | ConnectWorkerReady) => {
      if ('wakeFd' in message) this.#onReady(living, message);
      else this.#onMessage(message);
    });
    worker.on('error', (error) =>
      log.error({ worker: name, error: messageOf(error) }, 'prober.crashed'),
    );
    worker.once('exit', (code) => this.#onExit(living, code));
    this.#tell([...this.#checks.values()], []);
  }

  /** What was posted before it could be woken. */
  #onReady(living: Living, { wakeFd }: ConnectWorkerReady): void {
    living.wakeFd = wakeFd;
    writeSync(wakeFd, WAKE);
  }

  #onMessage(packed: PackedResults): void {
    this.#hooks.onResults(packed);
    const now = this.#ports.clock.now();
    if (packed.localFailure === null || now - this.#starvedLoggedAt < STARVED_LOG_MS) return;
    this.#starvedLoggedAt = now;
    const fields = { worker: this.#of.name, error: packed.localFailure };
    this.#ports.log.error(fields, 'prober.starved');
  }

  #onExit(living: Living, code: number): void {
    this.#living = null;
    this.#forgetWaiting();
    // It belongs to the process, and nobody else writes to it.
    if (living.wakeFd !== null) closeSync(living.wakeFd);
    if (this.#isClosed) return;
    const { clock, log } = this.#ports;
    const hadRecovered = clock.now() - living.startedAt > RECOVERED_MS;
    const delayMs = hadRecovered ? RESTART_MIN_MS : this.#restartMs;
    this.#restartMs = Math.min(RESTART_MAX_MS, 2 * delayMs);
    log.error({ worker: this.#of.name, code, delayMs }, 'prober.restarted');
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
function startWorker(name: string, kind: ThreadKind['kind'], workerData: WorkerOptions): Worker {
  const extension = extname(import.meta.url);
  const file = new URL(`./${kind}-worker${extension}`, import.meta.url);
  const execArgv = extension === '.ts' ? ['--import', tsxRegistration()] : [];
  return new Worker(file, { name, workerData, execArgv });
}

/** A module as a URL: tsx's own entry registers itself on the main thread only. */
function tsxRegistration(): string {
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import { register } from ${tsx}; register();`;
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
