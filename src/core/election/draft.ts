/** The working copy of one step: mutable inside the step, never seen outside it. */
import type { HoldReason } from '../../model/decision.ts';
import type { DirectorId, Epoch, GroupId, MonoMs, Revision } from '../../model/ids.ts';
import { monoMs } from '../../model/ids.ts';
import type { OperationRecord } from '../../model/records.ts';
import type {
  ElectionConfig,
  ElectionEffect,
  ElectionState,
  Purpose,
  TxnRequest,
} from './state.ts';
import type { ElectionNotice } from './notices.ts';
import { createRanking, type Ranking } from './placement.ts';
import { type Survey, surveyOf } from './survey.ts';
import { type ElectionView, type Known, mergeView, type ViewChange } from './view.ts';

/** Of the state, written to entry by entry: copied at the first write of a step (`own`). */
type Owned =
  | 'holdings'
  | 'heard'
  | 'promises'
  | 'consented'
  | 'departed'
  | 'probings'
  | 'standAfter'
  | 'lastHeard'
  | 'newestHeard'
  | 'adverts'
  | 'listening'
  | 'challenges'
  | 'claimable'
  | 'ownerSeenAt'
  | 'better'
  | 'offeredUntil'
  | 'transferring'
  | 'kept'
  | 'keptUntil'
  | 'muted'
  | 'damping'
  | 'operationSeenAt'
  | 'refusedUntil'
  | 'inFlight'
  | 'restingSlots'
  | 'alarms';

type KeyOf<T> =
  T extends ReadonlyMap<infer K, unknown> ? K : T extends ReadonlySet<infer E> ? E : never;

type Writable<T> =
  T extends ReadonlyMap<infer K, infer V>
    ? Map<K, V>
    : T extends ReadonlySet<infer E>
      ? Set<E>
      : never;

type DraftState = { -readonly [K in keyof ElectionState]: ElectionState[K] };

export type Draft = {
  readonly config: ElectionConfig;
  readonly now: MonoMs;
  /** As it was before the step. */
  readonly before: ElectionState;
  /** Its maps and sets are shared with the state before the step until `own` is asked for one. */
  readonly state: DraftState;
  readonly effects: ElectionEffect[];
  /** Kills and claims that are due: they ride on the next round. */
  readonly acquisitions: Acquisition[];
  /** Asked for in this step (`rankingOf`), and the view that it was made of. */
  ranked: { readonly view: ElectionView; readonly ranking: Ranking } | null;
  /** The same of `pendingOperations`. */
  pending: { readonly view: ElectionView; readonly operations: OperationsByGroup } | null;
};

type OperationsByGroup = ReadonlyMap<GroupId, readonly NamedOperation[]>;

type NamedOperation = readonly [id: string, operation: OperationRecord];

/** A txn that gains groups: sent with a round, so that its answer lets them speak at once (design 4.6). */
export type Acquisition = {
  readonly slot: string;
  readonly txn: TxnRequest;
  readonly purposeOf: (round: number) => Purpose;
  /** Sent when all else of the round has been answered: it would void what the others compare. */
  readonly isLast?: boolean;
};

export const beginDraft = (before: ElectionState, now: MonoMs, config: ElectionConfig): Draft => ({
  config,
  now,
  before,
  state: copyState(before),
  effects: [],
  acquisitions: [],
  ranked: null,
  pending: null,
});

/** Name by name: in every step, and many times as fast as a spread of so many. */
// oxlint-disable-next-line max-lines-per-function -- a table of names
const copyState = (state: ElectionState): DraftState => ({
  view: state.view,
  survey: state.survey,
  roster: state.roster,
  lapseAt: state.lapseAt,
  listening: state.listening,
  followed: state.followed,
  unclaimable: state.unclaimable,
  contented: state.contented,
  guard: state.guard,
  isSynced: state.isSynced,
  gate: state.gate,
  kept: state.kept,
  keptUntil: state.keptUntil,
  isStopping: state.isStopping,
  stopsUnreadyAt: state.stopsUnreadyAt,
  isFreezing: state.isFreezing,
  isFrozen: state.isFrozen,
  startedAt: state.startedAt,
  session: state.session,
  holdings: state.holdings,
  round: state.round,
  roundNumber: state.roundNumber,
  unarmedRounds: state.unarmedRounds,
  unansweredRounds: state.unansweredRounds,
  armedHoldMs: state.armedHoldMs,
  armedUntil: state.armedUntil,
  allArmed: state.allArmed,
  scopeInDoubt: state.scopeInDoubt,
  lastRoundMs: state.lastRoundMs,
  lastConfirmedAt: state.lastConfirmedAt,
  awaitedSince: state.awaitedSince,
  storeWord: state.storeWord,
  basis: state.basis,
  relayedSince: state.relayedSince,
  relayedAt: state.relayedAt,
  answeredAt: state.answeredAt,
  askedSince: state.askedSince,
  gatewaySeenAt: state.gatewaySeenAt,
  repeatAt: state.repeatAt,
  splitUntil: state.splitUntil,
  probings: state.probings,
  standAfter: state.standAfter,
  nextConsentAt: state.nextConsentAt,
  consented: state.consented,
  departed: state.departed,
  promises: state.promises,
  doubts: state.doubts,
  foreseen: state.foreseen,
  heard: state.heard,
  lastHeard: state.lastHeard,
  newestHeard: state.newestHeard,
  adverts: state.adverts,
  challenges: state.challenges,
  claimable: state.claimable,
  ownerSeenAt: state.ownerSeenAt,
  better: state.better,
  offeredUntil: state.offeredUntil,
  eligibility: state.eligibility,
  ready: state.ready,
  bonus: state.bonus,
  transferring: state.transferring,
  muted: state.muted,
  damping: state.damping,
  operationSeenAt: state.operationSeenAt,
  refusedUntil: state.refusedUntil,
  nextHeartbeatAt: state.nextHeartbeatAt,
  inFlight: state.inFlight,
  restingSlots: state.restingSlots,
  nextTxnId: state.nextTxnId,
  alarms: state.alarms,
});

