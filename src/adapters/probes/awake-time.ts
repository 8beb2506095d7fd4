/**
 * The time for which a thread is awake. While its process is stopped or frozen, or its machine paused, targets cannot
 * be heard: that time counts for no deadline, and what fell due within it does not come all at once.
 */

/** Who comes so much too late was not just kept waiting by other work. */
export const PAUSE_MS = 400;

export class AwakeTime {
  readonly #real: () => number;
  #lostMs = 0;

  /** `real`: monotonic milliseconds. */
  constructor(real: () => number) {
    this.#real = real;
  }

  now(): number {
    return this.#real() - this.#lostMs;
  }

  /**
   * The thread slept, or worked, from `since` on, and meant to be here after `meantMs`. After a pause it is `since`
   * again; true then.
   */
  resume(since: number, meantMs: number): boolean {
    const passedMs = this.now() - since;
    if (passedMs - meantMs <= PAUSE_MS) return false;
    this.#lostMs += passedMs;
    return true;
  }
}
