/**
 * This director as a real server of its own VIPs: which addresses are its own, which VIPs it has as a real
 * server has them, and where the other directors forward from. The gate and the IPVS table go by it.
 */
import { isOwnService, isOwnTarget, servedVips } from '../core/service/own-standby.ts';
import { type IpAddress, type MacAddress, parseMac } from '../model/address.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import { ADDRESS_PROTOCOL, type BoundAddress, type GateKind } from '../model/kernel.ts';
import type { ReportRecord } from '../model/records.ts';
import type { InterfaceMap, Links } from './interfaces.ts';
import type { ServedPlaces } from './local-gate.ts';
import { isSameSet } from './sync-desk.ts';

export type ServedPorts = {
  readonly me: DirectorId;
  readonly devices: InterfaceMap;
  readonly gateKind: GateKind;
  readonly links: () => Links;
  /** Null: none is in force yet. */
  readonly spec: () => ClusterSpec | null;
  readonly reports: () => ReadonlyMap<DirectorId, { readonly record: Pick<ReportRecord, 'macs'> }>;
  /** What the gate has to let through is another. */
  readonly placesChanged: () => void;
  /** And it lets the wrong things through until then. */
  readonly gateDue: () => void;
  /** What the table depends on is another. */
  readonly addressesChanged: () => void;
};

type Link = { readonly index: number; readonly name: string };

/** A report names no more: the cards of a director, not of what runs on it. */
const MACS_MAX = 32;
const NO_MAC = '00:00:00:00:00:00';

export class ServedDesk {
  readonly #ports: ServedPorts;
  #bound: readonly BoundAddress[] | null = null;
  #addresses: ReadonlySet<IpAddress> = new Set();
  #places: ServedPlaces | undefined = undefined;
  /** As each director told last: a report goes with its lease, the director may go on without etcd. */
  readonly #macs = new Map<DirectorId, readonly MacAddress[]>();

  constructor(ports: ServedPorts) {
    this.#ports = ports;
  }

  /** Of this director itself. The very same set while nothing changed. */
  addresses(): ReadonlySet<IpAddress> {
    return this.#addresses;
  }

  /** What the gate lets through; undefined: not known yet. The very same while nothing changed. */
  places(): ServedPlaces | undefined {
    return this.#places;
  }

  /** Of the cards that this director may forward from: first of all those of the VIPs. */
  macs(): readonly MacAddress[] {
    const { devices, links } = this.#ports;
    if (this.#bound === null) return [];
    const bound = this.#bound.filter(
      ({ protocol, address }) => protocol !== ADDRESS_PROTOCOL && !isLoopback(address),
    );
    const own = new Set(bound.map(({ linkIndex }) => linkIndex));
    const reached = new Set(
      bound.flatMap(({ linkIndex, scope }) => (scope === 'global' ? [linkIndex] : [])),
    );
    const fenced = new Set(devices.values());
    // What has a link-local address alone is the other end of a container, as a rule: there may be hundreds.
    const rankOf = ({ index, name }: Link): number =>
      fenced.has(name) ? 0 : reached.has(index) ? 1 : 2;
    const macs = [...links().values()]
      // The card of a VIP may have no other address.
      .filter(({ index, name }) => own.has(index) || fenced.has(name))
      .toSorted((a, b) => rankOf(a) - rankOf(b) || a.index - b.index)
      .flatMap(({ mac }) => (mac === null || mac === NO_MAC ? [] : [mac]));
    return [...new Set(macs)].slice(0, MACS_MAX).toSorted();
  }

  /** All that the kernel has bound, as dumped. */
  see(bound: readonly BoundAddress[]): void {
    this.#bound = bound;
    this.look();
  }

