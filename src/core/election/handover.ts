/**
 * Planned handover: transfer, mute, open, verify, leave (design 4.12). The holder writes the record
 * over to a ready successor and still answers; when the successor is prepared it goes mute and
 * forwards on; the successor opens, proves with the gateway that the traffic is there, and says so.
 * Whatever fails on the way, the record names one owner, and nobody opens before the entry of the
 * former holder is resolved.
 */
import {
  type DirectorId,
  type Epoch,
  epochOf,
  type GroupId,
  type MonoMs,
  monoMs,
  revisionOf,
  type SessionId,
} from '../../model/ids.ts';
import type { PeerMessage } from '../../model/peer.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import {
  alarmOnce,
  type Draft,
  isBusy,
  later,
  learn,
  notice,
  own,
  remove,
  request,
  surveyed,
  written,
} from './draft.ts';
import { leavingByConsent } from './consent.ts';
import { carriedOf, isRewriting, rewriteOwner, myEntry, onMutedWord } from './pending.ts';
import { offerKey } from './placement.ts';
import { mustWait } from './probing.ts';
import { promisedTo, releasePromise } from './promises.ts';
import { hold, rosterOf } from './roster.ts';
import { silence } from './silence.ts';
import type { ElectionEvent, GiveUp, Holding, OwnerRecords, Purpose, TxnReply } from './state.ts';
import {
  GROUPS_PER_TXN,
  LINGER_MS,
  OFFER_REST_MS,
  PREPARE_WAIT_MS,
  UNHEARD_MS,
  UNVERIFIED_MS,
} from './timing.ts';
import { openSession } from './view.ts';
import type { Wake } from './wake.ts';

type Leaving = Holding & { kind: 'leaving' };
export type Transfer = GiveUp & { readonly to: DirectorId };

/** Writes groups over to a director that is ready for them; all to one of them in one txn. */
export function transfer(
  draft: Draft,
  to: DirectorId,
  wanted: ReadonlyMap<GroupId, Transfer>,
): void {
  const { state, config } = draft;
  const slot = `transfer/${to}`;
  const session = openSession(state.view, to);
  if (isBusy(draft, slot) || state.session.kind !== 'open' || session === null) return;
  const { keys, me } = config;
  const records = new Map<GroupId, OwnerRecord>();
  const compares = [
    { key: keys.session(me), modRevision: state.session.rev },
    { key: keys.session(to), modRevision: session.rev },
  ];
  for (const [group, giveUp] of [...wanted].slice(0, GROUPS_PER_TXN)) {
    const { reason } = giveUp;
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'open') continue;
    compares.push({ key: keys.owner(group), modRevision: revisionOf(holding.epoch) });
    const mine = { director: me, session: state.session.id, epoch: holding.epoch };
    const pending = [...carriedOf(draft, group).filter((one) => one.director !== to), mine];
    const owner = { director: to, session: session.id };
    records.set(group, { v: 1, ...owner, pending, vacant: false, reason });
    own(draft, 'transferring').set(group, giveUp);
    own(draft, 'offeredUntil').set(offerKey(group, to), later(draft, OFFER_REST_MS));
  }
  const names = [...records.keys()];
  request(
    draft,
    slot,
    { kind: 'transfer', to, records },
    {
      compares,
      success: names.map((group) => ({
        op: 'put',
        key: keys.owner(group),
        value: formatRecord(records.get(group)),
      })),
      failure: [
        { op: 'get', key: keys.session(me) },
        { op: 'get', key: keys.session(to) },
        ...names.map((group) => ({ op: 'get' as const, key: keys.owner(group) })),
      ],
    },
  );
}

export function onTransferReply(
  draft: Draft,
  purpose: Purpose & { kind: 'transfer' },
  reply: TxnReply,
): void {
  if (reply.kind === 'answered' && reply.succeeded) {
    learnOwners(draft, purpose.records, reply);
    return;
  }
  if (reply.kind !== 'answered') return; // In doubt: the record tells.
  for (const group of purpose.records.keys()) {
    remove(draft, 'transferring', group);
    remove(draft, 'offeredUntil', offerKey(group, purpose.to));
  }
}

export function learnOwners(
  draft: Draft,
  records: OwnerRecords,
  reply: TxnReply & { kind: 'answered' },
): void {
  const changes = [...records].map(([name, record]) => ({
    of: 'owner' as const,
    name,
    known: written(reply.revision, record),
  }));
  learn(draft, changes);
}

