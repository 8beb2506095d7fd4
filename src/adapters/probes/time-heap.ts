/** A binary heap of things that are due at a time: one timer can serve any number of them. */
export type Timed = { readonly at: number };

export class TimeHeap<T extends Timed> {
  readonly #entries: T[] = [];

  get size(): number {
    return this.#entries.length;
  }

  peek(): T | undefined {
    return this.#entries[0];
  }

  push(entry: T): void {
    const entries = this.#entries;
    let i = entries.length;
    entries.push(entry);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = entries[up];
      if (parent === undefined || parent.at <= entry.at) break;
      entries[i] = parent;
      i = up;
    }
    entries[i] = entry;
  }

  clear(): void {
    this.#entries.length = 0;
  }

  pop(): T | undefined {
    const entries = this.#entries;
    const first = entries[0];
    const last = entries.pop();
    if (last !== undefined && entries.length > 0) this.#sink(last);
    return first;
  }

  /** Puts the entry at the root and lets it sink to its place. */
  #sink(entry: T): void {
    const entries = this.#entries;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      let least = entries[child];
      const right = entries[child + 1];
      if (least !== undefined && right !== undefined && right.at < least.at) {
        least = right;
        child++;
      }
      if (least === undefined || entry.at <= least.at) break;
      entries[i] = least;
      i = child;
    }
    entries[i] = entry;
  }
}
