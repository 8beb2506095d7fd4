/**
 * One connection of a probe: TCP, TLS where it is wanted, then a talk that its kind of check leads. Ends by reset, so
 * that nothing stays in TIME_WAIT, and says at its deadline how far it got.
 */
import { isIP, type Socket } from 'node:net';
import { connect as connectTls, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { messageOf } from '../../lib/result.ts';
import type { ProbeReason, TlsOptions } from '../../model/check.ts';
import { down, failureOutcome } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import type { ProbePlace, ProbeSockets } from './probe-sockets.ts';
import type { Trust } from './trust.ts';

/** What a kind of check does on a connection that stands. Calls may come in any number after the end: they do nothing. */
export interface Talk {
  /** The connection stands; with TLS where it was wanted. */
  onOpen(line: Line): void;
  /** Where the request says `isBrief`, the bytes are valid until it returns. */
  onData(bytes: Buffer): void;
  /** The other side has ended in order. */
  onEnd(): Outcome;
  /** What is still awaited, as the beginning of a sentence that ends "within 1000 ms". */
  awaited(): { readonly reason: ProbeReason; readonly what: string };
}

export interface Line {
  write(bytes: Uint8Array): void;
  finish(outcome: Outcome): void;
  /** Goes on in TLS on the same connection; then `onSecure`. */
  startTls(tls: TlsOptions, host: string | null, onSecure: () => void): void;
  /** Of the TLS connection: for people. */
  certificateNote(): string;
}

export type StreamRequest = {
  readonly place: ProbePlace;
  readonly timeoutMs: number;
  /** Null: without TLS from the beginning. */
  readonly tls: TlsOptions | null;
  /** What the certificate is for where `tls` names nothing; null: the address. */
  readonly host: string | null;
  /** Offered by ALPN; some servers refuse what is not theirs. Absent: nothing. */
  readonly protocol?: string;
  /** The talk keeps nothing of what it is given; and it does not go on in TLS. */
  readonly isBrief?: boolean;
};

export type StreamTools = {
  readonly sockets: ProbeSockets;
  readonly trust: Trust;
  /** Milliseconds since 1970: certificates are dated by wall clocks. */
  readonly wallMs: () => number;
};

const DAY_MS = 86_400_000;

/** Calls `done` once, not before it has returned, unless ended before. */
export function startStream(
  request: StreamRequest,
  talk: Talk,
  tools: StreamTools,
  done: (outcome: Outcome) => void,
): RunningProbe {
  return new StreamProbe(request, talk, tools, done);
}

class StreamProbe implements RunningProbe, Line {
  readonly #request: StreamRequest;
  readonly #talk: Talk;
  readonly #tools: StreamTools;
  readonly #done: (outcome: Outcome) => void;
  #tcp: Socket | null = null;
  #tls: TLSSocket | null = null;
  #phase: 'connecting' | 'securing' | 'talking' = 'connecting';
  #isOver = false;

  constructor(
    request: StreamRequest,
    talk: Talk,
    tools: StreamTools,
    done: (outcome: Outcome) => void,
  ) {
    this.#request = request;
    this.#talk = talk;
    this.#tools = tools;
    this.#done = done;
    const { isBrief = false, tls } = request;
    const isPlain = isBrief && tls === null;
    const onBytes = (bytes: Buffer): void => this.#onBytes(bytes);
    const opened = tools.sockets.openTcp(request.place, isPlain ? onBytes : null);
    if (!opened.ok) {
      queueMicrotask(() => this.finish({ kind: 'local', detail: opened.error }));
      return;
    }
    const tcp = opened.value;
    this.#tcp = tcp;
    // Stays for ever: errors may follow the end, and without a listener they would end the worker.
    tcp.on('error', (error) => this.#fail(error));
    tcp.once('connect', () => this.#onConnect(tcp));
  }

  abort(): void {
    this.#end();
  }

  expire(): Outcome {
    const { reason, what } = this.#awaited();
    this.#end();
    return down(reason, `${what} within ${this.#request.timeoutMs} ms`);
  }

  write(bytes: Uint8Array): void {
    if (!this.#isOver) (this.#tls ?? this.#tcp)?.write(bytes);
  }

  finish(outcome: Outcome): void {
    if (this.#isOver) return;
    this.#end();
    this.#done(outcome);
  }

  certificateNote(): string {
    const first = this.#tls === null ? null : firstToExpire(this.#tls.getPeerCertificate(true));
    return first === null ? '' : `certificate until ${first.text}`;
  }

  startTls(options: TlsOptions, host: string | null, onSecure: () => void): void {
    const tcp = this.#tcp;
    if (this.#isOver || tcp === null) return;
    const context = this.#tools.trust.contextFor(options);
    if (!context.ok) {
      this.finish({ kind: 'local', detail: context.error });
      return;
    }
    this.#phase = 'securing';
    tcp.removeAllListeners('data');
    tcp.removeAllListeners('end');
    const { protocol } = this.#request;
    // Without the dot that a name may end with (RFC 6066 3): servers would not know it.
    const name = (options.name ?? host ?? this.#request.place.address).replace(/\.$/, '');
    const tls = connectTls({
      socket: tcp,
      host: name,
      ...(isIP(name) === 0 ? { servername: name } : {}),
      rejectUnauthorized: options.verify,
      secureContext: context.value,
      ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }),
    });
    this.#tls = tls;
    tls.on('error', (error) => this.#fail(error));
    tls.once('secureConnect', () => {
      this.#guard(() => {
        const problem = this.#judgeCertificate(tls, options);
        if (problem !== null) this.finish(problem);
        else {
          this.#listen(tls);
          onSecure();
        }
      });
    });
    tls.once('close', () => this.#onTlsClosed());
  }

  #onConnect(tcp: Socket): void {
    if (this.#isOver) return;
    const { tls, host } = this.#request;
    if (tls !== null) this.startTls(tls, host, () => this.#open());
    else {
      this.#listen(tcp);
      this.#open();
    }
  }

  #open(): void {
    this.#guard(() => this.#talk.onOpen(this));
  }

  /** Answers come from anybody: a fault in what reads them must not end the thread of all other checks. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      // What was told already is not ours: its fault is another's.
      if (this.#isOver) throw error;
      this.finish({ kind: 'local', detail: `cannot read the answer: ${messageOf(error)}` });
    }
  }

  #listen(stream: Socket): void {
    this.#phase = 'talking';
    // Where it reads into a buffer of ours, no such event comes: to listen would be to read twice.
    if (this.#request.isBrief !== true || stream === this.#tls)
      stream.on('data', (bytes: Buffer) => this.#onBytes(bytes));
    stream.on('end', () => {
      if (!this.#isOver) this.#guard(() => this.finish(this.#talk.onEnd()));
    });
  }

  #onBytes(bytes: Buffer): void {
    if (!this.#isOver) this.#guard(() => this.#talk.onData(bytes));
  }

  /** Without an error of its own: the other side ended TCP in the middle of the handshake. */
  #onTlsClosed(): void {
    if (this.#isOver) return;
    if (this.#phase === 'securing')
      this.finish(down('closed-early', 'connection closed within the TLS handshake'));
    else this.#guard(() => this.finish(this.#talk.onEnd()));
  }

  #fail(error: Error): void {
    if (this.#isOver) return;
    const outcome = failureOutcome(error);
    // Node tells an end before the handshake's by the code of a reset.
    const isEarlyEnd =
      this.#phase === 'securing' && error.message.includes('disconnected before secure TLS');
    this.finish(
      isEarlyEnd ? down('closed-early', 'connection closed within the TLS handshake') : outcome,
    );
  }

  /** The chain that the server sent: what its first certificate to expire leaves. */
  #judgeCertificate(tls: TLSSocket, { daysLeft }: TlsOptions): Outcome | null {
    // Reading the chain costs more than the rest of a small answer.
    if (daysLeft === null) return null;
    const first = firstToExpire(tls.getPeerCertificate(true));
    if (first === null) return down('certificate-invalid', 'no certificate');
    const days = Math.floor((first.atMs - this.#tools.wallMs()) / DAY_MS);
    const on = first.text;
    if (days >= daysLeft) return null;
    if (days < 0) return down('certificate-expired', `certificate: expired since ${on}`);
    return down(
      'certificate-expires-soon',
      `certificate: expires in ${days} days (${on}), wanted at least ${daysLeft}`,
    );
  }

  #awaited(): { readonly reason: ProbeReason; readonly what: string } {
    switch (this.#phase) {
      case 'connecting':
        return { reason: 'timeout-connect', what: 'no connection' };
      case 'securing':
        return { reason: 'timeout-tls', what: 'connected, but no end of the TLS handshake' };
      case 'talking':
        return this.#talk.awaited();
    }
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const tcp = this.#tcp;
    if (tcp === null) return;
    // A reset is refused while a shutdown is under way, and Node then never closes the descriptor; a
    // socket that still connects would wait for its connection before it resets.
    const isEnding = tcp.writableEnded || this.#tls?.writableEnded === true;
    if (tcp.connecting || isEnding) tcp.destroy();
    else tcp.resetAndDestroy();
    // TLS follows when TCP is closed.
  }
}

type Expiry = { readonly atMs: number; readonly text: string };

function firstToExpire(leaf: DetailedPeerCertificate): Expiry | null {
  let first: Expiry | null = null;
  const seen = new Set<string>();
  for (let at = leaf; at?.valid_to !== undefined && !seen.has(at.fingerprint256); ) {
    seen.add(at.fingerprint256);
    // oxlint-disable-next-line no-restricted-globals -- parses a text, reads no clock
    const atMs = Date.parse(at.valid_to);
    if (!Number.isNaN(atMs) && (first === null || atMs < first.atMs))
      // oxlint-disable-next-line no-restricted-globals -- formats a time, reads no clock
      first = { atMs, text: new Date(atMs).toISOString().slice(0, 10) };
    at = at.issuerCertificate;
  }
  return first;
}
