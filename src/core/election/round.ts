/**
 * The round (design 4.3): write txns that fail unless the session and every group are still this
 * director's, and that remove a challenge against it. Kills and claims ride on it (4.6). Only its
 * answers, counted from the first send, let VIPs speak, and until send + D at most.
 */
import { ABSENT, type GroupId, monoMs, type MonoMs, type Revision } from '../../model/ids.ts';
import type { HoldBasis } from '../../model/decision.ts';
import type { ArmMode } from '../../model/kernel.ts';
import { advanceAsking, askAt, judgeAt } from './asking.ts';
import { type Draft, later, learn, notice, remove, request } from './draft.ts';
import { fault } from './flapping.ts';
import { guardRequest } from './guard.ts';
import { paceMs, usable } from './pace.ts';
import { tellPrepared } from './pending.ts';
import { isProvenFree, mustWait } from './probing.ts';
import { promisedTo } from './promises.ts';
import { countRefusal, isRefused } from './refusal.ts';
import { hold, lapseAt, ownedHolding, ownerRevOf, renew, rosterOf } from './roster.ts';
import { isKeptBySegment, leaveSegment, repeatAnnouncements } from './segment.ts';
import { silence } from './silence.ts';
import { isCutOff } from './stand-in.ts';
import type {
  ArmedGroup,
  ElectionEvent,
  Guard,
  Holding,
  Purpose,
  RoundState,
  TxnReply,
} from './state.ts';
import { GROUPS_PER_TXN, permitMsOf, UNARMED_LIMIT } from './timing.ts';
import type { Wake } from './wake.ts';

/** What was bound a moment ago is looked at again this soon after the start of the round. */
const UNSETTLED_PACE_MS = 25;
/** After a refused permit the kernel is left alone for so long, whatever is due. */
const REFUSED_PERMIT_MS = 20;

export function advanceRound(draft: Draft): void {
  const { state, now } = draft;
  lapse(draft);
  // Nothing to arm is no failure to arm, also where no round would tell so.
  if (isAllSilent(draft)) state.unarmedRounds = 0;
  if (state.round.kind === 'permitted') send(draft, state.round);
  advanceAsking(draft);
  if (state.round.kind === 'sent') expire(draft, state.round);
  if (state.round.kind === 'confirmed') arm(draft, state.round);
  if (state.round.kind === 'idle' && isDue(draft, state.round)) {
    state.roundNumber += 1;
    const permitMs = permitMsOf(usable(draft) || draft.config.timing.holdMs, draft.config.timing);
    state.round = { kind: 'permit', round: state.roundNumber, startedAt: now, permitMs };
    draft.effects.push({ kind: 'permit', round: state.roundNumber, timeoutMs: permitMs });
  }
  advanceHeartbeat(draft);
}

/** The kernel has nothing to do for what is held, if anything is: only records are to be written. */
function isAllSilent({ state: { holdings } }: Draft): boolean {
  for (const { kind } of holdings.values()) if (kind !== 'shut') return false;
  return true;
}

/** A VIP whose deadline has passed is silent by the kernel's own clock; the record may still be mine. */
function lapse(draft: Draft): void {
  const { state, now } = draft;
  if (lapseAt(draft) > now) return;
  for (const [group, holding] of state.holdings)
    if (holding.kind === 'open' && holding.until <= now) fallSilent(draft, group, holding);
}

/** Nothing of it speaks any more: whatever opens it again asks the network first. */
function fallSilent(draft: Draft, group: GroupId, holding: Holding & { kind: 'open' }): void {
  const { epoch, formers, right } = holding;
  if (right === 'segment') silence(draft, group, holding, { giveUp: null, isLost: true });
  else hold(draft, group, ownedHolding(epoch, draft.now, formers, { right, mustProbe: true }));
  fault(draft, group);
  notice(draft, 'holder.lapsed', 'error', 'no round was confirmed in time; the VIPs are silent', {
    group,
    epoch,
    reason: 'deadline-passed',
  });
}

function isDue(draft: Draft, { nextAt, soonestAt }: RoundState & { kind: 'idle' }): boolean {
  const { state, now } = draft;
  if (state.session.kind !== 'open' || state.isFrozen || rosterOf(draft).isLosing) return false;
  const isUrgent = draft.acquisitions.length > 0 && now >= soonestAt;
  return isUrgent || (now >= nextAt && needsRound(draft));
}

