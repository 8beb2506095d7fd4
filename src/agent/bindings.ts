/**
 * The VIPs that a gate has bound, with their group and the age of their lifetime. It remembers what the
 * kernel acknowledged; what went away behind its back is forgotten by the kernel's notifications.
 */
import { ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { BoundAddress, KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { GateGroup } from '../ports/gate.ts';
import type { NetworkKernel } from '../ports/kernel.ts';

export type Place = {
  readonly linkIndex: number;
  readonly address: IpAddress;
  readonly prefix: number;
};

export type BindOutcome = {
  /** Groups of which at least one address was not bound before. */
  readonly fresh: ReadonlySet<GroupId>;
  /** Groups of which at least one address was refused. */
  readonly failed: ReadonlyMap<GroupId, KernelError>;
  /** Each of those addresses. */
  readonly refused: readonly (Request & { readonly error: KernelError })[];
};

type Request = { readonly group: GroupId; readonly address: GateGroup['addresses'][number] };
type Binding = Place & { readonly group: GroupId; readonly expiresAt: MonoMs };

/** A notification that got lost is waited for no longer. */
const SETTLE_MS = 250;
/** The notification of an unbinding of ours comes within this. */
const NOTICE_MS = 1000;

const NO_ANSWER: KernelError = { code: 'TIMEOUT', message: 'the kernel gave no answer' };

export class Bindings {
  readonly #kernel: Pick<NetworkKernel, 'bind' | 'unbind'>;
  readonly #clock: Clock;
  readonly #bound = new Map<string, Binding>();
  #version = 0;
  #heirs: ReadonlyMap<IpAddress, GroupId> = new Map();
  /** Unbound by us, and until when the kernel's word of it is no news: it may be bound again by then. */
  readonly #leaving = new Map<string, MonoMs>();
  /** Bound, and not yet told of by the kernel; and until when that is waited for. */
  readonly #unsettled = new Map<string, MonoMs>();

  constructor(ports: {
    readonly kernel: Pick<NetworkKernel, 'bind' | 'unbind'>;
    readonly clock: Clock;
  }) {
    this.#kernel = ports.kernel;
    this.#clock = ports.clock;
  }

  /** Another number where anything else is bound, or bound in another group's name; not for new lifetimes. */
  get version(): number {
    return this.#version;
  }

  all(): readonly (Place & { readonly group: GroupId })[] {
    return [...this.#bound.values()];
  }

  /** A new IPv6 address is in force only when the kernel has told of it: a worker of it makes the route. */
  isSettled(place: Pick<Place, 'linkIndex' | 'address'>): boolean {
    return (this.#unsettled.get(keyOf(place)) ?? -Infinity) <= this.#clock.now();
  }

  seen(linkIndex: number, address: IpAddress): void {
    this.#unsettled.delete(keyOf({ linkIndex, address }));
  }

  has(place: Pick<Place, 'linkIndex' | 'address'>): boolean {
    return this.#bound.has(keyOf(place));
  }

  /** The group of each address by the spec now; until it is armed, the former one has it too. */
  setHeirs(heirs: ReadonlyMap<IpAddress, GroupId>): void {
    this.#heirs = heirs;
  }

  /** Nothing is bound in the name of a group that the spec has taken it from. */
  isPlaced(): boolean {
    for (const { address, group } of this.#bound.values())
      if ((this.#heirs.get(address) ?? group) !== group) return false;
    return true;
  }

  /** Everything of these groups, as they are now and as they were bound; nothing that another group took over. */
  of(groups: readonly GateGroup[]): readonly Place[] {
    const names = new Set(groups.map((group) => group.group));
    const places = new Map<string, Place>();
    for (const group of groups)
      for (const address of group.addresses) places.set(keyOf(address), placeOf(address));
    for (const [key, binding] of this.#bound) {
      const heir = this.#heirs.get(binding.address) ?? binding.group;
      if (names.has(binding.group) || names.has(heir)) places.set(key, placeOf(binding));
      else places.delete(key);
    }
    return [...places.values()];
  }

  /** What is bound and belongs to none of these groups as they are now. */
  besides(groups: readonly GateGroup[]): readonly Place[] {
    const wanted = new Set(groups.flatMap((group) => group.addresses.map(keyOf)));
    return [...this.#bound].filter(([key]) => !wanted.has(key)).map(([, place]) => placeOf(place));
  }

  /** Binds what is not bound yet. */
  bindMissing(groups: readonly GateGroup[], lifetimeS: number): Promise<BindOutcome> {
    const missing: Request[] = [];
    for (const { group, addresses } of groups)
      for (const address of addresses) {
        const known = this.#bound.get(keyOf(address));
        if (known === undefined) missing.push({ group, address });
        else if (known.group !== group) this.#put({ ...known, group });
      }
    return this.#bind(missing, lifetimeS);
  }

  /** Binds all, whatever is bound. */
  bindAll(groups: readonly GateGroup[], lifetimeS: number): Promise<BindOutcome> {
    const all = groups.flatMap(({ group, addresses }) =>
      addresses.map((address) => ({ group, address })),
    );
    return this.#bind(all, lifetimeS);
  }

  /**
   * Gives a new lifetime to those that end before `until`, and of those that lost more than `ageMs` of
   * theirs to the nearest to their end, at most `limit`.
   */
  async refresh(
    groups: readonly GateGroup[],
    lifetimeS: number,
    {
      until,
      ageMs,
      limit,
    }: { readonly until: MonoMs; readonly ageMs: number; readonly limit: number },
  ): Promise<BindOutcome['failed']> {
    const before = this.#clock.now() + lifetimeS * 1000 - ageMs;
    const due: (Request & { readonly at: MonoMs })[] = [];
    for (const { group, addresses } of groups)
      for (const address of addresses) {
        const at = this.#bound.get(keyOf(address))?.expiresAt;
        if (at !== undefined && at <= before) due.push({ group, address, at });
      }
    if (due.length === 0) return new Map();
    const urgent = due.filter(({ at }) => at <= until);
    const rest = due.filter(({ at }) => at > until).toSorted((a, b) => a.at - b.at);
    return (await this.#bind([...urgent, ...rest.slice(0, limit)], lifetimeS)).failed;
  }

  async unbind(places: readonly Place[]): Promise<Result<void, KernelError>> {
    if (places.length === 0) return ok(undefined);
    // Beforehand: the word of it may come before the answer.
    const until = monoMs(this.#clock.now() + NOTICE_MS);
    for (const key of places.map(keyOf)) if (this.#bound.has(key)) this.#leaving.set(key, until);
    const results = await this.#kernel.unbind(places);
    for (const [i, result] of results.entries()) {
      const place = places[i];
      if (place === undefined) continue;
      if (result.ok) this.#drop(keyOf(place));
      else this.#leaving.delete(keyOf(place));
    }
    return results.find((result) => !result.ok) ?? ok(undefined);
  }

  /** Null: it was not bound, or it is our own unbinding that is told. */
  forget(linkIndex: number, address: IpAddress): GroupId | null {
    const key = keyOf({ linkIndex, address });
    const leavingUntil = this.#leaving.get(key);
    this.#leaving.delete(key);
    if (leavingUntil !== undefined && this.#clock.now() < leavingUntil) return null;
    const group = this.#bound.get(key)?.group ?? null;
    this.#drop(key);
    this.#unsettled.delete(key);
    return group;
  }

  /** Their links are gone, and they with them. */
  forgetLinksBut(linkIndexes: ReadonlySet<number>): void {
    for (const [key, { linkIndex }] of this.#bound)
      if (!linkIndexes.has(linkIndex)) this.#drop(key);
  }

  /** Takes over what an earlier life bound; answers the groups of which anything is there. */
  seed(groups: readonly GateGroup[], observed: readonly BoundAddress[]): readonly GroupId[] {
    const there = new Set(
      observed
        .filter((one) => one.validLifetimeS !== null)
        .map((one) => `${keyOf(one)}/${one.prefix}`),
    );
    const kept = new Set<GroupId>();
    for (const { group, addresses } of groups)
      for (const address of addresses) {
        if (!there.has(`${keyOf(address)}/${address.prefix}`)) continue;
        kept.add(group);
        // By lifetimes of this life from now on.
        const expiresAt = monoMs(-Infinity);
        this.#put({ ...placeOf(address), group, expiresAt });
      }
    return [...kept];
  }

  async #bind(requests: readonly Request[], lifetimeS: number): Promise<BindOutcome> {
    const fresh = new Set<GroupId>();
    const failed = new Map<GroupId, KernelError>();
    const refused: BindOutcome['refused'][number][] = [];
    if (requests.length === 0) return { fresh, failed, refused };
    // From before the call: the kernel counts the lifetime from somewhere within it.
    const expiresAt = monoMs(this.#clock.now() + lifetimeS * 1000);
    const untold = requests.flatMap(({ address }) => {
      const key = keyOf(address);
      return familyOf(address.address) === 6 && !this.#bound.has(key) ? [key] : [];
    });
    // Beforehand: the word of it may come before the answer.
    for (const key of untold) this.#unsettled.set(key, monoMs(Number.POSITIVE_INFINITY));
    const results = await this.#kernel.bind(
      requests.map(({ address }) => ({ ...address, validLifetimeS: lifetimeS })),
    );
    for (const [i, { group, address }] of requests.entries()) {
      const result = results[i];
      const key = keyOf(address);
      if (result?.ok === true) {
        if (!this.#bound.has(key)) fresh.add(group);
        this.#put({ ...placeOf(address), group, expiresAt });
        continue;
      }
      const error = result === undefined ? NO_ANSWER : result.error;
      failed.set(group, error);
      refused.push({ group, address, error });
      // Not there any more, or in doubt: the next arming asks for it anew.
      this.#drop(key);
      this.#unsettled.delete(key);
    }
    const until = monoMs(this.#clock.now() + SETTLE_MS);
    for (const key of untold) if (this.#unsettled.has(key)) this.#unsettled.set(key, until);
    return { fresh, failed, refused };
  }

  #put(binding: Binding): void {
    const key = keyOf(binding);
    if (this.#bound.get(key)?.group !== binding.group) this.#version++;
    this.#bound.set(key, binding);
  }

  #drop(key: string): void {
    if (this.#bound.delete(key)) this.#version++;
  }
}

const keyOf = (place: Pick<Place, 'linkIndex' | 'address'>): string =>
  `${place.linkIndex} ${place.address}`;

const placeOf = (place: Place): Place => ({
  linkIndex: place.linkIndex,
  address: place.address,
  prefix: place.prefix,
});

const LIFETIME_MIN_S = 3;

/** `valid_lft` is whole seconds: two hold times, and never so short that a late refresh matters. */
export const lifetimeFor = (aliveMs: number): number =>
  // F is three quarters of D; after a freeze it is nearly all of D, and the lifetime longer than two of them.
  Math.max(LIFETIME_MIN_S, Math.ceil((2 * aliveMs * 4) / 3 / 1000));
