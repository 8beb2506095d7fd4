/**
 * What an operator's `rebalance` moves (design 6): groups with priorities to their best able director,
 * then as few others as bring every able director within a fair share, then those that should be apart.
 * The plan is a fixed point: planned again after it was carried out, it is empty.
 */
import { assert } from '../../lib/assert.ts';
import { rendezvousOrder } from '../../lib/hash.ts';
import type { VipGroup } from '../../model/cluster.ts';
import type { DirectorId, GroupId } from '../../model/ids.ts';
import { createPlacement, deriveLoads, effectivePriority, type Situation } from './order.ts';

export type RebalanceInput = {
  /** `able`: directors that are alive and do not drain; only they are given groups. */
  readonly situation: Situation;
  /** Whether the director could hold the group now (its interface, its tracks, its readiness). */
  readonly canHold: (director: DirectorId, group: GroupId) => boolean;
};

/** `priority`: another able director has a higher one. `bound`: the holder has more than its share. */
export type MoveReason = 'priority' | 'bound' | 'anti-affinity';

export type Move = {
  readonly group: GroupId;
  readonly from: DirectorId;
  readonly to: DirectorId;
  readonly reason: MoveReason;
};

export type RebalancePlan = {
  /** In the order of the spec's groups; each group at most once. */
  readonly moves: readonly Move[];
  /** A fair share: ⌈Σ weight / able directors⌉. */
  readonly bound: number;
  /** Σ weight per director of the spec, now and after the moves. */
  readonly before: ReadonlyMap<DirectorId, number>;
  readonly after: ReadonlyMap<DirectorId, number>;
};

/**
 * Groups that nobody holds, or whose holder is not able, stay out: takeover and release see to them.
 * Moves are fewest where all weights are equal. A share that cannot be kept (by weights, or by groups
 * with priorities) is approached: no single move would make the load more even.
 */
export function planRebalance(input: RebalanceInput): RebalancePlan {
  const draft = createDraft(input);
  movePreferred(draft);
  // Each step makes the excess smaller, or leaves it and separates groups, so it ends; the limit is
  // far beyond what a plan can need.
  for (let left = STEPS_PER_GROUP * draft.groups.size; left > 0; left--) {
    if (!relieve(draft) && !separate(draft) && !separateBySwap(draft)) break;
  }
  return finish(input, draft);
}

const STEPS_PER_GROUP = 16;

type Draft = {
  readonly bound: number;
  readonly loads: Map<DirectorId, number>;
  readonly owners: Map<GroupId, DirectorId | null>;
  readonly reasons: Map<GroupId, MoveReason>;
  /** Every group whose holder is able. */
  readonly groups: ReadonlyMap<GroupId, VipGroup>;
  /** Able directors that could take a group of `groups`, heirs first; its holder is among them. */
  readonly targets: ReadonlyMap<GroupId, readonly DirectorId[]>;
  readonly apartFrom: (group: GroupId) => ReadonlySet<GroupId>;
  readonly bonus: Situation['bonus'];
};

function createDraft({ situation, canHold }: RebalanceInput): Draft {
  const { able, owners } = situation;
  const sharing = situation.directors
    .map(({ id }) => id)
    .filter((id) => able === null || able.has(id));
  const groups = new Map<GroupId, VipGroup>();
  const targets = new Map<GroupId, readonly DirectorId[]>();
  for (const group of situation.groups) {
    const owner = owners.get(group.id) ?? null;
    if (owner === null || !sharing.includes(owner) || !canHold(owner, group.id)) continue;
    groups.set(group.id, group);
    targets.set(
      group.id,
      rendezvousOrder(group.id, sharing).filter((director) => canHold(director, group.id)),
    );
  }
  const { bound, apartFrom } = createPlacement(situation);
  return {
    bound,
    loads: deriveLoads(situation.groups, owners),
    owners: new Map(owners),
    reasons: new Map(),
    groups,
    targets,
    apartFrom,
    bonus: situation.bonus,
  };
}

/** Equal priorities are no reason to move. */
function movePreferred(draft: Draft): void {
  for (const group of draft.groups.values()) {
    if (group.priorities === null) continue;
    const { priorities } = group;
    const worth = (director: DirectorId): number => {
      const priority = priorities.get(director);
      return priority === undefined
        ? -Infinity
        : effectivePriority(priority, draft.bonus(director, group.id));
    };
    let best = holderOf(draft, group.id);
    for (const director of draft.targets.get(group.id) ?? [])
      if (worth(director) > worth(best)) best = director;
    move(draft, group, best, 'priority');
  }
}

/** One possible move of a group without priorities; of two the smaller tuple is better. */
type Option = {
  readonly group: VipGroup;
  readonly to: DirectorId;
  readonly rank: readonly number[];
};

/** Takes one group from the director with the most excess that can be helped. False: none can. */
function relieve(draft: Draft): boolean {
  const over = [...draft.loads]
    .filter(([, load]) => load > draft.bound)
    .sort(([a, loadA], [b, loadB]) => loadB - loadA || (a < b ? -1 : 1));
  for (const [from, load] of over) {
    const option = bestOption(draft, from, (group, to, index) => {
      const given = loadOf(draft, to) + group.weight;
      // An equal load on the other side helps nobody.
      if (given >= load || group.weight === 0) return null;
      const excess = Math.max(0, load - group.weight - draft.bound);
      const apart = conflicts(draft, group.id, to) - conflicts(draft, group.id, from);
      return [Math.max(0, given - draft.bound), apart, excess, group.weight, given, index];
    });
    if (option === null) continue;
    move(draft, option.group, option.to, 'bound');
    return true;
  }
  return false;
}

