/**
 * A hierarchical timing wheel (Varghese and Lauck, 1987): any number of things that are due at a time, served by
 * one timer. To set, move and take away one costs the same however many there are. What is due is told never
 * before its time, and as soon as the wheel is turned past the end of the tick in which that time lies.
 * Things are numbers from 0 on that the owner gives them; a thing is on the wheel at most once.
 */
import { assert } from '../../lib/assert.ts';

/** Slots of the first wheel, one tick each; those of the others, each a whole turn of the wheel below. */
const FINE_BITS = 8;
const COARSE_BITS = 6;
const LEVELS = 3;
const LEVEL_SHIFT = [0, FINE_BITS, FINE_BITS + COARSE_BITS] as const;
const SLOTS = [1 << FINE_BITS, 1 << COARSE_BITS, 1 << COARSE_BITS] as const;
/** Beyond it, in ticks, things wait in the last slot and are placed again when it comes. */
const HORIZON = 2 ** (FINE_BITS + COARSE_BITS * (LEVELS - 1));
/** Rings: one for each slot, and two more. */
const READY = SLOTS.reduce((sum, slots) => sum + slots, 0);
const DUE = READY + 1;
const RINGS = DUE + 1;
const CAPACITY_MIN = 64;

export class TimingWheel {
  readonly #tickMs: number;
  /**
   * Rings of places: the first ones are the rings' own, then one for each thing. The ring of ready things has what
   * was due when it was set, and waits for the next turn.
   */
  #next: Int32Array;
  #previous: Int32Array;
  /** At whose beginning a thing is due; -1: it is not set. */
  #ticks: Float64Array;
  /** Everything up to this tick has been told. */
  #current: number;
  #size = 0;

  /** `tickMs`: how late, at most, something is told by a wheel that is turned all the time. */
  constructor(tickMs: number, nowMs: number) {
    assert(tickMs > 0, 'a tick lasts');
    this.#tickMs = tickMs;
    this.#current = Math.floor(nowMs / tickMs);
    const places = Int32Array.from({ length: RINGS + CAPACITY_MIN }, (_, n) => n);
    this.#next = places;
    this.#previous = places.slice();
    this.#ticks = new Float64Array(CAPACITY_MIN).fill(-1);
  }

  get size(): number {
    return this.#size;
  }

  /** A thing that is set already moves. */
  set(thing: number, atMs: number): void {
    if (thing >= this.#ticks.length) this.#grow(thing + 1);
    if ((this.#ticks[thing] ?? -1) >= 0) this.#unlink(RINGS + thing);
    else this.#size++;
    // Before the clock began is now.
    const tick = Math.max(0, Math.ceil(atMs / this.#tickMs));
    this.#ticks[thing] = tick;
    this.#place(thing, tick);
  }

  cancel(thing: number): void {
    if ((this.#ticks[thing] ?? -1) < 0) return;
    this.#unlink(RINGS + thing);
    this.#ticks[thing] = -1;
    this.#size--;
  }

  /** Tells what is due by now. What becomes due by what `tell` sets waits for the next turn. */
  turn(nowMs: number, tell: (thing: number) => void): void {
    this.#take(READY, DUE);
    const target = Math.floor(nowMs / this.#tickMs);
    while (this.#current < target) {
      // Slots that hold nothing are passed over, however long nobody turned.
      this.#current = Math.min(target, this.#nextTick());
      this.#cascade();
      this.#take(slotOf(0, this.#current), DUE);
    }
    for (let place = this.#next[DUE] ?? DUE; place !== DUE; place = this.#next[DUE] ?? DUE) {
      this.cancel(place - RINGS);
      tell(place - RINGS);
    }
  }

  /** When a turn has something to do at the earliest; null: nothing is set. */
  nextAt(): number | null {
    if (this.#size === 0) return null;
    if (this.#next[READY] !== READY) return this.#current * this.#tickMs;
    return this.#nextTick() * this.#tickMs;
  }

  /** First tick after the current one at which a slot that holds something comes. */
  #nextTick(): number {
    let next = Infinity;
    for (let level = 0; level < LEVELS; level++) {
      const span = 2 ** (LEVEL_SHIFT[level] ?? 0);
      const turn = Math.floor(this.#current / span);
      const slots = SLOTS[level] ?? 0;
      for (let ahead = 1; ahead <= slots; ahead++) {
        const tick = (turn + ahead) * span;
        if (tick >= next) break;
        const slot = slotOf(level, turn + ahead);
        if (this.#next[slot] !== slot) next = tick;
      }
    }
    return next;
  }

  /** What waited in a coarse slot whose time begins moves to finer ones. */
  #cascade(): void {
    for (let level = LEVELS - 1; level > 0; level--) {
      const span = 2 ** (LEVEL_SHIFT[level] ?? 0);
      if (this.#current % span !== 0) continue;
      const slot = slotOf(level, this.#current / span);
      // Nothing of it comes back: all of it is due within the time of the slot.
      for (let place = this.#next[slot] ?? slot; place !== slot; ) {
        const following = this.#next[place] ?? slot;
        const tick = this.#ticks[place - RINGS] ?? 0;
        this.#unlink(place);
        if (tick <= this.#current) this.#append(DUE, place);
        else this.#place(place - RINGS, tick);
        place = following;
      }
    }
  }

  #place(thing: number, dueTick: number): void {
    const ahead = dueTick - this.#current;
    if (ahead <= 0) {
      this.#append(READY, RINGS + thing);
      return;
    }
    const tick = ahead < HORIZON ? dueTick : this.#current + HORIZON - 1;
    const level = ahead < SLOTS[0] ? 0 : ahead < SLOTS[0] * SLOTS[1] ? 1 : 2;
    this.#append(slotOf(level, Math.floor(tick / 2 ** LEVEL_SHIFT[level])), RINGS + thing);
  }

  #unlink(place: number): void {
    const [previous, next] = [this.#previous[place] ?? place, this.#next[place] ?? place];
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[place] = place;
    this.#previous[place] = place;
  }

  #append(ring: number, place: number): void {
    const last = this.#previous[ring] ?? ring;
    this.#next[last] = place;
    this.#previous[place] = last;
    this.#next[place] = ring;
    this.#previous[ring] = place;
  }

  /** Everything of one ring to the end of another. */
  #take(from: number, to: number): void {
    const first = this.#next[from] ?? from;
    if (first === from) return;
    const last = this.#previous[from] ?? from;
    const end = this.#previous[to] ?? to;
    this.#next[end] = first;
    this.#previous[first] = end;
    this.#next[last] = to;
    this.#previous[to] = last;
    this.#next[from] = from;
    this.#previous[from] = from;
  }

  #grow(least: number): void {
    const before = this.#ticks.length;
    const capacity = Math.max(least, 2 * before);
    const grown = (places: Int32Array): Int32Array => {
      const all = Int32Array.from({ length: RINGS + capacity }, (_, n) => n);
      all.set(places);
      return all;
    };
    this.#next = grown(this.#next);
    this.#previous = grown(this.#previous);
    const ticks = new Float64Array(capacity).fill(-1);
    ticks.set(this.#ticks);
    this.#ticks = ticks;
  }
}

/** The ring of a slot. */
function slotOf(level: number, number: number): number {
  let first = 0;
  for (let below = 0; below < level; below++) first += SLOTS[below] ?? 0;
  return first + (number % (SLOTS[level] ?? 1));
}
