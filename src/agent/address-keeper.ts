/**
 * Knows this director's links, and keeps VIPs off it that it does not hold: at the start, after every
 * loss of notifications, and on a timer. Level-triggered: what is there is compared with what may be.
 */
import type { IpAddress } from '../model/address.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { GroupId } from '../model/ids.ts';
import {
  ADDRESS_PROTOCOL,
  type BoundAddress,
  type KernelEvent,
  type LinkState,
} from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { NetworkKernel } from '../ports/kernel.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import { Wakeup } from '../lib/async.ts';
import type { InterfaceMap } from './interfaces.ts';
import { waitFor } from './wait-for.ts';

export type AddressKeeperPorts = {
  readonly kernel: NetworkKernel;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** The groups of the spec; empty before there is one. */
  readonly groups: () => readonly VipGroup[];
  readonly devices: InterfaceMap;
  /** Devices that carry no VIP, and of whose state `linksChanged` tells all the same. */
  readonly watched: () => ReadonlySet<string>;
  /** Groups whose addresses may be in the kernel now, by the election. */
  readonly mayBeBound: (group: GroupId) => boolean;
  /** Runs the work when no other operation of the hold loop is under way in the kernel. */
  readonly exclusively: <T>(work: () => Promise<T>) => Promise<T>;
  /** Called before each sweep, in turn with the gate's operations: the gate repairs itself. */
  readonly checkGate: () => Promise<unknown>;
  readonly linksChanged: () => void;
  /** The kernel dropped an address; told for every address, whoever removed it. */
  readonly addressGone: (linkIndex: number, address: IpAddress) => void;
  readonly addressSeen: (linkIndex: number, address: IpAddress) => void;
  /** All that is bound, as dumped: before each sweep. */
  readonly dumped: (addresses: readonly BoundAddress[]) => void;
};

export type AddressKeeper = {
  links(): ReadonlyMap<string, LinkState>;
  /** Null: not asked yet, or the kernel would not say; the words are for people. */
  problem(): string | null;
  /** False where the kernel would not say which links there are. */
  ensureLinks(): Promise<boolean>;
  /** Removes every address of an earlier life, but for these groups'; true when the kernel acknowledged all. */
  clear(keep: ReadonlySet<GroupId>): Promise<boolean>;
  /**
   * Removes what may not be here by the spec in force; true when the kernel acknowledged all. Nothing
   * is removed before the first `clear`: what an earlier life left may be worth keeping.
   */
  enforce(): Promise<boolean>;
  /** What may be bound has changed: sweeps at once. */
  look(): void;
  run(signal: AbortSignal): Promise<void>;
};

const SWEEP_MS = 2000;

export function createAddressKeeper(ports: AddressKeeperPorts): AddressKeeper {
  return new Keeper(ports);
}

class Keeper implements AddressKeeper {
  readonly #ports: AddressKeeperPorts;
  readonly #links = new Map<string, LinkState>();
  readonly #wakeup = new Wakeup();
  #linkProblem: string | null = null;
  #addressProblem: string | null = null;
  #needsLinks = true;
  /** VIPs that others than agents bound, when it was dumped or told of last. */
  readonly #served = new Set<string>();
  #isCleared = false;

  constructor(ports: AddressKeeperPorts) {
    this.#ports = ports;
  }

  links(): ReadonlyMap<string, LinkState> {
    return this.#links;
  }

  problem(): string | null {
    return this.#linkProblem ?? this.#addressProblem;
  }

  async ensureLinks(): Promise<boolean> {
    if (this.#needsLinks) await this.#readLinks();
    return !this.#needsLinks;
  }

  async clear(keep: ReadonlySet<GroupId>): Promise<boolean> {
    // Without the links a VIP that the kernel did not tag would not be recognised.
    if (!(await this.ensureLinks())) return false;
    const isKept = (address: BoundAddress): boolean => {
      const group = this.#groupOf(address);
      return group !== null && keep.has(group) && this.#isAsSpecified(group, address);
    };
    const isClear = await this.#remove(
      (address) => this.#isOurs(address) && !isKept(address),
      'of an earlier life',
    );
    this.#isCleared ||= isClear;
    return isClear;
  }

  async enforce(): Promise<boolean> {
    if (!this.#isCleared) return false;
    // In turn with the gate's own operations: a sweep must not remove what is just being bound.
    return this.#ports.exclusively(() =>
      this.#remove((address) => this.#isForbidden(address), 'not held here'),
    );
  }

  look(): void {
    this.#wakeup.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#listen(signal), this.#sweep(signal)]);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    for await (const event of this.#ports.kernel.watch(signal)) this.#take(event);
  }

