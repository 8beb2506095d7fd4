/** What holds for a virtual service where the cluster document says nothing. */
import type { CheckTiming, ForwardMethod, Protocol, Scheduler } from '../model/cluster.ts';

export const DEFAULT_PROTOCOL: Protocol = 'tcp';
/** As in keepalived. */
export const DEFAULT_SCHEDULER: Scheduler = 'wlc';
export const DEFAULT_FORWARD: ForwardMethod = 'dr';
export const DEFAULT_WEIGHT = 1;
/** Any success of RFC 9110. */
export const DEFAULT_STATUS: readonly (readonly [number, number])[] = [[200, 299]];
export const DEFAULT_CHECK: CheckTiming = { intervalMs: 2000, timeoutMs: 1000, rise: 2, fall: 2 };
