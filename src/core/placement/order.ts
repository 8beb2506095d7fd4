/**
 * Which director should hold a VIP group: the order in which directors stand for it (design 6). Every
 * director computes the same from the same inputs; it is advice, the owner record is the safety. It
 * knows nothing of obstacles (who is alive, ready, draining): the caller passes over those that have one,
 * and keeps a live holder where it is.
 */
import { rendezvousOrder } from '../../lib/hash.ts';
import type { VipGroup } from '../../model/cluster.ts';
import type { DirectorId, GroupId } from '../../model/ids.ts';
import { VRRP_PRIORITY_OWNER } from '../../model/vrrp.ts';

/** What placement is computed from; all of it is the same on every director. */
export type Situation = {
  readonly directors: readonly { readonly id: DirectorId; readonly zone: string | null }[];
  readonly groups: readonly VipGroup[];
  /** Who holds what now; a group without an entry is held by nobody. */
  readonly owners: ReadonlyMap<GroupId, DirectorId | null>;
  /** Directors that share the load now; null: all. */
  readonly able: ReadonlySet<DirectorId> | null;
  /** What a director's tracks add for the group; 0 where none counts. */
  readonly bonus: (director: DirectorId, group: GroupId) => number;
};

/**
 * Why a director stands where it stands: by its priority; without priorities because its share has room,
 * because it has none, because it holds a group that should be apart, or because its tracks say less
 * than those of the best.
 */
export type PlaceReason = 'priority' | 'within-bound' | 'over-bound' | 'anti-affinity' | 'tracks';

export type Place = { readonly director: DirectorId; readonly reason: PlaceReason };

/** Rendezvous order of the directors for a group, remembered: it changes with the directors only. */
export type Heirs = (group: GroupId) => readonly DirectorId[];

export type Placement = {
  /** All directors that may ever hold the group, best first; the same array each time. */
  readonly order: (group: VipGroup) => readonly Place[];
  /** A fair share: ⌈Σ weight / able directors⌉. */
  readonly bound: number;
  /** Σ weight of the groups that the director owns. */
  readonly loadOf: (director: DirectorId) => number;
  /** Groups that should not be where this one is, whichever of the two says so. */
  readonly apartFrom: (group: GroupId) => ReadonlySet<GroupId>;
};

export const LOWEST_PRIORITY = 1;
export const HIGHEST_PRIORITY = 254;
const NONE: ReadonlySet<GroupId> = new Set();

/**
 * Priority with what tracks add, kept within 1 to 254 (RFC 9568 5.2.4: 0 and 255 mean other things). The owner of
 * the addresses has 255 as long as nothing is taken from it.
 */
export const effectivePriority = (priority: number, bonus: number): number =>
  priority === VRRP_PRIORITY_OWNER && bonus >= 0
    ? VRRP_PRIORITY_OWNER
    : Math.min(HIGHEST_PRIORITY, Math.max(LOWEST_PRIORITY, priority + bonus));

/** Of the directors of one spec; keep it as long as they stay the same. */
export function createHeirs(directors: readonly DirectorId[]): Heirs {
  const known = new Map<GroupId, readonly DirectorId[]>();
  return (group) => {
    const old = known.get(group);
    if (old !== undefined) return old;
    const order = rendezvousOrder(group, directors);
    known.set(group, order);
    return order;
  };
}

/**
 * Placement in one situation: loads are summed once, each group's order is computed when asked for the
 * first time. `heirs` must be of the same directors.
 */
export function createPlacement(
  situation: Situation,
  heirs: Heirs = createHeirs(situation.directors.map(({ id }) => id)),
): Placement {
  const loads = deriveLoads(situation.groups, situation.owners);
  const apart = deriveApart(situation.groups);
  const bound = deriveBound(situation);
  const scales: Scales = {
    situation,
    heirs,
    bound,
    loadOf: (director) => loads.get(director) ?? 0,
    apartFrom: (group) => apart.get(group) ?? NONE,
    zones: new Map(situation.directors.map(({ id, zone }) => [id, zone])),
    weights: new Map(situation.groups.map(({ id, weight }) => [id, weight])),
  };
  const known = new Map<VipGroup, readonly Place[]>();
  return {
    order: (group) => {
      const old = known.get(group);
      if (old !== undefined) return old;
      const order =
        group.priorities === null
          ? orderByLoad(scales, group)
          : orderByPriority(scales, group.id, group.priorities);
      known.set(group, order);
      return order;
    },
    bound,
    loadOf: scales.loadOf,
    apartFrom: scales.apartFrom,
  };
}

/** The order for one group only; for many of them make one placement and ask that. */
export const placementOrder = (group: VipGroup, situation: Situation): readonly Place[] =>
  createPlacement(situation).order(group);

