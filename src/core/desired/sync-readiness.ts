/**
 * Whether connection sync has had time to catch up, so that a group may go back to this director without
 * its connections being cut. The kernel does not tell since when a daemon runs: whoever watches it does,
 * and counts from when it first saw the daemon as it is.
 */
import type { VipGroup } from '../../model/cluster.ts';
import type { Decision } from '../../model/decision.ts';
import type { IpvsDaemon } from '../../model/kernel.ts';
import { equalDaemon, type SyncExplanation } from './sync-daemons.ts';

/** Why a group is ready to come here as far as its connections go, or not; a closed list. */
export const SYNC_READY_REASONS = [
  'not-synced', // the group has no sync, or it cannot run here: nothing to wait for
  'held', // it is here already
  'caught-up', // the backup daemon has run for long enough
  'catching-up',
  'no-daemon', // the backup daemon does not run as wanted
] as const;
export type SyncReadyReason = (typeof SYNC_READY_REASONS)[number];

export type SyncReady = Decision<boolean, SyncReadyReason> & {
  /** Until it is ready, if nothing happens; null: it is, or it is not known when. */
  readonly remainingMs: number | null;
};

export type SeenDaemon = { readonly daemon: IpvsDaemon; readonly sinceMs: number };
/** By state. */
export type SeenDaemons = ReadonlyMap<IpvsDaemon['state'], SeenDaemon>;

/** `observed` null: not dumped, nothing is learnt. The very same map where nothing changed. */
export function stepSeenDaemons(
  seen: SeenDaemons,
  observed: readonly IpvsDaemon[] | null,
  nowMs: number,
): SeenDaemons {
  if (observed === null) return seen;
  const next = new Map(
    observed.map((daemon) => {
      const known = seen.get(daemon.state);
      const isSame = known !== undefined && equalDaemon(known.daemon, daemon);
      return [daemon.state, isSame ? known : { daemon, sinceMs: nowMs }] as const;
    }),
  );
  const isUnchanged =
    next.size === seen.size && [...next].every(([state, one]) => seen.get(state) === one);
  return isUnchanged ? seen : next;
}

export type SyncReadyInput = {
  readonly group: Pick<VipGroup, 'connectionSync'>;
  /** Of this group, by `deriveSync`; null: none was derived yet. */
  readonly explanation: SyncExplanation | null;
  readonly seen: SeenDaemons;
  /** Same clock as `stepSeenDaemons` got. */
  readonly nowMs: number;
};

export function decideSyncReady({ group, explanation, seen, nowMs }: SyncReadyInput): SyncReady {
  const sync = group.connectionSync;
  if (sync === null) return ready('not-synced');
  if (explanation === null) return { value: false, reason: 'no-daemon', remainingMs: null };
  if (explanation.why === 'master') return ready('held');
  // What can never run must not keep the group away for ever; status tells that it does not run.
  if (explanation.daemon === null) return ready('not-synced');
  const running = seen.get('backup');
  if (running === undefined || !equalDaemon(explanation.daemon, running.daemon))
    return { value: false, reason: 'no-daemon', remainingMs: null };
  const remainingMs = running.sinceMs + sync.catchUpMs - nowMs;
  if (remainingMs <= 0) return ready('caught-up');
  return { value: false, reason: 'catching-up', remainingMs };
}

const ready = (reason: SyncReadyReason): SyncReady => ({ value: true, reason, remainingMs: null });
