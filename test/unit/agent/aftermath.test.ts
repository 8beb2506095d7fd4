/** What is told of a takeover comes after it, in order, a little at a time, and none of it is lost. */
import { describe, expect, it } from 'vitest';
import { Aftermath, ITEMS_PER_TURN } from '../../../src/agent/aftermath.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';

const NOW = { isToWait: false };
const LATER = { isToWait: true };
const numbers = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i);

function setUp() {
  const clock = new FakeClock();
  const done: number[] = [];
  const aftermath = new Aftermath<number>(clock, (item) => done.push(item));
  return { clock, done, aftermath };
}

describe('the aftermath', () => {
  it('of little is done at once', () => {
    const { clock, done, aftermath } = setUp();
    aftermath.add([1, 2], NOW);
    aftermath.add([3], LATER);
    expect(done).toEqual([1, 2, 3]);
    expect(clock.pending).toBe(0);
  });

  it('of much is done in turns, and what comes meanwhile stays behind it', async () => {
    const { clock, done, aftermath } = setUp();
    aftermath.add(numbers(0, 3 * ITEMS_PER_TURN), NOW);
    expect(done).toHaveLength(ITEMS_PER_TURN);
    aftermath.add([1000], NOW);
    expect(done).toHaveLength(ITEMS_PER_TURN);
    await clock.advance(10);
    expect(done).toEqual([...numbers(0, 3 * ITEMS_PER_TURN), 1000]);
    expect(clock.pending).toBe(0);
  });

  it('of much waits for a round, also in the midst of its turns', async () => {
    const { clock, done, aftermath } = setUp();
    aftermath.add(numbers(0, 2 * ITEMS_PER_TURN), NOW);
    aftermath.add([1000], LATER);
    await clock.advance(1000);
    expect(done).toHaveLength(ITEMS_PER_TURN);
    aftermath.add([], NOW);
    await clock.advance(10);
    expect(done).toEqual([...numbers(0, 2 * ITEMS_PER_TURN), 1000]);
  });

  it('is finished at the end, whatever it waits for', () => {
    const { clock, done, aftermath } = setUp();
    aftermath.add(numbers(0, 2 * ITEMS_PER_TURN), LATER);
    aftermath.finish();
    expect(done).toEqual(numbers(0, 2 * ITEMS_PER_TURN));
    expect(clock.pending).toBe(0);
  });
});
