/**
 * Peer links over a network in memory: delay, loss, duplication and one-way cuts. It delivers what the
 * real link would deliver: authentic messages, each at most once, also those of restarted directors.
 */
import { AsyncQueue } from '../../src/lib/async.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { DirectorId } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
  PeerDelivery,
  PeerLink,
  PeerLinkCounters,
  PeerMessage,
} from '../../src/ports/peer-link.ts';
import type { Random } from '../../src/ports/random.ts';

export type PeerNetworkFaults = {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** 0 to 1, per message. */
  readonly loss: number;
  readonly duplication: number;
};

const DELIVERIES_MAX = 4_096;
/** A message that takes longer is told to be late. */
const LATE_MS = 5;

export class FakePeerNetwork {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #links = new Map<IpAddress, FakePeerLink>();
  readonly #cuts = new Set<string>();
  readonly #troubledAt = new Map<string, number>();
  #faults: PeerNetworkFaults = { delayMinMs: 0.2, delayMaxMs: 0.2, loss: 0, duplication: 0 };

  constructor(ports: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = ports.clock;
    this.#random = ports.random;
  }

  /** A director's link; the same address again replaces it, as a restarted process does. */
  link(director: DirectorId, address: IpAddress, clock: Clock = this.#clock): PeerLink {
    const link = new FakePeerLink(director, address, clock, this);
    this.#links.set(address, link);
    return link;
  }

  setFaults(faults: Partial<PeerNetworkFaults>): void {
    this.#faults = { ...this.#faults, ...faults };
  }

  /** One direction only. */
  cut(from: DirectorId, to: DirectorId): void {
    this.#cuts.add(`${from} ${to}`);
  }

  heal(from: DirectorId, to: DirectorId): void {
    if (this.#cuts.delete(`${from} ${to}`)) this.#noteTrouble(from, to);
  }

  carry(
    from: FakePeerLink,
    to: { readonly director: DirectorId; readonly address: IpAddress },
    message: PeerMessage,
  ): void {
    if (this.#random.next() < this.#faults.loss) {
      this.#noteTrouble(from.director, to.director);
      return;
    }
    const id = Symbol('message');
    const copies = this.#random.next() < this.#faults.duplication ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const { delayMinMs, delayMaxMs } = this.#faults;
      const delayMs = delayMinMs + this.#random.next() * (delayMaxMs - delayMinMs);
      if (delayMs > LATE_MS) this.#noteTrouble(from.director, to.director);
      this.#clock.schedule(delayMs, () => {
        if (delayMs > LATE_MS) this.#noteTrouble(from.director, to.director);
        // Cut while on the way: lost as well.
        if (this.#cuts.has(`${from.director} ${to.director}`)) {
          this.#noteTrouble(from.director, to.director);
          return;
        }
        const link = this.#links.get(to.address);
        if (link?.director === to.director) link.accept(from.director, message, id);
      });
    }
  }

  /** When a message of one to the other was lost or late last, or could have been, either way. */
  troubledAt(a: DirectorId, b: DirectorId): number {
    const { loss, delayMaxMs } = this.#faults;
    const ways = [`${a} ${b}`, `${b} ${a}`];
    const isTroubled = loss > 0 || delayMaxMs > LATE_MS || ways.some((way) => this.#cuts.has(way));
    if (isTroubled) return this.#clock.now();
    return Math.max(...ways.map((way) => this.#troubledAt.get(way) ?? Number.NEGATIVE_INFINITY));
  }

  remove(link: FakePeerLink): void {
    if (this.#links.get(link.address) === link) this.#links.delete(link.address);
  }

  #noteTrouble(from: DirectorId, to: DirectorId): void {
    this.#troubledAt.set(`${from} ${to}`, this.#clock.now());
  }
}

class FakePeerLink implements PeerLink {
  readonly director: DirectorId;
  readonly address: IpAddress;
  readonly #clock: Clock;
  readonly #network: FakePeerNetwork;
  readonly #queues = new Set<AsyncQueue<PeerDelivery>>();
  /** Of the newest messages only: duplicates arrive soon or never. */
  readonly #seen = new Set<symbol>();
  #isClosed = false;
  #sent = 0;
  #received = 0;
  #replayed = 0;

  constructor(director: DirectorId, address: IpAddress, clock: Clock, network: FakePeerNetwork) {
    this.director = director;
    this.address = address;
    this.#clock = clock;
    this.#network = network;
  }

  send(
    to: { readonly director: DirectorId; readonly address: IpAddress },
    message: PeerMessage,
  ): void {
    if (this.#isClosed) return;
    this.#sent++;
    this.#network.carry(this, to, message);
  }

  receive(signal: AbortSignal): AsyncIterable<PeerDelivery> {
    const queue = new AsyncQueue<PeerDelivery>(DELIVERIES_MAX);
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

  accept(from: DirectorId, message: PeerMessage, id: symbol): void {
    if (this.#isClosed) return;
    if (this.#seen.has(id)) {
      this.#replayed++;
      return;
    }
    this.#seen.add(id);
    const [oldest] = this.#seen;
    if (this.#seen.size > 1_024 && oldest !== undefined) this.#seen.delete(oldest);
    this.#received++;
    for (const queue of this.#queues) queue.push({ from, message, at: this.#clock.now() });
  }

  counters(): PeerLinkCounters {
    return {
      sent: this.#sent,
      received: this.#received,
      unknown: 0,
      rejected: { malformed: 0, unauthentic: 0, replayed: this.#replayed },
    };
  }

  close(): void {
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    this.#network.remove(this);
  }
}
