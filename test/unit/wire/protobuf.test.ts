/** Fields of protocol buffers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toHex } from '../../../src/lib/bytes.ts';
import { bytesField, ProtoReader, uintField } from '../../../src/wire/protobuf.ts';

const bytesOf = (hex: string): Uint8Array => fromHex(hex) ?? new Uint8Array();

describe('fields', () => {
  it('look as the encoding guide shows them', () => {
    expect(toHex(uintField(1, 150))).toBe('089601');
    expect(toHex(uintField(6, 0))).toBe('3000');
    expect(toHex(uintField(1, 18446744073709551615n))).toBe('08ffffffffffffffffff01');
    expect(toHex(bytesField(2, new TextEncoder().encode('testing')))).toBe('120774657374696e67');
    expect(toHex(uintField(64, 1))).toBe('800401');
  });

  it('are read as they were written', () => {
    const field = fc.oneof(
      fc.record({
        number: fc.integer({ min: 1, max: 536870911 }),
        value: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      }),
      fc.record({
        number: fc.integer({ min: 1, max: 536870911 }),
        value: fc.uint8Array({ maxLength: 300 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(field), fc.boolean(), (fields, isSkipping) => {
        const message = concatBytes(
          fields.map(({ number, value }) =>
            typeof value === 'number' ? uintField(number, value) : bytesField(number, value),
          ),
        );
        const reader = new ProtoReader(message);
        for (const { number, value } of fields) {
          expect(reader.nextField()).toBe(number);
          if (isSkipping) reader.skip();
          else if (typeof value === 'number') expect(reader.uint()).toBe(value);
          else expect(reader.bytes()).toEqual(value);
        }
        expect(reader.nextField()).toBe(0);
        expect(reader.hasFailed).toBe(false);
      }),
    );
  });
});

describe('ProtoReader', () => {
  it('passes over numbers of fixed length', () => {
    const reader = new ProtoReader(bytesOf('09 0102030405060708 15 01020304 1805'));
    expect(reader.nextField()).toBe(1);
    reader.skip();
    expect(reader.nextField()).toBe(2);
    reader.skip();
    expect(reader.nextField()).toBe(3);
    expect(reader.uint()).toBe(5);
    expect(reader.nextField()).toBe(0);
    expect(reader.hasFailed).toBe(false);
  });

  it.each([
    ['a number that does not end', '0880'],
    ['a number of more than 64 bits', '08ffffffffffffffffffff01'],
    ['a length beyond the end', '1205aa'],
    ['a field without a number', '0005'],
    ['a kind that there is not', '0f'],
  ])('fails at %s, and stays so', (_what, hex) => {
    const reader = new ProtoReader(bytesOf(hex));
    if (reader.nextField() !== 0) reader.skip();
    expect(reader.hasFailed).toBe(true);
    expect(reader.nextField()).toBe(0);
  });

  it('fails where a field is of another kind than asked for', () => {
    const number = new ProtoReader(uintField(1, 5));
    number.nextField();
    expect(number.bytes()).toHaveLength(0);
    expect(number.hasFailed).toBe(true);
    const bytes = new ProtoReader(bytesField(1, new Uint8Array(3)));
    bytes.nextField();
    expect(bytes.uint()).toBe(0);
    expect(bytes.hasFailed).toBe(true);
  });
});
