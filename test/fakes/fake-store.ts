/**
 * The cluster's store in memory and the connections to it, on which every fault can be had that a network
 * and a member can give. It runs on the Clock and Random given to it and on nothing else. Passes the store's contract suite.
 */
import { Wakeup } from '../../src/lib/async.ts';
import { err, ok, type Result } from '../../src/lib/result.ts';
import { type LeaseId, type MonoMs, monoMs, type Revision, revision } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  CallOptions,
  ClusterStore,
  StoreEntry,
  StoreError,
  StoreHealth,
  StoreRead,
  Txn,
  TxnAnswer,
  WatchEvent,
} from '../../src/ports/cluster-store.ts';
import { FakeStoreState, leaseGone, type Span } from './fake-store-state.ts';

/** Of one connection; change the fields at any time. Probabilities are 0 to 1. */
export type FakeFaults = {
  requestDelayMs: Span;
  answerDelayMs: Span;
  watchLagMs: Span;
  /** The request vanishes: ambiguous at the deadline, not committed. */
  requestLoss: number;
  /** Committed, the answer vanishes: ambiguous at the deadline. */
  answerLoss: number;
  /** The request is held up by `lateMs` more: ambiguous at the deadline, commits later. */
  lateCommit: number;
  lateMs: Span;
};

/** What happens to one call instead of chance. */
export type Fate =
  | { readonly kind: 'answered' }
  /** Ambiguous at the deadline, did not commit. */
  | { readonly kind: 'lost' }
  /** Ambiguous at the deadline, did commit. */
  | { readonly kind: 'answer-lost' }
  /** Commits after this much more time; answered only where that is before the deadline. */
  | { readonly kind: 'late'; readonly byMs: number }
  /** A quick ambiguous error, as at an election. */
  | { readonly kind: 'unavailable'; readonly didCommit: boolean }
  | { readonly kind: 'refused'; readonly error: StoreError };

/** Which way nothing passes. */
export type Cut = 'both' | 'requests' | 'answers';

/** Nobody has said so: the connection was refused, or the caller went away. */
const UNANSWERED: ReadonlySet<StoreError['code']> = new Set(['unavailable', 'aborted']);

type CallOutcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: StoreError; readonly isSurelyNotApplied: boolean };

export class FakeCluster extends FakeStoreState {
  readonly #stores = new Set<FakeStore>();

  /** A connection with its own faults; deadlines and `sentAt` by `clock`, default the cluster's. */
  connect(name: string, clock: Clock = this.clock): FakeStore {
    const store = new FakeStore(this, name, clock);
    this.#stores.add(store);
    this.onChange(() => store.wake());
    return store;
  }

  /** Cancels every timer of the cluster and closes its connections. */
  override close(): void {
    super.close();
    for (const store of this.#stores) store.close();
    this.#stores.clear();
  }
}

/** One director's connection. */
export class FakeStore implements ClusterStore {
  readonly name: string;
  readonly faults: FakeFaults = {
    requestDelayMs: 0,
    answerDelayMs: 0,
    watchLagMs: 0,
    requestLoss: 0,
    answerLoss: 0,
    lateCommit: 0,
    lateMs: 0,
  };
  /** Until a cut watch notices. */
  silenceMs = 2000;
  readonly #cluster: FakeStoreState;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #watches = new Set<Wakeup>();
  readonly #running = new Set<() => void>();
  #fates: Fate[] = [];
  #cut: Cut | null = null;
  #lastAnswerAt: MonoMs | null = null;
  #lastError: StoreError | null = null;
  #revision = revision(0);

  constructor(cluster: FakeStoreState, name: string, clock: Clock) {
    this.#cluster = cluster;
    this.name = name;
    this.#clock = clock;
  }

  /** Nothing passes from now on, what is on its way included. */
  cut(way: Cut = 'both'): void {
    this.#cut = way;
    this.wake();
  }

  heal(): void {
    this.#cut = null;
    this.wake();
  }

  get isCut(): boolean {
    return this.#cut !== null;
  }

  /** The fates of the next transactions, in order; later ones are left to chance again. */
  nextTxn(...fates: readonly Fate[]): void {
    this.#fates.push(...fates);
  }

  /** The watches look again. */
  wake(): void {
    for (const wakeup of this.#watches) wakeup.wake();
  }

  async txn(txn: Txn, options: CallOptions): Promise<TxnAnswer> {
    const sentAt = this.#clock.now();
    const fate = this.#fates.shift();
    const outcome = await this.#call(() => this.#cluster.commit(txn), options, fate);
    const receivedAt = this.#clock.now();
    if (outcome.ok) {
      this.#note(outcome.value.revision);
      return { kind: 'answered', ...outcome.value, sentAt, receivedAt };
    }
    const kind = outcome.isSurelyNotApplied ? 'refused' : 'ambiguous';
    return { kind, error: outcome.error, sentAt, receivedAt };
  }

  async list(
    prefix: string,
    options: CallOptions,
  ): Promise<
    Result<{ readonly revision: Revision; readonly entries: readonly StoreEntry[] }, StoreError>
  > {
    const cluster = this.#cluster;
    const outcome = await this.#call(
      () => ok({ revision: cluster.revision, entries: cluster.entries(prefix) }),
      options,
    );
    if (!outcome.ok) return err(outcome.error);
    this.#note(outcome.value.revision);
    return ok(outcome.value);
  }

