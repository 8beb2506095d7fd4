/** This director's life in etcd: opened with the gate shut, guarded by the very record it replaces (design 4.2). */
import {
  ABSENT,
  type GroupId,
  type Revision,
  revisionOf,
  type SessionId,
} from '../../model/ids.ts';
import { type ChallengeRecord, formatRecord, type SessionRecord } from '../../model/records.ts';
import { denyDeath, onDeathDenied, wordsAgainst } from './confirmed-dead.ts';
import { alarmOnce, type Draft, isBusy, later, learn, notice, request, written } from './draft.ts';
import { hold, rosterOf } from './roster.ts';
import { adoptedScope, advanceScope, mayAccuse, onScopeWritten, scopeRecord } from './scope.ts';
import { silence } from './silence.ts';
import type { Purpose, TxnReply, TxnRequest } from './state.ts';
import {
  CHALLENGE_REST_MS,
  RETRY_MS,
  UNKNOWN_SCOPE_HOLD_MS,
  waitMs,
  wantedHoldMs,
} from './timing.ts';
import { isConfirmedDead, ownerStanding, pendingOf, revOf, sessionOf } from './view.ts';
import type { Wake } from './wake.ts';

const SLOT = 'session';

export function advanceSession(draft: Draft): void {
  const { state, now } = draft;
  if (!state.isSynced) {
    // Nothing was ever opened: there is nothing to close.
    if (state.isStopping && state.session.kind === 'none') state.session = { kind: 'closed' };
    return;
  }
  switch (state.session.kind) {
    case 'none':
      if (state.isStopping) {
        if (state.holdings.size === 0 && !isBusy(draft, SLOT)) state.session = { kind: 'closed' };
      } else if (now >= state.session.notBefore && clearGate(draft)) tryOpen(draft);
      return;
    case 'namesake':
      advanceNamesake(draft);
      again(draft);
      return;
    case 'open':
      noticeLoss(draft);
      if (state.session.kind !== 'open') {
        again(draft);
        return;
      }
      advanceScope(draft);
      denyDeath(draft);
      if (state.isStopping && state.holdings.size === 0) close(draft);
      return;
    case 'closed':
      return;
  }
}

/** What has just ended may begin anew in this very step: no event need follow. */
function again(draft: Draft): void {
  if (draft.state.session.kind === 'none') advanceSession(draft);
}

/**
 * True when the kernel has acknowledged that nothing of an earlier life speaks, but for what this life
 * goes on with.
 */
function clearGate(draft: Draft): boolean {
  const { state } = draft;
  if (state.holdings.size > 0) return false;
  if (state.gate === 'unknown') {
    state.gate = 'clearing';
    const keep = ownedBefore(draft);
    state.kept = new Set(keep);
    draft.effects.push({ kind: 'clear-gate', keep });
  }
  return state.gate === 'clear';
}

/**
 * The session that a former process of this very kernel left open (design 4.14): its groups may go on
 * speaking. Its record is written anew, so that whatever that process still had under way is void.
 */
function adoptable(draft: Draft): SessionId | null {
  const { state, config } = draft;
  const known = state.view.sessions.get(config.me);
  if (known?.value?.state !== 'open') return null;
  const { boot, namespace } = known.value;
  const { identity } = config;
  return boot === identity.boot && namespace === identity.namespace ? sessionOf(known) : null;
}

function ownedBefore(draft: Draft): readonly GroupId[] {
  const { state, config } = draft;
  const session = adoptable(draft);
  if (session === null) return [];
  const owned: GroupId[] = [];
  for (const group of state.view.owners.keys()) {
    const standing = ownerStanding(state.view, group);
    if (standing.kind !== 'owned' || standing.director !== config.me) continue;
    // What others have not proven silent yet was not open here either.
    if (standing.session === session && pendingOf(state.view, group).length === 0)
      owned.push(group);
  }
  return owned;
}

