/** How the JavaScript engine treats a process that does little, and the same for months. */
import { setFlagsFromString } from 'node:v8';

/**
 * After how much running, in bytes of bytecode, a function is worth to be optimised. V8's own 66 KiB is meant for
 * processes that run all the time: a round takes a few thousand of them, and most of what runs ten times a second
 * would stay as it was compiled at first for many minutes, at several times the processor time.
 */
const OPTIMISE_AFTER_BYTES = 20_000;

/** To be called before the code is loaded that it is about. An engine without the flag says so and goes on. */
export function tuneEngine(): void {
  setFlagsFromString(`--interrupt-budget=${OPTIMISE_AFTER_BYTES}`);
}
