/** Keeps the holdings in step with the owner records: what the records give, and what they take. */
import {
  ABSENT,
  type DirectorId,
  epochOf,
  type GroupId,
  type Revision,
  revision,
  revisionOf,
} from '../../model/ids.ts';
import type { OwnerRecord } from '../../model/records.ts';
import { HOLD_REASONS, type HoldReason } from '../../model/decision.ts';
import { isDeparted } from './consent.ts';
import { alarmOnce, type Draft, notice, own, surveyed } from './draft.ts';
import { beginLeaving } from './handover.ts';
import { myEntry, tellPrepared } from './pending.ts';
import { hurryRound } from './round.ts';
import { hold, ownedHolding, rosterOf, unhold } from './roster.ts';
import { silence } from './silence.ts';
import type { Holding } from './state.ts';
import { standingIn } from './survey.ts';
import { type Known, revOf } from './view.ts';

export function advanceOwnership(draft: Draft): void {
  const { state, config } = draft;
  if (!state.isSynced) return;
  const { kept } = state;
  settleKept(draft);
  if (isFollowed(draft)) return;
  const roster = rosterOf(draft);
  const groups = new Set<GroupId>(state.view.owners.keys());
  for (const { id } of config.groups) groups.add(id);
  for (const group of state.holdings.keys()) groups.add(group);
  for (const group of groups) {
    seeOwner(draft, group);
    if (isMine(draft, group)) adopt(draft, group, kept.has(group));
    else follow(draft, group);
  }
  const { session } = state;
  const survey = surveyed(draft);
  const isUnchanged = state.roster === roster;
  state.followed = isUnchanged ? { survey, roster, session, groups: config.groups } : null;
}

/** The last pass changed no holding, and nothing that it looked at has changed since. */
function isFollowed(draft: Draft): boolean {
  const { state, config } = draft;
  const { followed } = state;
  return (
    followed !== null &&
    followed.roster === rosterOf(draft) &&
    followed.session === state.session &&
    followed.groups === config.groups &&
    followed.survey === surveyed(draft)
  );
}

/**
 * What the former process wrote may commit until the session is this one's: a group that it left
 * speaking, and gave away at last, is silenced before anybody is told that it is.
 */
function settleKept(draft: Draft): void {
  const { state, now } = draft;
  if (state.session.kind !== 'open' || state.kept.size === 0) return;
  for (const group of state.kept) {
    if (isMine(draft, group) || state.holdings.has(group)) continue;
    const entry = myEntry(draft, group);
    const epoch = epochOf(
      entry === undefined ? revOf(state.view.owners, group) : revision(entry.epoch),
    );
    const isLost = entry === undefined;
    const holding = ownedHolding(epoch, now, [], { right: 'record', mustProbe: false });
    silence(draft, group, holding, { giveUp: null, isLost });
  }
  state.kept = new Set();
}

/** An owner that stays while only the pending entries change is no new one: it gets no time anew. */
function seeOwner(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  const owner = state.view.owners.get(group);
  const rev = owner?.rev ?? ABSENT;
  const session = owner?.value?.session ?? 0;
  const seen = state.ownerSeenAt.get(group);
  if (seen?.rev === rev) return;
  const isSame = seen !== undefined && session !== 0 && seen.session === session;
  const director = (owner?.value?.director ?? null) as DirectorId | null;
  const before = seen?.director ?? null;
  const former = seen === undefined || before === null ? null : { rev: seen.rev, director: before };
  const at = isSame ? seen.at : now;
  own(draft, 'ownerSeenAt').set(group, { rev, session, at, director, former });
}

function isMine(draft: Draft, group: GroupId): boolean {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return false;
  const standing = standingIn(surveyed(draft), group);
  return (
    !isDeparted(draft, group) &&
    standing.kind === 'owned' &&
    standing.director === config.me &&
    standing.session === state.session.id
  );
}

function adopt(draft: Draft, group: GroupId, isKept: boolean): void {
  const { state, now, config } = draft;
  const known = state.view.owners.get(group);
  if (known === undefined) return;
  const epoch = epochOf(known.rev);
  const holding = state.holdings.get(group);
  // Only the pending entries changed, if anything: it was this life's all the time.
  const isHeld = holding?.kind === 'open' || holding?.kind === 'owned';
  if (isHeld && holding.epoch === epoch && holding.right === 'record') return;
  const before = holding !== undefined && 'formers' in holding ? holding.formers : [];
  const pending = (known.value?.pending ?? []).map((entry) => entry.director as DirectorId);
  const formers = [...new Set([...before, ...pending.filter((one) => one !== config.me)])];
  switch (holding?.kind) {
    case 'open':
    case 'owned':
      if (holding.kind === 'owned' && holding.right === 'segment') break;
      hold(draft, group, { ...holding, right: 'record', epoch, formers });
      if (holding.kind !== 'open') return;
      draft.effects.push({ kind: 'show-lease', group, epoch });
      // Who gave it to its stand-in answers yet, and waits to hear that it may go mute.
      tellPrepared(draft, group, epoch);
      return;
    case 'shut':
      if (holding.epoch === epoch) return;
      break;
    case 'closing':
      // What closes for the former epoch finishes first; the rounds follow the record meanwhile.
      if (holding.ownerRev !== known.rev) hold(draft, group, { ...holding, ownerRev: known.rev });
      return;
    case 'leaving':
      notice(draft, 'handover.failed', 'warn', `${holding.giveUp.to} did not keep it`, {
        group,
        director: holding.giveUp.to,
        epoch,
      });
      break;
    case undefined:
      break;
  }
  const told = known.value?.reason;
  const mustProbe = isKept ? !state.keptUntil.has(group) : !isHandedOver(draft, group, known);
  hold(draft, group, ownedHolding(epoch, now, formers, { right: 'record', mustProbe }));
  hurryRound(draft);
  const reason = HOLD_REASONS.find((one) => one === told);
  notice(draft, 'holder.gained', 'info', `the owner record names this director: ${told ?? ''}`, {
    group,
    epoch,
    ...(reason === undefined ? {} : { reason }),
  });
}

