/**
 * VIPs that the kernel would not bind while others of their group spoke here. The group goes on without
 * them: silent it would be nowhere, where every kernel refuses them. They are asked for again at a pace.
 */
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { GateGroup, RefusedVip } from '../ports/gate.ts';
import type { BindOutcome, Bindings } from './bindings.ts';

type Address = GateGroup['addresses'][number];
type Place = Pick<Address, 'linkIndex' | 'address'>;

/** A word of the kernel may be over in a moment; what lasts is asked for twelve times a minute. */
const RETRY_FIRST_MS = 250;
const RETRY_MOST_MS = 5000;

type Entry = {
  readonly group: GroupId;
  readonly address: Address;
  /** Null: an earlier life spoke without it, perhaps for the same reason. */
  readonly error: KernelError | null;
  readonly retryAt: MonoMs;
  readonly waitMs: number;
};

export class RefusedVips {
  readonly #bindings: Pick<Bindings, 'has'>;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #entries = new Map<string, Entry>();

  constructor(bindings: Pick<Bindings, 'has'>, clock: Pick<Clock, 'now'>) {
    this.#bindings = bindings;
    this.#clock = clock;
  }

  /** As the kernel refused them last; empty where it did not. */
  told(): readonly RefusedVip[] {
    return [...this.#entries.values()].flatMap(({ group, address, error }) =>
      error === null ? [] : [{ group, address: address.address, error }],
    );
  }

  /** One of them is to be asked for. */
  isDue(): boolean {
    const now = this.#clock.now();
    for (const { retryAt } of this.#entries.values()) if (retryAt <= now) return true;
    return false;
  }

  /** The document or the links changed: all are asked for with the next arming. */
  retry(): void {
    for (const [key, entry] of this.#entries)
      this.#entries.set(key, { ...entry, retryAt: monoMs(Number.NEGATIVE_INFINITY) });
  }

  /** Forgets all but those that these groups have. */
  keep(groups: readonly GateGroup[]): void {
    if (this.#entries.size === 0) return;
    const wanted = new Map(
      groups.flatMap(({ group, addresses }) => addresses.map((one) => [keyOf(one), group])),
    );
    for (const [key, { group }] of this.#entries)
      if (wanted.get(key) !== group) this.#entries.delete(key);
  }

  /** Forgets all that these groups have: what takes one of them up anew must bind all of it. */
  drop(groups: readonly GateGroup[]): void {
    const names = new Set(groups.map(({ group }) => group));
    for (const [key, { group }] of this.#entries) if (names.has(group)) this.#entries.delete(key);
  }

  /** An earlier life left the group speaking without what is not bound of it. */
  expect({ group, addresses }: GateGroup): void {
    const retryAt = monoMs(Number.NEGATIVE_INFINITY);
    for (const address of addresses)
      if (!this.#bindings.has(address))
        this.#entries.set(keyOf(address), { group, address, error: null, retryAt, waitMs: 0 });
  }

  /** The group without what was asked for a moment ago. */
  asked<G extends GateGroup>(group: G): G {
    const now = this.#clock.now();
    return this.#without(group, ({ retryAt }) => retryAt > now);
  }

  /** The group with what it can speak as; the very same object where nothing of it was refused. */
  served<G extends GateGroup>(group: G): G {
    return this.#without(group, () => true);
  }

  /**
   * Takes what came of asking. Able to speak is a group with what is bound of it where all is, or where it
   * goes on all the same: it spoke so far, or may be partial.
   */
  take<G extends GateGroup>(
    groups: readonly G[],
    { failed, refused }: BindOutcome,
    isGoing: (group: G) => boolean,
  ): { readonly able: readonly G[]; readonly failed: ReadonlyMap<GroupId, KernelError> } {
    if (failed.size === 0 && this.#entries.size === 0) return { able: groups, failed };
    const isBound = (one: Place): boolean => this.#bindings.has(one);
    const unable = new Map<GroupId, KernelError>();
    for (const group of groups) {
      const { group: id, addresses } = group;
      for (const one of addresses) if (isBound(one)) this.#entries.delete(keyOf(one));
      const error = failed.get(id);
      if (error === undefined) continue;
      const own = refused.filter((one) => one.group === id);
      const isKnown = own.every(({ address }) => this.#entries.has(keyOf(address)));
      if (!addresses.some(isBound) || !(isKnown || isGoing(group))) unable.set(id, error);
      else for (const one of own) this.#note(one);
    }
    const able = groups.filter(({ group }) => !unable.has(group)).map((one) => this.served(one));
    return { able, failed: unable };
  }

  #note({ group, address, error }: BindOutcome['refused'][number]): void {
    const key = keyOf(address);
    const before = this.#entries.get(key)?.waitMs ?? 0;
    const waitMs = Math.min(RETRY_MOST_MS, Math.max(RETRY_FIRST_MS, before * 2));
    const retryAt = monoMs(this.#clock.now() + waitMs);
    this.#entries.set(key, { group, address, error, retryAt, waitMs });
  }

  /** Never without all of its addresses: then it is the group that is refused. */
  #without<G extends GateGroup>(group: G, isLeftOut: (entry: Entry) => boolean): G {
    if (this.#entries.size === 0) return group;
    const addresses = group.addresses.filter((one) => {
      const entry = this.#entries.get(keyOf(one));
      return entry === undefined || !isLeftOut(entry);
    });
    const isSame = addresses.length === group.addresses.length || addresses.length === 0;
    return isSame ? group : { ...group, addresses };
  }
}

const keyOf = ({ linkIndex, address }: Place): string => `${linkIndex} ${address}`;
