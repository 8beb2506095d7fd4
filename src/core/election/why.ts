/** Why a holder gives a group away, and to whom. It decides; `give-up.ts` and `handover.ts` act. */
import type { VipGroup } from '../../model/cluster.ts';
import type { HoldReason, IneligibleReason } from '../../model/decision.ts';
import { ABSENT, type DirectorId, type GroupId, monoMs } from '../../model/ids.ts';
import type { OperationRecord } from '../../model/records.ts';
import { alarmOnce, type Draft, own, pendingOperations, rankingOf, remove } from './draft.ts';
import { bestSuccessor, type Candidate, myObstacle, readySuccessor } from './placement.ts';
import { isStoreThere, lateStandInOf } from './stand-in.ts';
import type { GiveUp, Holding } from './state.ts';
import { READY_WAIT_MS, waitMs, WORD_WAIT_MS } from './timing.ts';

/** `handover`: no packet is lost. `shut`: silence first, then the record; the successor may be nobody. */
export type Parting = { readonly how: 'handover' | 'shut'; readonly giveUp: GiveUp };

/** Obstacles that make this director unfit to hold, and the reason that they give. */
const UNFIT: Partial<Record<IneligibleReason, HoldReason>> = {
  stopping: 'shutdown',
  draining: 'drain',
  'interface-down': 'interface-down',
  'interface-missing': 'interface-down',
  'cannot-bind': 'cannot-bind',
  'gate-too-coarse': 'cannot-arm',
  'track-failed': 'track-failed',
  'vrrp-active-elsewhere': 'vrrp-yielded',
};

/**
 * Without its interface a holder speaks to nobody: nothing is left to hand over without loss. Beside another
 * VRRP router it must not speak on.
 */
const SPEECHLESS: ReadonlySet<IneligibleReason> = new Set([
  'cannot-bind',
  'interface-down',
  'interface-missing',
  'vrrp-active-elsewhere',
]);

export function whyPart(draft: Draft, id: GroupId, holding: Holding): Parting | null {
  const { state, config, now } = draft;
  const group = config.groupsById.get(id);
  if (group === undefined) return shut('group-removed', null);
  if (!isNamed(draft, group)) return removedHere(draft, group);
  if (state.isFreezing && !state.isStopping) return null;
  const obstacle = myObstacle(state, group, now, config.me);
  const reason = obstacle === null ? null : (UNFIT[obstacle] ?? null);
  if (obstacle !== null && reason !== null) return unfit(draft, group, holding, obstacle, reason);
  // Without the store it could not be given, nor taken back where the stand-in ends.
  const standIn = holding.kind === 'owned' && isStoreThere(draft) ? lateStandInOf(draft, id) : null;
  if (standIn !== null) return shut('stood-in', standIn);
  if (isStuck(draft, group.id, holding)) return shut('cannot-arm', successor(draft, group));
  if (holding.kind !== 'open') return null;
  return whyOperation(draft, group) ?? whyBetter(draft, group);
}

/** The spec knows this director, and the group may be held by it. */
const isNamed = ({ config }: Draft, group: VipGroup): boolean =>
  config.directors.some(({ id }) => id === config.me) &&
  (group.priorities === null || group.priorities.has(config.me));

const shut = (reason: HoldReason, to: DirectorId | null): Parting => ({
  how: 'shut',
  giveUp: { reason, to, operation: null },
});

const handover = (
  reason: HoldReason,
  to: DirectorId,
  operation: string | null = null,
): Parting => ({
  how: 'handover',
  giveUp: { reason, to, operation },
});

const successor = (draft: Draft, group: VipGroup): DirectorId | null =>
  bestSuccessor(draft.state, group, rankingOf(draft).of(group), draft.config.me);

const readyOne = (draft: Draft, group: VipGroup): Candidate | null =>
  readySuccessor(draft.state, group, rankingOf(draft).of(group), draft.config.me);

function removedHere(draft: Draft, group: VipGroup): Parting {
  const ready = readyOne(draft, group);
  return ready === null
    ? shut('group-removed', successor(draft, group))
    : handover('group-removed', ready.director);
}

function unfit(
  draft: Draft,
  group: VipGroup,
  holding: Holding,
  obstacle: IneligibleReason,
  reason: HoldReason,
): Parting | null {
  const ready = readyOne(draft, group);
  if (ready !== null && holding.kind === 'open' && !SPEECHLESS.has(obstacle))
    return handover(reason, ready.director);
  // Whoever may go before the VRRP router that speaks now takes the group by itself.
  if (obstacle === 'vrrp-active-elsewhere') return shut(reason, null);
  if (obstacle === 'stopping' && holding.kind === 'open' && isStopEarly(draft, group)) return null;
  const to = successor(draft, group);
  // A drain moves traffic, it never ends it: without a successor the holder goes on.
  return obstacle === 'draining' && (to === null || holding.kind === 'open')
    ? null
    : shut(reason, to);
}

/** Who could take it may be ready, or be heard again, in a moment: then nothing is lost. */
function isStopEarly(draft: Draft, group: VipGroup): boolean {
  const { state, config, now } = draft;
  if (state.stopsUnreadyAt === null || now >= state.stopsUnreadyAt) return false;
  return rankingOf(draft)
    .of(group)
    .some(({ director, obstacle }) => director !== config.me && isPassing(obstacle));
}

const isPassing = (obstacle: IneligibleReason | null): boolean =>
  obstacle === null || obstacle === 'not-heard' || obstacle === 'starting';

