/**
 * ICMP checks. All probes from one source share one raw socket, which is open only while one of them waits for its
 * reply. Such sockets cannot be watched by Node's loop, so they are looked at: often at first, then less.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress, type IpFamily } from '../../model/address.ts';
import type { CheckOrigin, IcmpCheck } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { Clock } from '../../ports/clock.ts';
import { buildEchoFilter } from '../../wire/echo-filter.ts';
import { decodeEchoReply, encodeEchoRequest } from '../../wire/icmp.ts';
import type { Libc } from '../raw-sockets/libc.ts';
import { type ErrnoWords, RawSocket, SOCK_RAW } from '../raw-sockets/raw-socket.ts';
import {
  AF_INET,
  AF_INET6,
  decodeIpAddress,
  encodeIpAddress,
  hostInt,
  SOCKADDR_IN6_LENGTH,
} from '../raw-sockets/socket-address.ts';
import { down } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import { originOf } from './probe-sockets.ts';
import { SOL_SOCKET, SO_BINDTODEVICE, SO_MARK } from '../raw-sockets/socket-numbers.ts';

const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
/** Largest payload, and an IPv4 header with options. */
const RECEIVE_LENGTH = 1_500;
const SO_RCVBUFFORCE = 33;
const RECEIVE_BUFFER = 8 << 20;
const NONCE_LENGTH = 8;
const POLL_MIN_MS = 1;
const POLL_MAX_MS = 10;
/** The gap between two looks grows with the time since the last question. */
const POLL_RATIO = 0.1;
const REPLIES_PER_POLL = 256;

export type EchoTools = {
  readonly clock: Clock;
  readonly libc: () => Libc;
  readonly random16: () => number;
};

type Echo = {
  readonly target: IpAddress;
  readonly payload: Uint8Array;
  readonly sentAt: number;
  readonly done: (outcome: Outcome) => void;
};

export class EchoProbes {
  readonly #tools: EchoTools;
  readonly #lines = new Map<string, EchoLine>();

  constructor(tools: EchoTools) {
    this.#tools = tools;
  }

  start(check: Check, spec: IcmpCheck, done: (outcome: Outcome) => void): RunningProbe {
    const family = familyOf(check.address);
    const origin = originOf(check.spec.origin);
    const key = JSON.stringify([family, origin.source, origin.interface, origin.mark]);
    const line = this.#lines.get(key) ?? new EchoLine(family, origin, this.#tools);
    const asked = line.ask(check.address, spec.size, done);
    if (line.isIdle) this.#lines.delete(key);
    else this.#lines.set(key, line);
    if (!asked.ok) {
      let isOver = false;
      queueMicrotask(() => {
        if (!isOver) done(asked.error);
      });
      return { abort: () => (isOver = true), expire: () => ((isOver = true), asked.error) };
    }
    const forget = (): void => {
      line.forget(asked.value);
      if (line.isIdle) this.#lines.delete(key);
    };
    const expire = (): Outcome => {
      forget();
      return down('timeout-first-byte', `no echo reply within ${check.spec.timeoutMs} ms`);
    };
    return { abort: forget, expire };
  }
}

/** One socket, and the questions that wait on it. */
class EchoLine {
  readonly #family: IpFamily;
  readonly #origin: CheckOrigin;
  readonly #tools: EchoTools;
  readonly #identifier: number;
  readonly #echoes = new Map<number, Echo>();
  readonly #buffer = new Uint8Array(RECEIVE_LENGTH);
  readonly #from = new Uint8Array(SOCKADDR_IN6_LENGTH);
  #socket: RawSocket | null = null;
  #sequence = 0;
  #lastSentAt = 0;
  #cancelTimer: (() => void) | null = null;
  /** When the timer fires. */
  #lookAt = Infinity;

  constructor(family: IpFamily, origin: CheckOrigin, tools: EchoTools) {
    this.#family = family;
    this.#origin = origin;
    this.#tools = tools;
    this.#identifier = tools.random16();
  }

  get isIdle(): boolean {
    return this.#echoes.size === 0;
  }

