/** The machine's clocks behind the Clock port: CLOCK_MONOTONIC for decisions, the wall clock for people. */
import { performance } from 'node:perf_hooks';

import { monoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';

/** Longest delay a Node timer takes: longer ones are waited for in parts, they would fire at once. */
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
  const dueAt = performance.now() + ms;
  const fire = (): void => {
    const leftMs = dueAt - performance.now();
    if (leftMs > 0) timer = startTimer(leftMs, fire);
    else action();
  };
  let timer = startTimer(ms, fire);
  return () => clearTimeout(timer);
}

/** Node counts whole milliseconds from when its loop began to turn: such a timer may still be early. */
function startTimer(ms: number, action: () => void): NodeJS.Timeout {
  return setTimeout(action, Math.min(Math.ceil(Math.max(ms, 0)), TIMER_LIMIT_MS));
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
