/** The kernel settings of a director's network namespace, and what is remembered of those that were changed. */
import type { Result } from '../lib/result.ts';

export interface Sysctls {
  /**
   * By dotted name, each with one space between its numbers; null: this kernel has none of that name
   * (`net.ipv4.vs.*` are there once ip_vs is). The error is a sentence.
   */
  read(names: readonly string[]): Promise<ReadonlyMap<string, Result<string | null, string>>>;
  /** The error is a sentence that names cause and remedy. */
  write(name: string, value: string): Promise<Result<void, string>>;
}

/** A setting that leasehold changed: what it was before, and what it was set to. */
export type ChangedSysctl = { readonly was: string; readonly set: string };

/** By dotted name. */
export type ChangedSysctls = ReadonlyMap<string, ChangedSysctl>;

/** Written before a setting is changed, lost at a reboot as the settings are. */
export interface SysctlLedger {
  /** Empty where there is none yet. */
  load(): Promise<Result<ChangedSysctls, string>>;
  /** Atomic: the old or the new one is on disk. */
  save(changed: ChangedSysctls): Promise<Result<void, string>>;
}
