/**
 * A round that the store does not answer (design 4.8): the holder asks all directors that its scope names
 * for a promise, and any that has the store to relay the round. The promises of all, or the relay of
 * every part, confirm it; both count from the moment before the question was sent.
 */
import type { HoldBasis } from '../../model/decision.ts';
import type { DirectorId, GroupId, Revision, SessionId } from '../../model/ids.ts';
import { ASKED_GROUPS_MAX, type AskedGroup, type PeerMessage } from '../../model/peer.ts';
import { noteRelaying } from './consent.ts';
import { alarmOnce, type Draft, later, notice } from './draft.ts';
import { isUnresolved } from './pending.ts';
import { askedPeers } from './scope.ts';
import { askGateway, isHeldBySegment, segmentAt } from './segment.ts';
import type { Asked, RoundState } from './state.ts';
import { UNARMED_LIMIT, waitMs } from './timing.ts';

/** Questions to whoever has not answered go out so often within a permit. */
const TRIES = 4;

type Sent = RoundState & { readonly kind: 'sent' };
type Answer = PeerMessage & { readonly kind: 'promise' | 'refusal' | 'relayed' };

/** In the step of each round that was sent, and again until its permit ends. */
export function advanceAsking(draft: Draft): void {
  const { state, now } = draft;
  const { round, session } = state;
  if (round.kind !== 'sent') return;
  judge(draft, round);
  if (state.round !== round || now < askAt(draft, round)) return;
  if (session.kind !== 'open' || session.rev !== round.sessionRev) return;
  const asked = round.asked ?? begin(draft, round);
  if (asked === null) return;
  const paceMs = round.permitMs / TRIES;
  state.round = { ...round, asked: { ...asked, nextAt: later(draft, paceMs) } };
  for (const to of asked.everybody) {
    const has = asked.promised.get(to);
    for (const [part, groups] of asked.parts.entries()) {
      if (has?.has(part) === true || asked.relayed.has(part)) continue;
      const message = question(draft, round, session.id, groups, part);
      draft.effects.push({ kind: 'tell', to, message });
    }
  }
}

/** When a round looks again whether the segment has to do. */
export const judgeAt = (draft: Draft, { asked, permitMs }: Sent): number =>
  asked === null ? Number.POSITIVE_INFINITY : segmentAt(draft, asked, permitMs);

/** When a round asks the peers: two rounds after the last one that the store confirmed, or when it is time to repeat. */
export function askAt({ state, config }: Draft, { asked, isDenied }: Sent): number {
  // What the store has denied already nobody can grant; what cannot be armed must not block the others.
  if (isDenied || state.awaitedSince === null || state.unarmedRounds >= UNARMED_LIMIT)
    return Number.POSITIVE_INFINITY;
  return asked === null ? state.awaitedSince + config.timing.roundMs : asked.nextAt;
}

function begin(draft: Draft, sent: Sent): Asked | null {
  const { state, config, now } = draft;
  const { guarded } = sent;
  const needed = askedPeers(draft);
  const heard = [...state.lastHeard.keys()].filter((one) => one !== config.me);
  const everybody = [...new Set([...needed, ...heard])];
  const groups = askedGroups(draft, guarded);
  const isAlone = everybody.length === 0 && config.isolation === 'release';
  if (isAlone || groups.length === 0) return null;
  const parts: (readonly AskedGroup[])[] = [];
  for (let i = 0; i < groups.length; i += ASKED_GROUPS_MAX)
    parts.push(groups.slice(i, i + ASKED_GROUPS_MAX));
  askGateway(draft, sent);
  const nothing = { promised: new Map(), refused: new Map(), relayed: new Set<number>() };
  return { isGatewayThere: false, at: now, nextAt: now, needed, everybody, parts, ...nothing };
}

