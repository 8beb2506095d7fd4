/**
 * The round (design 4.3): a write txn that fails unless the session and every group are still this
 * director's, and that removes a challenge against it. Only its answer, counted from its send, lets
 * VIPs speak, and until send + D at most.
 */
import { ABSENT, type GroupId, monoMs, type Revision, revisionOf } from '../../model/ids.ts';
import { type Draft, later, learn, notice, request } from './draft.ts';
import type { ElectionEvent, Holding, Purpose, RoundState, TxnReply, TxnRequest } from './state.ts';
import { GROUPS_PER_TXN, REFUSED_MS, usableHoldMs } from './timing.ts';
import { revOf } from './view.ts';

/** After so many rounds without arming, or without an answer, challenges are no longer answered. */
const UNARMED_LIMIT = 3;
/** So many refusals of the kernel in a row, and the group is given up. */
const REFUSAL_LIMIT = 3;

export function advanceRound(draft: Draft): void {
  const { state, now, config } = draft;
  lapse(draft);
  if (state.round.kind === 'idle' && now >= state.round.nextAt && needsRound(draft)) {
    state.roundNumber += 1;
    state.round = { kind: 'permit', round: state.roundNumber, startedAt: now };
    draft.effects.push({
      kind: 'permit',
      round: state.roundNumber,
      timeoutMs: config.timing.permitMs,
    });
  }
  advanceHeartbeat(draft);
}

/** A VIP whose deadline has passed is silent by the kernel's own clock; the record may still be mine. */
function lapse(draft: Draft): void {
  const { state, now } = draft;
  for (const [group, holding] of state.holdings) {
    if (holding.kind !== 'open' || holding.until > now) continue;
    state.holdings.set(group, { kind: 'owned', epoch: holding.epoch, since: now, failures: 0 });
    notice(draft, 'holder.lapsed', 'error', 'no round was confirmed in time; the VIPs are silent', {
      group,
      epoch: holding.epoch,
      reason: 'deadline-passed',
    });
  }
}

function needsRound(draft: Draft): boolean {
  const { state } = draft;
  if (state.session.kind !== 'open') return false;
  for (const holding of state.holdings.values()) {
    // Whose record is lost must be silent, by the kernel's word, before anything is armed again.
    if (holding.kind === 'closing' && holding.giveUp === null) return false;
  }
  for (const holding of state.holdings.values())
    if (holding.kind === 'owned' || holding.kind === 'open') return true;
  return isChallenged(draft);
}

/** Somebody doubts that this session lives: a director that holds nothing answers too. */
export function isChallenged(draft: Draft): boolean {
  const { state, config } = draft;
  const challenge = state.view.challenges.get(config.me)?.value;
  return (
    state.session.kind === 'open' &&
    challenge !== undefined &&
    challenge !== null &&
    challenge.session === revisionOf(state.session.id)
  );
}

/** The groups whose records every round compares: all that may speak, until the kernel has silenced them. */
export function guardedGroups(draft: Draft): readonly (readonly [GroupId, Holding])[] {
  return [...draft.state.holdings].filter(([, holding]) => holding.kind !== 'shut');
}

/** The compares of a round: what must be unchanged for this director to go on speaking. */
export function roundGuard(draft: Draft): { key: string; modRevision: Revision }[] {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return [];
  return [
    { key: config.keys.session(config.me), modRevision: revisionOf(state.session.id) },
    ...guardedGroups(draft).map(([group, holding]) => ({
      key: config.keys.owner(group),
      modRevision: revisionOf(holding.epoch),
    })),
  ];
}

