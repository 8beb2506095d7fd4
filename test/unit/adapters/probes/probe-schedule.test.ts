/** When checks are probed: rhythm, fairness between fast and hanging targets, bounds. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JITTER, ProbeSchedule, TICK_MS } from '../../../../src/adapters/probes/probe-schedule.ts';
import { type CheckId, checkId } from '../../../../src/model/ids.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

const INTERVAL_MS = 1_000;
const check = (name: string, intervalMs = INTERVAL_MS) => ({ id: checkId(name), intervalMs });
const many = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, n) => check(`${prefix}${n}`));

function schedule(maxConcurrent = 512, seed = 1): ProbeSchedule {
  const random = new SeededRandom(seed);
  return new ProbeSchedule(maxConcurrent, () => random.next());
}

/** Everything that is due until the time, each finished at once; returns when each was started. */
function runUntil(of: ProbeSchedule, end: number): { readonly id: CheckId; readonly at: number }[] {
  const starts: { id: CheckId; at: number }[] = [];
  for (let at = of.nextAt(); at !== null && at <= end; at = of.nextAt())
    for (const id of of.takeDue(at)) {
      starts.push({ id, at });
      of.finished(id, at, false);
    }
  return starts;
}

describe('rhythm', () => {
  test('new checks start spread over their interval', () => {
    const of = schedule();
    of.set(many('c', 1_000), 5_000);
    const firsts = runUntil(of, 5_000 + INTERVAL_MS * (1 - JITTER)).map(({ at }) => at - 5_000);
    for (let slot = 0; slot < 9; slot++) {
      const inSlot = firsts.filter((at) => at >= slot * 100 && at < (slot + 1) * 100).length;
      expect(inSlot).toBeGreaterThan(60);
      expect(inSlot).toBeLessThan(140);
    }
  });

  test('each gap lies within the jitter, and a late start does not shift the rhythm', () => {
    const of = schedule();
    of.set([check('a')], 0);
    const first = of.nextAt() ?? 0;
    // Started 300 ms late, ended 200 ms after that.
    expect(of.takeDue(first + 300)).toEqual(['a']);
    of.finished(checkId('a'), first + 500, false);
    const second = of.nextAt() ?? 0;
    expect(second - first).toBeGreaterThanOrEqual(INTERVAL_MS * (1 - JITTER) - TICK_MS);
    expect(second - first).toBeLessThanOrEqual(INTERVAL_MS * (1 + JITTER) + TICK_MS);
  });

  test('after a long stall there is one probe at once, not one for each that was missed', () => {
    const of = schedule();
    of.set([check('a')], 0);
    expect(of.takeDue(100_000)).toEqual(['a']);
    of.finished(checkId('a'), 100_000, false);
    expect(of.takeDue(100_000)).toEqual(['a']);
    of.finished(checkId('a'), 100_000, false);
    expect(of.takeDue(100_000)).toEqual([]);
    expect(of.nextAt()).toBeGreaterThan(100_000 + INTERVAL_MS * 0.8);
  });

  test('setting the same checks again changes nothing; a check that comes back starts anew', () => {
    const of = schedule();
    of.set([check('a'), check('b')], 0);
    const before = of.nextAt();
    for (let now = 0; now < 10; now++) of.set([check('a'), check('b')], now);
    expect(of.nextAt()).toBe(before);
    of.set([], 10);
    expect(of.takeDue(10_000)).toEqual([]);
    of.set([check('a')], 10_000);
    expect(of.takeDue(10_000 + INTERVAL_MS)).toEqual(['a']);
  });
});

describe('the first probe', () => {
  test('comes within the warmup, and at once where there is none', () => {
    const of = schedule();
    of.set(
      many('w', 200).map((each) => ({ ...each, intervalMs: 60_000, warmupMs: 3_000 })),
      0,
    );
    const firsts = runUntil(of, 3_000 + TICK_MS);
    expect(firsts).toHaveLength(200);
    expect(firsts.filter(({ at }) => at < 1_500).length).toBeGreaterThan(60);
    of.set([{ ...check('now', 60_000), warmupMs: 0 }], 10_000);
    expect(of.takeDue(10_000)).toEqual(['now']);
  });

  test('a rhythm without jitter is even', () => {
    const of = schedule();
    of.set([{ ...check('a'), jitter: 0 }], 0);
    const starts = runUntil(of, 20_000).map(({ at }) => at);
    const gaps = starts.slice(1).map((at, n) => at - (starts[n] ?? 0));
    expect(new Set(gaps)).toEqual(new Set([INTERVAL_MS]));
  });
});

describe('removal', () => {
  test('a running check that goes is named for abortion and frees its slot', () => {
    const of = schedule(1);
    of.set([check('a'), check('b')], 0);
    const [running] = of.takeDue(INTERVAL_MS);
    expect(of.running).toBe(1);
    expect(of.set([check('c')], INTERVAL_MS)).toEqual([running]);
    expect(of.running).toBe(0);
    expect(of.takeDue(3 * INTERVAL_MS)).toEqual(['c']);
  });

  test('the end of a probe of a removed check means nothing', () => {
    const of = schedule();
    of.set([check('a')], 0);
    of.takeDue(INTERVAL_MS);
    of.set([], INTERVAL_MS);
    of.finished(checkId('a'), INTERVAL_MS, false);
    expect(of.running).toBe(0);
    expect(of.takeDue(10 * INTERVAL_MS)).toEqual([]);
    expect(of.nextAt()).toBeNull();
  });
});

