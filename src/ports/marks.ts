/**
 * Kernel rules that give packets a firewall mark before IPVS sees them, in a table of their own. IPVS
 * compares all 32 bits of a mark (ip_vs_service_find), so the whole mark is set, of the listed packets only.
 */
import type { Result } from '../lib/result.ts';
import type { KernelError } from '../model/kernel.ts';
import type { MarkChange, MarkContents, MarkEntry } from '../model/marks.ts';

/** Tables of others are neither read nor touched. */
export interface MarkTable {
  /** Null: there is no table of ours. */
  observe(): Promise<Result<MarkContents | null, KernelError>>;
  /**
   * Makes the table anew with exactly these entries, which are apart from each other, in one batch. The
   * error names cause and remedy; the old table stays then. Linux shows the entries some microseconds
   * after the new table, so that packets between may go unmarked: for a table that is intact, `change`.
   */
  replace(entries: readonly MarkEntry[]): Promise<Result<void, KernelError>>;
  /** One batch in a table that is intact: whatever it does not name is there at every instant. */
  change(change: MarkChange): Promise<Result<void, KernelError>>;
  /** Nothing there is a success, also where the kernel knows no such tables at all. */
  remove(): Promise<Result<void, KernelError>>;
  /**
   * Gives a reason each time something about our table may have changed, our own changes too, until the
   * signal aborts. May give nothing where the kernel tells nothing: look at the table on a timer as well.
   */
  watch(signal: AbortSignal): AsyncIterable<string>;
  close(): void;
}
