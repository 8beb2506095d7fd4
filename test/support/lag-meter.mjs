/**
 * Loaded before an agent by `node --import`: twice a second a line of JSON goes to the file named in the URL's
 * query, with the longest time since the line before in which the main thread did not turn (`lagMs`), and
 * what the process has used of the processors so far (`cpuMs`).
 */
import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

const RESOLUTION_MS = 4;
const file = decodeURIComponent(new URL(import.meta.url).search.slice(1));

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  setInterval(() => {
    const { user, system } = process.cpuUsage();
    const lagMs = Math.max(0, delay.max / 1e6 - RESOLUTION_MS);
    appendFileSync(file, `${JSON.stringify({ lagMs, cpuMs: (user + system) / 1000 })}\n`);
    delay.reset();
  }, 500).unref();
}
