/**
 * Loaded before an agent by `node --import`: twice a second a line of JSON goes to the file named in the URL's
 * query, with the longest time since the line before in which the main thread did not turn (`lagMs`), the longest
 * time that the collector took at a stretch (`gcMs`), how long the thread was ready to run and had no processor
 * (`waitMs`), and what the process has used of the processors so far (`cpuMs`).
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

const RESOLUTION_MS = 4;
/** What the collector does so soon after something else that it did is the same stop. */
const SAME_STOP_MS = 2;
const file = decodeURIComponent(new URL(import.meta.url).search.slice(1));

/** Second field of proc(5) schedstat, ns. */
const waitedMs = () =>
  Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  const collector = { longestMs: 0, stretchMs: 0, endedAt: 0 };
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
      const isSame = startTime - collector.endedAt < SAME_STOP_MS;
      collector.stretchMs = (isSame ? collector.stretchMs : 0) + duration;
      collector.endedAt = startTime + duration;
      collector.longestMs = Math.max(collector.longestMs, collector.stretchMs);
    }
  }).observe({ entryTypes: ['gc'] });
  let waitedBefore = waitedMs();
  setInterval(() => {
    const { user, system } = process.cpuUsage();
    const lagMs = Math.max(0, delay.max / 1e6 - RESOLUTION_MS);
    const waited = waitedMs();
    const line = {
      lagMs,
      gcMs: collector.longestMs,
      waitMs: waited - waitedBefore,
      cpuMs: (user + system) / 1000,
    };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
    waitedBefore = waited;
    collector.longestMs = 0;
    delay.reset();
  }, 500).unref();
}
