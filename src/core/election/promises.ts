/**
 * What this director promises to holders that the store does not answer (design 4.8): for D' it kills
 * them not, and claims and opens nothing of theirs. A promise binds whether its answer arrives or not,
 * and only the promises of all whom a holder's scope names count for it. Who has the store relays.
 */
import { ABSENT, type DirectorId, type GroupId, monoMs, type Revision } from '../../model/ids.ts';
import type {
  AskedGroup,
  AskedRound,
  HoldingName,
  PeerMessage,
  RefusalReason,
} from '../../model/peer.ts';
import type { OwnerRecord } from '../../model/records.ts';
import { type Draft, isBusy, own, request } from './draft.ts';
import { mayAccuse } from './scope.ts';
import { holderHeardAt, isBetterCandidate, isCutOff, standInOf } from './stand-in.ts';
import { isMutedEntry, isUnresolved } from './pending.ts';
import { onStandInAsks } from './probing.ts';
import type { Holding, Purpose, TxnReply } from './state.ts';
import { waitMs } from './timing.ts';
import { guardRequest } from './guard.ts';
import { isDoubtful } from './doubts.ts';
import { isOver, revOf } from './view.ts';
import type { Wake } from './wake.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };

/** HOLD?: promises or refuses at once, and asks the store in the holder's name where nobody knows better. */
export function onHold(draft: Draft, from: DirectorId, message: Hold): void {
  const { session, sessionRev, round, part } = message;
  const asked: AskedRound = { session, sessionRev, round, part };
  const { session: mine } = draft.state;
  // Without a session it refuses in any case.
  const reason = refusalOf(draft, from, message) ?? (mine.kind === 'open' ? null : 'just-started');
  if (reason === null) promise(draft, from, message);
  const answer: PeerMessage =
    reason === null && mine.kind === 'open'
      ? { kind: 'promise', ...asked, by: mine.id }
      : { kind: 'refusal', reason: reason ?? 'just-started', ...asked };
  draft.effects.push({ kind: 'tell', to: from, message: answer });
  if (message.basis === 'segment')
    for (const { group } of message.groups) onStandInAsks(draft, group);
  if (reason !== 'superseded') relay(draft, from, message, asked);
}

/** By the store's word the one that asks would open what speaks here by the segment, or is about to. */
const isStoodInHere = (draft: Draft, groups: readonly GroupId[]): boolean =>
  groups.some((group) => {
    const holding = draft.state.holdings.get(group);
    if (holding?.kind === 'open') return holding.right === 'segment';
    return (
      holding?.kind === 'owned' && holding.right === 'segment' && isOpening(draft, group, holding)
    );
  });

type Owned = Holding & { readonly kind: 'owned' };

/** The kernel is asked to let it speak. */
const isOpening = ({ state: { round } }: Draft, group: GroupId, holding: Owned): boolean =>
  holding.isOpening || (round.kind === 'arming' && round.modes.get(group) === 'open');

/** Why not; null: nothing speaks against it. The order is that of how final they are. */
function refusalOf(draft: Draft, from: DirectorId, message: Hold): RefusalReason | null {
  const { state, config, now } = draft;
  const groups = spokenFor(draft, from, message);
  if (isSuperseded(draft, from, message)) return 'superseded';
  if (isDoubtful(draft, from, groups)) return 'in-doubt';
  if (groups.some((group) => maySpeak(draft, group, from, message))) return 'open-here';
  const scope = state.view.scopes.get(from)?.value ?? null;
  if (scope === null || !scope.peers.includes(config.me)) return 'not-in-scope';
  // What an earlier life sent may be committed until this one has a session, and its promises bind on.
  // What was committed just before the session began the watch may not have told yet.
  if (state.session.kind !== 'open') return 'just-started';
  if (now < state.session.since + boundMs(draft, from, message)) return 'just-started';
  if (groups.some((group) => promisedTo(draft, group, from) !== null)) return 'promised';
  if (message.basis === 'peers') return null;
  if (groups.some((group) => isHolderHeard(draft, group, from))) return 'holder-heard';
  return groups.some((group) => isBetterCandidate(draft, group, from)) ? 'candidate' : null;
}

