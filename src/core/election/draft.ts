/** The working copy of one step: mutable inside the step, never seen outside it. */
import type { HoldReason } from '../../model/decision.ts';
import type { DirectorId, Epoch, GroupId, MonoMs, Revision } from '../../model/ids.ts';
import { monoMs } from '../../model/ids.ts';
import type { OperationRecord } from '../../model/records.ts';
import type {
  ElectionConfig,
  ElectionEffect,
  ElectionNotice,
  ElectionState,
  Purpose,
  TxnRequest,
} from './state.ts';
import { LazyMap } from '../../lib/lazy-map.ts';
import { createRanking, type Ranking } from './placement.ts';
import { type Survey, surveyOf } from './survey.ts';
import { type ElectionView, type Known, mergeView, type ViewChange } from './view.ts';

/** Replaced as a whole, never written to. */
type Replaced = 'eligibility' | 'ready' | 'bonus' | 'foreseen';

type Mutable<T> = {
  -readonly [K in keyof T]: K extends Replaced
    ? T[K]
    : T[K] extends ReadonlyMap<infer A, infer B>
      ? Map<A, B>
      : T[K] extends ReadonlySet<infer A>
        ? Set<A>
        : T[K];
};

export type Draft = {
  readonly config: ElectionConfig;
  readonly now: MonoMs;
  readonly state: Mutable<ElectionState>;
  readonly effects: ElectionEffect[];
  /** Kills and claims that are due: they ride on the next round. */
  readonly acquisitions: Acquisition[];
  /** The candidates as the view is now: computed when first asked for. */
  readonly ranking: () => Ranking;
  readonly pendingOperations: () => ReadonlyMap<GroupId, readonly NamedOperation[]>;
  readonly runningOperations: () => readonly NamedOperation[];
};

type NamedOperation = readonly [id: string, operation: OperationRecord];

/** A txn that gains groups: sent with a round, so that its answer lets them speak at once (design 4.6). */
export type Acquisition = {
  readonly slot: string;
  readonly txn: TxnRequest;
  readonly purposeOf: (round: number) => Purpose;
  /** Sent when all else of the round has been answered: it would void what the others compare. */
  readonly isLast?: boolean;
};

export function beginDraft(state: ElectionState, now: MonoMs, config: ElectionConfig): Draft {
  const draft = {
    ...state,
    holdings: new LazyMap(state.holdings),
    heard: new LazyMap(state.heard),
    lastHeard: new LazyMap(state.lastHeard),
    challenges: new LazyMap(state.challenges),
    claimable: new LazyMap(state.claimable),
    ownerSeenAt: new LazyMap(state.ownerSeenAt),
    better: new LazyMap(state.better),
    offeredUntil: new LazyMap(state.offeredUntil),
    transferring: new LazyMap(state.transferring),
    kept: new Set(state.kept),
    muted: new Set(state.muted),
    damping: new LazyMap(state.damping),
    operationSeenAt: new LazyMap(state.operationSeenAt),
    refusedUntil: new LazyMap(state.refusedUntil),
    inFlight: new LazyMap(state.inFlight),
    restingSlots: new LazyMap(state.restingSlots),
    alarms: new Set(state.alarms),
  };
  return {
    config,
    now,
    effects: [],
    acquisitions: [],
    state: draft,
    ranking: perView(draft, () => createRanking(draft, config, now)),
    pendingOperations: perView(draft, () => pendingOperations(draft.view)),
    runningOperations: perView(draft, () => operationsIn(draft.view, 'running')),
  };
}

/** The state as it is at the end of the step; what nothing was written to is shared with the one before. */
export const finishDraft = ({ state }: Draft): ElectionState => ({
  ...state,
  holdings: bare(state.holdings),
  heard: bare(state.heard),
  lastHeard: bare(state.lastHeard),
  challenges: bare(state.challenges),
  claimable: bare(state.claimable),
  ownerSeenAt: bare(state.ownerSeenAt),
  better: bare(state.better),
  offeredUntil: bare(state.offeredUntil),
  transferring: bare(state.transferring),
  damping: bare(state.damping),
  operationSeenAt: bare(state.operationSeenAt),
  refusedUntil: bare(state.refusedUntil),
  inFlight: bare(state.inFlight),
  restingSlots: bare(state.restingSlots),
});

/** What the records say now. */
export function surveyed({ state }: Draft): Survey {
  state.survey = surveyOf(state.view, state.survey);
  return state.survey;
}

/** The map of the step before, which nothing writes to any more; null where this step has written to it. */
export const untouched = <K, V>(map: Map<K, V>): ReadonlyMap<K, V> | null =>
  map instanceof LazyMap && !map.isWritten ? map.value : null;

const bare = <K, V>(map: Map<K, V>): ReadonlyMap<K, V> =>
  map instanceof LazyMap ? map.value : map;

/** Computed when asked for, and anew when the view has changed since. */
function perView<T>(state: { readonly view: ElectionView }, compute: () => T): () => T {
  let known: { readonly view: ElectionView; readonly value: T } | null = null;
  return () => {
    if (known?.view !== state.view) known = { view: state.view, value: compute() };
    return known.value;
  };
}

function operationsIn(view: ElectionView, state: OperationRecord['state']): NamedOperation[] {
  const found: NamedOperation[] = [];
  for (const [id, { value }] of view.operations)
    if (value?.state === state) found.push([id, value]);
  return found;
}

function pendingOperations(view: ElectionView): Map<GroupId, NamedOperation[]> {
  const found = new Map<GroupId, NamedOperation[]>();
  for (const named of operationsIn(view, 'pending')) {
    const group = named[1].group as GroupId;
    found.set(group, [...(found.get(group) ?? []), named]);
  }
  return found;
}

export const later = (draft: Draft, ms: number): MonoMs => monoMs(draft.now + ms);

/** At most one txn is in flight per slot, and a slot rests after a failure: a later step tries again. */
export const isBusy = (draft: Draft, slot: string): boolean =>
  draft.state.inFlight.has(slot) || (draft.state.restingSlots.get(slot) ?? draft.now) > draft.now;

export function request(draft: Draft, slot: string, purpose: Purpose, txn: TxnRequest): void {
  const id = draft.state.nextTxnId++;
  draft.state.inFlight.set(slot, { id, purpose });
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
  draft.state.alarms.add(key);
  return true;
}
