/** Ids of events and operations: ULIDs, which sort by time as text (github.com/ulid/spec). */
import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_CHARS = 10;
const RANDOM_BYTES = 10;
const RANDOM_CHARS = 16;

/** 10 characters of the wall clock's milliseconds, then 80 random bits in 16 characters. */
export function createEventId(clock: Clock, random: Random): string {
  let time = clock.wallMs();
  let head = '';
  for (let i = 0; i < TIME_CHARS; i++) {
    head = ALPHABET.charAt(time % 32) + head;
    time = Math.floor(time / 32);
  }
  return head + encodeBase32(random.hex(RANDOM_BYTES));
}

function encodeBase32(hex: string): string {
  let bits = BigInt(`0x${hex}`);
  let text = '';
  for (let i = 0; i < RANDOM_CHARS; i++) {
    text = ALPHABET.charAt(Number(bits & 31n)) + text;
    bits >>= 5n;
  }
  return text;
}
