/** What a change makes of the contents of the fence, and what change leads to wanted contents. */
import type { IpAddress } from '../model/address.ts';
import { type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import { ADDRESS_PROTOCOL, type BoundAddress } from '../model/kernel.ts';
import type { FenceChange, FenceContents, FenceSetChange } from '../ports/fence.ts';
import type { ArmRequest, GateGroup } from '../ports/gate.ts';
import type { ArmingInputs } from './last-arming.ts';
import type { ServedPlaces } from './local-gate.ts';

const NOTHING: FenceSetChange<never> = { add: [], remove: [] };

export const UNCHANGED: FenceChange = {
  permit: null,
  alive: null,
  managed: NOTHING,
  enabled: NOTHING,
  muted: NOTHING,
  served: NOTHING,
  directors: NOTHING,
};

/** What decides which addresses are managed, and which of them are served. */
export type Managed = Pick<ArmingInputs, 'places' | 'version'> &
  Pick<FenceContents, 'managed' | 'served' | 'directors'>;

export const isSameManaged = (a: Managed | null, b: Managed): boolean =>
  a?.managed === b.managed &&
  a.served === b.served &&
  a.directors === b.directors &&
  a.places === b.places &&
  a.version === b.version;

/** Null: the kernel has it so, or nobody knows what it should have. */
export function servedDifference(
  known: FenceContents,
  wanted: ServedPlaces | undefined,
): Pick<FenceChange, 'served' | 'directors'> | null {
  if (wanted === undefined) return null;
  const served = difference(known.served, wanted.vips);
  const heard = difference(known.directors, wanted.directors);
  const directors = wanted.isComplete ? heard : { ...heard, remove: [] };
  return isNothing(served) && isNothing(directors) ? null : { served, directors };
}

const isNothing = ({ add, remove }: FenceSetChange<unknown>): boolean =>
  add.length + remove.length === 0;

function difference<T = IpAddress>(known: ReadonlySet<T>, wanted: readonly T[]): FenceSetChange<T> {
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
    served: changed(known.served, change.served),
    directors: changed(known.directors, change.directors),
  };
}

function changed<T>(known: ReadonlySet<T>, { add, remove }: FenceSetChange<T>): ReadonlySet<T> {
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

/** Bound by an agent, or silenced by its rules on one of its devices. */
export const isGated = (one: BoundAddress, contents: FenceContents | null): boolean =>
  one.protocol === ADDRESS_PROTOCOL ||
  (contents !== null &&
    contents.managed.has(one.address) &&
    contents.devices.some(({ index }) => index === one.linkIndex));

export const addressesOf = (groups: readonly GateGroup[]): readonly IpAddress[] => [
  ...new Set(groups.flatMap(({ addresses }) => addresses.map(({ address }) => address))),
];

/** Lets these speak, or forward, and nothing else; valid only while the round's permit lives. */
export function armingChange(
  { round, aliveMs }: Pick<ArmRequest, 'round' | 'aliveMs'>,
  armed: ArmRequest['groups'],
  contents: FenceContents | null,
): FenceChange {
  const speaking = addressesOf(armed.filter(({ mode }) => mode !== 'prepared'));
  const muted = addressesOf(armed.filter(({ mode }) => mode === 'muted'));
  const linkIndexes = armed.flatMap(({ addresses }) => addresses.map((one) => one.linkIndex));
  return {
    ...UNCHANGED,
    permit: round,
    alive: { linkIndexes: [...new Set(linkIndexes)], timeoutMs: aliveMs },
    enabled: difference(contents?.enabled ?? new Set(), speaking),
    muted: difference(contents?.muted ?? new Set(), muted),
  };
}
