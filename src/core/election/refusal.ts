/** Groups whose addresses the kernel refuses: they go to another director, or speak without what is refused. */
import type { GroupId } from '../../model/ids.ts';
import { type Draft, later, own, rankingOf } from './draft.ts';
import { fault } from './flapping.ts';
import { bestSuccessor } from './placement.ts';
import { mustWait } from './probing.ts';
import { hold } from './roster.ts';
import type { Holding } from './state.ts';
import { REFUSED_MS } from './timing.ts';

/** So many in a row, and the group is given up; twice as many where nobody else could take it. */
const LIMIT = 3;

/** Silent, and refused as a whole: where it is left to this director it may speak with what can be bound of it. */
export const isRefused = (holding: Holding): boolean =>
  holding.kind === 'owned' && holding.failures >= LIMIT;

/** It is silent, no former holder may speak yet, and no other director could take it now. */
function isLeftToMe(draft: Draft, id: GroupId, { kind }: Holding): boolean {
  const group = draft.config.groupsById.get(id);
  if (kind !== 'owned' || group === undefined || mustWait(draft, id)) return false;
  return bestSuccessor(draft.state, group, rankingOf(draft).of(group), draft.config.me) === null;
}

export function countRefusal(draft: Draft, group: GroupId): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined || (holding.kind !== 'owned' && holding.kind !== 'open')) return;
  const failures = holding.failures + 1;
  hold(draft, group, { ...holding, failures });
  if (failures < LIMIT) return;
  // Silent it would be nowhere: it may go without what is refused, as a group that speaks already.
  if (failures < 2 * LIMIT && isLeftToMe(draft, group, holding)) return;
  own(draft, 'refusedUntil').set(group, later(draft, REFUSED_MS));
  fault(draft, group);
}
