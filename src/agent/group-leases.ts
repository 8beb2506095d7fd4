/**
 * Shows the world which groups are held here: one etcd lease per group with `run/lease/<group>` on it.
 * Cosmetic for safety; its end makes the other directors suspect at once (design 3).
 */
import { Wakeup } from '../lib/async.ts';
import {
  type DirectorId,
  type Epoch,
  type GroupId,
  type LeaseId,
  type MonoMs,
  monoMs,
  revisionOf,
} from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import { formatRecord, type LeaseRecord } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';
import { FREEZE } from './shut-down.ts';
import { waitFor } from './wait-for.ts';

export type GroupLeases = {
  /** Null: no longer held. Returns at once; the loop does the rest. */
  show(group: GroupId, epoch: Epoch | null): void;
  /** Milliseconds the shown lease is good for, null where there is none; for metrics. */
  remainingMs(group: GroupId): number | null;
  run(signal: AbortSignal): Promise<void>;
};

type Shown = {
  readonly epoch: Epoch;
  readonly lease: LeaseId;
  /** As asked for. */
  readonly ttlS: number;
  readonly validUntil: MonoMs;
  /** Renewed then; with others that are, from `soonAt` on. */
  readonly nextAt: MonoMs;
  readonly soonAt: MonoMs;
};

/** Of what is left of a lease; renewed after it. */
const RENEW_AFTER = 1 / 3;
/** Of that: so much sooner with others that are due, or each of many would be a pass over all. */
const TOGETHER = 0.2;
const CALL_MS = 2000;
const RETRY_MS = 500;
const LAST_CALL_MS = 500;

export function createGroupLeases(options: GroupLeaseOptions, ports: GroupLeasePorts): GroupLeases {
  return new Loop(options, ports);
}

export type GroupLeaseOptions = {
  readonly director: DirectorId;
  readonly keys: Keys;
  readonly ttlS: () => number;
};
export type GroupLeasePorts = {
  readonly store: ClusterStore;
  readonly clock: Clock;
  readonly log: Log;
};

class Loop implements GroupLeases {
  readonly #options: GroupLeaseOptions;
  readonly #ports: GroupLeasePorts;
  readonly #wanted = new Map<GroupId, Epoch>();
  readonly #shown = new Map<GroupId, Shown>();
  readonly #wakeup = new Wakeup();

  constructor(options: GroupLeaseOptions, ports: GroupLeasePorts) {
    this.#options = options;
    this.#ports = ports;
  }

  show(group: GroupId, epoch: Epoch | null): void {
    if (epoch === null) this.#wanted.delete(group);
    else this.#wanted.set(group, epoch);
    this.#wakeup.wake();
  }

  remainingMs(group: GroupId): number | null {
    const one = this.#shown.get(group);
    return one === undefined ? null : Math.max(0, one.validUntil - this.#ports.clock.now());
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    while (!signal.aborted) {
      const isDone = await this.#pass();
      const now = clock.now();
      let ms = isDone ? 60_000 : RETRY_MS;
      if (isDone) for (const { nextAt } of this.#shown.values()) ms = Math.min(ms, nextAt - now);
      await waitFor(this.#wakeup, Math.max(10, ms), clock, signal);
    }
    // A new process goes on with the groups, and shows them anew.
    if (signal.reason === FREEZE) return;
    // Together and with one short deadline: an end must not wait for a store that does not answer.
    const last = { deadlineMs: LAST_CALL_MS };
    await Promise.all(
      [...this.#shown.values()].map(({ lease }) => this.#ports.store.revokeLease(lease, last)),
    );
    this.#shown.clear();
  }

  /** Once over all groups; false when something is to be tried again soon. */
  async #pass(): Promise<boolean> {
    let isDone = true;
    for (const [group, one] of this.#shown)
      if (this.#wanted.get(group) !== one.epoch) await this.#drop(group, one);
    for (const [group, epoch] of this.#wanted) {
      const one = this.#shown.get(group);
      if (one === undefined) isDone = (await this.#give(group, epoch)) && isDone;
      else if (this.#ports.clock.now() >= one.soonAt)
        isDone = (await this.#keep(group, one)) && isDone;
      const { ttlS } = this.#shown.get(group) ?? {};
      // The key moves to the new lease; the one before ends by itself, with nothing on it.
      if (ttlS !== undefined && ttlS !== this.#options.ttlS())
        isDone = (await this.#give(group, epoch)) && isDone;
    }
    return isDone;
  }

  async #give(group: GroupId, epoch: Epoch): Promise<boolean> {
    const { store, clock } = this.#ports;
    const { director, keys } = this.#options;
    const ttlS = this.#options.ttlS();
    const granted = await store.grantLease(ttlS, { deadlineMs: CALL_MS });
    if (!granted.ok) return false;
    const { lease, validUntil } = granted.value;
    const record: LeaseRecord = { v: 1, holder: director, epoch: revisionOf(epoch) };
    // Guarded by the owner record: a holder of an older epoch shows nothing.
    const answer = await store.txn(
      {
        compares: [{ key: keys.owner(group), modRevision: revisionOf(epoch) }],
        success: [{ op: 'put', key: keys.lease(group), value: formatRecord(record), lease }],
        failure: [],
      },
      { deadlineMs: CALL_MS },
    );
    if (answer.kind !== 'answered' || !answer.succeeded) {
      await store.revokeLease(lease, { deadlineMs: CALL_MS });
      return false;
    }
    this.#shown.set(group, { epoch, lease, ttlS, validUntil, ...renewal(validUntil, clock) });
    return true;
  }

  async #keep(group: GroupId, one: Shown): Promise<boolean> {
    const { store, clock, log } = this.#ports;
    const kept = await store.keepLeaseAlive(one.lease, { deadlineMs: CALL_MS });
    if (kept.ok) {
      const { validUntil } = kept.value;
      this.#shown.set(group, { ...one, validUntil, ...renewal(validUntil, clock) });
      return true;
    }
    if (kept.error.code === 'lease-gone') {
      this.#shown.delete(group);
      log.warn({ vipGroup: group }, 'lease.ended');
    }
    return false;
  }

  async #drop(group: GroupId, one: Shown): Promise<void> {
    const { store, log } = this.#ports;
    this.#shown.delete(group);
    const revoked = await store.revokeLease(one.lease, { deadlineMs: CALL_MS });
    if (!revoked.ok) log.warn({ vipGroup: group, problem: revoked.error.message }, 'lease.left');
  }
}

/** By what the store granted: the document may want another time since. */
function renewal(validUntil: MonoMs, clock: Clock): Pick<Shown, 'nextAt' | 'soonAt'> {
  const now = clock.now();
  const ms = RENEW_AFTER * (validUntil - now);
  return { nextAt: monoMs(now + ms), soonAt: monoMs(now + (1 - TOGETHER) * ms) };
}
