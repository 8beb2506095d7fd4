/**
 * What lives on the director's own etcd lease: its report and its votes. Both vanish with the
 * director; neither is evidence for holding (design 3).
 */
import { Wakeup } from '../lib/async.ts';
import { ABSENT, type LeaseId, type MonoMs, monoMs, type Revision } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore, TxnAnswer } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';
import { FREEZE } from './shut-down.ts';
import { waitFor } from './wait-for.ts';

export type DirectorLease = {
  /** The wanted value of a key on the lease; null withdraws it. The latest wins; written on change only. */
  publish(key: string, value: string | null): void;
  run(signal: AbortSignal): Promise<void>;
};

export type DirectorLeaseOptions = {
  /** Null: not known yet, and nothing is written until it is. */
  readonly ttlS: () => number | null;
  /** Mod revision of a key as last seen: every write is compared with what it replaces. */
  readonly revisionOf: (key: string) => Revision;
  /** Keys that stay until the lease ends by itself: what the next life, or the others, go on from. */
  readonly outlives: (key: string) => boolean;
};

export type DirectorLeasePorts = {
  readonly store: ClusterStore;
  readonly clock: Clock;
  readonly log: Log;
};

/** `ttlS` is what was asked for. */
type Held = { readonly lease: LeaseId; readonly ttlS: number; readonly nextAt: MonoMs };
/** `written` undefined: a write is in doubt, anything may stand there. */
type Entry = { wanted: string | null; written: string | null | undefined };

const CALL_MS = 2000;
const RETRY_MS = 500;
/** An end must not wait for a store that does not answer. */
const LAST_CALL_MS = 500;
/** Keys per txn: a compare and a put each. */
const BATCH = 60;

export function createDirectorLease(
  options: DirectorLeaseOptions,
  ports: DirectorLeasePorts,
): DirectorLease {
  return new Loop(options, ports);
}

class Loop implements DirectorLease {
  readonly #options: DirectorLeaseOptions;
  readonly #ports: DirectorLeasePorts;
  readonly #entries = new Map<string, Entry>();
  /** Revisions of my own last writes: the watch may lag behind them. */
  readonly #revisions = new Map<string, Revision>();
  readonly #wakeup = new Wakeup();
  #held: Held | null = null;

  constructor(options: DirectorLeaseOptions, ports: DirectorLeasePorts) {
    this.#options = options;
    this.#ports = ports;
  }

