/** Which of this host's own addresses an echo comes from. A VIP may be bound here, too: it must not be picked. */
import { networkInterfaces } from 'node:os';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress, ipToBytes, parseCidr } from '../../model/address.ts';
import type { GatewaySource } from '../../ports/gateway.ts';

export type OwnAddress = {
  readonly device: string;
  readonly address: IpAddress;
  readonly prefix: number;
};

/** Of interfaces that are up, in this process's network namespace (getifaddrs(3)). */
export function readOwnAddresses(): Result<readonly OwnAddress[], string> {
  try {
    return ok(
      Object.entries(networkInterfaces()).flatMap(([device, addresses]) =>
        (addresses ?? []).flatMap(({ cidr }) => {
          const parsed = parseCidr(cidr ?? '');
          return parsed.ok ? [{ device, ...parsed.value }] : [];
        }),
      ),
    );
  } catch (error) {
    return err(`cannot read the addresses of this host: ${messageOf(error)}`);
  }
}

/** The error says why there is none. */
export function pickSource(
  source: GatewaySource | null,
  target: IpAddress,
  own: readonly OwnAddress[],
): Result<OwnAddress, string> {
  const family = familyOf(target);
  if (own.some(({ address }) => address === target))
    return err('it is an address of this host, and would answer itself');
  if (source === null) return err(`this director has no IPv${family} address of its own`);
  if (source.kind === 'address') {
    const found = own.find(({ address }) => address === source.address);
    return found === undefined ? err(`${source.address} is not bound here`) : ok(found);
  }
  const { devices, except } = source;
  const isNear = isLinkLocal(target);
  const usable = own.filter(
    (one) =>
      devices.includes(one.device) &&
      familyOf(one.address) === family &&
      !except.includes(one.address) &&
      // A router would not bring an answer to a link-local address (RFC 4291 2.5.6).
      (isNear || !isLinkLocal(one.address)),
  );
  const isSimilar = (one: OwnAddress): boolean =>
    isNear ? isLinkLocal(one.address) : isInNetworkOf(one, target);
  const best = usable.find(isSimilar) ?? usable.find((one) => !isHostPrefix(one)) ?? usable[0];
  return best === undefined
    ? err(`no IPv${family} address but VIPs on ${devices.join(', ')}`)
    : ok(best);
}

/** Such an address needs its device to be told (RFC 4007 6); of IPv6 only. */
export function isLinkLocal(address: IpAddress): boolean {
  if (familyOf(address) === 4) return false;
  const bytes = ipToBytes(address);
  return bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
}

const isHostPrefix = ({ address, prefix }: OwnAddress): boolean =>
  prefix === (familyOf(address) === 4 ? 32 : 128);

function isInNetworkOf({ address, prefix }: OwnAddress, target: IpAddress): boolean {
  const other = ipToBytes(target);
  return ipToBytes(address).every((byte, i) => {
    const bits = Math.min(8, Math.max(0, prefix - i * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((other[i] ?? 0) & mask);
  });
}
