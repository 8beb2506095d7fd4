/** The next moment at which time alone may change something. */
import { type MonoMs, monoMs } from '../../model/ids.ts';

/**
 * The soonest of many moments that lies ahead. What is due already was looked at in this very step: if
 * it could not be done, it waits for an answer, and the answer is an event.
 */
export class Wake {
  readonly #now: number;
  #soonest = Number.POSITIVE_INFINITY;

  constructor(now: MonoMs) {
    this.#now = now;
  }

  /** Infinity: nothing changes by time alone. */
  get at(): MonoMs {
    return monoMs(this.#soonest);
  }

  by(at: number): void {
    if (at > this.#now && at < this.#soonest) this.#soonest = at;
  }
}
