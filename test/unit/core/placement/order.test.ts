import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createHeirs,
  createPlacement,
  effectivePriority,
  type Place,
  placementOrder,
} from '../../../../src/core/placement/order.ts';
import { rendezvousOrder } from '../../../../src/lib/hash.ts';
import { anyGroup, anySituation, d, g, situation } from './situations.ts';

const names = (order: readonly Place[]) => order.map(({ director }) => director);
const reasons = (order: readonly Place[]) =>
  Object.fromEntries(order.map(({ director, reason }) => [director, reason]));

describe('placement order with priorities', () => {
  const group = anyGroup(g(1), { priorities: { d1: 100, d2: 150, d4: 120 } });

  it('is by priority, and leaves out directors without one', () => {
    const order = placementOrder(group, situation({ directors: 4, groups: [group] }));
    expect(order).toEqual([
      { director: d(2), reason: 'priority' },
      { director: d(4), reason: 'priority' },
      { director: d(1), reason: 'priority' },
    ]);
  });

  it('counts what tracks add', () => {
    const bonus = { 'd2 g1': -60, 'd1 g1': 30, 'd4 g2': 100 };
    expect(names(placementOrder(group, situation({ directors: 4, bonus })))).toEqual(
      [1, 4, 2].map(d),
    );
  });

  it('keeps the effective priority within 1 to 254', () => {
    expect(effectivePriority(100, 500)).toBe(254);
    expect(effectivePriority(100, -500)).toBe(1);
    expect(effectivePriority(100, -20)).toBe(80);
    // Of the owner of the addresses, whom only a loss takes from there.
    expect(effectivePriority(255, 0)).toBe(255);
    expect(effectivePriority(255, 20)).toBe(255);
    expect(effectivePriority(255, -253)).toBe(2);
    expect(effectivePriority(254, 1)).toBe(254);
    // Both at the upper end: a tie, so rendezvous order decides and not what was cut off.
    const tied = anyGroup(g(7), { priorities: { d1: 200, d2: 250, d3: 1 } });
    const bonus = { 'd1 g7': 900, 'd2 g7': 60 };
    expect(names(placementOrder(tied, situation({ bonus })))).toEqual([
      ...rendezvousOrder(g(7), [d(1), d(2)]),
      d(3),
    ]);
  });

  it('is blind to load', () => {
    const groups = [group, ...[2, 3, 4].map((i) => anyGroup(g(i)))];
    const owners = { g2: d(2), g3: d(2), g4: d(2) };
    expect(names(placementOrder(group, situation({ directors: 4, groups, owners })))[0]).toBe(d(2));
  });
});