/**
 * Whoever held it gave it just now, to this life: its kernel was silent by then, or is awaited by its entry. An
 * older record says nothing of what happened since: under it this director may have yielded to another.
 */
function isHandedOver(
  { state, now }: Draft,
  group: GroupId,
  { rev, value }: Known<OwnerRecord>,
): boolean {
  if (state.session.kind !== 'open' || rev < state.session.rev) return false;
  return state.ownerSeenAt.get(group)?.at === now && !TAKEN.has(value?.reason ?? 'vacant');
}

/**
 * Reasons in records of groups that nobody gave, or to nobody, or to somebody that spoke then: another one may have
 * spoken since.
 */
const TAKEN: ReadonlySet<string> = new Set<HoldReason>([
  'vacant',
  'released',
  'holder-dead',
  'holder-closed',
  'stood-in',
]);

/** The record is not this life's, or not any more. */
function follow(draft: Draft, group: GroupId): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined) return;
  const isPending = myEntry(draft, group)?.epoch === (holding.epoch as number);
  const rev = revOf(state.view.owners, group);
  if (isStillStoodFor(holding, rev)) return;
  switch (holding.kind) {
    case 'shut':
      unhold(draft, group);
      tellReleased(draft, group, holding);
      return;
    case 'closing':
      if (holding.giveUp !== null)
        hold(draft, group, { ...holding, giveUp: null, isLost: !isPending, ownerRev: rev });
      else if (!holding.isLost && holding.ownerRev !== rev)
        hold(draft, group, { ...holding, ownerRev: rev });
      return;
    case 'leaving': {
      // The record in sight is the one before its successor's.
      if (isDeparted(draft, group)) return;
      const isKnown = isPending || holding.phase === 'muted';
      if (isKnown && state.session.kind === 'open') {
        if (holding.ownerRev !== rev) hold(draft, group, { ...holding, ownerRev: rev });
        return;
      }
      lose(draft, group, holding);
      return;
    }
    case 'open':
      if (!isPending) lose(draft, group, holding);
      else if (successorOf(draft, group) === null) returnToNobody(draft, group, holding);
      else beginLeaving(draft, group, holding);
      return;
    case 'owned':
      lose(draft, group, holding);
  }
}

/** It was another's record from the beginning, and is the same. */
const isStillStoodFor = (holding: Holding, rev: Revision): boolean =>
  (holding.kind === 'open' || holding.kind === 'owned') &&
  holding.right === 'segment' &&
  revisionOf(holding.epoch) === rev;

function lose(draft: Draft, group: GroupId, holding: Holding): void {
  silence(draft, group, holding, { giveUp: null, isLost: true });
  notice(draft, 'holder.lost', 'warn', 'the owner record no longer names this life', {
    group,
    epoch: holding.epoch,
    reason: 'ownership-lost',
  });
  if (standingIn(surveyed(draft), group).kind === 'absent' && alarmOnce(draft, `absent:${group}`))
    notice(draft, 'owner.missing', 'error', 'somebody removed the owner record', { group });
}

const successorOf = ({ state }: Draft, group: GroupId): string | null =>
  state.view.owners.get(group)?.value?.director ?? null;

/** Its successor gave the group up before this director knew of it: only who is silent may be followed by another. */
function returnToNobody(draft: Draft, group: GroupId, holding: Holding): void {
  const { epoch } = holding;
  silence(draft, group, holding, { giveUp: null, isLost: false });
  const text = 'its successor gave it up again, to nobody, before this director had heard of it';
  notice(draft, 'holder.released', 'warn', text, { group, epoch });
}

function tellReleased(draft: Draft, group: GroupId, holding: Holding & { kind: 'shut' }): void {
  const { to, reason } = holding.giveUp;
  const text = to === null ? 'to nobody' : `to ${to}`;
  notice(draft, 'holder.released', 'info', text, { group, epoch: holding.epoch, reason });
}
