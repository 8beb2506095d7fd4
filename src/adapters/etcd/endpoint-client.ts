/**
 * One etcd endpoint: one etcd3 client with all of the library's own fault handling switched off
 * (its circuit breaker stays open after the member is back, its retries may run a transaction twice).
 * Every call here ends at its deadline by the monotonic clock, whatever the library does.
 */
import tls from 'node:tls';

import type { CallOptions as GrpcCallOptions } from '@grpc/grpc-js';
import { noop } from 'cockatiel';
import { Etcd3, type ILeaseKeepAliveResponse, type IOptions } from 'etcd3';

import { messageOf } from '../../lib/result.ts';
import type { LeaseId, MonoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { CallOptions, StoreError } from '../../ports/cluster-store.ts';
import type { Log } from '../../ports/log.ts';
import type { Random } from '../../ports/random.ts';
import { createCallProbe } from './call-probe.ts';
import {
  abortedFailure,
  type CallFailure,
  type CallStatus,
  classifyStatus,
  closedFailure,
  deadlineFailure,
  StatusError,
} from './call-status.ts';
import { LeaseStream } from './lease-stream.ts';
import { UnaryConnection } from './unary-connection.ts';

export type EtcdTls = {
  /** Defaults to the roots that Node ships. */
  readonly ca?: Buffer | string;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
};

export type EtcdOptions = {
  /** At least one URL, `http://host:port` or `https://host:port`. */
  readonly endpoints: readonly string[];
  readonly tls?: EtcdTls;
  /** With `password`. A client certificate whose CN is the user needs neither, and no token. */
  readonly user?: string;
  readonly password?: string;
};

export type EtcdPorts = { readonly clock: Clock; readonly log: Log; readonly random: Random };

export type CallAnswer<T> =
  | { readonly ok: true; readonly value: T; readonly sentAt: MonoMs }
  | { readonly ok: false; readonly failure: CallFailure; readonly sentAt: MonoMs };

/** A call that was begun: how it ends, how it is given up, and what its error says. */
type Begun<T> = {
  readonly result: Promise<T>;
  readonly cancel: () => void;
  readonly statusOf: (error: unknown) => CallStatus;
};

/** bcrypt and a round of consensus; shared by all calls that wait for the token. */
const AUTHENTICATE_DEADLINE_MS = 5000;
/** A wrong password costs a member a bcrypt each time: at the pace of rounds it would be late for all others. */
const DENIED_MS = 1000;
/** Transport failures in a row after which the connection is made anew (a library bug ends calls with RST_STREAM for ever). */
const REBUILD_AFTER = 3;
const REBUILD_GAP_MIN_MS = 1000;
/** A closed connection to a hung peer keeps its socket until the peer ends: hence few of them. */
const REBUILD_GAP_MAX_MS = 600_000;
const MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024;

const CHANNEL_OPTIONS = {
  'grpc.enable_retries': 0,
  // A proxy that the environment names for the web is none for what decides who holds.
  'grpc.enable_http_proxy': 0,
  // A fresh client must mean a fresh connection.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  // etcd answers GOAWAY to pings more frequent than one in 5 s; this one only ends dead connections.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.max_receive_message_length': MESSAGE_LIMIT_BYTES,
  'grpc.max_send_message_length': MESSAGE_LIMIT_BYTES,
} as const;

export class EndpointClient {
  readonly endpoint: string;
  readonly #options: EtcdOptions;
  readonly #ports: EtcdPorts;
  #etcd: Etcd3 | null = null;
  #leaseStream: LeaseStream | null = null;
  #unary: UnaryConnection | null = null;
  #isClosed = false;
  /** Ends of the calls under way, for `close`. */
  readonly #running = new Set<() => void>();
  /** Empty where the store has no authentication. */
  #token: string | null = null;
  #authenticating: Promise<CallFailure | null> | null = null;
  /** The member refused user and password, and is not asked again before that moment. */
  #denied: { readonly failure: CallFailure; readonly until: number } | null = null;
  #failuresInARow = 0;
  #rebuiltAt = Number.NEGATIVE_INFINITY;
  #rebuildGapMs = REBUILD_GAP_MIN_MS;

  constructor(endpoint: string, options: EtcdOptions, ports: EtcdPorts) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#ports = ports;
  }

  /**
   * Runs one call with the token and the deadline. `run` passes the given options to the library
   * and ends early when `signal` aborts; it is called at most once.
   */
  call<T>(
    run: (etcd: Etcd3, options: GrpcCallOptions, signal: AbortSignal) => Promise<T>,
    options: CallOptions,
  ): Promise<CallAnswer<T>> {
    return this.#call(() => this.#runInLibrary(run), options);
  }

  /** The same of one unary method, `/package.Service/Method`, beside the library: for what is called all the time. */
  callUnary(
    path: string,
    message: Uint8Array,
    options: CallOptions,
  ): Promise<CallAnswer<Uint8Array>> {
    return this.#call(() => {
      const { result, cancel } = this.#unaryConnection().call(path, message, this.metadata());
      return { result, cancel, statusOf };
    }, options);
  }

  /** One beat for a lease, over the stream that all leases share. */
  keepAlive(lease: LeaseId, options: CallOptions): Promise<CallAnswer<ILeaseKeepAliveResponse>> {
    return this.call((etcd, _options, signal) => {
      if (this.#leaseStream?.isEnded !== false)
        this.#leaseStream = new LeaseStream(etcd, this.metadata());
      return this.#leaseStream.beat(lease, signal);
    }, options);
  }

  /** The client for a stream; the stream's owner watches over its life. Null after `close`. */
  etcd(): Etcd3 | null {
    if (this.#isClosed) return null;
    this.#etcd ??= new Etcd3(clientOptions(this.endpoint, this.#options));
    return this.#etcd;
  }

  /** Metadata of the next call or stream. */
  metadata(): Readonly<Record<string, string>> {
    return this.#token === null || this.#token === '' ? {} : { token: this.#token };
  }

  /** Waits for a token where a password is configured; null: go on. */
  authenticate(options: CallOptions): Promise<CallFailure | null> {
    return this.#waitForToken(options.deadlineMs, options.signal);
  }

  /** The token was refused on a stream. */
  dropToken(): void {
    this.#token = null;
  }

  /** A stream of this client spoke, or died and may leave a connection to a dead peer behind. */
  noteStream(state: 'alive' | StoreError): void {
    if (state === 'alive') this.#settle();
    else this.#rebuild(state);
  }

  /** Calls under way end as aborted. */
  close(): void {
    this.#isClosed = true;
    for (const abort of this.#running) abort();
    this.#disconnect();
  }

  async #call<T>(
    begin: () => Begun<T> | null,
    { deadlineMs, signal }: CallOptions,
  ): Promise<CallAnswer<T>> {
    const { clock } = this.#ports;
    const startedAt = clock.now();
    if (this.#isClosed) return { ok: false, failure: closedFailure(), sentAt: startedAt };
    if (signal?.aborted) return { ok: false, failure: abortedFailure(true), sentAt: startedAt };
    const denied = this.#hasToken() ? null : await this.#waitForToken(deadlineMs, signal);
    const sentAt = clock.now();
    if (denied !== null) return { ok: false, failure: denied, sentAt };
    const leftMs = deadlineMs - (sentAt - startedAt);
    const options = { deadlineMs: leftMs, ...(signal && { signal }) };
    const answer = await this.#send(begin, options, sentAt);
    this.#note(answer);
    return answer;
  }

  /** Null after `close`. */
  #runInLibrary<T>(
    run: (etcd: Etcd3, options: GrpcCallOptions, signal: AbortSignal) => Promise<T>,
  ): Begun<T> | null {
    const etcd = this.etcd();
    if (etcd === null) return null;
    const probe = createCallProbe(this.metadata());
    const ending = new AbortController();
    return {
      result: run(etcd, { interceptors: [probe.interceptor] }, ending.signal),
      cancel: () => {
        ending.abort();
        probe.cancel();
      },
      statusOf: (error) => probe.failure() ?? statusOf(error),
    };
  }

  #unaryConnection(): UnaryConnection {
    const { endpoint } = this;
    this.#unary ??= new UnaryConnection(
      { endpoint, tls: filesOf(this.#options), messageLimitBytes: MESSAGE_LIMIT_BYTES },
      this.#ports,
    );
    return this.#unary;
  }

  #send<T>(
    begin: () => Begun<T> | null,
    { deadlineMs, signal }: CallOptions,
    sentAt: MonoMs,
  ): Promise<CallAnswer<T>> {
    return new Promise((resolve) => {
      const begun = begin();
      if (begun === null) {
        resolve({ ok: false, failure: closedFailure(), sentAt });
        return;
      }
      const finish = (answer: CallAnswer<T>): void => {
        cancelTimer();
        signal?.removeEventListener('abort', abort);
        this.#running.delete(abort);
        resolve(answer);
        if (!answer.ok) begun.cancel();
      };
      const abort = (): void => finish({ ok: false, failure: abortedFailure(false), sentAt });
      const cancelTimer = this.#ports.clock.schedule(deadlineMs, () =>
        finish({ ok: false, failure: deadlineFailure(deadlineMs), sentAt }),
      );
      signal?.addEventListener('abort', abort);
      this.#running.add(abort);
      begun.result.then(
        (value) => finish({ ok: true, value, sentAt }),
        (error: unknown) => {
          const failure = classifyStatus(begun.statusOf(error));
          finish({ ok: false, failure, sentAt });
        },
      );
    });
  }

  #hasToken(): boolean {
    return this.#options.user === undefined || this.#token !== null;
  }

  async #waitForToken(deadlineMs: number, signal?: AbortSignal): Promise<CallFailure | null> {
    if (this.#hasToken()) return null;
    if (this.#denied !== null && this.#ports.clock.now() < this.#denied.until)
      return this.#denied.failure;
    // Its own deadline: a caller in a hurry must not keep the token from ever arriving.
    this.#authenticating ??= this.#authenticate().finally(() => {
      this.#authenticating = null;
    });
    const patience = new AbortController();
    const stop = (): void => patience.abort();
    signal?.addEventListener('abort', stop);
    const late = this.#ports.clock.sleep(deadlineMs, patience.signal).then((): CallFailure => {
      if (signal?.aborted) return abortedFailure(true);
      return { ...deadlineFailure(deadlineMs), isSurelyNotApplied: true };
    });
    const outcome = await Promise.race([this.#authenticating, late]);
    signal?.removeEventListener('abort', stop);
    patience.abort();
    return outcome;
  }

  async #authenticate(): Promise<CallFailure | null> {
    const { user = '', password = '' } = this.#options;
    const answer = await this.#send(
      () =>
        this.#runInLibrary((etcd, options) =>
          etcd.auth.authenticate({ name: user, password }, options),
        ),
      { deadlineMs: AUTHENTICATE_DEADLINE_MS },
      this.#ports.clock.now(),
    );
    this.#note(answer);
    if (answer.ok) {
      this.#token = answer.value.token;
      return null;
    }
    // A store without authentication takes calls without a token.
    if (/authentication is not enabled/.test(answer.failure.error.message)) {
      this.#token = '';
      return null;
    }
    const failure = { ...answer.failure, isSurelyNotApplied: true };
    if (failure.isAnswer && failure.error.code === 'denied' && !failure.isTokenRejected)
      this.#denied = { failure, until: this.#ports.clock.now() + DENIED_MS };
    return failure;
  }

  #note(answer: CallAnswer<unknown>): void {
    if (answer.ok || answer.failure.isAnswer) {
      if (!answer.ok && answer.failure.isTokenRejected) this.#token = null;
      if (!answer.ok && answer.failure.error.code === 'aborted') return;
      this.#settle();
      return;
    }
    this.#failuresInARow++;
    if (this.#failuresInARow >= REBUILD_AFTER) this.#rebuild(answer.failure.error);
  }

  #settle(): void {
    this.#failuresInARow = 0;
    this.#rebuildGapMs = REBUILD_GAP_MIN_MS;
  }

  #rebuild(error: StoreError): void {
    if (this.#isClosed) return;
    const { clock, log } = this.#ports;
    const now = clock.now();
    if (now - this.#rebuiltAt < this.#rebuildGapMs) return;
    this.#rebuiltAt = now;
    this.#rebuildGapMs = Math.min(2 * this.#rebuildGapMs, REBUILD_GAP_MAX_MS);
    this.#failuresInARow = 0;
    this.#disconnect();
    log.debug({ endpoint: this.endpoint, error: error.message }, 'etcd-connection.rebuilt');
  }

  #disconnect(): void {
    this.#leaseStream?.close();
    this.#leaseStream = null;
    this.#etcd?.close();
    this.#etcd = null;
    this.#unary?.close();
    this.#unary = null;
  }
}

const statusOf = (error: unknown): CallStatus =>
  error instanceof StatusError ? error.status : { code: 2, details: messageOf(error) };

function clientOptions(endpoint: string, options: EtcdOptions): IOptions {
  const { ca, cert, key } = filesOf(options);
  return {
    hosts: endpoint,
    grpcOptions: CHANNEL_OPTIONS,
    faultHandling: { host: () => noop, global: noop },
    ...(ca !== undefined && {
      credentials: {
        rootCertificate: ca,
        ...(key !== undefined && { privateKey: key }),
        ...(cert !== undefined && { certChain: cert }),
      },
    }),
  };
}

type Files = { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };

/** Empty without TLS. */
function filesOf({ tls: files }: EtcdOptions): Files {
  if (files === undefined) return {};
  const { ca, cert, key } = files;
  return {
    ca: toBuffer(ca ?? tls.rootCertificates.join('\n')),
    ...(cert !== undefined && { cert: toBuffer(cert) }),
    ...(key !== undefined && { key: toBuffer(key) }),
  };
}

function toBuffer(file: Buffer | string): Buffer {
  return typeof file === 'string' ? Buffer.from(file) : file;
}
