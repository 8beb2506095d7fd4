/** A holder gives a group away: handed over to who is ready, else silence by the kernel's word, then the record. */
import { type DirectorId, type GroupId, revisionOf } from '../../model/ids.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import {
  alarmOnce,
  type Draft,
  isBusy,
  later,
  notice,
  own,
  pendingOperations,
  rankingOf,
  remove,
  request,
  runningOperations,
} from './draft.ts';
import { type Transfer, learnOwners, transfer } from './handover.ts';
import { carriedOf } from './pending.ts';
import { bestSuccessor, offerKey } from './placement.ts';
import { hold, rosterOf, unhold } from './roster.ts';
import { silence } from './silence.ts';
import { standInObstacle, standInOf } from './stand-in.ts';
import type { Contented, ElectionEvent, GiveUp, Holding, Purpose, TxnReply } from './state.ts';
import { OFFER_REST_MS, READY_WAIT_MS, REFUSED_MS, RETRY_MS } from './timing.ts';
import { openSession } from './view.ts';
import type { Wake } from './wake.ts';
import { whyPart } from './why.ts';

/** When the kernel refuses to silence a group, it is asked again after this. */
const CLOSE_RETRY_MS = 100;

export function advanceGiveUp(draft: Draft): void {
  const { state } = draft;
  if (!isContented(draft, state.contented)) {
    const roster = rosterOf(draft);
    const told = draft.effects.length;
    lookThrough(draft);
    const isCalm = state.roster === roster && draft.effects.length === told;
    state.contented = isCalm && isTimeless(draft) ? contentedNow(draft) : null;
  }
  completeOperations(draft);
}

/** The last look through gave no reason to give a group away, and none of what it looked at has changed. */
function isContented(draft: Draft, known: Contented | null): boolean {
  const { state, config } = draft;
  return (
    known !== null &&
    known.roster === rosterOf(draft) &&
    known.groups === config.groupsById &&
    known.directors === config.directors &&
    known.me === config.me &&
    known.session === state.session &&
    known.eligibility === state.eligibility &&
    known.bonus === state.bonus &&
    known.drains === state.view.drains &&
    known.reports === state.view.reports &&
    known.operations === state.view.operations &&
    known.isStopping === state.isStopping &&
    known.isFreezing === state.isFreezing &&
    isTimeless(draft)
  );
}

/** Nobody was measured against others, and nothing waits: time alone gives no reason. */
function isTimeless(draft: Draft): boolean {
  const { state } = draft;
  return (
    draft.ranked === null &&
    rosterOf(draft).count.open === state.holdings.size &&
    state.refusedUntil.size === 0 &&
    state.better.size === 0 &&
    state.transferring.size === 0 &&
    pendingOperations(draft).size === 0
  );
}

function contentedNow(draft: Draft): Contented {
  const { state, config } = draft;
  const { session, eligibility, bonus, isStopping, isFreezing } = state;
  const { drains, reports, operations } = state.view;
  const { groupsById: groups, directors, me } = config;
  const told = { roster: rosterOf(draft), session, groups, directors, me, eligibility, bonus };
  return { ...told, drains, reports, operations, isStopping, isFreezing };
}

function lookThrough(draft: Draft): void {
  const { state, now } = draft;
  // How long another has been better counts only while the group speaks here.
  for (const group of state.better.keys())
    if (state.holdings.get(group)?.kind !== 'open') remove(draft, 'better', group);
  const transfers = new Map<DirectorId, Map<GroupId, Transfer>>();
  for (const [group, holding] of state.holdings) {
    if (holding.kind === 'owned' || holding.kind === 'open') part(draft, group, holding, transfers);
    else if (holding.kind === 'closing') {
      if (now >= holding.silentAt) {
        finishClosing(draft, group, holding);
        continue;
      }
      if (holding.retryAt === null || now < holding.retryAt) continue;
      hold(draft, group, { ...holding, retryAt: null });
      draft.effects.push({ kind: 'close', groups: [group] });
    } else if (holding.kind === 'shut' && now >= holding.nextTryAt)
      writeAway(draft, group, holding);
  }
  for (const [to, groups] of transfers) transfer(draft, to, groups);
}

