/**
 * Checks of kind `vip`. All looks from one source share one port and one ear, which are open only while one of them
 * waits. Such sockets cannot be watched by Node's loop, so they are looked at: often at first, then less.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import type { IpAddress, MacAddress } from '../../model/address.ts';
import type { VipCheck } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import type { Clock } from '../../ports/clock.ts';
import { decodeArpFrame } from '../../wire/arp.ts';
import { decodeNeighborAdvertisement } from '../../wire/ndp.ts';
import { decodeHeard, type Heard, TCP_ACK, TCP_RST } from '../../wire/vip-packets.ts';
import { type OwnAddress, readOwnAddresses } from '../raw-sockets/own-addresses.ts';
import type { Libc } from '../raw-sockets/libc.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import { originOf } from './probe-sockets.ts';
import { type HeardFrame, VipEar } from './vip-ear.ts';
import { type LookOf, VipLook } from './vip-look.ts';
import { VipSender } from './vip-sender.ts';
import { findWay } from './vip-way.ts';
import { vipOutcome } from './vip-words.ts';

/** Nothing after this part of the timeout: the question is asked once more. */
const AGAIN_SHARE = 1 / 3;
/** A look that is over still ends what its real server opens late: the first answer is said again after 1 s. */
const LINGER_MS = 1_500;
const ADDRESSES_FRESH_MS = 1_000;
const MACS_MAX = 4_096;
const NUMBERS = 0x1_0000;
const POLL_MIN_MS = 1;
const POLL_MAX_MS = 10;
/** The gap between two looks at the socket grows with the time since the last question. */
const POLL_RATIO = 0.1;
const FRAMES_PER_POLL = 1_024;
/** Behind tunnels nothing tells from which real server of a VIP a segment comes: so many are told to end it. */
const ENDS_MAX = 8;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV6 = 0x86dd;
const NEIGHBOR_ADVERTISEMENT = 136;

export type VipTools = {
  readonly clock: Clock;
  readonly libc: () => Libc;
  readonly random16: () => number;
  /** Default: what is bound in this network namespace. */
  readonly ownAddresses?: () => ReturnType<typeof readOwnAddresses>;
};

type Running = {
  readonly look: VipLook;
  readonly timeoutMs: number;
  readonly dropsAtStart: number;
  againAt: number;
  /** Null: over; what comes late is ended until then. */
  done: ((outcome: Outcome) => void) | null;
  lingersUntil: number;
};

export class VipProbes {
  readonly #tools: VipTools;
  readonly #lines = new Map<IpAddress, VipLine>();
  /** What it was the last time, by real server. */
  readonly #macs = new Map<IpAddress, MacAddress>();
  #addresses: { readonly at: number; readonly are: readonly OwnAddress[] } | null = null;
  #sender: VipSender | null = null;

  constructor(tools: VipTools) {
    this.#tools = tools;
  }

  start(check: Check, spec: VipCheck, done: (outcome: Outcome) => void): RunningProbe {
    const started = this.#start(check, spec, done);
    if (started.ok) return started.value;
    const outcome: Outcome = { kind: 'local', detail: started.error };
    let isOver = false;
    queueMicrotask(() => {
      if (!isOver) done(outcome);
    });
    return { abort: () => (isOver = true), expire: () => ((isOver = true), outcome) };
  }

