/**
 * What lets a VIP speak in this kernel, and only until a deadline (design 4.3, 4.4).
 * Two implementations: address lifetimes alone, and kernel rules with permits (`ports/fence.ts`).
 * Rules for callers: one call at a time; `permit` before the round's send, `arm` only with the
 * answer of that round, `close` before the store learns that a group is given up.
 */
import type { Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { ArmMode, BindRequest, GateKind, KernelError } from '../model/kernel.ts';

export type GateGroup = {
  readonly group: GroupId;
  readonly addresses: readonly Omit<BindRequest, 'validLifetimeS'>[];
};

export type RefusedVip = {
  readonly group: GroupId;
  readonly address: IpAddress;
  readonly error: KernelError;
};

export type ArmRequest = {
  readonly round: number;
  readonly groups: readonly (GateGroup & {
    readonly mode: ArmMode;
    /** It may speak with what can be bound of it, though it did not speak before. */
    readonly isPartial?: true;
  })[];
  /** Send of the round + D: nothing speaks later. */
  readonly until: MonoMs;
  /** F = D − P, counted by the kernel from the arming. */
  readonly aliveMs: number;
};

export type Armed = {
  /** The groups speak until then for sure, and no longer than until the deadline they were armed with. */
  readonly speaksUntil: MonoMs;
  /** Groups that were not open before: to be announced now. */
  readonly opened: readonly GroupId[];
  /** Left for the next arming: binding all at once would have taken longer than a permit lives. */
  readonly deferred: readonly GroupId[];
  /** Groups bound a moment ago: the kernel acknowledged them, and does not take all their traffic yet. */
  readonly unsettled: readonly GroupId[];
  /** What the kernel would not bind of groups that go on without it: they spoke before, or may be partial. */
  readonly refused: readonly RefusedVip[];
  /** Groups that cannot speak: at least one address could not be bound, and they did not speak before. */
  readonly failed: readonly { readonly group: GroupId; readonly error: KernelError }[];
};

export interface Gate {
  /** For status and metrics. */
  readonly kind: GateKind;
  /** Acknowledged by the kernel: round `round` may be armed within `timeoutMs` from now, and not later. */
  permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>>;
  /**
   * Lets exactly `groups` speak, each by its mode, until `until`; fails as a whole with
   * `code: 'LATE'` when the permit has died or nothing of the time is left.
   */
  arm(request: ArmRequest): Promise<Result<Armed, KernelError>>;
  /**
   * Opens groups that the last arming prepared, for as long as that arming lasts (`until` of it).
   * A group that it did not prepare is a failure.
   */
  open(groups: readonly GateGroup[], until: MonoMs): Promise<Result<Armed, KernelError>>;
  /**
   * Binds some of these ahead, silent, and nothing else that is not armed; true: again for the rest. A gate
   * without rules does nothing.
   */
  foresee(groups: readonly GateGroup[]): Promise<boolean>;
  /** Ends the answers to ARP and ND, acknowledged by the kernel; IP goes on. A gate that cannot closes. */
  mute(groups: readonly GateGroup[]): Promise<Result<void, KernelError>>;
  /** Silences and unbinds, acknowledged by the kernel; a group that is not open is a success. */
  close(groups: readonly GateGroup[]): Promise<Result<void, KernelError>>;
}
