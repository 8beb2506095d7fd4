import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { effectivePriority, type Situation } from '../../../../src/core/placement/order.ts';
import {
  planRebalance,
  type RebalanceInput,
  type RebalancePlan,
} from '../../../../src/core/placement/rebalance.ts';
import type { VipGroup } from '../../../../src/model/cluster.ts';
import type { DirectorId, GroupId } from '../../../../src/model/ids.ts';
import { anyGroup, anySituation, d, g, situation } from './situations.ts';

/** Every able director can hold every group that may be its. */
const free = (world: Situation): RebalanceInput => ({
  situation: world,
  canHold: (director, group) =>
    world.groups.find(({ id }) => id === group)?.priorities?.has(director) ?? true,
});

/** Some pairs of director and group do not go together. */
const limited = (world: Situation, not: ReadonlySet<string>): RebalanceInput => ({
  situation: world,
  canHold: (director, group) =>
    free(world).canHold(director, group) && !not.has(`${director} ${group}`),
});

const anyNot = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 24 })))
  .map((pairs) => new Set(pairs.map(([i, j]) => `d${i} g${j}`)));

function applyPlan(world: Situation, plan: RebalancePlan): Situation {
  const owners = new Map(world.owners);
  for (const { group, to } of plan.moves) owners.set(group, to);
  return { ...world, owners };
}

const isAble = (world: Situation, director: DirectorId): boolean =>
  world.able?.has(director) ?? true;

/** Pairs of groups that should be apart and are not. */
function together(world: Situation, groups: readonly VipGroup[]): number {
  const pairs = new Set<string>();
  for (const { id, antiAffinity } of groups)
    for (const other of antiAffinity) {
      const holder = world.owners.get(id) ?? null;
      if (other !== id && holder !== null && holder === world.owners.get(other))
        pairs.add([id, other].toSorted().join(' '));
    }
  return pairs.size;
}

const excess = (loads: ReadonlyMap<DirectorId, number>, bound: number): number =>
  [...loads.values()].reduce((sum, load) => sum + Math.max(0, load - bound), 0);

