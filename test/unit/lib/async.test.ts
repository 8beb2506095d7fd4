/** Wake-ups and queues: nothing is lost that must not be, nothing waits that need not. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AsyncQueue, Wakeup } from '../../../src/lib/async.ts';

/** Lets everything run that is ready to run. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function allOf<T>(queue: AsyncQueue<T>): Promise<readonly T[]> {
  const entries: T[] = [];
  for await (const entry of queue) entries.push(entry);
  return entries;
}

describe('a wake-up', () => {
  it('before the wait lets it return at once, and counts once', async () => {
    const wakeup = new Wakeup();
    wakeup.wake();
    wakeup.wake();
    await wakeup.wait();
    let woken = false;
    const second = wakeup.wait().then(() => {
      woken = true;
    });
    await settle();
    expect(woken).toBe(false);
    wakeup.wake();
    await second;
    expect(woken).toBe(true);
  });

  it('while somebody waits wakes him, and is used up', async () => {
    const wakeup = new Wakeup();
    let turns = 0;
    const loop = (async () => {
      while (turns < 2) {
        await wakeup.wait();
        turns++;
      }
    })();
    await settle();
    expect(turns).toBe(0);
    wakeup.wake();
    await settle();
    expect(turns).toBe(1);
    wakeup.wake();
    await loop;
    expect(turns).toBe(2);
  });
});

describe('a queue', () => {
  it('gives what was pushed, in order, to its end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer(), { maxLength: 50 }), async (entries) => {
        const queue = new AsyncQueue<number>(50);
        for (const entry of entries) queue.push(entry);
        queue.end();
        expect(await allOf(queue)).toEqual(entries);
        expect(queue.dropped).toBe(0);
      }),
    );
  });

  it('at its limit drops the oldest, and counts them', async () => {
    const queue = new AsyncQueue<number>(3);
    for (const entry of [1, 2, 3, 4, 5]) queue.push(entry);
    queue.end();
    queue.push(6);
    expect(await allOf(queue)).toEqual([3, 4, 5]);
    expect(queue.dropped).toBe(2);
  });

  it('gives an entry as soon as it is there to somebody who waits already', async () => {
    const queue = new AsyncQueue<string>(10);
    const seen: string[] = [];
    const consumer = (async () => {
      for await (const entry of queue) seen.push(entry);
    })();
    await settle();
    queue.push('a');
    await settle();
    expect(seen).toEqual(['a']);
    queue.push('b');
    queue.push('c');
    queue.end();
    await consumer;
    expect(seen).toEqual(['a', 'b', 'c']);
  });
});
