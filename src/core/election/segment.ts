/**
 * The last resort of a holder (design 4.10): neither the store, nor a relay, nor the promises of all. Where
 * the spec says `isolation: gateway` it goes on with what speaks already, as long as its gateway answers
 * each round, nobody refuses, and no other voice is heard. It opens nothing by this.
 */
import type { DirectorId, GroupId } from '../../model/ids.ts';
import { alarmOnce, type Draft, notice, own } from './draft.ts';
import { silence } from './silence.ts';
import type { Asked, ElectionEvent, Holding, RoundState } from './state.ts';

type Sent = RoundState & { readonly kind: 'sent' };

/** A relay or a promise has so much of the permit's time to come first. */
const PATIENCE = 0.5;

/** The gateway is asked together with the peers: its answer counts for this round alone. */
export function askGateway(draft: Draft, { round, permitMs }: Sent): void {
  if (draft.config.isolation !== 'gateway') return;
  draft.effects.push({ kind: 'ask-gateway', round, timeoutMs: permitMs });
}

export function onGatewayAnswer(
  { state }: Draft,
  { round: number, isReachable }: ElectionEvent & { kind: 'gateway-answered' },
): void {
  const { round } = state;
  if (round.kind !== 'sent' || round.round !== number || round.asked === null) return;
  state.round = { ...round, asked: { ...round.asked, isGatewayThere: isReachable } };
}

/** When the others have had their time; Infinity where the spec wants silence. */
export const segmentAt = ({ config }: Draft, { at }: Asked, permitMs: number): number =>
  config.isolation === 'gateway' ? at + PATIENCE * permitMs : Number.POSITIVE_INFINITY;

/** Whether the round counts by what is in sight: nothing of it proves that nobody else speaks. */
export function isHeldBySegment(draft: Draft, { permitMs }: Sent, asked: Asked): boolean {
  const { now } = draft;
  if (now < segmentAt(draft, asked, permitMs) || !asked.isGatewayThere) return false;
  if (asked.refused.size > 0 || hasRelay(draft)) return false;
  return asked.needed.every((peer) => hasPromised(asked, peer) || isOutOfSight(draft, peer));
}

const hasPromised = ({ promised, parts }: Asked, peer: DirectorId): boolean =>
  promised.get(peer)?.size === parts.length;

/** Silent for so long that it is suspect; who is in sight must answer. */
const isOutOfSight = ({ state, config, now }: Draft, peer: DirectorId): boolean =>
  now >= (state.lastHeard.get(peer) ?? Number.NEGATIVE_INFINITY) + config.timing.suspectMs;

/** Somebody has the store, and asked it for this director a moment ago: then the store's word counts. */
const hasRelay = ({ state, config, now }: Draft): boolean =>
  state.relayedAt !== null && now < state.relayedAt + config.timing.holdMs;

/** What the segment may arm: only what speaks already, and where nobody else was heard to. */
export const isKeptBySegment = (draft: Draft, group: GroupId, { kind }: Holding): boolean =>
  kind === 'open' && !draft.state.yielded.has(group);

/** Somebody else speaks as a VIP of the group: with better evidence it goes on, without it is silent at once. */
export function onContested(draft: Draft, { group }: ElectionEvent & { kind: 'contested' }): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (state.basis !== 'segment' || holding?.kind !== 'open') return;
  own(draft, 'yielded').add(group);
  silence(draft, group, holding, { giveUp: null, isLost: false });
  if (alarmOnce(draft, `yielded:${group}`))
    notice(draft, 'holder.yielded', 'error', 'somebody else speaks as its VIPs; silent here', {
      group,
      epoch: holding.epoch,
      reason: 'contested',
    });
}

/** The store or the peers count again: they decide, also about what was yielded. */
export function leaveSegment(draft: Draft): void {
  const { state } = draft;
  if (state.yielded.size > 0) state.yielded = new Set();
}
