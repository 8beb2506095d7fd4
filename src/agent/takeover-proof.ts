/** Asks the gateways, in the names of a group's VIPs, whether they send here now (design 4.12). */
import { familyOf, type IpAddress, ipToBytes } from '../model/address.ts';
import type { Neighbours } from '../ports/neighbours.ts';

export type ProvenVip = {
  readonly device: string;
  readonly address: IpAddress;
  readonly prefix: number;
};

/**
 * True when each VIP that has a gateway was answered by one of its gateways within `timeoutMs`; null
 * where there is none to ask. All are asked at the same time.
 */
export async function verifyTakeover(
  neighbours: Pick<Neighbours, 'verify'>,
  vips: readonly ProvenVip[],
  gateways: readonly IpAddress[],
  timeoutMs: number,
): Promise<boolean | null> {
  const proofs = vips.flatMap(({ device, address, prefix }) => {
    const own = gateways.filter((gateway) => isNeighbour(gateway, { address, prefix }));
    if (own.length === 0) return [];
    const asked = own.map((gateway) => neighbours.verify({ device, address }, gateway, timeoutMs));
    return [isAny(asked)];
  });
  if (proofs.length === 0) return null;
  return (await Promise.all(proofs)).every((isProven) => isProven);
}

/** True as soon as one is: a gateway that is down must not keep the other's answer waiting. */
function isAny(asked: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let unanswered = asked.length;
    for (const one of asked)
      one.then((isProven) => {
        unanswered--;
        if (isProven || unanswered === 0) resolve(isProven);
      }, reject);
  });
}

/**
 * Of one network, as the VIP's prefix tells it. A host prefix tells nothing of it, and a link-local
 * gateway (RFC 4291 2.5.6) is a neighbour of every address on its link.
 */
function isNeighbour(
  gateway: IpAddress,
  vip: { readonly address: IpAddress; readonly prefix: number },
): boolean {
  if (familyOf(gateway) !== familyOf(vip.address)) return false;
  const a = ipToBytes(gateway);
  const b = ipToBytes(vip.address);
  const isLinkLocal = familyOf(gateway) === 6 && a[0] === 0xfe && ((a[1] ?? 0) & 0xc0) === 0x80;
  if (isLinkLocal || vip.prefix === b.length * 8) return true;
  return b.every((byte, i) => {
    const bits = Math.min(8, Math.max(0, vip.prefix - i * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((a[i] ?? 0) & mask);
  });
}
