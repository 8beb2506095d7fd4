/** A holder gives a group away: handed over to who is ready, else silence by the kernel's word, then the record. */
import { type DirectorId, type GroupId, revisionOf } from '../../model/ids.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import { alarmOnce, type Draft, isBusy, later, notice, request } from './draft.ts';
import { type Transfer, learnOwners, transfer } from './handover.ts';
import { carriedOf } from './pending.ts';
import { bestSuccessor, offerKey } from './placement.ts';
import { silence } from './silence.ts';
import type { ElectionEvent, GiveUp, Holding, Purpose, TxnReply } from './state.ts';
import { OFFER_REST_MS, READY_WAIT_MS, REFUSED_MS, RETRY_MS } from './timing.ts';
import { openSession } from './view.ts';
import { whyPart } from './why.ts';

/** When the kernel refuses to silence a group, it is asked again after this. */
const CLOSE_RETRY_MS = 100;

export function advanceGiveUp(draft: Draft): void {
  const { state, now } = draft;
  // How long another has been better counts only while the group speaks here.
  for (const group of state.better.keys())
    if (state.holdings.get(group)?.kind !== 'open') state.better.delete(group);
  const transfers = new Map<DirectorId, Map<GroupId, Transfer>>();
  for (const [group, holding] of state.holdings) {
    if (holding.kind === 'owned' || holding.kind === 'open') part(draft, group, holding, transfers);
    else if (holding.kind === 'closing') {
      if (now >= holding.silentAt) {
        finishClosing(draft, group, holding);
        continue;
      }
      if (holding.retryAt === null || now < holding.retryAt) continue;
      state.holdings.set(group, { ...holding, retryAt: null });
      draft.effects.push({ kind: 'close', groups: [group] });
    } else if (holding.kind === 'shut' && now >= holding.nextTryAt)
      writeAway(draft, group, holding);
  }
  for (const [to, groups] of transfers) transfer(draft, to, groups);
  completeOperations(draft);
}

function part(
  draft: Draft,
  group: GroupId,
  holding: Holding,
  transfers: Map<DirectorId, Map<GroupId, Transfer>>,
): void {
  if (isTransferring(draft, group)) return;
  const parting = whyPart(draft, group, holding);
  if (parting === null) return;
  const { how, giveUp } = parting;
  const { to } = giveUp;
  if (how === 'handover' && to !== null) {
    const groups = transfers.get(to) ?? new Map<GroupId, Transfer>();
    transfers.set(to, groups.set(group, { ...giveUp, to }));
    return;
  }
  if (giveUp.reason === 'cannot-arm') draft.state.refusedUntil.set(group, later(draft, REFUSED_MS));
  silence(draft, group, holding, { giveUp, isLost: false });
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
    else state.holdings.set(group, { ...holding, retryAt: later(draft, CLOSE_RETRY_MS) });
  }
}

/** It is silent: by the kernel's word, or because its deadline has passed long since. */
function finishClosing(
  draft: Draft,
  group: GroupId,
  { epoch, giveUp, isLost }: Holding & { kind: 'closing' },
): void {
  const { state, now } = draft;
  if (giveUp !== null) {
    state.holdings.set(group, { kind: 'shut', epoch, giveUp, nextTryAt: now });
    return;
  }
  state.holdings.delete(group);
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
    state.holdings.set(group, { ...holding, giveUp: { ...holding.giveUp, to } });
  const compares = [
    { key: keys.owner(group), modRevision: revisionOf(holding.epoch) },
    { key: keys.session(config.me), modRevision: state.session.rev },
  ];
  if (to !== null && session !== null)
    compares.push({ key: keys.session(to), modRevision: session.rev });
  const record: OwnerRecord = {
    v: 1,
    director: session === null ? null : to,
    session: session === null ? 0 : revisionOf(session.id),
    pending: [...carriedOf(draft, group)],
    vacant: false,
    reason: holding.giveUp.reason,
  };
  if (to !== null) state.offeredUntil.set(offerKey(group, to), later(draft, OFFER_REST_MS));
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
  if (group === undefined) return null;
  const candidates = draft.ranking().of(group);
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
    state.holdings.set(purpose.group, { ...holding, nextTryAt: later(draft, RETRY_MS) });
}

/** The director that opens a group after a switchover says how it ended. */
function completeOperations(draft: Draft): void {
  const { state, config } = draft;
  for (const [id, operation] of draft.runningOperations()) {
    const holding = state.holdings.get(operation.group as GroupId);
    if (holding?.kind !== 'open') continue;
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
export function* giveUpWakes(draft: Draft): Generator<number> {
  const { state, config } = draft;
  for (const holding of state.holdings.values()) {
    if (holding.kind === 'shut') yield holding.nextTryAt;
    if (holding.kind !== 'closing') continue;
    yield holding.silentAt;
    if (holding.retryAt !== null) yield holding.retryAt;
  }
  for (const [id, better] of state.better) {
    const preempt = config.groupsById.get(id)?.preempt;
    if (preempt?.kind === 'after') yield better.since + preempt.ms;
  }
  for (const seenAt of state.operationSeenAt.values()) yield seenAt + READY_WAIT_MS;
}
