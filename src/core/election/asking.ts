/**
 * A round that the store does not answer (design 4.8): the holder asks all directors that its scope names
 * for a promise, and any that has the store to relay the round. The promises of all, or the relay of
 * every part, confirm it; both count from the moment before the question was sent.
 */
import type { HoldBasis } from '../../model/decision.ts';
import {
  type DirectorId,
  type GroupId,
  type Revision,
  revisionOf,
  type SessionId,
} from '../../model/ids.ts';
import { ASKED_GROUPS_MAX, type AskedGroup, type PeerMessage } from '../../model/peer.ts';
import { noteRelaying } from './consent.ts';
import { alarmOnce, type Draft, later, notice } from './draft.ts';
import { isSupplanted } from './hearing.ts';
import { paceMs } from './pace.ts';
import { isUnresolved } from './pending.ts';
import { promisedTo } from './promises.ts';
import { lapseAt } from './roster.ts';
import { askedPeers, isSegmentAllowed } from './scope.ts';
import {
  askGateway,
  isAgreed,
  isHeldBySegment,
  isPartHeld,
  patienceAt,
  yieldTo,
} from './segment.ts';
import { isGatewaySeen, lateStandInOf } from './stand-in.ts';
import type { Asked, AskedPart, ElectionState, RoundState } from './state.ts';
import { UNARMED_LIMIT, waitMs } from './timing.ts';
import { isOver } from './view.ts';

/** Questions to whoever has not answered go out so often within a permit. */
const TRIES = 4;

type Sent = RoundState & { readonly kind: 'sent' };
type Answer = PeerMessage & { readonly kind: 'promise' | 'refusal' | 'relayed' };

/** In the step of each round that was sent, and again until its permit ends. */
export function advanceAsking(draft: Draft): void {
  const { state, now } = draft;
  const { session } = state;
  if (state.round.kind !== 'sent') return;
  const round = takeUpCandidacy(draft, state.round);
  judge(draft, round);
  if (state.round !== round || now < askAt(draft, round)) return;
  if (session.kind !== 'open' || session.rev !== round.sessionRev) return;
  const asked = round.asked ?? begin(draft, round);
  if (asked === null) return;
  const paceMs = round.permitMs / TRIES;
  state.round = { ...round, asked: { ...asked, nextAt: later(draft, paceMs) } };
  for (const to of asked.everybody) {
    const has = asked.promised.get(to);
    for (const [part, about] of asked.parts.entries()) {
      if (has?.has(part) === true || asked.relayed.has(part)) continue;
      const message = question(draft, round, session.id, about, part);
      draft.effects.push({ kind: 'tell', to, message });
    }
  }
}

/**
 * The gateway has answered since: what this director stands for is asked about in this very round. With the next
 * one the others could have begun to stand for it, too.
 */
function takeUpCandidacy(draft: Draft, round: Sent): Sent {
  const { asked } = round;
  if (asked === null || asked.parts.length > 0 || !asked.isGatewayThere) return round;
  const parts = askedParts(draft, round);
  if (parts.length === 0) return round;
  const next = { ...round, asked: { ...asked, parts, nextAt: draft.now } };
  draft.state.round = next;
  return next;
}

/** When a round looks again whether the segment, or a part of what was asked, has to do. */
export function judgeAt(round: Sent, now: number): number {
  const { asked, permitMs } = round;
  if (asked === null) return Number.POSITIVE_INFINITY;
  const at = patienceAt(asked, permitMs);
  return now < at ? at : lastPatienceAt(round, asked);
}

/**
 * What a stand-in speaks as is waited for longer, for the arming would silence it at once: a peer that is back in sight
 * a moment ago has not been asked yet, or its answer is under way. The rest of the permit is for the arming: one that
 * comes too late silences all.
 */
const LAST_PATIENCE = 0.75;
const lastPatienceAt = ({ startedAt, permitMs }: Sent, asked: Asked): number =>
  Math.max(patienceAt(asked, permitMs), startedAt + LAST_PATIENCE * permitMs);

/** When a round asks the peers: two rounds after the last one that the store confirmed, or when it is time to repeat. */
export function askAt(draft: Draft, { asked, isDenied }: Sent): number {
  const { state } = draft;
  // What the store has denied already nobody can grant; what cannot be armed must not block the others.
  if (isDenied || state.awaitedSince === null || state.unarmedRounds >= UNARMED_LIMIT)
    return Number.POSITIVE_INFINITY;
  return asked === null ? state.awaitedSince + paceMs(draft) : asked.nextAt;
}