  #start(
    check: Check,
    spec: VipCheck,
    done: (outcome: Outcome) => void,
  ): Result<RunningProbe, string> {
    const { vip } = spec;
    if (vip === null) return err('the check names no VIP');
    const bound = this.#bound();
    if (!bound.ok) return bound;
    const target = { address: check.address, vip, spec, origin: originOf(check.spec.origin) };
    const way = findWay(target, bound.value);
    if (!way.ok) return way;
    const line = this.#lines.get(way.value.source) ?? this.#newLine(way.value.source);
    const { address, port } = check;
    const { device } = way.value;
    const deviceIndex = device === null ? 0 : this.#tools.libc().deviceIndex(device);
    const ask = spec.ask ?? 'echo';
    const of = { address, port, vip, ask, spec, way: way.value, deviceIndex };
    return line.start(of, {
      mac: this.#macs.get(address) ?? null,
      timeoutMs: check.spec.timeoutMs,
      done,
    });
  }

  #newLine(source: IpAddress): VipLine {
    this.#sender ??= new VipSender(this.#tools.libc());
    const line = new VipLine(source, {
      tools: this.#tools,
      sender: this.#sender,
      learn: (address, mac) => this.#learn(address, mac),
      rest: () => {
        this.#lines.delete(source);
        if (this.#lines.size > 0) return;
        this.#sender?.close();
        this.#sender = null;
      },
    });
    this.#lines.set(source, line);
    return line;
  }

  #learn(address: IpAddress, mac: MacAddress | null): void {
    if (mac === null) this.#macs.delete(address);
    else {
      if (this.#macs.size >= MACS_MAX) this.#macs.clear();
      this.#macs.set(address, mac);
    }
  }

  #bound(): Result<readonly OwnAddress[], string> {
    const now = this.#tools.clock.now();
    if (this.#addresses !== null && now - this.#addresses.at < ADDRESSES_FRESH_MS)
      return ok(this.#addresses.are);
    const read = (this.#tools.ownAddresses ?? readOwnAddresses)();
    if (read.ok) this.#addresses = { at: now, are: read.value };
    return read;
  }
}

type LineWorld = {
  readonly tools: VipTools;
  readonly sender: VipSender;
  /** Null: what was known is nothing worth. */
  readonly learn: (address: IpAddress, mac: MacAddress | null) => void;
  /** It is never used again. */
  readonly rest: () => void;
};

/** One source: its port, its ear, and the looks that wait on them. */
class VipLine {
  readonly #source: IpAddress;
  readonly #world: LineWorld;
  readonly #running = new Map<number, Running>();
  #ear: VipEar | null = null;
  #isOver = false;
  #number = 0;
  #lastSentAt = 0;
  #cancelTimer: (() => void) | null = null;
  /** When the timer fires. */
  #lookAt = Infinity;

  constructor(source: IpAddress, world: LineWorld) {
    this.#source = source;
    this.#world = world;
  }

  start(
    of: Omit<LookOf, 'ownPort' | 'number' | 'nonces'>,
    how: {
      readonly mac: MacAddress | null;
      readonly timeoutMs: number;
      readonly done: (outcome: Outcome) => void;
    },
  ): Result<RunningProbe, string> {
    const ear = this.#open();
    if (!ear.ok) return ear;
    const { tools, sender } = this.#world;
    const number = this.#takeNumber();
    const nonces = [tools.random16(), tools.random16()] as const;
    const look = new VipLook({ ...of, ownPort: ear.value.port, number, nonces }, how.mac, sender);
    const sent = look.begin();
    if (!sent.ok) {
      this.#rest();
      return sent;
    }
    const now = tools.clock.now();
    const running: Running = {
      look,
      timeoutMs: how.timeoutMs,
      dropsAtStart: ear.value.drops(),
      againAt: now + how.timeoutMs * AGAIN_SHARE,
      done: how.done,
      lingersUntil: now,
    };
    this.#running.set(number, running);
    this.#lastSentAt = now;
    this.#arm(POLL_MIN_MS);
    return ok({
      abort: () => this.#end(number, running),
      expire: () => this.#expire(number, running),
    });
  }

  #open(): Result<VipEar, string> {
    if (this.#ear !== null) return ok(this.#ear);
    const opened = VipEar.open(this.#world.tools.libc(), this.#source);
    if (opened.ok) this.#ear = opened.value;
    else this.#world.rest();
    return opened;
  }

  /** One that nobody has: there are fewer probes at once than numbers. */
  #takeNumber(): number {
    do this.#number = (this.#number + 1) % NUMBERS;
    while (this.#running.has(this.#number));
    return this.#number;
  }

  #expire(number: number, running: Running): Outcome {
    this.#hear();
    const { look, timeoutMs } = running;
    const verdict = look.verdict(true) ?? 'unreachable';
    const isDeaf = (this.#ear?.drops() ?? 0) > running.dropsAtStart;
    if (!look.hasHeardMac) this.#world.learn(look.of.address, null);
    this.#end(number, running);
    const outcome = vipOutcome(verdict, look.of, timeoutMs);
    if (outcome.kind === 'up' || !isDeaf) return outcome;
    return { kind: 'local', detail: 'more answers came at once than there was room for' };
  }

  #end(number: number, running: Running): void {
    running.done = null;
    running.lingersUntil = this.#world.tools.clock.now() + LINGER_MS;
    if (!running.look.owesReset) this.#running.delete(number);
    this.#rest();
  }

  /** Nobody waits: neither a descriptor nor a timer stays. */
  #rest(): void {
    if (this.#running.size > 0 || this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#lookAt = Infinity;
    this.#ear?.close();
    this.#ear = null;
    this.#world.rest();
  }

  /** Sooner than planned, never later: questions that follow each other closely must not put off the look. */
  #arm(ms: number): void {
    const { clock } = this.#world.tools;
    const at = clock.now() + ms;
    if (at >= this.#lookAt) return;
    this.#cancelTimer?.();
    this.#lookAt = at;
    this.#cancelTimer = clock.schedule(ms, () => {
      this.#cancelTimer = null;
      this.#lookAt = Infinity;
      this.#hear();
      this.#goOn();
      if (this.#running.size === 0) return;
      const sinceMs = clock.now() - this.#lastSentAt;
      this.#arm(Math.min(POLL_MAX_MS, Math.max(POLL_MIN_MS, sinceMs * POLL_RATIO)));
    });
  }

  #goOn(): void {
    const now = this.#world.tools.clock.now();
    for (const [number, running] of this.#running) {
      if (running.done === null) {
        const isGone = now >= running.lingersUntil || !running.look.owesReset;
        if (isGone) this.#running.delete(number);
        continue;
      }
      const verdict = running.look.verdict(false);
      if (verdict !== null)
        this.#finish(number, running, vipOutcome(verdict, running.look.of, running.timeoutMs));
      else if (now >= running.againAt) {
        running.againAt = Infinity;
        this.#lastSentAt = now;
        const sent = running.look.again();
        if (!sent.ok) this.#finish(number, running, { kind: 'local', detail: sent.error });
      }
    }
    this.#rest();
  }

  #finish(number: number, running: Running, outcome: Outcome): void {
    const { done } = running;
    this.#end(number, running);
    done?.(outcome);
  }

  #hear(): void {
    for (let count = 0; count < FRAMES_PER_POLL; count++) {
      const frame = this.#ear?.receive() ?? null;
      if (frame === null) return;
      const claim = claimOf(frame);
      if (claim !== null) this.#onClaim(claim);
      else this.#onPacket(frame);
    }
  }

  /** By another device than the look's: the same frame on its way to that one, or another machine. */
  #onClaim({ address, mac, deviceIndex }: Claim): void {
    for (const { look } of this.#running.values()) {
      if (look.of.deviceIndex !== deviceIndex) continue;
      look.onMac(address, mac);
      if (address === look.of.address && look.mac !== null) this.#world.learn(address, look.mac);
    }
  }

  #onPacket({ packet, sender }: HeardFrame): void {
    const heard = decodeHeard(packet);
    if (!heard.ok) return;
    // Of a guest or container behind this machine, which may use the same port.
    if (heard.value.kind === 'segment' && heard.value.destination !== this.#source) return;
    const number = numberOf(heard.value);
    if (number === null) {
      // What is said about a tunnel names none of our packets.
      for (const { look } of this.#running.values()) look.onHeard(heard.value);
      return;
    }
    const isTaken = this.#running.get(number)?.look.onHeard(heard.value) ?? false;
    if (heard.value.kind === 'segment' && !isTaken) this.#endOld(heard.value, sender);
  }

  /**
   * Of an earlier look whose end was lost: as long as its connection stands half open, the real server answers nothing
   * else (RFC 9293 3.10.7.4).
   */
  #endOld(segment: Segment, sender: MacAddress): void {
    if ((segment.flags & TCP_ACK) === 0 || (segment.flags & TCP_RST) !== 0) return;
    let left = ENDS_MAX;
    for (const { look } of this.#running.values()) {
      if (left === 0) return;
      if (!look.isFromTarget(segment, sender)) continue;
      look.reset(segment.source, segment);
      left--;
    }
  }
}

