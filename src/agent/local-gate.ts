/** A gate as the agent has it: the hold loop's words, and what start, spec changes and the end need. */
import type { Result } from '../lib/result.ts';
import type { IpAddress, MacAddress } from '../model/address.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { KernelError } from '../model/kernel.ts';
import type { FenceDevice } from '../ports/fence.ts';
import type { Gate, GateGroup } from '../ports/gate.ts';

/** Where VIPs may be on this director. */
export type GatePlaces = {
  /** Devices of the agent's file that are there now. */
  readonly devices: readonly FenceDevice[];
  /** Every VIP of the spec that has its place on one of this director's devices. */
  readonly vips: readonly IpAddress[];
  /** The group of each VIP by the spec: it may be bound in the name of another one yet. */
  readonly groups: ReadonlyMap<IpAddress, GroupId>;
  /** Absent: not known yet, what an earlier process found stands. */
  readonly served?: ServedPlaces;
};

/** What a director that is a real server of its own VIPs takes from the others while it does not hold them. */
export type ServedPlaces = {
  /** Those of the VIPs that it serves so. */
  readonly vips: readonly IpAddress[];
  /** Where the other directors forward from. */
  readonly directors: readonly MacAddress[];
  /** False: one of them has not told yet; what an earlier process heard of it stands. */
  readonly isComplete: boolean;
};

/** One call at a time, as for every gate. */
export type LocalGate = Gate & {
  /** Remembered at once, in the kernel before the next operation. */
  setPlaces(places: GatePlaces): void;
  /** False while a VIP is bound in the name of a group that the spec has taken it from. */
  isPlaced(): boolean;
  /** The kernel says that an address went away; the next arming binds it, and opens its group, anew. */
  forget(linkIndex: number, address: IpAddress): GroupId | null;
  /** The kernel says that an address is in force: it takes all traffic to it. */
  seen(linkIndex: number, address: IpAddress): void;
  /**
   * At the start of a life, before anything is armed: silences all that an earlier life left but the
   * groups of `keep`. Answers those of them that were there to be kept, and until when the kernel lets
   * each speak (in the past: it is silent); other addresses are still bound, and silent where the gate
   * has rules.
   */
  adopt(keep: readonly GateGroup[]): Promise<Result<ReadonlyMap<GroupId, MonoMs>, KernelError>>;
  /**
   * Compares the kernel with what must be there, and repairs it: also while nothing is armed. Closes
   * what may not be bound any more.
   */
  check(mayBeBound: (group: GroupId) => boolean): Promise<Result<void, KernelError>>;
  /** Removes the gate itself, with every address that is bound by it. */
  uninstall(): Promise<Result<void, KernelError>>;
};
