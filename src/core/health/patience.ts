/** How long directors wait for each other's word on a check. */
import type { CheckTiming } from '../../model/cluster.ts';

type Timing = Pick<CheckTiming, 'rise' | 'fall' | 'intervalMs' | 'timeoutMs' | 'warmupMs'>;

/** Until the others, too, have made up their minds about what one of them sees. */
export function othersNeedMs({ rise, fall, intervalMs, timeoutMs }: Timing): number {
  const probes = Math.max(rise, fall);
  // The first comes within an interval and its jitter, the second soon after it.
  return Math.max(2, probes) * intervalMs + probes * timeoutMs;
}

/** For a restart of their threads, and for their votes to be written. */
const SPARE_MS = 10_000;

/** Who has said nothing for so long cannot see the target: its own sockets, files or threads fail. */
export const patienceMs = (timing: Timing): number =>
  SPARE_MS + (timing.warmupMs ?? timing.intervalMs) + othersNeedMs(timing);