function begin(draft: Draft, sent: Sent): Asked | null {
  const { state, config, now } = draft;
  const needed = askedPeers(draft);
  const heard = [...state.lastHeard.keys()].filter((one) => one !== config.me);
  const everybody = [...new Set([...needed, ...heard])];
  const parts = askedParts(draft, sent);
  const isAlone = everybody.length === 0 && !isSegmentAllowed(draft);
  if (isAlone || (parts.length === 0 && !isAnyCandidate(draft))) return null;
  askGateway(draft, sent);
  const nothing = { promised: new Map(), refused: new Set<number>(), relayed: new Set<number>() };
  return { isGatewayThere: false, at: now, nextAt: now, needed, everybody, parts, ...nothing };
}

/** It asks the gateway first, and the peers when that has answered: what they promise keeps them from standing. */
const isAnyCandidate = ({ state }: Draft): boolean =>
  [...state.holdings.values()].some((one) => one.kind === 'owned' && one.right === 'segment');

/**
 * All that may speak by this round. What is held by the record and speaks is agreed to as a whole. What is
 * silent, or held by the segment, is asked about apart: a refusal of it must silence nothing else. Each group
 * of it is asked about alone where somebody refused lately.
 */
function askedParts(draft: Draft, { guarded }: Sent): readonly AskedPart[] {
  const { state, now } = draft;
  const held: AskedGroup[] = [];
  const waiting: AskedGroup[] = [];
  const speaking: AskedGroup[] = [];
  const silent: AskedGroup[] = [];
  for (const [group, holding] of state.holdings) {
    const { epoch, kind } = holding;
    if (kind === 'closing' || kind === 'shut') continue;
    if (kind !== 'leaving' && holding.right === 'segment') {
      const asked = { group, epoch, ownerRev: revisionOf(epoch) };
      if (kind === 'owned' && !isGatewaySeen(draft)) continue;
      (kind === 'open' ? speaking : silent).push(asked);
      continue;
    }
    const ownerRev = guarded.get(group);
    if (ownerRev === undefined || (kind === 'owned' && isRefusedAnyway(draft, group))) continue;
    (kind === 'owned' ? waiting : held).push({ group, epoch, ownerRev });
  }
  const most = now < state.splitUntil ? 1 : ASKED_GROUPS_MAX;
  const isApart = held.length > 0;
  return [
    ...partsOf({ right: 'record', isApart: false, isSpeaking: true }, held, ASKED_GROUPS_MAX),
    ...partsOf(
      { right: 'record', isApart, isSpeaking: false },
      waiting,
      isApart ? most : ASKED_GROUPS_MAX,
    ),
    ...partsOf({ right: 'segment', isApart: true, isSpeaking: true }, speaking, most),
    ...partsOf({ right: 'segment', isApart: true, isSpeaking: false }, silent, most),
  ];
}

/** A former holder opens it in the first round after MUTED, a stand-in speaks, another was promised it. */
const isRefusedAnyway = (draft: Draft, group: GroupId): boolean =>
  isUnresolved(draft, group) ||
  lateStandInOf(draft, group) !== null ||
  promisedTo(draft, group) !== null;

function partsOf(
  kind: Omit<AskedPart, 'groups'>,
  groups: readonly AskedGroup[],
  most: number,
): AskedPart[] {
  const parts: AskedPart[] = [];
  for (let i = 0; i < groups.length; i += most)
    parts.push({ ...kind, groups: groups.slice(i, i + most) });
  return parts;
}

function question(
  { state, config }: Draft,
  { round, sessionRev }: Sent,
  session: SessionId,
  { right, groups }: AskedPart,
  part: number,
): PeerMessage {
  const scope = state.view.scopes.get(config.me)?.value ?? null;
  const forMs = Math.ceil(waitMs(scope, config.timing));
  const basis = right === 'segment' ? 'segment' : 'peers';
  return { kind: 'hold', session, sessionRev, round, part, basis, forMs, groups };
}

/** What a peer says to the round that is under way; words about an earlier one are too late. */
export function onAnswer(draft: Draft, from: DirectorId, answer: Answer): void {
  const { state } = draft;
  const { round } = state;
  if (answer.kind === 'relayed') noteRelaying(draft, answer);
  if (round.kind !== 'sent' || round.asked === null || round.isDenied) return;
  if (round.round !== answer.round || round.sessionRev !== answer.sessionRev) return;
  // Whoever goes by its name now has promised nothing.
  if (answer.kind === 'promise' && isOver(state.view, from, answer.by)) return;
  if (answer.kind === 'promise' && isSupplanted(draft, from, answer.by)) return;
  state.round = { ...round, asked: counted(round.asked, from, answer) };
  if (answer.kind !== 'refusal') return;
  tellRefusal(draft, from, answer);
  const refused = round.asked.parts[answer.part];
  if (answer.reason === 'superseded')
    for (const { group } of refused?.groups ?? []) yieldToRecord(draft, from, group);
  if (refused?.isApart === true && refused.groups.length > 1)
    state.splitUntil = later(draft, SPLIT_MS);
}

