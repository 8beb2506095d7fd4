/**
 * The last resort (design 4.10): neither the store, nor a relay, nor the promises of all. Where the spec says
 * `isolation: gateway` a holder goes on with what speaks already, as long as its gateway answers each round,
 * nobody refuses, and no other voice is heard. It opens only what nobody answered for.
 */
import type { Timing } from '../../model/cluster.ts';
import type { HoldBasis } from '../../model/decision.ts';
import type { DirectorId, GroupId } from '../../model/ids.ts';
import type { HoldingName } from '../../model/peer.ts';
import { alarmOnce, type Draft, later, notice, own, remove } from './draft.ts';
import { isFoundFree, isProvenFree, onVoice } from './probing.ts';
import { isSegmentAllowed } from './scope.ts';
import { silence } from './silence.ts';
import type { Asked, ElectionEvent, ElectionState, Holding, Right, RoundState } from './state.ts';

type Sent = RoundState & { readonly kind: 'sent' };

/** A relay or a promise has so much of the permit's time to come first. */
const PATIENCE = 0.5;

/** The gateway is asked together with the peers: its answer counts for this round alone. */
export function askGateway(draft: Draft, { round, permitMs }: Sent): void {
  if (!isSegmentAllowed(draft)) return;
  draft.effects.push({ kind: 'ask-gateway', round, timeoutMs: permitMs });
}

export function onGatewayAnswer(
  { state, now }: Draft,
  { round: number, isReachable }: ElectionEvent & { kind: 'gateway-answered' },
): void {
  const { round } = state;
  // Asked in vain it is gone, however lately it was there: who probes without one only keeps others from it.
  state.gatewaySeenAt = isReachable ? now : null;
  if (round.kind !== 'sent' || round.round !== number || round.asked === null) return;
  state.round = { ...round, asked: { ...round.asked, isGatewayThere: isReachable } };
}

/** When the others have had their time. */
export const patienceAt = ({ at }: Asked, permitMs: number): number => at + PATIENCE * permitMs;

/** Whether the round counts by what is in sight: nothing of it proves that nobody else speaks. */
export function isHeldBySegment(draft: Draft, { permitMs }: Sent, asked: Asked): boolean {
  const { now } = draft;
  if (!isSegmentAllowed(draft) || !asked.isGatewayThere) return false;
  if (now < patienceAt(asked, permitMs) || hasRelay(draft)) return false;
  return asked.parts.every(
    ({ isApart }, part) => isApart || isAgreed(draft, asked, part, asked.needed),
  );
}

/** What is held by the segment itself counts part by part: of everybody in sight, nobody may object. */
export const isPartHeld = (draft: Draft, asked: Asked, part: number): boolean =>
  asked.isGatewayThere && !hasRelay(draft) && isAgreed(draft, asked, part, asked.everybody);

/** Of these nobody in sight withholds his promise. */
export const isAgreed = (
  draft: Draft,
  { promised, refused }: Asked,
  part: number,
  peers: readonly DirectorId[],
): boolean =>
  !refused.has(part) &&
  peers.every((peer) => promised.get(peer)?.has(part) === true || isOutOfSight(draft, peer));

/** Silent for so long that it is suspect; who is in sight must answer. */
const isOutOfSight = ({ state, config, now }: Draft, peer: DirectorId): boolean =>
  now >= (state.lastHeard.get(peer) ?? Number.NEGATIVE_INFINITY) + outOfSightMs(config.timing);

/**
 * The gate ends 0.75 D after the last arming. The round after that, 0.2 D later, may be the first one that lacks a
 * promise, and with its permit 0.25 D are lost: the next one has to count by 0.7 D.
 */
const OUT_OF_SIGHT = 0.4;
const outOfSightMs = ({ suspectMs, holdMs }: Timing): number =>
  Math.min(suspectMs, OUT_OF_SIGHT * holdMs);

/** Somebody has the store, and asked it for this director a moment ago: then the store's word counts. */
const hasRelay = ({ state, config, now }: Draft): boolean =>
  state.relayedAt !== null && now < state.relayedAt + config.timing.holdMs;

