/** What part a director takes in the virtual routers of a VIP group, by how it holds the group; whether it runs. */
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

type KnownState = Pick<
  ElectionState,
  'holdings' | 'armedUntil' | 'view' | 'lastConfirmedAt' | 'probings'
>;

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
      // Somebody may stand in for it: who hears it announced would take it for held, and promise it to nobody.
      if (holding.mustProbe && state.probings.get(group)?.length !== 'short')
        return { kind: 'named' };
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

/** So many times `suspectMs` after a heartbeat a director without a report counts as running. */
const HEARD_WEIGHT = 3;

/**
 * Whether an agent of this director may be the one that advertises from its address: no record says that its session
 * is over, and its report stands in etcd, for as long as its lease, or its heartbeats came a moment ago.
 */
export function isRunning(
  { view, lastHeard }: Pick<ElectionState, 'view' | 'lastHeard'>,
  director: DirectorId,
  { now, suspectMs }: { readonly now: MonoMs; readonly suspectMs: number },
): boolean {
  const session = view.sessions.get(director)?.value ?? null;
  if (session !== null && session.state !== 'open') return false;
  if ((view.reports.get(director)?.value ?? null) !== null) return true;
  const heardAt = lastHeard.get(director);
  return heardAt !== undefined && now < heardAt + HEARD_WEIGHT * suspectMs;
}
