/**
 * The Neighbours port over packet sockets that are read by a timer: one ear per device and family, with
 * a filter of just the addresses in question, so that an idle director pays one system call per ear five
 * times a second, whatever goes over the wire.
 */
import { AsyncQueue } from '../../lib/async.ts';
import type { Result } from '../../lib/result.ts';
import { familyOf, type IpAddress, type IpFamily, type MacAddress } from '../../model/address.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { ForeignVoice, Neighbours, ProbeOutcome, VipPlace } from '../../ports/neighbours.ts';
import { encodeArpRequest } from '../../wire/arp.ts';
import { encodeNeighborSolicitation } from '../../wire/ndp.ts';
import { AddressProbes } from './address-probes.ts';
import type { Ear, Ethernet } from './ethernet.ts';
import { readStatement, type Statement } from './frame-reading.ts';
import { buildVoiceFilter } from './voice-filter.ts';

/** How late a foreign voice may be heard where nobody needs it sooner. */
export const IDLE_POLL_MS = 200;
/** How late an answer may be heard while somebody waits for it. */
export const VERIFY_POLL_MS = 5;
export const ASK_INTERVAL_MS = 20;
/** Questions sent before the event loop gets its turn, about 1 ms; the rest follow 1 ms later. */
const ASKS_PER_SLICE = 32;
const SLICE_SPACING_MS = 1;
/** Frames read from one ear at one poll; the rest wait in the kernel, and what overflows there is lost. */
export const FRAMES_PER_POLL = 64;
/** A device may be re-created under its name: how often that is looked for, and a failed ear tried again. */
const DEVICE_CHECK_MS = 1_000;
/** The interfaces of this host are read anew for a strange MAC, at most this often. */
const OWN_MACS_MS = 200;
const VOICES_MAX = 256;
const NOBODY = '0.0.0.0';
const GATEWAY_MACS_MAX = 256;

type EarSlot = {
  readonly device: string;
  readonly family: IpFamily;
  ear: Ear | null;
  /** What its filter lets through, sorted and joined. */
  filterKey: string;
  checkedAt: number;
  error: string | null;
};

type Question = {
  readonly vip: VipPlace;
  readonly gateway: IpAddress;
  readonly until: MonoMs;
  nextAskAt: number;
  asked: number;
  readonly answer: (isProven: boolean) => void;
};

export class PolledNeighbours implements Neighbours {
  readonly #ethernet: Ethernet;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #slots = new Map<string, EarSlot>();
  /** In the order in which they are to be asked next. */
  readonly #questions = new Set<Question>();
  readonly #queues = new Set<AsyncQueue<ForeignVoice>>();
  readonly #probes: AddressProbes;
  readonly #gatewayMacs = new Map<string, MacAddress>();
  #listened: readonly VipPlace[] = [];
  #listenPollMs = IDLE_POLL_MS;
  #ownMacs: { readonly at: number; readonly macs: ReadonlySet<MacAddress> } | null = null;
  #cancelTimer: (() => void) | null = null;
  #isTuned = true;
  #isClosed = false;

  constructor(ethernet: Ethernet, ports: { readonly clock: Clock; readonly log: Log }) {
    this.#ethernet = ethernet;
    this.#clock = ports.clock;
    this.#log = ports.log;
    const isOwnMac = (mac: MacAddress): boolean => this.#isOwnMac(mac);
    this.#probes = new AddressProbes({ ethernet, clock: ports.clock, isOwnMac });
  }

