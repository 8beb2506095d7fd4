/**
 * The cluster's store as leasehold needs it: guarded write transactions, one list, one watch, leases.
 * Ranking by what safety needs (design 4.1): only the answer to a write `txn`, counted from its send,
 * is evidence. `list`, `watch` and leases are hints that make things fast or visible.
 */
import type { LeaseId, MonoMs, Revision } from '../model/ids.ts';
import type { Result } from '../lib/result.ts';

/** Holds when the key's mod revision is `modRevision`; 0 (ABSENT) means that the key is not there. */
export type Compare = { readonly key: string; readonly modRevision: Revision };

export type StoreOperation =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly lease?: LeaseId }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'get'; readonly key: string };

/** All compares hold ⇒ `success`, else `failure`. At most 128 operations a branch (etcd's default). */
export type Txn = {
  readonly compares: readonly Compare[];
  readonly success: readonly StoreOperation[];
  readonly failure: readonly StoreOperation[];
};

export type StoreEntry = {
  readonly key: string;
  readonly value: string;
  readonly modRevision: Revision;
};

/** A `get` of a txn: value null and modRevision 0 where the key is absent. */
export type StoreRead = {
  readonly key: string;
  readonly value: string | null;
  readonly modRevision: Revision;
};

export type TxnOutcome =
  | {
      readonly kind: 'answered';
      /** Which branch ran. */
      readonly succeeded: boolean;
      /** The store's revision after the txn: the mod revision of what it put. */
      readonly revision: Revision;
      /** The answers to the `get`s of the branch that ran, in their order. */
      readonly reads: readonly StoreRead[];
    }
  /** Deadline, lost connection, leader change, no space: it may have committed, or may commit yet. */
  | { readonly kind: 'ambiguous'; readonly error: StoreError }
  /** Never reached the log: not sent, or refused (permission, bad request). */
  | { readonly kind: 'refused'; readonly error: StoreError };

/** `sentAt` is taken before the request leaves; validity counts from it, whatever happens after. */
export type TxnAnswer = TxnOutcome & { readonly sentAt: MonoMs; readonly receivedAt: MonoMs };

export type StoreError = {
  readonly code:
    | 'deadline'
    | 'unavailable'
    | 'denied'
    | 'no-space'
    | 'lease-gone'
    | 'bad-request'
    | 'aborted';
  readonly message: string;
  /** True: the same call may work later or at another endpoint. */
  readonly isRetryable: boolean;
};

export type CallOptions = { readonly deadlineMs: number; readonly signal?: AbortSignal };

export type WatchEvent =
  /** A complete listing, at the start and whenever changes may have been missed (compaction). Replaces all. */
  | {
      readonly kind: 'snapshot';
      readonly revision: Revision;
      readonly entries: readonly StoreEntry[];
    }
  /** In order of revision; everything of one revision arrives in one event. */
  | {
      readonly kind: 'changes';
      readonly revision: Revision;
      readonly changes: readonly StoreChange[];
    }
  /** The watch is interrupted and being rebuilt; what is known stays known. */
  | { readonly kind: 'interrupted'; readonly error: StoreError };

export type StoreChange = {
  readonly key: string;
  /** Null: deleted; then modRevision is the revision of the deletion. */
  readonly value: string | null;
  readonly modRevision: Revision;
};

export interface ClusterStore {
  /** One try at one endpoint, never retried inside: a retried txn could run twice. The next call uses another endpoint after a failure. */
  txn(txn: Txn, options: CallOptions): Promise<TxnAnswer>;

  /** Linearizable listing of a prefix; retried over the endpoints until the deadline. A hint, not evidence. */
  list(
    prefix: string,
    options: CallOptions,
  ): Promise<
    Result<{ readonly revision: Revision; readonly entries: readonly StoreEntry[] }, StoreError>
  >;

  /** Linearizable read of one key; `value: null` where absent. A hint. */
  get(key: string, options: CallOptions): Promise<Result<StoreRead, StoreError>>;

  /** Endless until the signal aborts: `snapshot` first, then `changes`, with resume and re-list. */
  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent>;

  /** `validUntil` counts from the send of the request and the granted TTL. */
  grantLease(
    ttlS: number,
    options: CallOptions,
  ): Promise<Result<{ readonly lease: LeaseId; readonly validUntil: MonoMs }, StoreError>>;

  /** One keep-alive; error `lease-gone` when the store no longer knows the lease. */
  keepLeaseAlive(
    lease: LeaseId,
    options: CallOptions,
  ): Promise<Result<{ readonly validUntil: MonoMs }, StoreError>>;

  /** Idempotent: an unknown lease is a success. */
  revokeLease(lease: LeaseId, options: CallOptions): Promise<Result<void, StoreError>>;

  /** For status: the last answer of any kind and the last error. */
  health(): StoreHealth;

  close(): void;
}

export type StoreHealth = {
  readonly lastAnswerAt: MonoMs | null;
  readonly lastError: StoreError | null;
  readonly revision: Revision;
};
