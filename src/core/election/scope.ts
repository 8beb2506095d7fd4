/**
 * This director's scope record (design 4.9): how long the others have to wait for it, and which of them
 * it asks for promises. Only they may accuse it. D up: write, then use. D down: use, then write. So it is with
 * `isolation: gateway`: by the record the others know that they must ask the network before they open.
 */
import { ABSENT, type DirectorId, revisionOf } from '../../model/ids.ts';
import { formatRecord, type ScopeRecord } from '../../model/records.ts';
import { type Draft, isBusy, learn, request, written } from './draft.ts';
import type { Holding, TxnReply } from './state.ts';
import { FREEZE_HOLD_MS, wantedHoldMs } from './timing.ts';
import { type ElectionView, isConfirmedDead, openSession, revOf } from './view.ts';

/** What others wait for covers the gate too, which may be coarser than the spec's δ. */
export const scopeRecord = (draft: Draft): ScopeRecord => ({
  v: 1,
  holdMs: wantedHoldMs(draft.config.timing, draft.state.isFreezing),
  slackMs: Math.max(draft.config.timing.slackMs, draft.config.gate.slackMs),
  driftMargin: draft.config.timing.driftMargin,
  session: draft.state.session.kind === 'open' ? revisionOf(draft.state.session.id) : 0,
  isolation: draft.config.isolation,
  machine: draft.config.identity.machine,
  peers: peersNow(draft),
});

/** Every other director that the spec names and whose session is open. */
function peersNow({ state, config }: Draft): DirectorId[] {
  const peers: DirectorId[] = [];
  for (const { id } of config.directors)
    if (id !== config.me && openSession(state.view, id) !== null) peers.push(id);
  return peers.toSorted();
}

/** Never less than what the former process may have armed with. */
export function adoptedScope(draft: Draft): ScopeRecord {
  const mine = scopeRecord(draft);
  const before = draft.state.view.scopes.get(draft.config.me)?.value ?? null;
  if (before === null) return { ...mine, holdMs: Math.max(mine.holdMs, FREEZE_HOLD_MS) };
  return {
    ...mine,
    holdMs: Math.max(mine.holdMs, before.holdMs),
    slackMs: Math.max(mine.slackMs, before.slackMs),
    driftMargin: Math.max(mine.driftMargin, before.driftMargin),
  };
}

/** By the document, and by the scope record as it is in the store, whatever of it is in doubt. */
export function isSegmentAllowed({ state, config }: Draft): boolean {
  if (config.isolation !== 'gateway' || state.scopeInDoubt?.mayRelease === true) return false;
  return state.view.scopes.get(config.me)?.value?.isolation === 'gateway';
}

/**
 * Whom this director has to ask: everybody that its scope record, as it may be by now, lets accuse it.
 * Nobody where it may be empty: then all may, and nobody's promises prove anything.
 */
export function askedPeers({ state, config }: Draft): readonly DirectorId[] {
  const known = state.view.scopes.get(config.me)?.value?.peers ?? [];
  const { peers: inDoubt, mayBeEmpty } = state.scopeInDoubt ?? { peers: [], mayBeEmpty: false };
  if (known.length === 0 || mayBeEmpty) return [];
  return [...new Set([...known, ...inDoubt])].map((name) => name as DirectorId);
}

/**
 * Whether the director's scope lets this one accuse it; where it names nobody, everybody may. Who is not
 * named was not asked for a promise, and knows nothing of those that were given.
 */
export function isInScope(view: ElectionView, director: DirectorId, me: DirectorId): boolean {
  const peers = view.scopes.get(director)?.value?.peers ?? [];
  return peers.length === 0 || peers.includes(me);
}

/** By its scope, or by the word of an operator that it is dead. */
export const mayAccuse = (view: ElectionView, director: DirectorId, me: DirectorId): boolean =>
  isInScope(view, director, me) || isConfirmedDead(view, director);

/**
 * Whether the director may have a session: one that is open, or one that nobody knows of any more, as its
 * record is gone. Who is in its scope judges that too, so that another machine of its name can go on.
 */
export function mayLive(view: ElectionView, director: DirectorId, me: DirectorId): boolean {
  const record = view.sessions.get(director)?.value ?? null;
  if (record !== null) return record.state === 'open';
  return revOf(view.scopes, director) !== ABSENT && isInScope(view, director, me);
}

export function advanceScope(draft: Draft): void {
  const { state, config } = draft;
  const { keys, me } = config;
  const known = state.view.scopes.get(me);
  if (state.scopeInDoubt !== null && (known?.rev ?? ABSENT) !== state.scopeInDoubt.rev)
    state.scopeInDoubt = null;
  if (isBusy(draft, 'scope') || state.session.kind !== 'open') return;
  const scope = known?.value ?? null;
  const wanted = scopeRecord(draft);
  // A shorter D waits for its time; whom to ask does not.
  const isEarly = scope !== null && mayOutlast(draft, wanted.holdMs);
  const record = isEarly ? { ...wanted, holdMs: Math.max(wanted.holdMs, scope.holdMs) } : wanted;
  if (scope === null && mayOutlast(draft, wanted.holdMs)) return;
  if (scope !== null && isSame(scope, record) && state.scopeInDoubt === null) return;
  const { holdMs, peers } = state.scopeInDoubt ?? record;
  state.scopeInDoubt = {
    holdMs: Math.min(record.holdMs, holdMs),
    peers: [...new Set([...record.peers, ...peers])],
    mayBeEmpty: record.peers.length === 0 || state.scopeInDoubt?.mayBeEmpty === true,
    mayRelease: record.isolation !== 'gateway' || state.scopeInDoubt?.mayRelease === true,
    rev: known?.rev ?? ABSENT,
  };
  request(
    draft,
    'scope',
    { kind: 'write-scope', record },
    {
      compares: [
        { key: keys.session(me), modRevision: state.session.rev },
        { key: keys.scope(me), modRevision: known?.rev ?? ABSENT },
      ],
      success: [{ op: 'put', key: keys.scope(me), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.session(me) },
        { op: 'get', key: keys.scope(me) },
      ],
    },
  );
}

const isSame = (one: ScopeRecord, other: ScopeRecord): boolean =>
  one.holdMs === other.holdMs &&
  one.slackMs === other.slackMs &&
  one.driftMargin === other.driftMargin &&
  (one.isolation ?? 'release') === (other.isolation ?? 'release') &&
  one.peers.length === other.peers.length &&
  one.peers.every((peer, i) => peer === other.peers[i]);

/** Something may speak here that was armed with a longer D than the one to be written. */
function mayOutlast(draft: Draft, holdMs: number): boolean {
  const { state, now } = draft;
  if (state.armedHoldMs === null || state.armedHoldMs <= holdMs) return false;
  if (state.round.kind === 'arming') return true;
  // What a former process left speaking has no holding yet in the step of the adoption.
  if (state.holdings.size === 0 && state.kept.size === 0) return false;
  return now < state.armedUntil || isSpeaking(state.holdings.values());
}

function isSpeaking(holdings: Iterable<Holding>): boolean {
  for (const { kind } of holdings)
    if (kind === 'open' || kind === 'leaving' || kind === 'closing') return true;
  return false;
}

/** Only an answer tells what became of the write; in doubt it stays one that may commit yet. */
export function onScopeWritten(draft: Draft, record: ScopeRecord, reply: TxnReply): void {
  if (reply.kind !== 'answered') return;
  if (reply.succeeded)
    learn(draft, [{ of: 'scope', name: draft.config.me, known: written(reply.revision, record) }]);
}
