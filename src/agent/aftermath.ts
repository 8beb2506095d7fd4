/**
 * Work that only tells of what was done. Little of it is done at once; much of it waits for as long as
 * a round is under way, and then takes turns with all else: a takeover of hundreds of groups must not
 * be held up by what is told of it.
 */
import type { Clock } from '../ports/clock.ts';

/** Done in one turn at most: about a millisecond. */
export const ITEMS_PER_TURN = 16;
/** Between two turns. */
const TURN_GAP_MS = 1;

export class Aftermath<T> {
  readonly #clock: Pick<Clock, 'schedule'>;
  readonly #work: (item: T) => void;
  #waiting: T[] = [];
  #cancelTimer: (() => void) | null = null;

  constructor(clock: Pick<Clock, 'schedule'>, work: (item: T) => void) {
    this.#clock = clock;
    this.#work = work;
  }

  /** Done in this order. What waits, waits until a call that says it need not. */
  add(items: readonly T[], { isToWait }: { readonly isToWait: boolean }): void {
    this.#waiting.push(...items);
    if (isToWait && this.#waiting.length > ITEMS_PER_TURN) this.#pause();
    else if (this.#cancelTimer === null) this.#turn();
  }

  /** All that waits, now. */
  finish(): void {
    this.#pause();
    for (const item of this.#take(this.#waiting.length)) this.#work(item);
  }

  #turn(): void {
    for (const item of this.#take(ITEMS_PER_TURN)) this.#work(item);
    if (this.#waiting.length === 0) return;
    this.#cancelTimer = this.#clock.schedule(TURN_GAP_MS, () => {
      this.#cancelTimer = null;
      this.#turn();
    });
  }

  #pause(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  #take(count: number): readonly T[] {
    return this.#waiting.splice(0, count);
  }
}
