/**
 * Handover by a holder that only others connect to the store (design 4.8): when its rounds have been
 * relayed for some time it consents to a successor, which writes itself into the record. From there on
 * it is a planned handover like any other; the former holder learns of the record by the peer link.
 */
import { type DirectorId, type GroupId, monoMs, revisionOf } from '../../model/ids.ts';
import type { AskedRound, HoldingName } from '../../model/peer.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import {
  type Draft,
  isBusy,
  later,
  notice,
  own,
  rankingOf,
  remove,
  request,
  surveyed,
} from './draft.ts';
import { carriedOf, isMutedEntry, isRewriting, rewriteOwner } from './pending.ts';
import { myObstacle, readySuccessor } from './placement.ts';
import { hold } from './roster.ts';
import { isStandIn, standInOf } from './stand-in.ts';
import type { Holding } from './state.ts';
import { standingIn } from './survey.ts';
import { UNVERIFIED_MS } from './timing.ts';
import { openSession, pendingOf } from './view.ts';
import type { Wake } from './wake.ts';

/** Rounds are relayed for so long before a holder looks for a successor: most faults are shorter. */
const RELAYED_MS = 5000;
/** Consent is repeated so often: its words may be lost, and a successor may not be ready yet. */
const REPEAT_MS = 500;

/** The store agrees to the rounds where others ask it: promises may have come first, the fault is the same. */
export function noteRelaying({ state, now }: Draft, { sessionRev }: AskedRound): void {
  if (state.session.kind !== 'open' || state.session.rev !== sessionRev) return;
  state.relayedSince ??= now;
  state.relayedAt = now;
}

export function advanceConsent(draft: Draft): void {
  const { state, now, config } = draft;
  removeMutedEntries(draft);
  voidOldConsents(draft);
  if (state.relayedSince === null || state.session.kind !== 'open') return;
  if (now < consentAt(draft)) return;
  state.nextConsentAt = later(draft, REPEAT_MS);
  for (const [group, holding] of state.holdings) {
    const known = config.groupsById.get(group);
    if (holding.kind !== 'open' || holding.right !== 'record' || known === undefined) continue;
    const ready = readySuccessor(state, known, rankingOf(draft).of(known), config.me);
    if (ready === null) continue;
    own(draft, 'consented').set(group, ready.director);
    const name = { session: state.session.id, group, epoch: holding.epoch };
    draft.effects.push({ kind: 'tell', to: ready.director, message: { kind: 'consent', ...name } });
  }
}

const consentAt = ({ state }: Draft): number =>
  Math.max((state.relayedSince ?? Number.POSITIVE_INFINITY) + RELAYED_MS, state.nextConsentAt);

/** The holder wants this director to take the group: the record decides, as with any transfer. */
export function onConsent(draft: Draft, from: DirectorId, name: HoldingName): void {
  const { state, config, now } = draft;
  const { group, session, epoch } = name;
  const known = config.groupsById.get(group);
  const slot = `consented/${group}`;
  if (known === undefined || state.session.kind !== 'open' || isBusy(draft, slot)) return;
  const standing = standingIn(surveyed(draft), group);
  const isHis =
    standing.kind === 'owned' && standing.director === from && standing.session === session;
  const his = openSession(state.view, from);
  if (!isHis || his === null || myObstacle(state, known, now, config.me) !== null) return;
  const { keys, me } = config;
  const former = { director: from, session, epoch };
  const record: OwnerRecord = {
    v: 1,
    director: me,
    session: revisionOf(state.session.id),
    pending: [...carriedOf(draft, group), former],
    vacant: false,
    reason: 'consent',
  };
  const compares = [
    { key: keys.session(me), modRevision: state.session.rev },
    { key: keys.session(from), modRevision: his.rev },
    { key: keys.owner(group), modRevision: revisionOf(epoch) },
    { key: keys.spec, modRevision: config.specRev },
  ];
  request(
    draft,
    slot,
    { kind: 'transfer', to: me, records: new Map([[group, record]]) },
    {
      compares,
      success: [{ op: 'put', key: keys.owner(group), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.session(me) },
        { op: 'get', key: keys.session(from) },
        { op: 'get', key: keys.owner(group) },
      ],
    },
  );
}

/**
 * The successor is prepared, by a record that this director cannot see: only whom it consented to is
 * believed, and only about a newer epoch. Null: it is no such word.
 */
