/** The one way in which a group becomes silent here: told to the kernel, and to the world. */
import { type GroupId, type Revision, revisionOf } from '../../model/ids.ts';
import type { Draft } from './draft.ts';
import type { GiveUp, Holding } from './state.ts';

/** The owner record that a round must prove unchanged for this holding. */
export const ownerRevOf = (holding: Holding): Revision =>
  holding.kind === 'leaving' || holding.kind === 'closing'
    ? holding.ownerRev
    : revisionOf(holding.epoch);

/**
 * `giveUp: null`: the record is somebody else's already, nothing is left to write. `isLost`: it was
 * taken, not given, so that nothing else is armed before the kernel has silenced this.
 */
export function silence(
  draft: Draft,
  group: GroupId,
  holding: Holding,
  then: { readonly giveUp: GiveUp | null; readonly isLost: boolean },
): void {
  const { epoch } = holding;
  const ownerRev = ownerRevOf(holding);
  draft.state.holdings.set(group, { kind: 'closing', epoch, ownerRev, ...then, retryAt: null });
  draft.effects.push({ kind: 'close', groups: [group] });
  draft.effects.push({ kind: 'show-lease', group, epoch: null });
}
