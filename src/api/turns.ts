/**
 * Work that takes long where a document is large, on the thread that also holds the VIPs: one piece at a time, with
 * rests in between, so that nobody who asks again and again keeps a round from its deadline.
 */
import { type Pace, runPaced, Slice } from '../lib/steps.ts';
import type { Clock } from '../ports/clock.ts';
import { problemError } from './problem.ts';

/** So many may wait; each is a request with its document in memory. */
export const WAITING_MAX = 16;
/** A rest is so many times as long as the work before it: three quarters of the time are for others. */
export const REST_FACTOR = 3;

export class Turns {
  readonly #clock: Pick<Clock, 'now' | 'sleep'>;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;
  #restUntil = -Infinity;

  constructor(clock: Pick<Clock, 'now' | 'sleep'>) {
    this.#clock = clock;
  }

  /** What `work` gives, or throws. Throws a `ProblemError` (503) where too many wait. */
  run<T>(work: () => T): Promise<T> {
    return this.#inTurn(() => Promise.resolve(this.#work(work)));
  }

  /** The same of what rests by itself. */
  runResting<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(work);
  }

  /** The same in pieces, with a rest after every few milliseconds. */
  runSteps<T>(make: () => Generator<undefined, T>): Promise<T> {
    return this.#inTurn(() => {
      const slice = new Slice(() => this.#clock.now());
      const pace: Pace = {
        isDue: () => slice.isOver(),
        rest: async () => {
          await this.#clock.sleep(REST_FACTOR * slice.workedMs());
          slice.begin();
        },
      };
      return runPaced(make(), pace);
    });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= WAITING_MAX)
      throw problemError(
        'overloaded',
        `${WAITING_MAX} cluster documents wait to be judged; try again`,
      );
    this.#waiting++;
    const before = this.#last;
    let end: () => void = () => {};
    this.#last = new Promise((resolve) => {
      end = resolve;
    });
    try {
      await before;
      const restMs = this.#restUntil - this.#clock.now();
      if (restMs > 0) await this.#clock.sleep(restMs);
      return await work();
    } finally {
      this.#waiting--;
      end();
    }
  }

  #work<T>(work: () => T): T {
    const begun = this.#clock.now();
    try {
      return work();
    } finally {
      const now = this.#clock.now();
      this.#restUntil = now + REST_FACTOR * (now - begun);
    }
  }
}
