/**
 * Unary gRPC calls over one HTTP/2 connection of Node's own, for what is called many times a second: the gRPC
 * library takes more than twice the processor time for the same frames. Source: gRPC over HTTP/2
 * (`doc/PROTOCOL-HTTP2.md`). It connects when called; deadlines are the caller's.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';

import { messageOf } from '../../lib/result.ts';
import type { MonoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Random } from '../../ports/random.ts';
import { Backoff } from './backoff.ts';
import { type CallStatus, StatusError } from './call-status.ts';

/** After a connection that failed, or ended without any answer, the next one is not tried sooner. */
const RECONNECT_FIRST_MS = 100;
const RECONNECT_LIMIT_MS = 1000;
/** A connection on which nothing is answered for so long is dead: the next call makes a new one. */
const SILENCE_MS = 3000;
/**
 * A connection may lie idle for weeks, and gateways forget it: the kernel asks the peer, and ends it when ten
 * questions a second apart stay open. No pings of HTTP/2: etcd ends connections that ping without a call.
 */
const KEEPALIVE_MS = 10_000;
/** Stream numbers end at 2^31, and only odd ones are a client's. */
const CALLS_PER_CONNECTION = 2 ** 29;
const FRAME_HEADER_LENGTH = 5;
const STATUS_UNKNOWN = 2;
const STATUS_UNAVAILABLE = 14;
const STATUS_INTERNAL = 13;
const STATUS_CANCELLED = 1;
const STATUS_EXHAUSTED = 8;

export type UnaryOptions = {
  /** `http://host:port` or `https://host:port`. */
  readonly endpoint: string;
  readonly tls: Pick<SecureClientSessionOptions, 'ca' | 'cert' | 'key'>;
  readonly messageLimitBytes: number;
};

export type UnaryCall = {
  /** Resolves with the answer's message; rejects with a `StatusError`. */
  readonly result: Promise<Uint8Array>;
  /** The caller waits no longer; whether the server acts is open. Safe at any time. */
  readonly cancel: () => void;
};

type Connection = {
  readonly session: ClientHttp2Session;
  readonly madeAt: MonoMs;
  isReady: boolean;
  hasAnswered: boolean;
  calls: number;
  /** When the first call was sent of those since the last answer; null: none waits. */
  unansweredSince: MonoMs | null;
};

type Call = {
  readonly connection: Connection;
  readonly stream: ClientHttp2Stream;
  /** Why it was ended here. */
  givenUp: CallStatus | null;
};

export class UnaryConnection {
  readonly #options: UnaryOptions;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #backoff: Backoff;
  /** Said in each call: Node's own lacks the brackets of IPv6. */
  readonly #authority: string;
  #connection: Connection | null = null;
  #retryAt = Number.NEGATIVE_INFINITY;
  #lastError = '';
  #isClosed = false;

  constructor(
    options: UnaryOptions,
    ports: { readonly clock: Pick<Clock, 'now'>; readonly random: Random },
  ) {
    this.#options = options;
    this.#clock = ports.clock;
    this.#authority = new URL(options.endpoint).host;
    this.#backoff = new Backoff(RECONNECT_FIRST_MS, RECONNECT_LIMIT_MS, ports.random);
  }

