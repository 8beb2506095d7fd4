/**
 * A clock that stands still while this machine does: a busy one may stop all its processes for a good part of a
 * second, and a bound on the time that something took must not count that. A thread of its own drives it, so what the
 * main thread does for long counts in full.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

const STEP_MS = 10;
const WAKE_MS = 1;
/** A turn of the thread that took longer was a pause of the machine, or the turn of other work. */
const TURN_MAX_MS = 20;

const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const [RAN, PAUSED] = [0, 1];
const us = new Int32Array(workerData);
const nobody = new Int32Array(new SharedArrayBuffer(4));
parentPort.postMessage('ready');
for (let last = performance.now(); ; ) {
  Atomics.wait(nobody, 0, 0, ${WAKE_MS});
  const now = performance.now();
  const took = Math.round(1000 * (now - last));
  const counted = Math.min(took, ${1000 * TURN_MAX_MS});
  Atomics.add(us, RAN, counted);
  if (took > counted) Atomics.add(us, PAUSED, took);
  last = now;
}`;

export class RunningClock {
  readonly #worker: Worker;
  readonly #us: Int32Array;

  private constructor(worker: Worker, us: Int32Array) {
    this.#worker = worker;
    this.#us = us;
  }

  /** Runs until it is stopped, half an hour at most. */
  static async start(): Promise<RunningClock> {
    const shared = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT);
    const worker = new Worker(THREAD, { eval: true, execArgv: [], workerData: shared });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return new RunningClock(worker, new Int32Array(shared));
  }

  /** Milliseconds that the machine ran since the start. */
  now(): number {
    return Atomics.load(this.#us, 0) / 1000;
  }

  /** Milliseconds of all pauses since the start; 0 on a calm machine. */
  paused(): number {
    return Atomics.load(this.#us, 1) / 1000;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Passes that long, in steps: a pause of the machine is one of them, and others have their turns in the rest. */
export async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= STEP_MS) await sleep(STEP_MS);
}
