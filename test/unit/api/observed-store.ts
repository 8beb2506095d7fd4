/** The fake store with eyes: what was sent to it, and the hands of others in between. */
import { err, type Result } from '../../../src/lib/result.ts';
import type {
  CallOptions,
  ClusterStore,
  StoreError,
  StoreRead,
  Txn,
  TxnAnswer,
} from '../../../src/ports/cluster-store.ts';
import { type FakeCluster, type Fate, FakeStore } from '../../fakes/fake-store.ts';

/** The answer to a txn gets lost, quickly. */
export const LOST_ANSWER: Fate = { kind: 'unavailable', didCommit: true };
/** The txn itself gets lost, quickly. */
export const LOST_REQUEST: Fate = { kind: 'unavailable', didCommit: false };

const DOWN: StoreError = { code: 'unavailable', message: 'no member answers', isRetryable: true };
export const REFUSED: Fate = { kind: 'refused', error: DOWN };
/** As often as anybody tries within a deadline. */
export const REFUSED_FOR_LONG: readonly Fate[] = Array.from({ length: 100 }, () => REFUSED);

export class ObservedStore extends FakeStore {
  readonly txns: Txn[] = [];
  /** Every call fails at once, and nothing is done. */
  isDown = false;
  /** Runs once before the next txn: another writer who is faster. */
  intruder: (() => void) | null = null;
  readonly #cluster: FakeCluster;

  constructor(cluster: FakeCluster) {
    super(cluster, 'd1', cluster.clock);
    this.#cluster = cluster;
  }

  /** A write by somebody else; answers its revision. */
  put(key: string, value: unknown): number {
    return this.#cluster.write(key, JSON.stringify(value));
  }

  /** The stored record; null where there is none. */
  peek(key: string): unknown {
    const { value } = this.#cluster.read(key);
    return value === null ? null : JSON.parse(value);
  }

  revisionOf(key: string): number {
    return this.#cluster.read(key).modRevision;
  }

  keys(): readonly string[] {
    return this.#cluster.entries().map(({ key }) => key);
  }

  override async txn(txn: Txn, options: CallOptions): Promise<TxnAnswer> {
    this.txns.push(txn);
    if (this.isDown) this.nextTxn(LOST_REQUEST);
    this.intruder?.();
    this.intruder = null;
    return await super.txn(txn, options);
  }

  override async get(key: string, options: CallOptions): Promise<Result<StoreRead, StoreError>> {
    return this.isDown ? err(DOWN) : await super.get(key, options);
  }

  override async grantLease(
    ttlS: number,
    options: CallOptions,
  ): ReturnType<ClusterStore['grantLease']> {
    return this.isDown ? err(DOWN) : await super.grantLease(ttlS, options);
  }
}