/** All that it asks for but what it has told to be mute here: that only forwards on. */
const spokenFor = (draft: Draft, director: DirectorId, message: Hold): readonly GroupId[] =>
  message.groups.flatMap(({ group, epoch }) =>
    isMutedEntry(draft, group, { director, session: message.session, epoch }) ? [] : [group],
  );

/** Records that I know say that the session is over, or that a group is another's by now. */
function isSuperseded({ state }: Draft, from: DirectorId, message: Hold): boolean {
  const { view } = state;
  if (isOver(view, from, message.session)) return true;
  if (revOf(view.sessions, from) > message.sessionRev) return true;
  return message.groups.some((asked) => {
    const known = view.owners.get(asked.group);
    if (known === undefined) return false;
    if (known.rev === ABSENT) return known.asOf > asked.ownerRev;
    return known.rev > asked.ownerRev && !isNamedIn(known.value, from, message, asked);
  });
}

/**
 * A record that the asking director has not seen yet names it all the same: only a pending entry is gone, or
 * its successor waits for it to go mute. An entry newer than the record that it has seen is of another holder
 * in between, for whom it does not know to wait.
 */
const isNamedIn = (
  record: OwnerRecord | null,
  from: DirectorId,
  { session }: Hold,
  { epoch, ownerRev }: AskedGroup,
): boolean =>
  record !== null &&
  ((record.director === from &&
    record.session === session &&
    record.pending.every((one) => one.epoch < ownerRev)) ||
    record.pending.some(
      (one) => one.director === from && one.session === session && one.epoch === (epoch as number),
    ));

/** The record that a round has to prove: a newer one than it was asked about, where that names the holder too. */
function ownerRevNow(
  { state }: Draft,
  from: DirectorId,
  message: Hold,
  asked: AskedGroup,
): Revision {
  const known = state.view.owners.get(asked.group);
  const isNewer = known !== undefined && known.rev > asked.ownerRev;
  return isNewer && isNamedIn(known.value, from, message, asked) ? known.rev : asked.ownerRev;
}

/** Its holder by the record speaks, though the asking director does not hear it. */
function isHolderHeard(draft: Draft, group: GroupId, from: DirectorId): boolean {
  const { state, config, now } = draft;
  const holder = state.view.owners.get(group)?.value?.director as DirectorId | null | undefined;
  if (holder === null || holder === undefined || holder === from) return false;
  const heardAt = holderHeardAt(draft, group, holder) ?? Number.NEGATIVE_INFINITY;
  return now < heardAt + config.timing.suspectMs;
}

/** My own kernel may let the group speak: what only forwards, or waits for a former holder, is no voice. */
function maySpeak(draft: Draft, group: GroupId, from: DirectorId, { basis }: Hold): boolean {
  const holding = draft.state.holdings.get(group);
  switch (holding?.kind) {
    case undefined:
    case 'shut':
      return false;
    case 'leaving':
      return holding.phase !== 'muted';
    case 'owned':
      if (isOpening(draft, group, holding)) return true;
      // A promise keeps it silent; who has the store, or was not asked for a stand-in, opens it instead.
      if (holding.right === 'segment' || standInOf(draft, group) === from) return false;
      return !(basis === 'segment' && isCutOff(draft)) && !isUnresolved(draft, group);
    case 'open':
    case 'closing':
      return true;
  }
}

/** The longer of what I know of its D' and of what it says: its D may have grown meanwhile. */
const boundMs = ({ state, config }: Draft, from: DirectorId, { forMs }: Hold): number =>
  Math.max(forMs, waitMs(state.view.scopes.get(from)?.value ?? null, config.timing));

