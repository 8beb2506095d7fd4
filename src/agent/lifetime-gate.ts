/**
 * The gate made of address lifetimes alone: the kernel drops a VIP by itself when no round refreshed
 * it. Whole seconds and up to a second late, hence D ≥ 3 s and δ ≥ 1.1 s (design 4.4).
 *
 * It has no permits: a process stopped exactly between the look at the clock and the system call
 * could refresh late, by at most the lifetime. The gate of kernel rules closes that. What is bound
 * speaks, so a prepared group is not bound yet, and a muted one no longer.
 */
import { err, ok, type Result } from '../lib/result.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { BoundAddress, KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { Armed, ArmRequest, GateGroup } from '../ports/gate.ts';
import type { NetworkKernel } from '../ports/kernel.ts';
import { Bindings } from './bindings.ts';
import type { LocalGate } from './local-gate.ts';

/** What the whole seconds of this gate ask of the timing. */
export const LIFETIME_GATE_NEEDS = { minHoldMs: 3000, slackMs: 1100 } as const;

const LATE: KernelError = { code: 'LATE', message: 'nothing of the hold time is left' };

export function createLifetimeGate(ports: {
  readonly kernel: NetworkKernel;
  readonly clock: Clock;
}): LocalGate {
  const { kernel, clock } = ports;
  const bindings = new Bindings(ports);
  let prepared: ReadonlySet<GroupId> = new Set();

  const bindUntil = async (
    groups: readonly GateGroup[],
    until: MonoMs,
  ): Promise<Result<Armed, KernelError>> => {
    const lifetimeS = wholeSecondsUntil(until, clock.now());
    if (lifetimeS < 1) return err(LATE);
    const speaksUntil = monoMs(clock.now() + lifetimeS * 1000);
    const { fresh, failed } = await bindings.bindAll(groups, lifetimeS);
    return ok({
      speaksUntil,
      opened: [...fresh].filter((group) => !failed.has(group)),
      unsettled: [],
      deferred: [],
      failed: [...failed].map(([group, error]) => ({ group, error })),
    });
  };

  const silence = (groups: readonly GateGroup[]): Promise<Result<void, KernelError>> => {
    prepared = new Set([...prepared].filter((id) => groups.every(({ group }) => group !== id)));
    return bindings.unbind(bindings.of(groups));
  };

  return {
    kind: 'address-lifetime',
    setPlaces: ({ groups }) => bindings.setHeirs(groups),
    isPlaced: () => bindings.isPlaced(),
    permit: () => Promise.resolve(ok(undefined)),
    forget: (linkIndex, address) => bindings.forget(linkIndex, address),
    close: silence,
    mute: silence,
    arm: async ({ groups, until }: ArmRequest) => {
      const open = groups.filter((group) => group.mode === 'open');
      prepared = new Set();
      const unbound = await bindings.unbind(bindings.besides(open));
      if (!unbound.ok) return unbound;
      const armed = await bindUntil(open, until);
      if (armed.ok)
        prepared = new Set(
          groups.filter(({ mode }) => mode === 'prepared').map((one) => one.group),
        );
      return armed;
    },
    open: async (groups, until) => {
      const ready = groups.filter(({ group }) => prepared.has(group));
      const opened = await bindUntil(ready, until);
      if (!opened.ok) return opened;
      const unready = groups
        .filter(({ group }) => !prepared.has(group))
        .map(({ group }) => ({ group, error: NOT_PREPARED }));
      return ok({ ...opened.value, failed: [...opened.value.failed, ...unready] });
    },
    // What is bound speaks here: nothing can be bound ahead.
    foresee: () => Promise.resolve(false),
    seen: () => {},
    adopt: async (keep) => {
      const askedAt = clock.now();
      const observed = await kernel.addresses();
      if (!observed.ok) return observed;
      const kept = new Set(bindings.seed(keep, observed.value));
      const groups = keep.filter(({ group }) => kept.has(group));
      return ok(new Map(groups.map((one) => [one.group, endOf(one, observed.value, askedAt)])));
    },
    check: () => Promise.resolve(ok(undefined)),
    uninstall: () => bindings.unbind(bindings.all()),
  };
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

const NOT_PREPARED: KernelError = {
  code: 'EINVAL',
  message: 'the last arming did not prepare the group',
};

/** Floored: the kernel may be late, never the agent early with more than is left. */
const wholeSecondsUntil = (until: MonoMs, now: MonoMs): number => Math.floor((until - now) / 1000);