function needsRound(draft: Draft): boolean {
  const { owned, open, leaving } = rosterOf(draft).count;
  return owned + open + leaving > 0 || isChallenged(draft);
}

/** Somebody doubts that this session lives: a director that holds nothing answers too. */
export function isChallenged(draft: Draft): boolean {
  const { state, config } = draft;
  const challenge = state.view.challenges.get(config.me)?.value;
  return state.session.kind === 'open' && challenge?.session === state.session.rev;
}

export function onPermit(draft: Draft, event: ElectionEvent & { kind: 'permit-given' }): void {
  const { state } = draft;
  if (state.round.kind !== 'permit' || state.round.round !== event.round) return;
  if (event.isOk && state.session.kind === 'open')
    state.round = { ...state.round, kind: 'permitted' };
  else {
    rest(draft, state.round.startedAt, event.isOk ? 0 : REFUSED_PERMIT_MS);
    if (!event.isOk) state.unarmedRounds += 1;
  }
}

/** All that may speak is guarded, until the kernel has silenced it; kills and claims ride along. */
function send(draft: Draft, permitted: RoundState & { kind: 'permitted' }): void {
  const { state } = draft;
  if (state.session.kind !== 'open') {
    rest(draft, permitted.startedAt);
    return;
  }
  const sessionRev = state.session.rev;
  const { roster, chunks } = guardOf(draft, sessionRev);
  const { guarded } = roster;
  const { round, startedAt, permitMs } = permitted;
  let unanswered = 0;
  for (const { groups, txn } of chunks) {
    request(draft, `round/${unanswered}`, { kind: 'round', round, groups }, txn);
    unanswered++;
  }
  for (const { slot, purposeOf, txn, isLast } of draft.acquisitions) {
    if (isLast === true) continue;
    request(draft, slot, purposeOf(round), txn);
    unanswered++;
  }
  state.storeWord = { round, unanswered: chunks.length, firstSentAt: null };
  state.awaitedSince ??= draft.now;
  const last = draft.acquisitions
    .filter(({ isLast }) => isLast === true)
    .map(({ slot, purposeOf, txn }) => ({ slot, purpose: purposeOf(round), txn }));
  state.round = {
    kind: 'sent',
    round,
    startedAt,
    permitMs,
    unanswered,
    last,
    firstSentAt: null,
    isConfirmed: true,
    isAnswered: true,
    isDenied: false,
    sessionRev,
    guarded,
    asked: null,
  };
}

/** The guard of the last round, as long as it would be made just the same. */
function guardOf(draft: Draft, sessionRev: Revision): Guard {
  const { state, config } = draft;
  const { keys, me } = config;
  const roster = rosterOf(draft);
  // A holder that cannot arm must not block the others: it stops answering challenges.
  const isYielding =
    state.unarmedRounds >= UNARMED_LIMIT || state.unansweredRounds >= UNARMED_LIMIT;
  const { guard } = state;
  if (
    guard?.roster === roster &&
    guard.sessionRev === sessionRev &&
    guard.isYielding === isYielding &&
    guard.keys === keys &&
    guard.me === me
  )
    return guard;
  const made = { roster, sessionRev, isYielding, keys, me };
  const groups = [...roster.guarded.keys()];
  const chunks: Guard['chunks'][number][] = [];
  for (let i = 0; i < Math.max(groups.length, 1); i += GROUPS_PER_TXN) {
    const chunk = groups.slice(i, i + GROUPS_PER_TXN);
    const guarded = new Map(chunk.map((group) => [group, roster.guarded.get(group) ?? ABSENT]));
    const txn = guardRequest(keys, me, sessionRev, guarded, { isYielding });
    chunks.push({ groups: chunk, txn });
  }
  state.guard = { ...made, chunks, arming: armingOf(draft) };
  return state.guard;
}

/** What a round that proves all of it arms, where all holdings speak already. */
function armingOf(draft: Draft): Guard['arming'] {
  const { armed } = rosterOf(draft);
  if (armed.length === 0 || armed.length < draft.state.holdings.size) return null;
  const groups = armed.map(({ group }) => ({ group, mode: 'open' as const }));
  return { modes: new Map(groups.map(({ group, mode }) => [group, mode])), groups };
}

