/** A lazy map is a map to whoever uses it, and leaves the one it began from alone. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LazyMap } from '../../../src/lib/lazy-map.ts';

type Change = readonly ['set', number, string] | readonly ['delete', number] | readonly ['clear'];

const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('set' as const), fc.nat(9), fc.string()) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('delete' as const), fc.nat(9)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('clear' as const)) },
);

const apply = (map: Map<number, string>, [kind, ...rest]: Change): void => {
  const [key, value] = rest as [number, string];
  if (kind === 'set') map.set(key, value);
  else if (kind === 'delete') map.delete(key);
  else map.clear();
};

describe('a lazy map', () => {
  it('is the same as a copy, whatever is done to it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(9), fc.string())),
        fc.array(change),
        (start, changes) => {
          const base = new Map(start);
          const lazy = new LazyMap(base);
          const copy = new Map(base);
          for (const one of changes) {
            apply(lazy, one);
            apply(copy, one);
            expect([...lazy]).toEqual([...copy]);
            expect(lazy.size).toBe(copy.size);
          }
          expect(lazy.value).toEqual(copy);
          expect([...base]).toEqual([...new Map(start)]);
          const seen: [number, string][] = [];
          lazy.forEach((value, key) => seen.push([key, value]));
          expect(seen).toEqual([...copy.entries()]);
          expect([...lazy.keys()]).toEqual([...copy.keys()]);
          expect([...lazy.values()]).toEqual([...copy.values()]);
        },
      ),
    );
  });

  it('copies nothing where nothing is written', () => {
    const base = new Map([[1, 'one']]);
    const lazy = new LazyMap(base);
    expect(lazy.get(1)).toBe('one');
    expect(lazy.delete(2)).toBe(false);
    expect(lazy.value).toBe(base);
  });
});
