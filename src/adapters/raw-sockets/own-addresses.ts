/** Which addresses this host has, VIPs among them. */
import { networkInterfaces } from 'node:os';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import { familyOf, type IpAddress, ipToBytes, parseCidr } from '../../model/address.ts';

export type OwnAddress = {
  readonly device: string;
  readonly address: IpAddress;
  readonly prefix: number;
};

/** Of interfaces that are up, in this process's network namespace (getifaddrs(3)). */
export function readOwnAddresses(
  read: typeof networkInterfaces = networkInterfaces,
): Result<readonly OwnAddress[], string> {
  try {
    return ok(
      Object.entries(read()).flatMap(([name, addresses]) =>
        (addresses ?? []).flatMap(({ cidr }) => {
          const parsed = parseCidr(cidr ?? '');
          return parsed.ok ? [{ device: deviceOf(name), ...parsed.value }] : [];
        }),
      ),
    );
  } catch (error) {
    return err(`cannot read the addresses of this host: ${messageOf(error)}`);
  }
}

/** An address with a label (`eth0:1`) is named by it; no device has a colon in its name (dev_valid_name). */
const deviceOf = (name: string): string => name.split(':')[0] ?? name;

/** Such an address needs its device to be told (RFC 4007 6); of IPv6 only. */
export function isLinkLocal(address: IpAddress): boolean {
  if (familyOf(address) === 4) return false;
  const bytes = ipToBytes(address);
  return bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;
}

/** Whether it is on the link that the address stands for. Both of one family. */
export function isInNetworkOf({ address, prefix }: OwnAddress, target: IpAddress): boolean {
  const other = ipToBytes(target);
  return ipToBytes(address).every((byte, i) => {
    const bits = Math.min(8, Math.max(0, prefix - i * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((other[i] ?? 0) & mask);
  });
}
