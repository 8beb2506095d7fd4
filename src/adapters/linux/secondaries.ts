/**
 * Linux keeps IPv4 addresses of one subnet and link as one primary and secondaries. Deleting the
 * primary deletes the secondaries with it, unless sysctl promote_secondaries is 1. A VIP becomes the
 * primary when it is bound before any other address of its subnet; unbinding it would then take the
 * director's own address or another group's VIP along. Source: net/ipv4/devinet.c, ip-sysctl.rst.
 */
import { readFile } from 'node:fs/promises';
import { familyOf, ipToBytes, type IpAddress } from '../../model/address.ts';
import { IFA_F_SECONDARY, type AddressKey, type AddressMessage } from '../../wire/rtnetlink.ts';

/** Addresses that the kernel deletes together with `deleted` though nobody asked for it. */
export function findTakenAlong<T extends AddressMessage>(
  deleted: readonly AddressKey[],
  bound: readonly T[],
): readonly T[] {
  const asked = new Set(deleted.map(keyText));
  const primaries = bound.filter(
    (entry) => asked.has(keyText(entry.address)) && (entry.flags & IFA_F_SECONDARY) === 0,
  );
  return bound.filter(
    (entry) =>
      (entry.flags & IFA_F_SECONDARY) !== 0 &&
      !asked.has(keyText(entry.address)) &&
      primaries.some((primary) => isSameSubnet(primary.address, entry.address)),
  );
}

/** True where the kernel keeps the secondaries: the link's or the global setting is on. */
export async function promotesSecondaries(device: string): Promise<boolean> {
  const settings = await Promise.all(
    ['all', device].map((name) =>
      readFile(`/proc/sys/net/ipv4/conf/${name}/promote_secondaries`, 'utf8').catch(() => '0'),
    ),
  );
  return settings.some((text) => text.trim() === '1');
}

const keyText = (key: AddressKey): string => `${key.linkIndex} ${key.address}/${key.prefix}`;

function isSameSubnet(a: AddressKey, b: AddressKey): boolean {
  if (a.linkIndex !== b.linkIndex || a.prefix !== b.prefix) return false;
  if (familyOf(a.address) !== 4 || familyOf(b.address) !== 4) return false;
  return subnetOf(a.address, a.prefix) === subnetOf(b.address, b.prefix);
}

function subnetOf(address: IpAddress, prefix: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = ipToBytes(address);
  const value = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  return prefix === 0 ? 0 : value >>> (32 - prefix);
}
