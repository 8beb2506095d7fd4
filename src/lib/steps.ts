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

/** One for each piece of work: it begins now. */
export function createPace(clock: {
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}): Pace {
  let startedAt = clock.now();
  return {
    isDue: () => clock.now() - startedAt >= SLICE_MS,
    rest: async () => {
      await clock.sleep(0);
      startedAt = clock.now();
    },
  };
}