describe('soon', () => {
  test('a waiting check is due at once, once', () => {
    const of = schedule();
    of.set([check('a', 60_000)], 0);
    of.soon(checkId('a'), 5);
    of.soon(checkId('a'), 5);
    expect(of.takeDue(5)).toEqual(['a']);
    of.finished(checkId('a'), 6, false);
    expect(of.takeDue(30_000)).toEqual([]);
  });

  test('a running check is probed once more after it ends', () => {
    const of = schedule();
    of.set([check('a', 60_000)], 0);
    of.soon(checkId('a'), 1);
    of.takeDue(1);
    of.soon(checkId('a'), 2);
    expect(of.takeDue(3)).toEqual([]);
    of.finished(checkId('a'), 4, false);
    expect(of.takeDue(4)).toEqual(['a']);
    of.finished(checkId('a'), 5, false);
    expect(of.takeDue(5)).toEqual([]);
  });

  test('a delay brings the next probe nearer, and never puts it off', () => {
    const of = schedule();
    of.set([check('a', 60_000)], 0);
    of.soon(checkId('a'), 0, 500);
    expect(of.takeDue(499)).toEqual([]);
    expect(of.takeDue(500 + TICK_MS)).toEqual(['a']);
    of.soon(checkId('a'), 600, 300);
    of.soon(checkId('a'), 600, 100_000);
    of.finished(checkId('a'), 650, false);
    of.soon(checkId('a'), 650, 90_000);
    expect(of.takeDue(899)).toEqual([]);
    expect(of.takeDue(900 + TICK_MS)).toEqual(['a']);
    of.finished(checkId('a'), 1_000, false);
    expect(of.nextAt()).toBeGreaterThan(50_000);
  });

  test('an unknown check is ignored', () => {
    const of = schedule();
    of.soon(checkId('nobody'), 0);
    expect(of.nextAt()).toBeNull();
  });
});

describe('slots', () => {
  test('checks that ran into the deadline hold at most half of the slots', () => {
    const of = schedule(100);
    const hanging = many('h', 1_000);
    of.set(hanging, 0);
    let now = INTERVAL_MS;
    for (let round = 0; round < 40; round++) {
      for (const id of of.takeDue(now)) of.finished(id, now, true);
      now += 100;
    }
    expect(of.takeDue(now + INTERVAL_MS)).toHaveLength(50);
    // While these hang, an answering check and a new one find slots.
    of.set([...hanging, check('new')], now + INTERVAL_MS);
    expect(of.takeDue(now + 3 * INTERVAL_MS)).toEqual(['new']);
  });

  test('who answers goes before who is unknown, and both before who hangs', () => {
    const of = schedule(4);
    of.set([check('hangs'), check('answers')], 0);
    of.takeDue(INTERVAL_MS);
    of.finished(checkId('hangs'), INTERVAL_MS, true);
    of.finished(checkId('answers'), INTERVAL_MS, false);
    of.set([check('hangs'), check('answers'), check('new')], INTERVAL_MS);
    for (const name of ['hangs', 'new', 'answers']) of.soon(checkId(name), 2 * INTERVAL_MS);
    expect(of.takeDue(2 * INTERVAL_MS)).toEqual(['answers', 'new']);
    of.finished(checkId('answers'), 2 * INTERVAL_MS, false);
    expect(of.takeDue(2 * INTERVAL_MS + 1)).toEqual(['hangs']);
  });

  test('one slot is enough for all to have their turn', () => {
    const of = schedule(1);
    of.set(many('c', 5), 0);
    const seen = new Set<CheckId>();
    for (let now = INTERVAL_MS; seen.size < 5 && now < 2 * INTERVAL_MS; now++)
      for (const id of of.takeDue(now)) {
        seen.add(id);
        of.finished(id, now, true);
      }
    expect(seen.size).toBe(5);
  });
});

test('whatever happens, no check runs twice at once, slots are kept, and waiting alarms are real', () => {
  const names = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const command = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), names: fc.uniqueArray(names) }),
    fc.record({ kind: fc.constant('soon' as const), name: names }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 1_500 }) }),
    fc.record({ kind: fc.constant('end' as const), isLate: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 100 }), fc.integer(), (commands, seed) => {
      const of = schedule(3, seed);
      const running = new Set<CheckId>();
      let now = 0;
      for (const each of commands) {
        if (each.kind === 'set')
          for (const id of of.set(
            each.names.map((name) => check(name)),
            now,
          ))
            expect(running.delete(id)).toBe(true);
        else if (each.kind === 'soon') of.soon(checkId(each.name), now);
        else if (each.kind === 'wait') now += each.ms;
        else
          for (const id of [...running].slice(0, 1)) {
            running.delete(id);
            of.finished(id, now, each.isLate);
          }
        for (const id of of.takeDue(now)) {
          expect(running.has(id)).toBe(false);
          running.add(id);
        }
        expect(of.running).toBe(running.size);
        expect(running.size).toBeLessThanOrEqual(3);
        // An alarm in the past would make its timer spin.
        expect(of.nextAt() ?? Infinity).toBeGreaterThan(now);
      }
    }),
  );
});
