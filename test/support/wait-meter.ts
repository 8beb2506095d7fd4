/**
 * When agents waited for a processor. All directors of a lab share those of one machine, which is what no director
 * does: what one of them lost while it stood in the queue says nothing of the product.
 */
import { readFileSync } from 'node:fs';
import { type Pause, PAUSE_MS, type WaitLook } from './pauses.ts';
import { monotonicMs } from './processes.ts';

export interface WaitMeter {
  /** To be called again and again; looks every 10 ms. */
  readonly look: () => void;
  /** When the main thread of one of them waited for half of the time or longer; these may overlap. */
  readonly starved: readonly Pause[];
}

/** Of agents that go on as a new process: asked at each look. */
export type Pids = readonly number[] | (() => readonly number[]);

export function waitMeter(pids: Pids): WaitMeter {
  const running = typeof pids === 'function' ? pids : () => pids;
  const starved: Pause[] = [];
  const waited = new Map(running().map((pid) => [pid, waitedMs(pid)]));
  let last = monotonicMs();
  return {
    starved,
    look() {
      const now = monotonicMs();
      if (now - last < PAUSE_MS) return;
      for (const pid of running()) if (!waited.has(pid)) waited.set(pid, 0);
      for (const [pid, before] of waited) {
        const after = waitedMs(pid);
        const ms = after - before;
        // A wait is counted when it ends, and may have begun before the last look.
        if (ms >= (now - last) / 2) starved.push({ fromMs: Math.min(last, now - ms), toMs: now });
        waited.set(pid, after);
      }
      last = now;
    },
  };
}

const LOOK_MS = 2;

/** Looks of one agent, every 2 ms or as often as it is called. */
export function waitLooks(pid: number): {
  readonly look: () => void;
  readonly looks: readonly WaitLook[];
} {
  const looks: WaitLook[] = [];
  return {
    looks,
    look() {
      if (monotonicMs() - (looks.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY) < LOOK_MS) return;
      const waited = waitedMs(pid);
      looks.push({ atMs: monotonicMs(), waitedMs: waited });
    },
  };
}

/** Looks by itself until it is stopped, and gives when one of them waited then. */
export function startWaitMeter(pids: Pids): { stop(): readonly Pause[] } {
  const { look, starved } = waitMeter(pids);
  const timer = setInterval(look, PAUSE_MS);
  return {
    stop() {
      clearInterval(timer);
      look();
      return starved;
    },
  };
}

/** What the main thread has waited in the queue so far: the second field of Documentation/scheduler/sched-stats. */
export function waitedMs(pid: number): number {
  try {
    const [, waited = ''] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ');
    return Number(waited) / 1e6;
  } catch {
    return Number.NaN; // It has ended: nothing that is compared with this is true.
  }
}