  /** One call, never repeated. `path` is `/package.Service/Method`; the metadata joins the headers. */
  call(
    path: string,
    message: Uint8Array,
    metadata: Readonly<Record<string, string>> = {},
  ): UnaryCall {
    const connection = this.#usable();
    if (connection === null) return refused(`No connection established: ${this.#lastError}`);
    let stream: ClientHttp2Stream;
    try {
      stream = connection.session.request({
        ':method': 'POST',
        ':path': path,
        ':authority': this.#authority,
        'content-type': 'application/grpc',
        te: 'trailers',
        ...metadata,
      });
    } catch (error) {
      // A session that has just ended takes none any more.
      this.#leave(connection, messageOf(error));
      return refused(`No connection established: ${messageOf(error)}`);
    }
    connection.calls++;
    connection.unansweredSince ??= this.#clock.now();
    const call: Call = { connection, stream, givenUp: null };
    const result = this.#answerOf(call);
    stream.end(framed(message));
    return { result, cancel: () => this.#cancel(call) };
  }

  /** Calls under way fail. */
  close(): void {
    this.#isClosed = true;
    this.#lastError = 'closed';
    this.#connection?.session.destroy();
    this.#connection = null;
  }

  /** Null: there is none, and it is too early to try again. */
  #usable(): Connection | null {
    const known = this.#connection;
    if (known !== null && known.calls < CALLS_PER_CONNECTION) return known;
    known?.session.close();
    this.#connection = null;
    if (this.#isClosed || this.#clock.now() < this.#retryAt) return null;
    this.#connection = this.#connect();
    return this.#connection;
  }

  #connect(): Connection {
    const { endpoint, tls } = this.#options;
    const session = connect(endpoint, { ...tls, settings: { enablePush: false } });
    const connection: Connection = {
      session,
      madeAt: this.#clock.now(),
      isReady: false,
      hasAnswered: false,
      calls: 0,
      unansweredSince: null,
    };
    session.on('connect', (_session, socket) => {
      connection.isReady = true;
      socket.setKeepAlive(true, KEEPALIVE_MS);
    });
    session.on('error', (error) => this.#leave(connection, messageOf(error)));
    // What is under way may still be answered; nothing new is taken.
    session.on('goaway', () => this.#leave(connection, 'the server ended the connection'));
    session.on('close', () => this.#leave(connection, 'the connection was closed'));
    return connection;
  }

  #leave(connection: Connection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = null;
    this.#lastError = reason;
    if (connection.hasAnswered) return;
    // A server that refuses our certificate says so on a connection that was ready (TLS 1.3).
    const from = connection.isReady ? connection.madeAt : this.#clock.now();
    this.#retryAt = from + this.#backoff.nextMs();
  }

  #noteAnswer(connection: Connection): void {
    if (connection.hasAnswered) return;
    connection.hasAnswered = true;
    this.#backoff.reset();
  }

  #cancel(call: Call): void {
    const { connection, stream } = call;
    if (stream.closed || stream.destroyed) return;
    giveUp(call, { code: STATUS_CANCELLED, details: 'cancelled' });
    const { unansweredSince } = connection;
    if (unansweredSince === null || this.#clock.now() - unansweredSince < SILENCE_MS) return;
    this.#leave(connection, 'the server was silent');
    connection.session.destroy();
  }

  #answerOf(call: Call): Promise<Uint8Array> {
    const { connection, stream } = call;
    return new Promise((resolve, reject) => {
      const { messageLimitBytes } = this.#options;
      const chunks: Buffer[] = [];
      let length = 0;
      let hasEnded = false;
      let headers: IncomingHttpHeaders = {};
      let trailers: IncomingHttpHeaders | null = null;
      let failure: unknown = null;
      let isFinished = false;
      const finish = (): void => {
        if (!hasEnded || trailers === null || isFinished) return;
        isFinished = true;
        const status = statusIn(headers, trailers);
        if (status !== null) return reject(new StatusError(status));
        const message = unframed(chunks, length);
        if (message !== null) return resolve(message);
        reject(new StatusError({ code: STATUS_INTERNAL, details: 'not one whole message' }));
      };
      stream.on('response', (received, flags) => {
        connection.unansweredSince = null;
        this.#noteAnswer(connection);
        headers = received;
        // Nothing but a status.
        if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) trailers = received;
      });
      stream.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length <= messageLimitBytes) chunks.push(chunk);
        else giveUp(call, { code: STATUS_EXHAUSTED, details: 'the answer is too long' });
      });
      stream.on('trailers', (received) => {
        trailers = received;
        finish();
      });
      stream.on('end', () => {
        hasEnded = true;
        finish();
      });
      stream.on('error', (error) => {
        failure = error;
      });
      stream.on('close', () => {
        if (!isFinished) reject(new StatusError(brokenStatus(call, failure)));
      });
    });
  }
}

function giveUp(call: Call, status: CallStatus): void {
  call.givenUp ??= status;
  call.stream.close(constants.NGHTTP2_CANCEL);
}

/** Why a call ended without a status of its server. */
function brokenStatus({ connection, stream, givenUp }: Call, failure: unknown): CallStatus {
  if (givenUp !== null) return givenUp;
  const reason = failure === null ? `stream error ${stream.rstCode}` : messageOf(failure);
  // Nothing was sent, or nothing was done with it (RFC 9113 8.7).
  const isUnprocessed = !connection.isReady || stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
  const details = isUnprocessed ? `No connection established: ${reason}` : reason;
  return { code: STATUS_UNAVAILABLE, details };
}

function refused(details: string): UnaryCall {
  const result = Promise.reject(new StatusError({ code: STATUS_UNAVAILABLE, details }));
  return { result, cancel: () => {} };
}

/** Null: the call succeeded. */
function statusIn(headers: IncomingHttpHeaders, trailers: IncomingHttpHeaders): CallStatus | null {
  const status = trailers['grpc-status'];
  if (status === '0') return null;
  if (typeof status === 'string' && /^\d+$/.test(status))
    return { code: Number(status), details: decoded(String(trailers['grpc-message'] ?? '')) };
  const httpStatus = String(headers[':status'] ?? 'none');
  return { code: STATUS_UNKNOWN, details: `no status of gRPC; HTTP status ${httpStatus}` };
}

/** Percent-encoded UTF-8; as it is where it is broken. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEADER_LENGTH + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, FRAME_HEADER_LENGTH);
  return frame;
}

/** The one message of an answer, which is not compressed; null: it is something else. */
function unframed(chunks: readonly Buffer[], length: number): Uint8Array | null {
  const [first] = chunks;
  const frame = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
  if (length < FRAME_HEADER_LENGTH || frame[0] !== 0) return null;
  if (frame.readUInt32BE(1) !== length - FRAME_HEADER_LENGTH) return null;
  return frame.subarray(FRAME_HEADER_LENGTH);
}