export function onRoundReply(
  draft: Draft,
  purpose: Purpose & { kind: 'round' },
  reply: TxnReply,
): void {
  const isConfirmed = reply.kind === 'answered' && reply.succeeded;
  if (isConfirmed)
    learn(draft, [
      {
        of: 'challenge',
        name: draft.config.me,
        known: { rev: ABSENT, asOf: reply.revision, value: null },
      },
    ]);
  const isAnswered = reply.kind === 'answered';
  if (isConfirmed) countStoreWord(draft, purpose.round, reply);
  countAnswer(draft, purpose.round, reply, { isConfirmed, isAnswered, gained: [] });
}

/**
 * The peers may have confirmed the round before the store did. It arms nothing more, and tells that the
 * store is there again: else the peers would be asked for ever.
 */
function countStoreWord(draft: Draft, number: number, { sentAt }: TxnReply): void {
  const { state, now } = draft;
  const { storeWord, round } = state;
  if (storeWord?.round !== number) return;
  const firstSentAt = monoMs(Math.min(storeWord.firstSentAt ?? sentAt, sentAt));
  const unanswered = storeWord.unanswered - 1;
  state.storeWord = { round: number, unanswered, firstSentAt };
  const isUnderWay = round.kind === 'sent' && round.round === number;
  const isLate = now - firstSentAt > draft.config.timing.permitMs;
  if (unanswered > 0 || isUnderWay || isLate) return;
  state.awaitedSince = null;
  state.relayedSince = null;
}

/** A kill or claim of this round was answered; what it gained is proven as by a compare. */
export function onRoundAcquisition(
  draft: Draft,
  round: number,
  reply: TxnReply,
  groups: Iterable<GroupId>,
): void {
  const isOk = reply.kind === 'answered' && reply.succeeded;
  const gained = isOk ? [...groups] : [];
  // Without it the round is still one: what it guards was proven.
  countAnswer(draft, round, reply, { isConfirmed: true, isAnswered: true, gained });
}

function countAnswer(
  draft: Draft,
  number: number,
  reply: TxnReply,
  outcome: {
    readonly isConfirmed: boolean;
    readonly isAnswered: boolean;
    readonly gained: readonly GroupId[];
  },
): void {
  const { state, now } = draft;
  const round = state.round;
  if (round.kind !== 'sent' || round.round !== number) return;
  const isConfirmed = round.isConfirmed && outcome.isConfirmed;
  const isAnswered = round.isAnswered && outcome.isAnswered;
  const isDenied = round.isDenied || (outcome.isAnswered && !outcome.isConfirmed);
  const firstSentAt = monoMs(Math.min(round.firstSentAt ?? reply.sentAt, reply.sentAt));
  const guarded = withGained(round.guarded, outcome.gained, reply);
  const unanswered = round.unanswered - 1;
  if (unanswered > 0) {
    const told = { firstSentAt, isConfirmed, isAnswered, isDenied, guarded };
    state.round = { ...round, unanswered, ...told };
    return;
  }
  const isLate = now - firstSentAt > round.permitMs;
  if (round.last.length > 0 && !isLate) {
    for (const { slot, purpose, txn } of round.last) request(draft, slot, purpose, txn);
    const sent = { unanswered: round.last.length, last: [] };
    const told = { firstSentAt, isConfirmed, isAnswered, isDenied, guarded };
    state.round = { ...round, ...sent, ...told };
    return;
  }
  // An answer in time, whatever it says, proves that this director could use the next one.
  state.unansweredRounds = isAnswered && !isLate ? 0 : state.unansweredRounds + 1;
  const isSame = state.session.kind === 'open' && state.session.rev === round.sessionRev;
  if (!isConfirmed && !isDenied && isSame && now < permitEndsAt(round)) {
    // A store that is away may say so at once: the peers have the time of the permit.
    const told = { firstSentAt, isConfirmed, isAnswered, isDenied, guarded };
    state.round = { ...round, unanswered, ...told };
    return;
  }
  if (!isConfirmed || isLate || !isSame) {
    rest(draft, round.startedAt);
    return;
  }
  state.lastRoundMs = now - firstSentAt;
  state.lastConfirmedAt = now;
  state.awaitedSince = null;
  state.relayedSince = null;
  const { round: id, startedAt, permitMs, sessionRev } = round;
  const base = { round: id, startedAt, permitMs, sessionRev };
  state.round = { kind: 'confirmed', ...base, basis: 'consensus', sentAt: firstSentAt, guarded };
}

