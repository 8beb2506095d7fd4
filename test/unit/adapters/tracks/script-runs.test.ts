import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProgramResult } from '../../../../src/adapters/programs/run-program.ts';
import { ScriptRuns } from '../../../../src/adapters/tracks/script-runs.ts';
import type { ScriptTarget } from '../../../../src/adapters/tracks/track-protocol.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

const target = (id: string, changes: Partial<ScriptTarget> = {}): ScriptTarget => ({
  id,
  kind: 'script',
  command: [`/bin/${id}`],
  intervalMs: 1000,
  timeoutMs: 1000,
  user: null,
  ...changes,
});

type Started = {
  readonly id: string;
  readonly at: number;
  isKilled: boolean;
  isOver: boolean;
  finish: (result: ProgramResult) => void;
  /** After this it is really gone; before it only told its result. */
  leave: () => void;
};

class Bench {
  readonly clock = new FakeClock();
  readonly started: Started[] = [];
  readonly seen: string[] = [];
  readonly runs: ScriptRuns;
  /** Timers that are set now come so much later than they should. */
  lagMs = 0;
  /** What each program does by itself; null: nothing. */
  course: { readonly ms: number; readonly result: ProgramResult } | null = {
    ms: 100,
    result: { kind: 'exited', code: 0, output: '' },
  };

  constructor(maxConcurrent = 16, seed = 1) {
    const random = new SeededRandom(seed);
    this.runs = new ScriptRuns(
      { maxConcurrent },
      {
        clock: {
          now: () => this.clock.now(),
          sleep: (ms, signal) => this.clock.sleep(ms, signal),
          schedule: (ms, action) => this.clock.schedule(ms + this.lagMs, action),
          wallMs: () => this.clock.wallMs(),
          wallTime: () => this.clock.wallTime(),
        },
        random: () => random.next(),
        start: ({ id }) => this.#start(id),
        seen: (id, sight) =>
          this.seen.push(
            sight.kind === 'script' ? `${id} ${sight.isPassing}: ${sight.detail}` : id,
          ),
      },
    );
  }

  #start(id: string) {
    let settle: (result: ProgramResult) => void = () => {};
    let leave = (): void => {};
    const result = new Promise<ProgramResult>((resolve) => {
      settle = resolve;
    });
    const gone = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const entry: Started = {
      id,
      at: this.clock.now(),
      isKilled: false,
      isOver: false,
      finish: settle,
      leave: () => {
        entry.isOver = true;
        leave();
      },
    };
    this.started.push(entry);
    const { course } = this;
    if (course !== null)
      this.clock.schedule(course.ms, () => {
        entry.finish(course.result);
        entry.leave();
      });
    const kill = (): void => {
      entry.isKilled = true;
      entry.finish({ kind: 'failed', message: 'ended by leasehold' });
    };
    return { result, gone, kill };
  }
}

describe('the rhythm', () => {
  it('is the interval, whatever the start was', async () => {
    const bench = new Bench();
    bench.runs.set([target('a')]);
    await bench.clock.advance(10_000);
    const times = bench.started.map(({ at }) => at);
    expect(times).toHaveLength(10);
    expect(times[0]).toBeLessThan(1000);
    for (const [n, at] of times.entries()) expect(at - (times[0] ?? 0)).toBeCloseTo(n * 1000, 6);
  });

  it('of many scripts does not begin at once', async () => {
    const bench = new Bench();
    bench.runs.set(Array.from({ length: 100 }, (_, n) => target(`s${n}`)));
    await bench.clock.advance(1_200);
    const first = bench.started.slice(0, 100).map(({ at }) => at);
    for (let from = 0; from < 1000; from += 100) {
      const count = first.filter((at) => at >= from && at < from + 100).length;
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThan(30);
    }
  });

  it('begins within a second, however long the interval is', async () => {
    const bench = new Bench();
    bench.runs.set([target('slow', { intervalMs: 3_600_000 })]);
    await bench.clock.advance(1_000);
    expect(bench.started).toHaveLength(1);
  });

  it('does not make up for turns that were missed', async () => {
    const bench = new Bench();
    bench.course = { ms: 0, result: { kind: 'exited', code: 0, output: '' } };
    bench.runs.set([target('a')]);
    // The second turn comes 3.5 s late: the machine stood still.
    bench.lagMs = 3_500;
    await bench.clock.advance(1_000);
    bench.lagMs = 0;
    await bench.clock.advance(6_000);
    const times = bench.started.map(({ at }) => Math.round(at - (bench.started[0]?.at ?? 0)));
    expect(times.slice(0, 4)).toEqual([0, 4500, 5000, 6000]);
  });
});

describe('a script that takes longer', () => {
  it('is not started twice; its turns are skipped', async () => {
    const bench = new Bench();
    bench.course = { ms: 2_500, result: { kind: 'exited', code: 0, output: '' } };
    bench.runs.set([target('a', { timeoutMs: 5_000 })]);
    await bench.clock.advance(9_990);
    const times = bench.started.map(({ at }) => Math.round(at - (bench.started[0]?.at ?? 0)));
    expect(times).toEqual([0, 3000, 6000, 9000]);
  });

  it('than its timeout, and that does not die, fails again in each interval', async () => {
    const bench = new Bench();
    bench.course = null;
    bench.runs.set([target('a')]);
    await bench.clock.advance(1_000);
    bench.started[0]?.finish({ kind: 'timed-out' });
    await bench.clock.advance(3_000);
    expect(bench.started).toHaveLength(1);
    const still = 'a false: no end within 1000 ms, and it is still there';
    expect(bench.seen).toEqual(['a false: no end within 1000 ms', still, still]);
    bench.started[0]?.leave();
    await bench.clock.advance(1_000);
    expect(bench.started).toHaveLength(2);
  });
});

