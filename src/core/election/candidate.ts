/**
 * Standing in for a holder that nobody hears while the store answers nobody (design 4.10): a candidate waits
 * until the holder's kernel must be silent, probes the network for as long again, asks its peers round by
 * round, and opens when all that are in sight have promised and a gateway answers. The record stays the
 * former holder's; when the store is back it is claimed, or given, without a gap.
 */
import { rendezvousOrder } from '../../lib/hash.ts';
import { type DirectorId, epochOf, type GroupId } from '../../model/ids.ts';
import type { VrrpSpec } from '../../model/vrrp.ts';
import { type Draft, notice, rankingOf, remove, surveyed } from './draft.ts';
import { firstSuspectAt, type Heard } from './hearing.ts';
import { unresolvedOf } from './pending.ts';
import { isBeingOpened } from './probing.ts';
import { promisedTo } from './promises.ts';
import { hold, ownedHolding, rosterOf, unhold } from './roster.ts';
import { mayAccuse } from './scope.ts';
import { yieldTo } from './segment.ts';
import { silence } from './silence.ts';
import {
  cutOffAt,
  holderHeardAt,
  isCutOff,
  mayStandIn,
  standInObstacle,
  standInOf,
} from './stand-in.ts';
import type { Holding } from './state.ts';
import { standingIn } from './survey.ts';
import { DRAINED_CLAIM_MS, waitMs } from './timing.ts';
import { revOf } from './view.ts';
import type { Wake } from './wake.ts';

type Owned = Holding & { readonly kind: 'owned' };

/** Missed advertisements after which VRRP takes its holder for gone, and the most that a router waits beyond. */
const DOWN_INTERVALS = 4;
/**
 * Rank r waits r × so many R longer, and r × such a part of the silence, which clocks of different rates count to
 * at different times: the better one's question is there first, and its ballot is a promise.
 */
const RANK_ROUNDS = 2;
const RANK_DRIFT = 0.25;

export function advanceCandidacy(draft: Draft): void {
  const { state, now } = draft;
  if (rosterOf(draft).isStandingIn) yieldToVoices(draft);
  if (rosterOf(draft).count.owned > 0)
    for (const [group, holding] of state.holdings)
      if (holding.kind === 'owned' && holding.right === 'segment')
        reconsider(draft, group, holding);
  const isAway = isCutOff(draft);
  // What an outage has taught says nothing of the next one: the holder may be another, and known to be dead.
  for (const [group, at] of state.standAfter)
    if (at <= now || !isAway) remove(draft, 'standAfter', group);
  if (!isAway || !isAble(draft)) return;
  for (const [group, holder] of orphans(draft))
    if (mayStand(draft, group, holder)) stand(draft, group, holder);
}

/**
 * Where two speak each refuses the other's question, and with it all else that is asked: so the holder by the
 * record goes on, or the same one of two that stand in, and the other is silent as soon as it hears that.
 */
function yieldToVoices(draft: Draft): void {
  for (const [group, holding] of draft.state.holdings) {
    if (holding.kind !== 'open' || holding.right !== 'segment') continue;
    const voice = betterVoiceOf(draft, group, holding);
    if (voice !== null) yieldTo(draft, group, holding, `${voice} is heard to speak; silent here`);
  }
}

function betterVoiceOf(
  draft: Draft,
  id: GroupId,
  { openedAt }: Holding & { readonly kind: 'open' },
): DirectorId | null {
  const { state, config } = draft;
  const standing = standingIn(surveyed(draft), id);
  // Who is dead by record has it by the segment at best, and is told so when it asks. A record that somebody deleted
  // kills nobody.
  if (standing.kind === 'owned' || standing.kind === 'session-missing') {
    const heard = state.heard.get(standing.director);
    if (heard?.named.has(id) === true && heard.at > openedAt) return standing.director;
  }
  const other = standInOf(draft, id);
  return other !== null && goesOn(id, other, config.me) === other ? other : null;
}

/**
 * Of two that stand in for the same group: as both see it, whatever they know of documents and tracks. Without
 * the store each knows its own alone, and by those both might go on, or neither.
 */
const goesOn = (group: GroupId, a: DirectorId, b: DirectorId): DirectorId =>
  rendezvousOrder(group, [a, b])[0] ?? a;

/**
 * Another director has begun, or ended, to speak for what speaks here, and it is this one that goes on: whoever
 * asked meanwhile may have the other's answer.
 */
export function answerVoices(draft: Draft, before: Heard, after: Heard): void {
  if (before.named === after.named) return;
  for (const [group, holding] of draft.state.holdings) {
    if (holding.kind !== 'open') continue;
    const { epoch, right } = holding;
    const isNews = (before.epochOf(group) === epoch) !== (after.epochOf(group) === epoch);
    if (!isNews || (right === 'segment' && betterVoiceOf(draft, group, holding) !== null)) continue;
    draft.effects.push({ kind: 'announce', group });
  }
}

/** Groups of other directors that are silent, or that the records call dead. */
function* orphans(draft: Draft): Generator<readonly [GroupId, DirectorId]> {
  const { config, now } = draft;
  const { owned, standings } = surveyed(draft);
  for (const [director, groups] of owned) {
    if (director === config.me || firstSuspectAt(draft, director) > now) continue;
    for (const group of groups) yield [group, director];
  }
  for (const [group, standing] of standings)
    if (standing.kind === 'orphaned') yield [group, standing.director];
}

