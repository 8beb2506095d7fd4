/**
 * The PeerLink port over UDP: signs, splits, checks, and keeps recordings out. Who sent a datagram is what
 * its MAC says, never its source address.
 */
import { AsyncQueue } from '../../lib/async.ts';
import { equalBytes, fromHex } from '../../lib/bytes.ts';
import type { IpAddress } from '../../model/address.ts';
import type { DirectorId } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type {
  PeerDelivery,
  PeerLink,
  PeerLinkCounters,
  PeerMessage,
} from '../../ports/peer-link.ts';
import type { Random } from '../../ports/random.ts';
import {
  decodePeerDatagram,
  encodePeerDatagram,
  type Hello,
  looksLikePeerDatagram,
  NONCE_LENGTH,
  type PeerBody,
  type PeerDatagram,
  type PeerEnvelope,
  splitMessage,
} from '../../wire/peer-message.ts';
import { Authenticator, hmac } from './authenticator.ts';
import { PeerSocket } from './peer-socket.ts';
import { ReplayGuard } from './replay-guard.ts';

/** Deliveries waiting for a slow reader; beyond it the oldest are dropped. */
const DELIVERIES_MAX = 4_096;
/** A message that a peer could not take as news is sent again after its hello, if it is not older. */
const RESEND_AGE_MAX_MS = 500;
/** Least time between two hellos to one director. */
const HELLO_SPACING_MS = 5;
const NO_CHALLENGE = new Uint8Array(NONCE_LENGTH);

export type PeerLinkOptions = {
  readonly director: DirectorId;
  readonly cluster: string;
  readonly bindAddress: IpAddress;
  /** Of all directors, ours included. */
  readonly port: number;
  /** The first signs, all verify; at least one. */
  readonly keys: readonly Uint8Array[];
};

export type PeerLinkPorts = { readonly clock: Clock; readonly log: Log; readonly random: Random };

/** What we know of a director that we send to. */
type Peer = {
  counter: number;
  /** Zeros until its first hello. */
  challenge: Uint8Array;
  /** The newest counter of ours that a hello has answered. */
  answeredCounter: number;
  /** The last message, kept until the peer has given its challenge. */
  last: { readonly address: IpAddress; readonly message: PeerMessage; readonly at: number } | null;
};

/** Binds at once, and again every second while the address is not there. */
export function createPeerLink(options: PeerLinkOptions, ports: PeerLinkPorts): PeerLink {
  return new UdpPeerLink(options, ports);
}