const permitEndsAt = ({ startedAt, permitMs }: RoundState & { kind: 'sent' }): number =>
  startedAt + permitMs;

/** Nobody has anything to answer any more, and what the peers would say comes too late. */
function expire(draft: Draft, round: RoundState & { kind: 'sent' }): void {
  if (round.unanswered === 0 && draft.now >= permitEndsAt(round)) rest(draft, round.startedAt);
}

function withGained(
  guarded: ReadonlyMap<GroupId, Revision>,
  gained: readonly GroupId[],
  reply: TxnReply,
): ReadonlyMap<GroupId, Revision> {
  if (reply.kind !== 'answered' || gained.length === 0) return guarded;
  const all = new Map(guarded);
  for (const group of gained) all.set(group, reply.revision);
  return all;
}

function arm(draft: Draft, confirmed: RoundState & { kind: 'confirmed' }): void {
  const { state } = draft;
  const { round, startedAt, permitMs, sentAt, guarded, sessionRev, basis } = confirmed;
  const isSame = state.session.kind === 'open' && state.session.rev === sessionRev;
  const { modes, groups } = toArm(draft, guarded, basis);
  const holdMs = usable(draft);
  const aliveMs = holdMs - permitMs;
  // What is stuck in the kernel is a failure to arm.
  if (modes.size === 0 && basis !== 'segment' && !isAllSilent(draft)) state.unarmedRounds += 1;
  if (modes.size === 0 || !isSame || rosterOf(draft).isLosing || aliveMs <= 0) {
    rest(draft, startedAt);
    return;
  }
  const until = monoMs(sentAt + holdMs);
  // Longer from the decision on, shorter only by the kernel's word.
  state.armedHoldMs = Math.max(state.armedHoldMs ?? 0, holdMs);
  state.armedUntil = monoMs(Math.max(state.armedUntil, until));
  state.allArmed = null;
  state.round = { kind: 'arming', round, startedAt, permitMs, basis, until, holdMs, modes };
  draft.effects.push({ kind: 'arm', round, groups, until, aliveMs });
}

const PARTIAL = { isPartial: true } as const;

function toArm(
  draft: Draft,
  guarded: ReadonlyMap<GroupId, Revision>,
  basis: HoldBasis,
): NonNullable<Guard['arming']> {
  const { holdings, guard } = draft.state;
  const roster = rosterOf(draft);
  const isSame = guard?.roster === roster && roster.guarded === guarded;
  if (isSame && guard.arming !== null && draft.state.promises.size === 0) return guard.arming;
  const modes = new Map<GroupId, ArmMode>();
  const groups: ArmedGroup[] = [];
  for (const [group, holding] of holdings) {
    if (basis === 'segment' && !isKeptBySegment(draft, group, holding)) continue;
    if (isBasisTooGood(basis) && holding.kind === 'owned' && holding.right === 'segment') continue;
    const mode = isCovered(guarded, group, holding) ? modeOf(draft, group, holding) : null;
    if (mode === null) continue;
    modes.set(group, mode);
    groups.push({ group, mode, ...(mode === 'open' && isRefused(holding) ? PARTIAL : {}) });
  }
  return { modes, groups };
}

/** Who has the store takes a group by the record, or not at all. */
const isBasisTooGood = (basis: HoldBasis): boolean => basis === 'consensus' || basis === 'relay';

/**
 * What speaks already goes on when the round proved it, also where a pending entry left its record
 * meanwhile. What is silent opens only with a proof of the very record as it is now.
 */
const isCovered = (
  guarded: ReadonlyMap<GroupId, Revision>,
  group: GroupId,
  holding: Holding,
): boolean =>
  holding.kind === 'owned' && holding.preparedUntil === null
    ? guarded.get(group) === ownerRevOf(holding)
    : guarded.has(group);

function modeOf(draft: Draft, group: GroupId, holding: Holding): ArmMode | null {
  switch (holding.kind) {
    case 'open':
      return 'open';
    case 'owned':
      if (holding.right === 'segment')
        return isCutOff(draft) && isProvenFree(draft, group) && promisedTo(draft, group) === null
          ? 'open'
          : null;
      // Silent so far, and perhaps promised to stay so.
      return mustWait(draft, group) || promisedTo(draft, group) !== null ? 'prepared' : 'open';
    case 'leaving':
      return holding.phase === 'waiting' ? 'open' : 'muted';
    case 'closing':
    case 'shut':
      return null;
  }
}