function promise(draft: Draft, from: DirectorId, message: Hold): void {
  const { state, now } = draft;
  const before = state.promises.get(from);
  const isRunning = before !== undefined && before.until > now;
  const boundUntil = now + boundMs(draft, from, message);
  const until = monoMs(isRunning ? Math.max(before.until, boundUntil) : boundUntil);
  const groups = new Map(isRunning ? before.groups : []);
  const spoken = new Set(spokenFor(draft, from, message));
  for (const { group, epoch } of message.groups) if (spoken.has(group)) groups.set(group, epoch);
  own(draft, 'promises').set(from, { until, groups });
}

/** Until when this director is bound not to kill the other one; in the past where it is not. */
export const promisedUntil = ({ state }: Draft, director: DirectorId): number =>
  state.promises.get(director)?.until ?? Number.NEGATIVE_INFINITY;

/** To whom, other than `besides`, the group is promised now; nothing of it is claimed or opened here. */
export function promisedTo(
  { state, now }: Draft,
  group: GroupId,
  besides: DirectorId | null = null,
): DirectorId | null {
  for (const [director, { until, groups }] of state.promises)
    if (director !== besides && until > now && groups.has(group)) return director;
  return null;
}

/** Its kernel does not answer for the group any more: what was promised of it binds no longer. */
export function releasePromise(
  draft: Draft,
  from: DirectorId,
  { group, epoch }: HoldingName,
): void {
  const known = draft.state.promises.get(from);
  const promised = known?.groups.get(group);
  // A word that was long under way is about an earlier holding of it.
  if (known === undefined || promised === undefined || epoch < promised) return;
  const groups = new Map(known.groups);
  groups.delete(group);
  // The session stays promised: other groups of it may speak, and nobody but this one was released.
  own(draft, 'promises').set(from, { ...known, groups });
}

/** What is bound by a promise may be done when it ends. */
export function promiseWakes({ state }: Draft, wake: Wake): void {
  for (const { until } of state.promises.values()) wake.by(until);
}

/** The very txn that the holder would send: the store's word for it, or none. */
function relay(draft: Draft, from: DirectorId, message: Hold, asked: AskedRound): void {
  const slot = `relay/${from}/${message.part}`;
  const groups = message.groups.map(({ group }) => group);
  if (draft.state.session.kind !== 'open' || isBusy(draft, slot)) return;
  if (isStoodInHere(draft, groups)) return;
  const guarded = new Map(
    message.groups.map((one) => [one.group, ownerRevNow(draft, from, message, one)]),
  );
  const txn = guardRequest(draft.config.keys, from, message.sessionRev, guarded);
  request(draft, slot, { kind: 'relay', to: from, asked, groups }, txn);
}

export function onRelayReply(
  draft: Draft,
  { to, asked, groups }: Purpose & { kind: 'relay' },
  reply: TxnReply,
): void {
  if (reply.kind !== 'answered' || !reply.succeeded) return;
  // Opened here, or nearly, while the store was asked.
  if (isStoodInHere(draft, groups)) return;
  draft.effects.push({ kind: 'tell', to, message: { kind: 'relayed', ...asked } });
}

/** Forgets what binds no more. */
export function forgetPromises(draft: Draft): void {
  for (const [director, { until }] of draft.state.promises)
    if (until <= draft.now) own(draft, 'promises').delete(director);
}

/** Whether this director may bring down the other one, as things are and for all it has promised. */
export function mayKill(draft: Draft, director: DirectorId): boolean {
  const { state, config, now } = draft;
  if (!mayAccuse(state.view, director, config.me)) return false;
  return now >= Math.max(promisedUntil(draft, director), boundSinceBirth(draft, director));
}

/**
 * Until then what was promised in this director's name may bind: by an earlier life, or by another machine of that
 * name, whose promises count until the heartbeats of this session are heard.
 */
export function boundSinceBirth({ state, config }: Draft, director: DirectorId): number {
  const { startedAt, session, view } = state;
  const { timing } = config;
  const boundMs = waitMs(view.scopes.get(director)?.value ?? null, timing);
  const namedAt = session.kind === 'open' ? session.since + timing.suspectMs : startedAt;
  return Math.max(startedAt, namedAt) + boundMs;
}
