/**
 * The GatewayPing port over raw sockets that are read by a timer while somebody asks: one for each own address
 * in use. Idle it costs nothing.
 */
import { fromHex } from '../../lib/bytes.ts';
import { ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import type { Clock } from '../../ports/clock.ts';
import type { GatewayAnswer, GatewayPing, GatewayRequest } from '../../ports/gateway.ts';
import type { Random } from '../../ports/random.ts';
import { decodeEchoReply, encodeEchoRequest } from '../../wire/icmp.ts';
import type { EchoSocket, OpenEchoSocket } from './icmp-socket.ts';
import type { OwnAddress } from '../raw-sockets/own-addresses.ts';
import { pickSource } from './own-addresses.ts';

/** So long the addresses of this host count as known. */
export const OWN_ADDRESSES_MS = 1_000;
/** Replies read from one socket at one poll. */
export const REPLIES_PER_POLL = 64;
/** It is looked for a reply when so much more of the time since the echo has passed: a quarter. */
const POLL_RATIO = 0.25;
const POLL_MIN_MS = 1;
const POLL_MAX_MS = 20;
const NONCE_LENGTH = 8;

export type EchoPingPorts = {
  readonly open: OpenEchoSocket;
  readonly ownAddresses: () => Result<readonly OwnAddress[], string>;
  readonly clock: Clock;
  readonly random: Random;
};

type Slot = { readonly socket: EchoSocket; readonly identifier: number; isStale: boolean };

type Echo = {
  readonly ask: Ask;
  readonly target: IpAddress;
  readonly nonce: Uint8Array;
  readonly slot: Slot;
};

type Ask = {
  readonly request: GatewayRequest;
  readonly targets: readonly IpAddress[];
  readonly until: number;
  /** Null: it was done. */
  retryAt: number | null;
  sentAt: number;
  readonly answered: Set<IpAddress>;
  readonly reasons: Map<IpAddress, string>;
  readonly resolve: (answer: GatewayAnswer) => void;
};

export class EchoPing implements GatewayPing {
  readonly #ports: EchoPingPorts;
  /** By own address and device. */
  readonly #slots = new Map<string, Slot>();
  readonly #asks = new Set<Ask>();
  /** By sequence number: what is on its way. */
  readonly #echoes = new Map<number, Echo>();
  #sequence = 0;
  #own: { readonly at: number; readonly addresses: Result<readonly OwnAddress[], string> } | null =
    null;
  #cancelTimer: (() => void) | null = null;
  #isClosed = false;

  constructor(ports: EchoPingPorts) {
    this.#ports = ports;
  }

  ask(request: GatewayRequest, signal?: AbortSignal): Promise<GatewayAnswer> {
    return new Promise((resolve) => {
      const now = this.#ports.clock.now();
      const { timeoutMs } = request;
      const abandon = (): void => this.#end(ask);
      const ask: Ask = {
        request,
        targets: [...new Set(request.targets)],
        until: now + timeoutMs,
        retryAt: now + timeoutMs / 2,
        sentAt: now,
        answered: new Set(),
        reasons: new Map(),
        resolve: (answer) => {
          signal?.removeEventListener('abort', abandon);
          resolve(answer);
        },
      };
      if (this.#isClosed || signal?.aborted === true || ask.targets.length === 0) {
        ask.resolve(answerOf(ask));
        return;
      }
      signal?.addEventListener('abort', abandon, { once: true });
      if (this.#asks.size === 0) this.#tidy();
      this.#asks.add(ask);
      this.#send(ask);
      this.#arm();
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelTimer?.();
    for (const ask of this.#asks) this.#end(ask);
    for (const { socket } of this.#slots.values()) socket.close();
    this.#slots.clear();
  }

  /** Between two asks: sockets that failed or heard nothing are opened anew, and late replies forgotten. */
  #tidy(): void {
    for (const [key, slot] of this.#slots) {
      if (slot.isStale) {
        slot.socket.close();
        this.#slots.delete(key);
      } else for (let i = 0; i < REPLIES_PER_POLL && slot.socket.receive() !== null; i++);
    }
  }

  #send(ask: Ask): void {
    ask.sentAt = this.#ports.clock.now();
    const own = this.#ownAddresses();
    for (const target of ask.targets) {
      if (ask.answered.has(target)) continue;
      const sent = own.ok ? this.#sendTo(ask, target, own.value) : own;
      ask.reasons.set(
        target,
        sent.ok ? `no answer within ${ask.request.timeoutMs} ms` : sent.error,
      );
    }
  }

  #sendTo(ask: Ask, target: IpAddress, own: readonly OwnAddress[]): Result<void, string> {
    const family = familyOf(target);
    const source = pickSource(ask.request.source[family], target, own);
    if (!source.ok) return source;
    const slot = this.#slotOf(source.value);
    if (!slot.ok) return slot;
    const nonce = fromHex(this.#ports.random.hex(NONCE_LENGTH)) ?? new Uint8Array(NONCE_LENGTH);
    const sequence = this.#nextSequence();
    const { identifier, socket } = slot.value;
    this.#echoes.set(sequence, { ask, target, nonce, slot: slot.value });
    const sent = socket.send(
      target,
      encodeEchoRequest(family, { identifier, sequence, payload: nonce }),
    );
    if (sent.ok) return sent;
    this.#echoes.delete(sequence);
    slot.value.isStale = true;
    return sent;
  }

  #slotOf(own: OwnAddress): Result<Slot, string> {
    const key = `${own.address}%${own.device}`;
    const known = this.#slots.get(key);
    if (known !== undefined) return ok(known);
    const identifier = Math.floor(this.#ports.random.next() * 0x10000);
    const opened = this.#ports.open(own, identifier);
    if (!opened.ok) return opened;
    const slot = { socket: opened.value, identifier, isStale: false };
    this.#slots.set(key, slot);
    return ok(slot);
  }

  #nextSequence(): number {
    do this.#sequence = (this.#sequence + 1) & 0xffff;
    while (this.#echoes.has(this.#sequence));
    return this.#sequence;
  }

  #ownAddresses(): Result<readonly OwnAddress[], string> {
    const at = this.#ports.clock.now();
    if (this.#own === null || at >= this.#own.at + OWN_ADDRESSES_MS)
      this.#own = { at, addresses: this.#ports.ownAddresses() };
    return this.#own.addresses;
  }

  #poll(): void {
    for (const slot of this.#slots.values()) this.#hear(slot);
    const now = this.#ports.clock.now();
    for (const ask of this.#asks) {
      if (now >= ask.until) this.#end(ask);
      else if (ask.retryAt !== null && now >= ask.retryAt) {
        ask.retryAt = null;
        this.#send(ask);
      }
    }
    this.#arm();
  }

  #hear({ socket, identifier }: Slot): void {
    for (let count = 0; count < REPLIES_PER_POLL; count++) {
      const heard = socket.receive();
      if (heard === null) return;
      const reply = decodeEchoReply(heard.bytes, familyOf(heard.from));
      if (!reply.ok || reply.value.identifier !== identifier) continue;
      const { sequence, payload } = reply.value;
      const echo = this.#echoes.get(sequence);
      if (echo === undefined || echo.target !== heard.from || !isSame(echo.nonce, payload))
        continue;
      this.#echoes.delete(sequence);
      this.#take(echo);
    }
  }

  #take({ ask, target }: Echo): void {
    ask.answered.add(target);
    if (answerOf(ask).isReachable) this.#end(ask);
  }

  #end(ask: Ask): void {
    if (!this.#asks.delete(ask)) return;
    const answer = answerOf(ask);
    for (const [sequence, echo] of this.#echoes) {
      if (echo.ask !== ask) continue;
      this.#echoes.delete(sequence);
      // One with a link-local address is bound to its device: made anew, that one has another index.
      if (!answer.isReachable) echo.slot.isStale = true;
    }
    if (this.#asks.size === 0) this.#cancelTimer?.();
    ask.resolve(answer);
  }

  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    if (this.#isClosed || this.#asks.size === 0) return;
    const now = this.#ports.clock.now();
    let waitMs = POLL_MAX_MS;
    for (const { sentAt, retryAt, until } of this.#asks)
      waitMs = Math.min(waitMs, (now - sentAt) * POLL_RATIO, (retryAt ?? until) - now, until - now);
    this.#cancelTimer = this.#ports.clock.schedule(Math.max(POLL_MIN_MS, waitMs), () => {
      this.#cancelTimer = null;
      this.#poll();
    });
  }
}

function answerOf({ request, targets, answered, reasons }: Ask): GatewayAnswer {
  const isReachable = request.mode === 'any' ? answered.size > 0 : answered.size === targets.length;
  return {
    isReachable: targets.length > 0 && isReachable,
    answered: [...answered],
    unanswered: targets
      .filter((target) => !answered.has(target))
      .map((target) => ({ target, reason: reasons.get(target) ?? 'not asked' })),
  };
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);
