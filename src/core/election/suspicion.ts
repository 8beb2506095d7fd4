/**
 * Suspect, challenge, kill (design 4.5, 4.6). Silence makes a holder suspect and proves nothing; a
 * challenge that its next round does not remove within D' proves that its kernel is silent.
 */
import { ABSENT, type DirectorId, type GroupId, type Revision } from '../../model/ids.ts';
import { type ChallengeRecord, formatRecord, type SessionRecord } from '../../model/records.ts';
import {
  alarmOnce,
  type Draft,
  isBusy,
  later,
  learn,
  notice,
  own,
  rankingOf,
  remove,
  request,
  surveyed,
  written,
} from './draft.ts';
import { ownRecord } from './claim.ts';
import { absentAt, tellUnaccusable, wordsAgainst } from './confirmed-dead.ts';
import { learnOwners } from './handover.ts';
import { firstSuspectAt, suspectAt } from './hearing.ts';
import { unresolvedOf } from './pending.ts';
import { isLastResort } from './placement.ts';
import { boundSinceBirth, mayKill, promisedTo } from './promises.ts';
import { onRoundAcquisition } from './round.ts';
import { mayAccuse, mayLive } from './scope.ts';
import { yieldTo } from './segment.ts';
import { isStandIn, standInOf } from './stand-in.ts';
import type { ChallengeState, ElectionConfig, Purpose, TxnReply, TxnRequest } from './state.ts';
import { type Held, standingIn } from './survey.ts';
import {
  CHALLENGE_REST_MS,
  GROUPS_PER_TXN,
  PREPARE_WAIT_MS,
  RANK_DELAY_MS,
  RETRY_MS,
  waitMs,
} from './timing.ts';
import { revOf, sessionOf } from './view.ts';
import type { Wake } from './wake.ts';

export function advanceSuspicion(draft: Draft): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open' || !isNamed(config)) return;
  const held = groupsByHolder(draft);
  const absent = absentBystanders(draft, held);
  for (const director of state.challenges.keys())
    if (!held.has(director) && !absent.includes(director)) dropChallenge(draft, director);
  for (const [director, groups] of held) {
    if (isSuspect(draft, director, groups)) pursue(draft, director, groups);
    else dropChallenge(draft, director);
  }
  for (const director of absent) pursue(draft, director, NOTHING);
  foresee(draft, held);
}

/**
 * Directors that hold nothing and are not heard at all: while their sessions are open every holder needs
 * their promises when the store is away, and the dead give none.
 */
function absentBystanders(
  draft: Draft,
  held: ReadonlyMap<DirectorId, Held>,
): readonly DirectorId[] {
  const { config, state, now } = draft;
  const absent: DirectorId[] = [];
  for (const { id } of config.directors) {
    if (id === config.me || held.has(id) || !mayLive(state.view, id, config.me)) continue;
    if (absentAt(draft, id) <= now) absent.push(id);
  }
  return absent;
}

const BYSTANDER_REST_MS = 10_000;
const NOTHING: Held = { owned: [], pending: [] };

/** The spec knows this director. */
function isNamed({ directors, me }: ElectionConfig): boolean {
  for (const { id } of directors) if (id === me) return true;
  return false;
}

/** A live holder answers within R: after two of them its groups are bound ahead, so that a kill only opens. */
function foresee(draft: Draft, held: ReadonlyMap<DirectorId, Held>): void {
  const { state, now } = draft;
  if (state.challenges.size === 0 && state.foreseen.size === 0) return;
  const groups = new Set<GroupId>();
  for (const [director, challenge] of state.challenges) {
    if (challenge.kind !== 'standing' || now < foreseeAt(draft, challenge)) continue;
    for (const group of held.get(director)?.owned ?? [])
      if (rankAmongOthers(draft, director, group) === 0) groups.add(group);
  }
  // What was taken meanwhile, or is free and about to be, stays bound until it is open.
  for (const group of state.foreseen)
    if (state.holdings.get(group)?.kind === 'owned' || isToBeClaimed(draft, group))
      groups.add(group);
  if (groups.size === state.foreseen.size && [...groups].every((one) => state.foreseen.has(one)))
    return;
  state.foreseen = groups;
  draft.effects.push({ kind: 'foresee', groups: [...groups] });
}