function part(
  draft: Draft,
  group: GroupId,
  holding: Holding,
  transfers: Map<DirectorId, Map<GroupId, Transfer>>,
): void {
  if (isTransferring(draft, group)) return;
  if (holding.kind !== 'leaving' && 'right' in holding && holding.right === 'segment') {
    stopStandingIn(draft, group, holding);
    return;
  }
  const parting = whyPart(draft, group, holding);
  if (parting === null) return;
  const { how, giveUp } = parting;
  const { to } = giveUp;
  if (how === 'handover' && to !== null) {
    const groups = transfers.get(to) ?? new Map<GroupId, Transfer>();
    transfers.set(to, groups.set(group, { ...giveUp, to }));
    return;
  }
  if (giveUp.reason === 'cannot-arm')
    own(draft, 'refusedUntil').set(group, later(draft, REFUSED_MS));
  silence(draft, group, holding, { giveUp, isLost: false });
}

/** What is another's by the record is not given to anybody: it falls silent where it cannot be held. */
function stopStandingIn(draft: Draft, group: GroupId, holding: Holding): void {
  if (holding.kind !== 'open') return;
  const obstacle = standInObstacle(draft, group);
  if (obstacle === null) return;
  silence(draft, group, holding, { giveUp: null, isLost: false });
  const { epoch } = holding;
  const text = `cannot stand in any more: ${obstacle}`;
  notice(draft, 'holder.released', 'warn', text, { group, epoch });
}

/** Its answer decides what comes next; in doubt the record does. */
function isTransferring({ state }: Draft, group: GroupId): boolean {
  const to = state.transferring.get(group)?.to ?? null;
  if (to === null) return false;
  const purpose = state.inFlight.get(`transfer/${to}`)?.purpose;
  return purpose?.kind === 'transfer' && purpose.records.has(group);
}

export function onClosed(draft: Draft, event: ElectionEvent & { kind: 'closed' }): void {
  const { state } = draft;
  for (const group of event.groups) {
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'closing') continue;
    if (event.isOk) finishClosing(draft, group, holding);
    else hold(draft, group, { ...holding, retryAt: later(draft, CLOSE_RETRY_MS) });
  }
}

/** It is silent: by the kernel's word, or because its deadline has passed long since. */
function finishClosing(
  draft: Draft,
  group: GroupId,
  { epoch, giveUp, isLost }: Holding & { kind: 'closing' },
): void {
  const { now } = draft;
  if (giveUp !== null) {
    hold(draft, group, { kind: 'shut', epoch, giveUp, nextTryAt: now });
    return;
  }
  unhold(draft, group);
  if (!isLost) notice(draft, 'handover.completed', 'info', 'silent here', { group, epoch });
}

function writeAway(draft: Draft, group: GroupId, holding: Holding & { kind: 'shut' }): void {
  const { state, config } = draft;
  const slot = `give-up/${group}`;
  if (isBusy(draft, slot) || state.session.kind !== 'open') return;
  const { keys } = config;
  const to = successorNow(draft, group, holding.giveUp);
  const session = to === null ? null : openSession(state.view, to);
  if (to !== holding.giveUp.to)
    hold(draft, group, { ...holding, giveUp: { ...holding.giveUp, to } });
  const compares = [
    { key: keys.owner(group), modRevision: revisionOf(holding.epoch) },
    { key: keys.session(config.me), modRevision: state.session.rev },
  ];
  if (to !== null && session !== null)
    compares.push({ key: keys.session(to), modRevision: session.rev });
  // Given back to who has not fallen silent yet: the owner is no former holder, and nobody waits for its silence.
  const isOwner = (one: OwnerRecord['pending'][number]): boolean =>
    one.director === to && one.session === session?.id;
  const record: OwnerRecord = {
    v: 1,
    director: session === null ? null : to,
    session: session === null ? 0 : revisionOf(session.id),
    pending: carriedOf(draft, group).filter((one) => !isOwner(one)),
    vacant: false,
    reason: holding.giveUp.reason,
  };
  if (to !== null) own(draft, 'offeredUntil').set(offerKey(group, to), later(draft, OFFER_REST_MS));
  request(
    draft,
    slot,
    { kind: 'give-up', group, record },
    {
      compares,
      success: [{ op: 'put', key: keys.owner(group), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.owner(group) },
        { op: 'get', key: keys.session(config.me) },
        ...(to === null ? [] : [{ op: 'get' as const, key: keys.session(to) }]),
      ],
    },
  );
}

