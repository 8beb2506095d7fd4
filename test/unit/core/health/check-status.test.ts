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
    const status = deriveStatus(votes('uud'), known(false), false);
    expect(status).toEqual({ isUp: true, basis: 'majority', votesUp: 2, votesDown: 1 });
    expect(deriveStatus(votes('d'), known(true), false).isUp).toBe(false);
  });

  it.each([true, false])('keeps the last status (up: %s) at a tie', (isUp) => {
    const status = deriveStatus(votes('ud'), known(isUp), true);
    expect(status).toEqual({ isUp, basis: 'kept', votesUp: 1, votesDown: 1 });
  });

  it.each([true, false])(
    'keeps the last status (up: %s) without votes, again and again',
    (isUp) => {
      const once = deriveStatus([], known(isUp), isUp);
      expect(once).toEqual({ isUp, basis: 'kept', votesUp: 0, votesDown: 0 });
      expect(deriveStatus([], once, isUp)).toEqual(once);
    },
  );

  it('is initially up, or down with alpha, until a majority speaks', () => {
    expect(deriveStatus([], null, false)).toMatchObject({ isUp: true, basis: 'initial' });
    const alpha = deriveStatus([], null, true);
    expect(alpha).toMatchObject({ isUp: false, basis: 'initial' });
    expect(deriveStatus(votes('ud'), alpha, true)).toMatchObject({ isUp: false, basis: 'initial' });
    expect(deriveStatus(votes('u'), alpha, true)).toMatchObject({ isUp: true, basis: 'majority' });
  });

  it('follows a change of alpha while nothing is known', () => {
    const alpha = deriveStatus([], null, true);
    expect(deriveStatus([], alpha, false).isUp).toBe(true);
  });

  it('counts every vote once, in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean()), fc.boolean(), (list, before) => {
        const entries = list.map((isUp) => ({ isUp }));
        const status = deriveStatus(entries, known(before), false);
        expect(status.votesUp + status.votesDown).toBe(list.length);
        expect(deriveStatus(entries.toReversed(), known(before), false)).toEqual(status);
        if (status.votesUp > status.votesDown) expect(status.isUp).toBe(true);
        if (status.votesUp < status.votesDown) expect(status.isUp).toBe(false);
        if (status.votesUp === status.votesDown) expect(status.isUp).toBe(before);
      }),
    );
  });
});
