/** The virtual clock: order, cancellation, derived clocks. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { FakeClock } from '../../fakes/fake-clock.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';

describe('FakeClock', () => {
  it('fires in the order of time, then of scheduling, whatever was cancelled', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ ms: fc.nat(20), cancel: fc.boolean() }), { maxLength: 60 }),
        async (timers) => {
          const clock = new FakeClock();
          const fired: number[] = [];
          const cancels = timers.map(({ ms }, i) => clock.schedule(ms, () => fired.push(i)));
          timers.forEach(({ cancel }, i) => cancel && cancels[i]?.());
          await clock.advance(20);
          const expected = timers
            .map(({ ms, cancel }, i) => ({ ms, cancel, i }))
            .filter(({ cancel }) => !cancel)
            .sort((a, b) => a.ms - b.ms || a.i - b.i)
            .map(({ i }) => i);
          expect(fired).toEqual(expected);
          expect(clock.pending).toBe(0);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('lets promise chains run between events and stops exactly at the target', async () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const loop = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await clock.sleep(10);
        seen.push(clock.now());
      }
    };
    const done = loop();
    await clock.advance(25);
    expect(seen).toEqual([10, 20]);
    expect(clock.now()).toBe(25);
    await clock.settle(done);
    expect(seen).toEqual([10, 20, 30]);
  });

  it('resolves a sleep at once when its signal aborts', async () => {
    const clock = new FakeClock();
    const abort = new AbortController();
    const sleeping = clock.sleep(1000, abort.signal);
    abort.abort();
    await sleeping;
    expect(clock.pending).toBe(0);
  });

  it('derives clocks that run at their own rate', async () => {
    const clock = new FakeClock();
    const fast = clock.derive({ rate: 1.1, offset: 500 });
    let firedAt = 0;
    fast.schedule(110, () => {
      firedAt = clock.now();
    });
    await clock.advance(200);
    expect(firedAt).toBeCloseTo(100, 6);
    expect(fast.now()).toBeCloseTo(720, 6);
  });

  it('says when a condition never came true', async () => {
    const clock = new FakeClock();
    expect(await clock.runUntil(() => false, 50)).toBe(false);
    expect(clock.now()).toBe(50);
    await expect(clock.settle(new Promise(() => {}), 10)).rejects.toThrow('not settled');
  });
});

describe('SeededRandom', () => {
  it('repeats for the same seed and stays within its bounds', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const a = new SeededRandom(seed);
        const b = new SeededRandom(seed);
        for (let i = 0; i < 20; i++) {
          const x = a.next();
          expect(x).toBe(b.next());
          expect(x >= 0 && x < 1).toBe(true);
        }
        expect(a.hex(5)).toMatch(/^[0-9a-f]{10}$/);
        const n = a.integer(3, 5);
        expect(n >= 3 && n <= 5).toBe(true);
      }),
    );
  });
});
