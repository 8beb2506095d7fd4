/**
 * What a cluster's store holds: one linearizable map with etcd's revisions, guarded transactions, leases and
 * compaction. The connections to it, and their faults, are in `fake-store.ts`.
 */
import { err, ok, type Result } from '../../src/lib/result.ts';
import {
  ABSENT,
  type LeaseId,
  leaseId,
  type MonoMs,
  type Revision,
  revision,
} from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  StoreChange,
  StoreEntry,
  StoreError,
  StoreOperation,
  StoreRead,
  Txn,
} from '../../src/ports/cluster-store.ts';
import type { Random } from '../../src/ports/random.ts';

/** Milliseconds, or a range to draw from for each use. */
export type Span = number | readonly [low: number, high: number];

type Committed = {
  readonly succeeded: boolean;
  readonly revision: Revision;
  readonly reads: readonly StoreRead[];
};

type Stored = { readonly value: string; readonly modRevision: Revision; readonly lease?: LeaseId };
export type HistoryEntry = {
  readonly revision: Revision;
  readonly at: MonoMs;
  readonly changes: readonly StoreChange[];
};
type Lease = { readonly ttlS: number; cancel: () => void };

/** etcd's `--max-txn-ops`. */
const TXN_OPERATION_LIMIT = 128;
const HISTORY_LIMIT = 50_000;

/** Requests are lost, wait for the end of it and may commit past their deadline, or fail at once as where nobody listens. */
export type Outage = 'lose' | 'queue' | 'refuse';

/** The store itself, without connections: what all members agree on. */
export class FakeStoreState {
  readonly clock: Clock;
  readonly random: Random;
  readonly #entries = new Map<string, Stored>();
  readonly #leases = new Map<LeaseId, Lease>();
  readonly #listeners = new Set<() => void>();
  #history: HistoryEntry[] = [];
  #revision = revision(1);
  /** Watches can start at this revision or later. */
  #compacted = revision(0);
  #nextLease = 1;
  #halted: Outage | null = null;
  #queued: (() => void)[] = [];
  readonly #leaseLateMs: Span;
  readonly #minLeaseTtlS: number;

  constructor(options: {
    readonly clock: Clock;
    readonly random: Random;
    /** etcd looks for expired leases twice a second. Default 0 to 500. */
    readonly leaseLateMs?: Span;
    /** Shorter TTLs are raised to it. Default 1. */
    readonly minLeaseTtlS?: number;
  }) {
    this.clock = options.clock;
    this.random = options.random;
    this.#leaseLateMs = options.leaseLateMs ?? [0, 500];
    this.#minLeaseTtlS = options.minLeaseTtlS ?? 1;
  }

  get revision(): Revision {
    return this.#revision;
  }

  get compactedRevision(): Revision {
    return this.#compacted;
  }

