/**
 * The VrrpLink port over raw sockets: encodes for each neighbour, judges what is heard, counts, and opens
 * sockets again when a device comes, goes, or was made anew.
 */
import { createHmac } from 'node:crypto';
import { AsyncQueue } from '../../lib/async.ts';
import { messageOf, type Result } from '../../lib/result.ts';
import type { IpAddress, IpFamily } from '../../model/address.ts';
import type { MonoMs } from '../../model/ids.ts';
import { VRRP_DROPS, type VrrpDrop, type VrrpInstance } from '../../model/vrrp.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type {
  VrrpCounters,
  VrrpDelivery,
  VrrpLink,
  VrrpSocketState,
} from '../../ports/vrrp-link.ts';
import { decodeVrrp, encodeVrrp, type VrrpSealing } from '../../wire/vrrp.ts';
import { stampOf } from '../../wire/vrrp-hmac.ts';
import {
  encodeVrrpPacket,
  VRRP_GROUP_4,
  VRRP_GROUP_6,
  type VrrpDatagram,
  type VrrpPath,
} from '../../wire/vrrp-ip.ts';
import { judgeVrrp } from '../../wire/vrrp-receive.ts';
import { Descriptors } from './descriptor.ts';
import { loadRawPackage, type RawPackage } from './raw-package.ts';
import { VrrpSocket } from './vrrp-socket.ts';

/** How often devices are looked at, and sockets that failed are opened again. */
export const CHECK_INTERVAL_MS = 1_000;
/** Deliveries waiting for a slow reader; beyond it the oldest are dropped. */
const DELIVERIES_MAX = 4_096;
const CLOSE_WAIT_MS = 200;
/** Turns of the event loop that what is still to be sent gets at the end, however late it is. */
const CLOSE_TURNS_MIN = 5;

export type VrrpLinkPorts = { readonly clock: Clock; readonly log: Log };

/** Opens nothing yet. Only on the main thread. */
export function createVrrpLink(ports: VrrpLinkPorts): VrrpLink {
  return new RawVrrpLink(ports);
}

/** One device and family in use. */
type Place = {
  readonly device: string;
  readonly family: IpFamily;
  readonly isMulticast: boolean;
  socket: VrrpSocket | null;
  /** Null: it works. */
  error: string | null;
};

/** One advertisement, whomever it is for. */
type Word = {
  readonly instance: VrrpInstance;
  readonly priority: number;
  readonly until: MonoMs | null;
};

type Means = { readonly raw: RawPackage; readonly descriptors: Descriptors };

class RawVrrpLink implements VrrpLink {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #instances = new Map<string, VrrpInstance>();
  /** `device family routerId` to the key of the instance. */
  readonly #byWire = new Map<string, string>();
  readonly #places = new Map<string, Place>();
  readonly #queues = new Set<AsyncQueue<VrrpDelivery>>();
  /** Of trailers: the largest stamp for each instance and source. */
  readonly #heardStamps = new Map<string, bigint>();
  readonly #dropped = Object.fromEntries(VRRP_DROPS.map((drop) => [drop, 0])) as Record<
    VrrpDrop,
    number
  >;
  #sentStamp = 0n;
  #sent = 0;
  #failed = 0;
  #received = 0;
  #pending = 0;
  #means: Result<Means, string> | null = null;
  #cancelCheck: (() => void) | null = null;
  #isTurnAsked = false;
  #isClosed = false;

  constructor({ clock, log }: VrrpLinkPorts) {
    this.#clock = clock;
    this.#log = log;
  }

