/** Who runs which check: even, the same everywhere, and only what must move moves. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CheckPlacement, countCheckers } from '../../../../src/core/health/assignment.ts';
import { checkId, type DirectorId, directorId } from '../../../../src/model/ids.ts';

const directors = (count: number): DirectorId[] =>
  Array.from({ length: count }, (_, n) => directorId(`d${n + 1}`));
const checks = Array.from({ length: 2_000 }, (_, n) => checkId(`c${n}`));

describe('placement of checks', () => {
  it('gives each check to three directors by default, to all where there are fewer', () => {
    const [check] = checks;
    if (check === undefined) throw new Error('there are checks');
    expect(new CheckPlacement(directors(5), null).checkersOf(check)).toHaveLength(3);
    expect(new CheckPlacement(directors(2), null).checkersOf(check)).toHaveLength(2);
    expect(new CheckPlacement(directors(5), 1).checkersOf(check)).toHaveLength(1);
    expect(new CheckPlacement([], null).checkersOf(check)).toEqual([]);
    expect(countCheckers(5, null)).toBe(3);
    expect(countCheckers(2, 4)).toBe(2);
  });

  it('shares the checks evenly', () => {
    const live = directors(10);
    const placement = new CheckPlacement(live, 3);
    for (const me of live) {
      const mine = checks.filter((check) => placement.isChecker(check, me)).length;
      // 600 on average.
      expect(mine).toBeGreaterThan(480);
      expect(mine).toBeLessThan(720);
    }
  });

  it('answers the same to both questions, whatever the order of the directors', () => {
    const live = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }), {
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(live, fc.string(), fc.integer({ min: 1, max: 5 }), (names, name, k) => {
        const ids = names.map(directorId);
        const check = checkId(name);
        const placement = new CheckPlacement(ids, k);
        const checkers = placement.checkersOf(check);
        expect(new CheckPlacement(ids.toReversed(), k).checkersOf(check)).toEqual(checkers);
        expect(ids.filter((id) => placement.isChecker(check, id)).toSorted()).toEqual(
          checkers.toSorted(),
        );
      }),
    );
  });

  it('gives nothing to a director that is not there', () => {
    const placement = new CheckPlacement(directors(3), 2);
    const gone = directorId('left-the-document');
    expect(checks.filter((check) => placement.isChecker(check, gone))).toEqual([]);
  });

  it('moves only what the one that goes had, and only to one heir', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 1, max: 4 }), (count, k) => {
        const live = directors(count);
        const [gone, ...rest] = live;
        const before = new CheckPlacement(live, k);
        const after = new CheckPlacement(rest, k);
        for (const check of checks.slice(0, 200)) {
          const [was, is] = [before.checkersOf(check), after.checkersOf(check)];
          const lost = was.filter((id) => !is.includes(id));
          const gained = is.filter((id) => !was.includes(id));
          if (gone !== undefined && was.includes(gone)) {
            expect(lost).toEqual([gone]);
            expect(gained.length).toBeLessThanOrEqual(1);
          } else expect(is).toEqual(was);
        }
      }),
      { numRuns: 30 },
    );
  });
});
