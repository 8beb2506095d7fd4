/**
 * Reads the IPVS table over generic netlink. A large one is not asked for whole every two seconds, which takes a
 * good part of a processor: services whose sum is as it was are as they were read last. What the sum does not
 * tell (connections and other counts, thresholds, kinds of tunnels) is read anew of some services each time.
 */
import { ok, type Result } from '../../lib/result.ts';
import { createPace, runPaced } from '../../lib/steps.ts';
import { type MonoMs, monoMs } from '../../model/ids.ts';
import {
  formatServiceKey,
  type IpvsOperation,
  type IpvsTable,
  type KernelError,
  type ObservedDestination,
  type ObservedService,
} from '../../model/kernel.ts';
import type { Fresh } from '../../ports/kernel.ts';
import { DestinationDecoder, encodeGetDestinations } from '../../wire/ipvs-destination.ts';
import { type DumpedService, decodeService, encodeGetServices } from '../../wire/ipvs-service.ts';
import { type TableSums, textNameOf } from '../../wire/ipvs-table-text.ts';
import type { NetlinkMessage } from '../../wire/netlink.ts';
import { readTableSums } from './ipvs-sums.ts';
import type { KernelPorts, KernelSocket } from './kernel-socket.ts';

/** Destinations of a table from which on it goes by sums. */
export const LARGE_TABLE = 2000;
/** The kernel makes the text of a service in one go: with more destinations than these it would take too long. */
const LARGE_SERVICE = 4000;
/** All services are read anew within so many turns. */
const TURNS = 5;
const TURN_MS = 2000;
/** Messages between two looks whether others want their turn. */
const REST_EVERY = 50;
const NO_SUMS: TableSums = new Map();

export type TableReaderOptions = {
  /** Destinations; for tests, the default is `LARGE_TABLE`. */
  readonly largeTable?: number;
  /** For tests; the default reads /proc. */
  readonly sums?: () => Promise<TableSums | null>;
};

type Socket = Pick<KernelSocket, 'dump'>;

/** A service's destinations as they were read. */
type Reading = {
  readonly destinations: readonly ObservedDestination[];
  /** Before they were read; NaN: not known, or changed by us since, so that they are read again. */
  sum: number;
  readonly at: MonoMs;
  /** In which of the turns it is read anew. */
  readonly turn: number;
  readonly textName: string;
};

export class TableReader {
  readonly #ports: KernelPorts;
  readonly #largeTable: number;
  readonly #readSums: () => Promise<TableSums | null>;
  readonly #decoder = new DestinationDecoder();
  /** By service key: what has not changed is not made anew. */
  #readings: ReadonlyMap<string, Reading> = new Map();
  #isLarge = false;
  #turn = -Infinity;
  #nextTurn = 0;
  /** How often something of ours was applied. */
  #applied = 0;

  constructor(ports: KernelPorts, options: TableReaderOptions) {
    this.#ports = ports;
    this.#largeTable = options.largeTable ?? LARGE_TABLE;
    this.#readSums = options.sums ?? (() => readTableSums(ports.clock));
  }

  /** Of these the sums say too little: to be called when they have been applied. */
  applied(operations: readonly IpvsOperation[]): void {
    this.#applied++;
    const seen = new Set<object>();
    for (const operation of operations) {
      if (!('service' in operation)) continue;
      const { service } = operation;
      if (service === null) for (const reading of this.#readings.values()) reading.sum = Number.NaN;
      // A plan has the same key in thousands of operations.
      else if (!seen.has(service)) {
        seen.add(service);
        const reading = this.#readings.get(
          formatServiceKey('key' in service ? service.key : service),
        );
        if (reading !== undefined) reading.sum = Number.NaN;
      }
    }
  }

