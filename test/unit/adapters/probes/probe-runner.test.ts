/** One worker's checks on virtual time: starts, deadlines, batches, stalls, and that it never spins. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { FromWorker, ProbeResult } from '../../../../src/adapters/probes/probe-protocol.ts';
import { ProbeRunner, type RunnerWorld } from '../../../../src/adapters/probes/probe-runner.ts';
import type { Outcome } from '../../../../src/adapters/probes/run-probe.ts';
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

  readonly probe = (of: Check, done: (outcome: Outcome) => void): (() => void) => {
    const started: Started = { check: of, at: this.time, done, isAborted: false };
    this.started.push(started);
    this.onStart(started);
    return () => {
      started.isAborted = true;
    };
  };

  readonly post = (message: FromWorker): void => {
    this.posts.push(message);
  };

  get results(): readonly ProbeResult[] {
    return this.posts.flatMap((post) => post.results);
  }

  /** Fires timers until the time. */
  run(ms: number): void {
    const end = this.time + ms;
    while (this.timer !== null && this.timer.at <= end) {
      const { at, action } = this.timer;
      this.time = Math.max(this.time, at);
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

describe('a set in parts', () => {
  const part = (isFirst: boolean, ...checks: Check[]): void =>
    runner.handle({ kind: 'part', checks, isFirst });
  const probed = (): string[] => [...new Set(world.started.map((one) => one.check.id))].toSorted();

  test('is the set when its last part has come, and not before', () => {
    set(check('old'));
    part(true, check('a'), check('b'));
    part(false, check('c'));
    world.run(3000);
    expect(probed()).toEqual(['old']);
    world.started.length = 0;
    runner.handle({ kind: 'set', checks: [check('d')], hasParts: true });
    world.run(3000);
    expect(probed()).toEqual(['a', 'b', 'c', 'd']);
  });

  test('is forgotten where another one comes before its end', () => {
    part(true, check('a'));
    set(check('b'));
    part(true, check('c'));
    part(true, check('d'));
    runner.handle({ kind: 'set', checks: [check('e')], hasParts: true });
    world.run(3000);
    expect(probed().filter((id) => id !== 'b')).toEqual(['d', 'e']);
  });
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
    });
  });

  test('after a stall, answers that wait are heard before deadlines count', () => {
    set(check('answers'), check('hangs'));
    for (const name of ['answers', 'hangs']) runner.handle({ kind: 'soon', check: checkId(name) });
    world.time += 5_000;
    world.timer?.action();
    // The event loop hands over what came meanwhile; the second turn must not cut either.
    world.started.find((each) => each.check.id === 'answers')?.done(UP);
    expect(world.started.every((each) => !each.isAborted)).toBe(true);
    const timer = world.timer;
    world.timer = null;
    world.time += 1;
    timer?.action();
    world.run(20);
    const first = (name: string) => world.results.find((each) => each.check === name);
    expect(first('answers')).toMatchObject({ isUp: true });
    expect(first('hangs')).toMatchObject({ isUp: false });
  });
});

describe('results', () => {
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

  test("this machine's own failure says nothing of the target", () => {
    world.onStart = ({ done }) =>
      queueMicrotask(() => done({ kind: 'local', detail: 'no descriptors' }));
    set(check('a'));
    runner.handle({ kind: 'soon', check: checkId('a') });
    return Promise.resolve().then(() => {
      world.run(10);
      expect(world.posts).toEqual([{ results: [], localFailure: 'no descriptors' }]);
    });
  });

  test('a probe that cannot even start is down, in words', () => {
    world.onStart = () => {
      throw new Error('bad path');
    };
    set(check('a'));
    world.run(1_100);
    expect(world.results[0]).toMatchObject({ check: 'a', isUp: false, detail: 'bad path' });
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