  listen(vips: readonly VipPlace[], withinMs: number = IDLE_POLL_MS): void {
    if (this.#isClosed) return;
    this.#listened = [...vips];
    this.#listenPollMs = Math.max(VERIFY_POLL_MS, withinMs);
    this.#isTuned = false;
    this.#arm();
  }

  voices(signal: AbortSignal): AsyncIterable<ForeignVoice> {
    const queue = new AsyncQueue<ForeignVoice>(VOICES_MAX);
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      const end = (): void => {
        this.#queues.delete(queue);
        queue.end();
      };
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  verify(vip: VipPlace, gateway: IpAddress, timeoutMs: number): Promise<boolean> {
    if (this.#isClosed || familyOf(vip.address) !== familyOf(gateway))
      return Promise.resolve(false);
    return new Promise((resolve) => {
      const now = this.#clock.now();
      const question: Question = {
        vip,
        gateway,
        until: monoMs(now + timeoutMs),
        nextAskAt: now,
        asked: 0,
        answer: (isProven) => {
          this.#questions.delete(question);
          this.#isTuned = false;
          resolve(isProven);
        },
      };
      this.#questions.add(question);
      this.#isTuned = false;
      this.#arm();
    });
  }

  probe(
    vips: readonly VipPlace[],
    options: {
      readonly count: number;
      readonly intervalMs: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<ProbeOutcome> {
    return this.#probes.probe(vips, options);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#probes.close();
    this.#cancelTimer?.();
    for (const question of this.#questions) question.answer(false);
    for (const slot of this.#slots.values()) slot.ear?.close();
    this.#slots.clear();
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    this.#ethernet.close();
  }

  #poll(): void {
    const now = this.#clock.now();
    if (!this.#isTuned) this.#tune();
    for (const slot of this.#slots.values()) {
      if (now >= slot.checkedAt + DEVICE_CHECK_MS) this.#check(slot, now);
      this.#hear(slot);
    }
    this.#ask(now);
    for (const question of this.#questions) if (now >= question.until) question.answer(false);
    this.#arm();
  }

  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    if (this.#isClosed || (this.#isTuned && this.#slots.size === 0)) return;
    this.#cancelTimer = this.#clock.schedule(this.#nextPollMs(), () => {
      this.#cancelTimer = null;
      this.#poll();
    });
  }

  #nextPollMs(): number {
    if (!this.#isTuned) return SLICE_SPACING_MS;
    const [first] = this.#questions;
    if (first === undefined) return this.#listenPollMs;
    const waitMs = first.nextAskAt - this.#clock.now();
    return Math.min(VERIFY_POLL_MS, Math.max(SLICE_SPACING_MS, waitMs));
  }

  /** Makes ears and filters fit what is listened for and asked now; once for many changes. */
  #tune(): void {
    this.#isTuned = true;
    const wanted = this.#wantedAddresses();
    for (const [key, slot] of this.#slots) {
      if (wanted.has(key)) continue;
      slot.ear?.close();
      this.#slots.delete(key);
    }
    for (const [key, { device, family, addresses }] of wanted) {
      const slot = this.#slots.get(key) ?? newSlot(device, family);
      this.#slots.set(key, slot);
      const filterKey = [...addresses].sort().join(' ');
      if (filterKey === slot.filterKey) continue;
      slot.filterKey = filterKey;
      const filtered = slot.ear?.setFilter(buildVoiceFilter(family, [...addresses]));
      if (filtered?.ok !== true) this.#open(slot);
    }
  }

  #wantedAddresses(): Map<string, { device: string; family: IpFamily; addresses: Set<IpAddress> }> {
    const wanted = new Map<
      string,
      { device: string; family: IpFamily; addresses: Set<IpAddress> }
    >();
    const want = (device: string, address: IpAddress): void => {
      const family = familyOf(address);
      const key = `${device} ${family}`;
      const entry = wanted.get(key) ?? { device, family, addresses: new Set() };
      entry.addresses.add(address);
      wanted.set(key, entry);
    };
    for (const { device, address } of this.#listened) want(device, address);
    for (const { vip, gateway } of this.#questions) want(vip.device, gateway);
    return wanted;
  }

  #check(slot: EarSlot, now: number): void {
    slot.checkedAt = now;
    const device = this.#ethernet.device(slot.device);
    const isThere = slot.ear !== null && device.ok && device.value.index === slot.ear.deviceIndex;
    // A device that was away in between may have its index again: the ear has an error, and hears nothing more.
    if (isThere && slot.ear?.hasMissed() === false) return;
    this.#open(slot);
  }

  #open(slot: EarSlot): void {
    slot.ear?.close();
    const opened = this.#openEar(slot);
    slot.ear = opened.ok ? opened.value : null;
    slot.checkedAt = this.#clock.now();
    const error = opened.ok ? null : opened.error;
    if (error === slot.error) return;
    slot.error = error;
    const fields = { device: slot.device, family: slot.family };
    if (error === null) this.#log.info(fields, 'neighbours.heard-again');
    else this.#log.warn({ ...fields, error }, 'neighbours.deaf');
  }

  /** Rather with too much than not at all: a kernel may have no memory for a filter of hundreds of addresses. */
  #openEar({ device, family, filterKey }: EarSlot): Result<Ear, string> {
    const addresses = (filterKey === '' ? [] : filterKey.split(' ')) as IpAddress[];
    const opened = this.#ethernet.openEar(device, family, buildVoiceFilter(family, addresses));
    return opened.ok
      ? opened
      : this.#ethernet.openEar(device, family, buildVoiceFilter(family, addresses, 0));
  }

  #hear(slot: EarSlot): void {
    const heard = new Map<string, ForeignVoice>();
    for (let count = 0; count < FRAMES_PER_POLL; count++) {
      const frame = slot.ear?.receive() ?? null;
      if (frame === null) break;
      const statement = readStatement(frame, slot.family);
      if (statement === null) continue;
      this.#takeAnswer(slot.device, statement);
      const { address, mac } = statement;
      if (this.#isForeign(slot.device, statement))
        heard.set(`${address} ${mac}`, { device: slot.device, address, mac });
    }
    // Once per poll, however often he says it.
    for (const voice of heard.values()) for (const queue of this.#queues) queue.push(voice);
  }

  #takeAnswer(deviceName: string, { address, mac, answerTo }: Statement): void {
    if (answerTo === null) return;
    for (const question of this.#questions) {
      const { vip, gateway } = question;
      if (vip.device !== deviceName || gateway !== address || vip.address !== answerTo.address)
        continue;
      const device = this.#ethernet.device(deviceName);
      if (!device.ok || device.value.mac !== answerTo.mac) continue;
      this.#gatewayMacs.set(`${deviceName} ${gateway}`, mac);
      trim(this.#gatewayMacs, GATEWAY_MACS_MAX);
      question.answer(true);
    }
  }

  #isForeign(device: string, { address, mac, answerTo }: Statement): boolean {
    const isOurs = this.#isListened(device, address);
    return isOurs && !this.#isOwnMac(mac) && !this.#isWanted(device, answerTo);
  }

  /**
   * An answer to what this machine asked in its own name, as a check along a VIP's path does: a real server that is set
   * up wrongly says so, and would have kept silent. It is the check that tells of it; holders that live announce
   * themselves, and elections ask as nobody.
   */
  #isWanted(device: string, answerTo: Statement['answerTo']): boolean {
    return (
      answerTo !== null &&
      answerTo.address !== NOBODY &&
      !this.#isListened(device, answerTo.address) &&
      this.#isOwnMac(answerTo.mac)
    );
  }

  #isListened(device: string, address: IpAddress): boolean {
    return this.#listened.some((vip) => vip.device === device && vip.address === address);
  }

  #isOwnMac(mac: MacAddress): boolean {
    const now = this.#clock.now();
    if (this.#ownMacs?.macs.has(mac)) return true;
    if (this.#ownMacs === null || now >= this.#ownMacs.at + OWN_MACS_MS)
      this.#ownMacs = { at: now, macs: this.#ethernet.ownMacs() };
    return this.#ownMacs.macs.has(mac);
  }

  #ask(now: number): void {
    let count = 0;
    for (const question of this.#questions) {
      if (question.nextAskAt > now || count === ASKS_PER_SLICE) break;
      count++;
      this.#send(question);
      question.asked++;
      question.nextAskAt = now + ASK_INTERVAL_MS;
      this.#questions.delete(question);
      this.#questions.add(question);
    }
  }

  /** A failure is no news: the question is asked again soon, and its end says that nobody answered. */
  #send({ vip, gateway, asked }: Question): void {
    const device = this.#ethernet.device(vip.device);
    if (!device.ok) return;
    const { mac, index } = device.value;
    // Every other question goes to all: the gateway may have another MAC than at its last answer.
    const known = this.#gatewayMacs.get(`${vip.device} ${gateway}`) ?? null;
    const frame =
      familyOf(gateway) === 4
        ? encodeArpRequest({
            mac,
            senderIp: vip.address,
            targetIp: gateway,
            destination: asked % 2 === 0 ? known : null,
          })
        : encodeNeighborSolicitation({ mac, source: vip.address, target: gateway });
    this.#ethernet.send(index, frame);
  }
}

const newSlot = (device: string, family: IpFamily): EarSlot => ({
  device,
  family,
  ear: null,
  filterKey: '',
  checkedAt: Number.NEGATIVE_INFINITY,
  error: null,
});

/** The oldest entry goes. */
function trim(map: Map<string, MacAddress>, limit: number): void {
  const [oldest] = map.keys();
  if (map.size > limit && oldest !== undefined) map.delete(oldest);
}
