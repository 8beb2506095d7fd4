/**
 * VIPs that come to a group which speaks here already: by a newer document, when the barrier lets them through, or
 * again, where somebody has removed them. The group was asked about when it was opened, these were not; and whoever
 * goes on without the store may still speak for them, or has found nobody that does (design 4.10). So they are asked
 * for first, where anybody may go on so.
 */
import type { IpAddress } from '../model/address.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Neighbours, VipPlace } from '../ports/neighbours.ts';

type Addresses = VipGroup['addresses'];

export type LateVipsPorts = {
  readonly neighbours: Pick<Neighbours, 'probe'>;
  readonly clock: Pick<Clock, 'now' | 'schedule'>;
  readonly log: Log;
};

export type LateVipsHooks = {
  /** Anybody in this cluster may go on without the store. */
  readonly isAsked: () => boolean;
  /** The kernel lets the group speak here. */
  readonly isSpeaking: (group: GroupId) => boolean;
  /** The network is asked about what the group had so far, or was, and it may speak by that. */
  readonly isProbed: (group: GroupId) => boolean;
  /** Where these would be bound here. */
  readonly places: (group: VipGroup) => readonly VipPlace[];
  /** Somebody else answers for one of the group. */
  readonly contested: (group: GroupId) => void;
};

/** As for a group that is opened after a lapse. */
const PROBES = { count: 2, intervalMs: 20 };
/** Who answered has so long to hear of the group's holder and to fall silent. */
const YIELD_MS = 100;

/** What a group that speaks here had until so long ago moves to another one here without a gap. */
const OURS_MS = 1000;

const NOTHING: Addresses = [];

type Known = { readonly list: Addresses; readonly passed: Set<IpAddress> };

export class LateVips {
  readonly #ports: LateVipsPorts;
  readonly #hooks: LateVipsHooks;
  readonly #known = new Map<GroupId, Known>();
  /** When a group that speaks here lost the VIP to the document. */
  readonly #left = new Map<IpAddress, MonoMs>();
  /** A probe, or the time to yield, is under way. */
  readonly #asked = new Set<IpAddress>();

  constructor(ports: LateVipsPorts, hooks: LateVipsHooks) {
    this.#ports = ports;
    this.#hooks = hooks;
  }

  /** Those of the group's addresses that may be bound now, the very list where all may; the others are asked for. */
  pass(group: VipGroup, list: Addresses): Addresses {
    const { isAsked, isSpeaking, isProbed } = this.#hooks;
    const known = this.#known.get(group.id);
    if (known?.list === list) return list;
    const isKnownFree = isSpeaking(group.id) || isProbed(group.id);
    const late =
      known === undefined || !isKnownFree || !isAsked()
        ? []
        : list.filter(({ address }) => !known.passed.has(address) && !this.#isOurs(address));
    if (known === undefined || late.length === 0) {
      const passed = new Set(list.map(({ address }) => address));
      if (known !== undefined && isSpeaking(group.id)) this.#leave(known.passed, passed);
      this.#known.set(group.id, { list, passed });
      return list;
    }
    for (const { address } of list)
      if (!late.some((one) => one.address === address)) known.passed.add(address);
    const unasked = late.filter(({ address }) => !this.#asked.has(address));
    if (unasked.length > 0) void this.#ask({ ...group, addresses: unasked }, known.passed);
    return list.filter(({ address }) => known.passed.has(address));
  }

  /** The network is asked about all of these now: they may be bound when the group opens by what it answers. */
  begin(group: VipGroup, list: Addresses): Addresses {
    if (this.#hooks.isSpeaking(group.id)) return this.pass(group, list);
    this.#known.set(group.id, { list, passed: new Set(list.map(({ address }) => address)) });
    return list;
  }

  /** It was silent here for a moment, in which others that asked for it heard nobody. */
  readonly lost = (group: GroupId, address: IpAddress): void => {
    const known = this.#known.get(group);
    if (known?.passed.delete(address) === true)
      this.#known.set(group, { list: NOTHING, passed: known.passed });
  };

  /** This kernel speaks for it, or did a moment ago: nobody else can have begun to. */
  #isOurs(address: IpAddress): boolean {
    const leftAt = this.#left.get(address);
    if (leftAt !== undefined && this.#ports.clock.now() < leftAt + OURS_MS) return true;
    for (const [id, { passed }] of this.#known)
      if (passed.has(address) && this.#hooks.isSpeaking(id)) return true;
    return false;
  }

  #leave(before: ReadonlySet<IpAddress>, after: ReadonlySet<IpAddress>): void {
    const now = this.#ports.clock.now();
    for (const [address, at] of this.#left) if (now >= at + OURS_MS) this.#left.delete(address);
    for (const address of before) if (!after.has(address)) this.#left.set(address, now);
  }

  async #ask(group: VipGroup, passed: Set<IpAddress>): Promise<void> {
    const { neighbours, clock, log } = this.#ports;
    const addresses = group.addresses.map(({ address }) => address);
    for (const address of addresses) this.#asked.add(address);
    const passAll = (): void => {
      for (const address of addresses) {
        this.#asked.delete(address);
        passed.add(address);
      }
    };
    const { answered, unasked } = await neighbours.probe(this.#hooks.places(group), PROBES);
    if (answered.size + unasked.size === 0) {
      passAll();
      return;
    }
    const told = { answered: [...answered], unasked: [...unasked] };
    log.warn({ vipGroup: group.id, ...told }, 'vip.answered');
    if (answered.size > 0) this.#hooks.contested(group.id);
    clock.schedule(YIELD_MS, passAll);
  }
}