function isAble({ state }: Draft): boolean {
  const { session, isSynced, isStopping, isFreezing } = state;
  return session.kind === 'open' && isSynced && !isStopping && !isFreezing;
}

/** Everything but the ballots and the gateway, which each round asks for. */
function mayStand(draft: Draft, group: GroupId, holder: DirectorId): boolean {
  const { state, now } = draft;
  if (state.holdings.has(group) || promisedTo(draft, group) !== null) return false;
  return now >= standAt(draft, group, holder) && standInOf(draft, group) === null;
}

/** When this director may stand for the group; Infinity: not as things are. */
export function standAt(draft: Draft, id: GroupId, holder: DirectorId): number {
  const { state, config, now } = draft;
  const group = config.groupsById.get(id);
  if (group === undefined || standInObstacle(draft, id) !== null) return Infinity;
  // Whom it does not ask for promises may not take its groups.
  const isDead = standingIn(surveyed(draft), id).kind === 'orphaned';
  if (!isDead && !mayAccuse(state.view, holder, config.me)) return Infinity;
  const able = rankingOf(draft)
    .of(group)
    .filter(({ obstacle, director }) => obstacle === null && director !== holder);
  const place = able.findIndex(({ director }) => director === config.me);
  const rank = place === -1 ? able.length : place;
  const scope = state.view.scopes.get(holder)?.value ?? null;
  const seenAt = state.ownerSeenAt.get(id)?.at ?? now;
  const heardAt = Math.max(seenAt, holderHeardAt(draft, id, holder) ?? seenAt);
  const silentMs = Math.max(waitMs(scope, config.timing), activeDownMs(group.vrrp));
  const lastMs = place === -1 ? DRAINED_CLAIM_MS : 0;
  const rankMs = lastMs + rank * (RANK_ROUNDS * config.timing.roundMs + RANK_DRIFT * silentMs);
  return Math.max(
    heardAt + silentMs + rankMs,
    cutOffAt(draft, scope),
    formersSilentAt(draft, id),
    state.standAfter.get(id) ?? 0,
  );
}

const activeDownMs = (vrrp: VrrpSpec | null): number =>
  vrrp === null ? 0 : DOWN_INTERVALS * vrrp.intervalMs;

/** Whoever the record names as pending may still answer, too. */
function formersSilentAt(draft: Draft, group: GroupId): number {
  const { state, config, now } = draft;
  let silentAt = 0;
  for (const entry of unresolvedOf(draft, group)) {
    const director = entry.director as DirectorId;
    const scope = state.view.scopes.get(director)?.value ?? null;
    const heardAt = state.lastHeard.get(director) ?? state.ownerSeenAt.get(group)?.at ?? now;
    silentAt = Math.max(silentAt, heardAt + waitMs(scope, config.timing));
  }
  return silentAt;
}

function stand(draft: Draft, group: GroupId, holder: DirectorId): void {
  const { state, now } = draft;
  const epoch = epochOf(revOf(state.view.owners, group));
  const holding = ownedHolding(epoch, now, [], { right: 'segment', mustProbe: true });
  hold(draft, group, holding);
  const text = `${holder} is not heard, and etcd answers nobody: asking the network and the peers`;
  notice(draft, 'candidate.started', 'warn', text, { group, director: holder, epoch });
}

/** A candidate whose reasons are gone is none, and its kernel is silent. */
function reconsider(draft: Draft, group: GroupId, holding: Owned): void {
  if (!isOver(draft, group, holding)) return;
  remove(draft, 'probings', group);
  if (isBeingOpened(draft, group)) silence(draft, group, holding, { giveUp: null, isLost: true });
  else unhold(draft, group);
}

function isOver(draft: Draft, group: GroupId, { since }: Owned): boolean {
  const { state, config, now } = draft;
  if (!isCutOff(draft) || !isAble(draft)) return true;
  const standing = standingIn(surveyed(draft), group);
  if (!('director' in standing)) return true;
  if (standing.kind !== 'orphaned' && standing.director === config.me) return true;
  if (standInObstacle(draft, group) !== null) return true;
  if (promisedTo(draft, group) !== null || standInOf(draft, group) !== null) return true;
  if (state.probings.get(group)?.phase === 'answered') return true;
  if ((state.standAfter.get(group) ?? now) > now) return true;
  return (holderHeardAt(draft, group, standing.director) ?? -Infinity) >= since;
}

/** Moments at which this room may have something to do by time alone. */
export function candidacyWakes(draft: Draft, wake: Wake): void {
  const { state, config, now } = draft;
  if (!mayStandIn(draft) || !isAble(draft)) return;
  const own = cutOffAt(draft, state.view.scopes.get(config.me)?.value ?? null);
  wake.by(own);
  if (now < own) return;
  // The end of a promise is known to its own room.
  for (const [group, holder] of orphans(draft))
    if (!state.holdings.has(group) && promisedTo(draft, group) === null)
      wake.by(standAt(draft, group, holder));
}