export function onPermit(draft: Draft, event: ElectionEvent & { kind: 'permit-given' }): void {
  const { state } = draft;
  if (state.round.kind !== 'permit' || state.round.round !== event.round) return;
  const { startedAt } = state.round;
  if (!event.isOk || state.session.kind !== 'open') {
    rest(draft, startedAt);
    return;
  }
  const guarded = guardedGroups(draft);
  const groups = guarded.map(([group]) => group);
  const chunks: (readonly GroupId[])[] = [];
  for (let i = 0; i < Math.max(groups.length, 1); i += GROUPS_PER_TXN)
    chunks.push(groups.slice(i, i + GROUPS_PER_TXN));
  for (const [i, chunk] of chunks.entries())
    request(
      draft,
      `round/${i}`,
      { kind: 'round', round: event.round, groups: chunk },
      roundTxn(draft, chunk),
    );
  state.round = {
    kind: 'sent',
    round: event.round,
    startedAt,
    unanswered: chunks.length,
    firstSentAt: null,
    isConfirmed: true,
    session: state.session.id,
    guarded: new Map(guarded.map(([group, holding]) => [group, holding.epoch])),
  };
}

function roundTxn(draft: Draft, groups: readonly GroupId[]): TxnRequest {
  const { state, config } = draft;
  const { keys, me } = config;
  const compares = [
    {
      key: keys.session(me),
      modRevision: state.session.kind === 'open' ? revisionOf(state.session.id) : ABSENT,
    },
    ...groups.map((group) => {
      const holding = state.holdings.get(group);
      return {
        key: keys.owner(group),
        modRevision: holding === undefined ? ABSENT : revisionOf(holding.epoch),
      };
    }),
  ];
  // A holder that cannot arm must not block the others: it stops answering challenges.
  if (state.unarmedRounds >= UNARMED_LIMIT || state.unansweredRounds >= UNARMED_LIMIT)
    compares.push({ key: keys.challenge(me), modRevision: ABSENT });
  return {
    compares,
    // Deleting a key that is not there is agreed upon by consensus and makes no revision.
    success: [{ op: 'delete', key: keys.challenge(me) }],
    failure: [
      { op: 'get', key: keys.session(me) },
      { op: 'get', key: keys.challenge(me) },
      ...groups.map((group) => ({ op: 'get' as const, key: keys.owner(group) })),
    ],
  };
}

export function onRoundReply(
  draft: Draft,
  purpose: Purpose & { kind: 'round' },
  reply: TxnReply,
): void {
  const { state, now, config } = draft;
  const round = state.round;
  if (round.kind !== 'sent' || round.round !== purpose.round) return;
  const isConfirmed = round.isConfirmed && reply.kind === 'answered' && reply.succeeded;
  if (reply.kind === 'answered' && reply.succeeded)
    learn(draft, [
      {
        of: 'challenge',
        name: config.me,
        known: { rev: ABSENT, asOf: reply.revision, value: null },
      },
    ]);
  const firstSentAt = monoMs(Math.min(round.firstSentAt ?? reply.sentAt, reply.sentAt));
  if (round.unanswered > 1) {
    state.round = { ...round, unanswered: round.unanswered - 1, firstSentAt, isConfirmed };
    return;
  }
  const isLate = now - firstSentAt > config.timing.permitMs;
  // An answer in time, whatever it says, proves that this director could use the next one.
  if (isLate || reply.kind !== 'answered') state.unansweredRounds += 1;
  else state.unansweredRounds = 0;
  const isSame = state.session.kind === 'open' && state.session.id === round.session;
  if (!isConfirmed || isLate || !isSame) {
    rest(draft, round.startedAt);
    return;
  }
  state.lastRoundMs = now - firstSentAt;
  state.lastConfirmedAt = now;
  arm(draft, round, firstSentAt);
}

