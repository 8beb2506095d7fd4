/** Knowledge of keys, merged: newer replaces older, and what nothing changes in stays the same object. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EMPTY_VIEW, mergeView, type ViewChange } from '../../../../src/core/election/view.ts';
import { groupId, revision } from '../../../../src/model/ids.ts';
import { D1, D2 } from './election-driver.ts';

const known = fc.record({
  rev: fc.integer({ min: 0, max: 2 }).map(revision),
  asOf: fc.integer({ min: 0, max: 4 }).map(revision),
  value: fc.constantFrom(null, true as const),
});
const change: fc.Arbitrary<ViewChange> = fc.oneof(
  fc.record({ of: fc.constant('drain' as const), name: fc.constantFrom(D1, D2), known }),
  fc.record({ of: fc.constant('lease' as const), name: fc.constant(groupId('g1')), known }),
);

/** The plain rule, one change after the other. */
function oracle(changes: readonly ViewChange[]): Map<string, ViewChange['known']> {
  const all = new Map<string, ViewChange['known']>();
  for (const { of, name, known: next } of changes) {
    const before = all.get(`${of} ${name}`);
    if (before === undefined || before.asOf <= next.asOf) all.set(`${of} ${name}`, next);
  }
  return all;
}

it('keeps what is newest of each key, and shares what has no news', () => {
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 6 }), (parts) => {
      let view = EMPTY_VIEW;
      for (const changes of parts) {
        const before = structuredClone(view);
        const next = mergeView(view, changes);
        expect(view, 'the one before is left alone').toEqual(before);
        const told = JSON.stringify([...next.drains, ...next.leases]);
        const hasNews = told !== JSON.stringify([...view.drains, ...view.leases]);
        if (hasNews) expect(next).not.toBe(view);
        // Several changes may cancel out.
        else if (changes.length < 2) expect(next).toBe(view);
        if (!changes.some(({ of }) => of === 'lease')) expect(next.leases).toBe(view.leases);
        expect(next.owners).toBe(EMPTY_VIEW.owners);
        view = next;
      }
      const all = oracle(parts.flat());
      const drains = [...view.drains].map(([name, one]) => [`drain ${name}`, one] as const);
      const leases = [...view.leases].map(([name, one]) => [`lease ${name}`, one] as const);
      expect(new Map<string, ViewChange['known']>([...drains, ...leases])).toEqual(all);
    }),
  );
});
