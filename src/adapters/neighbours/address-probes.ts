/**
 * Asks whether anybody has addresses that are not open here (RFC 5227 2.1.1, RFC 4862 5.4). One ear per device
 * and family while somebody asks; it hears frames before the gate may drop them. Two who ask for one address at
 * the same time both learn of it: whoever hears the question of the other asks once more before he is done.
 */
import {
  familyOf,
  formatIp,
  type IpAddress,
  type IpFamily,
  type MacAddress,
} from '../../model/address.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ProbeOutcome, VipPlace } from '../../ports/neighbours.ts';
import { encodeArpRequest } from '../../wire/arp.ts';
import { encodeAddressProbe } from '../../wire/ndp.ts';
import type { Device } from '../raw-sockets/packet-sender.ts';
import type { Ear, Ethernet } from './ethernet.ts';
import { type Claim, readClaim } from './frame-reading.ts';
import { buildProbeFilter } from './voice-filter.ts';

/** Questions sent before the event loop gets its turn; the rest follow 1 ms later. */
const QUESTIONS_PER_SLICE = 32;
const SLICE_SPACING_MS = 1;
/** How late an answer may be heard. */
const POLL_MS = 5;
const FRAMES_PER_POLL = 64;
const NOBODY = formatIp(new Uint8Array(4));

type Slot = {
  readonly device: string;
  readonly family: IpFamily;
  readonly addresses: Set<IpAddress>;
  ear: Ear | null;
};

type Run = {
  /** By address: those without an answer. */
  readonly open: Map<IpAddress, VipPlace>;
  readonly answered: Set<IpAddress>;
  readonly unasked: Set<IpAddress>;
  readonly count: number;
  readonly intervalMs: number;
  /** Rounds of questions begun. */
  rounds: number;
  /** When all of this round are sent, the interval after the last of them. */
  nextRoundAt: number;
  /** Of this round, not sent yet. */
  readonly line: VipPlace[];
  /** Not sent yet: the last questions, which those who ask for the same shall hear. */
  readonly owed: VipPlace[];
  readonly end: () => void;
};

export type AddressProbesPorts = {
  readonly ethernet: Pick<Ethernet, 'device' | 'openEarlyEar' | 'send'>;
  readonly clock: Clock;
  readonly isOwnMac: (mac: MacAddress) => boolean;
};

export class AddressProbes {
  readonly #ports: AddressProbesPorts;
  readonly #slots = new Map<string, Slot>();
  readonly #runs = new Set<Run>();
  #cancelTimer: (() => void) | null = null;
  #isClosed = false;

  constructor(ports: AddressProbesPorts) {
    this.#ports = ports;
  }