/** Rounds are confirmed, and the kernel lets nothing be armed: a holder that cannot arm blocks the others. */
function isStuck(draft: Draft, group: GroupId, holding: Holding): boolean {
  const { state, config, now } = draft;
  if (holding.kind !== 'owned' || state.unarmedRounds < STUCK_ROUNDS) return false;
  const scope = state.view.scopes.get(config.me)?.value ?? null;
  return now >= holding.since + waitMs(scope, config.timing) && !state.refusedUntil.has(group);
}

const STUCK_ROUNDS = 3;

function whyOperation(draft: Draft, group: VipGroup): Parting | null {
  for (const [id, operation] of pendingOperations(draft).get(group.id) ?? []) {
    const part = answerOperation(draft, group, id, operation);
    if (part !== null) return part;
  }
  return null;
}

function answerOperation(
  draft: Draft,
  group: VipGroup,
  id: string,
  operation: OperationRecord,
): Parting | null {
  const { config, state, now } = draft;
  const candidates = rankingOf(draft).of(group);
  const fail = (text: string): null => {
    if (alarmOnce(draft, `operation:${id}`))
      draft.effects.push({ kind: 'operation', id, state: 'failed', text });
    return null;
  };
  if (isDone(draft, group, id, operation)) return null;
  // Begun, or failed: its record tells so in a moment. A group that came back is not handed over again for it.
  if (state.alarms.has(`operation:${id}`)) return null;
  if (operation.from !== null && operation.from !== config.me)
    return fail(`${config.me} holds the group, not ${operation.from}`);
  if (operation.to === config.me) return fail(`${config.me} holds the group already`);
  const seenAt = state.operationSeenAt.get(id) ?? now;
  own(draft, 'operationSeenAt').set(id, seenAt);
  const isWaitedFor = now < seenAt + READY_WAIT_MS;
  const target =
    operation.to === null
      ? readyOne(draft, group)
      : candidates.find((candidate) => candidate.director === operation.to);
  if (operation.to === null && target === null)
    return isWaitedFor && successor(draft, group) !== null
      ? null
      : fail('no other director can take the group now');
  if (target === undefined || target === null)
    return fail(`${operation.to} is no candidate for the group`);
  if (target.obstacle !== null)
    return fail(`${target.director} cannot take the group: ${target.obstacle}`);
  if (!target.isReady && state.ready.has(group.id))
    return isWaitedFor ? null : fail(`${target.director} did not become ready for the group`);
  const reason = operation.kind === 'rebalance' ? 'rebalance' : 'switchover';
  return handover(reason, target.director, id);
}

/**
 * This operation brought the group here, and the former holder's word of it is still on its way. If
 * that never comes, the former holder died before it wrote it: then this director tells the end.
 */
function isDone(draft: Draft, group: VipGroup, id: string, { to }: OperationRecord): boolean {
  const { state, config, now } = draft;
  const holding = state.holdings.get(group.id);
  const owner = state.view.owners.get(group.id);
  const reason = owner?.value?.reason;
  const isMove = reason === 'switchover' || reason === 'rebalance';
  const isEarlier = (state.view.operations.get(id)?.rev ?? ABSENT) < (owner?.rev ?? ABSENT);
  if (holding?.kind !== 'open' || !isMove || !isEarlier) return false;
  if (to !== null && to !== config.me) return false;
  if (now >= holding.openedAt + WORD_WAIT_MS && alarmOnce(draft, `operation-end:${id}`)) {
    const text = `${config.me} holds the group, epoch ${holding.epoch}`;
    draft.effects.push({ kind: 'operation', id, state: 'succeeded', text });
  }
  return true;
}

/**
 * A better director: by priority where the group preempts; and where a weighted track fails here,
 * whatever the group says of preemption (design 4.7).
 */
function whyBetter(draft: Draft, group: VipGroup): Parting | null {
  const { state, config, now } = draft;
  const isFailing = isTrackFailing(draft, group);
  const isPreempting = group.preempt.kind !== 'never' && group.priorities !== null;
  if (!isFailing && !isPreempting) {
    remove(draft, 'better', group.id);
    return null;
  }
  if (!isFailing && isFirst(draft, group)) {
    remove(draft, 'better', group.id);
    return null;
  }
  const ready = readyOne(draft, group);
  const mine = rankingOf(draft)
    .of(group)
    .find(({ director }) => director === config.me);
  if (ready === null || mine === undefined || !isBetter(ready, mine)) {
    remove(draft, 'better', group.id);
    return null;
  }
  const known = state.better.get(group.id);
  const since = known?.director === ready.director ? known.since : now;
  own(draft, 'better').set(group.id, { director: ready.director, since });
  const waitedFor = group.preempt.kind === 'after' && !isFailing ? group.preempt.ms : 0;
  if (now < monoMs(since + waitedFor)) return null;
  return handover(isFailing ? 'track-failed' : 'preempt', ready.director);
}

/** Nobody has more than this director: the common case, and known without a ranking. */
function isFirst({ state, config }: Draft, group: VipGroup): boolean {
  const { priorities } = group;
  if (priorities === null) return false;
  const mine = (priorities.get(config.me) ?? 0) + (state.bonus.get(group.id) ?? 0);
  for (const [director, priority] of priorities) {
    if (director === config.me) continue;
    const bonus = state.view.reports.get(director)?.value?.bonus[group.id] ?? 0;
    if (priority + bonus > mine) return false;
  }
  return true;
}

const isBetter = (other: Candidate, mine: Candidate): boolean =>
  (other.priority ?? other.bonus) > (mine.priority ?? mine.bonus);

/** Some weighted track, or the gateway, adds less than it could, or takes away. */
function isTrackFailing(draft: Draft, group: VipGroup): boolean {
  let best = 0;
  for (const { kind, weight } of group.tracks)
    if (kind !== 'file' && weight !== null && weight > 0) best += weight;
  return (draft.state.bonus.get(group.id) ?? 0) < best;
}
