/** When and to whom a holder gives a group away: silence first, by the kernel's word, then the record. */
import type { VipGroup } from '../../model/cluster.ts';
import { type DirectorId, type GroupId, revisionOf } from '../../model/ids.ts';
import { formatRecord, type OperationRecord, type OwnerRecord } from '../../model/records.ts';
import { alarmOnce, type Draft, isBusy, later, learn, request, written } from './draft.ts';
import { bestSuccessor, type Candidate, offerKey, rankCandidates } from './placement.ts';
import { silence } from './silence.ts';
import type { ElectionEvent, GiveUp, Holding, Purpose, TxnReply } from './state.ts';
import { OFFER_REST_MS, RETRY_MS } from './timing.ts';
import { openSession } from './view.ts';

/** When the kernel refuses to silence a group, it is asked again after this. */
const CLOSE_RETRY_MS = 100;

export function advanceGiveUp(draft: Draft): void {
  const { state, now } = draft;
  // How long another has been better counts only while the group speaks here.
  for (const group of state.better.keys())
    if (state.holdings.get(group)?.kind !== 'open') state.better.delete(group);
  for (const [group, holding] of state.holdings) {
    if (holding.kind === 'owned' || holding.kind === 'open') {
      const giveUp = whyGiveUp(draft, group, holding);
      if (giveUp !== null) startClosing(draft, group, holding, giveUp);
    } else if (holding.kind === 'closing') {
      if (holding.retryAt === null || now < holding.retryAt) continue;
      state.holdings.set(group, { ...holding, retryAt: null });
      draft.effects.push({ kind: 'close', groups: [group] });
    } else if (now >= holding.nextTryAt) writeAway(draft, group, holding);
  }
  completeOperations(draft);
}

function startClosing(draft: Draft, group: GroupId, holding: Holding, giveUp: GiveUp): void {
  silence(draft, group, holding, giveUp);
  if (giveUp.operation !== null)
    draft.effects.push({
      kind: 'operation',
      id: giveUp.operation,
      state: 'running',
      text: `silencing the VIPs here, then ${giveUp.to ?? 'nobody'} takes over`,
    });
}

function whyGiveUp(draft: Draft, id: GroupId, holding: Holding): GiveUp | null {
  const { state, config, now } = draft;
  const group = config.groups.find((one) => one.id === id);
  if (group === undefined) return { reason: 'group-removed', to: null, operation: null };
  const candidates = rankCandidates(state, config, group, now);
  const mine = candidates.find((candidate) => candidate.director === config.me);
  const to = bestSuccessor(state, group, candidates, config.me);
  if (mine === undefined) return { reason: 'group-removed', to, operation: null };
  const { obstacle } = mine;
  if (obstacle === 'stopping') return { reason: 'shutdown', to, operation: null };
  if (obstacle === 'interface-down' || obstacle === 'interface-missing')
    return { reason: 'interface-down', to, operation: null };
  if (obstacle === 'cannot-bind') return { reason: 'cannot-bind', to, operation: null };
  // A drain moves traffic, it never ends it: without a successor the holder goes on.
  if (obstacle === 'draining') return to === null ? null : { reason: 'drain', to, operation: null };
  if (holding.kind !== 'open') return null;
  return whyOperation(draft, group, candidates) ?? whyPreempt(draft, group, candidates);
}

function whyOperation(
  draft: Draft,
  group: VipGroup,
  candidates: readonly Candidate[],
): GiveUp | null {
  const { config, state } = draft;
  for (const [id, operation] of pendingOperations(draft, group.id)) {
    const fail = (text: string): void => {
      if (alarmOnce(draft, `operation:${id}`))
        draft.effects.push({ kind: 'operation', id, state: 'failed', text });
    };
    const to = (operation.to ??
      bestSuccessor(state, group, candidates, config.me)) as DirectorId | null;
    const target = candidates.find((candidate) => candidate.director === to);
    if (operation.from !== null && operation.from !== config.me)
      fail(`${config.me} holds the group, not ${operation.from}`);
    else if (to === config.me) fail(`${config.me} holds the group already`);
    else if (to === null) fail('no other director can take the group now');
    else if (target === undefined) fail(`${to} is no candidate for the group`);
    else if (target.obstacle !== null) fail(`${to} cannot take the group: ${target.obstacle}`);
    else if (alarmOnce(draft, `operation:${id}`))
      return { reason: 'switchover', to, operation: id };
  }
  return null;
}

