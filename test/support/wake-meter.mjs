/**
 * Loaded before an agent by `node --import`: a loop on its main thread that wakes as often as the hold loop of the
 * default profile. Once a second a line of JSON goes to the file named in the URL's query: how late each wake was, when
 * it was written, and what the main thread has used of the processors so far, all in milliseconds.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const WAKE_MS = 50;
const LINE_MS = 1000;
const file = decodeURIComponent(new URL(import.meta.url).search.slice(1));

const nowMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Of this thread, in milliseconds: the first number of schedstat is nanoseconds on a processor. */
const ownCpuMs = () =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;

if (isMainThread) {
  let late = [];
  let toldAt = nowMs();
  let wantedAt = toldAt + WAKE_MS;
  const wake = () => {
    const now = nowMs();
    late.push(now - wantedAt);
    if (now - toldAt >= LINE_MS) {
      const line = { late, atMs: now, mainMs: ownCpuMs() };
      appendFileSync(file, `${JSON.stringify(line)}\n`);
      late = [];
      toldAt = now;
    }
    wantedAt = nowMs() + WAKE_MS;
    setTimeout(wake, WAKE_MS).unref();
  };
  setTimeout(wake, WAKE_MS).unref();
}
