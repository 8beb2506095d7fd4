/** Counts what went wrong here with a group, so that a director that flaps leaves it to others (design 6). */
import type { GroupId } from '../../model/ids.ts';
import { CALM, calmAt, penaltyAt, recordFault } from '../placement/damping.ts';
import { type Draft, own, remove } from './draft.ts';
import type { Wake } from './wake.ts';

/** Below this a penalty is no longer worth remembering. */
const FORGOTTEN = 0.1;

export function fault(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  own(draft, 'damping').set(group, recordFault(state.damping.get(group) ?? CALM, now));
}

export function forgetCalm(draft: Draft): void {
  const { state, now } = draft;
  for (const [group, damping] of state.damping)
    if (penaltyAt(damping, now) < FORGOTTEN) remove(draft, 'damping', group);
}

/** A suppressed group may be taken again then. */
export function flappingWakes({ state }: Draft, wake: Wake): void {
  for (const damping of state.damping.values()) wake.by(calmAt(damping) ?? Infinity);
}