  /** The number of the question. */
  ask(target: IpAddress, size: number, done: Echo['done']): Result<number, Outcome> {
    const opened = this.#open();
    if (!opened.ok) return err({ kind: 'local', detail: opened.error });
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const sequence = this.#sequence;
    const payload = new Uint8Array(size);
    for (let i = 0; i < NONCE_LENGTH; i += 2)
      new DataView(payload.buffer).setUint16(i, this.#tools.random16());
    const message = encodeEchoRequest(this.#family, {
      identifier: this.#identifier,
      sequence,
      payload,
    });
    const sent = opened.value.send(message, encodeIpAddress(target, this.#scopeOf(target)));
    if (!sent.ok) {
      this.#rest();
      return err(outcomeOfSend(sent.error));
    }
    this.#lastSentAt = this.#tools.clock.now();
    this.#echoes.set(sequence, { target, payload, sentAt: this.#lastSentAt, done });
    this.#arm(POLL_MIN_MS);
    return ok(sequence);
  }

  forget(sequence: number): void {
    this.#echoes.delete(sequence);
    this.#rest();
  }

  #scopeOf(target: IpAddress): number {
    const device = this.#origin.interface;
    const isLinkLocal = /^fe[89ab]/.test(target);
    return isLinkLocal && device !== null ? this.#tools.libc().deviceIndex(device) : 0;
  }

  #open(): Result<RawSocket, string> {
    if (this.#socket !== null) return ok(this.#socket);
    const [domain, protocol] =
      this.#family === 4 ? [AF_INET, IPPROTO_ICMP] : [AF_INET6, IPPROTO_ICMPV6];
    const kind = { domain, type: SOCK_RAW, protocol };
    const opened = RawSocket.open(this.#tools.libc(), kind, ERROR_WORDS);
    if (!opened.ok) return err(`cannot open a raw socket: ${opened.error}`);
    const socket = opened.value;
    const problem = this.#prepare(socket);
    if (problem !== null) {
      socket.close();
      return err(problem);
    }
    this.#socket = socket;
    return ok(socket);
  }

  /** Null: done. */
  #prepare(socket: RawSocket): string | null {
    const { interface: device, mark, source } = this.#origin;
    const filtered = socket.setFilter(
      buildEchoFilter(this.#family, this.#identifier, RECEIVE_LENGTH),
    );
    if (!filtered.ok) return `cannot filter: ${filtered.error}`;
    // Replies to many questions at once wait here; less room where the capability is missing.
    socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, hostInt(RECEIVE_BUFFER));
    if (device !== null) {
      const name = new TextEncoder().encode(`${device}\0`);
      const bound = socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, name);
      if (!bound.ok) return `cannot use interface ${device}: ${bound.error}`;
    }
    if (mark !== 0) {
      const marked = socket.setOption(SOL_SOCKET, SO_MARK, hostInt(mark | 0));
      if (!marked.ok) return `cannot set mark ${mark}: ${marked.error}`;
    }
    if (source === null) return null;
    const bound = socket.bind(encodeIpAddress(source, 0));
    return bound.ok ? null : `cannot send from ${source}: ${bound.error}`;
  }

  /** Nobody waits: neither a descriptor nor a timer stays. */
  #rest(): void {
    if (this.#echoes.size > 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#lookAt = Infinity;
    this.#socket?.close();
    this.#socket = null;
  }

  /** Sooner than planned, never later: questions that follow each other closely must not put off the look. */
  #arm(ms: number): void {
    const at = this.#tools.clock.now() + ms;
    if (at >= this.#lookAt) return;
    this.#cancelTimer?.();
    this.#lookAt = at;
    this.#cancelTimer = this.#tools.clock.schedule(ms, () => {
      this.#cancelTimer = null;
      this.#lookAt = Infinity;
      this.#hear();
      if (this.#echoes.size === 0) return;
      const sinceMs = this.#tools.clock.now() - this.#lastSentAt;
      this.#arm(Math.min(POLL_MAX_MS, Math.max(POLL_MIN_MS, sinceMs * POLL_RATIO)));
    });
  }

  #hear(): void {
    for (let i = 0; i < REPLIES_PER_POLL; i++) {
      const heard = this.#socket?.receive(this.#buffer, this.#from);
      if (heard === undefined || !heard.ok || heard.value === 0) return;
      const reply = decodeEchoReply(this.#buffer.subarray(0, heard.value), this.#family);
      if (!reply.ok || reply.value.identifier !== this.#identifier) continue;
      const { sequence, payload } = reply.value;
      const echo = this.#echoes.get(sequence);
      if (echo === undefined || echo.target !== decodeIpAddress(this.#from)) continue;
      this.#echoes.delete(sequence);
      const isSame =
        payload.length === echo.payload.length &&
        payload.every((byte, n) => byte === echo.payload[n]);
      this.#rest();
      echo.done(
        isSame
          ? { kind: 'up', detail: 'echo reply' }
          : down('wrong-answer', 'an echo reply with other content than the request'),
      );
    }
  }
}

const ERROR_WORDS: ErrnoWords = {
  EPERM: 'not permitted: CAP_NET_RAW is needed, and no firewall that drops it',
  ENETUNREACH: 'network unreachable',
  EHOSTUNREACH: 'no route to host',
  EADDRNOTAVAIL: 'the address is not bound here',
  EINVAL: 'not from this address',
};

function outcomeOfSend(error: string): Outcome {
  const isRoute = error.includes('ENETUNREACH') || error.includes('EHOSTUNREACH');
  return isRoute ? down('unreachable', error) : { kind: 'local', detail: error };
}
