/** Why this machine cannot make some of its probes: for people, who would find no vote and no reason for that. */

/** What happens but once, or for less than this, costs nobody a vote. */
const TOLD_AFTER_MS = 10_000;
/** It is over when nothing of the kind happened for so long. */
const LASTS_MS = 150_000;

export class OwnTrouble {
  #first: { readonly text: string; readonly at: number; saidAt: number } | null = null;
  #lastAt = -Infinity;

  note(text: string, now: number): void {
    this.#forget(now);
    const first = this.#first;
    // Mended, while others still fail: nobody shall look for it any more.
    if (first === null || now - first.saidAt > LASTS_MS)
      this.#first = { text, at: first?.at ?? now, saidAt: now };
    else if (first.text === text) first.saidAt = now;
    this.#lastAt = now;
  }

  /** The first of those that follow each other: what is told must not change with each of thousands. */
  tell(now: number): string | null {
    this.#forget(now);
    if (this.#first === null || this.#lastAt - this.#first.at < TOLD_AFTER_MS) return null;
    return this.#first.text;
  }

  #forget(now: number): void {
    if (now - this.#lastAt > LASTS_MS) this.#first = null;
  }
}