function tryOpen(draft: Draft): void {
  const { state, config } = draft;
  if (isBusy(draft, SLOT)) return;
  const known = state.view.sessions.get(config.me);
  const rev = known?.rev ?? ABSENT;
  if (isForeign(draft)) {
    tellForeign(draft, rev);
    state.session = { kind: 'none', notBefore: later(draft, CHALLENGE_REST_MS) };
    return;
  }
  if (needsChallenge(draft, known?.value ?? null, rev)) {
    const challenge: ChallengeRecord = { v: 1, by: config.me, session: rev };
    const keys = config.keys;
    request(
      draft,
      SLOT,
      { kind: 'challenge-namesake', session: rev },
      {
        compares: [
          { key: keys.session(config.me), modRevision: rev },
          { key: keys.challenge(config.me), modRevision: revOf(state.view.challenges, config.me) },
          ...wordsAgainstNamesake(draft),
        ],
        success: [{ op: 'put', key: keys.challenge(config.me), value: formatRecord(challenge) }],
        failure: [
          { op: 'get', key: keys.session(config.me) },
          { op: 'get', key: keys.challenge(config.me) },
        ],
      },
    );
    return;
  }
  open(draft, rev, null, adoptable(draft));
}

/**
 * An open session that is not of this kernel and namespace may speak elsewhere: a cloned machine,
 * or this machine before its reboot. A record deleted by hand may hide one too; the scope record,
 * which is written with every session, tells a deleted record from one that never was.
 */
function needsChallenge(draft: Draft, record: SessionRecord | null, rev: Revision): boolean {
  const { view } = draft.state;
  const { me, identity } = draft.config;
  if (rev === ABSENT) return revOf(view.scopes, me) !== ABSENT;
  if (record === null) return true;
  if (record.state !== 'open') return false;
  return record.boot !== identity.boot || record.namespace !== identity.namespace;
}

/**
 * Another machine may hold under this name by the promises of its peers, which this one knows nothing of:
 * as with any holder, only whom its scope names may declare it dead (design 4.9). Of an earlier boot of
 * this machine nothing speaks any more. That its session record is gone proves nothing.
 */
function isForeign({ state, config }: Draft): boolean {
  const record = state.view.sessions.get(config.me)?.value ?? null;
  const scope = state.view.scopes.get(config.me)?.value ?? null;
  const left = record === null ? scope?.machine : undefined;
  const machine = record?.state === 'open' ? record.machine : left;
  const isOther = machine !== undefined && machine !== config.identity.machine;
  return isOther && !mayAccuse(state.view, config.me, config.me);
}

/** An operator's word about the other machine: it stands until that one, alive, takes it back. */
const wordsAgainstNamesake = (draft: Draft): TxnRequest['compares'] =>
  isConfirmedDead(draft.state.view, draft.config.me) ? wordsAgainst(draft, draft.config.me) : [];

function tellForeign(draft: Draft, rev: Revision): void {
  const { me, keys } = draft.config;
  if (!alarmOnce(draft, `foreign:${rev}`)) return;
  const isOpen = draft.state.view.sessions.get(me)?.value?.state === 'open';
  const who = isOpen
    ? `another machine has an open session under the name ${me}`
    : `another machine may live under the name ${me}, though no session record tells of it`;
  const how = isOpen
    ? `leasehold director confirm-dead ${me} --reason "replaced"`
    : `etcdctl del ${keys.scope(me)}`;
  const text = `${who}; this one waits until its peers declare it dead, or it is shut down. If those are gone and it is surely off: ${how}`;
  notice(draft, 'session.refused', 'error', text, { director: me });
}

function advanceNamesake(draft: Draft): void {
  const { state, config, now } = draft;
  const wait = state.session;
  if (wait.kind !== 'namesake' || isBusy(draft, SLOT)) return;
  if (state.isStopping) {
    state.session = { kind: 'closed' };
    return;
  }
  const isStanding =
    wait.challengeRev !== null && revOf(state.view.challenges, config.me) === wait.challengeRev;
  const isSame = revOf(state.view.sessions, config.me) === wait.session;
  if (!isStanding || !isSame || isForeign(draft)) {
    if (isSame && alarmOnce(draft, `namesake:${wait.session}`))
      notice(
        draft,
        'session.refused',
        'error',
        `another machine is alive under the name ${config.me}; this one stays out. Give each director a name of its own`,
        { director: config.me },
      );
    state.session = { kind: 'none', notBefore: later(draft, isSame ? CHALLENGE_REST_MS : 0) };
    return;
  }
  const scope = state.view.scopes.get(config.me)?.value ?? null;
  if (now < wait.ackedAt + waitMs(scope, config.timing) || now < wait.nextTryAt) return;
  state.session = { ...wait, nextTryAt: later(draft, RETRY_MS) };
  open(draft, wait.session, wait.challengeRev, null);
}

