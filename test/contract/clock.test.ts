/** The system's clock and randomness, where real time has to pass. */
import { describe, expect, it } from 'vitest';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';

describe('system clock', () => {
  const clock = createSystemClock();

  it('sleeps for its time, and not beyond an abort', async () => {
    const start = clock.now();
    await clock.sleep(30);
    expect(clock.now() - start).toBeGreaterThanOrEqual(30);
    const abort = new AbortController();
    const sleeping = clock.sleep(10_000, abort.signal);
    abort.abort();
    await sleeping;
    await clock.sleep(10_000, abort.signal);
    expect(clock.now() - start).toBeLessThan(9000);
  });

  it('does not run a cancelled action, nor a far one at once', async () => {
    let runs = 0;
    clock.schedule(5, () => runs++)();
    const cancelFar = clock.schedule(2 ** 40, () => runs++);
    await new Promise<void>((resolve) => {
      clock.schedule(20, resolve);
    });
    cancelFar();
    expect(runs).toBe(0);
  });

  it('is never early: what is due would be looked at twice', async () => {
    const early: number[] = [];
    for (let i = 0; i < 60; i++) {
      const ms = 0.2 + (i % 7) * 0.9;
      // A loop that turns for a while counts from when it began to.
      for (const from = clock.now(); clock.now() < from + (i % 3); );
      const dueAt = clock.now() + ms;
      await new Promise<void>((resolve) => {
        clock.schedule(ms, resolve);
      });
      if (clock.now() < dueAt) early.push(dueAt - clock.now());
    }
    expect(early).toEqual([]);
  });

  it('tells the wall time in two ways', () => {
    const before = clock.wallMs();
    const told = Date.parse(clock.wallTime());
    expect(told).toBeGreaterThanOrEqual(before - 1);
    expect(told).toBeLessThanOrEqual(clock.wallMs() + 1);
  });
});

describe('system random', () => {
  it('draws within its bounds', () => {
    const random = createSystemRandom();
    const draws = Array.from({ length: 1000 }, () => random.next());
    expect(draws.every((x) => x >= 0 && x < 1)).toBe(true);
    expect(new Set(draws).size).toBeGreaterThan(990);
    expect(random.hex(8)).toMatch(/^[0-9a-f]{16}$/);
    expect(random.hex(8)).not.toBe(random.hex(8));
  });
});
