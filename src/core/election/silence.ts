/** The one way in which a group becomes silent here: told to the kernel, and to the world. */
import type { GroupId } from '../../model/ids.ts';
import type { Draft } from './draft.ts';
import type { GiveUp, Holding } from './state.ts';

/** `giveUp: null`: the record is somebody else's already, nothing is left to write. */
export function silence(
  draft: Draft,
  group: GroupId,
  holding: Holding,
  giveUp: GiveUp | null,
): void {
  const { epoch } = holding;
  draft.state.holdings.set(group, { kind: 'closing', epoch, giveUp, retryAt: null });
  draft.effects.push({ kind: 'close', groups: [group] });
  draft.effects.push({ kind: 'show-lease', group, epoch: null });
}
