/** Work on large documents: one after the other, and never for long without a rest. */
import { expect, it } from 'vitest';
import { REST_FACTOR, Turns, WAITING_MAX } from '../../../src/api/turns.ts';
import { monoMs } from '../../../src/model/ids.ts';

/** Work takes so long; sleeps are noted and over at once. */
function setUp() {
  let now = 0;
  const sleeps: number[] = [];
  const turns = new Turns({
    now: () => monoMs(now),
    sleep: async (ms) => {
      sleeps.push(ms);
      now += ms;
    },
  });
  const work = (ms: number) =>
    turns.run(() => {
      now += ms;
      return now;
    });
  return { turns, work, sleeps };
}

it('rests three times as long as it works', async () => {
  const { work, sleeps } = setUp();
  await work(100);
  await work(0);
  await work(0);
  expect(sleeps).toEqual([REST_FACTOR * 100]);
});

it('does one piece after the other, also where one fails', async () => {
  const { turns, work, sleeps } = setUp();
  const failed = turns.run(() => {
    throw new Error('bad');
  });
  const second = work(10);
  const third = work(10);
  await expect(failed).rejects.toThrow('bad');
  expect(await second).toBe(10);
  expect(await third).toBe(20 + REST_FACTOR * 10);
  expect(sleeps).toEqual([REST_FACTOR * 10]);
});

it('does work in pieces with a rest after each few milliseconds of it, and nothing else meanwhile', async () => {
  let now = 0;
  const told: string[] = [];
  const turns = new Turns({
    now: () => monoMs(now),
    sleep: async (ms) => {
      told.push(`rest ${ms}`);
      now += ms;
    },
  });
  function* steps(name: string): Generator<undefined, string> {
    for (let piece = 1; piece <= 4; piece++) {
      now += 3;
      told.push(`${name} ${piece}`);
      yield;
    }
    return name;
  }
  const results = Promise.all(['a', 'b'].map((name) => turns.runSteps(() => steps(name))));
  expect(await results).toEqual(['a', 'b']);
  const rest = `rest ${REST_FACTOR * 6}`;
  const of = (name: string) => [`${name} 1`, `${name} 2`, rest, `${name} 3`, `${name} 4`, rest];
  expect(told).toEqual([...of('a'), ...of('b')]);
  const failed = turns.runSteps(() => {
    throw new Error('bad');
  });
  await expect(failed).rejects.toThrow('bad');
  expect(await turns.runSteps(() => steps('c'))).toBe('c');
});

it('lets no more wait than fit', async () => {
  const { work } = setUp();
  const waiting = Array.from({ length: WAITING_MAX }, () => work(1));
  await expect(work(1)).rejects.toMatchObject({ problem: { status: 503, code: 'overloaded' } });
  await Promise.all(waiting);
  await work(1);
});