export function leavingByConsent(
  draft: Draft,
  from: DirectorId,
  { group, session, epoch }: HoldingName,
): (Holding & { kind: 'leaving' }) | null {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  if (holding?.kind !== 'open' || state.consented.get(group) !== from) return null;
  if (openSession(state.view, from)?.id !== session || epoch <= holding.epoch) return null;
  const leaving: Holding = {
    kind: 'leaving',
    epoch: holding.epoch,
    ownerRev: revisionOf(epoch),
    since: now,
    giveUp: { reason: 'consent', to: from, operation: null },
    phase: 'waiting',
    mutedAt: null,
    nextTellAt: now,
    closeAt: null,
    successorEpoch: epoch,
    isByConsent: true,
  };
  hold(draft, group, leaving);
  own(draft, 'departed').set(group, epoch);
  remove(draft, 'consented', group);
  draft.effects.push({ kind: 'show-lease', group, epoch: null });
  const about = { group, director: from, epoch: holding.epoch, reason: 'consent' } as const;
  notice(draft, 'handover.started', 'info', `to ${from}, which has etcd`, about);
  return leaving;
}

/** The record that this director sees is older than the one that its successor told of. */
export function isDeparted(draft: Draft, group: GroupId): boolean {
  const { state } = draft;
  const departed = state.departed.get(group);
  if (departed === undefined) return false;
  if ((state.view.owners.get(group)?.rev ?? 0) < departed) return true;
  remove(draft, 'departed', group);
  return false;
}

/** A former holder without the store cannot remove its entry; its successor does, when both are done. */
function removeMutedEntries(draft: Draft): void {
  const { state, now } = draft;
  if (state.session.kind !== 'open') return;
  for (const group of surveyed(draft).pending) {
    const holding = state.holdings.get(group);
    const known = state.view.owners.get(group);
    if (holding?.kind !== 'open' || !known?.value || isRewriting(draft, group)) continue;
    // Of another's record: whoever stands in does so for that very one.
    if (holding.right === 'segment') continue;
    if (now < holding.openedAt + ENTRY_REST_MS) continue;
    const entries = pendingOf(state.view, group);
    const left = entries.filter((entry) => !isMutedEntry(draft, group, entry));
    if (left.length === entries.length) continue;
    const record: OwnerRecord = { ...known.value, pending: left };
    rewriteOwner(draft, group, record);
  }
}

/**
 * A transfer to this director that may be committed yet keeps it from promising the group to its holder, for
 * ever where nothing changes. When it is not asked for any more it is made void: the record is written anew.
 */
function voidOldConsents(draft: Draft): void {
  const { state, config, now } = draft;
  if (state.doubts.length === 0 || state.session.kind !== 'open') return;
  const { keys, me } = config;
  for (const { against, groups, compares, since } of state.doubts) {
    if (against !== null || now < since + VOID_AFTER_MS) continue;
    for (const group of groups) {
      const known = state.view.owners.get(group);
      const isSame = compares.some(
        ({ key, modRevision }) => key === keys.owner(group) && modRevision === known?.rev,
      );
      const isOthers = known?.value?.director !== null && known?.value?.director !== me;
      if (!known?.value || !isSame || !isOthers || isRewriting(draft, group)) continue;
      // With another record nobody stands in for its holder any more.
      if (isStandIn(draft, group) || standInOf(draft, group) !== null) continue;
      const record = known.value;
      rewriteOwner(draft, group, record);
    }
  }
}

/** A holder that consents says so again and again: without its word for so long it has etcd, or another successor. */
const VOID_AFTER_MS = 5000;

/** Longer than a former holder forwards on: its rounds compare the record as it is. */
const ENTRY_REST_MS = 3 * UNVERIFIED_MS;

/** Moments at which this room may have something to do by time alone. */
export function consentWakes(draft: Draft, wake: Wake): void {
  const { state } = draft;
  if (state.relayedSince !== null && state.holdings.size > 0) wake.by(consentAt(draft));
  for (const { since } of state.doubts) wake.by(since + VOID_AFTER_MS);
  for (const group of surveyed(draft).pending) {
    const holding = state.holdings.get(group);
    if (holding?.kind === 'open') wake.by(monoMs(holding.openedAt + ENTRY_REST_MS));
  }
}
