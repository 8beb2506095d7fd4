/**
 * The ClusterStore port over etcd 3.4 and later (library etcd3). Not here: any decision about what an
 * answer proves. Calls go to one endpoint and move on after a failure; a watch has clients of its own.
 */
import type { Etcd3 } from 'etcd3';
import type { CallOptions as GrpcCallOptions } from '@grpc/grpc-js';

import { err, ok, type Result } from '../../lib/result.ts';
import { type LeaseId, leaseId, type MonoMs, monoMs, revision } from '../../model/ids.ts';
import type {
  CallOptions,
  ClusterStore,
  StoreEntry,
  StoreError,
  StoreHealth,
  StoreRead,
  Txn,
  TxnAnswer,
  TxnOutcome,
  WatchEvent,
} from '../../ports/cluster-store.ts';
import { Backoff } from './backoff.ts';
import type { CallFailure } from './call-status.ts';
import type { CallAnswer, EndpointClient, EtcdOptions, EtcdPorts } from './endpoint-client.ts';
import { EndpointRing } from './endpoint-ring.ts';
import { watchPrefix } from './prefix-watch.ts';
import {
  decodeEntry,
  decodeRead,
  decodeRevision,
  decodeTxn,
  encodeTxn,
  prefixRange,
} from './txn-codec.ts';

/** A read's share of its deadline per endpoint is not cut below this. */
const READ_TRY_MIN_MS = 50;
const READ_BACKOFF_FIRST_MS = 20;
const READ_BACKOFF_LIMIT_MS = 500;

const TXN = '/etcdserverpb.KV/Txn';

type Run<T> = (etcd: Etcd3, options: GrpcCallOptions, signal: AbortSignal) => Promise<T>;

/** Connects to nothing before the first call. `close` ends everything, watches too. */
export function createEtcdStore(options: EtcdOptions, ports: EtcdPorts): ClusterStore {
  return new EtcdStore(options, ports);
}

class EtcdStore implements ClusterStore {
  readonly #options: EtcdOptions;
  readonly #ports: EtcdPorts;
  readonly #ring: EndpointRing;
  readonly #closing = new AbortController();
  #lastAnswerAt: MonoMs | null = null;
  #lastError: StoreError | null = null;
  #revision = revision(0);
  /** Rounds repeat their txn: the very same object again and again. */
  readonly #encoded = new WeakMap<Txn, Uint8Array>();

  constructor(options: EtcdOptions, ports: EtcdPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#ring = new EndpointRing(options, ports);
  }

  async txn(txn: Txn, options: CallOptions): Promise<TxnAnswer> {
    let request = this.#encoded.get(txn);
    if (request === undefined) {
      request = encodeTxn(txn);
      this.#encoded.set(txn, request);
    }
    const client = this.#ring.current;
    const answer = this.#noted(client, await client.callUnary(TXN, request, options));
    const receivedAt = this.#ports.clock.now();
    return { ...this.#txnOutcome(txn, answer), sentAt: answer.sentAt, receivedAt };
  }

  #txnOutcome(txn: Txn, answer: CallAnswer<Uint8Array>): TxnOutcome {
    if (!answer.ok) {
      const { error, isSurelyNotApplied } = answer.failure;
      return { kind: isSurelyNotApplied ? 'refused' : 'ambiguous', error };
    }
    const decoded = decodeTxn(txn, answer.value);
    if (decoded === null) {
      const message = 'the answer does not fit the transaction';
      return { kind: 'ambiguous', error: { code: 'bad-request', message, isRetryable: false } };
    }
    this.#noteRevision(decoded.revision);
    return { kind: 'answered', ...decoded };
  }

  async list(
    prefix: string,
    options: CallOptions,
  ): Promise<
    Result<
      { readonly revision: StoreHealth['revision']; readonly entries: readonly StoreEntry[] },
      StoreError
    >
  > {
    const range = prefixRange(prefix);
    const answer = await this.#read((etcd, grpc) => etcd.kv.range(range, grpc), options);
    if (!answer.ok) return answer;
    const listed = decodeRevision(answer.value.header);
    this.#noteRevision(listed);
    return ok({ revision: listed, entries: answer.value.kvs.map(decodeEntry) });
  }