  publish(key: string, value: string | null): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      // What an earlier life left is withdrawn too; of what never was there is nothing to withdraw.
      if (value === null && this.#revisionOf(key) === ABSENT) return;
      this.#entries.set(key, {
        wanted: value,
        written: value === null ? 'of an earlier life' : null,
      });
    } else if (entry.wanted === value) return;
    else entry.wanted = value;
    this.#wakeup.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    while (!signal.aborted) {
      const isDone = await this.#pass();
      const nextAt = this.#held?.nextAt ?? clock.now();
      const ms = isDone ? Math.max(10, nextAt - clock.now()) : RETRY_MS;
      await waitFor(this.#wakeup, ms, clock, signal);
    }
    // A new process of this director publishes its own over what stands.
    if (signal.reason !== FREEZE) await this.#end();
  }

  /** The lease goes at once only where nothing on it is to stay. */
  async #end(): Promise<void> {
    if (this.#held === null) return;
    const { store } = this.#ports;
    const { lease } = this.#held;
    const keys = [...this.#entries].filter(([, { written }]) => written !== null);
    const leaving = keys.map(([key]) => key).filter((key) => !this.#options.outlives(key));
    if (leaving.length === keys.length)
      return void (await store.revokeLease(lease, { deadlineMs: LAST_CALL_MS }));
    const answer = await this.#remove(leaving);
    if (answer.kind !== 'answered' || answer.succeeded) return;
    // Again with what stands there, after a write in doubt; what somebody else wrote is theirs.
    const mine = answer.reads.filter(({ key, value }) => value === this.#entries.get(key)?.wanted);
    for (const read of mine) this.#revisions.set(read.key, read.modRevision);
    if (mine.length > 0) await this.#remove(mine.map(({ key }) => key));
  }

  #remove(all: readonly string[]): Promise<TxnAnswer> {
    const keys = all.slice(0, BATCH);
    return this.#ports.store.txn(
      {
        compares: keys.map((key) => ({ key, modRevision: this.#revisionOf(key) })),
        success: keys.map((key) => ({ op: 'delete' as const, key })),
        failure: keys.map((key) => ({ op: 'get' as const, key })),
      },
      { deadlineMs: LAST_CALL_MS },
    );
  }

  async #pass(): Promise<boolean> {
    if (!(await this.#ensureLease())) return false;
    const changed = [...this.#entries].filter(([, entry]) => entry.wanted !== entry.written);
    for (let i = 0; i < changed.length; i += BATCH)
      if (!(await this.#write(changed.slice(i, i + BATCH)))) return false;
    return true;
  }

  async #ensureLease(): Promise<boolean> {
    const { store, clock, log } = this.#ports;
    const ttlS = this.#options.ttlS();
    if (ttlS === null) return false;
    // By what the store granted: the document may want another time since.
    const nextAt = (validUntil: MonoMs): MonoMs => {
      const now = clock.now();
      return monoMs(now + (validUntil - now) / 3);
    };
    if (this.#held !== null && clock.now() >= this.#held.nextAt) {
      const kept = await store.keepLeaseAlive(this.#held.lease, { deadlineMs: CALL_MS });
      if (kept.ok) this.#held = { ...this.#held, nextAt: nextAt(kept.value.validUntil) };
      else if (kept.error.code === 'lease-gone') this.#forgetLease(log);
      if (this.#held !== null && !kept.ok) return false;
    }
    if (this.#held?.ttlS === ttlS) return true;
    const granted = await store.grantLease(ttlS, { deadlineMs: CALL_MS });
    if (!granted.ok) return false;
    // Everything moves to it; the one before ends by itself, with nothing on it.
    if (this.#held !== null)
      for (const entry of this.#entries.values())
        if (entry.wanted !== null && entry.written !== null) entry.written = undefined;
    const { lease, validUntil } = granted.value;
    this.#held = { lease, ttlS, nextAt: nextAt(validUntil) };
    return true;
  }

  /** The store dropped everything that was on the lease: all of it is to be written anew. */
  #forgetLease(log: Log): void {
    log.warn({}, 'director-lease.ended');
    this.#held = null;
    this.#revisions.clear();
    for (const [key, entry] of this.#entries)
      if (entry.wanted === null) this.#entries.delete(key);
      else entry.written = null;
  }

  async #write(batch: readonly (readonly [string, Entry])[]): Promise<boolean> {
    const { store, log } = this.#ports;
    const lease = this.#held?.lease;
    if (lease === undefined) return false;
    const values = batch.map(([key, entry]) => ({ key, entry, value: entry.wanted }));
    const answer = await store.txn(
      {
        compares: values.map(({ key }) => ({ key, modRevision: this.#revisionOf(key) })),
        success: values.map(({ key, value }) =>
          value === null
            ? { op: 'delete' as const, key }
            : { op: 'put' as const, key, value, lease },
        ),
        failure: values.map(({ key }) => ({ op: 'get' as const, key })),
      },
      { deadlineMs: CALL_MS },
    );
    if (answer.kind !== 'answered') {
      if (answer.error.code === 'lease-gone') this.#forgetLease(log);
      for (const { key, entry } of values) {
        this.#revisions.delete(key);
        if (answer.kind === 'ambiguous') entry.written = undefined;
      }
      return false;
    }
    if (!answer.succeeded) {
      for (const read of answer.reads) this.#revisions.set(read.key, read.modRevision);
      return false;
    }
    for (const { key, entry, value } of values) {
      entry.written = value;
      if (value === null) {
        this.#revisions.delete(key);
        if (entry.wanted === null) this.#entries.delete(key);
      } else this.#revisions.set(key, answer.revision);
    }
    return true;
  }

  #revisionOf(key: string): Revision {
    return this.#revisions.get(key) ?? this.#options.revisionOf(key);
  }
}
