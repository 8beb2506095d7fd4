/** Which groups this director's interfaces could carry now, and where their addresses would be bound. */
import type { IneligibleReason } from '../model/decision.ts';
import type { GroupId } from '../model/ids.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { LinkState } from '../model/kernel.ts';
import type { GateGroup } from '../ports/gate.ts';
import type { GatePlaces } from './local-gate.ts';

/** Logical interface name of the cluster document → device of this director. */
export type InterfaceMap = ReadonlyMap<string, string>;
export type Links = ReadonlyMap<string, LinkState>;

export type Fitness = {
  /** Null: every interface of the group is there and runs. */
  readonly obstacle: IneligibleReason | null;
  /** Words for people: which interface, and what to do. */
  readonly detail: string | null;
};

/** Judges a group by the interfaces of its addresses alone. */
export function judgeInterfaces(group: VipGroup, devices: InterfaceMap, links: Links): Fitness {
  for (const name of new Set(group.addresses.map((address) => address.interface))) {
    const device = devices.get(name);
    if (device === undefined)
      return {
        obstacle: 'interface-missing',
        detail: `interface "${name}" is not mapped to a device in the agent's file (interfaces.${name})`,
      };
    const link = links.get(device);
    if (link === undefined)
      return { obstacle: 'interface-missing', detail: `device ${device} does not exist here` };
    if (!link.isAdminUp || !link.isRunning)
      return { obstacle: 'interface-down', detail: `device ${device} is down or has no carrier` };
  }
  return { obstacle: null, detail: null };
}

/** The group's addresses as the gate binds them; null where an interface is missing. */
export function gateGroupOf(
  group: VipGroup,
  devices: InterfaceMap,
  links: Links,
): GateGroup | null {
  const addresses: GateGroup['addresses'][number][] = [];
  for (const address of group.addresses) {
    const device = devices.get(address.interface);
    const link = device === undefined ? undefined : links.get(device);
    if (device === undefined || link === undefined) return null;
    addresses.push({
      linkIndex: link.index,
      address: address.address,
      prefix: address.prefix,
      scope: address.scope,
      label: address.label === null ? null : `${device}:${address.label}`,
    });
  }
  return { group: group.id, addresses };
}

/** Where VIPs may be bound here: every device of the agent's file that is there, every VIP on one of them. */
export function gatePlacesOf(
  groups: readonly VipGroup[],
  devices: InterfaceMap,
  links: Links,
): GatePlaces {
  const present = new Map([...new Set(devices.values())].map((name) => [name, links.get(name)]));
  const vips = groups.flatMap((group) =>
    group.addresses.filter(({ interface: name }) => present.get(devices.get(name) ?? '')),
  );
  return {
    devices: [...present.values()].flatMap((link) =>
      link === undefined ? [] : [{ index: link.index, name: link.name }],
    ),
    vips: [...new Set(vips.map(({ address }) => address))],
    groups: new Map(
      groups.flatMap(({ id, addresses }) => addresses.map((one) => [one.address, id])),
    ),
  };
}

/** Device of each address, for announcements. */
export function announcementsOf(
  group: VipGroup,
  devices: InterfaceMap,
): readonly {
  readonly device: string;
  readonly address: VipGroup['addresses'][number]['address'];
}[] {
  return group.addresses.flatMap((address) => {
    const device = devices.get(address.interface);
    return device === undefined ? [] : [{ device, address: address.address }];
  });
}

/** The same answers, and the very same objects while nothing changed: who compares need not look inside. */
export class GroupPlaces {
  readonly #devices: InterfaceMap;
  readonly #links: () => Links;
  readonly #gate = new WeakMap<VipGroup, GateGroup>();
  readonly #announced = new WeakMap<VipGroup, ReturnType<typeof announcementsOf>>();

  constructor(devices: InterfaceMap, links: () => Links) {
    this.#devices = devices;
    this.#links = links;
  }

  gateGroup(group: VipGroup): GateGroup | null {
    const known = this.#gate.get(group);
    if (known !== undefined && this.#isCurrent(group, known)) return known;
    const made = gateGroupOf(group, this.#devices, this.#links());
    if (made !== null) this.#gate.set(group, made);
    return made;
  }

  announcements(group: VipGroup): ReturnType<typeof announcementsOf> {
    const known = this.#announced.get(group) ?? announcementsOf(group, this.#devices);
    this.#announced.set(group, known);
    return known;
  }

  /** Devices may come back with another index. */
  #isCurrent(group: VipGroup, known: GateGroup): boolean {
    const links = this.#links();
    return group.addresses.every((address, i) => {
      const device = this.#devices.get(address.interface);
      const link = device === undefined ? undefined : links.get(device);
      return link !== undefined && link.index === known.addresses[i]?.linkIndex;
    });
  }
}

export type Eligibility = ReadonlyMap<GroupId, Fitness>;