describe('places', () => {
  it('are few, and given in order', async () => {
    const bench = new Bench(2);
    bench.course = { ms: 400, result: { kind: 'exited', code: 0, output: '' } };
    bench.runs.set(Array.from({ length: 6 }, (_, n) => target(`s${n}`, { intervalMs: 5_000 })));
    await bench.clock.advance(4_000);
    expect(bench.started).toHaveLength(6);
    for (const { at } of bench.started) {
      const together = bench.started.filter((other) => other.at <= at && other.at + 400 > at);
      expect(together.length).toBeLessThanOrEqual(2);
    }
  });

  it('are not given to what left while it waited', async () => {
    const bench = new Bench(1);
    bench.course = null;
    bench.runs.set([target('a'), target('b')]);
    await bench.clock.advance(1_000);
    const [first] = bench.started;
    bench.runs.set([target(first?.id ?? '')]);
    first?.finish({ kind: 'exited', code: 0, output: '' });
    first?.leave();
    await bench.clock.advance(3_000);
    expect(new Set(bench.started.map(({ id }) => id))).toEqual(new Set([first?.id]));
  });

  it('are given up by what cannot be killed', async () => {
    const bench = new Bench(1);
    bench.course = null;
    bench.runs.set([target('a'), target('b')]);
    await bench.clock.advance(1_000);
    expect(bench.started).toHaveLength(1);
    bench.started[0]?.finish({ kind: 'timed-out' });
    await bench.clock.advance(2_500);
    expect(new Set(bench.started.map(({ id }) => id)).size).toBe(2);
  });

  it('keep their bounds for any set of scripts', async () => {
    const course = fc.record({ ms: fc.integer({ min: 1, max: 3_000 }), count: fc.nat(12) });
    await fc.assert(
      fc.asyncProperty(
        course,
        fc.integer({ min: 1, max: 4 }),
        fc.nat(),
        async ({ ms, count }, places, seed) => {
          const bench = new Bench(places, seed);
          bench.course = { ms, result: { kind: 'exited', code: 0, output: '' } };
          bench.runs.set(Array.from({ length: count }, (_, n) => target(`s${n}`)));
          for (let step = 0; step < 40; step++) {
            await bench.clock.advance(200);
            const alive = bench.started.filter(({ isOver }) => !isOver);
            expect(alive.length).toBeLessThanOrEqual(places);
            expect(new Set(alive.map(({ id }) => id)).size).toBe(alive.length);
          }
          // Nobody starves.
          await bench.clock.advance(ms * count + 2_000);
          expect(new Set(bench.started.map(({ id }) => id)).size).toBe(count);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('a script that leaves', () => {
  it('is killed, and says nothing more', async () => {
    const bench = new Bench();
    bench.course = null;
    bench.runs.set([target('a')]);
    await bench.clock.advance(1_000);
    bench.runs.set([]);
    expect(bench.started[0]?.isKilled).toBe(true);
    await bench.clock.advance(10_000);
    expect([bench.started.length, bench.seen]).toEqual([1, []]);
    expect(bench.clock.pending).toBe(0);
  });

  it('and returns waits for its own remains', async () => {
    const bench = new Bench();
    bench.course = null;
    bench.runs.set([target('a')]);
    await bench.clock.advance(1_000);
    bench.runs.set([]);
    bench.runs.set([target('a')]);
    await bench.clock.advance(3_000);
    expect(bench.started).toHaveLength(1);
    bench.started[0]?.leave();
    await bench.clock.advance(1_000);
    expect(bench.started).toHaveLength(2);
  });

  it('is waited for at the end, but not for ever', async () => {
    const bench = new Bench();
    bench.course = null;
    bench.runs.set([target('a')]);
    await bench.clock.advance(1_000);
    const [program] = bench.started;
    let isClosed = false;
    const closing = bench.runs.close().then(() => {
      isClosed = true;
    });
    await bench.clock.advance(500);
    expect([isClosed, program?.isKilled]).toEqual([false, true]);
    program?.leave();
    await bench.clock.drain();
    expect(isClosed).toBe(true);
    await closing;
    await bench.clock.settle(new Bench().runs.close());
  });
});

describe('what a run is told as', () => {
  it.each([
    [{ kind: 'exited', code: 0, output: '' }, 'a true: exit code 0'],
    [{ kind: 'exited', code: 0, output: 'all fine\nreally\n' }, 'a true: exit code 0: all fine'],
    [
      { kind: 'exited', code: 2, output: '\n\n  no\u001b[31m \u0000answer ' },
      'a false: exit code 2: no [31m  answer',
    ],
    [
      { kind: 'exited', code: 1, output: 'x'.repeat(900) },
      `a false: exit code 1: ${'x'.repeat(200)}`,
    ],
    [{ kind: 'timed-out' }, 'a false: no end within 1000 ms'],
    [{ kind: 'failed', message: '/bin/a does not exist' }, 'a false: /bin/a does not exist'],
  ] as const)('%o', async (result, words) => {
    const bench = new Bench();
    bench.course = { ms: 1, result };
    bench.runs.set([target('a')]);
    await bench.clock.advance(1_001);
    expect(bench.seen[0]).toBe(words);
  });
});
