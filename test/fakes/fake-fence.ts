/**
 * A fence as a kernel has it: sets whose elements expire by the machine's own clock, and batches that
 * happen at the call or not at all. It outlives the process: whoever restarts gets the same object.
 */
import { err, ok, type Result } from '../../src/lib/result.ts';
import type { IpAddress, MacAddress } from '../../src/model/address.ts';
import type { KernelError } from '../../src/model/kernel.ts';
import type { Clock } from '../../src/ports/clock.ts';
import {
  type Fence,
  type FenceChange,
  type FenceContents,
  type FenceDevice,
  type FenceKind,
  type FenceSetChange,
  SHORTEST_TIMEOUT_MS,
} from '../../src/ports/fence.ts';

export type FakeFenceOptions = {
  readonly kind?: FenceKind;
  /** What the machine has; left out: every device that is asked for. */
  readonly devices?: readonly FenceDevice[];
  /** How long after its time an element dies, 0 to 4 ms on real kernels; asked for each element. */
  readonly latenessMs?: () => number;
};

export type FenceCounters = {
  permits: number;
  /** Batches that took effect. */
  commits: number;
  late: number;
  observations: number;
  missing: number;
};

type Tables = {
  devices: Map<number, FenceDevice>;
  readonly managed: Set<IpAddress>;
  readonly enabled: Set<IpAddress>;
  readonly muted: Set<IpAddress>;
  readonly served: Set<IpAddress>;
  readonly directors: Set<MacAddress>;
  /** Interface index or round → when it dies. */
  readonly alive: Map<number, number>;
  readonly permits: Map<number, number>;
};

export class FakeFence implements Fence {
  readonly kind: FenceKind;
  readonly counters: FenceCounters = {
    permits: 0,
    commits: 0,
    late: 0,
    observations: 0,
    missing: 0,
  };
  readonly #clock: Clock;
  readonly #latenessMs: () => number;
  #machine: Map<number, FenceDevice> | null;
  #tables: Tables | null = null;
  #failures: KernelError[] = [];
  #isAsLeft = false;

  constructor(clock: Clock, options: FakeFenceOptions = {}) {
    this.#clock = clock;
    this.kind = options.kind ?? 'netdev';
    this.#latenessMs = options.latenessMs ?? (() => 0);
    this.#machine = options.devices === undefined ? null : byIndex(options.devices);
  }