/** The chosen successor while it can, else the best other one: the VIPs are silent, so time counts. */
function successorNow(draft: Draft, id: GroupId, giveUp: GiveUp): DirectorId | null {
  const { state, config } = draft;
  const group = config.groupsById.get(id);
  if (group === undefined || giveUp.reason === 'vrrp-yielded') return null;
  // It speaks already: the record follows.
  if (giveUp.reason === 'stood-in') return giveUp.to;
  const candidates = rankingOf(draft).of(group);
  const standIn = standInOf(draft, id);
  const speaking = candidates.find((candidate) => candidate.director === standIn);
  if (speaking !== undefined && speaking.obstacle === null) return speaking.director;
  const chosen = candidates.find((candidate) => candidate.director === giveUp.to);
  if (chosen !== undefined && chosen.obstacle === null) return chosen.director;
  return bestSuccessor(state, group, candidates, config.me);
}

export function onGiveUpReply(
  draft: Draft,
  purpose: Purpose & { kind: 'give-up' },
  reply: TxnReply,
): void {
  const { state } = draft;
  if (reply.kind === 'answered' && reply.succeeded) {
    learnOwners(draft, new Map([[purpose.group, purpose.record]]), reply);
    return;
  }
  const holding = state.holdings.get(purpose.group);
  if (holding?.kind === 'shut')
    hold(draft, purpose.group, { ...holding, nextTryAt: later(draft, RETRY_MS) });
}

/** The director that opens a group after a switchover says how it ended. */
function completeOperations(draft: Draft): void {
  const { state, config } = draft;
  for (const [id, operation] of runningOperations(draft)) {
    const holding = state.holdings.get(operation.group as GroupId);
    if (holding?.kind !== 'open' || holding.right !== 'record') continue;
    const cameBack = state.alarms.has(`operation:${id}`) || operation.from === config.me;
    if (!alarmOnce(draft, `operation-end:${id}`)) continue;
    const isWanted = !cameBack && (operation.to === null || operation.to === config.me);
    draft.effects.push({
      kind: 'operation',
      id,
      state: isWanted ? 'succeeded' : 'failed',
      text: isWanted
        ? `${config.me} holds the group, epoch ${holding.epoch}`
        : `${config.me} holds the group instead of ${operation.to ?? 'a successor'}`,
    });
  }
}

/** Moments at which this room may have something to do by time alone. */
export function giveUpWakes(draft: Draft, wake: Wake): void {
  const { state, config } = draft;
  const { closing, shut } = rosterOf(draft).count;
  if (closing + shut > 0)
    for (const holding of state.holdings.values()) {
      if (holding.kind === 'shut') wake.by(holding.nextTryAt);
      if (holding.kind !== 'closing') continue;
      wake.by(holding.silentAt);
      if (holding.retryAt !== null) wake.by(holding.retryAt);
    }
  for (const [id, better] of state.better) {
    const preempt = config.groupsById.get(id)?.preempt;
    if (preempt?.kind === 'after') wake.by(better.since + preempt.ms);
  }
  for (const seenAt of state.operationSeenAt.values()) wake.by(seenAt + READY_WAIT_MS);
  if (state.stopsUnreadyAt !== null) wake.by(state.stopsUnreadyAt);
}
