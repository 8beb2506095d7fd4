/** What part a director takes in the virtual routers of a VIP group, by how it holds the group. */
import { unreachable } from '../../lib/assert.ts';
import { type DirectorId, type GroupId, type MonoMs, monoMs } from '../../model/ids.ts';
import type { ElectionState } from '../election/state.ts';
import { ownerStanding } from '../election/view.ts';

export type VrrpPart =
  /** The kernel answers for the VIPs, until then at most. */
  | { readonly kind: 'speaking'; readonly until: MonoMs }
  /**
   * The record names this director, its rounds are confirmed, and its kernel is about to answer. Said beforehand, so
   * that who would open in this moment does not.
   */
  | { readonly kind: 'opening'; readonly until: MonoMs }
  /** The record names this director, and its kernel is silent. */
  | { readonly kind: 'named' }
  /** The kernel was told to fall silent, or a successor opens about now: nothing is to be said. */
  | { readonly kind: 'ending' }
  /** Silent for sure. The successor, by the record or about to be; null: nobody. */
  | { readonly kind: 'silent'; readonly successor: DirectorId | null };

type KnownState = Pick<ElectionState, 'holdings' | 'armedUntil' | 'view' | 'lastConfirmedAt'>;

function silentBesides({ view }: KnownState, group: GroupId, me: DirectorId): VrrpPart {
  const standing = ownerStanding(view, group);
  const isOthers = standing.kind === 'owned' && standing.director !== me;
  return { kind: 'silent', successor: isOthers ? standing.director : null };
}

/** `speaking` never for longer than the kernel: a process that was stopped must not speak for what it lost. */
export function vrrpPart(
  state: KnownState,
  group: GroupId,
  me: DirectorId,
  { now, holdMs }: { readonly now: MonoMs; readonly holdMs: number },
): VrrpPart {
  const holding = state.holdings.get(group);
  switch (holding?.kind) {
    case undefined:
      return silentBesides(state, group, me);
    case 'owned': {
      // It only stands for the group, and may never open it.
      if (holding.right === 'segment') return silentBesides(state, group, me);
      const until = monoMs((state.lastConfirmedAt ?? Number.NEGATIVE_INFINITY) + holdMs);
      return now < until ? { kind: 'opening', until } : { kind: 'named' };
    }
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