  observe(): Promise<Result<FenceContents | null, KernelError>> {
    this.#isAsLeft = false;
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    this.counters.observations++;
    this.#isAsLeft = true;
    const tables = this.#tables;
    if (tables === null || [...tables.devices.values()].some((device) => !this.#exists(device)))
      return Promise.resolve(ok(null));
    return Promise.resolve(
      ok({
        devices: [...tables.devices.values()].toSorted((a, b) => a.index - b.index),
        managed: new Set(tables.managed),
        enabled: new Set(tables.enabled),
        muted: new Set(tables.muted),
        served: new Set(tables.served),
        directors: new Set(tables.directors),
      }),
    );
  }

  isAsLeft(): boolean {
    return this.#isAsLeft;
  }

  lifetimes(): Promise<Result<ReadonlyMap<number, number>, KernelError>> {
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    const now = this.#clock.now();
    const left = [...(this.#tables?.alive ?? [])].map(
      ([index, until]) => [index, until - now] as const,
    );
    return Promise.resolve(ok(new Map(left.filter(([, ms]) => ms > 0))));
  }

  install(devices: readonly FenceDevice[]): Promise<Result<void, KernelError>> {
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    const missing = devices.find((device) => !this.#exists(device));
    if (missing !== undefined)
      return refuse('ENODEV', `install the fence on ${missing.name}: ENODEV`);
    this.#tables ??= {
      devices: new Map(),
      managed: new Set(),
      enabled: new Set(),
      muted: new Set(),
      served: new Set(),
      directors: new Set(),
      alive: new Map(),
      permits: new Map(),
    };
    this.#tables.devices = byIndex(devices);
    return done();
  }

  permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>> {
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    if (timeoutMs < SHORTEST_TIMEOUT_MS) return this.#late(`permit round ${round}`);
    if (this.#tables === null) return this.#missing(`permit round ${round}`);
    this.#tables.permits.set(round, this.#deadline(timeoutMs));
    this.counters.permits++;
    return done();
  }

  commit(change: FenceChange): Promise<Result<void, KernelError>> {
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    const what = change.permit === null ? 'commit' : `commit round ${change.permit}`;
    const { alive } = change;
    if (alive !== null && alive.timeoutMs < SHORTEST_TIMEOUT_MS) return this.#late(what);
    const tables = this.#tables;
    if (tables === null) return this.#missing(what);
    if (change.permit !== null) {
      const deadline = tables.permits.get(change.permit);
      if (deadline === undefined || deadline <= this.#clock.now()) return this.#late(what);
      tables.permits.delete(change.permit);
    }
    for (const index of alive?.linkIndexes ?? [])
      tables.alive.set(index, this.#deadline(alive?.timeoutMs ?? 0));
    apply(tables.managed, change.managed);
    apply(tables.enabled, change.enabled);
    apply(tables.muted, change.muted);
    apply(tables.served, change.served);
    apply(tables.directors, change.directors);
    this.counters.commits++;
    return done();
  }

  uninstall(): Promise<Result<void, KernelError>> {
    const failure = this.#failures.shift();
    if (failure !== undefined) return Promise.resolve(err(failure));
    this.#tables = null;
    return done();
  }

  /** The rules outlive the process that made them: nothing happens. */
  close(): void {}

  /** Would an IP packet to or from the address pass at that interface? */
  speaks(address: IpAddress, linkIndex: number): boolean {
    const tables = this.#tables;
    if (tables === null || !this.#isFenced(tables, linkIndex)) return true;
    if (!tables.managed.has(address)) return true;
    const aliveUntil = tables.alive.get(linkIndex);
    return (
      tables.enabled.has(address) && aliveUntil !== undefined && this.#clock.now() < aliveUntil
    );
  }

  /** As `speaks`, for ARP and ND. */
  answers(address: IpAddress, linkIndex: number): boolean {
    if (!this.speaks(address, linkIndex)) return false;
    const tables = this.#tables;
    if (tables === null || !this.#isFenced(tables, linkIndex)) return true;
    return !(tables.managed.has(address) && tables.muted.has(address));
  }

  /** Would an IP packet to the address pass at that interface, coming from that MAC? */
  takes(address: IpAddress, from: MacAddress, linkIndex: number): boolean {
    const tables = this.#tables;
    const isExempt = tables?.served.has(address) === true && tables.directors.has(from);
    return isExempt || this.speaks(address, linkIndex);
  }

  /** When the interface stops speaking by itself; null: it does not speak. */
  aliveUntil(linkIndex: number): number | null {
    const until = this.#tables?.alive.get(linkIndex);
    return until === undefined || until <= this.#clock.now() ? null : until;
  }

  /** Somebody else flushed the ruleset, or the machine started again. */
  flush(): void {
    this.#tables = null;
    this.#isAsLeft = false;
  }

  /** The device is gone from the machine, and its hooks with it. */
  removeDevice(index: number): void {
    this.#machine ??= new Map(this.#tables?.devices ?? []);
    this.#machine.delete(index);
  }

  addDevice(device: FenceDevice): void {
    this.#machine?.set(device.index, device);
  }

  /** The next calls fail so, one each, with no effect. */
  failNext(...errors: readonly KernelError[]): void {
    this.#failures.push(...errors);
  }

  #isFenced(tables: Tables, linkIndex: number): boolean {
    const device = tables.devices.get(linkIndex);
    return device !== undefined && this.#exists(device);
  }

  #exists(device: FenceDevice): boolean {
    return this.#machine === null || this.#machine.get(device.index)?.name === device.name;
  }

  #deadline(timeoutMs: number): number {
    return this.#clock.now() + Math.floor(timeoutMs) + this.#latenessMs();
  }

  #late(what: string): Promise<Result<void, KernelError>> {
    this.counters.late++;
    return refuse('LATE', `${what}: LATE`);
  }

  #missing(what: string): Promise<Result<void, KernelError>> {
    this.counters.missing++;
    return refuse('MISSING', `${what}: MISSING`);
  }
}

const byIndex = (devices: readonly FenceDevice[]): Map<number, FenceDevice> =>
  new Map(devices.map((device) => [device.index, device]));

const done = (): Promise<Result<void, KernelError>> => Promise.resolve(ok(undefined));

const refuse = (code: string, message: string): Promise<Result<void, KernelError>> =>
  Promise.resolve(err({ code, message }));

function apply<T>(set: Set<T>, change: FenceSetChange<T>): void {
  for (const address of change.add) set.add(address);
  for (const address of change.remove) set.delete(address);
}
