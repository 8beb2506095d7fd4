/**
 * Loaded before an agent by `node --import`: SIGWINCH blocks its main thread for as many milliseconds
 * as the file named in the URL's query says. Its workers run on, as with a long garbage collection
 * or a slow synchronous call.
 */
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const file = decodeURIComponent(new URL(import.meta.url).search.slice(1));

if (isMainThread)
  process.on('SIGWINCH', () => {
    const milliseconds = Number(readFileSync(file, 'utf8'));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  });
