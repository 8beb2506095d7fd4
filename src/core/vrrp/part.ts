/** What part a director takes in the virtual routers of a VIP group, by how it holds the group. */
import { unreachable } from '../../lib/assert.ts';
import type { DirectorId, GroupId, MonoMs } from '../../model/ids.ts';
import type { ElectionState } from '../election/state.ts';
import { ownerStanding } from '../election/view.ts';

export type VrrpPart =
  /** The kernel answers for the VIPs, until then at most. */
  | { readonly kind: 'speaking'; readonly until: MonoMs }
  /** The record names this director, and its kernel is silent: not yet, or not any more. */
  | { readonly kind: 'named' }
  /** The kernel was told to fall silent, or a successor opens about now: nothing is to be said. */
  | { readonly kind: 'ending' }
  /** Silent for sure. The successor, by the record or about to be; null: nobody. */
  | { readonly kind: 'silent'; readonly successor: DirectorId | null };

/** `speaking` never for longer than the kernel: a process that was stopped must not speak for what it lost. */
export function vrrpPart(
  state: Pick<ElectionState, 'holdings' | 'armedUntil' | 'view'>,
  group: GroupId,
  me: DirectorId,
  now: MonoMs,
): VrrpPart {
  const holding = state.holdings.get(group);
  switch (holding?.kind) {
    case undefined: {
      const standing = ownerStanding(state.view, group);
      const isOthers = standing.kind === 'owned' && standing.director !== me;
      return { kind: 'silent', successor: isOthers ? standing.director : null };
    }
    case 'owned':
      return { kind: 'named' };
    case 'open':
      return holding.until > now ? { kind: 'speaking', until: holding.until } : { kind: 'named' };
    case 'leaving':
      return holding.phase === 'waiting' && state.armedUntil > now
        ? { kind: 'speaking', until: state.armedUntil }
        : { kind: 'ending' };
    case 'closing':
      return { kind: 'ending' };
    case 'shut':
      return { kind: 'silent', successor: holding.giveUp.to };
    default:
      return unreachable(holding);
  }
}