/** What the segment may arm: what speaks already, and what nobody answered for. */
export const isKeptBySegment = (draft: Draft, group: GroupId, { kind }: Holding): boolean =>
  kind === 'open' || (kind === 'owned' && isProvenFree(draft, group));

/** Somebody else speaks as a VIP of the group: with better evidence it goes on, without it is silent at once. */
export function onContested(draft: Draft, { group }: ElectionEvent & { kind: 'contested' }): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (holding?.kind === 'owned') onVoice(draft, group);
  if (holding?.kind !== 'open') return;
  if (!isBySegment(state.basis, holding.right)) return;
  yieldTo(draft, group, holding, 'somebody else speaks as its VIPs; silent here');
}

/** Something speaks here, or may soon, that another voice silences: a round by the segment, or a stand-in's group. */
export function isUpToVoices(
  state: Pick<ElectionState, 'basis' | 'holdings' | 'probings'>,
): boolean {
  if (state.basis === 'segment') return true;
  for (const [group, one] of state.holdings)
    if ((one.kind === 'open' && one.right === 'segment') || isFoundFree(state, group)) return true;
  return false;
}

/** What a voice is worth that nobody confirms: somebody else may speak, too, whose words do not arrive. */
const REPEAT_MS = 1000;

/** What is held by the segment is announced each second: who holds it so, too, hears that and is silent. */
export function repeatAnnouncements(draft: Draft): void {
  const { state, now } = draft;
  if (now < (state.repeatAt ?? now)) return;
  const groups: GroupId[] = [];
  for (const [group, holding] of state.holdings)
    if (holding.kind === 'open' && isBySegment(state.basis, holding.right)) groups.push(group);
  state.repeatAt = groups.length > 0 ? later(draft, REPEAT_MS) : null;
  if (groups.length > 0) draft.effects.push({ kind: 'repeat', groups });
}

const isBySegment = (basis: HoldBasis | null, right: Right): boolean =>
  basis === 'segment' || right === 'segment';

/** Who has better evidence opens about now. A record that this director has not seen yet is better than its own. */
export function onYield(draft: Draft, { group, epoch }: HoldingName): void {
  const holding = draft.state.holdings.get(group);
  if (holding?.kind !== 'open') return;
  if (holding.right === 'segment' ? epoch < holding.epoch : epoch <= holding.epoch) return;
  if (holding.right === 'record') own(draft, 'departed').set(group, epoch);
  yieldTo(draft, group, holding, 'told to yield by who opens it now; silent here');
}

/** Another director is heard to speak by a record that this one has not seen: better than any that its gateway answers. */
export function yieldToNewer(draft: Draft, from: DirectorId, armed: readonly Named[]): void {
  const { state } = draft;
  for (const { group, epoch } of armed) {
    const holding = state.holdings.get(group);
    if (holding?.kind !== 'open' || epoch <= holding.epoch) continue;
    if (!isBySegment(state.basis, holding.right)) continue;
    if (holding.right === 'record') own(draft, 'departed').set(group, epoch);
    yieldTo(draft, group, holding, `${from} speaks by a newer record; silent here`);
  }
}

type Named = Pick<HoldingName, 'group' | 'epoch'>;

/** Silent at once: another voice has better evidence, or as good. */
export function yieldTo(
  draft: Draft,
  group: GroupId,
  holding: Holding & { kind: 'open' },
  text: string,
): void {
  silence(draft, group, holding, { giveUp: null, isLost: false });
  const { epoch } = holding;
  if (!alarmOnce(draft, `yielded:${group}`)) return;
  notice(draft, 'holder.yielded', 'error', text, { group, epoch, reason: 'contested' });
}

/** The store or the peers count again: another voice is news again, too. */
export function leaveSegment(draft: Draft): void {
  const { state } = draft;
  for (const key of state.alarms) if (key.startsWith('yielded:')) remove(draft, 'alarms', key);
}
