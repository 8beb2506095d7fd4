/**
 * Small, stable, non-cryptographic hashes for rendezvous placement and for naming checks.
 * Every director must compute the same value on every version of Node, so no library is used.
 * Sources: FNV-1a (Fowler, Noll, Vo) and the 32-bit finalizer of MurmurHash3 (public domain).
 */

/** 32-bit hash of a text (UTF-16 code units, low byte then high byte), 0 ≤ result < 2^32. */
export function hash32(text: string, seed = 0): number {
  let h = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    h = Math.imul(h ^ (code & 0xff), 0x01000193) >>> 0;
    h = Math.imul(h ^ (code >>> 8), 0x01000193) >>> 0;
  }
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b) >>> 0;
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35) >>> 0;
  h ^= h >>> 16;
  return h >>> 0;
}

/** 64 bits as 16 hexadecimal digits, from two seeds of `hash32`. */
export function hash64Hex(text: string): string {
  const high = hash32(text, 0);
  const low = hash32(text, 0x9e3779b9);
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/**
 * Highest-random-weight order of `members` for `key`: the first is the choice, the rest the heirs.
 * Removing a member moves only what it had (Thaler and Ravishankar, 1998).
 */
export function rendezvousOrder<T extends string>(key: string, members: readonly T[]): T[] {
  const weighted = members.map((member) => ({ member, weight: hash32(`${key}\u0000${member}`) }));
  weighted.sort((a, b) => b.weight - a.weight || (a.member < b.member ? -1 : 1));
  return weighted.map((entry) => entry.member);
}