  probe(
    vips: readonly VipPlace[],
    options: {
      readonly count: number;
      readonly intervalMs: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<ProbeOutcome> {
    const { count, intervalMs, signal } = options;
    const open = new Map(vips.map((vip) => [vip.address, vip]));
    return new Promise((resolve) => {
      const end = (): void => {
        this.#runs.delete(run);
        signal?.removeEventListener('abort', end);
        const isWaitedFor = this.#ports.clock.now() >= run.nextRoundAt && run.line.length === 0;
        if (count < 1 || run.rounds < count || !isWaitedFor)
          for (const address of run.open.keys()) run.unasked.add(address);
        if (this.#runs.size === 0) this.#rest();
        resolve({ answered: run.answered, unasked: run.unasked });
      };
      const run: Run = {
        open,
        answered: new Set(),
        unasked: new Set(),
        count,
        intervalMs,
        rounds: 0,
        nextRoundAt: this.#ports.clock.now(),
        line: [],
        owed: [],
        end,
      };
      if (open.size === 0 || this.#isClosed || signal?.aborted === true) {
        end();
        return;
      }
      this.#renewEars(open.values());
      this.#runs.add(run);
      signal?.addEventListener('abort', end, { once: true });
      for (const vip of open.values()) this.#listen(run, vip);
      this.#tune();
      this.#arm();
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const run of this.#runs) run.end();
  }

  /** A device was made anew under its name: others who ask there have missed something, a new run need not. */
  #renewEars(vips: Iterable<VipPlace>): void {
    const devices = new Set([...vips].map(({ device }) => device));
    for (const slot of this.#slots.values()) {
      if (slot.ear === null || !devices.has(slot.device) || this.#isInPlace(slot)) continue;
      this.#doubt(slot.addresses);
      slot.ear.close();
      slot.ear = null;
    }
  }

  #listen(run: Run, { device, address }: VipPlace): void {
    const family = familyOf(address);
    const key = `${device} ${family}`;
    const slot = this.#slots.get(key) ?? { device, family, addresses: new Set(), ear: null };
    this.#slots.set(key, slot);
    slot.addresses.add(address);
    if (slot.ear === null) {
      const opened = this.#ports.ethernet.openEarlyEar(device, buildProbeFilter(family, [address]));
      if (opened.ok) slot.ear = opened.value;
      else run.unasked.add(address);
    }
    if (family === 6) slot.ear?.joinGroupOf(address);
  }

  /** For all who ask now; addresses of those who ended may stay. */
  #tune(): void {
    for (const { ear, family, addresses } of this.#slots.values()) {
      const all = [...addresses];
      if (ear === null || ear.setFilter(buildProbeFilter(family, all)).ok) continue;
      // The kernel may have no memory for a filter of hundreds of addresses: rather too much is heard.
      if (!ear.setFilter(buildProbeFilter(family, all, 0)).ok) this.#doubt(addresses);
    }
  }

  #poll(): void {
    let hasMore = false;
    for (const slot of this.#slots.values()) if (this.#hear(slot)) hasMore = true;
    this.#sendOwed();
    const now = this.#ports.clock.now();
    for (const run of this.#runs) {
      if (run.owed.length > 0) continue;
      if (run.open.size === 0) run.end();
      else if (now >= run.nextRoundAt && run.line.length === 0) {
        if (run.rounds === run.count) this.#conclude(run, { now, hasMore });
        else this.#beginRound(run, now);
      }
    }
    this.#sendSlice();
    this.#arm();
  }

  #beginRound(run: Run, now: number): void {
    this.#judgeEars();
    run.rounds++;
    run.nextRoundAt = now + run.intervalMs;
    run.line.push(...run.open.values());
  }

  /** Silence is judged when all that was said is read, which may take one interval more. */
  #conclude(run: Run, { now, hasMore }: { readonly now: number; readonly hasMore: boolean }): void {
    const isFlooded = hasMore && now >= run.nextRoundAt + run.intervalMs;
    if (hasMore && !isFlooded) return;
    this.#judgeEars();
    if (isFlooded) this.#doubt(new Set(run.open.keys()));
    run.end();
  }

  #judgeEars(): void {
    for (const slot of this.#slots.values())
      if (!this.#isInPlace(slot) || slot.ear?.hasMissed() === true) this.#doubt(slot.addresses);
  }

  /** Else the device is gone, or made anew under its name: what is said there is not heard. */
  #isInPlace({ device, ear }: Slot): boolean {
    const found = this.#ports.ethernet.device(device);
    return ear !== null && found.ok && found.value.index === ear.deviceIndex;
  }

  #sendSlice(): void {
    const devices = new Map<string, Device | null>();
    let count = 0;
    for (const run of this.#runs) {
      for (; run.line.length > 0 && count < QUESTIONS_PER_SLICE; count++) {
        const vip = run.line.shift();
        if (vip !== undefined && !this.#send(vip, devices)) run.unasked.add(vip.address);
        if (run.line.length === 0) run.nextRoundAt = this.#ports.clock.now() + run.intervalMs;
      }
    }
  }

  /** He listens since before he asked. */
  #sendOwed(): void {
    const devices = new Map<string, Device | null>();
    for (const { owed } of this.#runs)
      for (const vip of owed.splice(0, QUESTIONS_PER_SLICE)) this.#send(vip, devices);
  }

  #send({ device: name, address }: VipPlace, devices: Map<string, Device | null>): boolean {
    let device = devices.get(name);
    if (device === undefined) {
      const found = this.#ports.ethernet.device(name);
      device = found.ok ? found.value : null;
      devices.set(name, device);
    }
    if (device === null) return false;
    const { mac, index } = device;
    const frame =
      familyOf(address) === 4
        ? encodeArpRequest({ mac, senderIp: NOBODY, targetIp: address, destination: null })
        : encodeAddressProbe(mac, address);
    return this.#ports.ethernet.send(index, frame).ok;
  }

  /** Whether more may wait. */
  #hear({ device, family, ear }: Slot): boolean {
    for (let count = 0; count < FRAMES_PER_POLL; count++) {
      const frame = ear?.receive() ?? null;
      if (frame === null) return false;
      const claim = readClaim(frame, family);
      if (claim === null || this.#ports.isOwnMac(claim.mac)) continue;
      for (const run of this.#runs) this.#take(run, device, claim);
    }
    return true;
  }

  #take({ open, answered, owed }: Run, device: string, { address, isQuestion }: Claim): void {
    const vip = open.get(address);
    if (vip?.device !== device) return;
    open.delete(address);
    answered.add(address);
    if (isQuestion) owed.push(vip);
  }

  /** Nobody listens for these, or did not all the time. */
  #doubt(addresses: ReadonlySet<IpAddress>): void {
    for (const { open, unasked } of this.#runs)
      for (const address of open.keys()) if (addresses.has(address)) unasked.add(address);
  }

  #rest(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    for (const { ear } of this.#slots.values()) ear?.close();
    this.#slots.clear();
  }

  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    if (this.#isClosed || this.#runs.size === 0) return;
    const now = this.#ports.clock.now();
    let waitMs = POLL_MS;
    for (const { line, owed, rounds, nextRoundAt } of this.#runs) {
      const isLate = rounds > 0 && nextRoundAt <= now;
      const isBusy = line.length > 0 || owed.length > 0 || isLate;
      waitMs = Math.min(waitMs, isBusy ? SLICE_SPACING_MS : nextRoundAt - now);
    }
    this.#cancelTimer = this.#ports.clock.schedule(Math.max(0, waitMs), () => {
      this.#cancelTimer = null;
      this.#poll();
    });
  }
}
