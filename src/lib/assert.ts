/** Assertions stay on in production: a broken invariant ends the process, and the kernel's gate shuts. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** A bug in leasehold itself, never bad input or a bad day. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Closes a switch over a union: the compiler proves that no case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
