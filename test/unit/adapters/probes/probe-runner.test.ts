/** One worker's checks on virtual time: starts, deadlines, batches, stalls, and that it never spins. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { FromWorker, ProbeResult } from '../../../../src/adapters/probes/probe-protocol.ts';
import type { Outcome, RunningProbe } from '../../../../src/adapters/probes/probe.ts';
import { ProbeRunner, type RunnerWorld } from '../../../../src/adapters/probes/probe-runner.ts';
import { formatIp } from '../../../../src/model/address.ts';
import type { Check } from '../../../../src/model/cluster.ts';
import { checkId } from '../../../../src/model/ids.ts';

const UP: Outcome = { kind: 'up', detail: 'connected' };

function check(name: string, timing: { intervalMs?: number; timeoutMs?: number } = {}): Check {
  return {
    id: checkId(name),
    address: formatIp(Uint8Array.of(192, 0, 2, 1)),
    port: 80,
    spec: {
      kind: 'tcp',
      intervalMs: 1_000,
      timeoutMs: 400,
      rise: 1,
      fall: 1,
      port: null,
      ...timing,
    },
  };
}

type Started = {
  readonly check: Check;
  readonly at: number;
  readonly done: (outcome: Outcome) => void;
  isAborted: boolean;
};

/** Time moves by hand; one timer, as the runner promises. What a target does, the test says at its start. */
class World implements RunnerWorld {
  time = 0;
  timer: { readonly at: number; readonly action: () => void } | null = null;
  fired = 0;
  readonly started: Started[] = [];
  readonly posts: FromWorker[] = [];
  onStart: (started: Started) => void = () => {};

  readonly now = (): number => this.time;

  readonly setTimer = (ms: number, action: () => void): (() => void) => {
    expect(this.timer).toBeNull();
    expect(ms).toBeGreaterThanOrEqual(1);
    expect(Number.isInteger(ms)).toBe(true);
    const timer = { at: this.time + ms, action };
    this.timer = timer;
    return () => {
      if (this.timer === timer) this.timer = null;
    };
  };

  readonly probe = (of: Check, done: (outcome: Outcome) => void): RunningProbe => {
    const started: Started = { check: of, at: this.time, done, isAborted: false };
    this.started.push(started);
    this.onStart(started);
    const abort = (): void => {
      started.isAborted = true;
    };
    const expire = (): Outcome => {
      abort();
      const detail = `no answer within ${of.spec.timeoutMs} ms`;
      return { kind: 'down', reason: 'timeout-first-byte', detail };
    };
    return { abort, expire };
  };

  readonly post = (message: FromWorker): void => {
    this.posts.push(message);
  };

  get results(): readonly ProbeResult[] {
    return this.posts.flatMap((post) => post.results);
  }

  /** Fires timers until the time, each of them so late. */
  run(ms: number, lateMs = 0): void {
    const end = this.time + ms;
    while (this.timer !== null && this.timer.at <= end) {
      const { at, action } = this.timer;
      this.time = Math.max(this.time, at + lateMs);
      this.timer = null;
      this.fired++;
      action();
    }
    this.time = Math.max(this.time, end);
  }
}

let world: World;
let runner: ProbeRunner;
const set = (...checks: Check[]): void => runner.handle({ kind: 'set', checks });
beforeEach(() => {
  world = new World();
  runner = new ProbeRunner({ maxConcurrent: 512, seed: 1 }, world);
});

