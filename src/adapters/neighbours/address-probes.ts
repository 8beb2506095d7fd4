/**
 * Asks whether anybody has addresses that are not open here (RFC 5227 2.1.1, RFC 4862 5.4). One ear per device
 * and family while somebody asks; it hears frames before the gate may drop them.
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
import type { Device, Ear, Ethernet } from './ethernet.ts';
import { readClaim } from './frame-reading.ts';
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
  nextRoundAt: number;
  /** Of this round, not sent yet. */
  readonly line: VipPlace[];
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
        end,
      };
      if (open.size === 0 || this.#isClosed || signal?.aborted === true) {
        end();
        return;
      }
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

  #listen(run: Run, { device, address }: VipPlace): void {
    const family = familyOf(address);
    const key = `${device} ${family}`;
    const slot = this.#slots.get(key) ?? { device, family, addresses: new Set(), ear: null };
    this.#slots.set(key, slot);
    slot.addresses.add(address);
    if (slot.ear !== null) return;
    const opened = this.#ports.ethernet.openEarlyEar(device, buildProbeFilter(family, [address]));
    if (opened.ok) slot.ear = opened.value;
    else run.unasked.add(address);
  }

  /** For all who ask now; addresses of those who ended may stay. */
  #tune(): void {
    for (const { ear, family, addresses } of this.#slots.values()) {
      const filtered = ear?.setFilter(buildProbeFilter(family, [...addresses]));
      if (filtered?.ok === false) this.#doubt(addresses);
    }
  }

  #poll(): void {
    for (const slot of this.#slots.values()) this.#hear(slot);
    const now = this.#ports.clock.now();
    for (const run of this.#runs) {
      if (run.open.size === 0) run.end();
      else if (now >= run.nextRoundAt && run.line.length === 0) {
        if (run.rounds === run.count) run.end();
        else this.#beginRound(run, now);
      }
    }
    this.#sendSlice();
    this.#arm();
  }

  #beginRound(run: Run, now: number): void {
    run.rounds++;
    run.nextRoundAt = now + run.intervalMs;
    run.line.push(...run.open.values());
    for (const { device, ear, addresses } of this.#slots.values()) {
      const found = this.#ports.ethernet.device(device);
      // Made anew under its name: what was said there meanwhile is not known.
      if (ear !== null && found.ok && found.value.index === ear.deviceIndex) continue;
      this.#doubt(addresses);
    }
  }

  #sendSlice(): void {
    const devices = new Map<string, Device | null>();
    let count = 0;
    for (const run of this.#runs) {
      for (; run.line.length > 0 && count < QUESTIONS_PER_SLICE; count++) {
        const vip = run.line.shift();
        if (vip !== undefined && !this.#send(vip, devices)) run.unasked.add(vip.address);
      }
    }
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

  #hear({ device, family, ear }: Slot): void {
    for (let count = 0; count < FRAMES_PER_POLL; count++) {
      const frame = ear?.receive() ?? null;
      if (frame === null) return;
      const claim = readClaim(frame, family);
      if (claim === null || this.#ports.isOwnMac(claim.mac)) continue;
      for (const { open, answered } of this.#runs) {
        if (open.get(claim.address)?.device !== device) continue;
        open.delete(claim.address);
        answered.add(claim.address);
      }
    }
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
    for (const { line, nextRoundAt } of this.#runs)
      waitMs = Math.min(waitMs, line.length > 0 ? SLICE_SPACING_MS : nextRoundAt - now);
    this.#cancelTimer = this.#ports.clock.schedule(Math.max(0, waitMs), () => {
      this.#cancelTimer = null;
      this.#poll();
    });
  }
}
