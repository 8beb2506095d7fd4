/** Entry of the notifier's worker thread: joins the runner to this thread's port, to programs and pipes. */
import { parentPort } from 'node:worker_threads';
import { assert } from '../../lib/assert.ts';
import { createSystemClock } from '../clock/system-clock.ts';
import { startProgram } from '../programs/run-program.ts';
import { FifoWriter } from './fifo-writer.ts';
import type { ToNotifyWorker } from './notify-protocol.ts';
import { NotifyRunner } from './notify-runner.ts';

/** Programs at once; one per group, and groups may all move at the same time. */
const CONCURRENT_MAX = 64;
const OUTPUT_BYTES_MAX = 4_096;

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const clock = createSystemClock();
const runner = new NotifyRunner(
  { maxConcurrent: CONCURRENT_MAX },
  {
    clock,
    start: ({ command, user, environment, timeoutMs }) =>
      startProgram(
        {
          command,
          user,
          env: environment,
          timeoutMs,
          maxOutputBytes: OUTPUT_BYTES_MAX,
          // A program may well start a service that stays.
          leftovers: 'leave',
        },
        { clock },
      ),
    fifos: new FifoWriter(),
    post: (message) => port.postMessage(message),
  },
);
port.on('message', (message: ToNotifyWorker) => runner.handle(message));
