import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveStatus } from '../../../../src/core/health/check-status.ts';
import type { CheckStatus } from '../../../../src/model/health.ts';

const votes = (text: string) => text.split('').map((letter) => ({ isUp: letter === 'u' }));
const known = (isUp: boolean): CheckStatus => ({
  isUp,
  basis: 'majority',
  votesUp: isUp ? 1 : 0,
  votesDown: isUp ? 0 : 1,
});

describe('deriveStatus', () => {
  it('follows the majority', () => {
    const status = deriveStatus(votes('uud'), known(false), false, 1);
    expect(status).toEqual({ isUp: true, basis: 'majority', votesUp: 2, votesDown: 1 });
    expect(deriveStatus(votes('d'), known(true), false, 1).isUp).toBe(false);
  });

  it.each([true, false])('keeps the last status (up: %s) at a tie', (isUp) => {
    const status = deriveStatus(votes('ud'), known(isUp), true, 1);
    expect(status).toEqual({ isUp, basis: 'kept', votesUp: 1, votesDown: 1 });
  });

  it.each([true, false])(
    'keeps the last status (up: %s) without votes, again and again',
    (isUp) => {
      const once = deriveStatus([], known(isUp), isUp, 1);
      expect(once).toEqual({ isUp, basis: 'kept', votesUp: 0, votesDown: 0 });
      expect(deriveStatus([], once, isUp, 1)).toEqual(once);
    },
  );

  it('is initially up, or down with alpha, until a majority speaks', () => {
    expect(deriveStatus([], null, false, 1)).toMatchObject({ isUp: true, basis: 'initial' });
    const alpha = deriveStatus([], null, true, 1);
    expect(alpha).toMatchObject({ isUp: false, basis: 'initial' });
    expect(deriveStatus(votes('ud'), alpha, true, 1)).toMatchObject({
      isUp: false,
      basis: 'initial',
    });
    expect(deriveStatus(votes('u'), alpha, true, 1)).toMatchObject({
      isUp: true,
      basis: 'majority',
    });
  });

  it('follows a change of alpha while nothing is known', () => {
    const alpha = deriveStatus([], null, true, 1);
    expect(deriveStatus([], alpha, false, 1).isUp).toBe(true);
  });

  it('counts every vote once, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean()), fc.boolean(), (list, before) => {
        const entries = list.map((isUp) => ({ isUp }));
        const status = deriveStatus(entries, known(before), false, list.length);
        expect(status.votesUp + status.votesDown).toBe(list.length);
        expect(deriveStatus(entries.toReversed(), known(before), false, list.length)).toEqual(
          status,
        );
        if (status.votesUp > status.votesDown) expect(status.isUp).toBe(true);
        if (status.votesUp < status.votesDown) expect(status.isUp).toBe(false);
        if (status.votesUp === status.votesDown) expect(status.isUp).toBe(before);
      }),
    );
  });

  it.each([true, false])(
    'needs more than half of the checkers against what is known (up: %s)',
    (isUp) => {
      const kept: CheckStatus = { isUp, basis: 'kept', votesUp: 0, votesDown: 0 };
      const against = isUp ? 'd' : 'u';
      for (const previous of [kept, known(isUp)]) {
        const one = deriveStatus(votes(against), previous, false, 3);
        expect([one.isUp, one.basis]).toEqual([isUp, 'kept']);
        const two = deriveStatus(votes(against.repeat(2)), previous, false, 3);
        expect([two.isUp, two.basis]).toEqual([!isUp, 'majority']);
      }
      expect(deriveStatus(votes(against), kept, false, 2).isUp).toBe(isUp);
      expect(deriveStatus(votes(against), kept, false, 1).isUp).toBe(!isUp);
    },
  );

  it('needs no more than a majority for what is known already, or where nothing is', () => {
    expect(deriveStatus(votes('u'), known(true), false, 3).basis).toBe('majority');
    expect(deriveStatus(votes('d'), null, false, 3)).toMatchObject({
      isUp: false,
      basis: 'majority',
    });
  });
});