/** All that may speak by this round; what is being closed is not asked for. */
function askedGroups(draft: Draft, guarded: ReadonlyMap<GroupId, Revision>): readonly AskedGroup[] {
  return [...guarded].flatMap(([group, ownerRev]) => {
    const holding = draft.state.holdings.get(group);
    if (holding === undefined || holding.kind === 'closing' || holding.kind === 'shut') return [];
    // Its former holder would refuse, for all the others too; it opens in the first round after MUTED.
    if (holding.kind === 'owned' && isUnresolved(draft, group)) return [];
    return [{ group, epoch: holding.epoch, ownerRev }];
  });
}

function question(
  { state, config }: Draft,
  { round, sessionRev }: Sent,
  session: SessionId,
  groups: readonly AskedGroup[],
  part: number,
): PeerMessage {
  const scope = state.view.scopes.get(config.me)?.value ?? null;
  const forMs = Math.ceil(waitMs(scope, config.timing));
  return { kind: 'hold', session, sessionRev, round, part, basis: 'peers', forMs, groups };
}

/** What a peer says to the round that is under way; words about an earlier one are too late. */
export function onAnswer(draft: Draft, from: DirectorId, answer: Answer): void {
  const { state } = draft;
  const { round } = state;
  if (answer.kind === 'relayed') noteRelaying(draft, answer);
  if (round.kind !== 'sent' || round.asked === null || round.isDenied) return;
  if (round.round !== answer.round || round.sessionRev !== answer.sessionRev) return;
  state.round = { ...round, asked: counted(round.asked, from, answer) };
  if (answer.kind === 'refusal') tellRefusal(draft, from, answer);
}

/** Whether what is known by now confirms the round. */
function judge(draft: Draft, round: Sent): void {
  const { asked } = round;
  if (asked === null || round.isDenied) return;
  const basis = basisOf(asked) ?? (isHeldBySegment(draft, round, asked) ? 'segment' : null);
  if (basis !== null) confirm(draft, round, asked, basis);
}

function counted(asked: Asked, from: DirectorId, answer: Answer): Asked {
  const { part } = answer;
  switch (answer.kind) {
    case 'refusal':
      return { ...asked, refused: new Map(asked.refused).set(from, answer.reason) };
    case 'relayed':
      return { ...asked, relayed: new Set(asked.relayed).add(part) };
    case 'promise': {
      const parts = new Set(asked.promised.get(from)).add(part);
      return { ...asked, promised: new Map(asked.promised).set(from, parts) };
    }
  }
}

/** The store's word first: it answers challenges too. */
function basisOf({ parts, needed, promised, relayed }: Asked): HoldBasis | null {
  const isWhole = (told: ReadonlySet<number> | undefined): boolean =>
    told !== undefined && parts.every((_, part) => told.has(part));
  if (isWhole(relayed)) return 'relay';
  // Without anybody to ask, nobody's promise proves anything.
  if (needed.length === 0) return null;
  return needed.every((peer) => isWhole(promised.get(peer))) ? 'peers' : null;
}

/** As the answers of the store do it, for what was asked about. */
function confirm(draft: Draft, round: Sent, asked: Asked, basis: HoldBasis): void {
  const { state, now } = draft;
  if (now - asked.at > round.permitMs) return;
  const guarded = new Map<GroupId, Revision>();
  for (const groups of asked.parts) for (const one of groups) guarded.set(one.group, one.ownerRev);
  const { round: id, startedAt, permitMs, sessionRev } = round;
  const base = { round: id, startedAt, permitMs, sessionRev };
  state.unansweredRounds = 0;
  state.lastConfirmedAt = now;
  state.round = { kind: 'confirmed', ...base, sentAt: asked.at, guarded, basis };
}

function tellRefusal(
  draft: Draft,
  from: DirectorId,
  { reason }: Answer & { kind: 'refusal' },
): void {
  if (!alarmOnce(draft, `refused:${from}:${reason}`)) return;
  notice(draft, 'promise.refused', 'warn', `${from} refused a promise: ${reason}`, {
    director: from,
  });
}