describe('placement order without priorities', () => {
  const groups = [1, 2, 3, 4, 5, 6].map((i) => anyGroup(g(i)));
  const first = groups[0] ?? anyGroup(g(1));

  it('is rendezvous order while every share has room', () => {
    const order = placementOrder(first, situation({ groups }));
    expect(names(order)).toEqual(rendezvousOrder(g(1), [d(1), d(2), d(3)]));
    expect(new Set(Object.values(reasons(order)))).toEqual(new Set(['within-bound']));
  });

  it('puts directors without room last, the least loaded of them first', () => {
    // ⌈6/3⌉ = 2 each.
    const owners = { g2: d(1), g3: d(1), g4: d(1), g5: d(2), g6: d(2) };
    const order = placementOrder(first, situation({ groups, owners }));
    expect(names(order)).toEqual([d(3), d(2), d(1)]);
    expect(reasons(order)).toEqual({ d3: 'within-bound', d2: 'over-bound', d1: 'over-bound' });
  });

  it('does not count the group itself against its holder', () => {
    const owners = { g1: d(1), g2: d(1), g3: d(2), g4: d(2), g5: d(3), g6: d(3) };
    expect(names(placementOrder(first, situation({ groups, owners })))[0]).toBe(d(1));
  });

  it('shares among the able only', () => {
    const owners = { g2: d(1), g3: d(1), g4: d(2) };
    const all = createPlacement(situation({ groups, owners }));
    const two = createPlacement(situation({ groups, owners, able: new Set([d(1), d(2)]) }));
    expect([all.bound, two.bound]).toEqual([2, 3]);
    expect(reasons(all.order(first))).toMatchObject({ d1: 'over-bound' });
    expect(reasons(two.order(first))).toMatchObject({ d1: 'within-bound' });
    expect(createPlacement(situation({ groups, able: new Set() })).bound).toBe(6);
  });

  it('puts a director with a group to be apart from last in its class, whichever of the two says so', () => {
    const [apart, other] = [anyGroup(g(1), { apart: [g(2)] }), anyGroup(g(2))];
    const rest = [3, 4, 5, 6].map((i) => anyGroup(g(i)));
    const owners = { g1: d(2), g2: d(1), g3: d(3), g4: d(3) };
    const both = situation({ groups: [apart, other, ...rest], owners });
    expect(placementOrder(apart, both).map(({ reason }) => reason)).toEqual([
      'within-bound',
      'anti-affinity',
      'over-bound',
    ]);
    expect(names(placementOrder(apart, both))).toEqual([d(2), d(1), d(3)]);
    expect(names(placementOrder(other, both))).toEqual([d(1), d(2), d(3)]);
  });

  it('does not mind a group that is to be apart from itself or from one that does not exist', () => {
    const odd = anyGroup(g(1), { apart: [g(1), g(9)] });
    const world = situation({ groups: [odd], owners: { g1: d(1), g9: d(2) } });
    expect(createPlacement(world).apartFrom(g(1)).size).toBe(0);
  });

  it('prefers a zone with less of what should be apart', () => {
    const pair = [anyGroup(g(1), { apart: [g(2)] }), anyGroup(g(2))];
    const owners = { g2: d(1) };
    const zones = ['east', 'east', 'west'];
    const order = placementOrder(
      pair[0] ?? first,
      situation({ groups: [...pair, ...groups.slice(2)], owners, zones }),
    );
    expect(names(order)).toEqual([d(3), d(2), d(1)]);
  });

  it('takes a director without a zone for a zone of its own', () => {
    const pair = [anyGroup(g(1), { apart: [g(2)] }), anyGroup(g(2))];
    const world = situation({ groups: [...pair, ...groups.slice(2)], owners: { g2: d(1) } });
    expect(names(placementOrder(pair[0] ?? first, world)).slice(0, 2)).toEqual(
      rendezvousOrder(g(1), [d(2), d(3)]),
    );
  });

  it('prefers directors whose tracks say more', () => {
    const order = placementOrder(first, situation({ groups, bonus: { 'd1 g1': -5, 'd2 g1': -1 } }));
    expect(names(order)).toEqual([d(3), d(2), d(1)]);
    expect(reasons(order)).toEqual({ d3: 'within-bound', d2: 'tracks', d1: 'tracks' });
  });
});

describe('placement', () => {
  it('names every director that may hold the group once, the same on every director', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: true }), (world) => {
        const placement = createPlacement(world);
        const turned = createPlacement({ ...world, directors: world.directors.toReversed() });
        for (const group of world.groups) {
          const order = placement.order(group);
          const may = world.directors.filter(({ id }) => group.priorities?.has(id) ?? true);
          expect(names(order).toSorted()).toEqual(may.map(({ id }) => id).toSorted());
          expect(turned.order(group)).toEqual(order);
          expect(placementOrder(group, world)).toEqual(order);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('never prefers a director without room to one with room, tracks and priorities aside', () => {
    fc.assert(
      fc.property(anySituation({ weights: true, wishes: false }), (world) => {
        const placement = createPlacement(world);
        for (const group of world.groups) {
          const given = names(placement.order(group)).map((director) => {
            const own = world.owners.get(group.id) === director ? group.weight : 0;
            return placement.loadOf(director) - own + group.weight;
          });
          const over = given.filter((load) => load > placement.bound);
          expect(given.slice(given.length - over.length)).toEqual(over.toSorted((a, b) => a - b));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('moves only the groups of a director that went, while shares have room', () => {
    const groups = Array.from({ length: 40 }, (_, i) => anyGroup(g(i + 1)));
    const three = createPlacement(situation({ groups }));
    const two = createPlacement(situation({ groups, directors: 2 }));
    for (const group of groups) {
      const best = three.order(group)[0]?.director;
      if (best !== d(3)) expect(two.order(group)[0]?.director).toBe(best);
    }
  });

  it('computes an order once, and heirs once for all situations', () => {
    const groups = [anyGroup(g(1)), anyGroup(g(2))];
    const heirs = createHeirs([d(1), d(2), d(3)]);
    expect(heirs(g(1))).toBe(heirs(g(1)));
    const placement = createPlacement(situation({ groups }), heirs);
    const group = groups[0] ?? anyGroup(g(1));
    expect(placement.order(group)).toBe(placement.order(group));
    expect(placement.order(group)).toEqual(placementOrder(group, situation({ groups })));
  });
});