  /** What is stored now, by key in order; for checkers. */
  entries(prefix = ''): readonly StoreEntry[] {
    return [...this.#entries]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, { value, modRevision }]) => ({ key, value, modRevision }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  read(key: string): StoreRead {
    const stored = this.#entries.get(key);
    return { key, value: stored?.value ?? null, modRevision: stored?.modRevision ?? ABSENT };
  }

  /** An operator's hand: no guard, no faults. */
  write(key: string, value: string): Revision {
    this.commit({ compares: [], success: [{ op: 'put', key, value }], failure: [] });
    return this.#revision;
  }

  remove(key: string): void {
    this.commit({ compares: [], success: [{ op: 'delete', key }], failure: [] });
  }

  /** Forgets the history before `at` (default: now); watches that are behind must list again. */
  compact(at: Revision = this.#revision): void {
    this.#compacted = revision(Math.max(this.#compacted, at));
    this.#history = this.#history.filter((entry) => entry.revision >= this.#compacted);
    this.#notify();
  }

  get isHalted(): boolean {
    return this.#halted !== null;
  }

  /** Nobody listens: callers hear so at once. */
  get isRefusing(): boolean {
    return this.#halted === 'refuse';
  }

  /** No quorum, or no members. */
  halt(mode: Outage): void {
    this.#halted = mode;
  }

  /** A new election is over: queued requests commit in order, and every lease has its full TTL again. */
  resume(): void {
    this.#halted = null;
    for (const lease of this.#leases.keys()) this.#arm(lease);
    const queued = this.#queued;
    this.#queued = [];
    for (const apply of queued) apply();
    this.#notify();
  }

  /** Runs `apply` when the cluster has a quorum, which may be never. */
  submit(apply: () => void): void {
    if (this.#halted === null) apply();
    else if (this.#halted === 'queue') this.#queued.push(apply);
  }

  leases(): readonly LeaseId[] {
    return [...this.#leases.keys()];
  }

  grant(askedTtlS: number): { readonly lease: LeaseId; readonly ttlS: number } {
    const lease = leaseId(String(this.#nextLease++));
    const ttlS = Math.max(askedTtlS, this.#minLeaseTtlS);
    this.#leases.set(lease, { ttlS, cancel: () => {} });
    this.#arm(lease);
    return { lease, ttlS };
  }

  /** The TTL, or null where the lease is unknown. */
  keepAlive(lease: LeaseId): number | null {
    const known = this.#leases.get(lease);
    if (known === undefined) return null;
    this.#arm(lease);
    return known.ttlS;
  }

  /** Revocation, expiry, or a bug of the store: the lease's keys are deleted in one revision. */
  revoke(lease: LeaseId): boolean {
    const known = this.#leases.get(lease);
    if (known === undefined) return false;
    known.cancel();
    this.#leases.delete(lease);
    const keys = [...this.#entries]
      .filter(([, stored]) => stored.lease === lease)
      .map(([key]) => key)
      .sort();
    this.#write(keys.map((key) => ({ op: 'delete', key })));
    return true;
  }

  /** One transaction, or the error etcd would refuse it with. */
  commit(txn: Txn): Result<Committed, StoreError> {
    const problem = this.#problemOf(txn);
    if (problem !== null) return err(problem);
    const succeeded = txn.compares.every(
      ({ key, modRevision }) => this.read(key).modRevision === modRevision,
    );
    const reads = this.#write(succeeded ? txn.success : txn.failure);
    return ok({ succeeded, revision: this.#revision, reads });
  }

  /** The oldest change after `after`; null where there is none yet. */
  changeAfter(after: Revision): HistoryEntry | null {
    let low = 0;
    let high = this.#history.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#history[middle]?.revision ?? 0) <= after) low = middle + 1;
      else high = middle;
    }
    return this.#history[low] ?? null;
  }

  /** Called after every change, compaction and election. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Cancels every timer. */
  close(): void {
    for (const lease of this.#leases.values()) lease.cancel();
    this.#leases.clear();
  }

  draw(span: Span): number {
    if (typeof span === 'number') return span;
    return span[0] + (span[1] - span[0]) * this.random.next();
  }

  #arm(lease: LeaseId): void {
    const known = this.#leases.get(lease);
    if (known === undefined) return;
    known.cancel();
    const ms = known.ttlS * 1000 + this.draw(this.#leaseLateMs);
    known.cancel = this.clock.schedule(ms, () => {
      // Without a quorum nothing expires; the election's end arms the lease anew.
      this.submit(() => this.revoke(lease));
    });
  }

  /** Runs the operations at one revision; reads see the writes before them. */
  #write(operations: readonly StoreOperation[]): readonly StoreRead[] {
    const next = revision(this.#revision + 1);
    const changes: StoreChange[] = [];
    const reads: StoreRead[] = [];
    for (const operation of operations) {
      const { key } = operation;
      switch (operation.op) {
        case 'get':
          reads.push(this.read(key));
          break;
        case 'put': {
          const { value, lease } = operation;
          this.#entries.set(key, { value, modRevision: next, ...(lease && { lease }) });
          changes.push({ key, value, modRevision: next });
          break;
        }
        case 'delete':
          if (this.#entries.delete(key)) changes.push({ key, value: null, modRevision: next });
          break;
      }
    }
    if (changes.length > 0) {
      this.#revision = next;
      this.#history.push({ revision: next, at: this.clock.now(), changes });
      if (this.#history.length > HISTORY_LIMIT) this.compact(revision(next - HISTORY_LIMIT / 2));
      this.#notify();
    }
    return reads;
  }

  #problemOf(txn: Txn): StoreError | null {
    const refuse = (message: string): StoreError => ({
      code: 'bad-request',
      message: `etcdserver: ${message}`,
      isRetryable: false,
    });
    const branches = [txn.success, txn.failure];
    if ([txn.compares, ...branches].some((list) => list.length > TXN_OPERATION_LIMIT))
      return refuse('too many operations in txn request');
    if ([txn.compares, ...branches].some((list) => list.some(({ key }) => key === '')))
      return refuse('key is not provided');
    for (const branch of branches) {
      const puts = branch.filter(({ op }) => op === 'put').map(({ key }) => key);
      const deletes = new Set(branch.filter(({ op }) => op === 'delete').map(({ key }) => key));
      if (new Set(puts).size < puts.length || puts.some((key) => deletes.has(key)))
        return refuse('duplicate key given in txn request');
    }
    const succeeded = txn.compares.every(
      ({ key, modRevision }) => this.read(key).modRevision === modRevision,
    );
    for (const operation of succeeded ? txn.success : txn.failure) {
      if (operation.op !== 'put' || operation.lease === undefined) continue;
      if (!this.#leases.has(operation.lease)) return leaseGone(operation.lease);
    }
    return null;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

export function leaseGone(lease: LeaseId): StoreError {
  return {
    code: 'lease-gone',
    message: `lease ${lease} is unknown to the store`,
    isRetryable: false,
  };
}
