/** The soonest moment ahead, as the smallest of them all tells it. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Wake } from '../../../../src/core/election/wake.ts';
import { monoMs } from '../../../../src/model/ids.ts';

it('is the soonest moment that lies ahead; never one that is due', () => {
  const moment = fc.oneof(fc.integer({ min: -5, max: 5 }), fc.constant(Infinity));
  fc.assert(
    fc.property(fc.integer({ min: -5, max: 5 }), fc.array(moment), (now, moments) => {
      const wake = new Wake(monoMs(now));
      for (const at of moments) wake.by(at);
      expect(wake.at).toBe(Math.min(Infinity, ...moments.filter((at) => at > now)));
    }),
  );
});
