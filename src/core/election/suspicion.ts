/**
 * Suspect, challenge, kill (design 4.5, 4.6). Silence makes a holder suspect and proves nothing; a
 * challenge that its next round does not remove within D' proves that its kernel is silent.
 */
import {
  ABSENT,
  type DirectorId,
  type GroupId,
  type Revision,
  revisionOf,
} from '../../model/ids.ts';
import {
  type ChallengeRecord,
  formatRecord,
  type OwnerRecord,
  type SessionRecord,
} from '../../model/records.ts';
import { alarmOnce, type Draft, isBusy, later, learn, notice, request, written } from './draft.ts';
import { rankCandidates } from './placement.ts';
import { roundGuard } from './round.ts';
import type { ChallengeState, Purpose, TxnReply } from './state.ts';
import { CHALLENGE_REST_MS, GROUPS_PER_TXN, RANK_DELAY_MS, RETRY_MS, waitMs } from './timing.ts';
import { ownerStanding, revOf } from './view.ts';

export function advanceSuspicion(draft: Draft): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open' || !config.directors.includes(config.me)) return;
  const held = groupsByHolder(draft);
  for (const director of state.challenges.keys())
    if (!held.has(director)) dropChallenge(draft, director);
  for (const [director, groups] of held) {
    const suspects = groups.filter((group) => suspectAt(draft, director, group) <= draft.now);
    if (suspects.length === 0) dropChallenge(draft, director);
    else pursue(draft, director, groups);
  }
}

/** Every other director that a group's owner record names, with a session not proven over. */
function groupsByHolder(draft: Draft): Map<DirectorId, GroupId[]> {
  const { state, config } = draft;
  const held = new Map<DirectorId, GroupId[]>();
  for (const group of state.view.owners.keys()) {
    const standing = ownerStanding(state.view, group);
    if (standing.kind !== 'owned' && standing.kind !== 'session-missing') continue;
    if (standing.director === config.me) continue;
    held.set(standing.director, [...(held.get(standing.director) ?? []), group]);
  }
  return held;
}

/** When silence about this group becomes suspicion; at once when its shown lease ended. */
function suspectAt(draft: Draft, director: DirectorId, group: GroupId): number {
  const { state, config } = draft;
  if (ownerStanding(state.view, group).kind === 'session-missing') return 0;
  const seenAt = state.ownerSeenAt.get(group)?.at ?? draft.now;
  const heardAt = state.heard.get(director)?.get(group) ?? seenAt;
  const lease = state.view.leases.get(group);
  const ownerRev = revOf(state.view.owners, group);
  const leaseEnded = lease !== undefined && lease.rev === ABSENT && lease.asOf > ownerRev;
  const suspect = Math.max(seenAt, heardAt) + config.timing.suspectMs;
  // A holder that is heard is not suspect, whatever became of its lease.
  return leaseEnded
    ? Math.min(suspect, Math.max(seenAt, heardAt) + config.timing.heartbeatMs)
    : suspect;
}

