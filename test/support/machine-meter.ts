/**
 * When the machine itself paused: a thread on each processor that wakes every 2 ms. Runs in the probe's process and at
 * its priority, which is the agents' too; what kept these threads kept the agents.
 */
import { cpus } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Pause, PAUSE_MS } from './pauses.ts';

const PAUSES_MAX = 8192;
/** On machines with more processors the first of them tell enough. */
const METERS_MAX = 8;

export interface MachineMeter {
  /** All pauses so far, of every processor. */
  pauses(): readonly Pause[];
}

/** Ends with the process. */
export async function startMachineMeter(): Promise<MachineMeter> {
  const notes = await Promise.all(
    Array.from({ length: Math.min(cpus().length, METERS_MAX) }, (_, processor) => meter(processor)),
  );
  return {
    pauses: () =>
      notes.flatMap((each) =>
        Array.from({ length: each[0] ?? 0 }, (_, index) => ({
          fromMs: each[1 + 2 * index] ?? 0,
          toMs: each[2 + 2 * index] ?? 0,
        })),
      ),
  };
}

async function meter(processor: number): Promise<Float64Array> {
  const shared = new SharedArrayBuffer((1 + 2 * PAUSES_MAX) * Float64Array.BYTES_PER_ELEMENT);
  // Without the loader of the parent: it takes longer to start than the thread.
  const worker = new Worker(new URL('./machine-meter.mjs', import.meta.url), {
    execArgv: [],
    workerData: { processor, shared, leastMs: PAUSE_MS },
  });
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  worker.unref();
  return new Float64Array(shared);
}