/** By a record that this director has not seen: nobody waits for what speaks by the segment. */
function yieldToRecord(draft: Draft, from: DirectorId, group: GroupId): void {
  const { holdings, basis } = draft.state;
  const holding = holdings.get(group);
  if (holding?.kind !== 'open' || (holding.right === 'record' && basis !== 'segment')) return;
  yieldTo(draft, group, holding, `${from} tells that the records have changed; silent here`);
}

/** A part of many groups that was refused is asked about group by group for so long. */
const SPLIT_MS = 10_000;

/** Whether what is known by now confirms the round. */
function judge(draft: Draft, round: Sent): void {
  const { state } = draft;
  const { asked } = round;
  if (asked === null || asked.parts.length === 0 || round.isDenied) return;
  const basis = basisOf(asked) ?? (isHeldBySegment(draft, round, asked) ? 'segment' : null);
  if (basis === null) return;
  const missing = asked.parts.filter(
    (_, part) => !asked.refused.has(part) && !isConfirmed(draft, asked, part, basis),
  );
  const isSpeaking = missing.some((part) => part.isSpeaking);
  const waitsUntil = isSpeaking ? lastPatienceAt(round, asked) : patienceAt(asked, round.permitMs);
  if (missing.length > 0 && draft.now < waitsUntil) return;
  const isSilencing = isSpeaking || hasOpenedSince(state, asked);
  if (isSilencing && isDispensable(draft, round)) state.round = { ...round, isDenied: true };
  else confirm(draft, round, asked, basis);
}

/** A former holder fell mute after the question: nobody was asked about what speaks here since. */
function hasOpenedSince({ holdings }: ElectionState, { parts }: Asked): boolean {
  const about = new Set(parts.flatMap(({ groups }) => groups.map(({ group }) => group)));
  return [...holdings].some(([group, { kind }]) => kind === 'open' && !about.has(group));
}

/**
 * What speaks goes on until the next round has had its time, too: none at all is better than one that silences what
 * was answered a moment too late.
 */
function isDispensable(draft: Draft, { startedAt, permitMs }: Sent): boolean {
  const nextAt = startedAt + Math.max(permitMs, paceMs(draft));
  return lapseAt(draft) > nextAt + permitMs;
}

/** Whether the round counts for this part, too. */
function isConfirmed(draft: Draft, asked: Asked, part: number, basis: HoldBasis): boolean {
  const { right, isApart } = asked.parts[part] ?? { right: 'record', isApart: true };
  if (!isApart || asked.relayed.has(part)) return true;
  if (right === 'segment') return isPartHeld(draft, asked, part);
  if (basis === 'segment') return isAgreed(draft, asked, part, asked.needed);
  const { needed, promised } = asked;
  return needed.length > 0 && needed.every((peer) => promised.get(peer)?.has(part) === true);
}

function counted(asked: Asked, from: DirectorId, answer: Answer): Asked {
  const { part } = answer;
  switch (answer.kind) {
    case 'refusal':
      return { ...asked, refused: new Set(asked.refused).add(part) };
    case 'relayed':
      return { ...asked, relayed: new Set(asked.relayed).add(part) };
    case 'promise': {
      const parts = new Set(asked.promised.get(from)).add(part);
      return { ...asked, promised: new Map(asked.promised).set(from, parts) };
    }
  }
}

/** The store's word first: it answers challenges too. Some parts are judged apart. */
function basisOf({ parts, needed, promised, relayed }: Asked): HoldBasis | null {
  const isByRecord = parts.some(({ isApart }) => !isApart);
  const isWhole = (told: ReadonlySet<number> | undefined): boolean =>
    told !== undefined &&
    parts.every(({ isApart }, part) => (isByRecord && isApart) || told.has(part));
  if (isWhole(relayed)) return 'relay';
  // Without anybody to ask, nobody's promise proves anything.
  if (needed.length === 0 || !isByRecord) return null;
  return needed.every((peer) => isWhole(promised.get(peer))) ? 'peers' : null;
}

/** As the answers of the store do it, for what was asked about. */
function confirm(draft: Draft, round: Sent, asked: Asked, basis: HoldBasis): void {
  const { state, now } = draft;
  if (now - asked.at > round.permitMs) return;
  const guarded = new Map<GroupId, Revision>();
  for (const [part, { groups }] of asked.parts.entries()) {
    if (isConfirmed(draft, asked, part, basis))
      for (const one of groups) guarded.set(one.group, one.ownerRev);
  }
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
