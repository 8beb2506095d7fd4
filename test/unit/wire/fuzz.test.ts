/** A portion of the fuzzing of every decoder; `npm run fuzz` does the long run. */
import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FUZZED_DECODERS } from '../../fuzz/decoders.ts';
import { examine, fuzz } from '../../fuzz/fuzz.ts';

/** All decoders together get some 50,000. */
const INPUTS = 2_500;
const WIRE = join(import.meta.dirname, '../../../src/wire');

describe('decoders stand any bytes', () => {
  const seed = randomInt(2 ** 32);
  test.each(FUZZED_DECODERS.map((decoder, place) => ({ decoder, place })))(
    `$decoder.name ($place), seed ${seed}`,
    ({ decoder }) => {
      expect(fuzz(decoder, INPUTS, seed)).toBeNull();
    },
  );

  test('every true message is examined without a finding', () => {
    for (const decoder of FUZZED_DECODERS)
      for (const bytes of decoder.corpus) expect(examine(decoder, bytes, 0xa5)).toBeNull();
  });

  test('no decoder of src/wire is left out', () => {
    const exported = readdirSync(WIRE).flatMap((file) =>
      [
        ...readFileSync(join(WIRE, file), 'utf8').matchAll(
          /^export (?:function|const) (decode\w+)/gm,
        ),
      ].map(([, name]) => name),
    );
    expect(exported.length).toBeGreaterThan(15);
    const named = new Set(FUZZED_DECODERS.map(({ name }) => name));
    expect(exported.filter((name) => name !== undefined && !named.has(name))).toEqual([]);
  });
});

describe('the fuzzing finds', () => {
  const broken = (decode: (bytes: Uint8Array) => unknown): string | undefined =>
    fuzz({ name: 'broken', corpus: [Uint8Array.of(3, 1, 2, 3)], decode }, 2_000, 1)?.problem;

  test('a decoder that throws', () => {
    expect(
      broken((bytes) => {
        if (bytes[0] === 0xff) throw new Error('no');
        return bytes.length;
      }),
    ).toContain('throws');
  });

  test('a decoder that trusts a length', () => {
    const decode = (bytes: Uint8Array): Uint8Array =>
      new Uint8Array(bytes.buffer).subarray(bytes.byteOffset, bytes.byteOffset + (bytes[0] ?? 0));
    expect(broken(decode)).toContain('past the end');
  });

  test('a decoder that writes', () => {
    expect(broken((bytes) => bytes.fill(0).length)).toContain('changes');
  });
});
