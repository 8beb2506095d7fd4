/**
 * Virtual time: a heap of (time, sequence number, action). Nothing happens unless somebody advances it,
 * and everything happens in one order that depends on nothing but the calls made.
 * Derived clocks read the same time line with their own rate and offset, as another machine would.
 */
import { monoMs, type MonoMs } from '../../src/model/ids.ts';
import type { Clock } from '../../src/ports/clock.ts';

/** Wall time at virtual time 0: 2026-01-01T00:00:00.000Z. */
const WALL_START_MS = 1_767_225_600_000;
/** So many drains use the tick queue before one gives a whole turn to the process around the simulation. */
const DRAINS_PER_TURN = 1024;

type Entry = {
  readonly at: number;
  readonly seq: number;
  readonly action: () => void;
  isCancelled: boolean;
};

export class FakeClock implements Clock {
  readonly #heap: Entry[] = [];
  #now = 0;
  #seq = 0;
  #fired = 0;
  #drains = 0;

  now(): MonoMs {
    return monoMs(this.#now);
  }

  wallMs(): number {
    return Math.floor(WALL_START_MS + this.#now);
  }

  wallTime(): string {
    return new Date(this.wallMs()).toISOString();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }

  schedule(ms: number, action: () => void): () => void {
    const entry: Entry = {
      at: this.#now + Math.max(ms, 0),
      seq: this.#seq++,
      action,
      isCancelled: false,
    };
    push(this.#heap, entry);
    return () => {
      entry.isCancelled = true;
    };
  }

  /** Events run since the start; a bound for tests that could spin. */
  get fired(): number {
    return this.#fired;
  }

  /** Timers waiting now; 0 after everything was closed. */
  get pending(): number {
    return this.#heap.filter((entry) => !entry.isCancelled).length;
  }

  /**
   * Another machine's clock: it shows `offset + rate × time` and its timers run at its own rate.
   * `rate` above 1 is a fast clock.
   */
  derive({ rate = 1, offset = 0 }: { rate?: number; offset?: number } = {}): Clock {
    return new DerivedClock(this, rate, offset);
  }

  /** Runs everything due within the next `ms`, in order, and ends exactly there. */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms;
    await this.drain();
    while (await this.#fireNext(target));
    this.#now = target;
    await this.drain();
  }

  /**
   * Runs event by event until `condition` is true (checked before each) or `limitMs` have passed.
   * Returns whether the condition came true.
   */
  async runUntil(condition: () => boolean, limitMs: number): Promise<boolean> {
    const target = this.#now + limitMs;
    await this.drain();
    while (!condition()) {
      if (!(await this.#fireNext(target))) {
        this.#now = target;
        await this.drain();
        return condition();
      }
    }
    return true;
  }

  /** Advances until the promise settles, at most `limitMs`; throws when it does not. */
  async settle<T>(promise: Promise<T>, limitMs = 3_600_000): Promise<T> {
    let isSettled = false;
    const mark = (): void => {
      isSettled = true;
    };
    promise.then(mark, mark);
    if (!(await this.runUntil(() => isSettled, limitMs)))
      throw new Error(`not settled within ${limitMs} ms of virtual time`);
    return promise;
  }

  /**
   * Lets promise chains run without moving time. Node runs the tick queue only when no microtask is
   * left, so one tick sees the end of every chain, at a fraction of a turn of the event loop.
   */
  drain(): Promise<void> {
    this.#drains = (this.#drains + 1) % DRAINS_PER_TURN;
    if (this.#drains === 0) return new Promise((resolve) => setImmediate(resolve));
    return new Promise((resolve) => process.nextTick(resolve));
  }

  async #fireNext(target: number): Promise<boolean> {
    let entry = this.#heap[0];
    while (entry?.isCancelled) {
      pop(this.#heap);
      entry = this.#heap[0];
    }
    if (entry === undefined || entry.at > target) return false;
    pop(this.#heap);
    this.#now = entry.at;
    this.#fired++;
    entry.action();
    await this.drain();
    return true;
  }
}

class DerivedClock implements Clock {
  readonly #base: FakeClock;
  readonly #rate: number;
  readonly #offset: number;

  constructor(base: FakeClock, rate: number, offset: number) {
    this.#base = base;
    this.#rate = rate;
    this.#offset = offset;
  }

  now(): MonoMs {
    return monoMs(this.#offset + this.#base.now() * this.#rate);
  }

  wallMs(): number {
    return Math.floor(WALL_START_MS + this.now());
  }

  wallTime(): string {
    return new Date(this.wallMs()).toISOString();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }

  schedule(ms: number, action: () => void): () => void {
    return this.#base.schedule(ms / this.#rate, action);
  }
}

function sleepOn(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = (): void => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.schedule(ms, finish);
    signal?.addEventListener('abort', finish);
  });
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.seq < b.seq);
}

function push(heap: Entry[], entry: Entry): void {
  let i = heap.length;
  heap.push(entry);
  while (i > 0) {
    const up = (i - 1) >> 1;
    const parent = heap[up];
    if (parent === undefined || !isBefore(entry, parent)) break;
    heap[i] = parent;
    i = up;
  }
  heap[i] = entry;
}

function pop(heap: Entry[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    let least = heap[child];
    const right = heap[child + 1];
    if (least !== undefined && right !== undefined && isBefore(right, least)) {
      least = right;
      child++;
    }
    if (least === undefined || !isBefore(least, last)) break;
    heap[i] = least;
    i = child;
  }
  heap[i] = last;
}