function isToBeClaimed(draft: Draft, group: GroupId): boolean {
  const standing = standingIn(surveyed(draft), group);
  return standing.kind === 'orphaned' && rankAmongOthers(draft, standing.director, group) === 0;
}

const foreseeAt = ({ config }: Draft, challenge: ChallengeState & { kind: 'standing' }): number =>
  challenge.ackedAt + 2 * config.timing.roundMs;

function isSuspect(draft: Draft, director: DirectorId, { pending }: Held): boolean {
  return (
    firstSuspectAt(draft, director) <= draft.now ||
    pending.some((group) => pendingSuspectAt(draft, group) <= draft.now)
  );
}

/** Every other director that a group's record names, with a session not proven over. */
function groupsByHolder(draft: Draft): ReadonlyMap<DirectorId, Held> {
  const { me } = draft.config;
  const { owned, pending } = surveyed(draft);
  if (pending.length === 0 && (owned.size === 0 || (owned.size === 1 && owned.has(me))))
    return NOBODY;
  const held = new Map<DirectorId, Held>();
  for (const [director, groups] of owned)
    if (director !== me) held.set(director, { owned: groups, pending: NO_GROUPS });
  for (const group of pending)
    for (const entry of unresolvedOf(draft, group)) {
      if (entry.director === me) continue;
      const director = entry.director as DirectorId;
      const known = held.get(director);
      const awaited = [...(known?.pending ?? NO_GROUPS), group];
      held.set(director, { owned: known?.owned ?? NO_GROUPS, pending: awaited });
    }
  return held;
}

const NOBODY: ReadonlyMap<DirectorId, Held> = new Map();
const NO_GROUPS: readonly GroupId[] = [];

/**
 * A former holder that may still answer names the group no more, so that its heartbeats say nothing of
 * it: it may never have learnt that it is to go mute. Alive, it answers the challenge.
 */
function pendingSuspectAt({ state, config, now }: Draft, group: GroupId): number {
  const seenAt = state.ownerSeenAt.get(group)?.at ?? now;
  return seenAt + PREPARE_WAIT_MS + config.timing.suspectMs;
}

function dropChallenge(draft: Draft, director: DirectorId): void {
  const { state, config } = draft;
  if (state.alarms.size > 0) {
    remove(draft, 'alarms', `deaf:${director}`);
    remove(draft, 'alarms', `alive:${director}`);
    remove(draft, 'alarms', `stranger:${director}`);
  }
  const challenge = state.challenges.get(director);
  if (challenge === undefined) return;
  if (challenge.kind === 'resting' && challenge.until > draft.now) return;
  if (challenge.kind === 'sending') return;
  remove(draft, 'challenges', director);
  if (challenge.kind !== 'standing' || !challenge.isMine) return;
  if (revOf(state.view.challenges, director) !== challenge.rev) return;
  const slot = `withdraw/${director}`;
  if (isBusy(draft, slot)) return;
  const key = config.keys.challenge(director);
  request(
    draft,
    slot,
    { kind: 'withdraw', against: director },
    {
      compares: [{ key, modRevision: challenge.rev }],
      success: [{ op: 'delete', key }],
      failure: [{ op: 'get', key }],
    },
  );
}

function pursue(draft: Draft, director: DirectorId, held: Held): void {
  const { state, now, config } = draft;
  if (!mayAccuse(state.view, director, config.me)) {
    tellUnaccusable(draft, director, held);
    return;
  }
  const challenge = state.challenges.get(director);
  const sessionRev = revOf(state.view.sessions, director);
  if (
    challenge === undefined ||
    (challenge.kind === 'resting' && now >= restUntil(challenge, held))
  ) {
    sendChallenge(draft, director, sessionRev);
    return;
  }
  if (challenge.kind !== 'standing') return;
  const isStanding = revOf(state.view.challenges, director) === challenge.rev;
  if (!isStanding || challenge.session !== sessionRev) {
    const isBystander = isIdle(held);
    rest(draft, director, isBystander ? BYSTANDER_REST_MS : CHALLENGE_REST_MS, isBystander);
    // A new process of it accuses its former session: that is no word of that session.
    const isItself = state.view.challenges.get(director)?.value?.by === director;
    if (isStanding || isItself) return;
    if (alarmOnce(draft, `alive:${director}`))
      notice(draft, 'challenge.answered', 'warn', 'alive in etcd, but not heard here', {
        director,
      });
    else yieldToLiving(draft, director, held.owned);
    return;
  }
  const scopeRev = revOf(state.view.scopes, director);
  if (challenge.scopeRev !== scopeRev) {
    // It has written since, so it lived; and who is named anew begins to wait now.
    own(draft, 'challenges').set(director, { ...challenge, scopeRev, ackedAt: now });
    return;
  }
  const scope = state.view.scopes.get(director)?.value ?? null;
  const dueAt =
    challenge.ackedAt + waitMs(scope, config.timing) + rankDelay(draft, director, held.owned);
  if (now >= dueAt && mayKill(draft, director) && !isBusy(draft, `kill/${director}`))
    kill(draft, director, held.owned, challenge);
}