function* pendingOperations(
  draft: Draft,
  group: GroupId,
): Generator<readonly [string, OperationRecord]> {
  for (const [id, known] of draft.state.view.operations)
    if (known.value?.group === group && known.value.state === 'pending') yield [id, known.value];
}

/** Only explicit priorities preempt: rendezvous order is no reason to move traffic. */
function whyPreempt(
  draft: Draft,
  group: VipGroup,
  candidates: readonly Candidate[],
): GiveUp | null {
  const { state, config, now } = draft;
  if (group.preempt.kind === 'never' || group.priorities === null) return null;
  const to = bestSuccessor(state, group, candidates, config.me);
  const priority = (director: DirectorId): number => group.priorities?.get(director) ?? 0;
  if (to === null || priority(to) <= priority(config.me)) {
    state.better.delete(group.id);
    return null;
  }
  const since = state.better.get(group.id);
  if (since?.director !== to) state.better.set(group.id, { director: to, since: now });
  const waited = now - (since?.director === to ? since.since : now);
  const needed = group.preempt.kind === 'after' ? group.preempt.ms : 0;
  return waited >= needed ? { reason: 'preempt', to, operation: null } : null;
}

export function onClosed(draft: Draft, event: ElectionEvent & { kind: 'closed' }): void {
  const { state, now } = draft;
  for (const group of event.groups) {
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'closing') continue;
    if (!event.isOk) {
      state.holdings.set(group, { ...holding, retryAt: later(draft, CLOSE_RETRY_MS) });
    } else if (holding.giveUp === null) state.holdings.delete(group);
    else
      state.holdings.set(group, {
        kind: 'shut',
        epoch: holding.epoch,
        giveUp: holding.giveUp,
        nextTryAt: now,
      });
  }
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
    { key: keys.session(config.me), modRevision: revisionOf(state.session.id) },
  ];
  if (to !== null && session !== null)
    compares.push({ key: keys.session(to), modRevision: revisionOf(session) });
  const record: OwnerRecord = {
    v: 1,
    director: session === null ? null : to,
    session: session === null ? 0 : revisionOf(session),
    pending: [],
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
  const { state, config, now } = draft;
  const group = config.groups.find((one) => one.id === id);
  if (group === undefined) return null;
  const candidates = rankCandidates(state, config, group, now);
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
    learn(draft, [
      { of: 'owner', name: purpose.group, known: written(reply.revision, purpose.record) },
    ]);
    return;
  }
  const holding = state.holdings.get(purpose.group);
  if (holding?.kind === 'shut')
    state.holdings.set(purpose.group, { ...holding, nextTryAt: later(draft, RETRY_MS) });
}

/** The director that opens a group after a switchover says how it ended. */
function completeOperations(draft: Draft): void {
  const { state, config } = draft;
  for (const [id, known] of state.view.operations) {
    const operation = known.value;
    if (operation?.state !== 'running') continue;
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
  for (const holding of draft.state.holdings.values()) {
    if (holding.kind === 'shut') yield holding.nextTryAt;
    if (holding.kind === 'closing' && holding.retryAt !== null) yield holding.retryAt;
  }
  for (const group of draft.config.groups) {
    const better = draft.state.better.get(group.id);
    if (better !== undefined && group.preempt.kind === 'after')
      yield better.since + group.preempt.ms;
  }
}
