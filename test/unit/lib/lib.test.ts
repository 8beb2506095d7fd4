/** The small tools: results, asserts, bytes and hashes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AssertionError, assert, unreachable } from '../../../src/lib/assert.ts';
import { concatBytes, equalBytes, fromHex, toHex } from '../../../src/lib/bytes.ts';
import { hash32, hash64Hex, rendezvousOrder } from '../../../src/lib/hash.ts';
import { err, messageOf, ok } from '../../../src/lib/result.ts';

describe('results', () => {
  it('are a value or an error', () => {
    expect(ok(1)).toEqual({ ok: true, value: 1 });
    expect(err('no')).toEqual({ ok: false, error: 'no' });
  });

  it('the message of anything thrown is a text', () => {
    expect(messageOf(new TypeError('bad'))).toBe('bad');
    expect(messageOf('bad')).toBe('bad');
    expect(messageOf(null)).toBe('null');
  });
});

describe('asserts', () => {
  it('throw their own error, with the message, only where the condition fails', () => {
    expect(() => assert(1, 'one')).not.toThrow();
    expect(() => assert(0, 'zero')).toThrow(new AssertionError('zero'));
    expect(() => unreachable('x' as never)).toThrow('unreachable: "x"');
  });
});

describe('bytes', () => {
  it('survive hexadecimal text and back, with white space anywhere', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const text = toHex(bytes);
        expect(text).toBe(Buffer.from(bytes).toString('hex'));
        expect(fromHex(text)).toEqual(bytes);
        expect(fromHex(` ${text.toUpperCase().replace(/../g, '$&\n')}`)).toEqual(bytes);
      }),
    );
  });

  it.each(['0', 'abc', 'zz', '0x00', '--'])('%j is no hexadecimal text', (text) => {
    expect(fromHex(text)).toBeNull();
  });

  it('are joined as Node joins them, and compared byte by byte', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array()), fc.uint8Array(), (parts, other) => {
        const joined = concatBytes(parts);
        expect(joined).toEqual(new Uint8Array(Buffer.concat(parts)));
        expect(equalBytes(joined, other)).toBe(Buffer.compare(joined, other) === 0);
        expect(equalBytes(joined, concatBytes([...parts, new Uint8Array()]))).toBe(true);
      }),
    );
  });
});

describe('hashes', () => {
  it.each([
    // Fixed for ever: directors of different versions must agree. Computed by a second program.
    ['', 0xab3e7c0b],
    ['a', 0x91e9da27],
    ['d1', 0x1c8615d4],
    ['ä€', 0x9f2fc25d],
  ])('hash32 of %j', (text, value) => expect(hash32(text)).toBe(value));

  it('are whole numbers of 32 bits, the same each time', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(0xffffffff), (text, seed) => {
        const value = hash32(text, seed);
        expect(Number.isInteger(value) && value >= 0 && value < 2 ** 32).toBe(true);
        expect(hash32(text, seed)).toBe(value);
        expect(hash64Hex(text)).toMatch(/^[0-9a-f]{16}$/);
      }),
    );
  });

  it('spread 64,000 names over 64 bins evenly, and name none twice', () => {
    const bins = Array.from({ length: 64 }, () => 0);
    const seen = new Set<string>();
    for (let i = 0; i < 64_000; i++) {
      const bin = hash32(`check-${i}`) >>> 26;
      bins[bin] = (bins[bin] ?? 0) + 1;
      seen.add(hash64Hex(`check-${i}`));
    }
    expect(Math.min(...bins)).toBeGreaterThan(850);
    expect(Math.max(...bins)).toBeLessThan(1150);
    expect(seen.size).toBe(64_000);
  });
});

describe('rendezvous order', () => {
  const members = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,5}$/), { minLength: 1, maxLength: 8 });

  it('names each member once, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.string(), members, (key, names) => {
        const order = rendezvousOrder(key, names);
        expect(order.toSorted()).toEqual(names.toSorted());
        expect(rendezvousOrder(key, names.toReversed())).toEqual(order);
      }),
    );
  });

  it('keeps the order of the others when one leaves', () => {
    fc.assert(
      fc.property(fc.string(), members, fc.nat(), (key, names, index) => {
        const gone = names[index % names.length];
        const rest = names.filter((name) => name !== gone);
        expect(rendezvousOrder(key, rest)).toEqual(
          rendezvousOrder(key, names).filter((name) => name !== gone),
        );
      }),
    );
  });

  it('gives each of three directors about a third of 3000 groups', () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 3000; i++) {
      const [first = ''] = rendezvousOrder(`group-${i}`, ['d1', 'd2', 'd3']);
      counts.set(first, (counts.get(first) ?? 0) + 1);
    }
    for (const name of ['d1', 'd2', 'd3']) {
      expect(counts.get(name)).toBeGreaterThan(900);
      expect(counts.get(name)).toBeLessThan(1100);
    }
  });
});