describe('planRebalance', () => {
  const six = [1, 2, 3, 4, 5, 6].map((i) => anyGroup(g(i)));

  it('gives a director that came back its share, with the fewest moves', () => {
    const owners = { g1: d(1), g2: d(1), g3: d(1), g4: d(2), g5: d(2), g6: d(2) };
    const plan = planRebalance(free(situation({ groups: six, owners })));
    expect(plan.bound).toBe(2);
    expect(plan.moves.map(({ from, to, reason }) => `${from} ${to} ${reason}`).toSorted()).toEqual([
      'd1 d3 bound',
      'd2 d3 bound',
    ]);
    expect(Object.fromEntries(plan.before)).toEqual({ d1: 3, d2: 3, d3: 0 });
    expect(Object.fromEntries(plan.after)).toEqual({ d1: 2, d2: 2, d3: 2 });
  });

  it('moves one group of the right weight rather than several', () => {
    const groups = [anyGroup(g(1), { weight: 4 }), ...[2, 3, 4, 5].map((i) => anyGroup(g(i)))];
    const owners = { g1: d(1), g2: d(1), g3: d(1), g4: d(1), g5: d(1) };
    const plan = planRebalance(free(situation({ directors: 2, groups, owners })));
    expect(plan.moves).toEqual([{ group: g(1), from: d(1), to: d(2), reason: 'bound' }]);
  });

  it('brings a group with priorities to its best able director, and counts it', () => {
    const groups = [
      anyGroup(g(1), { priorities: { d1: 100, d2: 150, d3: 200 } }),
      anyGroup(g(2)),
      anyGroup(g(3)),
    ];
    const owners = { g1: d(1), g2: d(2), g3: d(1) };
    const able = new Set([d(1), d(2)]);
    const plan = planRebalance(free(situation({ groups, owners, able })));
    expect(plan.moves).toEqual([{ group: g(1), from: d(1), to: d(2), reason: 'priority' }]);
    const tied = [anyGroup(g(1), { priorities: { d1: 100, d2: 100 } })];
    expect(planRebalance(free(situation({ groups: tied, owners: { g1: d(1) } }))).moves).toEqual(
      [],
    );
  });

  it('separates groups that should be apart, by an exchange where no share has room', () => {
    const groups = [anyGroup(g(1), { apart: [g(2)] }), ...six.slice(1, 4)];
    const owners = { g1: d(1), g2: d(1), g3: d(2), g4: d(2) };
    const world = situation({ directors: 2, groups, owners });
    const plan = planRebalance(free(world));
    expect(plan.moves).toHaveLength(2);
    expect(new Set(plan.moves.map(({ reason }) => reason))).toEqual(new Set(['anti-affinity']));
    expect(together(applyPlan(world, plan), groups)).toBe(0);
    const roomy = situation({ groups, owners: { ...owners, g3: d(3), g4: d(3) } });
    expect(planRebalance(free(roomy)).moves).toHaveLength(1);
  });

  it('does not move a group to where its tracks say less', () => {
    const owners = { g1: d(1), g2: d(1) };
    const bonus = { 'd2 g1': -10, 'd2 g2': -10 };
    const world = situation({ directors: 2, groups: six.slice(0, 2), owners, bonus });
    expect(planRebalance(free(world)).moves).toEqual([]);
  });

  it('leaves groups alone whose holder is not able, or that nobody holds', () => {
    const owners = { g1: d(1), g2: d(1), g3: d(1), g4: null };
    const world = situation({ groups: six, owners, able: new Set([d(2), d(3)]) });
    expect(planRebalance(free(world)).moves).toEqual([]);
    const stuck = situation({ groups: six, owners });
    const not = new Set(['d1 g1', 'd1 g2', 'd1 g3']);
    expect(planRebalance(limited(stuck, not)).moves).toEqual([]);
  });

  it('ends within the bound with the fewest moves where all weigh the same', () => {
    fc.assert(
      fc.property(anySituation({ weights: false, wishes: false }), (world) => {
        const plan = planRebalance(free(world));
        const ableLoads = (loads: ReadonlyMap<DirectorId, number>) =>
          new Map([...loads].filter(([director]) => isAble(world, director)));
        expect(excess(ableLoads(plan.after), plan.bound)).toBe(0);
        // Whoever is over must give away its excess, one group at a time: no plan can be shorter.
        expect(plan.moves).toHaveLength(excess(ableLoads(plan.before), plan.bound));
      }),
      { numRuns: 300 },
    );
  });

  it('leaves no single move that would bring weights nearer to the bound', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: false }), (world) => {
        const plan = planRebalance(free(world));
        const after = applyPlan(world, plan);
        for (const { id, weight } of world.groups) {
          const holder = after.owners.get(id) ?? null;
          if (holder === null || !isAble(world, holder)) continue;
          const load = plan.after.get(holder) ?? 0;
          if (load <= plan.bound) continue;
          for (const [director, other] of plan.after)
            if (isAble(world, director)) expect(other + weight).toBeGreaterThanOrEqual(load);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('moves only between able directors that can hold the group, and only what has a reason', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: true }), anyNot, (world, not) => {
        const input = limited(world, not);
        const plan = planRebalance(input);
        const groups = new Set<GroupId>();
        for (const { group, from, to } of plan.moves) {
          expect(from).not.toBe(to);
          expect(world.owners.get(group)).toBe(from);
          for (const director of [from, to]) {
            expect(isAble(world, director)).toBe(true);
            expect(input.canHold(director, group)).toBe(true);
          }
          expect(groups.has(group)).toBe(false);
          groups.add(group);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('plans nothing after it was carried out, and nothing in a cluster that is as it should be', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: true }), anyNot, (world, not) => {
        const after = applyPlan(world, planRebalance(limited(world, not)));
        const again = planRebalance(limited(after, not));
        expect(again.moves).toEqual([]);
        expect(again.before).toEqual(again.after);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps loads: what one loses another gets', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: true }), (world) => {
        const plan = planRebalance(free(world));
        const weightOf = new Map(world.groups.map(({ id, weight }) => [id, weight]));
        const expected = new Map(plan.before);
        for (const { group, from, to } of plan.moves) {
          const weight = weightOf.get(group) ?? 0;
          expected.set(from, (expected.get(from) ?? 0) - weight);
          expected.set(to, (expected.get(to) ?? 0) + weight);
        }
        expect(plan.after).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('leaves a group with priorities on one of its best able directors', () => {
    fc.assert(
      fc.property(anySituation({ weights: false, wishes: true }), anyNot, (world, not) => {
        const input = limited(world, not);
        const after = applyPlan(world, planRebalance(input));
        for (const { id, priorities } of world.groups) {
          const holder = after.owners.get(id) ?? null;
          if (priorities === null || holder === null) continue;
          if (!isAble(world, holder) || !input.canHold(holder, id)) continue;
          const worth = (director: DirectorId) =>
            effectivePriority(priorities.get(director) ?? 0, world.bonus(director, id));
          for (const { id: director } of world.directors)
            if (isAble(world, director) && input.canHold(director, id))
              expect(worth(director)).toBeLessThanOrEqual(worth(holder));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('never leaves more groups together that should be apart, when shares were kept before', () => {
    fc.assert(
      fc.property(anySituation({ weights: false, wishes: true }), (world) => {
        const groups = world.groups.map((group) => ({ ...group, priorities: null }));
        const plain = { ...world, groups };
        const plan = planRebalance(free(plain));
        if (excess(plan.before, plan.bound) > 0) return;
        const after = applyPlan(plain, plan);
        expect(together(after, groups)).toBeLessThanOrEqual(together(plain, groups));
      }),
      { numRuns: 300 },
    );
  });
});
