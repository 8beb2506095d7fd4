/**
 * What a group's notify programs are told, and when: keepalived's states, derived from how this director
 * holds the group. Pure; programs and pipes are told by the agent in the order decided here.
 */
import type { IneligibleReason, HoldReason } from '../../model/decision.ts';
import { unreachable } from '../../lib/assert.ts';
import type { Epoch, GroupId, MonoMs } from '../../model/ids.ts';
import type { Holding } from '../election/state.ts';

/** keepalived's words, as its scripts compare them. */
export type NotifyState = 'MASTER' | 'BACKUP' | 'FAULT' | 'STOP';

/**
 * `silent`: ours by the record, but the kernel speaks for it no more, or not yet. `leaving`: the record
 * is given up or about to be, and the kernel may still speak.
 */
export type HoldingPhase = 'none' | 'silent' | 'open' | 'leaving';

export type GroupObservation = {
  readonly group: GroupId;
  readonly phase: HoldingPhase;
  /** Of the holding, else of the owner record as seen here; null: nobody ever owned the group. */
  readonly epoch: Epoch | null;
  /** Why this director could not hold it now; null: it could. */
  readonly ineligible: IneligibleReason | null;
  /** Why it was taken or given up last; null: neither yet. */
  readonly reason: HoldReason | null;
  /** As keepalived would tell it: 1 to 254. */
  readonly priority: number;
};

export type Notification = {
  readonly group: GroupId;
  readonly state: NotifyState;
  readonly epoch: Epoch | null;
  readonly reason: HoldReason | IneligibleReason | null;
  readonly priority: number;
};

type Entry = {
  /** Null: nothing yet. */
  readonly told: Exclude<NotifyState, 'STOP'> | null;
  /** Highest that was told. */
  readonly epoch: Epoch | null;
  readonly priority: number;
  /** Since when a told MASTER has been silent without a word in the records. */
  readonly silentSince: MonoMs | null;
};

export type NotifyBook = ReadonlyMap<GroupId, Entry>;

export const EMPTY_BOOK: NotifyBook = new Map();

/**
 * A late round silences a VIP that comes back at once, and programs that follow the VIP should not be
 * moved for it. A successor that is seen in the records ends this; cut off from them, BACKUP is told so
 * much later than the kernel has silenced the VIP.
 */
export const SILENT_GRACE_MS = 1_000;

/** How the election's word for a holding reads here. */
export function phaseOf(holding: Holding | undefined): HoldingPhase {
  if (holding === undefined) return 'none';
  switch (holding.kind) {
    case 'owned':
      return 'silent';
    case 'open':
      return 'open';
    case 'leaving':
    case 'closing':
      return 'leaving';
    case 'shut':
      return 'none';
    default:
      return unreachable(holding);
  }
}

/**
 * All groups that have somebody to tell, each time; a group that is missing has left the spec. No state
 * is told twice in a row, MASTER only after the VIP was opened, and never an epoch below one told.
 */
export function stepNotify(
  book: NotifyBook,
  observations: readonly GroupObservation[],
  now: MonoMs,
): { readonly book: NotifyBook; readonly notifications: readonly Notification[] } {
  const next = new Map<GroupId, Entry>();
  const notifications: Notification[] = [];
  for (const observation of observations) {
    const before = book.get(observation.group) ?? NOTHING_TOLD;
    const entry = { ...before, silentSince: silentSince(before, observation, now) };
    const state = decideState(entry, observation, now);
    const told = state === null ? null : announce(entry, observation, state);
    if (told !== null) notifications.push(told);
    next.set(observation.group, told === null ? entry : entryOf(told));
  }
  for (const [group, entry] of book)
    if (!next.has(group)) notifications.push(...stop(group, entry, 'group-removed'));
  return { book: next, notifications };
}

/** STOP for every group that was told anything else. */
export function stopNotify(book: NotifyBook): readonly Notification[] {
  return [...book].flatMap(([group, entry]) => stop(group, entry, 'shutdown'));
}

const NOTHING_TOLD: Entry = { told: null, epoch: null, priority: 0, silentSince: null };

function silentSince(before: Entry, { phase }: GroupObservation, now: MonoMs): MonoMs | null {
  return phase === 'silent' && before.told === 'MASTER' ? (before.silentSince ?? now) : null;
}

/** Null: no news. */
function decideState(entry: Entry, seen: GroupObservation, now: MonoMs): NotifyState | null {
  switch (seen.phase) {
    case 'open':
      return 'MASTER';
    case 'leaving':
      return null;
    case 'silent': {
      const isLong = entry.silentSince !== null && now - entry.silentSince >= SILENT_GRACE_MS;
      return isLong ? decideIdle(entry, seen.ineligible) : null;
    }
    case 'none':
      return decideIdle(entry, seen.ineligible);
    default:
      return unreachable(seen.phase);
  }
}

/** The VIP is not here: whose fault is it? */
function decideIdle(entry: Entry, ineligible: IneligibleReason | null): NotifyState | null {
  if (ineligible === null) return 'BACKUP';
  switch (ineligible) {
    case 'interface-missing':
    case 'interface-down':
    case 'cannot-bind':
    case 'track-failed':
    case 'gate-too-coarse':
      return 'FAULT';
    case 'draining':
    case 'flapping':
    case 'sync-catching-up':
    case 'vrrp-active-elsewhere':
      return 'BACKUP';
    case 'not-in-priorities':
      return entry.told === null ? null : 'STOP';
    // Not yet known, or etcd is away: only the loss of a VIP is certain.
    case 'no-session':
    case 'not-heard':
    case 'starting':
    case 'stopping':
    case 'vrrp-listening':
    case 'vrrp-unheard':
      return entry.told === 'MASTER' ? 'BACKUP' : null;
    default:
      return unreachable(ineligible);
  }
}

function announce(entry: Entry, seen: GroupObservation, state: NotifyState): Notification | null {
  if (state === entry.told) return null;
  const isStale = seen.epoch === null || seen.epoch < (entry.epoch ?? 0);
  if (state === 'MASTER' && isStale) return null;
  const { group, priority } = seen;
  return {
    group,
    state,
    epoch: isStale ? entry.epoch : seen.epoch,
    reason: reasonOf(state, seen),
    priority,
  };
}

function reasonOf(
  state: NotifyState,
  { ineligible, reason }: GroupObservation,
): HoldReason | IneligibleReason | null {
  if (state === 'MASTER') return reason;
  return state === 'FAULT' || state === 'STOP' ? ineligible : (reason ?? ineligible);
}

function stop(
  group: GroupId,
  { told, epoch, priority }: Entry,
  reason: HoldReason,
): readonly Notification[] {
  return told === null ? [] : [{ group, state: 'STOP', epoch, reason, priority }];
}

/** A stopped group begins anew when it returns, but not with an older epoch. */
const entryOf = ({ state, epoch, priority }: Notification): Entry => ({
  told: state === 'STOP' ? null : state,
  epoch,
  priority,
  silentSince: null,
});
