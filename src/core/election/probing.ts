/**
 * Asks the network who has a group's VIPs before they are opened here (design 4.10, RFC 5227 2.1.1). After a
 * lapse, and where a holder was taken for dead that may go on by its gateway, two probes: who answers them is
 * told to yield, and has 100 ms for it. Without any other evidence many, and their silence is the evidence.
 */
import type { GroupId } from '../../model/ids.ts';
import { alarmOnce, type Draft, later, notice, own, remove } from './draft.ts';
import { isUnresolved } from './pending.ts';
import { hold, rosterOf } from './roster.ts';
import {
  isCutOff,
  isGatewaySeen,
  isSegmentUsed,
  isStoreThere,
  lateStandInOf,
  mayStandIn,
} from './stand-in.ts';
import type { ElectionEvent, ElectionState, Holding, Probing } from './state.ts';
import { waitMs } from './timing.ts';
import type { Wake } from './wake.ts';

type Owned = Holding & { readonly kind: 'owned' };

const SHORT = { count: 2, intervalMs: 20 };
/** Spread over D'. */
const LONG_COUNT = 5;
/** Who answered has so long to fall silent; it is told again and again, for datagrams are lost. */
const YIELD_MS = 100;
const YIELD_PACE_MS = 20;
/** What a short probing found is acted upon at once, or it is asked anew. */
const VALID_MS = 500;
/** The network desk answers when its probes are over; its answer is given up after so much more. */
const ANSWER_SLACK_MS = 1000;

/** Its owner stays silent: somebody may still answer, or it has not listened for long enough to know. */
export const mustWait = (draft: Draft, group: GroupId): boolean =>
  isUnresolved(draft, group) ||
  draft.state.eligibility.get(group) === 'vrrp-listening' ||
  lateStandInOf(draft, group) !== null ||
  isUnprobed(draft, group);

/** Without the store a newer document may let others go on by their gateway, and this director has not seen it. */
const mayBeStoodFor = (draft: Draft, group: GroupId): boolean =>
  isSegmentUsed(draft) || !isStoreThere(draft) || isOfFormerLife(draft, group);

/** The scope record under the name of its last holder is of a later life, and says nothing of how that one goes on. */
const isOfFormerLife = ({ state }: Draft, group: GroupId): boolean =>
  state.view.owners.get(group)?.value?.reason === 'holder-closed';

/** A group of this director's record stays silent until the network was asked about it. */
function isUnprobed(draft: Draft, group: GroupId): boolean {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  if (holding?.kind !== 'owned' || holding.right !== 'record') return false;
  if (!holding.mustProbe || !mayBeStoodFor(draft, group)) return false;
  const probing = probingOf(draft, group, holding);
  if (probing === null || probing.phase === 'asking') return true;
  if (probing.phase === 'clear') return false;
  return probing.length === 'long' || now < probing.until;
}

/** Nobody answered for as long as its holder could have spoken: that is all the evidence there is. */
export function isProvenFree(draft: Draft, group: GroupId): boolean {
  const holding = draft.state.holdings.get(group);
  if (holding?.kind !== 'owned') return false;
  const probing = probingOf(draft, group, holding);
  return probing?.length === 'long' && probing.phase === 'clear' && draft.now < probing.until;
}

function probingOf({ state }: Draft, group: GroupId, { epoch, right }: Owned): Probing | null {
  const probing = state.probings.get(group);
  if (probing === undefined || probing.right !== right) return null;
  const isAhead = probing.epoch === null && probing.phase !== 'answered';
  return probing.epoch === epoch || isAhead ? probing : null;
}

export function advanceProbing(draft: Draft): void {
  const { state } = draft;
  lapseKept(draft);
  for (const [group, probing] of state.probings) goOn(draft, group, probing);
  askAhead(draft);
  if (rosterOf(draft).count.owned === 0) return;
  for (const [group, holding] of state.holdings) {
    if (holding.kind !== 'owned' || state.probings.has(group)) continue;
    const length = lengthFor(draft, group, holding);
    if (length !== null) ask(draft, group, holding, length);
  }
}

/** What a former process left speaking has fallen silent before this one could go on with it. */
function lapseKept(draft: Draft): void {
  const { state, now } = draft;
  for (const [group, until] of state.keptUntil) {
    if (until > now) continue;
    remove(draft, 'keptUntil', group);
    const holding = state.holdings.get(group);
    if (holding?.kind === 'owned' && holding.right === 'record' && !holding.mustProbe)
      hold(draft, group, { ...holding, mustProbe: true });
  }
}

/** Just before a dead holder's groups may be taken: who goes on without the store is heard as well as just after. */
function askAhead(draft: Draft): void {
  const { state, now } = draft;
  if (state.foreseen.size === 0 || !isSegmentUsed(draft) || now < aheadAt(draft)) return;
  for (const group of state.foreseen) {
    if (state.probings.has(group) || state.holdings.has(group)) continue;
    begin(draft, group, { epoch: null, right: 'record', length: 'short' }, SHORT);
  }
}