  #take(event: KernelEvent): void {
    switch (event.kind) {
      case 'resync':
        this.#needsLinks = true;
        this.#wakeup.wake();
        return;
      case 'link':
        if (this.#takeLink(event)) this.#ports.linksChanged();
        return;
      case 'address':
        if (event.isGone) this.#ports.addressGone(event.address.linkIndex, event.address.address);
        else this.#ports.addressSeen(event.address.linkIndex, event.address.address);
        if (this.#isCleared && (this.#isServed(event) || this.#isForbiddenNow(event)))
          this.#wakeup.wake();
        return;
    }
  }

  /** A VIP that the machine gets, or loses, as a real server: others go by it. All else can wait for a sweep. */
  #isServed({ address, isGone }: KernelEvent & { kind: 'address' }): boolean {
    if (!this.#isVipOfOthers(address)) return false;
    const key = keyOf(address);
    const wasBound = this.#served.has(key);
    // Lifetimes that a router renews are no news.
    if (isGone) this.#served.delete(key);
    else this.#served.add(key);
    return wasBound === isGone;
  }

  #isForbiddenNow({ address, isGone }: KernelEvent & { kind: 'address' }): boolean {
    return !isGone && this.#isForbidden(address);
  }

  /** True when a device that matters came, went, or changed its state: all else is noise here. */
  #takeLink({ link, isGone }: KernelEvent & { kind: 'link' }): boolean {
    const before = this.#links.get(link.name);
    const watched = [...this.#ports.devices.values(), ...this.#ports.watched()];
    const isMapped = watched.some(
      (device) => device === link.name || this.#links.get(device)?.index === link.index,
    );
    if (isGone) this.#links.delete(link.name);
    else this.#setLink(link);
    const isSame =
      !isGone &&
      before?.index === link.index &&
      before.isAdminUp === link.isAdminUp &&
      before.isRunning === link.isRunning;
    return isMapped && !isSame;
  }

  /** A link keeps its index when it is renamed: the old name must not live on. */
  #setLink(link: LinkState): void {
    for (const [name, known] of this.#links)
      if (known.index === link.index && name !== link.name) this.#links.delete(name);
    this.#links.set(link.name, link);
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.ensureLinks();
      if (this.#isCleared) await this.#ports.exclusively(this.#ports.checkGate);
      await this.enforce();
      await waitFor(this.#wakeup, SWEEP_MS, this.#ports.clock, signal);
    }
  }

  async #readLinks(): Promise<void> {
    const links = await this.#ports.kernel.links();
    if (!links.ok) {
      this.#linkProblem = links.error.message;
      return;
    }
    this.#linkProblem = null;
    this.#needsLinks = false;
    this.#links.clear();
    for (const link of links.value) this.#links.set(link.name, link);
    this.#ports.linksChanged();
  }

  async #remove(test: (address: BoundAddress) => boolean, why: string): Promise<boolean> {
    const { kernel, log, metrics } = this.#ports;
    const addresses = await kernel.addresses();
    if (!addresses.ok) {
      this.#addressProblem = addresses.error.message;
      return false;
    }
    this.#addressProblem = null;
    this.#served.clear();
    for (const address of addresses.value)
      if (this.#isVipOfOthers(address)) this.#served.add(keyOf(address));
    this.#ports.dumped(addresses.value);
    const unwanted = addresses.value.filter(test);
    if (unwanted.length === 0) return true;
    for (const { address, linkIndex } of unwanted)
      log.warn({ address, linkIndex, why }, 'address.removed');
    const results = await kernel.unbind(unwanted);
    metrics.driftRepaired('address', unwanted.length);
    const failed = results.find((result) => !result.ok);
    if (failed !== undefined && !failed.ok) this.#addressProblem = failed.error.message;
    return failed === undefined;
  }

  #isVipOfOthers(bound: BoundAddress): boolean {
    if (bound.protocol === ADDRESS_PROTOCOL || this.#groupOf(bound) !== null) return false;
    const isIt = ({ address }: { readonly address: IpAddress }): boolean =>
      address === bound.address;
    return this.#ports.groups().some(({ addresses }) => addresses.some(isIt));
  }

  /** Tagged as ours, or a VIP of the spec on its group's device. */
  #isOurs(address: BoundAddress): boolean {
    return address.protocol === ADDRESS_PROTOCOL || this.#groupOf(address) !== null;
  }

  #isForbidden(address: BoundAddress): boolean {
    const group = this.#groupOf(address);
    if (group === null) return address.protocol === ADDRESS_PROTOCOL;
    return !this.#isAsSpecified(group, address) || !this.#ports.mayBeBound(group);
  }

  /** A copy for ever, or with another prefix, would outlive the deadline. */
  #isAsSpecified(group: GroupId, address: BoundAddress): boolean {
    return address.validLifetimeS !== null && this.#hasPrefix(group, address);
  }

  #hasPrefix(id: GroupId, { address, prefix }: BoundAddress): boolean {
    const group = this.#ports.groups().find((one) => one.id === id);
    return (
      group?.addresses.some((one) => one.address === address && one.prefix === prefix) ?? false
    );
  }

  #groupOf(bound: BoundAddress): GroupId | null {
    for (const group of this.#ports.groups())
      for (const address of group.addresses) {
        if (address.address !== bound.address) continue;
        const device = this.#ports.devices.get(address.interface);
        const link = device === undefined ? undefined : this.#links.get(device);
        if (link?.index === bound.linkIndex) return group.id;
      }
    return null;
  }
}

const keyOf = ({ linkIndex, address }: BoundAddress): string => `${linkIndex} ${address}`;