function open(
  draft: Draft,
  sessionRev: Revision,
  challengeRev: Revision | null,
  adopted: SessionId | null,
): void {
  const { config, state } = draft;
  const { keys, me } = config;
  const scope = adopted === null ? scopeRecord(draft) : adoptedScope(draft);
  const compares = [
    { key: keys.session(me), modRevision: sessionRev },
    { key: keys.scope(me), modRevision: revOf(state.view.scopes, me) },
  ];
  if (challengeRev !== null)
    compares.push(
      { key: keys.challenge(me), modRevision: challengeRev },
      ...wordsAgainstNamesake(draft),
    );
  request(
    draft,
    SLOT,
    { kind: 'open-session', adopted, scope },
    {
      compares,
      success: [
        { op: 'put', key: keys.session(me), value: formatRecord(sessionRecord(draft, adopted)) },
        { op: 'put', key: keys.scope(me), value: formatRecord(scope) },
        { op: 'delete', key: keys.challenge(me) },
        { op: 'delete', key: keys.confirmDead(me) },
      ],
      failure: [
        { op: 'get', key: keys.session(me) },
        { op: 'get', key: keys.scope(me) },
        { op: 'get', key: keys.challenge(me) },
      ],
    },
  );
}

const sessionRecord = (draft: Draft, id: SessionId | null): SessionRecord => ({
  v: 1,
  state: 'open',
  boot: draft.config.identity.boot,
  namespace: draft.config.identity.namespace,
  machine: draft.config.identity.machine,
  nonce: draft.config.identity.nonce,
  address: draft.config.address,
  id: id === null ? 0 : revisionOf(id),
});

/** Any newer record than mine means that this session is over; shutting on a hint is always safe. */
function noticeLoss(draft: Draft): void {
  const { state, config, now } = draft;
  if (state.session.kind !== 'open') return;
  const known = state.view.sessions.get(config.me);
  if (known !== undefined && known.rev === state.session.rev) return;
  if (isClosedByMe(draft)) {
    markClosed(draft);
    return;
  }
  notice(
    draft,
    'session.lost',
    'error',
    known?.value?.state === 'broken'
      ? `${known.value.by ?? 'another director'} declared this director dead`
      : 'the session record was replaced or removed',
    { director: config.me, reason: 'session-lost' },
  );
  state.session = { kind: 'none', notBefore: now };
  state.gate = 'unknown';
  for (const [group, holding] of state.holdings) {
    if (holding.kind === 'closing') {
      hold(draft, group, { ...holding, giveUp: null, isLost: true });
      continue;
    }
    silence(draft, group, holding, { giveUp: null, isLost: true });
    notice(draft, 'holder.lost', 'error', 'the session is over', {
      group,
      epoch: holding.epoch,
      reason: 'session-lost',
    });
  }
}

function close(draft: Draft): void {
  const { state, config } = draft;
  if (isBusy(draft, SLOT) || state.session.kind !== 'open') return;
  const { keys, me } = config;
  request(
    draft,
    SLOT,
    { kind: 'close-session' },
    {
      compares: [{ key: keys.session(me), modRevision: state.session.rev }],
      success: [
        {
          op: 'put',
          key: keys.session(me),
          value: formatRecord({ ...sessionRecord(draft, state.session.id), state: 'closed' }),
        },
        { op: 'delete', key: keys.confirmDead(me) },
      ],
      failure: [{ op: 'get', key: keys.session(me) }],
    },
  );
}

/** Handles the answers of this room's txns; the reads are in the view already. */
export function onSessionReply(draft: Draft, purpose: Purpose, reply: TxnReply): void {
  if (purpose.kind === 'open-session') onOpened(draft, purpose, reply);
  if (purpose.kind === 'challenge-namesake') onNamesakeChallenged(draft, purpose.session, reply);
  if (purpose.kind === 'write-scope') onScopeWritten(draft, purpose.record, reply);
  if (purpose.kind === 'deny-death') onDeathDenied(draft, reply);
  if (purpose.kind === 'close-session' && reply.kind === 'answered') markClosed(draft);
}

/** The watch may bring my own closing before its answer comes. */
function isClosedByMe(draft: Draft): boolean {
  const record = draft.state.view.sessions.get(draft.config.me)?.value;
  return record?.state === 'closed' && record.nonce === draft.config.identity.nonce;
}