describe('deadlines', () => {
  test('a target that says nothing is cut at the deadline, and its late answer is ignored', () => {
    set(check('a'));
    world.run(1_600);
    const [first] = world.started;
    expect(first?.isAborted).toBe(true);
    const wanted = { check: 'a', isUp: false, detail: 'no answer within 400 ms' };
    expect(world.results[0]).toMatchObject(wanted);
    expect(world.results[0]?.latencyMs).toBeGreaterThanOrEqual(400);
    expect(world.results[0]?.latencyMs).toBeLessThan(402);
    const count = world.results.length;
    first?.done(UP);
    world.run(20);
    expect(world.results).toHaveLength(count);
  });

  test('an answer in time is reported with its latency and age, and its deadline is void', () => {
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    world.time += 30;
    world.started[0]?.done(UP);
    world.run(500);
    expect(world.started[0]?.isAborted).toBe(false);
    expect(world.results[0]).toEqual({
      check: 'a',
      isUp: true,
      detail: 'connected',
      latencyMs: 30,
      ageMs: 10,
      reason: null,
      weight: null,
    });
  });

  test('after a stall, answers that wait are heard before deadlines count', () => {
    set(check('answers'), check('hangs'));
    for (const name of ['answers', 'hangs']) runner.handle({ kind: 'soon', check: checkId(name) });
    for (let beats = 0; beats < 3; beats++) world.run(100);
    // The next beat would be the deadline.
    world.time += 160;
    const stalled = world.timer;
    world.timer = null;
    stalled?.action();
    // The event loop hands over what came meanwhile; the second turn must not cut either.
    world.started.find((each) => each.check.id === 'answers')?.done(UP);
    expect(world.started.every((each) => !each.isAborted)).toBe(true);
    world.run(20);
    const first = (name: string) => world.results.find((each) => each.check === name);
    expect(first('answers')).toMatchObject({ isUp: true });
    expect(first('hangs')).toMatchObject({ isUp: false });
  });

  test.each([{ afterMs: 1 }, { afterMs: 99 }, { afterMs: 399 }])(
    'a pause of the whole process $afterMs ms after the beginning counts for no deadline',
    ({ afterMs }) => {
      set(check('talks'), check('hangs'));
      for (const name of ['talks', 'hangs']) runner.handle({ kind: 'soon', check: checkId(name) });
      world.run(afterMs);
      world.time += 30_000;
      world.run(5);
      expect(world.started.map(({ isAborted }) => isAborted)).toEqual([false, false]);
      // It had said something before, and needs one more answer.
      world.started.find((each) => each.check.id === 'talks')?.done(UP);
      world.run(520);
      const first = (name: string) => world.results.find((each) => each.check === name);
      expect(first('talks')).toMatchObject({ isUp: true });
      expect(first('talks')?.latencyMs).toBeLessThan(500);
      expect(first('hangs')).toMatchObject({ isUp: false });
    },
  );

  test('an answer that is read counts for no deadline of one that waits to be read', () => {
    set(check('first'), check('second'));
    for (const name of ['first', 'second']) runner.handle({ kind: 'soon', check: checkId(name) });
    world.run(380);
    // Both answers have come; the event loop takes a while with what came before.
    world.time += 40;
    const done = (name: string) => world.started.find((each) => each.check.id === name)?.done(UP);
    done('first');
    done('second');
    world.run(20);
    expect(world.results.map(({ isUp }) => isUp)).toEqual([true, true]);
  });

  test.each([
    { lateMs: 3, says: true },
    { lateMs: 45, says: false },
    { lateMs: 150, says: false },
  ])('a thread that is $lateMs ms late all the time blames targets: $says', ({ lateMs, says }) => {
    set(...Array.from({ length: 200 }, (_, n) => check(`c${n}`)));
    world.run(10_000, lateMs);
    expect(world.results.some(({ isUp }) => !isUp)).toBe(says);
    const told = world.posts.some(({ localFailure }) => localFailure?.includes('too busy'));
    expect(told).toBe(!says);
  });

  test('what came to nothing because the thread was late is tried again soon, and each time later', () => {
    set(check('a', { intervalMs: 60_000 }));
    runner.handle({ kind: 'soon', check: checkId('a') });
    // Each beat late: never so much that it counts as a pause.
    world.run(10_000, 150);
    const starts = world.started.map(({ at }) => at);
    expect(world.results).toEqual([]);
    expect(starts).toHaveLength(5);
    const gaps = starts.slice(1).map((at, n) => at - (starts[n] ?? 0));
    for (const [n, gap] of gaps.entries()) {
      expect(gap).toBeGreaterThanOrEqual(400 + 400 * 2 ** n);
      expect(gap).toBeLessThan(400 + 400 * 2 ** n + 600);
    }
    world.onStart = ({ done }) => queueMicrotask(() => done(UP));
    runner.handle({ kind: 'soon', check: checkId('a') });
    return Promise.resolve().then(() => {
      world.run(1_000);
      expect(world.results).toMatchObject([{ isUp: true }]);
      // Nothing is left of it: the next comes with the interval.
      world.run(40_000);
      expect(world.started).toHaveLength(6);
    });
  });

  test('a thread that is late all the time probes no more than the rhythm says, but for the beginning', () => {
    set(check('a'));
    world.run(60_000, 150);
    expect(world.results).toEqual([]);
    expect(world.started.length).toBeGreaterThan(30);
    expect(world.started.length).toBeLessThan(65);
  });

  test('an answer that is the first thing heard after a pause is told at once', () => {
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    world.run(50);
    world.time += 30_000;
    world.started[0]?.done(UP);
    world.run(300);
    const [result] = world.results;
    expect(result).toMatchObject({ isUp: true });
    expect(result?.ageMs).toBeGreaterThanOrEqual(0);
    expect(result?.latencyMs).toBeLessThan(500);
  });

  test('after a pause, probes come as spread over time as before', () => {
    const timing = { intervalMs: 2_000 };
    set(...Array.from({ length: 200 }, (_, n) => check(`c${n}`, timing)));
    world.onStart = ({ done }) => queueMicrotask(() => done(UP));
    world.run(4_000);
    const before = world.started.length;
    world.time += 60_000;
    world.run(100);
    expect(world.started.length - before).toBeLessThan(40);
  });
});

