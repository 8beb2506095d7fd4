/** Events and audit in etcd (`log/event/<id>`), kept for days on a lease; at most so many wait to be written. */
import { AsyncQueue } from '../lib/async.ts';
import { formatUlid, ULID_RANDOM_BYTES } from '../lib/ulid.ts';
import type { ElectionNotice } from '../core/election/notices.ts';
import { ABSENT, type DirectorId, type LeaseId, type MonoMs, monoMs } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import { type EventRecord, formatRecord } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';
import type { Random } from '../ports/random.ts';

export type EventLog = {
  record(event: EventRecord): void;
  run(signal: AbortSignal): Promise<void>;
};

/** While etcd is away the oldest waiting events are dropped beyond this, and counted in the log. */
const WAITING_LIMIT = 500;
const KEEP_S = 7 * 24 * 3600;
/** One lease serves the events of an hour. */
const LEASE_HOUR_MS = 3_600_000;
const CALL_MS = 2000;
const LAST_CALL_MS = 500;
const RETRY_MS = 1000;
const TRIES = 60;
/** A wall clock that goes back by more than this was set; ids follow it. */
const SAME_TIME_MS = 1000;

export function createEventLog(
  options: { readonly keys: Keys },
  ports: {
    readonly store: ClusterStore;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Log;
  },
): EventLog {
  const { store, clock, random, log } = ports;
  const waiting = new AsyncQueue<{ readonly id: string; readonly event: EventRecord }>(
    WAITING_LIMIT,
  );
  let lastMs = 0;
  /** Of one agent's events none has the time of another: their ids sort as they happened. */
  const nextMs = (): number => {
    const wallMs = clock.wallMs();
    const isBehind = wallMs <= lastMs && lastMs - wallMs < SAME_TIME_MS;
    lastMs = isBehind ? lastMs + 1 : wallMs;
    return lastMs;
  };
  let held: { readonly lease: LeaseId; readonly until: MonoMs } | null = null;

  const leaseNow = async (deadlineMs: number): Promise<LeaseId | null> => {
    if (held !== null && clock.now() < held.until) return held.lease;
    const granted = await store.grantLease(KEEP_S, { deadlineMs });
    if (!granted.ok) return null;
    held = { lease: granted.value.lease, until: monoMs(clock.now() + LEASE_HOUR_MS) };
    return held.lease;
  };

  const write = async (id: string, event: EventRecord, signal: AbortSignal): Promise<boolean> => {
    const deadlineMs = signal.aborted ? LAST_CALL_MS : CALL_MS;
    const lease = await leaseNow(deadlineMs);
    if (lease === null) return false;
    const key = options.keys.event(id);
    const answer = await store.txn(
      {
        compares: [{ key, modRevision: ABSENT }],
        success: [{ op: 'put', key, value: formatRecord(event), lease }],
        failure: [],
      },
      { deadlineMs },
    );
    if (answer.kind !== 'answered' && answer.error.code === 'lease-gone') held = null;
    // A failed compare means that an earlier try in doubt had committed.
    return answer.kind === 'answered';
  };

  return {
    record: (event) =>
      waiting.push({
        id: formatUlid(nextMs(), random.hex(ULID_RANDOM_BYTES)),
        event,
      }),
    run: async (signal) => {
      signal.addEventListener('abort', () => waiting.end(), { once: true });
      for await (const { id, event } of waiting) {
        let isWritten = await write(id, event, signal);
        for (let i = 1; i < TRIES && !isWritten && !signal.aborted; i++) {
          await clock.sleep(RETRY_MS, signal);
          isWritten = await write(id, event, signal);
        }
        // The end does not wait for a store that does not answer.
        if (signal.aborted && !isWritten) break;
      }
      if (waiting.dropped > 0) log.warn({ dropped: waiting.dropped }, 'events.dropped');
    },
  };
}

/** An election notice as an event record. */
export const recordOf = (
  notice: ElectionNotice,
  director: DirectorId,
  clock: Clock,
): EventRecord => ({
  v: 1,
  at: clock.wallTime(),
  director,
  severity: notice.severity,
  kind: notice.kind,
  subject: notice.group ?? notice.director ?? director,
  message: notice.message,
  reason: notice.reason,
  epoch: notice.epoch,
  by: null,
});
