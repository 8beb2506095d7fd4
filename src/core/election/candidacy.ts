/**
 * How far this director is on its way to standing in for a group's holder, and who does already: a projection
 * for people of what `candidate.ts`, `probing.ts` and `asking.ts` decide.
 */
import type { DirectorId, GroupId, MonoMs } from '../../model/ids.ts';
import { standAt } from './candidate.ts';
import { beginDraft, type Draft, surveyed } from './draft.ts';
import { suspectAt } from './hearing.ts';
import { promisedTo, promisedUntil } from './promises.ts';
import {
  holderHeardAt,
  isGatewaySeen,
  isStandIn,
  isStoreThere,
  mayStandIn,
  standInOf,
} from './stand-in.ts';
import type { ElectionConfig, ElectionState, Holding } from './state.ts';
import { standingIn } from './survey.ts';

export type Candidacy = { readonly holder: DirectorId } & (
  | {
      readonly phase: 'waiting';
      /** The holder was not heard for so long; of the time that it takes before this director may stand for it. */
      readonly silentMs: number;
      readonly neededMs: number;
    }
  /** Bound by its word to another candidate. */
  | { readonly phase: 'promised'; readonly to: DirectorId }
  /**
   * Of its own group: somebody has the VIPs, or that cannot be found out. `isTold`: it was told to yield, and
   * this director speaks after this; else the network is asked again then.
   */
  | { readonly phase: 'answered'; readonly inMs: number; readonly isTold: boolean }
  /** Somebody had the VIPs, or the peers did not agree: others have their turn until then. */
  | { readonly phase: 'stepped-back'; readonly inMs: number }
  | { readonly phase: 'probing' | 'gateway-silent' | 'asking' }
);

export type Candidacies = {
  /** Null: nothing makes it stand for the group, or something keeps it from it that the ranking tells. */
  readonly of: (group: GroupId) => Candidacy | null;
  /** Who speaks in the place of the holder by the record, this director or one that is heard; null: nobody. */
  readonly standInOf: (group: GroupId) => DirectorId | null;
};

export function createCandidacies(
  state: ElectionState,
  config: ElectionConfig,
  now: MonoMs,
): Candidacies {
  const draft = beginDraft(state, now, config);
  return {
    of: (group) => candidacyOf(draft, group),
    standInOf: (group) => {
      if (!speaksHere(draft, group)) return standInOf(draft, group);
      // What speaks by the record is no other's, whoever else is heard to speak for it.
      return isStandIn(draft, group) ? config.me : null;
    },
  };
}

function speaksHere({ state, now }: Draft, group: GroupId): boolean {
  const holding = state.holdings.get(group);
  return holding?.kind === 'open' && holding.until > now;
}

function candidacyOf(draft: Draft, group: GroupId): Candidacy | null {
  const { state, config } = draft;
  const standing = standingIn(surveyed(draft), group);
  if (standInOf(draft, group) !== null) return null;
  if (standing.kind !== 'owned' && standing.kind !== 'orphaned') return null;
  const holder = standing.director;
  const holding = state.holdings.get(group);
  if (holder === config.me) return ofOwner(draft, group, holding);
  if (!mayStandIn(draft)) return null;
  if (holding?.kind === 'owned' && holding.right === 'segment')
    return { holder, ...ofCandidate(draft, group, holding) };
  if (holding !== undefined) return null;
  return ofWaiting(draft, group, holder);
}

/** Its own group, of which it does not know whether somebody has stood in for it. */
function ofOwner({ state, config, now }: Draft, group: GroupId, holding: Holding | undefined) {
  const probing = state.probings.get(group);
  if (holding?.kind !== 'owned' || probing === undefined) return null;
  const holder = config.me;
  if (probing.phase === 'asking') return { holder, phase: 'probing' } as const;
  if (probing.phase === 'clear') return null;
  const isTold = probing.length === 'short';
  return { holder, phase: 'answered', inMs: untilMs(now, probing.until), isTold } as const;
}

type Owned = Holding & { readonly kind: 'owned' };

function ofCandidate(draft: Draft, group: GroupId, { epoch, right, since }: Owned) {
  const { state, config, now } = draft;
  const probing = state.probings.get(group);
  const isOwn = probing?.epoch === epoch && probing.right === right;
  const phase = isOwn ? probing.phase : null;
  const againAt = state.standAfter.get(group) ?? now;
  if (phase === 'answered' || againAt > now) return steppedBack(draft, againAt);
  if (phase === 'asking') return { phase: 'probing' } as const;
  // It is asked first, in the round after the next at the latest.
  const isAsked = now >= since + 2 * config.timing.roundMs;
  if (isAsked && !isGatewaySeen(draft)) return { phase: 'gateway-silent' } as const;
  return { phase: phase === 'clear' ? 'asking' : 'probing' } as const;
}

const steppedBack = ({ now }: Draft, againAt: number) =>
  ({ phase: 'stepped-back', inMs: untilMs(now, againAt) }) as const;

const untilMs = (now: number, at: number): number => Math.max(0, Math.round(at - now));

function ofWaiting(draft: Draft, group: GroupId, holder: DirectorId): Candidacy | null {
  const { state, now } = draft;
  if (!isAwaited(draft, group, holder)) return null;
  const at = standAt(draft, group, holder);
  if (!Number.isFinite(at)) return null;
  const to = promisedTo(draft, group);
  if (to !== null && to !== holder) return { holder, phase: 'promised', to };
  const againAt = state.standAfter.get(group) ?? now;
  if (againAt > now) return { holder, ...steppedBack(draft, againAt) };
  const seenAt = state.ownerSeenAt.get(group)?.at ?? now;
  const heardAt = Math.max(seenAt, holderHeardAt(draft, group, holder) ?? seenAt);
  const silentMs = Math.round(now - heardAt);
  const neededMs = Math.round(Math.max(at, promisedUntil(draft, holder)) - heardAt);
  return { holder, phase: 'waiting', silentMs, neededMs };
}

/** Its holder is silent, and so is the store: while that has a challenge of it, a kill comes first. */
function isAwaited(draft: Draft, group: GroupId, holder: DirectorId): boolean {
  const { state, now } = draft;
  const { standings } = surveyed(draft);
  const isGone = standings.get(group)?.kind === 'orphaned';
  if (!isGone && suspectAt(draft, holder, group) > now) return false;
  return state.challenges.get(holder)?.kind !== 'standing' && !isStoreThere(draft);
}
