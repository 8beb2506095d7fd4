/**
 * The arming of a process that leaves all to a new one: by a longer D than any document's, and only when the scope
 * record has told the others so.
 */
import { FREEZE_HOLD_MS } from '../../src/core/election/timing.ts';
import type { ScopeRecord } from '../../src/model/records.ts';

/** F of the longer D is this part of it at least. */
const ARMED_PART = 0.75;

export class LongArming {
  readonly #machine: string;
  readonly #now: () => number;
  readonly #holdMs: number;
  /** The process was told to leave all to a new one. */
  #isOrdered = false;
  /** By the scope record of this machine, as it is in the store. */
  #isRaised = false;
  #until = Number.NEGATIVE_INFINITY;

  /** `slowest`: a clock is so many times as slow as another at most. */
  constructor(about: {
    readonly machine: string;
    readonly now: () => number;
    readonly slowest: number;
  }) {
    this.#machine = about.machine;
    this.#now = about.now;
    this.#holdMs = FREEZE_HOLD_MS * about.slowest;
  }

  ordered(): void {
    this.#isOrdered = true;
  }

  /** Nothing arms any more until the next process does. */
  ended(): void {
    if (this.#isOrdered && this.#isRaised) this.#until = this.#now() + this.#holdMs;
    this.#isOrdered = false;
  }

  /** A new process has replaced it by a shorter one. */
  armed(timeoutMs: number): void {
    if (!this.#isOrdered && timeoutMs < ARMED_PART * FREEZE_HOLD_MS) this.#until = this.#now();
  }

  scopeWritten(scope: ScopeRecord | null): void {
    const wasRaised = this.#isRaised;
    const isOwn = scope?.machine === this.#machine;
    this.#isRaised = isOwn && scope.holdMs >= FREEZE_HOLD_MS;
    if (this.#isRaised) return;
    // D is shortened when nothing speaks by the longer one any more; another hand knows nothing of that.
    if (isOwn) this.#until = this.#now();
    else if (wasRaised && this.#isOrdered) this.#until = this.#now() + this.#holdMs;
  }

  /** So long the kernel may speak by it, if nothing arms it any more. */
  leftMs(): number {
    return this.#isOrdered && this.#isRaised ? this.#holdMs : this.#until - this.#now();
  }
}
