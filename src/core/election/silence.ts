/** The one way in which a group becomes silent here: told to the kernel, and to the world. */
import { type GroupId, monoMs } from '../../model/ids.ts';
import type { Draft } from './draft.ts';
import { hold, ownerRevOf } from './roster.ts';
import type { GiveUp, Holding } from './state.ts';

/** The kernel counts in ticks, and address lifetimes in seconds. */
const CLOSE_SLACK_MS = 1100;

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
  // Every later arming leaves it out, and without one the last deadline passes.
  const silentAt = monoMs(Math.max(draft.state.armedUntil, draft.now) + CLOSE_SLACK_MS);
  const closing = { epoch, ownerRev, ...then, retryAt: null, silentAt };
  hold(draft, group, { kind: 'closing', ...closing });
  draft.effects.push({ kind: 'close', groups: [group] });
  draft.effects.push({ kind: 'show-lease', group, epoch: null });
}