/** It has had the time to give what this director stands in for, and has it: it may speak unheard. */
function yieldToLiving(draft: Draft, director: DirectorId, groups: readonly GroupId[]): void {
  for (const group of groups) {
    const holding = draft.state.holdings.get(group);
    if (holding?.kind === 'open' && holding.right === 'segment')
      yieldTo(draft, group, holding, `${director} is alive in etcd; silent here`);
  }
}

function rest(draft: Draft, director: DirectorId, ms: number, isBystander = false): void {
  const until = later(draft, ms);
  own(draft, 'challenges').set(director, { kind: 'resting', until, isBystander });
}

/** At once, where it has taken a group since: whoever it serves cannot wait for so long. */
const restUntil = (
  { until, isBystander }: ChallengeState & { readonly kind: 'resting' },
  held: Held,
): number => (isBystander && !isIdle(held) ? Number.NEGATIVE_INFINITY : until);

const isIdle = ({ owned, pending }: Held): boolean => owned.length === 0 && pending.length === 0;

function sendChallenge(draft: Draft, director: DirectorId, sessionRev: Revision): void {
  const { state, config } = draft;
  const slot = `challenge/${director}`;
  if (isBusy(draft, slot) || state.session.kind !== 'open') return;
  const { keys, me } = config;
  const record: ChallengeRecord = { v: 1, by: me, session: sessionRev };
  const session = sessionRev;
  const words = wordsAgainst(draft, director);
  own(draft, 'challenges').set(director, { kind: 'sending', session });
  request(
    draft,
    slot,
    { kind: 'challenge', against: director, session },
    {
      compares: [
        { key: keys.session(director), modRevision: sessionRev },
        { key: keys.challenge(director), modRevision: ABSENT },
        { key: keys.session(me), modRevision: state.session.rev },
        { key: keys.scope(director), modRevision: revOf(state.view.scopes, director) },
        ...words,
      ],
      success: [{ op: 'put', key: keys.challenge(director), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.session(director) },
        { op: 'get', key: keys.scope(director) },
        { op: 'get', key: keys.challenge(director) },
        { op: 'get', key: keys.session(me) },
        ...words.map(({ key }) => ({ op: 'get' as const, key })),
      ],
    },
  );
}

/** The best candidate for one of the groups kills first; the others give it a few milliseconds. */
function rankDelay(draft: Draft, director: DirectorId, groups: readonly GroupId[]): number {
  // Nothing is to be taken from who only has to go mute: whoever waits for it, kills.
  if (groups.length === 0) return 0;
  const ranks = groups.map((group) => rankAmongOthers(draft, director, group));
  return Math.min(...ranks, draft.config.directors.length) * RANK_DELAY_MS;
}

function rankAmongOthers(draft: Draft, dead: DirectorId, id: GroupId): number {
  const { config } = draft;
  const group = config.groupsById.get(id);
  if (group === undefined) return config.directors.length;
  if (isStandIn(draft, id)) return 0;
  if (standInOf(draft, id) !== null) return config.directors.length;
  const others = rankingOf(draft)
    .of(group)
    .filter((candidate) => candidate.director !== dead);
  const able = others.filter((candidate) => candidate.obstacle === null);
  const mine = others.find((candidate) => candidate.director === config.me);
  // Who only makes way for others takes at once what no other can take.
  if (able.length === 0 && isLastResort(mine?.obstacle)) return 0;
  const rank = able.findIndex((candidate) => candidate.director === config.me);
  return rank === -1 ? config.directors.length : rank;
}