function arm(draft: Draft, sent: RoundState & { kind: 'sent' }, sentAt: number): void {
  const { state, config } = draft;
  const { round, startedAt } = sent;
  const groups = [...state.holdings]
    .filter(([, holding]) => holding.kind === 'owned' || holding.kind === 'open')
    .filter(([group, holding]) => sent.guarded.get(group) === holding.epoch)
    .filter(([group, holding]) => revOf(state.view.owners, group) === revisionOf(holding.epoch))
    .map(([group]) => group);
  if (groups.length === 0) {
    rest(draft, startedAt);
    return;
  }
  const holdMs = usableHoldMs(state.view, config.me, config.timing, state.scopeInDoubt);
  const until = monoMs(sentAt + holdMs);
  // Longer from the decision on, shorter only by the kernel's word.
  state.armedHoldMs = Math.max(state.armedHoldMs ?? 0, holdMs);
  state.round = { kind: 'arming', round, startedAt, until, holdMs };
  draft.effects.push({ kind: 'arm', round, groups, until });
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
  const armed = event.groups.filter((group) => !failed.has(group));
  state.unarmedRounds = armed.length > 0 ? 0 : state.unarmedRounds + 1;
  for (const group of armed) markOpen(draft, group, round.until, event.opened.includes(group));
  const areAllArmed = [...state.holdings].every(
    ([group, holding]) =>
      holding.kind !== 'closing' && (holding.kind !== 'open' || armed.includes(group)),
  );
  if (areAllArmed && failed.size === 0) state.armedHoldMs = round.holdMs;
  for (const group of failed) countRefusal(draft, group);
  if (armed.length > 0 && event.opened.length > 0) state.nextHeartbeatAt = now;
}

function markOpen(
  draft: Draft,
  group: GroupId,
  until: ReturnType<typeof monoMs>,
  isNew: boolean,
): void {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined || (holding.kind !== 'owned' && holding.kind !== 'open')) return;
  const { epoch } = holding;
  if (holding.kind === 'owned') {
    notice(draft, 'holder.opened', 'info', 'the VIPs speak here now', { group, epoch });
    draft.effects.push({ kind: 'show-lease', group, epoch });
  }
  state.holdings.set(group, {
    kind: 'open',
    epoch,
    since: holding.since,
    openedAt: holding.kind === 'open' ? holding.openedAt : now,
    until,
    failures: 0,
  });
  if (holding.kind === 'owned' || isNew) draft.effects.push({ kind: 'announce', group });
}

function countRefusal(draft: Draft, group: GroupId): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined || (holding.kind !== 'owned' && holding.kind !== 'open')) return;
  const failures = holding.failures + 1;
  state.holdings.set(group, { ...holding, failures });
  if (failures >= REFUSAL_LIMIT) state.refusedUntil.set(group, later(draft, REFUSED_MS));
}

/**
 * The next round starts R after the start of this one, or at once where that has passed, or where a
 * group was gained meanwhile: this round's guard did not name it.
 */
function rest(draft: Draft, startedAt: number): void {
  const { state, now, config } = draft;
  const holdings = [...state.holdings.values()];
  const isNew = holdings.some((one) => one.kind === 'owned' && one.since > startedAt);
  const nextAt = isNew ? now : Math.max(now, startedAt + config.timing.roundMs);
  state.round = { kind: 'idle', nextAt: monoMs(nextAt) };
}

/** A new group need not wait for the rhythm; `paceMs` keeps that far from the start of the last round. */
export function hurryRound(draft: Draft, paceMs = 0): void {
  const { state, now, config } = draft;
  if (state.round.kind !== 'idle' || state.round.nextAt <= now) return;
  const lastStartedAt = state.round.nextAt - config.timing.roundMs;
  const nextAt = Math.min(state.round.nextAt, Math.max(now, lastStartedAt + paceMs));
  state.round = { kind: 'idle', nextAt: monoMs(nextAt) };
}

function advanceHeartbeat(draft: Draft): void {
  const { state, now, config } = draft;
  if (now < state.nextHeartbeatAt || state.session.kind !== 'open') return;
  const armed = [...state.holdings].flatMap(([group, holding]) =>
    holding.kind === 'open' ? [{ group, epoch: holding.epoch }] : [],
  );
  // Without groups too: the others give a group only to a director they hear.
  state.nextHeartbeatAt = later(draft, config.timing.heartbeatMs);
  draft.effects.push({ kind: 'heartbeat', session: state.session.id, armed });
}

/** Moments at which this room may have something to do by time alone. */
export function* roundWakes(draft: Draft): Generator<number> {
  const { state } = draft;
  for (const holding of state.holdings.values()) if (holding.kind === 'open') yield holding.until;
  if (state.session.kind === 'open') yield state.nextHeartbeatAt;
  if (state.round.kind === 'idle' && needsRound(draft)) yield state.round.nextAt;
}