/** The record names a successor, and this holding as pending: from now on it only leaves. */
export function beginLeaving(
  draft: Draft,
  group: GroupId,
  holding: Holding & { kind: 'open' },
): void {
  const { state, now } = draft;
  const record = state.view.owners.get(group);
  const to = record?.value?.director as DirectorId | null | undefined;
  if (record === undefined || to === null || to === undefined) return;
  const giveUp: Transfer = {
    ...(state.transferring.get(group) ?? { reason: 'switchover', operation: null }),
    to,
  };
  remove(draft, 'transferring', group);
  hold(draft, group, {
    kind: 'leaving',
    epoch: holding.epoch,
    ownerRev: record.rev,
    since: now,
    giveUp,
    phase: 'waiting',
    mutedAt: null,
    nextTellAt: now,
    closeAt: null,
    successorEpoch: epochOf(record.rev),
    isByConsent: false,
  });
  draft.effects.push({ kind: 'show-lease', group, epoch: null });
  const { reason: why, operation } = giveUp;
  notice(draft, 'handover.started', 'info', `to ${to}; still answering here`, {
    group,
    director: to,
    epoch: holding.epoch,
    reason: why,
  });
  if (operation === null) return;
  alarmOnce(draft, `operation:${operation}`);
  tellStep(draft, operation, `the owner record names ${to}; ${draft.config.me} still answers`);
}

const tellStep = (draft: Draft, id: string, text: string): void => {
  draft.effects.push({ kind: 'operation', id, state: 'running', text });
};

export function advanceHandover(draft: Draft): void {
  const { state, now } = draft;
  const { leaving, owned } = rosterOf(draft).count;
  if (leaving + owned > 0)
    for (const [group, holding] of state.holdings) {
      if (holding.kind === 'leaving') advanceLeaving(draft, group, holding);
      else if (holding.kind === 'owned') openPrepared(draft, group, holding, now);
    }
  resolveEntries(draft);
}

/** The last round of this director proved the group; only a former holder was awaited. */
function openPrepared(
  draft: Draft,
  group: GroupId,
  holding: Holding & { kind: 'owned' },
  now: MonoMs,
): void {
  const { preparedUntil, isOpening } = holding;
  if (preparedUntil === null || preparedUntil <= now || isOpening) return;
  if (mustWait(draft, group) || promisedTo(draft, group) !== null) return;
  hold(draft, group, { ...holding, isOpening: true });
  draft.effects.push({ kind: 'open', groups: [group], until: preparedUntil });
}

function advanceLeaving(draft: Draft, group: GroupId, holding: Leaving): void {
  const { state, now, config } = draft;
  const { giveUp, epoch, mutedAt } = holding;
  if (holding.phase === 'waiting' && now >= holding.since + PREPARE_WAIT_MS)
    startMuting(draft, group, holding);
  if (mutedAt === null) return;
  // Counted from the first word that it speaks: later ones do not put it off.
  const heardAt = state.heard.get(giveUp.to)?.get(group) ?? -Infinity;
  const isHeard = heardAt > mutedAt;
  const known = holding.closeAt ?? monoMs(mutedAt + UNHEARD_MS);
  const closeAt = monoMs(isHeard ? Math.min(known, heardAt + UNVERIFIED_MS) : known);
  if (now >= closeAt) {
    silence(draft, group, holding, { giveUp: null, isLost: false });
    return;
  }
  const isAwaited = holding.isByConsent || myEntry(draft, group) !== undefined;
  const isTelling = now >= holding.nextTellAt && isAwaited;
  if (isTelling) tellMuted(draft, group, giveUp.to, epoch);
  const nextTellAt = isTelling ? later(draft, config.timing.heartbeatMs) : holding.nextTellAt;
  if (closeAt !== holding.closeAt || nextTellAt !== holding.nextTellAt)
    hold(draft, group, { ...holding, closeAt, nextTellAt });
}

function startMuting(draft: Draft, group: GroupId, holding: Leaving): void {
  hold(draft, group, { ...holding, phase: 'muting' });
  draft.effects.push({ kind: 'stop-announcing', group });
  draft.effects.push({ kind: 'mute', groups: [group] });
}

