/** The machine's clocks behind the Clock port: CLOCK_MONOTONIC for decisions, the wall clock for people. */
import { performance } from 'node:perf_hooks';

import { monoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';

/** Longest delay a Node timer takes; longer ones would fire at once. */
const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** Timers of this clock keep the process alive until they fire or are cancelled. */
export function createSystemClock(): Clock {
  return {
    now: () => monoMs(performance.now()),
    wallTime: () => new Date().toISOString(),
    wallMs: () => Date.now(),
    sleep,
    schedule,
  };
}

function schedule(ms: number, action: () => void): () => void {
  const timer = setTimeout(action, Math.min(Math.max(ms, 0), TIMER_LIMIT_MS));
  return () => clearTimeout(timer);
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = schedule(ms, finish);
    signal?.addEventListener('abort', finish);
  });
}
