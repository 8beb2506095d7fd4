/** Slices of work: as long as they should be, and few looks at the clock. */
import { describe, expect, it } from 'vitest';
import { Slice } from '../../../src/lib/steps.ts';

describe('a slice', () => {
  /** How often the clock is looked at while steps of so many milliseconds fill it, and how long it was. */
  function fill(stepMs: number): { readonly looks: number; readonly workedMs: number } {
    let nowMs = 100;
    let looks = 0;
    const slice = new Slice(() => {
      looks++;
      return nowMs;
    });
    for (let steps = 0; steps < 100_000; steps++) {
      nowMs += stepMs;
      if (slice.isOver()) return { looks, workedMs: nowMs - 100 };
    }
    throw new Error('it is never over');
  }

  it('is over after four milliseconds, however long the steps are', () => {
    for (const stepMs of [0.001, 0.01, 0.02, 0.1, 1, 3.9]) {
      const { workedMs } = fill(stepMs);
      expect(workedMs).toBeGreaterThanOrEqual(4 - 1e-6);
      expect(workedMs).toBeLessThan(4 + Math.max(stepMs, 16 * 0.02));
    }
  });

  it('needs few looks at the clock for short steps, and sees each long one', () => {
    expect(fill(0.001).looks).toBeLessThan(4000 / 10);
    expect(fill(0.5).looks).toBe(1 + 8);
  });
});
