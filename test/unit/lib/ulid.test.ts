/** ULIDs (github.com/ulid/spec): 48 bits of time and 80 random bits in Crockford's base 32. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatUlid, ULID_RANDOM_BYTES } from '../../../src/lib/ulid.ts';

const ZEROS = '00'.repeat(ULID_RANDOM_BYTES);
const ONES = 'ff'.repeat(ULID_RANDOM_BYTES);
const hex = fc
  .uint8Array({ minLength: ULID_RANDOM_BYTES, maxLength: ULID_RANDOM_BYTES })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
const time = fc.integer({ min: 0, max: 2 ** 48 - 1 });

describe('a ULID', () => {
  it.each([
    [0, ZEROS, '00000000000000000000000000'],
    [1, ZEROS, '00000000010000000000000000'],
    // The time in the specification's example, 01ARZ3NDEKTSV4RRFFQ69G5FAV.
    [1_469_922_850_259, ZEROS, '01ARZ3NDEK0000000000000000'],
    [2 ** 48 - 1, ONES, '7ZZZZZZZZZZZZZZZZZZZZZZZZZ'],
  ])('of %i', (ms, random, text) => {
    expect(formatUlid(ms, random)).toBe(text);
  });

  it('has 26 characters of the alphabet without I, L, O and U', () => {
    fc.assert(
      fc.property(time, hex, (ms, random) => {
        expect(formatUlid(ms, random)).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
      }),
    );
  });

  it('sorts by time, whatever is random', () => {
    fc.assert(
      fc.property(time, time, hex, hex, (a, b, x, y) => {
        if (a === b) return;
        expect(formatUlid(a, x) < formatUlid(b, y)).toBe(a < b);
      }),
    );
  });

  it('keeps every random bit and only as many as it has room for', () => {
    fc.assert(
      fc.property(hex, hex, (x, y) => {
        expect(formatUlid(0, x) === formatUlid(0, y)).toBe(x === y);
        expect(formatUlid(0, x + y)).toBe(formatUlid(0, x));
      }),
    );
  });

  it('ignores fractions of a millisecond', () => {
    expect(formatUlid(1.9, ZEROS)).toBe(formatUlid(1, ZEROS));
  });
});
