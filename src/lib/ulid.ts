/** ULIDs: ids that sort by time as text (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_CHARS = 10;
const RANDOM_CHARS = 16;

/** Random digits that `formatUlid` wants, in bytes. */
export const ULID_RANDOM_BYTES = 10;

/** 26 characters of Crockford's base 32; `randomHex` holds at least 80 bits. */
export function formatUlid(wallMs: number, randomHex: string): string {
  let time = Math.floor(wallMs);
  let head = '';
  for (let i = 0; i < TIME_CHARS; i++) {
    head = ALPHABET.charAt(time % 32) + head;
    time = Math.floor(time / 32);
  }
  let bits = BigInt(`0x${randomHex.slice(0, 2 * ULID_RANDOM_BYTES)}`);
  let tail = '';
  for (let i = 0; i < RANDOM_CHARS; i++) {
    tail = ALPHABET.charAt(Number(bits & 31n)) + tail;
    bits >>= 5n;
  }
  return head + tail;
}
