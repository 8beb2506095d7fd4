/** Locks between programs of this machine, which the kernel lets go of with their process. */
import type { Result } from '../lib/result.ts';

export type RunLock = { release(): void };

export type LockFailure =
  /** `pid`: who has it, as far as it says so. */
  | { readonly kind: 'taken'; readonly path: string; readonly pid: number | null }
  | { readonly kind: 'failed'; readonly message: string };

/** Taken at once or not; of a name there is one in a directory. */
export type TryRunLock = (name: string, directory: string) => Result<RunLock, LockFailure>;
