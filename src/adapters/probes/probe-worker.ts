/** Entry of a probe worker thread: joins the runner to this thread's port, clock and sockets. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../lib/assert.ts';
import { createSystemClock } from '../clock/system-clock.ts';
import { createSystemRandom } from '../clock/system-random.ts';
import { CheckNumbers, type ToWorker, type WorkerOptions } from './probe-protocol.ts';
import { ProbeRunner } from './probe-runner.ts';
import { Probes } from './run-probe.ts';

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const clock = createSystemClock();
const random = createSystemRandom();
const probes = new Probes({ clock, random16: () => Number.parseInt(random.hex(2), 16) });
const numbers = new CheckNumbers();
const runner = new ProbeRunner(workerData as WorkerOptions, {
  now: () => clock.now(),
  setTimer: (ms, action) => clock.schedule(ms, action),
  probe: (check, done) => probes.start(check, done),
  post: (message) => {
    const packed = numbers.pack(message);
    port.postMessage(packed, [packed.numbers.buffer]);
  },
});
port.on('message', (message: ToWorker) => {
  numbers.take(message);
  runner.handle(message);
  // Nothing else keeps the thread.
  if (message.kind === 'stop') port.close();
});
