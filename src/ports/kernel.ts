/** Linux as leasehold needs it: links and addresses, and the IPVS table. All calls are idempotent. */
import type { Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type {
  BindRequest,
  BoundAddress,
  IpvsTableOperation,
  IpvsTable,
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
  | { readonly available: true; readonly version: string; readonly detail: string }
  /** `detail` tells the cause and the remedy ("modprobe ip_vs", "needs CAP_NET_ADMIN"). */
  | { readonly available: false; readonly detail: string };

export interface IpvsKernel {
  /** Asks the kernel (and tries to load the module) each time it is called. */
  capability(): Promise<IpvsCapability>;
  dump(): Promise<Result<IpvsTable, KernelError>>;
  /**
   * Applies in order, in packed batches; the results are in the order of the operations.
   * EEXIST on add and ENOENT or ESRCH on delete are successes.
   */
  apply(operations: readonly IpvsTableOperation[]): Promise<readonly Result<void, KernelError>[]>;
  close(): void;
}
