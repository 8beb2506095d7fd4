/** How the JavaScript engine treats a process that does little, and the same for months. */
import { setFlagsFromString } from 'node:v8';

/**
 * Compiles every function the first time it runs, plainly and at once. V8 would interpret it until it had run often,
 * and most of what a handover runs has not: it is rare work that has to be done in milliseconds.
 *
 * How often something has to run to be optimised is V8's own affair. Lowered, what a handover did for the second time
 * was optimised in the middle of it, and given up again where it did one thing more: more processor time went to the
 * compiler's threads than to the handover, and on a busy machine the new holder came too late for its first rounds.
 */
export function tuneEngine(): void {
  setFlagsFromString('--always-sparkplug');
}
