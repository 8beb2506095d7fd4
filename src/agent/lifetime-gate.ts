/**
 * The gate made of address lifetimes alone: the kernel drops a VIP by itself when no round refreshed
 * it. Whole seconds and up to a second late, hence D ≥ 3 s and δ ≥ 1.1 s (design 4.4).
 *
 * It has no permits: a process stopped exactly between the look at the clock and the system call
 * could refresh late, by at most the lifetime. The gate of kernel rules closes that. What is bound
 * speaks, so a prepared group is not bound yet, and a muted one no longer.
 */
import { err, ok, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { BoundAddress, KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { Armed, ArmRequest, GateGroup } from '../ports/gate.ts';
import type { NetworkKernel } from '../ports/kernel.ts';
import { Bindings } from './bindings.ts';
import { LATE, NOT_PREPARED } from './gate-errors.ts';
import type { GatePlaces, LocalGate } from './local-gate.ts';
import { RefusedVips } from './refused-vips.ts';

/** What the whole seconds of this gate ask of the timing. */
export const LIFETIME_GATE_NEEDS = { minHoldMs: 3000, slackMs: 1100 } as const;

export function createLifetimeGate(ports: {
  readonly kernel: NetworkKernel;
  readonly clock: Clock;
}): LocalGate {
  return new LifetimeGate(ports);
}

type Ports = Parameters<typeof createLifetimeGate>[0];

class LifetimeGate implements LocalGate {
  readonly kind = 'address-lifetime';
  readonly #ports: Ports;
  readonly #bindings: Bindings;
  readonly #refused: RefusedVips;
  #prepared: ReadonlySet<GroupId> = new Set();
  #speaking: ReadonlySet<GroupId> = new Set();

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#bindings = new Bindings(ports);
    this.#refused = new RefusedVips(this.#bindings, ports.clock);
  }

  setPlaces({ groups }: GatePlaces): void {
    this.#bindings.setHeirs(groups);
    this.#refused.retry();
  }

  isPlaced(): boolean {
    return this.#bindings.isPlaced();
  }

  async permit(): Promise<Result<void, KernelError>> {
    return ok(undefined);
  }

  forget(linkIndex: number, address: IpAddress): GroupId | null {
    return this.#bindings.forget(linkIndex, address);
  }

  close(groups: readonly GateGroup[]): Promise<Result<void, KernelError>> {
    this.#refused.drop(groups);
    return this.mute(groups);
  }

  mute(groups: readonly GateGroup[]): Promise<Result<void, KernelError>> {
    this.#prepared = without(this.#prepared, groups);
    this.#speaking = without(this.#speaking, groups);
    return this.#bindings.unbind(this.#bindings.of(groups));
  }

  async arm({ groups, until }: ArmRequest): Promise<Result<Armed, KernelError>> {
    const open = groups.filter(({ mode }) => mode === 'open');
    this.#prepared = new Set();
    this.#refused.keep(groups);
    const unbound = await this.#bindings.unbind(this.#bindings.besides(open));
    if (!unbound.ok) return unbound;
    const names = open.map(({ group }) => group);
    this.#speaking = new Set(names.filter((group) => this.#speaking.has(group)));
    const armed = await this.#bindUntil(open, until);
    const prepared = groups.filter(({ mode }) => mode === 'prepared');
    if (armed.ok) this.#prepared = new Set(prepared.map(({ group }) => group));
    return armed;
  }

  async open(groups: readonly GateGroup[], until: MonoMs): Promise<Result<Armed, KernelError>> {
    const prepared = this.#prepared;
    const ready = groups.filter(({ group }) => prepared.has(group));
    const opened = await this.#bindUntil(ready, until);
    if (!opened.ok) return opened;
    const unready = groups
      .filter(({ group }) => !prepared.has(group))
      .map(({ group }) => ({ group, error: NOT_PREPARED }));
    return ok({ ...opened.value, failed: [...opened.value.failed, ...unready] });
  }

  async #bindUntil(
    groups: readonly (GateGroup & { readonly isPartial?: true })[],
    until: MonoMs,
  ): Promise<Result<Armed, KernelError>> {
    const { clock } = this.#ports;
    const lifetimeS = wholeSecondsUntil(until, clock.now());
    if (lifetimeS < 1) return err(LATE);
    const speaksUntil = monoMs(clock.now() + lifetimeS * 1000);
    const asked = groups.map((one) => this.#refused.asked(one));
    const bound = await this.#bindings.bindAll(asked, lifetimeS);
    const isGoing = (one: (typeof asked)[number]): boolean =>
      one.isPartial === true || this.#speaking.has(one.group);
    const { able, failed } = this.#refused.take(asked, bound, isGoing);
    const names = able.map(({ group }) => group);
    this.#speaking = new Set([...without(this.#speaking, groups), ...names]);
    return ok({
      speaksUntil,
      opened: names.filter((group) => bound.fresh.has(group)),
      unsettled: [],
      deferred: [],
      refused: this.#refused.told(),
      failed: [...failed].map(([group, error]) => ({ group, error })),
    });
  }

  /** What is bound speaks here: nothing can be bound ahead. */
  async foresee(): Promise<boolean> {
    return false;
  }

  seen(): void {}

  async adopt(
    keep: readonly GateGroup[],
  ): Promise<Result<ReadonlyMap<GroupId, MonoMs>, KernelError>> {
    const { clock, kernel } = this.#ports;
    const askedAt = clock.now();
    const observed = await kernel.addresses();
    if (!observed.ok) return observed;
    this.#speaking = new Set(this.#bindings.seed(keep, observed.value));
    const groups = keep.filter(({ group }) => this.#speaking.has(group));
    for (const one of groups) this.#refused.expect(one);
    return ok(new Map(groups.map((one) => [one.group, endOf(one, observed.value, askedAt)])));
  }

  async check(): Promise<Result<void, KernelError>> {
    return ok(undefined);
  }

  uninstall(): Promise<Result<void, KernelError>> {
    return this.#bindings.unbind(this.#bindings.all());
  }
}

function without(names: ReadonlySet<GroupId>, groups: readonly GateGroup[]): ReadonlySet<GroupId> {
  const left = new Set(names);
  for (const { group } of groups) left.delete(group);
  return left;
}

/** Of its addresses the first that goes; over, where none is there. */
function endOf({ addresses }: GateGroup, observed: readonly BoundAddress[], now: MonoMs): MonoMs {
  const lefts = addresses.map(
    ({ address, linkIndex }) =>
      observed.find((one) => one.address === address && one.linkIndex === linkIndex)
        ?.validLifetimeS ?? 0,
  );
  return monoMs(now + 1000 * Math.min(...lefts));
}

/** Floored: the kernel may be late, never the agent early with more than is left. */
const wholeSecondsUntil = (until: MonoMs, now: MonoMs): number => Math.floor((until - now) / 1000);