function markClosed(draft: Draft): void {
  if (draft.state.session.kind === 'closed') return;
  draft.state.session = { kind: 'closed' };
  notice(draft, 'session.closed', 'info', 'the session is closed in etcd', {
    director: draft.config.me,
    reason: 'shutdown',
  });
}

function onNamesakeChallenged(draft: Draft, session: Revision, reply: TxnReply): void {
  const { state, config, now } = draft;
  if (state.session.kind !== 'none') return;
  if (reply.kind !== 'answered' || !reply.succeeded) {
    state.session = { kind: 'none', notBefore: later(draft, RETRY_MS) };
    return;
  }
  const record: ChallengeRecord = { v: 1, by: config.me, session };
  learn(draft, [{ of: 'challenge', name: config.me, known: written(reply.revision, record) }]);
  state.session = {
    kind: 'namesake',
    session,
    challengeRev: reply.revision,
    ackedAt: now,
    nextTryAt: now,
  };
}

function onOpened(
  draft: Draft,
  purpose: Purpose & { kind: 'open-session' },
  reply: TxnReply,
): void {
  const { state, config, now } = draft;
  const { adopted, scope } = purpose;
  if (state.session.kind !== 'none' && state.session.kind !== 'namesake') return;
  if (reply.kind !== 'answered') {
    // In doubt: the next try is guarded by the same record, so at most one of them can succeed.
    if (state.session.kind === 'none')
      state.session = { kind: 'none', notBefore: later(draft, RETRY_MS) };
    return;
  }
  if (reply.succeeded) {
    const record = sessionRecord(draft, adopted);
    learn(draft, [
      { of: 'session', name: config.me, known: written(reply.revision, record) },
      { of: 'scope', name: config.me, known: written(reply.revision, scope) },
    ]);
  }
  const known = state.view.sessions.get(config.me);
  const isMine = known?.value?.state === 'open' && known.value.nonce === config.identity.nonce;
  if (known === undefined || !isMine) {
    // What may be kept is another question now: the kernel is asked anew.
    state.gate = 'unknown';
    state.session = { kind: 'none', notBefore: later(draft, RETRY_MS) };
    return;
  }
  const id = sessionOf(known);
  state.session = { kind: 'open', id, rev: known.rev, since: now };
  state.alarms = new Set();
  // What an earlier session could not arm is no reason to leave challenges against this one.
  state.unarmedRounds = 0;
  state.unansweredRounds = 0;
  if (known.value.id === 0) {
    notice(draft, 'session.opened', 'info', `session ${id}`, { director: config.me });
    return;
  }
  const armedHoldMs = state.view.scopes.get(config.me)?.value?.holdMs ?? UNKNOWN_SCOPE_HOLD_MS;
  state.armedHoldMs = armedHoldMs;
  state.armedUntil = later(draft, armedHoldMs);
  const text = `goes on with session ${id} of the former process`;
  notice(draft, 'session.adopted', 'info', text, { director: config.me, reason: 'adopted' });
}

/** A new process can go on from here: the kernel holds for the long D, and nothing is on its way. */
export function advanceFreeze(draft: Draft): void {
  const { state, config, now } = draft;
  if (!state.isFreezing || state.isFrozen || state.isStopping) return;
  // A new process would silence it, and until then nobody would hear that the holder is back.
  if (rosterOf(draft).isStandingIn) return;
  const needed = wantedHoldMs(config.timing, true);
  // By the kernel's word, and with most of it ahead; what is being given away would not be adopted.
  const isHeldLong = state.allArmed?.holdMs === needed && state.allArmed.until > now + needed / 2;
  const isBusyNow = state.round.kind !== 'idle' || state.transferring.size > 0;
  for (const { kind } of state.holdings.values())
    if (kind !== 'open' || !isHeldLong || isBusyNow) return;
  state.isFrozen = true;
  const text = `the kernel holds ${state.holdings.size} groups for ${needed} ms without an agent`;
  notice(draft, 'session.frozen', 'info', text, { director: config.me });
}

/** Moments at which this room may have something to do by time alone. */
export function sessionWakes({ state, config }: Draft, wake: Wake): void {
  const { session, view } = state;
  if (session.kind === 'none') wake.by(session.notBefore);
  if (session.kind !== 'namesake') return;
  wake.by(session.nextTryAt);
  const scope = view.scopes.get(config.me)?.value ?? null;
  wake.by(session.ackedAt + waitMs(scope, config.timing));
}