  async get(key: string, options: CallOptions): Promise<Result<StoreRead, StoreError>> {
    const outcome = await this.#call(() => ok(this.#cluster.read(key)), options);
    return outcome.ok ? ok(outcome.value) : err(outcome.error);
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent> {
    return this.#watch(prefix, AbortSignal.any([signal, this.#closing.signal]));
  }

  async grantLease(
    ttlS: number,
    options: CallOptions,
  ): Promise<Result<{ readonly lease: LeaseId; readonly validUntil: MonoMs }, StoreError>> {
    const sentAt = this.#clock.now();
    const outcome = await this.#call(() => ok(this.#cluster.grant(ttlS)), options);
    if (!outcome.ok) return err(outcome.error);
    const { lease, ttlS: granted } = outcome.value;
    return ok({ lease, validUntil: monoMs(sentAt + granted * 1000) });
  }

  async keepLeaseAlive(
    lease: LeaseId,
    options: CallOptions,
  ): Promise<Result<{ readonly validUntil: MonoMs }, StoreError>> {
    const sentAt = this.#clock.now();
    const outcome = await this.#call(() => {
      const ttlS = this.#cluster.keepAlive(lease);
      return ttlS === null ? err(leaseGone(lease)) : ok(ttlS);
    }, options);
    if (!outcome.ok) return err(outcome.error);
    return ok({ validUntil: monoMs(sentAt + outcome.value * 1000) });
  }

  async revokeLease(lease: LeaseId, options: CallOptions): Promise<Result<void, StoreError>> {
    const outcome = await this.#call(() => ok(this.#cluster.revoke(lease)), options);
    return outcome.ok ? ok(undefined) : err(outcome.error);
  }

  health(): StoreHealth {
    return {
      lastAnswerAt: this.#lastAnswerAt,
      lastError: this.#lastError,
      revision: this.#revision,
    };
  }

  /** Calls under way end as aborted; what they sent may still commit. */
  close(): void {
    this.#closing.abort();
    for (const abort of this.#running) abort();
    this.wake();
  }

  async #call<T>(
    apply: () => Result<T, StoreError>,
    options: CallOptions,
    fate: Fate = this.#drawFate(),
  ): Promise<CallOutcome<T>> {
    const outcome = await this.#send(apply, options, fate);
    const hasAnswered =
      outcome.ok || (outcome.isSurelyNotApplied && !UNANSWERED.has(outcome.error.code));
    if (hasAnswered) this.#lastAnswerAt = this.#clock.now();
    if (!outcome.ok) this.#lastError = outcome.error;
    return outcome;
  }

