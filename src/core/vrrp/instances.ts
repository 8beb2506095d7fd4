/** Which virtual routers a VIP group is on the wire: one for each family that it has addresses of. */
import { familyOf, type IpAddress, type IpFamily } from '../../model/address.ts';
import type { Director, VipGroup } from '../../model/cluster.ts';
import type { DirectorId } from '../../model/ids.ts';
import type { VrrpAuth, VrrpInstance, VrrpNeighbour, VrrpSpec } from '../../model/vrrp.ts';

export type InstancePlace = {
  /** This director. */
  readonly director: DirectorId;
  readonly directors: readonly Director[];
  /** Device of a logical interface; null: it is not here. */
  readonly deviceOf: (logicalName: string) => string | null;
  /**
   * Own address on a device to send from, never a VIP; null: there is none. Over IPv6 it should be the
   * link-local one where multicast is used (RFC 9568 5.1.2.1).
   */
  readonly sourceOf: (device: string, family: IpFamily) => IpAddress | null;
};

/**
 * The other directors and the neighbours of the group get unicast advertisements, each family its own. A
 * family without anybody to tell, without a device or without a source is left out. IPv6 is version 3
 * always.
 */
export function deriveInstances(group: VipGroup, place: InstancePlace): readonly VrrpInstance[] {
  const instances: VrrpInstance[] = [];
  for (const family of [4, 6] as const) {
    const instance = deriveInstance(group, place, family);
    if (instance !== null) instances.push(instance);
  }
  return instances;
}

/** As deliveries name it. */
export const instanceKey = (group: VipGroup, family: IpFamily): string => `${group.id}/${family}`;

function deriveInstance(
  group: VipGroup,
  place: InstancePlace,
  family: IpFamily,
): VrrpInstance | null {
  const { vrrp, virtualRouterId } = group;
  const vips = group.addresses.filter(({ address }) => familyOf(address) === family);
  const [first] = vips;
  if (vrrp === null || virtualRouterId === null || first === undefined) return null;
  const device = place.deviceOf(first.interface);
  const source = device === null ? null : place.sourceOf(device, family);
  if (device === null || source === null) return null;
  const neighbours = neighboursOf(vrrp.neighbours, place, family);
  if (!vrrp.isMulticast && neighbours.length === 0) return null;
  const isVersion2 = vrrp.version === 2 && family === 4;
  return {
    key: instanceKey(group, family),
    family,
    routerId: virtualRouterId,
    version: isVersion2 ? 2 : 3,
    device,
    source,
    to: vrrp.isMulticast ? { kind: 'multicast' } : { kind: 'unicast', neighbours },
    intervalMs: vrrp.intervalMs,
    addresses: vips.map(({ address }) => address),
    auth: authOf(vrrp, isVersion2),
    checksum: vrrp.checksum,
  };
}

function authOf({ password, hmacKeys }: VrrpSpec, isVersion2: boolean): VrrpAuth {
  if (hmacKeys.length > 0) return { kind: 'hmac', keys: hmacKeys };
  return isVersion2 && password !== null ? { kind: 'pass', password } : { kind: 'none' };
}

/** What is set for a director's own address goes before what holds for all. */
function neighboursOf(
  configured: readonly VrrpNeighbour[],
  { director, directors }: InstancePlace,
  family: IpFamily,
): readonly VrrpNeighbour[] {
  const named = new Set(configured.map(({ address }) => address));
  const others = directors
    .filter(({ id, address }) => id !== director && !named.has(address))
    .map(({ address }) => ({ address, ttlMin: 0, ttlMax: 255 }));
  return [...others, ...configured].filter(({ address }) => familyOf(address) === family);
}
