import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  freshPace,
  spend,
  WEIGHTS_AT_ONCE,
  WEIGHTS_PER_S,
} from '../../../../src/core/health/weight-pace.ts';
import { monoMs } from '../../../../src/model/ids.ts';

describe('the pace of other weights', () => {
  it('grants a few at once, and never more than the rate in the long run', () => {
    const step = fc.record({ ms: fc.nat(5000), wanted: fc.nat(1000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        let pace = freshPace(monoMs(0));
        let [now, told] = [0, 0];
        for (const { ms, wanted } of steps) {
          now += ms;
          const { granted, pace: next } = spend(pace, monoMs(now), wanted);
          expect(granted).toBeLessThanOrEqual(wanted);
          told += granted;
          pace = next;
        }
        expect(told).toBeLessThanOrEqual(WEIGHTS_AT_ONCE + (now * WEIGHTS_PER_S) / 1000);
      }),
    );
  });

  it('saves fractions, and nothing beyond what may be told at once', () => {
    const spent = spend(freshPace(monoMs(0)), monoMs(0), 1000);
    expect(spent.granted).toBe(WEIGHTS_AT_ONCE);
    const half = spend(spent.pace, monoMs(500 / WEIGHTS_PER_S), 1);
    expect(half.granted).toBe(0);
    expect(spend(half.pace, monoMs(1000 / WEIGHTS_PER_S), 2).granted).toBe(1);
    expect(spend(spent.pace, monoMs(3_600_000), 1000).granted).toBe(WEIGHTS_AT_ONCE);
  });

  it('takes nothing for a clock that goes back', () => {
    const spent = spend(freshPace(monoMs(1000)), monoMs(1000), 1000);
    expect(spend(spent.pace, monoMs(0), 5).granted).toBe(0);
  });
});