/**
 * Rides on a round: the same answers break the session, give its groups, and let them speak. Groups
 * beyond one txn are taken by txns answered before it is sent: with the challenge standing for D' the
 * holder's rounds are over, and each compares what the kill compares, and changes.
 */
function kill(
  draft: Draft,
  director: DirectorId,
  groups: readonly GroupId[],
  challenge: ChallengeState & { kind: 'standing' },
): void {
  const { state, config } = draft;
  // What rides on a round that is under way was said when it began.
  if (state.session.kind !== 'open' || state.round.kind === 'sent') return;
  // Nor is anything sent again while its answer may come.
  const takes = `take/${director}/`;
  for (const slot of state.inFlight.keys()) if (slot.startsWith(takes)) return;
  const { keys, me } = config;
  const proof = [
    { key: keys.challenge(director), modRevision: challenge.rev },
    { key: keys.session(director), modRevision: challenge.session },
    { key: keys.scope(director), modRevision: revOf(state.view.scopes, director) },
    { key: keys.session(me), modRevision: state.session.rev },
    { key: keys.spec, modRevision: config.specRev },
    ...wordsAgainst(draft, director),
  ];
  const mine = groups.filter(
    (group) =>
      rankAmongOthers(draft, director, group) === 0 && promisedTo(draft, group, director) === null,
  );
  // Rounds compare the records that this director stands under.
  const isLast = mine.length > GROUPS_PER_TXN || mine.some((group) => isStandIn(draft, group));
  while (mine.length > GROUPS_PER_TXN) {
    const names = mine.splice(0, GROUPS_PER_TXN);
    const { claims, compares, puts } = takeFrom(draft, names, proof);
    draft.acquisitions.push({
      slot: `take/${director}/${names[0] ?? ''}`,
      purposeOf: (round) => ({ kind: 'claim', round, claims }),
      txn: { compares, success: puts, failure: readsOf(draft, compares) },
    });
  }
  const broken = brokenRecord(draft, director, challenge.session);
  const { claims, compares, puts } = takeFrom(draft, mine, proof);
  draft.acquisitions.push({
    slot: `kill/${director}`,
    isLast,
    purposeOf: (round) => ({ kind: 'kill', round, against: director, broken, claims }),
    txn: {
      compares,
      success: [
        { op: 'put', key: keys.session(director), value: formatRecord(broken) },
        { op: 'delete', key: keys.challenge(director) },
        { op: 'delete', key: keys.confirmDead(director) },
        ...puts,
      ],
      failure: readsOf(draft, compares),
    },
  });
}

/** All but the spec, which the watch brings. */
const readsOf = ({ config }: Draft, compares: TxnRequest['compares']): TxnRequest['failure'] =>
  compares
    .filter(({ key }) => key !== config.keys.spec)
    .map(({ key }) => ({ op: 'get' as const, key }));

function takeFrom(draft: Draft, names: readonly GroupId[], proof: TxnRequest['compares']) {
  const { keys } = draft.config;
  const claims = new Map(
    names.map((group) => [group, ownRecord(draft, group, 'holder-dead')] as const),
  );
  const owners = names.map((group) => ({
    key: keys.owner(group),
    modRevision: revOf(draft.state.view.owners, group),
  }));
  const puts = [...claims].map(([group, record]) => ({
    op: 'put' as const,
    key: keys.owner(group),
    value: formatRecord(record),
  }));
  return { claims, compares: [...proof, ...owners], puts };
}

function brokenRecord(draft: Draft, director: DirectorId, rev: Revision): SessionRecord {
  const known = draft.state.view.sessions.get(director);
  const unknown = { boot: '', namespace: '', machine: '', nonce: '', address: '' };
  const id: number = known === undefined ? rev : sessionOf(known);
  return { v: 1, ...(known?.value ?? unknown), id, state: 'broken', by: draft.config.me };
}

export function onSuspicionReply(draft: Draft, purpose: Purpose, reply: TxnReply): void {
  if (purpose.kind === 'challenge') onChallengeReply(draft, purpose, reply);
  if (purpose.kind === 'kill') onKillReply(draft, purpose, reply);
  if (purpose.kind === 'withdraw' && reply.kind === 'answered' && reply.succeeded) {
    const known = { rev: ABSENT, asOf: reply.revision, value: null };
    learn(draft, [{ of: 'challenge', name: purpose.against, known }]);
    notice(draft, 'challenge.withdrawn', 'info', 'heard again', { director: purpose.against });
  }
}

