/**
 * Entry of the thread that makes plain TCP connects. It waits in epoll_wait, not in the event loop, which would cost
 * as much again: messages are fetched when the descriptor that it tells its parent is written to.
 */
import {
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  workerData,
} from 'node:worker_threads';
import { assert } from '../../lib/assert.ts';
import { createSystemClock } from '../clock/system-clock.ts';
import { ConnectEngine } from './connect-engine.ts';
import { openConnectSockets } from './connect-sockets.ts';
import type { ConnectWorkerReady, ToWorker, WorkerOptions } from './probe-protocol.ts';

/** A thread that is to be ended from outside, at the end of the process, is free again after this. */
const WAIT_MAX_MS = 250;

/** A turn so long after the last wait means that the thread stood still, not that targets were slow. */
const STALL_MS = 20;

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const clock = createSystemClock();
const sockets = openConnectSockets();
const engine = new ConnectEngine(workerData as WorkerOptions, {
  now: () => clock.now(),
  sockets,
  post: (packed) => port.postMessage(packed, [packed.numbers.buffer]),
});

/** False: the thread is to end. */
function takeMessages(from: MessagePort): boolean {
  for (;;) {
    const received = receiveMessageOnPort(from);
    if (received === undefined) return true;
    const message = received.message as ToWorker;
    if (message.kind === 'stop') return false;
    if (message.kind !== 'set') engine.handle(message);
  }
}

const ready: ConnectWorkerReady = { wakeFd: sockets.wakeFd };
port.postMessage(ready);
let heardAt = clock.now();
try {
  while (takeMessages(port)) {
    // Answers that came in time are heard before the turn that cuts at deadlines.
    if (clock.now() - heardAt > STALL_MS) engine.hear(0);
    engine.turn();
    engine.hear(Math.min(engine.waitMs() ?? WAIT_MAX_MS, WAIT_MAX_MS));
    heardAt = clock.now();
  }
} finally {
  engine.stop();
  sockets.closeAll();
}
