/**
 * The election of VIP group holders as one pure function. Level-triggered: every event is merged into
 * the state, then each room looks at what is due. Sources: design 4.2, 4.3, 4.5 to 4.7.
 */
import { unreachable } from '../../lib/assert.ts';
import { ABSENT, type DirectorId, type MonoMs } from '../../model/ids.ts';
import type { PeerMessage } from '../../model/peer.ts';
import { advanceClaims, claimWakes, onClaimReply, onVacantReply } from './claim.ts';
import { onAnswer } from './asking.ts';
import { advanceCandidacy, answerVoices, candidacyWakes } from './candidate.ts';
import { advanceConsent, consentWakes, onConsent } from './consent.ts';
import { noteDoubt, settleDoubts } from './doubts.ts';
import { beginDraft, type Draft, later, learn, own, remove } from './draft.ts';
import { fault, flappingWakes, forgetCalm } from './flapping.ts';
import {
  advanceHandover,
  handoverWakes,
  onHandoverWord,
  onMuted,
  onPendingReply,
  onTransferReply,
  onVerified,
} from './handover.ts';
import { forgetMuted } from './pending.ts';
import { advanceProbing, onProbed, probingWakes } from './probing.ts';
import { forgetPromises, onHold, onRelayReply, promiseWakes } from './promises.ts';
import { advanceGiveUp, giveUpWakes, onClosed, onGiveUpReply } from './give-up.ts';
import { Heard, noteSession, onAdvert } from './hearing.ts';
import { advanceOwnership } from './ownership.ts';
import {
  advanceRound,
  hurryRound,
  onArmed,
  onOpened,
  onPermit,
  onRoundReply,
  roundWakes,
} from './round.ts';
import { advanceFreeze, advanceSession, onSessionReply, sessionWakes } from './session.ts';
import { onContested, onGatewayAnswer, onYield, yieldToNewer } from './segment.ts';
import type { ElectionConfig, ElectionEffect, ElectionEvent, ElectionState } from './state.ts';
import { advanceSuspicion, onSuspicionReply, suspicionWakes } from './suspicion.ts';
import { LOST_ADDRESS_PACE_MS, RETRY_MS, STOP_READY_WAIT_MS } from './timing.ts';
import { revOf, sessionOf } from './view.ts';
import { Wake } from './wake.ts';

export type Step = {
  readonly state: ElectionState;
  /** To be carried out in this order; each is told back by an event. */
  readonly effects: readonly ElectionEffect[];
  /** Without any event, step again with a `tick` then. */
  readonly wakeAt: MonoMs;
};

/** The next state and what to do now. Pure: the same inputs give the same step. */
export function step(
  state: ElectionState,
  event: ElectionEvent,
  now: MonoMs,
  config: ElectionConfig,
): Step {
  const draft = beginDraft(state, now, config);
  take(draft, event);
  settleDoubts(draft);
  advanceSession(draft);
  advanceOwnership(draft);
  advanceCandidacy(draft);
  advanceProbing(draft);
  advanceGiveUp(draft);
  advanceHandover(draft);
  advanceConsent(draft);
  advanceSuspicion(draft);
  advanceClaims(draft);
  // Before another round begins: with long armings one would always be under way.
  advanceFreeze(draft);
  advanceRound(draft);
  prune(draft);
  const at = wakeAt(draft);
  return { state: draft.state, effects: draft.effects, wakeAt: at };
}

function take(draft: Draft, event: ElectionEvent): void {
  const { state } = draft;
  switch (event.kind) {
    case 'tick':
      return;
    case 'view':
      learn(draft, event.changes);
      state.isSynced ||= event.isSynced;
      return;
    case 'txn-replied':
      takeReply(draft, event);
      return;
    case 'gate-cleared':
      if (state.gate === 'clearing') state.gate = event.speaking === null ? 'unknown' : 'clear';
      if (event.speaking !== null) state.keptUntil = event.speaking;
      else if (state.session.kind === 'none')
        state.session = { kind: 'none', notBefore: later(draft, RETRY_MS) };
      return;
    case 'permit-given':
      onPermit(draft, event);
      return;
    case 'armed':
      onArmed(draft, event);
      return;
    case 'closed':
      onClosed(draft, event);
      return;
    case 'opened':
      onOpened(draft, event);
      return;
    case 'muted':
      onMuted(draft, event);
      return;
    case 'verified':
      onVerified(draft, event);
      return;
    case 'peer':
      takeMessage(draft, event.from, event.message);
      return;
    case 'advert':
      onAdvert(draft, event.from, event.group);
      return;
    case 'eligibility':
      takeEligibility(draft, event);
      return;
    case 'gateway-answered':
      onGatewayAnswer(draft, event);
      return;
    case 'contested':
      onContested(draft, event);
      return;
    case 'probed':
      onProbed(draft, event);
      return;
    case 'address-lost':
      // Paced: somebody may remove the address again and again.
      if (state.holdings.get(event.group)?.kind === 'open') hurryRound(draft, LOST_ADDRESS_PACE_MS);
      return;
    case 'stop':
      state.isStopping = true;
      state.stopsUnreadyAt ??= later(draft, STOP_READY_WAIT_MS);
      return;
    case 'freeze':
      state.isFreezing = true;
      return;
    default:
      unreachable(event);
  }
}