  async get(key: string, options: CallOptions): Promise<Result<StoreRead, StoreError>> {
    const range = { key: Buffer.from(key) };
    const answer = await this.#read((etcd, grpc) => etcd.kv.range(range, grpc), options);
    if (!answer.ok) return answer;
    this.#noteRevision(decodeRevision(answer.value.header));
    return ok(decodeRead(key, answer.value.kvs[0]));
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<WatchEvent> {
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    return watchPrefix(prefix, ended, {
      options: this.#options,
      ports: this.#ports,
      list: (listPrefix, options) => this.list(listPrefix, options),
      knownRevision: () => this.#revision,
      noteRevision: (seen) => this.#noteRevision(seen),
      noteAnswer: () => {
        this.#lastAnswerAt = this.#ports.clock.now();
      },
    });
  }

  async grantLease(
    ttlS: number,
    options: CallOptions,
  ): Promise<Result<{ readonly lease: LeaseId; readonly validUntil: MonoMs }, StoreError>> {
    // Nothing else keeps the library's connections warm: after an outage each may still rest before it tries again.
    const answer = await this.#repeat(
      (etcd, grpc) => etcd.leaseClient.leaseGrant({ TTL: ttlS }, grpc),
      { ...options, tryMs: options.deadlineMs },
      ({ error, isAnswer, isSurelyNotApplied }) =>
        error.isRetryable && !isAnswer && isSurelyNotApplied,
    );
    if (!answer.ok) return err(answer.failure.error);
    const { ID, TTL } = answer.value;
    return ok({ lease: leaseId(ID), validUntil: validUntil(answer.sentAt, TTL) });
  }

  async keepLeaseAlive(
    lease: LeaseId,
    options: CallOptions,
  ): Promise<Result<{ readonly validUntil: MonoMs }, StoreError>> {
    const client = this.#ring.current;
    const answer = this.#noted(client, await client.keepAlive(lease, options));
    if (!answer.ok) return err(answer.failure.error);
    if (Number(answer.value.TTL) <= 0) {
      const message = `lease ${lease} is unknown to the store`;
      return err({ code: 'lease-gone', message, isRetryable: false });
    }
    return ok({ validUntil: validUntil(answer.sentAt, answer.value.TTL) });
  }

  async revokeLease(lease: LeaseId, options: CallOptions): Promise<Result<void, StoreError>> {
    const answer = await this.#try(
      (etcd, grpc) => etcd.leaseClient.leaseRevoke({ ID: lease }, grpc),
      options,
    );
    if (answer.ok || answer.failure.error.code === 'lease-gone') return ok(undefined);
    return err(answer.failure.error);
  }

  health(): StoreHealth {
    return {
      lastAnswerAt: this.#lastAnswerAt,
      lastError: this.#lastError,
      revision: this.#revision,
    };
  }

  close(): void {
    this.#closing.abort();
    this.#ring.close();
  }

  /** One try at the current endpoint; trouble there moves the next call on. */
  async #try<T>(run: Run<T>, options: CallOptions): Promise<CallAnswer<T>> {
    const client = this.#ring.current;
    return this.#noted(client, await client.call(run, options));
  }

  #noted<T>(client: EndpointClient, answer: CallAnswer<T>): CallAnswer<T> {
    if (answer.ok || (answer.failure.isAnswer && answer.failure.error.code !== 'aborted')) {
      this.#lastAnswerAt = this.#ports.clock.now();
    }
    if (!answer.ok) {
      this.#lastError = answer.failure.error;
      if (!answer.failure.isAnswer) this.#ring.moveOnFrom(client);
    }
    return answer;
  }

  /** Tries the endpoints in turn until one answers or the deadline is over. */
  async #read<T>(run: Run<T>, options: CallOptions): Promise<Result<T, StoreError>> {
    const tryMs = Math.max(options.deadlineMs / this.#ring.size, READ_TRY_MIN_MS);
    const answer = await this.#repeat(run, { ...options, tryMs }, ({ error }) => error.isRetryable);
    return answer.ok ? ok(answer.value) : err(answer.failure.error);
  }

  /** At one endpoint after the other, each for `tryMs` at most, until one answers or fails for good. */
  async #repeat<T>(
    run: Run<T>,
    { tryMs, ...options }: CallOptions & { readonly tryMs: number },
    mayRepeat: (failure: CallFailure) => boolean,
  ): Promise<CallAnswer<T>> {
    const { clock, random } = this.#ports;
    const backoff = new Backoff(READ_BACKOFF_FIRST_MS, READ_BACKOFF_LIMIT_MS, random);
    const endsAt = clock.now() + options.deadlineMs;
    for (let tries = 1; ; tries++) {
      const deadlineMs = Math.min(tryMs, endsAt - clock.now());
      const answer = await this.#try(run, { ...options, deadlineMs });
      if (answer.ok || !mayRepeat(answer.failure)) return answer;
      const pauseMs = tries % this.#ring.size === 0 ? backoff.nextMs() : 0;
      if (clock.now() + pauseMs >= endsAt) return answer;
      await clock.sleep(pauseMs, options.signal);
    }
  }

  #noteRevision(seen: StoreHealth['revision']): void {
    if (seen > this.#revision) this.#revision = seen;
  }
}

function validUntil(sentAt: MonoMs, ttlS: string): MonoMs {
  return monoMs(sentAt + Number(ttlS) * 1000);
}
