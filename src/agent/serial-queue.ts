/** Work that must not overlap, one piece after the other in the order of its arrival. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** What one piece throws is its caller's; the next piece runs all the same. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }
}