describe('results', () => {
  test('have no words without end: a vote with such would be nobody’s', () => {
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    const detail = 'x'.repeat(5_000);
    world.started[0]?.done({ kind: 'down', reason: 'wrong-answer', detail });
    world.run(20);
    expect(world.results[0]?.detail).toBe(`${'x'.repeat(1_000)}…`);
  });

  test('those of a few milliseconds go together, and many go at once', () => {
    world.onStart = ({ done }) => queueMicrotask(() => done(UP));
    set(...Array.from({ length: 300 }, (_, n) => check(`c${n}`, { intervalMs: 60_000 })));
    for (let n = 0; n < 300; n++) runner.handle({ kind: 'soon', check: checkId(`c${n}`) });
    return Promise.resolve().then(() => {
      expect(world.posts.map((post) => post.results.length)).toEqual([256]);
      world.run(10);
      expect(world.posts.map((post) => post.results.length)).toEqual([256, 44]);
    });
  });

  test('what says the same again waits longer, and goes along with what may decide', () => {
    const soon = (): void => runner.handle({ kind: 'soon', check: checkId('a') });
    const posted = (): readonly number[] => world.posts.map((post) => post.results.length);
    let outcome: Outcome = { ...UP };
    world.onStart = ({ done }) => done(outcome);
    set(check('a'));
    soon();
    world.run(10);
    expect(posted()).toEqual([1]);
    soon();
    world.run(190);
    expect(posted()).toEqual([1]);
    world.run(10);
    expect(posted()).toEqual([1, 1]);
    soon();
    outcome = { kind: 'down', reason: 'refused', detail: 'refused' };
    soon();
    world.run(10);
    expect(posted()).toEqual([1, 1, 2]);
    expect(world.results.map(({ isUp, ageMs }) => [isUp, ageMs])).toEqual([
      [true, 10],
      [true, 200],
      [true, 10],
      [false, 10],
    ]);
  });

  test('a weight goes at once, also when the words are the same', () => {
    world.onStart = ({ done }) => done({ ...UP, weight: { kind: 'set', weight: 7 } });
    set(check('a'));
    for (const expected of [1, 2, 3]) {
      runner.handle({ kind: 'soon', check: checkId('a') });
      world.run(10);
      expect(world.posts).toHaveLength(expected);
    }
  });

  test("this machine's own failure says nothing of the target", () => {
    world.onStart = ({ done }) =>
      queueMicrotask(() => done({ kind: 'local', detail: 'no descriptors' }));
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    return Promise.resolve().then(() => {
      world.run(10);
      expect(world.posts).toEqual([
        {
          results: [],
          localFailure: 'tcp check of 192.0.2.1:80: no descriptors',
          unable: new Map([['a', 'no descriptors']]),
        },
      ]);
    });
  });

  test('a probe that cannot even start says nothing of the target, and why is told', () => {
    world.onStart = () => {
      throw new Error('bad path');
    };
    set(check('a'));
    world.run(1_100);
    expect(world.results).toEqual([]);
    expect(world.posts.at(-1)?.localFailure).toBe('tcp check of 192.0.2.1:80: bad path');
  });

  test('a check that is removed in the middle of its probe is aborted and silent', () => {
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    set();
    expect(world.started[0]?.isAborted).toBe(true);
    world.started[0]?.done(UP);
    world.run(5_000);
    expect(world.posts).toEqual([]);
  });
});

