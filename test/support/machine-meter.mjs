/**
 * A thread on one processor that wants to wake every 2 ms, for `machine-meter.ts`: it writes down from when to when it
 * could not. It does nothing else, so what kept it is the machine: a busy processor, or one that was taken away.
 */
import { parentPort, workerData } from 'node:worker_threads';
import koffi from 'koffi';

const WAKE_MS = 2;
const { processor, shared, leastMs } = workerData;
/** How many pauses there are, then the two times of each. */
const notes = new Float64Array(shared);
const nobody = new Int32Array(new SharedArrayBuffer(4));
const nowMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Of this thread alone (sched_setaffinity(2) with pid 0). Where it is refused the thread may run anywhere. */
function stayOn(number) {
  const set = koffi.load('libc.so.6').func('int sched_setaffinity(int, size_t, void *)');
  const mask = Buffer.alloc(128);
  mask[number >> 3] = 1 << (number & 7);
  set(0, mask.length, mask);
}

stayOn(processor);
parentPort.postMessage('ready');
for (let last = nowMs(); ; ) {
  Atomics.wait(nobody, 0, 0, WAKE_MS);
  const now = nowMs();
  const at = 1 + 2 * notes[0];
  if (now - last >= leastMs && at + 1 < notes.length) {
    notes.set([last, now], at);
    notes[0] += 1;
  }
  last = now;
}
