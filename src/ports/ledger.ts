/** Which IPVS services are ours: written before they are made, lost at a reboot as the kernel's table is. */
import type { Result } from '../lib/result.ts';

export interface Ledger {
  /** Service keys as `formatServiceKey` writes them; empty where there is no ledger yet. */
  load(): Promise<Result<ReadonlySet<string>, string>>;
  /** Atomic: the old or the new ledger is on disk, never half of one. */
  save(services: ReadonlySet<string>): Promise<Result<void, string>>;
}