test('a thread that is told to stop ends its probes, begins none, and waits for nothing', () => {
  set(check('runs'), check('waits', { intervalMs: 60_000 }));
  runner.handle({ kind: 'soon', check: checkId('runs') });
  runner.handle({ kind: 'stop' });
  expect(world.started.map(({ isAborted }) => isAborted)).toEqual([true]);
  expect(world.timer).toBeNull();
  world.started[0]?.done(UP);
  world.run(120_000);
  expect(world.started).toHaveLength(1);
  expect(world.posts).toEqual([]);
});

test('a check that is made otherwise from now on keeps its rhythm', () => {
  world.onStart = (started) => {
    started.done(UP);
  };
  set(check('a'));
  world.run(5_000);
  const { length } = world.started;
  const other: Check = { ...check('a'), port: 81 };
  runner.handle({ kind: 'change', added: [other], numbers: [1], gone: [], maxConcurrent: 512 });
  world.run(5_000);
  expect(world.started.slice(0, length).every((one) => one.check.port === 80)).toBe(true);
  const later = world.started.slice(length);
  expect(later.every((one) => one.check === other)).toBe(true);
  expect(later.length).toBeGreaterThanOrEqual(4);
  expect(later.length).toBeLessThanOrEqual(6);
});

describe('never spins', () => {
  test('without checks there is no timer, before and after there were some', () => {
    set();
    expect(world.timer).toBeNull();
    set(check('a'));
    expect(world.timer).not.toBeNull();
    set();
    world.run(10_000);
    expect(world.timer).toBeNull();
  });

  test('hanging targets, more than slots: a few turns per probe', () => {
    runner = new ProbeRunner({ maxConcurrent: 10, seed: 1 }, world);
    set(...Array.from({ length: 100 }, (_, n) => check(`c${n}`)));
    world.run(60_000);
    expect(world.results.length).toBeGreaterThan(500);
    expect(world.fired).toBeLessThan(4 * world.started.length);
  });

  test('answering targets at times that are no whole milliseconds: a few turns per probe', () => {
    world.time = 12_345.678_901;
    world.onStart = (started) => {
      started.done(UP);
    };
    set(...Array.from({ length: 10 }, (_, n) => check(`c${n}`)));
    world.run(60_000);
    expect(world.started.length).toBeGreaterThan(550);
    expect(world.started.length).toBeLessThan(650);
    expect(world.fired).toBeLessThan(3 * world.started.length);
  });

  test('a stall of an hour gives one round of probes, not one for each missed', () => {
    set(...Array.from({ length: 5 }, (_, n) => check(`c${n}`)));
    world.time += 3_600_000;
    world.run(100);
    expect(world.started.length).toBeLessThanOrEqual(10);
  });
});