function dropChallenge(draft: Draft, director: DirectorId): void {
  const { state, config } = draft;
  state.alarms.delete(`deaf:${director}`);
  state.alarms.delete(`alive:${director}`);
  const challenge = state.challenges.get(director);
  if (challenge === undefined) return;
  if (challenge.kind === 'resting' && challenge.until > draft.now) return;
  if (challenge.kind === 'sending') return;
  state.challenges.delete(director);
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

function pursue(draft: Draft, director: DirectorId, groups: readonly GroupId[]): void {
  const { state, now, config } = draft;
  const challenge = state.challenges.get(director);
  const sessionRev = revOf(state.view.sessions, director);
  if (challenge === undefined || (challenge.kind === 'resting' && challenge.until <= now)) {
    sendChallenge(draft, director, sessionRev);
    return;
  }
  if (challenge.kind !== 'standing') return;
  const isStanding = revOf(state.view.challenges, director) === challenge.rev;
  if (!isStanding || revisionOf(challenge.session) !== sessionRev) {
    rest(draft, director, CHALLENGE_REST_MS);
    if (!isStanding && alarmOnce(draft, `alive:${director}`))
      notice(draft, 'challenge.answered', 'warn', 'alive in etcd, but not heard here', {
        director,
      });
    return;
  }
  const scope = state.view.scopes.get(director)?.value ?? null;
  const dueAt =
    challenge.ackedAt + waitMs(scope, config.timing) + rankDelay(draft, director, groups);
  if (now >= dueAt && now >= challenge.nextTryAt && !isBusy(draft, `challenge/${director}`))
    kill(draft, director, groups, challenge);
}

function rest(draft: Draft, director: DirectorId, ms: number): void {
  draft.state.challenges.set(director, { kind: 'resting', until: later(draft, ms) });
}

function sendChallenge(draft: Draft, director: DirectorId, sessionRev: Revision): void {
  const { state, config } = draft;
  const slot = `challenge/${director}`;
  if (isBusy(draft, slot) || state.session.kind !== 'open') return;
  const { keys, me } = config;
  const record: ChallengeRecord = { v: 1, by: me, session: sessionRev };
  const session = sessionRev as number as typeof state.session.id;
  state.challenges.set(director, { kind: 'sending', session });
  request(
    draft,
    slot,
    { kind: 'challenge', against: director, session },
    {
      compares: [
        { key: keys.session(director), modRevision: sessionRev },
        { key: keys.challenge(director), modRevision: ABSENT },
        { key: keys.session(me), modRevision: revisionOf(state.session.id) },
      ],
      success: [{ op: 'put', key: keys.challenge(director), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.session(director) },
        { op: 'get', key: keys.challenge(director) },
        { op: 'get', key: keys.session(me) },
      ],
    },
  );
}

/** The best candidate for one of the groups kills first; the others give it a few milliseconds. */
function rankDelay(draft: Draft, director: DirectorId, groups: readonly GroupId[]): number {
  const ranks = groups.map((group) => rankAmongOthers(draft, director, group));
  return Math.min(...ranks, draft.config.directors.length) * RANK_DELAY_MS;
}

function rankAmongOthers(draft: Draft, dead: DirectorId, id: GroupId): number {
  const { state, config, now } = draft;
  const group = config.groups.find((one) => one.id === id);
  if (group === undefined) return config.directors.length;
  const able = rankCandidates(state, config, group, now).filter(
    (candidate) => candidate.obstacle === null && candidate.director !== dead,
  );
  const rank = able.findIndex((candidate) => candidate.director === config.me);
  return rank === -1 ? config.directors.length : rank;
}

function kill(
  draft: Draft,
  director: DirectorId,
  groups: readonly GroupId[],
  challenge: ChallengeState & { kind: 'standing' },
): void {
  const { state, config } = draft;
  const { keys, me } = config;
  const guard = roundGuard(draft);
  const claims = groups
    .filter((group) => rankAmongOthers(draft, director, group) === 0)
    .slice(0, Math.max(0, GROUPS_PER_TXN - guard.length));
  state.challenges.set(director, { ...challenge, nextTryAt: later(draft, RETRY_MS) });
  request(
    draft,
    `challenge/${director}`,
    { kind: 'kill', against: director, claims },
    {
      compares: [
        { key: keys.challenge(director), modRevision: challenge.rev },
        { key: keys.session(director), modRevision: revisionOf(challenge.session) },
        { key: keys.scope(director), modRevision: revOf(state.view.scopes, director) },
        ...guard.slice(0, GROUPS_PER_TXN),
        ...claims.map((group) => ({
          key: keys.owner(group),
          modRevision: revOf(state.view.owners, group),
        })),
      ],
      success: [
        {
          op: 'put',
          key: keys.session(director),
          value: formatRecord(brokenRecord(draft, director)),
        },
        { op: 'delete', key: keys.challenge(director) },
        ...claims.map((group) => ({
          op: 'put' as const,
          key: keys.owner(group),
          value: formatRecord(claimRecord(draft)),
        })),
      ],
      failure: [
        { op: 'get', key: keys.session(director) },
        { op: 'get', key: keys.challenge(director) },
        { op: 'get', key: keys.scope(director) },
        { op: 'get', key: keys.session(me) },
        ...claims.map((group) => ({ op: 'get' as const, key: keys.owner(group) })),
      ],
    },
  );
}

function brokenRecord(draft: Draft, director: DirectorId): SessionRecord {
  const known = draft.state.view.sessions.get(director)?.value ?? null;
  const unknown = { boot: '', namespace: '', machine: '', nonce: '', address: '' };
  return { v: 1, ...(known ?? unknown), state: 'broken', by: draft.config.me };
}

const claimRecord = (draft: Draft): OwnerRecord => ({
  v: 1,
  director: draft.config.me,
  session: draft.state.session.kind === 'open' ? revisionOf(draft.state.session.id) : 0,
  pending: [],
  vacant: false,
  reason: 'holder-dead',
});

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
    const record: ChallengeRecord = { v: 1, by: config.me, session: revisionOf(session) };
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
  const isAgainstIt = known?.value?.session === revisionOf(session);
  if (known === undefined || !isAgainstIt) {
    rest(draft, against, RETRY_MS);
    if (known !== undefined && known.rev !== ABSENT) discardStale(draft, against, known.rev);
    return;
  }
  state.challenges.set(against, {
    kind: 'standing',
    session,
    rev: known.rev,
    ackedAt: now,
    isMine: known.value?.by === config.me,
    nextTryAt: now,
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
  const { against, claims } = purpose;
  if (reply.kind !== 'answered' || !reply.succeeded) return;
  learn(draft, [
    {
      of: 'session',
      name: against,
      known: written(reply.revision, brokenRecord(draft, against)),
    },
    {
      of: 'challenge',
      name: against,
      known: { rev: ABSENT, asOf: reply.revision, value: null },
    },
    ...claims.map((group) => ({
      of: 'owner' as const,
      name: group,
      known: written(reply.revision, claimRecord(draft)),
    })),
  ]);
  draft.state.challenges.delete(against);
  notice(
    draft,
    'holder.killed',
    'warn',
    `silent for its whole hold time; its session is broken, ${claims.length} of its groups taken`,
    { director: against, reason: 'holder-dead' },
  );
}

/** Moments at which this room may have something to do by time alone. */
export function* suspicionWakes(draft: Draft): Generator<number> {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return;
  for (const [director, groups] of groupsByHolder(draft)) {
    for (const group of groups) yield suspectAt(draft, director, group);
    const challenge = state.challenges.get(director);
    if (challenge?.kind === 'resting') yield challenge.until;
    if (challenge?.kind !== 'standing') continue;
    const scope = state.view.scopes.get(director)?.value ?? null;
    yield challenge.ackedAt + waitMs(scope, config.timing) + rankDelay(draft, director, groups);
    yield challenge.nextTryAt;
  }
}
