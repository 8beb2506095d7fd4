/** How this director reaches a real server along a VIP's path: from which address, and over which device. Pure. */
import { err, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import type { CheckOrigin, VipCheck } from '../../model/check.ts';
import { isInNetworkOf, isLinkLocal, type OwnAddress } from '../raw-sockets/own-addresses.ts';

export type VipWay = {
  /** Of the VIP's family; never a VIP. */
  readonly source: IpAddress;
  /** That the real server is on; null: on none, which only a tunnel overcomes. */
  readonly device: string | null;
};

export type VipTarget = {
  readonly address: IpAddress;
  readonly vip: IpAddress;
  readonly spec: Pick<VipCheck, 'tunnel' | 'own'>;
  readonly origin: Pick<CheckOrigin, 'source' | 'interface'>;
};

/** Errors are this director's: nothing is known of the real server. */
export function findWay(target: VipTarget, bound: readonly OwnAddress[]): Result<VipWay, string> {
  const { address, vip, origin, spec } = target;
  if (bound.some((one) => one.address === address))
    return err(`${address} is this director itself: only others can look at it`);
  const vips = [vip, ...(spec.own?.vips ?? [])];
  const own = bound.filter((one) => !vips.includes(one.address));
  const near = own
    .filter((one) => familyOf(one.address) === familyOf(address) && isInNetworkOf(one, address))
    .filter((one) => origin.interface === null || one.device === origin.interface)
    .toSorted((a, b) => b.prefix - a.prefix);
  const device = origin.interface ?? near[0]?.device ?? null;
  if (device === null && spec.tunnel === null)
    return err(`${address} is on no link of this director, which DR needs (interface names one)`);
  const source = pickSource(target, { own, near, device });
  return source.ok ? ok({ source: source.value, device }) : source;
}

function pickSource(
  { vip, origin, spec }: VipTarget,
  has: {
    readonly own: readonly OwnAddress[];
    readonly near: readonly OwnAddress[];
    readonly device: string | null;
  },
): Result<IpAddress, string> {
  const { own, near, device } = has;
  if (origin.source !== null)
    return own.some(({ address }) => address === origin.source)
      ? ok(origin.source)
      : err(`${origin.source} is not bound here, or a VIP: no source for a look at ${vip}`);
  const family = familyOf(vip);
  const isUsable = (one: OwnAddress): boolean => familyOf(one.address) === family;
  const isOwn = (one: OwnAddress): boolean => one.address === spec.own?.address;
  const usable = own.filter((one) => isUsable(one) && !isLinkLocal(one.address));
  const found =
    near.filter(isUsable).find(isOwn) ??
    near.find(isUsable) ??
    usable.find(isOwn) ??
    usable.find((one) => one.device === device);
  return found === undefined
    ? err(`this director has no IPv${family} address but VIPs to look at ${vip} from`)
    : ok(found.address);
}
