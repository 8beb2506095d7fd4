/** The working copy of one step: mutable inside the step, never seen outside it. */
import type { HoldReason } from '../../model/decision.ts';
import type { DirectorId, Epoch, GroupId, MonoMs, Revision } from '../../model/ids.ts';
import { monoMs } from '../../model/ids.ts';
import type {
  ElectionConfig,
  ElectionEffect,
  ElectionNotice,
  ElectionState,
  Purpose,
  TxnRequest,
} from './state.ts';
import { type Known, mergeView, type ViewChange } from './view.ts';

type Mutable<T> = {
  -readonly [K in keyof T]: T[K] extends ReadonlyMap<infer A, infer B>
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
};

export function beginDraft(state: ElectionState, now: MonoMs, config: ElectionConfig): Draft {
  return {
    config,
    now,
    effects: [],
    state: {
      ...state,
      holdings: new Map(state.holdings),
      heard: new Map(state.heard),
      lastHeard: new Map(state.lastHeard),
      challenges: new Map(state.challenges),
      claimable: new Map(state.claimable),
      ownerSeenAt: new Map(state.ownerSeenAt),
      better: new Map(state.better),
      offeredUntil: new Map(state.offeredUntil),
      eligibility: new Map(state.eligibility),
      refusedUntil: new Map(state.refusedUntil),
      inFlight: new Map(state.inFlight),
      restingSlots: new Map(state.restingSlots),
      alarms: new Set(state.alarms),
    },
  };
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