/** Moves one group away from a group that it should be apart from, into a share with room. */
function separate(draft: Draft): boolean {
  for (const from of draft.loads.keys()) {
    const option = bestOption(draft, from, (group, to, index) => {
      const given = loadOf(draft, to) + group.weight;
      const apart = conflicts(draft, group.id, to) - conflicts(draft, group.id, from);
      return apart >= 0 || given > draft.bound ? null : [apart, given, index];
    });
    if (option === null) continue;
    move(draft, option.group, option.to, 'anti-affinity');
    return true;
  }
  return false;
}

/** Where no share has room, two groups change places, if that leaves fewer that should be apart together. */
function separateBySwap(draft: Draft): boolean {
  for (const group of draft.groups.values()) {
    const from = holderOf(draft, group.id);
    if (group.priorities !== null || conflicts(draft, group.id, from) === 0) continue;
    for (const to of draft.targets.get(group.id) ?? []) {
      const partner = to === from ? undefined : findPartner(draft, group, to);
      if (partner === undefined) continue;
      move(draft, group, to, 'anti-affinity');
      move(draft, partner, from, 'anti-affinity');
      return true;
    }
  }
  return false;
}

function findPartner(draft: Draft, group: VipGroup, to: DirectorId): VipGroup | undefined {
  const from = holderOf(draft, group.id);
  return [...draft.groups.values()].find((other) => {
    if (other.priorities !== null || holderOf(draft, other.id) !== to) return false;
    if (draft.targets.get(other.id)?.includes(from) !== true || isWorse(draft, other.id, to, from))
      return false;
    if (isWorse(draft, group.id, from, to)) return false;
    const growth = group.weight - other.weight;
    // No excess may grow, or the steps would go in circles.
    if (growth > 0 && loadOf(draft, to) + growth > draft.bound) return false;
    if (growth < 0 && loadOf(draft, from) - growth > draft.bound) return false;
    // Two that should be apart are so before and after, yet each counts the other's old place.
    const mutual = draft.apartFrom(group.id).has(other.id) ? 2 : 0;
    const before = conflicts(draft, group.id, from) + conflicts(draft, other.id, to);
    const after = conflicts(draft, group.id, to) + conflicts(draft, other.id, from) - mutual;
    return after < before;
  });
}

/** The best move of a group away from `from`; `rank` says what one is worth, null: nothing. */
function bestOption(
  draft: Draft,
  from: DirectorId,
  rank: (group: VipGroup, to: DirectorId, index: number) => readonly number[] | null,
): Option | null {
  let best: Option | null = null;
  for (const group of draft.groups.values()) {
    if (group.priorities !== null || holderOf(draft, group.id) !== from) continue;
    for (const [index, to] of (draft.targets.get(group.id) ?? []).entries()) {
      if (to === from || isWorse(draft, group.id, from, to)) continue;
      const worth = rank(group, to, index);
      if (worth !== null && (best === null || isLess(worth, best.rank)))
        best = { group, to, rank: worth };
    }
  }
  return best;
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at >= 0 && (a[at] ?? 0) < (b[at] ?? 0);
}

/** Balance is no reason to go where the tracks say less. */
const isWorse = (draft: Draft, group: GroupId, from: DirectorId, to: DirectorId): boolean =>
  draft.bonus(to, group) < draft.bonus(from, group);

/** How many groups that it should be apart from the director holds. */
function conflicts(draft: Draft, group: GroupId, director: DirectorId): number {
  let count = 0;
  for (const other of draft.apartFrom(group)) if (draft.owners.get(other) === director) count += 1;
  return count;
}

const loadOf = (draft: Draft, director: DirectorId): number => draft.loads.get(director) ?? 0;

function holderOf(draft: Draft, group: GroupId): DirectorId {
  const holder = draft.owners.get(group) ?? null;
  assert(holder !== null, 'a group of the draft has a holder');
  return holder;
}

/** A group that is moved again keeps the first reason: it is what set it in motion. */
function move(draft: Draft, group: VipGroup, to: DirectorId, reason: MoveReason): void {
  const from = holderOf(draft, group.id);
  if (from === to) return;
  draft.owners.set(group.id, to);
  draft.loads.set(from, loadOf(draft, from) - group.weight);
  draft.loads.set(to, loadOf(draft, to) + group.weight);
  if (!draft.reasons.has(group.id)) draft.reasons.set(group.id, reason);
}

function finish({ situation }: RebalanceInput, draft: Draft): RebalancePlan {
  const moves: Move[] = [];
  for (const [group] of draft.groups) {
    const from = situation.owners.get(group) ?? null;
    const to = holderOf(draft, group);
    const reason = draft.reasons.get(group);
    if (from !== null && from !== to && reason !== undefined)
      moves.push({ group, from, to, reason });
  }
  const spread = (loads: ReadonlyMap<DirectorId, number>) =>
    new Map(situation.directors.map(({ id }) => [id, loads.get(id) ?? 0]));
  return {
    moves,
    bound: draft.bound,
    before: spread(deriveLoads(situation.groups, situation.owners)),
    after: spread(draft.loads),
  };
}