/** When the first of the foreseen may be taken, less the time for the probes; Infinity: nobody is accused. */
function aheadAt({ state, config }: Draft): number {
  let soonest = Number.POSITIVE_INFINITY;
  for (const [director, challenge] of state.challenges) {
    if (challenge.kind !== 'standing') continue;
    const scope = state.view.scopes.get(director)?.value ?? null;
    soonest = Math.min(soonest, challenge.ackedAt + waitMs(scope, config.timing));
  }
  return soonest - SHORT.count * SHORT.intervalMs - AHEAD_MS - state.foreseen.size;
}

/** For the way of the last answer, and the work of many groups (a millisecond each is added). */
const AHEAD_MS = 20;

/** What the group is asked with now; null: there is no need, or no use. */
function lengthFor(draft: Draft, group: GroupId, holding: Owned): Probing['length'] | null {
  const { state, now } = draft;
  if (isToBeLong(draft, holding)) {
    // In vain, and who probes for the same hears it.
    if (holding.right === 'segment' && !isGatewaySeen(draft)) return null;
    return now >= (state.standAfter.get(group) ?? now) && lateStandInOf(draft, group) === null
      ? 'long'
      : null;
  }
  const isPrepared = holding.preparedUntil !== null && holding.preparedUntil > now;
  if (holding.right === 'segment' || !holding.mustProbe || !isPrepared) return null;
  if (!mayBeStoodFor(draft, group) || isUnresolved(draft, group)) return null;
  return lateStandInOf(draft, group) === null ? 'short' : null;
}

/** Neither the store nor its word through others: the network is the only witness. */
const isToBeLong = (draft: Draft, holding: Owned): boolean =>
  mayStandIn(draft) &&
  isCutOff(draft) &&
  (holding.right === 'segment' || (holding.mustProbe && !isPromisedByAll(draft, holding)));

/** All whom its scope names, and nobody else may stand in for it, have told that they do not. */
const isPromisedByAll = ({ state, now }: Draft, { preparedUntil }: Owned): boolean =>
  state.basis === 'peers' && preparedUntil !== null && preparedUntil > now;

function ask(draft: Draft, group: GroupId, holding: Owned, length: Probing['length']): void {
  const { count, intervalMs } = length === 'short' ? SHORT : longProbes(draft, group);
  const { epoch, right } = holding;
  begin(draft, group, { epoch, right, length }, { count, intervalMs });
}

function begin(
  draft: Draft,
  group: GroupId,
  about: Pick<Probing, 'epoch' | 'right' | 'length'>,
  { count, intervalMs }: { readonly count: number; readonly intervalMs: number },
): void {
  const until = later(draft, count * intervalMs + ANSWER_SLACK_MS);
  const probing: Probing = { ...about, phase: 'asking', until, nextTellAt: draft.now };
  own(draft, 'probings').set(group, probing);
  draft.effects.push({ kind: 'probe', group, length: about.length, count, intervalMs });
}

/** Nobody answered for it, and the next round may open it: who begins to speak meanwhile is heard. */
export function isFoundFree(
  { holdings, probings }: Pick<ElectionState, 'holdings' | 'probings'>,
  group: GroupId,
): boolean {
  const probing = probings.get(group);
  const isSilent = holdings.get(group)?.kind === 'owned';
  return isSilent && probing?.length === 'long' && probing.phase === 'clear';
}

/** Somebody begins to speak after all: as if it had answered. */
export function onVoice(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  const probing = state.probings.get(group);
  if (probing === undefined || !isFoundFree(state, group)) return;
  const until = later(draft, lastVoiceMs(draft, group));
  own(draft, 'probings').set(group, { ...probing, phase: 'answered', until, nextTellAt: now });
  stepBack(draft, group);
}

/**
 * Another director asks to stand in for the group that this one is about to open: it may speak already, though neither
 * its heartbeats nor its ARP came. It is told to yield as who answers is.
 */
export function onStandInAsks(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  const probing = state.probings.get(group);
  if (holding?.kind !== 'owned' || holding.right !== 'record' || holding.isOpening) return;
  if (probing?.length !== 'short' || probing.phase === 'answered' || probing.epoch === null) return;
  const until = later(draft, YIELD_MS);
  own(draft, 'probings').set(group, { ...probing, phase: 'answered', until, nextTellAt: now });
}

/** At least four over D' of whoever the record names. */
function longProbes(draft: Draft, group: GroupId): { count: number; intervalMs: number } {
  return { count: LONG_COUNT, intervalMs: Math.ceil(lastVoiceMs(draft, group) / LONG_COUNT) };
}

/** D' of the holder by the record: so long it may speak after it was heard last. */
function lastVoiceMs({ state, config }: Draft, group: GroupId): number {
  const holder = state.view.owners.get(group)?.value?.director;
  const scope = [...state.view.scopes].find(([director]) => director === holder)?.[1].value;
  return waitMs(scope ?? null, config.timing);
}

