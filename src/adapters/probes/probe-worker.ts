/** Entry of a probe worker thread: joins the runner to this thread's port, clock and sockets. */
import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../lib/assert.ts';
import { createSystemClock } from '../clock/system-clock.ts';
import type { ToWorker, WorkerOptions } from './probe-protocol.ts';
import { ProbeRunner } from './probe-runner.ts';
import { runProbe } from './run-probe.ts';

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const clock = createSystemClock();
const runner = new ProbeRunner(workerData as WorkerOptions, {
  now: () => clock.now(),
  setTimer: (ms, action) => clock.schedule(ms, action),
  probe: runProbe,
  post: (message) => port.postMessage(message),
});
port.on('message', (message: ToWorker) => runner.handle(message));
