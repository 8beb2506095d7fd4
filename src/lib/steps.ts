/** Work that is done in pieces, so that what shares the thread has its turn between them. */

/** When the others want their turn, and how they get it. */
export type Pace = {
  /** The work has gone on for long enough since its last rest. */
  readonly isDue: () => boolean;
  /** Resolves when the others had their turn. */
  readonly rest: () => Promise<void>;
};

/** All of it in one go. */
export function runSteps<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** With a rest whenever one is due: a step should take far less time than the others may wait. */
export async function runPaced<T>(steps: Generator<undefined, T>, pace: Pace): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    // oxlint-disable-next-line no-await-in-loop -- this is the rest
    if (pace.isDue()) await pace.rest();
  }
}

/** So long may work hold the thread: what holding needs comes every few milliseconds. */
const SLICE_MS = 4;
/** Steps that take less on average are done unseen, twice as many each time up to this number. */
const QUICK_MS = 0.02;
const UNSEEN_MAX = 15;

/**
 * Tells when work has gone on for a slice. It looks at the clock seldom where steps are short: there may be a
 * million of them, and some machines make a system call of each look.
 */
export class Slice {
  readonly #now: () => number;
  #beganAt: number;
  #lookedAt: number;
  #unseen = 0;
  #left = 0;

  /** It begins now. */
  constructor(now: () => number) {
    this.#now = now;
    this.#beganAt = this.#lookedAt = now();
  }

  /** After each step. */
  isOver(): boolean {
    if (this.#left > 0) {
      this.#left--;
      return false;
    }
    const now = this.#now();
    const isQuick = now - this.#lookedAt < QUICK_MS * (this.#unseen + 1);
    this.#lookedAt = now;
    this.#unseen = isQuick ? Math.min(2 * this.#unseen + 1, UNSEEN_MAX) : 0;
    this.#left = this.#unseen;
    return now - this.#beganAt >= SLICE_MS;
  }

  /** How long it has gone on. */
  workedMs(): number {
    return this.#now() - this.#beganAt;
  }

  begin(): void {
    this.#beganAt = this.#lookedAt = this.#now();
    this.#left = 0;
  }
}

/** One for each piece of work: it begins now. */
export function createPace(clock: {
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}): Pace {
  const slice = new Slice(() => clock.now());
  return {
    isDue: () => slice.isOver(),
    rest: async () => {
      await clock.sleep(0);
      slice.begin();
    },
  };
}
