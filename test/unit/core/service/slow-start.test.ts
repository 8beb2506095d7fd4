import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveUpSince, RAMP_STEPS, rampWeight } from '../../../../src/core/service/slow-start.ts';

describe('rampWeight', () => {
  it.each<[number, number, number | null]>([
    [0, 10, 3000],
    [2999, 10, 1],
    [3000, 20, 3000],
    [15_000, 60, 3000],
    [29_999, 100, 1],
    [30_000, 110, null],
    [99_999, 110, null],
  ])('after %i of 30000 ms gives %i of 110', (upForMs, weight, nextInMs) => {
    expect(rampWeight(110, 30_000, upForMs)).toEqual({ weight, nextInMs });
  });

  it.each<[string, number, number, number | null]>([
    ['it is not known since when it is up', 100, 30_000, null],
    ['there is no slow start', 100, 0, 0],
    ['its weight has no parts', 1, 30_000, 0],
    ['an operator wants no new connections', 0, 30_000, 0],
    ['the time lies further ahead than the ramp is long', 100, 30_000, -30_001],
  ])('is at once where %s', (_, full, durationMs, upForMs) => {
    expect(rampWeight(full, durationMs, upForMs)).toEqual({ weight: full, nextInMs: null });
  });

  it('begins with a clock that is ahead, and comes to its end', () => {
    expect(rampWeight(110, 30_000, -500)).toEqual({ weight: 10, nextInMs: 3500 });
  });

  it('never falls, never stands at 0, and needs few changes to the full weight', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 0x7fff_ffff }),
        fc.integer({ min: 1, max: 3_600_000 }),
        (full, durationMs) => {
          const weights: number[] = [];
          let at: number | null = 0;
          for (let i = 0; at !== null; i++) {
            expect(i).toBeLessThanOrEqual(RAMP_STEPS + 1);
            const { weight, nextInMs } = rampWeight(full, durationMs, at);
            weights.push(weight);
            at = nextInMs === null ? null : at + nextInMs;
          }
          expect(weights.toSorted((a, b) => a - b)).toEqual(weights);
          expect(weights[0]).toBeGreaterThan(0);
          expect(weights.at(-1)).toBe(full);
        },
      ),
    );
  });
});

describe('deriveUpSince', () => {
  it('is when more than half of the checkers had said so', () => {
    expect(deriveUpSince([300, 100, 200], 3)).toBe(200);
    expect(deriveUpSince([100], 1)).toBe(100);
    expect(deriveUpSince([100, 200], 2)).toBe(200);
  });

  it('is not known where fewer say so', () => {
    expect(deriveUpSince([], 1)).toBeNull();
    expect(deriveUpSince([100], 3)).toBeNull();
  });

  it('does not move when one checker is replaced by another', () => {
    expect(deriveUpSince([100, 200, 300], 3)).toBe(deriveUpSince([100, 200, 9000], 3));
  });
});
