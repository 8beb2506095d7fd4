/** The timing wheel against a plain list: nothing early, nothing late by more than a tick, nothing lost. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TimingWheel } from '../../../../src/adapters/probes/timing-wheel.ts';

const TICK_MS = 8;

/** Turns the wheel whenever it asks for it, until the time; tells what came and when. */
function runUntil(wheel: TimingWheel, endMs: number): { thing: number; at: number }[] {
  const told: { thing: number; at: number }[] = [];
  for (let at = wheel.nextAt(); at !== null && at <= endMs; at = wheel.nextAt()) {
    const now = at;
    wheel.turn(now, (thing) => told.push({ thing, at: now }));
  }
  return told;
}

describe('a timing wheel', () => {
  test('tells from milliseconds to weeks never early and at most a tick late', () => {
    const wheel = new TimingWheel(TICK_MS, 12_345.6);
    const delays = [0, 0.1, 7, 8, 9, 2_040, 2_048, 2_056, 131_000, 131_072, 131_080, 8e6, 9e6, 2e9];
    for (const [thing, delay] of delays.entries()) wheel.set(thing, 12_345.6 + delay);
    const told = runUntil(wheel, 3e9);
    expect(told.map(({ thing }) => thing)).toEqual([...delays.keys()]);
    for (const { thing, at } of told) {
      const lateMs = at - (12_345.6 + (delays[thing] ?? 0));
      if (thing > 0) expect(lateMs).toBeGreaterThanOrEqual(0);
      expect(lateMs).toBeLessThan(TICK_MS);
    }
    expect(wheel.size).toBe(0);
    expect(wheel.nextAt()).toBeNull();
  });

  test('has nothing to tell of what was cancelled or moved away', () => {
    const wheel = new TimingWheel(TICK_MS, 0);
    const [gone, moved] = [3, 500];
    wheel.set(gone, 100);
    wheel.set(moved, 100);
    wheel.set(moved, 5_000);
    wheel.cancel(gone);
    wheel.cancel(gone);
    expect(wheel.size).toBe(1);
    expect(runUntil(wheel, 4_999)).toEqual([]);
    expect(runUntil(wheel, 6_000)).toEqual([{ thing: 500, at: 5_000 }]);
  });

  test('what is set while it tells waits for the next turn, even if it is due', () => {
    const wheel = new TimingWheel(TICK_MS, 0);
    let count = 0;
    wheel.set(7, 10);
    const tell = (): void => {
      count++;
      wheel.set(7, 0);
    };
    wheel.turn(1_000, tell);
    wheel.turn(1_000, tell);
    expect(count).toBe(2);
  });

  test('an hour without a turn costs one turn', () => {
    const wheel = new TimingWheel(TICK_MS, 0);
    for (let n = 0; n < 1_000; n++) wheel.set(n, n * 3_600);
    const told = new Set<number>();
    wheel.turn(3_600_000, (thing) => told.add(thing));
    expect(told.size).toBe(1_000);
  });

  test('agrees with a list, whatever is set, cancelled and turned', () => {
    const name = fc.integer({ min: 0, max: 9 });
    const command = fc.oneof(
      fc.record({
        kind: fc.constant('set' as const),
        name,
        ms: fc.oneof(
          fc.integer({ min: -50, max: 300 }),
          fc.integer({ min: 0, max: 300_000 }),
          fc.integer({ min: 0, max: 50_000_000 }),
        ),
      }),
      fc.record({ kind: fc.constant('cancel' as const), name }),
      fc.record({
        kind: fc.constant('turn' as const),
        ms: fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 400_000 })),
      }),
    );
    const start = fc.double({ min: 0, max: 1e7, noNaN: true });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), start, (commands, startMs) => {
        const wheel = new TimingWheel(TICK_MS, startMs);
        const model = new Map<number, number>();
        let now = startMs;
        for (const each of commands) {
          if (each.kind === 'turn') {
            now += each.ms;
            const told: number[] = [];
            wheel.turn(now, (value) => told.push(value));
            for (const value of told) {
              expect(model.get(value) ?? Infinity).toBeLessThanOrEqual(now);
              model.delete(value);
            }
            for (const at of model.values()) expect(at).toBeGreaterThan(now - TICK_MS);
          } else {
            if (each.kind === 'set') {
              wheel.set(each.name, now + each.ms);
              model.set(each.name, Math.max(0, now + each.ms));
            } else {
              wheel.cancel(each.name);
              model.delete(each.name);
            }
          }
          expect(wheel.size).toBe(model.size);
          const next = wheel.nextAt();
          const earliest = Math.min(...model.values());
          // It may ask for a turn that only moves things to a finer wheel, but never for one too late.
          expect(next === null).toBe(model.size === 0);
          expect(next ?? 0).toBeLessThanOrEqual(Math.max(earliest, now) + TICK_MS);
        }
      }),
    );
  });
});
