/** Counts what went wrong here with a group, so that a director that flaps leaves it to others (design 6). */
import type { GroupId } from '../../model/ids.ts';
import { CALM, calmAt, penaltyAt, recordFault } from '../placement/damping.ts';
import type { Draft } from './draft.ts';

/** Below this a penalty is no longer worth remembering. */
const FORGOTTEN = 0.1;

export function fault(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  state.damping.set(group, recordFault(state.damping.get(group) ?? CALM, now));
}

export function forgetCalm(draft: Draft): void {
  const { state, now } = draft;
  for (const [group, damping] of state.damping)
    if (penaltyAt(damping, now) < FORGOTTEN) state.damping.delete(group);
}

/** A suppressed group may be taken again then. */
export function* flappingWakes(draft: Draft): Generator<number> {
  for (const damping of draft.state.damping.values()) {
    const at = calmAt(damping);
    if (at !== null) yield at;
  }
}