  async #send<T>(
    apply: () => Result<T, StoreError>,
    { deadlineMs, signal }: CallOptions,
    fate: Fate,
  ): Promise<CallOutcome<T>> {
    if (this.#closing.signal.aborted || signal?.aborted)
      return { ok: false, error: ABORTED, isSurelyNotApplied: true };
    if (fate.kind === 'refused') return { ok: false, error: fate.error, isSurelyNotApplied: true };
    return new Promise((resolve) => {
      const finish = (outcome: CallOutcome<T>): void => {
        cancelTimer();
        signal?.removeEventListener('abort', abort);
        this.#running.delete(abort);
        resolve(outcome);
      };
      const abort = (): void => finish({ ok: false, error: ABORTED, isSurelyNotApplied: false });
      const cancelTimer = this.#clock.schedule(deadlineMs, () =>
        finish({ ok: false, error: deadline(deadlineMs), isSurelyNotApplied: false }),
      );
      signal?.addEventListener('abort', abort);
      this.#running.add(abort);
      this.#travel(fate, apply, finish);
    });
  }

  /** The way there and back; whoever does not come back leaves the caller to its deadline. */
  #travel<T>(
    fate: Fate,
    apply: () => Result<T, StoreError>,
    finish: (outcome: CallOutcome<T>) => void,
  ): void {
    const { faults } = this;
    if (fate.kind === 'lost' || this.#cut === 'both' || this.#cut === 'requests') return;
    if (this.#cluster.isRefusing) {
      this.#cluster.clock.schedule(REFUSAL_MS, () =>
        finish({ ok: false, error: REFUSED, isSurelyNotApplied: true }),
      );
      return;
    }
    if (fate.kind === 'unavailable') {
      if (fate.didCommit) this.#cluster.submit(apply);
      finish({ ok: false, error: UNAVAILABLE, isSurelyNotApplied: false });
      return;
    }
    const heldUpMs = fate.kind === 'late' ? fate.byMs : 0;
    this.#after(this.#cluster.draw(faults.requestDelayMs) + heldUpMs, () => {
      // A request that is held up somewhere has left the link already.
      const isStopped = this.#cut === 'both' || this.#cut === 'requests';
      if (isStopped && fate.kind !== 'late') return;
      this.#cluster.submit(() => {
        const result = apply();
        if (fate.kind === 'answer-lost') return;
        this.#after(this.#cluster.draw(faults.answerDelayMs), () => {
          if (this.#cut === 'both' || this.#cut === 'answers') return;
          finish(result.ok ? result : { ok: false, error: result.error, isSurelyNotApplied: true });
        });
      });
    });
  }

  #drawFate(): Fate {
    const { faults } = this;
    const { random } = this.#cluster;
    if (faults.requestLoss > 0 && random.next() < faults.requestLoss) return { kind: 'lost' };
    if (faults.answerLoss > 0 && random.next() < faults.answerLoss) return { kind: 'answer-lost' };
    if (faults.lateCommit > 0 && random.next() < faults.lateCommit)
      return { kind: 'late', byMs: this.#cluster.draw(faults.lateMs) };
    return { kind: 'answered' };
  }

  /** At once where there is nothing to wait for, so that a faultless fake needs no turning of the clock. */
  #after(ms: number, action: () => void): void {
    if (ms <= 0) action();
    else this.#cluster.clock.schedule(ms, action);
  }

  async *#watch(prefix: string, signal: AbortSignal): AsyncGenerator<WatchEvent, void, void> {
    const cluster = this.#cluster;
    const wakeup = new Wakeup();
    const wake = (): void => wakeup.wake();
    this.#watches.add(wakeup);
    signal.addEventListener('abort', wake);
    let delivered: Revision | null = null;
    let isInterrupted = false;
    let pauseMs = REFUSED_PAUSE_MS;
    try {
      while (!signal.aborted) {
        if (this.isCut) {
          if (isInterrupted) {
            await wakeup.wait();
            continue;
          }
          await this.#clock.sleep(this.silenceMs, signal);
          if (!this.isCut || signal.aborted) continue;
          isInterrupted = true;
          yield { kind: 'interrupted', error: UNAVAILABLE };
          continue;
        }
        if (delivered !== null && delivered + 1 < cluster.compactedRevision) {
          delivered = null;
          if (!isInterrupted) yield { kind: 'interrupted', error: COMPACTED };
        }
        if (delivered === null) {
          const listed = await this.list(prefix, { deadlineMs: this.silenceMs, signal });
          if (!listed.ok) {
            if (cluster.isRefusing) {
              await this.#clock.sleep(cluster.draw([pauseMs / 2, pauseMs]), signal);
              pauseMs = Math.min(2 * pauseMs, REFUSED_PAUSE_LIMIT_MS);
            }
            continue;
          }
          pauseMs = REFUSED_PAUSE_MS;
          delivered = listed.value.revision;
          isInterrupted = false;
          yield { kind: 'snapshot', ...listed.value };
          continue;
        }
        isInterrupted = false;
        const entry = cluster.changeAfter(delivered);
        if (entry === null) {
          await wakeup.wait();
          continue;
        }
        const dueMs = entry.at + cluster.draw(this.faults.watchLagMs) - cluster.clock.now();
        if (dueMs > 0) {
          await cluster.clock.sleep(dueMs, signal);
          if (signal.aborted || this.isCut) continue;
        }
        delivered = entry.revision;
        const changes = entry.changes.filter(({ key }) => key.startsWith(prefix));
        if (changes.length === 0) continue;
        this.#note(entry.revision);
        yield { kind: 'changes', revision: entry.revision, changes };
      }
    } finally {
      this.#watches.delete(wakeup);
      signal.removeEventListener('abort', wake);
    }
  }

  #note(seen: Revision): void {
    if (seen > this.#revision) this.#revision = seen;
  }
}

const ABORTED: StoreError = { code: 'aborted', message: 'aborted', isRetryable: false };
const UNAVAILABLE: StoreError = {
  code: 'unavailable',
  message: 'etcdserver: leader changed',
  isRetryable: true,
};
/** A machine on which nobody listens says so in less than a round trip of the peers. */
const REFUSAL_MS = 0.1;
/** A watch that was refused tries again after so long, then after twice as long. */
const REFUSED_PAUSE_MS = 50;
const REFUSED_PAUSE_LIMIT_MS = 2000;
const REFUSED: StoreError = {
  code: 'unavailable',
  message: 'connection refused',
  isRetryable: true,
};
const COMPACTED: StoreError = {
  code: 'unavailable',
  message: 'the history of the store was compacted',
  isRetryable: true,
};

function deadline(ms: number): StoreError {
  return { code: 'deadline', message: `no answer within ${ms} ms`, isRetryable: true };
}