function onChallengeReply(
  draft: Draft,
  purpose: Purpose & { kind: 'challenge' },
  reply: TxnReply,
): void {
  const { state, now, config } = draft;
  const { against, session } = purpose;
  if (state.challenges.get(against)?.kind !== 'sending') return;
  if (reply.kind !== 'answered') {
    rest(draft, against, RETRY_MS);
    return;
  }
  if (reply.succeeded) {
    const record: ChallengeRecord = { v: 1, by: config.me, session };
    learn(draft, [{ of: 'challenge', name: against, known: written(reply.revision, record) }]);
    // Once for as long as it is not heard: a blocked port must not fill the store with events.
    if (alarmOnce(draft, `deaf:${against}`))
      notice(
        draft,
        'holder.challenged',
        'warn',
        'not heard in time; asked in etcd for a sign of life',
        { director: against },
      );
  }
  const known = state.view.challenges.get(against);
  const isAgainstIt = known?.value?.session === session;
  if (known === undefined || !isAgainstIt) {
    rest(draft, against, RETRY_MS);
    if (known !== undefined && known.rev !== ABSENT) discardStale(draft, against, known.rev);
    return;
  }
  own(draft, 'challenges').set(against, {
    kind: 'standing',
    session,
    rev: known.rev,
    ackedAt: now,
    isMine: known.value?.by === config.me,
    scopeRev: revOf(state.view.scopes, against),
  });
}

/** A challenge against an earlier session says nothing and blocks: anybody may remove exactly it. */
function discardStale(draft: Draft, against: DirectorId, rev: Revision): void {
  const slot = `withdraw/${against}`;
  if (isBusy(draft, slot)) return;
  const key = draft.config.keys.challenge(against);
  request(
    draft,
    slot,
    { kind: 'withdraw', against },
    {
      compares: [{ key, modRevision: rev }],
      success: [{ op: 'delete', key }],
      failure: [{ op: 'get', key }],
    },
  );
}

function onKillReply(draft: Draft, purpose: Purpose & { kind: 'kill' }, reply: TxnReply): void {
  const { against, claims, broken } = purpose;
  if (reply.kind === 'answered' && reply.succeeded) {
    const gone = { rev: ABSENT, asOf: reply.revision, value: null };
    learn(draft, [
      { of: 'session', name: against, known: written(reply.revision, broken) },
      { of: 'challenge', name: against, known: gone },
    ]);
    learnOwners(draft, claims, reply);
    remove(draft, 'challenges', against);
    notice(
      draft,
      'holder.killed',
      'warn',
      `silent for its whole hold time; its session is broken, ${claims.size} of its groups taken`,
      { director: against, reason: 'holder-dead' },
    );
  }
  onRoundAcquisition(draft, purpose.round, reply, claims.keys());
}

/** Moments at which this room may have something to do by time alone. */
export function suspicionWakes(draft: Draft, wake: Wake): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return;
  const held = groupsByHolder(draft);
  for (const { id } of config.directors) {
    if (id === config.me || held.has(id) || !mayLive(state.view, id, config.me)) continue;
    wake.by(absentAt(draft, id));
    judgeWakes(draft, wake, id, NOTHING);
  }
  for (const [director, groups] of held) {
    const firstAt = firstSuspectAt(draft, director);
    if (firstAt > draft.now) wake.by(firstAt);
    else for (const group of groups.owned) wake.by(suspectAt(draft, director, group));
    for (const group of groups.pending) wake.by(pendingSuspectAt(draft, group));
    judgeWakes(draft, wake, director, groups);
  }
}

function judgeWakes(draft: Draft, wake: Wake, director: DirectorId, held: Held): void {
  const { state, config } = draft;
  const challenge = state.challenges.get(director);
  if (challenge?.kind === 'resting') wake.by(restUntil(challenge, held));
  if (challenge?.kind !== 'standing') return;
  wake.by(foreseeAt(draft, challenge));
  const scope = state.view.scopes.get(director)?.value ?? null;
  const dueAt = challenge.ackedAt + waitMs(scope, config.timing);
  wake.by(dueAt + rankDelay(draft, director, held.owned));
  wake.by(boundSinceBirth(draft, director));
}
