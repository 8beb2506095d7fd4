/**
 * The gate made of address lifetimes alone: the kernel drops a VIP by itself when no round refreshed
 * it. Whole seconds and up to a second late, hence D ≥ 3 s and δ ≥ 1.1 s (design 4.4).
 *
 * It has no permits: a process stopped exactly between the look at the clock and the system call
 * could refresh late, by at most the lifetime. The gate of nftables closes that.
 */
import { err, ok, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { KernelError } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { Armed, Gate, GateGroup } from '../ports/gate.ts';
import type { NetworkKernel } from '../ports/kernel.ts';

export type LifetimeGate = Gate & {
  /** The kernel says that an address went away; the next arming that binds it again opens it anew. */
  forget(linkIndex: number, address: IpAddress): GroupId | null;
};

type Place = { readonly linkIndex: number; readonly address: IpAddress; readonly prefix: number };

export function createLifetimeGate(ports: {
  readonly kernel: NetworkKernel;
  readonly clock: Clock;
}): LifetimeGate {
  const { kernel, clock } = ports;
  const bound = new Map<string, Place & { readonly group: GroupId }>();

  const unbind = async (places: readonly Place[]): Promise<Result<void, KernelError>> => {
    if (places.length === 0) return ok(undefined);
    const results = await kernel.unbind(places);
    for (const [i, result] of results.entries()) {
      const place = places[i];
      if (result.ok && place !== undefined) bound.delete(placeKey(place));
    }
    const failed = results.find((result) => !result.ok);
    return failed ?? ok(undefined);
  };

  return {
    kind: 'address-lifetime',
    permit: () => Promise.resolve(ok(undefined)),
    forget: (linkIndex, address) => {
      const key = placeKey({ linkIndex, address });
      const group = bound.get(key)?.group ?? null;
      bound.delete(key);
      return group;
    },
    close: (groups) =>
      unbind(groups.flatMap((group) => placesOf(group)).concat(boundTo(bound, groups))),
    arm: async (_round, groups, until) => {
      const wanted = new Set(groups.flatMap((group) => placesOf(group).map(placeKey)));
      const stale = [...bound.values()].filter((place) => !wanted.has(placeKey(place)));
      const unbound = await unbind(stale);
      if (!unbound.ok) return unbound;
      const lifetimeS = wholeSecondsUntil(until, clock.now());
      if (lifetimeS < 1) return err({ code: 'LATE', message: 'nothing of the hold time is left' });
      const speaksUntil = monoMs(clock.now() + lifetimeS * 1000);
      return ok({ ...(await bindAll(kernel, bound, groups, lifetimeS)), speaksUntil });
    },
  };
}

async function bindAll(
  kernel: NetworkKernel,
  bound: Map<string, Place & { readonly group: GroupId }>,
  groups: readonly GateGroup[],
  lifetimeS: number,
): Promise<Omit<Armed, 'speaksUntil'>> {
  const requests = groups.flatMap((group) =>
    group.addresses.map((address) => ({
      group: group.group,
      request: { ...address, validLifetimeS: lifetimeS },
    })),
  );
  const results = await kernel.bind(requests.map((one) => one.request));
  const opened = new Set<GroupId>();
  const failed = new Map<GroupId, KernelError>();
  for (const [i, { group, request }] of requests.entries()) {
    const result = results[i];
    if (result === undefined || !result.ok) {
      failed.set(group, result?.error ?? { code: 'TIMEOUT', message: 'the kernel gave no answer' });
      continue;
    }
    const key = placeKey(request);
    if (!bound.has(key)) opened.add(group);
    bound.set(key, { group, ...placeOf(request) });
  }
  return {
    opened: [...opened].filter((group) => !failed.has(group)),
    failed: [...failed].map(([group, error]) => ({ group, error })),
  };
}

/** Floored: the kernel may be late, never the agent early with more than is left. */
const wholeSecondsUntil = (until: MonoMs, now: MonoMs): number => Math.floor((until - now) / 1000);

const placeKey = (place: { readonly linkIndex: number; readonly address: IpAddress }): string =>
  `${place.linkIndex} ${place.address}`;

const placeOf = (place: Place): Place => ({
  linkIndex: place.linkIndex,
  address: place.address,
  prefix: place.prefix,
});

const placesOf = (group: GateGroup): Place[] => group.addresses.map(placeOf);

/** Also what was bound for the groups before their addresses changed in the spec. */
function boundTo(
  bound: ReadonlyMap<string, Place & { readonly group: GroupId }>,
  groups: readonly GateGroup[],
): Place[] {
  const names = new Set(groups.map((group) => group.group));
  const listed = new Set(groups.flatMap((group) => placesOf(group).map(placeKey)));
  return [...bound.values()]
    .filter((place) => names.has(place.group) && !listed.has(placeKey(place)))
    .map(placeOf);
}
