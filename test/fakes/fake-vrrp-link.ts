/**
 * VRRP links over a segment in memory: delay, loss and one-way cuts. It delivers and drops what the real link
 * would, without bytes: a host that is no director (keepalived) is just another link on the segment.
 */
import { AsyncQueue } from '../../src/lib/async.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { MonoMs } from '../../src/model/ids.ts';
import { VRRP_DROPS, type VrrpDrop, type VrrpInstance } from '../../src/model/vrrp.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Random } from '../../src/ports/random.ts';
import type {
  VrrpCounters,
  VrrpDelivery,
  VrrpLink,
  VrrpSocketState,
} from '../../src/ports/vrrp-link.ts';

export type SegmentFaults = {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** 0 to 1, for each receiver. */
  readonly loss: number;
};

type Frame = {
  readonly sender: VrrpInstance;
  /** Null: the group. */
  readonly destination: IpAddress | null;
  readonly priority: number;
};

const DELIVERIES_MAX = 4_096;

export class FakeVrrpSegment {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #links = new Map<string, FakeVrrpLink>();
  readonly #cuts = new Set<string>();
  #faults: SegmentFaults = { delayMinMs: 0.2, delayMaxMs: 0.2, loss: 0 };

  constructor(ports: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = ports.clock;
    this.#random = ports.random;
  }

  /** A host's link; the same host again replaces it, as a restarted process does. */
  link(host: string, clock: Clock = this.#clock): VrrpLink {
    const link = new FakeVrrpLink(host, clock, this);
    this.#links.set(host, link);
    return link;
  }

  setFaults(faults: Partial<SegmentFaults>): void {
    this.#faults = { ...this.#faults, ...faults };
  }

  /** One direction only. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from} ${to}`);
  }

  heal(from: string, to: string): void {
    this.#cuts.delete(`${from} ${to}`);
  }

  carry(from: string, frame: Frame): void {
    for (const host of this.#links.keys()) {
      if (host === from || this.#random.next() < this.#faults.loss) continue;
      const { delayMinMs, delayMaxMs } = this.#faults;
      const delayMs = delayMinMs + this.#random.next() * (delayMaxMs - delayMinMs);
      this.#clock.schedule(delayMs, () => {
        // Cut while on the way: lost as well.
        if (!this.#cuts.has(`${from} ${host}`)) this.#links.get(host)?.accept(frame);
      });
    }
  }

  remove(link: FakeVrrpLink): void {
    if (this.#links.get(link.host) === link) this.#links.delete(link.host);
  }
}

class FakeVrrpLink implements VrrpLink {
  readonly host: string;
  readonly #clock: Clock;
  readonly #segment: FakeVrrpSegment;
  readonly #queues = new Set<AsyncQueue<VrrpDelivery>>();
  readonly #dropped = Object.fromEntries(VRRP_DROPS.map((drop) => [drop, 0])) as Record<
    VrrpDrop,
    number
  >;
  #instances: readonly VrrpInstance[] = [];
  #isClosed = false;
  #sent = 0;
  #received = 0;

  constructor(host: string, clock: Clock, segment: FakeVrrpSegment) {
    this.host = host;
    this.#clock = clock;
    this.#segment = segment;
  }

  configure(instances: readonly VrrpInstance[]): void {
    this.#instances = instances;
  }

  send(key: string, priority: number, until: MonoMs | null): void {
    const sender = this.#instances.find((instance) => instance.key === key);
    if (sender === undefined || this.#isClosed) return;
    if (until !== null && this.#clock.now() >= until) return;
    const { to } = sender;
    const destinations =
      to.kind === 'multicast' ? [null] : to.neighbours.map(({ address }) => address);
    for (const destination of destinations) {
      this.#sent++;
      this.#segment.carry(this.host, { sender, destination, priority });
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

  accept(frame: Frame): void {
    if (this.#isClosed) return;
    const { sender, destination, priority } = frame;
    const ofFamily = this.#instances.filter(({ family }) => family === sender.family);
    // Another host's address: this host's kernel does not even look.
    if (destination !== null && !ofFamily.some(({ source }) => source === destination)) return;
    const isGroupJoined = ofFamily.some(({ to }) => to.kind === 'multicast');
    if (destination === null && !isGroupJoined) return;
    const instance = ofFamily.find(({ routerId }) => routerId === sender.routerId);
    const drop = instance === undefined ? 'router-id' : judge(instance, frame);
    if (drop !== null || instance === undefined) {
      if (drop !== null) this.#dropped[drop]++;
      return;
    }
    this.#received++;
    const { source, intervalMs, addresses } = sender;
    const ours = new Set(instance.addresses);
    for (const queue of this.#queues)
      queue.push({
        instance: instance.key,
        advert: { source, priority, intervalMs, addresses },
        hasOurAddresses:
          ours.size === new Set(addresses).size && addresses.every((each) => ours.has(each)),
        at: this.#clock.now(),
      });
  }

  counters(): VrrpCounters {
    return {
      sent: this.#sent,
      failed: 0,
      received: this.#received,
      dropped: { ...this.#dropped },
    };
  }

  sockets(): readonly VrrpSocketState[] {
    const places = new Map(
      this.#instances.map(({ device, family }) => [`${device} ${family}`, { device, family }]),
    );
    return [...places.values()].map((place) => ({ ...place, error: null }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    this.#segment.remove(this);
  }
}

/** In the order of the real one; everybody sends with TTL 255, and no secret is guessed. */
function judge(instance: VrrpInstance, { sender, destination }: Frame): VrrpDrop | null {
  if (sender.source === instance.source) return 'own-address';
  if ((destination === null) !== (instance.to.kind === 'multicast')) return 'destination';
  if (instance.to.kind === 'unicast') {
    const from = instance.to.neighbours.find(({ address }) => address === sender.source);
    if (from === undefined) return 'source';
    if (from.ttlMax < 255) return 'ttl';
  }
  if (sender.version !== instance.version) return 'version';
  if (instance.version === 2 && sender.auth.kind !== instance.auth.kind) return 'auth-type';
  if (instance.version === 2 && sender.intervalMs !== instance.intervalMs)
    return 'interval-mismatch';
  if (instance.auth.kind === 'hmac') return sender.auth.kind === 'hmac' ? null : 'hmac-missing';
  return sender.auth.kind === 'hmac' ? 'length' : null;
}
