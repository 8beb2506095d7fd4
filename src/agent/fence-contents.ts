/** What a change makes of the contents of the fence, and what change leads to wanted contents. */
import type { IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import type { FenceChange, FenceContents, FenceSetChange } from '../ports/fence.ts';
import type { GateGroup } from '../ports/gate.ts';

export function difference(
  known: ReadonlySet<IpAddress>,
  wanted: readonly IpAddress[],
): FenceSetChange {
  const set = new Set(wanted);
  return {
    add: wanted.filter((address) => !known.has(address)),
    remove: [...known].filter((address) => !set.has(address)),
  };
}

export function applied(known: FenceContents, change: FenceChange): FenceContents {
  return {
    devices: known.devices,
    managed: changed(known.managed, change.managed),
    enabled: changed(known.enabled, change.enabled),
    muted: changed(known.muted, change.muted),
  };
}

function changed(
  known: ReadonlySet<IpAddress>,
  { add, remove }: FenceSetChange,
): ReadonlySet<IpAddress> {
  if (add.length === 0 && remove.length === 0) return known;
  const next = new Set(known);
  for (const address of remove) next.delete(address);
  for (const address of add) next.add(address);
  return next;
}

/** Until when each of the groups speaks with all of its addresses, of those that do. */
export function speakingUntil(
  groups: readonly GateGroup[],
  enabled: ReadonlySet<IpAddress>,
  {
    lifetimes,
    askedAt,
  }: { readonly lifetimes: ReadonlyMap<number, number>; readonly askedAt: MonoMs },
): ReadonlyMap<GroupId, MonoMs> {
  const until = new Map<GroupId, MonoMs>();
  for (const { group, addresses } of groups) {
    const lefts = addresses.map(({ address, linkIndex }) =>
      enabled.has(address) ? (lifetimes.get(linkIndex) ?? 0) : 0,
    );
    const leftMs = lefts.length > 0 ? Math.min(...lefts) : 0;
    if (leftMs > 0) until.set(group, monoMs(askedAt + leftMs));
  }
  return until;
}

export function isSameDevices(a: FenceContents['devices'], b: FenceContents['devices']): boolean {
  const text = (devices: FenceContents['devices']): string =>
    devices
      .map(({ index, name }) => `${index} ${name}`)
      .toSorted()
      .join();
  return text(a) === text(b);
}