export function onMuted(draft: Draft, event: ElectionEvent & { kind: 'muted' }): void {
  const { state, now } = draft;
  for (const group of event.groups) {
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'leaving' || holding.phase !== 'muting') continue;
    const { giveUp, epoch } = holding;
    if (!event.isOk) {
      // What cannot be muted is closed: the successor waits for silence.
      silence(draft, group, holding, { giveUp: null, isLost: false });
      continue;
    }
    const nextTellAt = later(draft, draft.config.timing.heartbeatMs);
    hold(draft, group, { ...holding, phase: 'muted', mutedAt: now, nextTellAt });
    tellMuted(draft, group, giveUp.to, epoch);
    notice(draft, 'handover.muted', 'info', 'answers no ARP and no ND any more, forwards on', {
      group,
      director: giveUp.to,
      epoch,
    });
    if (giveUp.operation !== null) tellStep(draft, giveUp.operation, 'mute here, forwarding on');
  }
}

function tellMuted(draft: Draft, group: GroupId, to: DirectorId, epoch: Epoch): void {
  const { session } = draft.state;
  if (session.kind !== 'open') return;
  const message: PeerMessage = { kind: 'muted', session: session.id, group, epoch };
  draft.effects.push({ kind: 'tell', to, message });
}

/** Entries of this life in records, about holdings that do not answer any more, are removed. */
function resolveEntries(draft: Draft): void {
  const { state } = draft;
  if (state.session.kind !== 'open') return;
  for (const group of surveyed(draft).pending) {
    const known = state.view.owners.get(group);
    if (known?.value === null || known === undefined) continue;
    if (myEntry(draft, group) === undefined || !isSilent(state.holdings.get(group))) continue;
    if (isRewriting(draft, group)) continue;
    const record: OwnerRecord = { ...known.value, pending: [...carriedOf(draft, group)] };
    rewriteOwner(draft, group, record);
  }
}

/** By the kernel's word: it answers nobody. */
const isSilent = (holding: Holding | undefined): boolean =>
  holding === undefined || (holding.kind === 'leaving' && holding.phase === 'muted');

export function onPendingReply(
  draft: Draft,
  purpose: Purpose & { kind: 'resolve-pending' },
  reply: TxnReply,
): void {
  if (reply.kind === 'answered' && reply.succeeded)
    learnOwners(draft, new Map([[purpose.group, purpose.record]]), reply);
}

/** What the other side of a handover says; names that do not fit are of another time. */
export function onHandoverWord(
  draft: Draft,
  from: DirectorId,
  message: PeerMessage & { readonly kind: 'prepared' | 'muted' | 'verified' },
): void {
  const { state, now } = draft;
  const { group, session } = message;
  if (message.kind === 'muted') {
    onMutedWord(draft, from, message);
    releasePromise(draft, from, message);
    return;
  }
  const holding =
    (message.kind === 'prepared' ? leavingByConsent(draft, from, message) : null) ??
    state.holdings.get(group);
  if (holding?.kind !== 'leaving' || holding.giveUp.to !== from) return;
  if (!isSessionOf(draft, from, session) || message.epoch < holding.successorEpoch) return;
  if (message.kind === 'prepared') {
    if (holding.phase === 'waiting') startMuting(draft, group, holding);
    return;
  }
  if (holding.phase !== 'muted') return;
  const closeAt = monoMs(Math.min(holding.closeAt ?? Infinity, now + LINGER_MS));
  hold(draft, group, { ...holding, closeAt });
}

const isSessionOf = (draft: Draft, director: DirectorId, session: SessionId): boolean =>
  openSession(draft.state.view, director)?.id === session;

/** The gateway's word, or its silence, about a group that was opened here. */
export function onVerified(draft: Draft, event: ElectionEvent & { kind: 'verified' }): void {
  const { state } = draft;
  const holding = state.holdings.get(event.group);
  if (holding?.kind !== 'open' || state.session.kind !== 'open') return;
  const { group } = event;
  const { epoch, formers } = holding;
  if (event.isOk === false) {
    const text = 'no gateway answered in the name of the VIPs yet';
    notice(draft, 'handover.unverified', 'warn', text, { group, epoch });
    return;
  }
  if (event.isOk === null) return;
  notice(draft, 'handover.verified', 'info', 'the gateway sends here', { group, epoch });
  const session = state.session.id;
  for (const to of formers)
    draft.effects.push({ kind: 'tell', to, message: { kind: 'verified', session, group, epoch } });
  hold(draft, group, { ...holding, formers: [] });
}

export function handoverWakes(draft: Draft, wake: Wake): void {
  if (rosterOf(draft).count.leaving === 0) return;
  for (const holding of draft.state.holdings.values()) {
    if (holding.kind !== 'leaving') continue;
    if (holding.phase === 'waiting') wake.by(holding.since + PREPARE_WAIT_MS);
    if (holding.closeAt !== null) wake.by(holding.closeAt);
    if (holding.mutedAt !== null) wake.by(holding.nextTellAt);
  }
}