  configure(instances: readonly VrrpInstance[]): void {
    if (this.#isClosed) return;
    this.#instances.clear();
    this.#byWire.clear();
    const wanted = new Map<string, Omit<Place, 'socket' | 'error'>>();
    for (const instance of instances) {
      const { key, device, family, routerId } = instance;
      this.#instances.set(key, instance);
      this.#byWire.set(`${device} ${family} ${routerId}`, key);
      const name = `${device} ${family}`;
      const isMulticast =
        instance.to.kind === 'multicast' || wanted.get(name)?.isMulticast === true;
      wanted.set(name, { device, family, isMulticast });
    }
    this.#forgetStamps();
    for (const [name, place] of this.#places) {
      if (wanted.get(name)?.isMulticast === place.isMulticast) continue;
      place.socket?.close();
      this.#places.delete(name);
    }
    for (const [name, place] of wanted)
      if (!this.#places.has(name)) this.#places.set(name, { ...place, socket: null, error: null });
    this.#check();
  }

  send(key: string, priority: number, until: MonoMs | null): void {
    const instance = this.#instances.get(key);
    if (instance === undefined || this.#isClosed) return;
    const { family, source, to } = instance;
    const group = family === 4 ? VRRP_GROUP_4 : VRRP_GROUP_6;
    const destinations =
      to.kind === 'multicast' ? [group] : to.neighbours.map(({ address }) => address);
    const socket = this.#places.get(`${instance.device} ${family}`)?.socket ?? null;
    for (const destination of destinations) {
      if (socket === null) this.#failed++;
      else this.#sendTo(socket, { instance, priority, until }, { source, destination });
    }
  }

  receive(signal: AbortSignal): AsyncIterable<VrrpDelivery> {
    const queue = new AsyncQueue<VrrpDelivery>(DELIVERIES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  counters(): VrrpCounters {
    return {
      sent: this.#sent,
      failed: this.#failed,
      received: this.#received,
      dropped: { ...this.#dropped },
    };
  }

  sockets(): readonly VrrpSocketState[] {
    return [...this.#places.values()].map(({ device, family, error }) => ({
      device,
      family,
      error,
    }));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelCheck?.();
    // raw-socket sends at the next turns of the event loop.
    const until = this.#clock.now() + CLOSE_WAIT_MS;
    // After a pause of this machine the time is over, and nothing could be sent yet.
    const isTimeLeft = (turns: number): boolean =>
      turns < CLOSE_TURNS_MIN || this.#clock.now() < until;
    for (let turns = 0; this.#pending > 0 && isTimeLeft(turns); turns++) await this.#clock.sleep(1);
    for (const { socket } of this.#places.values()) socket?.close();
    this.#places.clear();
    for (const queue of this.#queues) queue.end();
  }

  #sendTo(socket: VrrpSocket, { instance, priority, until }: Word, path: VrrpPath): void {
    const { destination } = path;
    const message = encodeVrrp({ ...instance, priority }, this.#seal(instance, path));
    this.#pending++;
    socket.send(encodeVrrpPacket(path, message), { destination, until }, (error) => {
      this.#pending--;
      if (error === null) this.#sent++;
      else this.#failed++;
    });
  }

  #seal({ auth, checksum }: VrrpInstance, path: VrrpPath): VrrpSealing {
    const password = auth.kind === 'pass' ? auth.password : null;
    const key = auth.kind === 'hmac' ? auth.keys[0] : undefined;
    if (key === undefined) return { path, checksum, password, hmac: null };
    // It must grow even where the wall clock stands or goes back.
    const now = stampOf(this.#clock.wallMs());
    this.#sentStamp = now > this.#sentStamp ? now : this.#sentStamp + 1n;
    const sign = (bytes: Uint8Array): Uint8Array => hmac(key.key, bytes);
    return { path, checksum, password, hmac: { keyId: key.id, stamp: this.#sentStamp, sign } };
  }

  #hear(place: Place, datagram: Result<VrrpDatagram, VrrpDrop>): void {
    const drop = datagram.ok ? this.#judge(place, datagram.value) : datagram.error;
    if (drop !== null) this.#dropped[drop]++;
  }

  #judge({ device, family }: Place, datagram: VrrpDatagram): VrrpDrop | null {
    const decoded = decodeVrrp(datagram.payload, family);
    if (!decoded.ok) return decoded.error;
    const key = this.#byWire.get(`${device} ${family} ${decoded.value.routerId}`);
    const instance = key === undefined ? undefined : this.#instances.get(key);
    if (instance === undefined) return 'router-id';
    const lastStamp = (source: IpAddress): bigint | null =>
      this.#heardStamps.get(`${instance.key} ${source}`) ?? null;
    const judged = judgeVrrp(instance, datagram, decoded.value, { sign: hmac, lastStamp });
    if (!judged.ok) return judged.error;
    const { advert, hasOurAddresses, stamp } = judged.value;
    if (stamp !== null) this.#heardStamps.set(`${instance.key} ${advert.source}`, stamp);
    this.#received++;
    this.#deliver({ instance: instance.key, advert, hasOurAddresses, at: this.#clock.now() });
    return null;
  }

  #deliver(delivery: VrrpDelivery): void {
    for (const queue of this.#queues) queue.push(delivery);
    if (this.#isTurnAsked) return;
    // raw-socket calls us outside of any turn: without one the reader would wait for another event.
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
    });
  }

  #forgetStamps(): void {
    for (const entry of this.#heardStamps.keys()) {
      const [key] = entry.split(' ');
      if (key === undefined || !this.#instances.has(key)) this.#heardStamps.delete(entry);
    }
  }

  #check(): void {
    this.#cancelCheck?.();
    this.#cancelCheck = null;
    if (this.#isClosed || this.#places.size === 0) return;
    for (const place of this.#places.values()) this.#checkPlace(place);
    this.#cancelCheck = this.#clock.schedule(CHECK_INTERVAL_MS, () => this.#check());
  }

  #checkPlace(place: Place): void {
    const means = this.#load();
    if (!means.ok) {
      this.#note(place, means.error);
      return;
    }
    const deviceIndex = means.value.descriptors.deviceIndex(place.device);
    if (place.socket !== null && place.socket.place.deviceIndex === deviceIndex) return;
    place.socket?.close();
    place.socket = null;
    if (deviceIndex === null) {
      this.#note(place, 'the device does not exist');
      return;
    }
    const { device, family, isMulticast } = place;
    const opened = VrrpSocket.open(
      { device, deviceIndex, family, isMulticast },
      {
        ...means.value,
        clock: this.#clock,
        onDatagram: (datagram) => this.#hear(place, datagram),
        onFailure: (error) => {
          place.socket = null;
          this.#note(place, error);
        },
      },
    );
    if (opened.ok) place.socket = opened.value;
    this.#note(place, opened.ok ? null : opened.error);
  }

  #load(): Result<Means, string> {
    if (this.#means !== null) return this.#means;
    const raw = loadRawPackage();
    try {
      this.#means = raw.ok
        ? { ok: true, value: { raw: raw.value, descriptors: new Descriptors() } }
        : raw;
    } catch (error) {
      this.#means = { ok: false, error: messageOf(error) };
    }
    return this.#means;
  }

  #note(place: Place, error: string | null): void {
    if (place.error === error) return;
    const { device, family } = place;
    place.error = error;
    if (error === null) this.#log.info({ device, family }, 'vrrp-socket.opened');
    else this.#log.warn({ device, family, error }, 'vrrp-socket.failed');
  }
}

const hmac = (key: Uint8Array, bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHmac('sha256', key).update(bytes).digest());
