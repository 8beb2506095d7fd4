/**
 * Services that this very director is a real server of, by DR or a tunnel. What their holder forwards to it
 * has the VIP as its destination still: with the whole table it would share that out once more, and send part
 * of it back. So, while it does not hold the group, it has such a service with itself alone: the kernel then
 * delivers what comes at once, and goes on with the connections that this director had as a holder, which
 * without the service it would drop (a connection whose real server left the table, ip_vs_core.c).
 */
import { familyOf, type IpAddress } from '../../model/address.ts';
import type { ClusterSpec, ForwardTarget, VirtualService } from '../../model/cluster.ts';
import type { GroupId } from '../../model/ids.ts';

export type OwnServing = {
  /** Of this director itself; VIPs are none of them. */
  readonly addresses: ReadonlySet<IpAddress>;
  /** Groups that it speaks for, and nobody beside it: it shares out. */
  readonly held: ReadonlySet<GroupId>;
  /** All of them, and those that may come any moment or are just going. */
  readonly here: ReadonlySet<GroupId>;
};

/**
 * What such a director has of a service while it does not hold the group. `own`: itself alone. `ready`: the
 * others too, with weight 0: connections that lead to them must go on from the first moment, while what the
 * holder still forwards must not come back to it.
 */
export type StandbyStage = 'own' | 'ready';

export type OwnStandby = {
  readonly stage: StandbyStage;
  readonly addresses: ReadonlySet<IpAddress>;
};

/** With NAT the destination is the real server's own address: no table looks at it. */
export const isOwnTarget = (
  { forward, address }: Pick<ForwardTarget, 'forward' | 'address'>,
  addresses: ReadonlySet<IpAddress>,
): boolean => forward !== 'nat' && addresses.has(address);

export const isOwnService = (
  { realServers, sorryServer }: Pick<VirtualService, 'realServers' | 'sorryServer'>,
  addresses: ReadonlySet<IpAddress>,
): boolean =>
  realServers.some((server) => isOwnTarget(server, addresses)) ||
  (sorryServer !== null && isOwnTarget(sorryServer, addresses));

/** Null: the service is as on any director. */
export function decideStandby(service: VirtualService, own: OwnServing | null): OwnStandby | null {
  if (own === null || own.held.has(service.group)) return null;
  if (!isOwnService(service, own.addresses)) return null;
  return { stage: own.here.has(service.group) ? 'ready' : 'own', addresses: own.addresses };
}

/** VIPs that the director serves itself: of a firewall-mark service all of its group and family. */
export function servedVips(
  spec: Pick<ClusterSpec, 'services' | 'groups'>,
  addresses: ReadonlySet<IpAddress>,
): ReadonlySet<IpAddress> {
  const vips = new Set<IpAddress>();
  for (const service of spec.services) {
    if (!isOwnService(service, addresses)) continue;
    for (const key of service.keys)
      if (key.kind === 'address') vips.add(key.address);
      else
        for (const { address } of spec.groups.find(({ id }) => id === service.group)?.addresses ??
          [])
          if (familyOf(address) === key.family) vips.add(address);
  }
  return vips;
}