function takeMessage(draft: Draft, from: DirectorId, message: PeerMessage): void {
  switch (message.kind) {
    case 'heartbeat':
      takeHeartbeat(draft, from, message);
      return;
    case 'hold':
      onHold(draft, from, message);
      return;
    case 'promise':
    case 'refusal':
    case 'relayed':
      onAnswer(draft, from, message);
      return;
    case 'prepared':
    case 'muted':
    case 'verified':
      onHandoverWord(draft, from, message);
      return;
    case 'consent':
      onConsent(draft, from, message);
      return;
    case 'yield':
      onYield(draft, message);
      return;
    default:
      unreachable(message);
  }
}

function takeReply(draft: Draft, event: ElectionEvent & { kind: 'txn-replied' }): void {
  const { state, now } = draft;
  const flight = state.inFlight.get(event.slot);
  if (flight === undefined || flight.id !== event.id) return;
  remove(draft, 'inFlight', event.slot);
  const { purpose } = flight;
  const { reply } = event;
  const isDone = reply.kind === 'answered' && reply.succeeded;
  if (isDone || purpose.kind === 'round') remove(draft, 'restingSlots', event.slot);
  else
    own(draft, 'restingSlots').set(
      event.slot,
      later(draft, reply.kind === 'answered' ? 20 : RETRY_MS),
    );
  if (reply.kind === 'answered') {
    state.answeredAt = now;
    state.askedSince = null;
    learn(draft, reply.reads);
  }
  if (reply.kind === 'ambiguous') noteDoubt(draft, purpose, flight.compares);
  switch (purpose.kind) {
    case 'open-session':
    case 'close-session':
    case 'deny-death':
    case 'challenge-namesake':
    case 'write-scope':
      onSessionReply(draft, purpose, reply);
      return;
    case 'round':
      onRoundReply(draft, purpose, reply);
      return;
    case 'challenge':
    case 'withdraw':
    case 'kill':
      onSuspicionReply(draft, purpose, reply);
      return;
    case 'mark-vacant':
      onVacantReply(draft, purpose, reply);
      return;
    case 'claim':
      onClaimReply(draft, purpose, reply);
      return;
    case 'transfer':
      onTransferReply(draft, purpose, reply);
      return;
    case 'resolve-pending':
      onPendingReply(draft, purpose, reply);
      return;
    case 'give-up':
      onGiveUpReply(draft, purpose, reply);
      return;
    case 'relay':
      onRelayReply(draft, purpose, reply);
      return;
    default:
      unreachable(purpose);
  }
}

function takeHeartbeat(
  draft: Draft,
  from: DirectorId,
  { session, armed }: PeerMessage & { kind: 'heartbeat' },
): void {
  const { state, now } = draft;
  const known = state.view.sessions.get(from);
  // A voice of an earlier life is no sign of this one.
  if (known !== undefined && known.rev !== ABSENT && session < sessionOf(known)) return;
  own(draft, 'lastHeard').set(from, now);
  noteSession(draft, from, session);
  const before = state.heard.get(from) ?? Heard.nothing;
  const after = before.next(armed, now);
  own(draft, 'heard').set(from, after);
  yieldToNewer(draft, from, armed);
  answerVoices(draft, before, after);
}

function takeEligibility(draft: Draft, event: ElectionEvent & { kind: 'eligibility' }): void {
  const { state } = draft;
  for (const [group, holding] of state.holdings) {
    const isFault =
      event.groups.get(group) === 'interface-down' || event.groups.get(group) === 'track-failed';
    if (isFault && holding.kind === 'open' && state.eligibility.get(group) === null)
      fault(draft, group);
  }
  state.eligibility = new Map(event.groups);
  state.ready = new Set(event.ready);
  state.bonus = new Map(event.bonus);
}

/** Bounds what would otherwise grow for ever. */
function prune(draft: Draft): void {
  const { state, now } = draft;
  for (const [slot, until] of state.restingSlots)
    if (until <= now) remove(draft, 'restingSlots', slot);
  for (const [group, until] of state.refusedUntil)
    if (until <= now) remove(draft, 'refusedUntil', group);
  for (const [key, until] of state.offeredUntil)
    if (until <= now) remove(draft, 'offeredUntil', key);
  for (const id of state.operationSeenAt.keys())
    if (state.view.operations.get(id)?.value?.state !== 'pending')
      remove(draft, 'operationSeenAt', id);
  for (const group of state.transferring.keys())
    if (state.holdings.get(group)?.kind !== 'open') remove(draft, 'transferring', group);
  forgetMuted(draft);
  forgetPromises(draft);
  forgetCalm(draft);
  for (const key of state.alarms) {
    if (!key.startsWith('operation')) continue;
    const id = /^operation(?:-end)?:(.+)$/.exec(key)?.[1];
    if (id !== undefined && revOf(state.view.operations, id) === ABSENT)
      remove(draft, 'alarms', key);
  }
}

function wakeAt(draft: Draft): MonoMs {
  const { restingSlots, refusedUntil, offeredUntil } = draft.state;
  const wake = new Wake(draft.now);
  sessionWakes(draft, wake);
  giveUpWakes(draft, wake);
  handoverWakes(draft, wake);
  flappingWakes(draft, wake);
  suspicionWakes(draft, wake);
  claimWakes(draft, wake);
  roundWakes(draft, wake);
  promiseWakes(draft, wake);
  consentWakes(draft, wake);
  candidacyWakes(draft, wake);
  probingWakes(draft, wake);
  for (const at of restingSlots.values()) wake.by(at);
  for (const at of refusedUntil.values()) wake.by(at);
  for (const at of offeredUntil.values()) wake.by(at);
  return wake.at;
}