type Segment = Extract<Heard, { kind: 'segment' }>;
type Claim = Pick<HeardFrame, 'deviceIndex'> & {
  readonly address: IpAddress;
  readonly mac: MacAddress;
};

/** Who says that he has which address; null: the frame is about something else. */
function claimOf({ etherType, deviceIndex, sender, packet }: HeardFrame): Claim | null {
  const isAdvertisement =
    etherType === ETHERTYPE_IPV6 && packet[6] === 58 && packet[40] === NEIGHBOR_ADVERTISEMENT;
  if (etherType !== ETHERTYPE_ARP && !isAdvertisement) return null;
  const frame = new Uint8Array(14 + packet.length);
  new DataView(frame.buffer).setUint16(12, etherType);
  frame.set(packet, 14);
  if (isAdvertisement) {
    const said = decodeNeighborAdvertisement(frame);
    if (!said.ok) return null;
    return { address: said.value.target, mac: said.value.targetMac ?? sender, deviceIndex };
  }
  const said = decodeArpFrame(frame);
  if (!said.ok) return null;
  return { address: said.value.senderIp, mac: said.value.senderMac, deviceIndex };
}

/** Of the look that it answers; null: it names none. */
function numberOf(heard: Heard): number | null {
  switch (heard.kind) {
    case 'echo':
      return heard.sequence;
    case 'segment':
      return (heard.acknowledgement - 1) & 0xffff;
    case 'error':
      return heard.about.protocol === 'other' ? null : heard.about.sequence & 0xffff;
  }
}
