/** Entry of the tracker's worker thread: joins the runner to this thread's port, to programs, /proc and files. */
import { parentPort } from 'node:worker_threads';

import { assert } from '../../lib/assert.ts';
import { createSystemClock } from '../clock/system-clock.ts';
import { createSystemRandom } from '../clock/system-random.ts';
import { startProgram } from '../programs/run-program.ts';
import { watchDirectory } from './file-watch.ts';
import { readNumber } from '../programs/number-file.ts';
import { ProcessTable } from './process-table.ts';
import type { ToTrackWorker } from './track-protocol.ts';
import { TrackRunner } from './track-runner.ts';

/** A failing script says why in its first line. */
const OUTPUT_BYTES_MAX = 1024;

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const clock = createSystemClock();
const random = createSystemRandom();
const table = new ProcessTable();
const runner = new TrackRunner({
  clock,
  random: () => random.next(),
  start: ({ command, user, timeoutMs }) =>
    startProgram(
      { command, user, timeoutMs, env: {}, maxOutputBytes: OUTPUT_BYTES_MAX, leftovers: 'kill' },
      { clock },
    ),
  count: (targets, isThorough) => table.count(targets, isThorough),
  read: readNumber,
  watch: watchDirectory,
  post: (message) => port.postMessage(message),
});
port.on('message', (message: ToTrackWorker) => runner.handle(message));
