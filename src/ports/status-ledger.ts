/** What the cluster last knew of each check, kept on this machine for a start after which nobody has a vote left. */
import type { Result } from '../lib/result.ts';
import type { CheckId } from '../model/ids.ts';

/** True: up. */
export type KnownStatuses = ReadonlyMap<CheckId, boolean>;

export interface StatusLedger {
  /** Empty where there is none yet. The error is a sentence. */
  load(): Promise<Result<KnownStatuses, string>>;
  /** Atomic: the old or the new one is on disk. */
  save(statuses: KnownStatuses): Promise<Result<void, string>>;
}