/** Ends what proves nothing any more, and tells who answered to yield. */
function goOn(draft: Draft, group: GroupId, probing: Probing): void {
  const { state, now } = draft;
  const holding = state.holdings.get(group);
  if (probing.epoch === null && holding === undefined) {
    if (!state.foreseen.has(group) || now >= probing.until) remove(draft, 'probings', group);
    return;
  }
  const isOf = holding?.kind === 'owned' && probingOf(draft, group, holding) !== null;
  const isLong = isOf && isToBeLong(draft, holding);
  const overAt = probing.phase === 'answered' ? probing.until + VALID_MS : probing.until;
  const isInVain = isLong && probing.phase === 'clear' && now >= overAt;
  if (isInVain && holding.right === 'segment' && !isBeingOpened(draft, group))
    stepBack(draft, group);
  if (!isOf || now >= overAt || isLong !== (probing.length === 'long')) {
    remove(draft, 'probings', group);
    return;
  }
  if (probing.phase === 'answered' && now >= probing.nextTellAt && now < probing.until)
    tellToYield(draft, group, probing);
}

/** The kernel was told to let it speak, and has not answered yet. */
export const isBeingOpened = ({ state: { round } }: Draft, group: GroupId): boolean =>
  round.kind === 'arming' && round.modes.get(group) === 'open';

function tellToYield(draft: Draft, group: GroupId, probing: Probing): void {
  const { state, config } = draft;
  own(draft, 'probings').set(group, { ...probing, nextTellAt: later(draft, YIELD_PACE_MS) });
  const { epoch } = probing;
  if (state.session.kind !== 'open' || probing.length === 'long' || epoch === null) return;
  const message = { kind: 'yield', session: state.session.id, group, epoch } as const;
  // Who is heard may speak though the spec names it no more.
  const named = config.directors.map(({ id }) => id);
  for (const to of new Set([...named, ...state.lastHeard.keys()]))
    if (to !== config.me) draft.effects.push({ kind: 'tell', to, message });
}

export function onProbed(draft: Draft, { answers }: ElectionEvent & { kind: 'probed' }): void {
  for (const [group, isAnswered] of answers) take(draft, group, isAnswered);
}

function take(draft: Draft, group: GroupId, isAnswered: boolean): void {
  const { state } = draft;
  const probing = state.probings.get(group);
  if (probing?.phase !== 'asking') return;
  const { epoch } = probing;
  const isLong = probing.length === 'long';
  // Ahead its holder may be heard to the end of F; once the group is this director's it is asked again.
  const isToYield = isAnswered && epoch !== null;
  const waitsMs = isLong ? lastVoiceMs(draft, group) : isToYield ? YIELD_MS : VALID_MS;
  const phase = isAnswered ? 'answered' : 'clear';
  const told: Probing = { ...probing, phase, until: later(draft, waitsMs), nextTellAt: draft.now };
  own(draft, 'probings').set(group, told);
  const alarm = `answered:${group}`;
  if (!isAnswered || !isLong) remove(draft, 'alarms', alarm);
  if (!isAnswered || epoch === null) return;
  if (isLong) stepBack(draft, group);
  // Asked again and again, as long as it is so.
  if (isLong && !alarmOnce(draft, alarm)) return;
  const text = isLong
    ? 'somebody has its VIPs, or that cannot be found out; silent here'
    : 'somebody still has its VIPs; told to yield';
  notice(draft, 'vips.answered', 'warn', text, { group, epoch });
}

/** Of D': longer than a probing, so that each is done with it before the next one comes. */
const STEP_BACK = 1.5;

/**
 * Somebody answered, or the peers did not agree: others have their turn. Two that ask at once hear each other,
 * and both step back: not for the same time.
 */
function stepBack(draft: Draft, group: GroupId): void {
  const { directors, me } = draft.config;
  const holder = draft.state.view.owners.get(group)?.value?.director;
  // The holder by the record comes last: that may be an earlier life of this director.
  const order = directors.map(({ id }) => id).filter((id) => id !== holder);
  const place = order.includes(me) ? order.indexOf(me) : order.length;
  const ms = STEP_BACK * lastVoiceMs(draft, group) * (1 + place);
  own(draft, 'standAfter').set(group, later(draft, ms));
}

/** Moments at which this room may have something to do by time alone. */
export function probingWakes(draft: Draft, wake: Wake): void {
  const { state } = draft;
  if (state.foreseen.size > 0) wake.by(aheadAt(draft));
  for (const { phase, until, nextTellAt } of state.probings.values()) {
    wake.by(until);
    if (phase !== 'answered') continue;
    wake.by(until + VALID_MS);
    wake.by(nextTellAt);
  }
  for (const at of state.standAfter.values()) wake.by(at);
  for (const until of state.keptUntil.values()) wake.by(until);
}
