/** Linux as leasehold needs it: links and addresses, and the IPVS table. All calls are idempotent. */
import type { Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type {
  BindRequest,
  BoundAddress,
  IpvsConnection,
  IpvsDaemon,
  IpvsOperation,
  IpvsTable,
  IpvsTimeouts,
  KernelError,
  KernelEvent,
  LinkState,
} from '../model/kernel.ts';

export interface NetworkKernel {
  links(): Promise<Result<readonly LinkState[], KernelError>>;
  addresses(): Promise<Result<readonly BoundAddress[], KernelError>>;
  /**
   * Binds or refreshes all, in one packed batch; the results are in the order of the requests.
   * An address already bound gets the new lifetime (label and flags stay).
   */
  bind(requests: readonly BindRequest[]): Promise<readonly Result<void, KernelError>[]>;
  /** An address that is not there is a success. */
  unbind(
    addresses: readonly {
      readonly linkIndex: number;
      readonly address: IpAddress;
      readonly prefix: number;
    }[],
  ): Promise<readonly Result<void, KernelError>[]>;
  /** Link and address notifications until the signal aborts; `resync` first, and after any loss. */
  watch(signal: AbortSignal): AsyncIterable<KernelEvent>;
  close(): void;
}

export type IpvsCapability =
  | {
      readonly available: true;
      readonly version: string;
      readonly detail: string;
      /** Hash buckets of the connection table; absent where nobody asked for it. */
      readonly tableSize?: number;
    }
  /** `detail` tells the cause and the remedy ("modprobe ip_vs", "needs CAP_NET_ADMIN"). */
  | { readonly available: false; readonly detail: string };

/** Services by `formatServiceKey` that are read in whole, whatever is known of them. */
export type Fresh = ReadonlySet<string> | 'all';

/** False: it has seen enough. */
export type ConnectionVisit = (
  connections: readonly IpvsConnection[],
) => boolean | Promise<boolean>;

/** How a reading of the connections went. */
export type ConnectionReading = {
  readonly connections: number;
  /** Lines that are no connection: a kernel that writes otherwise than we know. */
  readonly unreadable: number;
  /** False: the visitor or the signal ended it early. */
  readonly isWhole: boolean;
};

export interface IpvsKernel {
  /** Asks the kernel (and tries to load the module) each time it is called. */
  capability(): Promise<IpvsCapability>;
  /**
   * The table. Of a large one counts (connections, statistics), thresholds and kinds of tunnels may be up to
   * twelve seconds old (`asOf`), but for what is asked for `fresh`; all else is as it is now.
   */
  dump(fresh?: Fresh): Promise<Result<IpvsTable, KernelError>>;
  /**
   * Applies in order, in packed batches; the results are in the order of the operations.
   * EEXIST on add or start and ENOENT or ESRCH on delete are successes: what is there stays as it is.
   */
  apply(operations: readonly IpvsOperation[]): Promise<readonly Result<void, KernelError>[]>;
  timeouts(): Promise<Result<IpvsTimeouts, KernelError>>;
  /** The sync daemons that run: none, a master, a backup, or both. */
  daemons(): Promise<Result<readonly IpvsDaemon[], KernelError>>;
  /**
   * Reads the connections and persistence templates piece by piece, so that a million of them are never
   * held; `visit` gets some of them at a time and returns false when it has enough; while it takes its
   * time nothing more is read. No snapshot: what comes and goes meanwhile may be missed or seen twice.
   */
  visitConnections(
    visit: ConnectionVisit,
    signal: AbortSignal,
  ): Promise<Result<ConnectionReading, KernelError>>;
  close(): void;
}