/**
 * This step's own copy of a map or set of the state, made at the first call. An iteration under way
 * over the shared one goes on over what was there before.
 */
export function own<K extends Owned>(
  { before, state }: Draft,
  name: K,
): Writable<ElectionState[K]> {
  if (state[name] === before[name]) state[name] = copyOf(before[name]);
  // Whatever is not shared was made in this step.
  return state[name] as unknown as Writable<ElectionState[K]>;
}

function copyOf<T>(shared: T): T {
  return (
    shared instanceof Set ? new Set(shared) : new Map(shared as Iterable<[unknown, unknown]>)
  ) as T;
}

/** Deletes an entry; nothing is copied where there is none. */
export function remove<K extends Owned>(draft: Draft, name: K, key: KeyOf<ElectionState[K]>): void {
  const entries: { has(key: unknown): boolean } = draft.state[name];
  if (!entries.has(key)) return;
  const mine: { delete(key: unknown): boolean } = own(draft, name);
  mine.delete(key);
}

/** What the records say now. */
export function surveyed({ state }: Draft): Survey {
  state.survey = surveyOf(state.view, state.survey);
  return state.survey;
}

/** The candidates as the view is now: worked out when asked for, and anew when the view has changed since. */
export function rankingOf(draft: Draft): Ranking {
  const { state, config, now } = draft;
  if (draft.ranked?.view !== state.view)
    draft.ranked = { view: state.view, ranking: createRanking(state, config, now) };
  return draft.ranked.ranking;
}

/** Operations that nobody has begun to answer, group by group. */
export function pendingOperations(draft: Draft): OperationsByGroup {
  const { view } = draft.state;
  if (view.operations.size === 0) return NO_OPERATIONS;
  if (draft.pending?.view !== view) draft.pending = { view, operations: pendingIn(view) };
  return draft.pending.operations;
}

const NO_OPERATIONS: OperationsByGroup = new Map();

function pendingIn(view: ElectionView): Map<GroupId, NamedOperation[]> {
  const found = new Map<GroupId, NamedOperation[]>();
  for (const named of operationsIn(view, 'pending')) {
    const group = named[1].group as GroupId;
    found.set(group, [...(found.get(group) ?? []), named]);
  }
  return found;
}

export const runningOperations = ({ state }: Draft): readonly NamedOperation[] =>
  operationsIn(state.view, 'running');

function operationsIn(view: ElectionView, state: OperationRecord['state']): NamedOperation[] {
  const found: NamedOperation[] = [];
  for (const [id, { value }] of view.operations)
    if (value?.state === state) found.push([id, value]);
  return found;
}

export const later = (draft: Draft, ms: number): MonoMs => monoMs(draft.now + ms);

/** At most one txn is in flight per slot, and a slot rests after a failure: a later step tries again. */
export const isBusy = (draft: Draft, slot: string): boolean =>
  draft.state.inFlight.has(slot) || (draft.state.restingSlots.get(slot) ?? draft.now) > draft.now;

export function request(draft: Draft, slot: string, purpose: Purpose, txn: TxnRequest): void {
  const id = draft.state.nextTxnId++;
  draft.state.askedSince ??= draft.now;
  own(draft, 'inFlight').set(slot, { id, purpose, compares: txn.compares });
  draft.effects.push({
    kind: 'txn',
    id,
    slot,
    purpose,
    txn,
    deadlineMs: draft.config.timing.permitMs,
  });
}

export function learn(draft: Draft, changes: readonly ViewChange[]): void {
  draft.state.view = mergeView(draft.state.view, changes);
}

/** What a successful put of mine made true. */
export const written = <T>(revision: Revision, value: T): Known<T> => ({
  rev: revision,
  asOf: revision,
  value,
});

export function notice(
  draft: Draft,
  kind: ElectionNotice['kind'],
  severity: ElectionNotice['severity'],
  message: string,
  about: {
    readonly group?: GroupId;
    readonly director?: DirectorId;
    readonly epoch?: Epoch;
    readonly reason?: HoldReason;
  } = {},
): void {
  draft.effects.push({
    kind: 'event',
    event: {
      kind,
      severity,
      message,
      group: about.group ?? null,
      director: about.director ?? null,
      epoch: about.epoch ?? null,
      reason: about.reason ?? null,
    },
  });
}

/** Tells an anomaly once; true when it was new. */
export function alarmOnce(draft: Draft, key: string): boolean {
  if (draft.state.alarms.has(key)) return false;
  own(draft, 'alarms').add(key);
  return true;
}
