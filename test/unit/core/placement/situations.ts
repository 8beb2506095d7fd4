/** Clusters for the tests of placement: short ways to write one, and arbitrary ones for properties. */
import fc from 'fast-check';
import type { Situation } from '../../../../src/core/placement/order.ts';
import type { VipGroup } from '../../../../src/model/cluster.ts';
import { type DirectorId, directorId, type GroupId, groupId } from '../../../../src/model/ids.ts';

export const d = (number: number): DirectorId => directorId(`d${number}`);
export const g = (number: number): GroupId => groupId(`g${number}`);

type GroupFields = Partial<Omit<VipGroup, 'id' | 'priorities' | 'antiAffinity'>> & {
  readonly priorities?: Readonly<Record<string, number>>;
  readonly apart?: readonly GroupId[];
};

export const anyGroup = (id: GroupId, { priorities, apart, ...fields }: GroupFields = {}) =>
  ({
    id,
    addresses: [],
    priorities:
      priorities === undefined
        ? null
        : new Map(Object.entries(priorities).map(([name, value]) => [directorId(name), value])),
    preempt: { kind: 'never' },
    virtualRouterId: null,
    vrrp: null,
    weight: 1,
    antiAffinity: apart ?? [],
    tracks: [],
    notify: null,
    connectionSync: null,
    ...fields,
  }) satisfies VipGroup;

type SituationFields = Partial<Omit<Situation, 'directors' | 'owners' | 'bonus'>> & {
  readonly directors?: number;
  readonly zones?: readonly (string | null)[];
  readonly owners?: Readonly<Record<string, DirectorId | null>>;
  /** `d1 g1` → what tracks add. */
  readonly bonus?: Readonly<Record<string, number>>;
};

export function situation({
  directors = 3,
  zones = [],
  groups = [],
  owners = {},
  able = null,
  bonus = {},
}: SituationFields = {}): Situation {
  return {
    directors: Array.from({ length: directors }, (_, i) => ({
      id: d(i + 1),
      zone: zones[i] ?? null,
    })),
    groups,
    owners: new Map(Object.entries(owners).map(([id, owner]) => [groupId(id), owner])),
    able,
    bonus: (director, group) => bonus[`${director} ${group}`] ?? 0,
  };
}

type Shape = { readonly weights: boolean; readonly wishes: boolean };

/**
 * Any cluster of up to 6 directors and 24 groups. `weights`: groups weigh 1 to 5, else 1. `wishes`: some
 * groups have priorities, are to be apart, or have tracks that count.
 */
export const anySituation = ({ weights, wishes }: Shape): fc.Arbitrary<Situation> =>
  fc
    .record({ directors: fc.integer({ min: 1, max: 6 }), groups: fc.integer({ min: 0, max: 24 }) })
    .chain((size) => {
      const directorNumber = fc.integer({ min: 1, max: size.directors });
      const group = fc.record({
        weight: weights ? fc.integer({ min: 1, max: 5 }) : fc.constant(1),
        owner: fc.option(directorNumber, { freq: 5 }),
        apart: wishes
          ? fc.array(fc.integer({ min: 1, max: 24 }), { maxLength: 2 })
          : fc.constant<number[]>([]),
        priorities: wishes
          ? fc.option(
              fc.dictionary(
                directorNumber.map((i) => `d${i}`),
                fc.integer({ min: 1, max: 4 }),
                { minKeys: 1 },
              ),
              { freq: 1 },
            )
          : fc.constant(null),
      });
      return fc.record({
        size: fc.constant(size),
        groups: fc.array(group, { minLength: size.groups, maxLength: size.groups }),
        able: fc.option(fc.uniqueArray(directorNumber, { minLength: 1 })),
        zones: fc.array(fc.constantFrom('east', 'west', null), { maxLength: size.directors }),
        bonus: wishes
          ? fc.dictionary(
              fc
                .tuple(directorNumber, fc.integer({ min: 1, max: 24 }))
                .map(([i, j]) => `d${i} g${j}`),
              fc.integer({ min: -3, max: 3 }),
            )
          : fc.constant({}),
      });
    })
    .map(({ size, groups, able, zones, bonus }) =>
      situation({
        directors: size.directors,
        zones,
        groups: groups.map(({ weight, apart, priorities }, i) =>
          anyGroup(g(i + 1), {
            weight,
            apart: apart.map(g),
            ...(priorities === null ? {} : { priorities }),
          }),
        ),
        owners: Object.fromEntries(
          groups.map(({ owner }, i) => [g(i + 1), owner === null ? null : d(owner)]),
        ),
        able: able === null ? null : new Set(able.map(d)),
        bonus,
      }),
    );
