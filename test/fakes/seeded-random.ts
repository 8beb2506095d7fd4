/** A repeatable Random: the same seed gives the same sequence on every machine (splitmix32, public domain). */
import type { Random } from '../../src/ports/random.ts';

export class SeededRandom implements Random {
  #state: number;

  /** Any integer; only its low 32 bits count. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    return this.#word() / 2 ** 32;
  }

  hex(length: number): string {
    let text = '';
    for (let i = 0; i < length; i++) text += (this.#word() >>> 24).toString(16).padStart(2, '0');
    return text;
  }

  /** Uniform, low ≤ x < high. */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** An integer, low ≤ x ≤ high. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** An independent sequence; drawing from it does not disturb this one. */
  fork(): SeededRandom {
    return new SeededRandom(this.#word());
  }

  #word(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }
}
