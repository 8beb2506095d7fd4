/**
 * A clock that stands still while this machine does: a busy one may stop all its processes for a good part of a
 * second, and a bound on the time that something took must not count that. A thread of its own drives it, so what the
 * main thread does for long counts in full.
 */
import { Worker } from 'node:worker_threads';

const WAKE_MS = 1;
/** What a turn of the thread took beyond this was the machine's pause, or other work's turn. */
const TURN_MAX_MS = 5;

const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const ranUs = new Int32Array(workerData);
const nobody = new Int32Array(new SharedArrayBuffer(4));
parentPort.postMessage('ready');
for (let last = performance.now(); ; ) {
  Atomics.wait(nobody, 0, 0, ${WAKE_MS});
  const now = performance.now();
  Atomics.add(ranUs, 0, Math.round(1000 * Math.min(now - last, ${TURN_MAX_MS})));
  last = now;
}`;

export class RunningClock {
  readonly #worker: Worker;
  readonly #ranUs: Int32Array;

  private constructor(worker: Worker, ranUs: Int32Array) {
    this.#worker = worker;
    this.#ranUs = ranUs;
  }

  /** Runs until it is stopped, half an hour at most. */
  static async start(): Promise<RunningClock> {
    const shared = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    const worker = new Worker(THREAD, { eval: true, execArgv: [], workerData: shared });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return new RunningClock(worker, new Int32Array(shared));
  }

  /** Milliseconds that the machine ran since the start. */
  now(): number {
    return Atomics.load(this.#ranUs, 0) / 1000;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
