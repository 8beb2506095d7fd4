/** The figures of the benches: medians, spreads, and the cells of their tables. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatMs, formatSpread, median } from '../../../bench/statistics.ts';

describe('the median', () => {
  it.each([
    [[7], 7],
    [[3, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
    // Numbers, not text: 10 is more than 9.
    [[10, 9, 100], 10],
  ])('of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  it('of nothing is refused', () => {
    expect(() => median([])).toThrow('no values');
  });

  it('has as many values below as above, in any order, and leaves its input alone', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
        const before = [...values];
        const middle = median(values);
        expect(values).toEqual(before);
        const below = values.filter((value) => value < middle).length;
        const above = values.filter((value) => value > middle).length;
        expect(below).toBeLessThanOrEqual(values.length / 2);
        expect(above).toBeLessThanOrEqual(values.length / 2);
      }),
    );
  });
});

describe('a spread', () => {
  it('names the median, the least and the most', () => {
    expect(formatSpread([631.2, 612.4, 614.9])).toBe('615 ms (612–631)');
  });

  it('is the value alone where all are alike to the millisecond', () => {
    expect(formatSpread([0, 0.2, 0.4])).toBe(formatMs(0.2));
  });
});