export function onArmed(draft: Draft, event: ElectionEvent & { kind: 'armed' }): void {
  const { state, now } = draft;
  const round = state.round;
  if (round.kind !== 'arming' || round.round !== event.round) return;
  rest(draft, round.startedAt);
  if (!event.isOk) {
    state.unarmedRounds += 1;
    return;
  }
  const failed = new Set(event.failed);
  const opened = new Set(event.opened);
  const armed = new Set(event.groups);
  for (const group of failed) armed.delete(group);
  silenceLeftOut(draft, round.modes);
  state.unarmedRounds = armed.size > 0 ? 0 : state.unarmedRounds + 1;
  noteBasis(draft, round.basis);
  for (const group of armed) {
    const mode = round.modes.get(group);
    if (mode === 'open') markOpen(draft, group, event.speaksUntil, opened.has(group));
    else if (mode === 'prepared' && !isUnready(event, group))
      markPrepared(draft, group, event.speaksUntil);
  }
  repeatAnnouncements(draft);
  if (failed.size === 0 && areAllArmed(state.holdings, armed)) {
    state.armedHoldMs = round.holdMs;
    state.armedUntil = round.until;
    state.allArmed = { holdMs: round.holdMs, until: event.speaksUntil };
  }
  for (const group of failed) countRefusal(draft, group);
  if (event.opened.length > 0) state.nextHeartbeatAt = now;
  // What the kernel had no time for, or does not serve yet, is looked at again soon.
  const isPartial = event.unsettled.length > 0 || event.groups.length < round.modes.size;
  if (isPartial) hurryRound(draft, UNSETTLED_PACE_MS);
}

/** What an arming does not name is silent from it on: part of what was asked about, that nobody agreed to. */
function silenceLeftOut(draft: Draft, modes: ReadonlyMap<GroupId, ArmMode>): void {
  for (const [group, holding] of draft.state.holdings)
    if (holding.kind === 'open' && !modes.has(group)) fallSilent(draft, group, holding);
}

const isUnready = (
  { unsettled, withheld = [] }: ElectionEvent & { kind: 'armed' },
  group: GroupId,
): boolean => unsettled.includes(group) || withheld.includes(group);

function noteBasis(draft: Draft, basis: HoldBasis): void {
  const { state } = draft;
  const before = state.basis;
  state.basis = basis;
  if (basis !== 'segment') leaveSegment(draft);
  if (before === null || before === basis) return;
  if (basis === 'consensus') {
    for (const key of state.alarms) if (key.startsWith('refused:')) remove(draft, 'alarms', key);
    notice(draft, 'basis.changed', 'info', 'etcd answers again');
  } else notice(draft, 'basis.changed', 'warn', BASIS_TEXTS[basis]);
}

const BASIS_TEXTS = {
  relay: 'etcd does not answer here; the groups are held through another director that it answers',
  peers: 'etcd does not answer; the groups are held by the promises of all other directors',
  segment:
    'neither etcd nor all other directors answer; the groups are held while the gateway answers',
} as const;

function areAllArmed(
  holdings: ReadonlyMap<GroupId, Holding>,
  armed: ReadonlySet<GroupId>,
): boolean {
  for (const [group, { kind }] of holdings) {
    if (kind === 'closing') return false;
    if ((kind === 'open' || kind === 'leaving') && !armed.has(group)) return false;
  }
  return true;
}

/** Opened between two rounds, within the last arming. */
export function onOpened(draft: Draft, event: ElectionEvent & { kind: 'opened' }): void {
  const { state, now } = draft;
  const failed = new Set(event.failed);
  for (const group of event.groups) {
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'owned') continue;
    if (event.isOk && !failed.has(group)) markOpen(draft, group, event.speaksUntil, true);
    else hold(draft, group, { ...holding, isOpening: false, preparedUntil: null });
  }
  state.nextHeartbeatAt = now;
}

function markPrepared(draft: Draft, group: GroupId, until: MonoMs): void {
  const holding = draft.state.holdings.get(group);
  if (holding?.kind !== 'owned') return;
  hold(draft, group, { ...holding, preparedUntil: until });
  tellPrepared(draft, group, holding.epoch);
}