class UdpPeerLink implements PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #authenticator: Authenticator;
  readonly #guard: ReplayGuard;
  readonly #nonce: Uint8Array;
  readonly #socket: PeerSocket;
  readonly #peers = new Map<DirectorId, Peer>();
  readonly #helloSentAt = new Map<DirectorId, number>();
  readonly #queues = new Set<AsyncQueue<PeerDelivery>>();
  readonly #rejected = { malformed: 0, unauthentic: 0, replayed: 0 };
  #sent = 0;
  #received = 0;
  #unknown = 0;

  constructor(options: PeerLinkOptions, ports: PeerLinkPorts) {
    this.#options = options;
    this.#clock = ports.clock;
    this.#log = ports.log;
    this.#authenticator = new Authenticator(options.keys);
    this.#nonce = randomBytes(ports.random, NONCE_LENGTH);
    const secret = randomBytes(ports.random, 32);
    this.#guard = new ReplayGuard((text) => hmac(secret, text).subarray(0, NONCE_LENGTH));
    this.#socket = new PeerSocket(
      {
        bindAddress: options.bindAddress,
        port: options.port,
        onDatagram: (bytes, from) => this.#onDatagram(bytes, from),
      },
      ports,
    );
  }

  send(
    to: { readonly director: DirectorId; readonly address: IpAddress },
    message: PeerMessage,
  ): void {
    const peer = this.#peer(to.director);
    peer.last = { address: to.address, message, at: this.#clock.now() };
    this.#sendMessage(to.director, peer, to.address, message);
  }

  /** A reader gets what arrives from this call on. */
  receive(signal: AbortSignal): AsyncIterable<PeerDelivery> {
    const queue = new AsyncQueue<PeerDelivery>(DELIVERIES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted) queue.end();
    else {
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  counters(): PeerLinkCounters {
    const rejected = { ...this.#rejected };
    return { sent: this.#sent, received: this.#received, unknown: this.#unknown, rejected };
  }

  close(): void {
    this.#socket.close();
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }

  #peer(director: DirectorId): Peer {
    const known = this.#peers.get(director);
    if (known !== undefined) return known;
    const peer: Peer = { counter: 0, challenge: NO_CHALLENGE, answeredCounter: 0, last: null };
    this.#peers.set(director, peer);
    return peer;
  }

  #sendMessage(to: DirectorId, peer: Peer, address: IpAddress, message: PeerMessage): void {
    const names = { cluster: this.#options.cluster, from: this.#options.director, to };
    for (const part of splitMessage(names, message))
      this.#sendBody(to, peer.challenge, part, { address, port: this.#options.port });
  }

  #sendBody(
    to: DirectorId,
    challenge: Uint8Array,
    body: PeerBody,
    target: { readonly address: string; readonly port: number },
  ): void {
    const envelope: PeerEnvelope = {
      cluster: this.#options.cluster,
      from: this.#options.director,
      to,
      nonce: this.#nonce,
      counter: ++this.#peer(to).counter,
      challenge,
    };
    const datagram = this.#authenticator.sign(encodePeerDatagram(envelope, body));
    if (this.#socket.send(datagram, target)) this.#sent++;
  }

  #onDatagram(
    bytes: Uint8Array,
    source: { readonly address: string; readonly port: number },
  ): void {
    if (!looksLikePeerDatagram(bytes)) {
      this.#rejected.malformed++;
      return;
    }
    const opened = this.#authenticator.open(bytes);
    if (opened === null) {
      this.#rejected.unauthentic++;
      return;
    }
    const decoded = decodePeerDatagram(opened);
    if (!decoded.ok) this.#rejected.malformed++;
    else if (decoded.value.envelope.cluster !== this.#options.cluster) this.#rejected.unauthentic++;
    // Sent to somebody else, or our own come back: a recording in the wrong place.
    else if (!this.#isForUs(decoded.value.envelope)) this.#rejected.replayed++;
    else this.#onAuthentic(decoded.value, source);
  }

  #isForUs(envelope: PeerEnvelope): boolean {
    return envelope.to === this.#options.director && envelope.from !== this.#options.director;
  }

  #onAuthentic(
    { envelope, body }: PeerDatagram,
    source: { readonly address: string; readonly port: number },
  ): void {
    if (body.kind === 'hello') {
      this.#onHello(envelope, body);
      return;
    }
    const verdict = this.#guard.judge(envelope);
    if (verdict === 'fresh') {
      this.#received++;
      if (body.kind === 'unknown') {
        this.#onUnknown(envelope.from, body.code);
        return;
      }
      const delivery = { from: envelope.from, message: body, at: this.#clock.now() };
      for (const queue of this.#queues) queue.push(delivery);
      return;
    }
    if (verdict === 'replayed') this.#rejected.replayed++;
    this.#sendHello(envelope, source);
  }

  /** A director of a newer version has more to say: while directors are upgraded, one after the other. */
  #onUnknown(from: DirectorId, code: number): void {
    if (this.#unknown++ === 0) this.#log.info({ director: from, code }, 'peer.unknown-kind');
  }

  /** Tells the sender what to show; a recording is answered too, but nobody can use the answer. */
  #sendHello(
    envelope: PeerEnvelope,
    source: { readonly address: string; readonly port: number },
  ): void {
    const now = this.#clock.now();
    const last = this.#helloSentAt.get(envelope.from);
    if (last !== undefined && now - last < HELLO_SPACING_MS) return;
    this.#helloSentAt.set(envelope.from, now);
    const challenge = this.#guard.challengeFor(envelope.from, envelope.nonce);
    const hello: Hello = {
      kind: 'hello',
      answersNonce: envelope.nonce,
      answersCounter: envelope.counter,
    };
    this.#sendBody(envelope.from, challenge, hello, source);
  }

  /**
   * A hello counts if it answers this life of ours and a newer datagram than the hello before: then it
   * was made later, and a recorded one cannot bring an old challenge back.
   */
  #onHello(envelope: PeerEnvelope, hello: Hello): void {
    const peer = this.#peers.get(envelope.from);
    if (
      peer === undefined ||
      !equalBytes(hello.answersNonce, this.#nonce) ||
      hello.answersCounter <= peer.answeredCounter ||
      hello.answersCounter > peer.counter
    ) {
      this.#rejected.replayed++;
      return;
    }
    peer.answeredCounter = hello.answersCounter;
    if (equalBytes(peer.challenge, envelope.challenge)) return;
    peer.challenge = envelope.challenge;
    this.#log.debug({ director: envelope.from }, 'peer.greeted');
    const last = peer.last;
    if (last !== null && this.#clock.now() - last.at <= RESEND_AGE_MAX_MS)
      this.#sendMessage(envelope.from, peer, last.address, last.message);
  }
}

function randomBytes(random: Random, length: number): Uint8Array {
  return fromHex(random.hex(length)) ?? new Uint8Array(length);
}
