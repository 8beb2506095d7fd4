/**
 * What lets a VIP speak in this kernel, and only until a deadline (design 4.3, 4.4).
 * Two implementations are foreseen: address lifetimes alone, and nftables with permits.
 * Rules for callers: `permit` before the round's send, `arm` only with the answer of that round,
 * `close` before the store learns that a group is given up.
 */
import type { Result } from '../lib/result.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { BindRequest, KernelError } from '../model/kernel.ts';

export type GateGroup = {
  readonly group: GroupId;
  readonly addresses: readonly Omit<BindRequest, 'validLifetimeS'>[];
};

export type Armed = {
  /** The groups speak until then for sure, and no longer than until the deadline they were armed with. */
  readonly speaksUntil: MonoMs;
  /** Groups whose addresses were not bound before: to be announced now. */
  readonly opened: readonly GroupId[];
  /** Groups of which at least one address could not be bound. */
  readonly failed: readonly { readonly group: GroupId; readonly error: KernelError }[];
};

export interface Gate {
  /** For status and metrics: `address-lifetime`, later `netdev`, `arp-inet-ip6`, `bridge`. */
  readonly kind: string;
  /** Acknowledged by the kernel: round `round` may be armed within `timeoutMs` from now, and not later. */
  permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>>;
  /**
   * Lets exactly `groups` speak until `until`; fails as a whole with `code: 'LATE'` when the permit
   * has died or nothing of the time is left. Never opens anything after `until`.
   */
  arm(
    round: number,
    groups: readonly GateGroup[],
    until: MonoMs,
  ): Promise<Result<Armed, KernelError>>;
  /** Silences and unbinds, acknowledged by the kernel; a group that is not open is a success. */
  close(groups: readonly GateGroup[]): Promise<Result<void, KernelError>>;
}
