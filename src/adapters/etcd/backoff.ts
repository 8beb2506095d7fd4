/** Growing pauses with jitter between tries: half to all of `first × 2^n`, at most `limitMs`. */
import type { Random } from '../../ports/random.ts';

export class Backoff {
  readonly #firstMs: number;
  readonly #limitMs: number;
  readonly #random: Random;
  #nextMs: number;

  constructor(firstMs: number, limitMs: number, random: Random) {
    this.#firstMs = firstMs;
    this.#limitMs = limitMs;
    this.#random = random;
    this.#nextMs = firstMs;
  }

  nextMs(): number {
    const ms = this.#nextMs;
    this.#nextMs = Math.min(2 * ms, this.#limitMs);
    return ms * (0.5 + 0.5 * this.#random.next());
  }

  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}