type Scales = Pick<Placement, 'bound' | 'loadOf' | 'apartFrom'> & {
  readonly situation: Situation;
  readonly heirs: Heirs;
  readonly zones: ReadonlyMap<DirectorId, string | null>;
  readonly weights: ReadonlyMap<GroupId, number>;
};

function orderByPriority(
  { heirs, situation }: Scales,
  group: GroupId,
  priorities: ReadonlyMap<DirectorId, number>,
): readonly Place[] {
  const ranked: { readonly place: Place; readonly priority: number }[] = [];
  for (const director of heirs(group)) {
    const priority = priorities.get(director);
    if (priority === undefined) continue;
    const bonus = situation.bonus(director, group);
    ranked.push({
      place: { director, reason: 'priority' },
      priority: effectivePriority(priority, bonus),
    });
  }
  // The sort is stable: equal priorities stay in rendezvous order.
  return ranked.sort((a, b) => b.priority - a.priority).map(({ place }) => place);
}

/** What a director is measured by for one group without priorities, the first that differs decides. */
type Measure = {
  readonly director: DirectorId;
  readonly bonus: number;
  readonly isOver: boolean;
  readonly holdsApart: boolean;
  /** Σ weight of the groups to be apart from that are in its zone. */
  readonly zoneLoad: number;
  readonly load: number;
};

function orderByLoad(scales: Scales, group: VipGroup): readonly Place[] {
  const { situation, heirs, bound } = scales;
  const owner = situation.owners.get(group.id) ?? null;
  const apart = deriveApartLoads(scales, group.id);
  const measures: Measure[] = [];
  let best = -Infinity;
  for (const director of heirs(group.id)) {
    const load = scales.loadOf(director) - (director === owner ? group.weight : 0);
    const bonus = situation.bonus(director, group.id);
    best = Math.max(best, bonus);
    const zone = scales.zones.get(director) ?? null;
    measures.push({
      director,
      bonus,
      isOver: load + group.weight > bound,
      holdsApart: apart.holders.has(director),
      zoneLoad: zone === null ? 0 : (apart.zoneLoads.get(zone) ?? 0),
      load,
    });
  }
  return measures
    .sort(compareMeasures)
    .map((measure) => ({ director: measure.director, reason: reasonOf(measure, best) }));
}

/** Within a share with room the load does not count, so that a group's heirs stay the same. */
function compareMeasures(a: Measure, b: Measure): number {
  return (
    b.bonus - a.bonus ||
    Number(a.isOver) - Number(b.isOver) ||
    Number(a.holdsApart) - Number(b.holdsApart) ||
    a.zoneLoad - b.zoneLoad ||
    (a.isOver ? a.load - b.load : 0)
  );
}

function reasonOf(measure: Measure, bestBonus: number): PlaceReason {
  if (measure.bonus < bestBonus) return 'tracks';
  if (measure.holdsApart) return 'anti-affinity';
  return measure.isOver ? 'over-bound' : 'within-bound';
}

/** Where the groups are that this one should be apart from. */
function deriveApartLoads(scales: Scales, group: GroupId) {
  const holders = new Set<DirectorId>();
  const zoneLoads = new Map<string, number>();
  for (const other of scales.apartFrom(group)) {
    const holder = scales.situation.owners.get(other) ?? null;
    if (holder === null) continue;
    holders.add(holder);
    const zone = scales.zones.get(holder) ?? null;
    const weight = scales.weights.get(other) ?? 0;
    if (zone !== null) zoneLoads.set(zone, (zoneLoads.get(zone) ?? 0) + weight);
  }
  return { holders, zoneLoads };
}

/** Σ weight of the groups that each director owns. */
export function deriveLoads(
  groups: readonly VipGroup[],
  owners: ReadonlyMap<GroupId, DirectorId | null>,
): Map<DirectorId, number> {
  const loads = new Map<DirectorId, number>();
  for (const { id, weight } of groups) {
    const owner = owners.get(id) ?? null;
    if (owner !== null) loads.set(owner, (loads.get(owner) ?? 0) + weight);
  }
  return loads;
}

function deriveBound({ groups, directors, able }: Situation): number {
  const sum = groups.reduce((total, { weight }) => total + weight, 0);
  const sharing = directors.filter(({ id }) => able === null || able.has(id)).length;
  return Math.ceil(sum / Math.max(1, sharing));
}

/** One of two groups names the other; a group that is named but not in the spec does not count. */
function deriveApart(groups: readonly VipGroup[]): Map<GroupId, Set<GroupId>> {
  const known = new Set(groups.map(({ id }) => id));
  const apart = new Map<GroupId, Set<GroupId>>();
  const add = (group: GroupId, other: GroupId) => {
    const others = apart.get(group);
    if (others === undefined) apart.set(group, new Set([other]));
    else others.add(other);
  };
  for (const { id, antiAffinity } of groups) {
    for (const other of antiAffinity) {
      if (other === id || !known.has(other)) continue;
      add(id, other);
      add(other, id);
    }
  }
  return apart;
}
