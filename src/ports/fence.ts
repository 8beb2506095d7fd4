/**
 * Kernel rules that silence VIPs: the lower half of a gate with permits (design 4.4). A VIP that is
 * `managed` speaks only while it is in `enabled` and its interface in `alive`; a `muted` one takes
 * and sends IP, but neither ARP nor ND speaks as it. Elements of `alive` and permits expire by the
 * kernel's clock. A `served` one is on another device of this machine too, as a real server has it: while
 * silent it takes IP from the MACs of `directors` and sends IP, and nothing here is forwarded to it. Sources: linux/netfilter/nf_tables.h, nft(8).
 */
import type { Result } from '../lib/result.ts';
import type { IpAddress, MacAddress } from '../model/address.ts';
import type { GateKind, KernelError } from '../model/kernel.ts';

export type FenceKind = Exclude<GateKind, 'address-lifetime'>;

/**
 * Shorter permits and lives are refused as `LATE`: a tick of the slowest kernel is 10 ms, and some
 * take what is shorter than a tick for "for ever".
 */
export const SHORTEST_TIMEOUT_MS = 10;

export type FenceDevice = { readonly index: number; readonly name: string };

/** What is in the kernel now. */
export type FenceContents = {
  readonly devices: readonly FenceDevice[];
  readonly managed: ReadonlySet<IpAddress>;
  readonly enabled: ReadonlySet<IpAddress>;
  readonly muted: ReadonlySet<IpAddress>;
  readonly served: ReadonlySet<IpAddress>;
  readonly directors: ReadonlySet<MacAddress>;
};

export type FenceSetChange<T = IpAddress> = {
  readonly add: readonly T[];
  readonly remove: readonly T[];
};

/** One atomic batch: all of it or nothing. */
export type FenceChange = {
  /** The permit that this batch uses up; the whole batch fails with `LATE` where it has died. */
  readonly permit: number | null;
  /** Interfaces (by index) that are alive from now on for `timeoutMs`, whether they were or not; null: as they are. */
  readonly alive: { readonly linkIndexes: readonly number[]; readonly timeoutMs: number } | null;
  readonly managed: FenceSetChange;
  readonly enabled: FenceSetChange;
  readonly muted: FenceSetChange;
  readonly served: FenceSetChange;
  readonly directors: FenceSetChange<MacAddress>;
};

/** Idempotent but for permits: what is there may be added, what is not there may be removed. */
export interface Fence {
  readonly kind: FenceKind;
  /** Null: nothing of ours is installed, or not all of it: `install` is due. */
  observe(): Promise<Result<FenceContents | null, KernelError>>;
  /**
   * Nobody else has changed any rules here since the last `observe` that succeeded: it would say the same. False
   * in doubt. Devices may have come and gone, and their rules with them.
   */
  isAsLeft(): boolean;
  /** By interface index: so many milliseconds it is alive yet, by the last commit; what is not, is absent. */
  lifetimes(): Promise<Result<ReadonlyMap<number, number>, KernelError>>;
  /**
   * Makes what is missing for exactly these devices: tables, sets, chains, rules, in one batch. What
   * is complete stays as it is, with its elements. Nothing is enabled by it.
   */
  install(devices: readonly FenceDevice[]): Promise<Result<void, KernelError>>;
  /** Round `round` may be committed within `timeoutMs` from now. `MISSING`: the tables are gone. */
  permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>>;
  /** `LATE`: the permit has died. `MISSING`: the tables are gone. Nothing changed in either case. */
  commit(change: FenceChange): Promise<Result<void, KernelError>>;
  /** Removes all of it; nothing there is a success. */
  uninstall(): Promise<Result<void, KernelError>>;
  close(): void;
}
