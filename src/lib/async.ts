/** Small tools for loops that wait: a wake-up flag and an unbounded-by-time, bounded-by-length queue. */

/** Many wake-ups before the next wait count once. */
export class Wakeup {
  #pending = false;
  #resolve: (() => void) | null = null;

  /** Wakes the waiter, or lets the next `wait` return at once. */
  wake(): void {
    this.#pending = true;
    this.#resolve?.();
  }

  /** Resolves at the next wake-up; the pending flag is consumed. One waiter at a time. */
  async wait(): Promise<void> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
      this.#resolve = null;
    }
    this.#pending = false;
  }
}

/** A queue with one consumer. At `limit` entries the oldest is dropped and counted. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #entries: T[] = [];
  readonly #limit: number;
  #dropped = 0;
  #ended = false;
  readonly #wakeup = new Wakeup();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get dropped(): number {
    return this.#dropped;
  }

  push(entry: T): void {
    if (this.#ended) return;
    if (this.#entries.length >= this.#limit) {
      this.#entries.shift();
      this.#dropped++;
    }
    this.#entries.push(entry);
    this.#wakeup.wake();
  }

  /** Ends the iteration after what is queued; later pushes are ignored. */
  end(): void {
    this.#ended = true;
    this.#wakeup.wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const entry = this.#entries.shift();
      if (entry !== undefined) {
        yield entry;
      } else if (this.#ended) {
        return;
      } else {
        await this.#wakeup.wait();
      }
    }
  }
}
