/** A one-member store in memory with faults to order; enough for the API, which only writes, reads and grants leases. */
import { err, ok, type Result } from '../../../src/lib/result.ts';
import { ABSENT, leaseId, monoMs, revision } from '../../../src/model/ids.ts';
import type {
  ClusterStore,
  StoreError,
  StoreHealth,
  StoreRead,
  Txn,
  TxnAnswer,
  TxnOutcome,
} from '../../../src/ports/cluster-store.ts';

/** What the next txn meets: `lost-answer` commits, `lost-request` does not, both say `ambiguous`. */
export type Fault = 'none' | 'lost-answer' | 'lost-request' | 'refused';

const DOWN: StoreError = { code: 'deadline', message: 'no answer in 2000 ms', isRetryable: true };

export class MemoryStore implements ClusterStore {
  readonly entries = new Map<string, { value: string; modRevision: number }>();
  readonly txns: Txn[] = [];
  /** Consumed one per txn; empty: no fault. */
  faults: Fault[] = [];
  isDown = false;
  /** Runs once before the next txn: another writer who is faster. */
  intruder: (() => void) | null = null;
  #revision = 50;
  #leases = 0;

  /** A write by somebody else. */
  write(key: string, value: unknown): number {
    this.entries.set(key, { value: JSON.stringify(value), modRevision: ++this.#revision });
    return this.#revision;
  }

  read(key: string): unknown {
    const value = this.entries.get(key)?.value;
    return value === undefined ? null : JSON.parse(value);
  }

  async txn(txn: Txn): Promise<TxnAnswer> {
    this.txns.push(txn);
    const at = { sentAt: monoMs(0), receivedAt: monoMs(1) };
    const fault = this.isDown ? 'lost-request' : (this.faults.shift() ?? 'none');
    if (fault === 'lost-request') return { kind: 'ambiguous', error: DOWN, ...at };
    if (fault === 'refused')
      return { kind: 'refused', error: { ...DOWN, code: 'unavailable' }, ...at };
    this.intruder?.();
    this.intruder = null;
    const outcome = this.#run(txn);
    return fault === 'lost-answer'
      ? { kind: 'ambiguous', error: DOWN, ...at }
      : { ...outcome, ...at };
  }

  #run(txn: Txn): TxnOutcome {
    const succeeded = txn.compares.every(
      ({ key, modRevision }) => (this.entries.get(key)?.modRevision ?? 0) === modRevision,
    );
    const operations = succeeded ? txn.success : txn.failure;
    if (operations.some(({ op }) => op === 'put')) this.#revision++;
    const reads: StoreRead[] = [];
    for (const operation of operations) {
      if (operation.op === 'put')
        this.entries.set(operation.key, { value: operation.value, modRevision: this.#revision });
      else if (operation.op === 'delete') this.entries.delete(operation.key);
      else reads.push(this.#read(operation.key));
    }
    return { kind: 'answered', succeeded, revision: revision(this.#revision), reads };
  }

  #read(key: string): StoreRead {
    const entry = this.entries.get(key);
    return entry === undefined
      ? { key, value: null, modRevision: ABSENT }
      : { key, value: entry.value, modRevision: revision(entry.modRevision) };
  }

  async get(key: string): Promise<Result<StoreRead, StoreError>> {
    return this.isDown ? err(DOWN) : ok(this.#read(key));
  }

  async list(): ReturnType<ClusterStore['list']> {
    return err({ ...DOWN, message: 'the API lists nothing' });
  }

  // oxlint-disable-next-line require-yield -- the API watches nothing.
  async *watch(): ReturnType<ClusterStore['watch']> {
    throw new Error('the API watches nothing');
  }

  async grantLease(): ReturnType<ClusterStore['grantLease']> {
    if (this.isDown) return err(DOWN);
    return ok({ lease: leaseId(String(++this.#leases)), validUntil: monoMs(1000) });
  }

  async keepLeaseAlive(): ReturnType<ClusterStore['keepLeaseAlive']> {
    return ok({ validUntil: monoMs(1000) });
  }

  async revokeLease(): ReturnType<ClusterStore['revokeLease']> {
    return ok(undefined);
  }

  health(): StoreHealth {
    return { lastAnswerAt: null, lastError: null, revision: revision(this.#revision) };
  }

  close(): void {}
}
