/**
 * The network segment of the VIPs: which machines it connects, what of it reaches whom, and whether their
 * gateway answers. What the directors say to each other over UDP and to etcd goes other ways.
 */
import type { IpAddress } from '../../src/model/address.ts';
import type { SeededRandom } from '../fakes/seeded-random.ts';

/** A machine as the wire sees it. */
export type Station = {
  readonly name: string;
  readonly isAlive: boolean;
  answers(address: IpAddress): boolean;
  letsOut(address: IpAddress): boolean;
  /** A frame has arrived that speaks as the address. */
  hear(address: IpAddress): void;
  /** A frame has arrived that asks for the address as nobody. */
  hearProbe(address: IpAddress): void;
};

/** From one machine to another. */
const WIRE_MS = [0.1, 0.5] as const;
/** Answers to probes are read so often. */
export const PROBE_POLL_MS = 5;

export class Segment {
  readonly #now: () => number;
  readonly #random: SeededRandom;
  readonly #stations: () => readonly Station[];
  readonly #unplugged = new Set<string>();
  readonly #withoutGateway = new Set<string>();
  /** Side of the broken switch for each machine; those of one side see each other. */
  #sides: ReadonlyMap<string, number> | null = null;
  #isGatewayUp = true;
  /** By machine and address: when it was asked last who has it. */
  readonly #probedAt = new Map<string, number>();
  /** By machine that it does not answer: since when. */
  readonly #gatewayLostAt = new Map<string, number>();

  constructor(ports: {
    readonly now: () => number;
    readonly random: SeededRandom;
    readonly stations: () => readonly Station[];
  }) {
    this.#now = ports.now;
    this.#random = ports.random;
    this.#stations = ports.stations;
  }

  /** The cable of one machine. */
  setPlugged(name: string, isPlugged: boolean): void {
    if (isPlugged) this.#unplugged.delete(name);
    else this.#unplugged.add(name);
    this.#noteGateway();
  }

  /** The switch falls apart: machines of different sides hear each other no more; null: it is whole. */
  split(sides: ReadonlyMap<string, number> | null): void {
    this.#sides = sides;
  }

  /** For one machine alone, or for it again. */
  setGateway(name: string, isThere: boolean): void {
    if (isThere) this.#withoutGateway.delete(name);
    else this.#withoutGateway.add(name);
    this.#noteGateway();
  }

  /** Whether it answers anybody. */
  set isGatewayUp(isUp: boolean) {
    this.#isGatewayUp = isUp;
    this.#noteGateway();
  }

  heal(): void {
    this.#unplugged.clear();
    this.#withoutGateway.clear();
    this.split(null);
    this.isGatewayUp = true;
  }

  isPlugged(name: string): boolean {
    return !this.#unplugged.has(name);
  }

  connects(a: string, b: string): boolean {
    if (!this.isPlugged(a) || !this.isPlugged(b)) return false;
    return this.#sides === null || this.#sides.get(a) === this.#sides.get(b);
  }

  hasGateway(name: string): boolean {
    return this.#isGatewayUp && this.isPlugged(name) && !this.#withoutGateway.has(name);
  }

  /** So long the gateway has not answered the machine, in milliseconds; 0 where it does. */
  withoutGatewayMs(name: string): number {
    const lostAt = this.#gatewayLostAt.get(name);
    return lostAt === undefined ? 0 : this.#now() - lostAt;
  }

  #noteGateway(): void {
    for (const { name } of this.#stations())
      if (this.hasGateway(name)) this.#gatewayLostAt.delete(name);
      else if (!this.#gatewayLostAt.has(name)) this.#gatewayLostAt.set(name, this.#now());
  }

  /** A broadcast that speaks as the address, where the sender's kernel lets it out. */
  announce(by: Station, vip: IpAddress): void {
    if (!by.letsOut(vip)) return;
    for (const other of this.#reached(by)) other.hear(vip);
  }

  /**
   * A question for the address by nobody: others that ask for it, too, hear it. Milliseconds until an answer is
   * read; null: nobody that it reaches speaks as the address.
   */
  probe(by: Station, vip: IpAddress): number | null {
    this.#probedAt.set(`${by.name} ${vip}`, this.#now());
    for (const other of this.#reached(by)) other.hearProbe(vip);
    const isDefended = this.#stations().some(
      (one) => one !== by && this.connects(by.name, one.name) && one.answers(vip),
    );
    return isDefended ? 2 * this.wireMs() + this.earMs(PROBE_POLL_MS) : null;
  }

  /** So long ago the machine asked last who has the address; Infinity: never. */
  probedMs(name: string, vip: IpAddress): number {
    return this.#now() - (this.#probedAt.get(`${name} ${vip}`) ?? Number.NEGATIVE_INFINITY);
  }

  wireMs(): number {
    return this.#random.between(...WIRE_MS);
  }

  /** How late an ear is read that is read every so often. */
  earMs(everyMs: number): number {
    return this.#random.between(0, everyMs);
  }

  *#reached(by: Station): Generator<Station> {
    for (const other of this.#stations())
      if (other !== by && other.isAlive && this.connects(by.name, other.name)) yield other;
  }
}