function markOpen(draft: Draft, group: GroupId, until: MonoMs, isNew: boolean): void {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined || (holding.kind !== 'owned' && holding.kind !== 'open')) return;
  const { epoch, formers, right } = holding;
  if (holding.kind === 'owned') tellOpened(draft, group, holding);
  const { since } = holding;
  const openedAt = holding.kind === 'open' ? holding.openedAt : now;
  const base = { right, epoch, formers, since, until, failures: 0, openedAt };
  const open: Holding & { kind: 'open' } = { kind: 'open', ...base };
  if (holding.kind === 'open') {
    renew(draft, group, open);
    // A former holder that did not know of the record yet has not heard the first word.
    if (formers.length > 0) tellPrepared(draft, group, epoch);
  } else hold(draft, group, open);
  if (holding.kind !== 'owned' && !isNew) return;
  draft.effects.push({ kind: 'announce', group });
  draft.effects.push({ kind: 'verify', group, epoch });
}

function tellOpened(
  draft: Draft,
  group: GroupId,
  { epoch, right }: Holding & { kind: 'owned' },
): void {
  if (right === 'segment') {
    const text = 'its holder is not heard, and nobody else answers: the VIPs speak here now';
    notice(draft, 'holder.opened', 'warn', text, { group, epoch, reason: 'stood-in' });
    return;
  }
  notice(draft, 'holder.opened', 'info', 'the VIPs speak here now', { group, epoch });
  draft.effects.push({ kind: 'show-lease', group, epoch });
}

/**
 * The next round starts R after the start of this one, or at once where that has passed, or where a
 * group was gained meanwhile: this round's guard did not name it.
 */
function rest(draft: Draft, startedAt: number, pauseMs = 0): void {
  const { state, now } = draft;
  let isNew = false;
  if (rosterOf(draft).count.owned > 0)
    for (const one of state.holdings.values())
      isNew ||= one.kind === 'owned' && one.since > startedAt;
  const soonestAt = later(draft, pauseMs);
  const nextAt = isNew ? now : Math.max(now, startedAt + paceMs(draft));
  state.round = { kind: 'idle', nextAt: monoMs(Math.max(nextAt, soonestAt)), soonestAt };
}

/** A new group need not wait for the rhythm; `distanceMs` keeps that far from the start of the last round. */
export function hurryRound(draft: Draft, distanceMs = 0): void {
  const { state, now } = draft;
  if (state.round.kind !== 'idle' || state.round.nextAt <= now) return;
  const lastStartedAt = state.round.nextAt - paceMs(draft);
  const { soonestAt } = state.round;
  const nextAt = Math.min(state.round.nextAt, Math.max(now, soonestAt, lastStartedAt + distanceMs));
  state.round = { kind: 'idle', nextAt: monoMs(nextAt), soonestAt };
}

function advanceHeartbeat(draft: Draft): void {
  const { state, now, config } = draft;
  const { heartbeatMs, roundMs } = config.timing;
  // One that would be due before the next round goes with this one: a wake-up less for the machine.
  const isBeginning = state.round.kind === 'permit' && state.round.startedAt === now;
  const earlierMs = isBeginning && heartbeatMs >= roundMs ? roundMs : 0;
  if (now < state.nextHeartbeatAt - earlierMs || state.session.kind !== 'open') return;
  const { armed } = rosterOf(draft);
  // Without groups too: the others give a group only to a director they hear.
  state.nextHeartbeatAt = later(draft, config.timing.heartbeatMs);
  draft.effects.push({ kind: 'heartbeat', session: state.session.id, armed });
}

/** Moments at which this room may have something to do by time alone. */
export function roundWakes(draft: Draft, wake: Wake): void {
  const { state } = draft;
  wake.by(lapseAt(draft));
  if (state.session.kind === 'open') wake.by(state.nextHeartbeatAt);
  if (state.round.kind === 'sent') {
    wake.by(askAt(draft, state.round));
    wake.by(judgeAt(state.round, draft.now));
    if (state.round.unanswered === 0) wake.by(permitEndsAt(state.round));
  }
  if (state.round.kind !== 'idle') return;
  if (draft.acquisitions.length > 0) wake.by(state.round.soonestAt);
  if (needsRound(draft)) wake.by(state.round.nextAt);
}
