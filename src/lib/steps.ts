/** Work that is done in pieces, so that what shares the thread has its turn between them. */

/** All of it in one go. */
export function runSteps<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