  /** Document, links or reports may be others. */
  look(): void {
    const { me, spec, placesChanged, gateDue, addressesChanged } = this.#ports;
    const document = spec();
    this.#hear(document);
    if (document === null || this.#bound === null) return;
    const vips = new Set(
      document.groups.flatMap((group) => group.addresses.map(({ address }) => address)),
    );
    const addresses = new Set(
      this.#bound.flatMap(({ address, protocol }) =>
        protocol === ADDRESS_PROTOCOL || vips.has(address) || isLoopback(address) ? [] : [address],
      ),
    );
    const named = document.directors.find(({ id }) => id === me)?.address;
    if (named !== undefined) addresses.add(named);
    const isOther = !isSameSet(addresses, this.#addresses);
    if (isOther) this.#addresses = addresses;
    const places = this.#derivePlaces(document, this.#bound);
    const before = this.#places;
    if (!isSamePlaces(places, before)) {
      this.#places = places;
      placesChanged();
      if (places.vips.length > 0 || (before !== undefined && before.vips.length > 0)) gateDue();
    }
    if (isOther) addressesChanged();
  }

  /** What keeps it from serving what a holder sends here; for people. */
  problems(): readonly string[] {
    const document = this.#ports.spec();
    if (document === null || this.#bound === null) return [];
    const served = this.#served(document);
    const problems = [...served].flatMap((vip) => this.#missing(document, vip) ?? []);
    if (served.size === 0 || this.#ports.gateKind === 'address-lifetime') return problems;
    for (const [director, { record }] of this.#ports.reports())
      if (director !== this.#ports.me && (record.macs ?? []).length === 0)
        problems.push(
          `director ${director} does not report the MAC addresses that it forwards from: while it holds a VIP that this director serves, the gate drops what it sends here; update its agent`,
        );
    return problems;
  }

  #served(document: ClusterSpec): ReadonlySet<IpAddress> {
    return servedVips(document, this.#addresses);
  }

  /** Of a firewall mark nobody knows which VIPs it means. */
  #missing(document: ClusterSpec, vip: IpAddress): string | null {
    if (this.#hasBeside(vip)) return null;
    const services = document.services.filter(
      (service) =>
        isOwnService(service, this.#addresses) &&
        service.keys.some((key) => key.kind === 'address' && key.address === vip),
    );
    if (services.length === 0) return null;
    const targets = services.flatMap(({ realServers, sorryServer }) =>
      [...realServers, ...(sorryServer === null ? [] : [sorryServer])].filter((target) =>
        isOwnTarget(target, this.#addresses),
      ),
    );
    const mode = targets.some(({ forward }) => forward === 'dr') ? 'dr' : 'tun';
    const names = services.map(({ id }) => id).join(', ');
    return `this director is a real server of ${names} and does not have ${vip} as one: what another holder sends here is lost; on this director: leasehold realserver up --mode ${mode} --vip ${vip}`;
  }

  /** Bound where no agent binds it. */
  #hasBeside(vip: IpAddress): boolean {
    const { devices, links } = this.#ports;
    const fenced = new Set([...devices.values()].map((device) => links().get(device)?.index));
    return (this.#bound ?? []).some(
      ({ address, linkIndex }) => address === vip && !fenced.has(linkIndex),
    );
  }

  #hear(document: ClusterSpec | null): void {
    // One that does not say has the cards that it had.
    for (const [director, { record }] of this.#ports.reports())
      if (record.macs !== undefined || !this.#macs.has(director))
        this.#macs.set(director, (record.macs ?? []).flatMap(asMac));
    if (document === null) return;
    for (const director of this.#macs.keys())
      if (document.directors.every(({ id }) => id !== director)) this.#macs.delete(director);
  }

  #derivePlaces(document: ClusterSpec, bound: readonly BoundAddress[]): ServedPlaces {
    const { me } = this.#ports;
    const there = new Set(bound.map(({ address }) => address));
    const served = this.#served(document);
    const vips = [...served].filter((vip) => there.has(vip) && this.#hasBeside(vip));
    // Without one of them nothing has to pass.
    if (vips.length === 0) return { vips: [], directors: [], isComplete: true };
    const others = document.directors.filter(({ id }) => id !== me);
    const directors = others.flatMap(({ id }) => this.#macs.get(id) ?? []);
    return {
      vips: vips.toSorted(),
      directors: [...new Set(directors)].toSorted(),
      isComplete: others.every(({ id }) => this.#macs.has(id)),
    };
  }
}

/** What is none is nobody's. */
function asMac(text: string): readonly MacAddress[] {
  const parsed = parseMac(text);
  return parsed.ok ? [parsed.value] : [];
}

const isLoopback = (address: IpAddress): boolean => address === '::1' || address.startsWith('127.');

function isSamePlaces(a: ServedPlaces, b: ServedPlaces | undefined): boolean {
  return (
    b !== undefined &&
    a.isComplete === b.isComplete &&
    a.vips.join() === b.vips.join() &&
    a.directors.join() === b.directors.join()
  );
}
