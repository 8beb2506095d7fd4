/** One probe under way, and what may come of it: what every kind of check has in common. */
import type { ProbeReason } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { DynamicWeight } from '../../model/health.ts';

export type Outcome =
  | { readonly kind: 'up'; readonly detail: string; readonly weight?: DynamicWeight }
  | { readonly kind: 'down'; readonly reason: ProbeReason; readonly detail: string }
  /** This machine could not probe; nothing is known of the target. */
  | { readonly kind: 'local'; readonly detail: string };

/** Has no timer of its own. Both end it, leave nothing open and are the last call. */
export type RunningProbe = {
  /** Nobody wants to know any more. */
  abort(): void;
  /** Its deadline has come: what that means depends on how far it got. */
  expire(): Outcome;
};

/** Calls `done` once, unless ended before; not before it has returned. */
export type StartProbe = (check: Check, done: (outcome: Outcome) => void) => RunningProbe;

/** Before it has begun, and where it could not. */
export const idleProbe: RunningProbe = {
  abort: () => {},
  expire: () => ({ kind: 'local', detail: 'the probe did not begin' }),
};
