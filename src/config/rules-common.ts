/** Rules that several parts of the cluster document share. */
import { type IpAddress, ipToBytes, parseIp } from '../model/address.ts';
import type { Problem } from './problem.ts';
import { type Raw, textOf } from './raw.ts';

/** An address that is none, or that no host can have; null where it is fine or missing. */
export function addressProblem(place: Raw): Problem | null {
  const text = textOf(place);
  if (text === null) return null;
  const allowed = 'the IPv4 or IPv6 address of a host';
  const parsed = parseIp(text);
  if (!parsed.ok) return { path: place.path, message: parsed.error, allowed };
  const kind = specialKind(parsed.value);
  return kind === null ? null : { path: place.path, message: `${text} is ${kind}`, allowed };
}

/** RFC 6890: addresses that belong to no single host. */
function specialKind(address: IpAddress): string | null {
  const bytes = ipToBytes(address);
  const first = bytes[0] ?? 0;
  if (bytes.every((byte) => byte === 0)) return 'the unspecified address';
  if (bytes.length === 4 && first === 0) return 'in "this network" (0.0.0.0/8)';
  if (bytes.length === 16 ? first === 0xff : first >= 224 && first < 240) return 'multicast';
  return bytes.length === 4 && first >= 240 ? 'reserved' : null;
}

/** Remembers who used a value first: null for the first, else the first one's name. */
export function firstUseOf<T>(): (value: T, user: string) => string | null {
  const users = new Map<T, string>();
  return (value, user) => {
    const first = users.get(value);
    if (first === undefined) users.set(value, user);
    return first ?? null;
  };
}
