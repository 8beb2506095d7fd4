/** The machine that `leasehold realserver` prepares. */
import type { Result } from '../lib/result.ts';
import type { KernelError } from '../model/kernel.ts';
import type {
  HostFacts,
  HostLink,
  HostStep,
  SavedHost,
  SettingPath,
} from '../model/real-server-host.ts';

export interface RealServerHost {
  /** `settingsOf` says which settings to read, once the links are known. */
  observe(
    settingsOf: (links: readonly HostLink[]) => readonly SettingPath[],
  ): Promise<Result<HostFacts, KernelError>>;
  /** What is there already, or gone already, is a success. The error names cause and remedy. */
  apply(step: HostStep): Promise<Result<void, KernelError>>;
  close(): void;
}

/** What `up` changed, of this boot and this network namespace. */
export interface SavedHostStore {
  /** One writer at a time: waits for the others, a while; the error is a sentence. */
  lock(): Promise<Result<{ release(): void }, string>>;
  /** `NOTHING_SAVED` where there is nothing of this boot. */
  load(): Promise<Result<SavedHost, string>>;
  /** On disk, old or new and never half, when it resolves. */
  save(saved: SavedHost): Promise<Result<void, string>>;
}