  async read(
    socket: Socket,
    family: number,
    fresh: Fresh,
  ): Promise<Result<IpvsTable, KernelError>> {
    const at = this.#ports.clock.now();
    const applied = this.#applied;
    // Before the table: what is changed after that has another sum the next time.
    const sums = this.#isLarge ? ((await this.#readSums()) ?? NO_SUMS) : NO_SUMS;
    const dumped = await this.#dumpServices(socket, family);
    if (!dumped.ok) return dumped;
    const turn = Math.floor(at / TURN_MS);
    const isDue = this.#due(turn);
    const isFresh = fresh === 'all' ? () => true : (name: string) => fresh.has(name);
    const readings = new Map<string, Reading>();
    const read: Reading[] = [];
    const services: ObservedService[] = [];
    for (const [name, service] of dumped.value) {
      const last = this.#readings.get(name);
      const textName = last?.textName ?? textNameOf(service.key);
      const sum = sums.get(textName) ?? Number.NaN;
      let reading = last;
      if (last === undefined || last.sum !== sum || isDue(last.turn) || isFresh(name)) {
        const known = last?.destinations ?? [];
        // oxlint-disable-next-line no-await-in-loop -- the kernel runs one dump at a time on a socket
        const one = await this.#dumpDestinations(socket, family, { service, known });
        if (!one.ok) return one;
        const ownTurn = last?.turn ?? this.#nextTurn++ % TURNS;
        reading = { destinations: one.value, sum, at, turn: ownTurn, textName };
        read.push(reading);
      }
      if (reading === undefined) continue;
      readings.set(name, reading);
      services.push({ ...service, destinations: reading.destinations });
    }
    // Something of it may have been read before.
    if (applied !== this.#applied) for (const reading of read) reading.sum = Number.NaN;
    this.#turn = turn;
    this.#keep(readings);
    return ok(
      read.length === services.length ? { services } : { services, asOf: oldestOf(readings) },
    );
  }

  #keep(readings: ReadonlyMap<string, Reading>): void {
    let all = 0;
    let most = 0;
    for (const { destinations } of readings.values()) {
      all += destinations.length;
      most = Math.max(most, destinations.length);
    }
    this.#readings = readings;
    this.#isLarge = all >= this.#largeTable && most <= LARGE_SERVICE;
  }

  /** Whose turn has come since the last time. */
  #due(turn: number): (own: number) => boolean {
    const passed = turn - this.#turn;
    return (own) => (turn + TURNS - own) % TURNS < passed;
  }

  async #dumpServices(
    socket: Socket,
    family: number,
  ): Promise<Result<ReadonlyMap<string, DumpedService>, KernelError>> {
    const request = { type: family, body: encodeGetServices() };
    const messages = await socket.dump(request, 'dump the IPVS services');
    if (!messages.ok) return messages;
    return ok(await runPaced(this.#decodeServices(messages.value), createPace(this.#ports.clock)));
  }

  /** A change during the dump may show an entry twice: the last one is kept. */
  *#decodeServices(
    messages: readonly NetlinkMessage[],
  ): Generator<undefined, ReadonlyMap<string, DumpedService>> {
    const services = new Map<string, DumpedService>();
    for (const [i, { body }] of messages.entries()) {
      const service = decodeService(body);
      if (service.ok) services.set(formatServiceKey(service.value.key), service.value);
      else this.#ports.log.warn({ reason: service.error }, 'ipvs.service-unreadable');
      if (i % REST_EVERY === 0) yield;
    }
    return services;
  }

  async #dumpDestinations(
    socket: Socket,
    family: number,
    {
      service,
      known,
    }: { readonly service: DumpedService; readonly known: readonly ObservedDestination[] },
  ): Promise<Result<readonly ObservedDestination[], KernelError>> {
    const request = { type: family, body: encodeGetDestinations(service.key) };
    const messages = await socket.dump(request, 'dump the IPVS destinations');
    if (!messages.ok) return messages;
    const destinations = new Map<string, ObservedDestination>();
    let isSame = true;
    let place = 0;
    for (const { body } of messages.value) {
      const last = known[place++] ?? null;
      const destination = this.#decoder.decode(body, service.key, last);
      if (destination.ok) {
        const { address, port } = destination.value;
        // All have one port nearly always, and the address is a text already.
        destinations.set(
          port === known[0]?.port ? address : `${address} ${port}`,
          destination.value,
        );
        isSame &&= destination.value === last;
      } else this.#ports.log.warn({ reason: destination.error }, 'ipvs.destination-unreadable');
    }
    if (isSame && destinations.size === known.length) return ok(known);
    return ok([...destinations.values()]);
  }
}

function oldestOf(readings: ReadonlyMap<string, Reading>): MonoMs {
  let oldest = Infinity;
  for (const { at } of readings.values()) oldest = Math.min(oldest, at);
  return monoMs(oldest);
}
