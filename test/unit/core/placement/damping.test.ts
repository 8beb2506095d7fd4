import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CALM,
  calmAt,
  type Damping,
  HALF_LIFE_MS,
  isFlapping,
  PENALTY_MAX,
  penaltyAt,
  recordFault,
} from '../../../../src/core/placement/damping.ts';
import { type MonoMs, monoMs } from '../../../../src/model/ids.ts';

const after = (...times: readonly number[]): Damping =>
  times.reduce((state, time) => recordFault(state, monoMs(time)), CALM);

/** Faults at growing times, the gaps up to two half-lives. */
const faults = fc
  .array(fc.integer({ min: 0, max: 2 * HALF_LIFE_MS }), { minLength: 1, maxLength: 20 })
  .map((gaps) => {
    let time = 0;
    return gaps.map((gap) => (time += gap));
  });

const last = (times: readonly number[]): MonoMs => monoMs(times.at(-1) ?? 0);

describe('flap damping', () => {
  it('lets two faults in short order pass', () => {
    expect(isFlapping(after(0, 1), monoMs(2))).toBe(false);
    expect(calmAt(after(0, 1))).toBeNull();
  });

  it('suppresses at the third fault in short order', () => {
    expect(isFlapping(after(0, 1000, 2000), monoMs(2000))).toBe(true);
    expect(isFlapping(after(0, 40_000, 80_000), monoMs(80_000))).toBe(true);
  });

  it('does not mind a fault a minute', () => {
    const minutes = Array.from({ length: 30 }, (_, i) => i * 60_000);
    expect(isFlapping(after(...minutes), last(minutes))).toBe(false);
  });

  it('lets the group be taken again after some 95 s of calm', () => {
    const state = after(0, 0, 0);
    expect(isFlapping(state, monoMs(95_000))).toBe(true);
    expect(isFlapping(state, monoMs(95_100))).toBe(false);
    expect(calmAt(state)).toBe(95_098);
  });

  it('stays suppressed by a fault that comes before it is calm, though one alone would not do it', () => {
    expect(isFlapping(after(0, 0, 0, 90_000), monoMs(90_000 + 60_000))).toBe(true);
    expect(isFlapping(after(0, 0, 0, 200_000), monoMs(200_000))).toBe(false);
  });

  it('ends exactly at calmAt, whatever happened', () => {
    fc.assert(
      fc.property(faults, (times) => {
        const state = after(...times);
        const calm = calmAt(state);
        if (calm === null) {
          expect(isFlapping(state, last(times))).toBe(false);
          return;
        }
        expect(isFlapping(state, calm)).toBe(false);
        if (calm > last(times)) expect(isFlapping(state, monoMs(calm - 1))).toBe(true);
        expect(penaltyAt(state, calm)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('lasts no longer than three half-lives after the last fault', () => {
    fc.assert(
      fc.property(faults, (times) => {
        const state = after(...times);
        expect(state.penalty).toBeLessThanOrEqual(PENALTY_MAX);
        expect(isFlapping(state, monoMs(last(times) + 3 * HALF_LIFE_MS))).toBe(false);
      }),
    );
  });

  it('never gets calmer by one more fault', () => {
    fc.assert(
      fc.property(faults, fc.nat(HALF_LIFE_MS), (times, wait) => {
        const state = after(...times);
        const now = monoMs(last(times) + wait);
        const more = recordFault(state, now);
        expect(penaltyAt(more, now)).toBeGreaterThanOrEqual(penaltyAt(state, now));
        if (isFlapping(state, now)) expect(isFlapping(more, now)).toBe(true);
      }),
    );
  });

  it('halves the penalty every minute, and does not grow it when time stands still', () => {
    fc.assert(
      fc.property(faults, fc.nat(10), (times, halfLives) => {
        const state = after(...times);
        const later = monoMs(last(times) + halfLives * HALF_LIFE_MS);
        expect(penaltyAt(state, later)).toBeCloseTo(state.penalty / 2 ** halfLives, 9);
        expect(penaltyAt(state, monoMs(last(times) - 5))).toBe(state.penalty);
      }),
    );
  });
});
