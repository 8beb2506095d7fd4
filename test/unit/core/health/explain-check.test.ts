/** What would change a verdict, in sentences. */
import { describe, expect, it } from 'vitest';
import { type CheckFacts, explainChange } from '../../../../src/core/health/explain-check.ts';
import type { CheckStatus } from '../../../../src/model/health.ts';

const UP: CheckStatus = { isUp: true, basis: 'majority', votesUp: 3, votesDown: 0 };
const facts = (fields: Partial<CheckFacts> = {}): CheckFacts => ({
  status: UP,
  checkers: 3,
  timing: { intervalMs: 2000, rise: 1, fall: 3 },
  patienceMs: 18_000,
  isHolders: false,
  against: [],
  contrary: 0,
  ...fields,
});

describe('what would change a verdict', () => {
  it('is more than half of those that check, each after its failures', () => {
    expect(explainChange(facts())).toEqual([
      'it is down when 2 of the 3 directors that check it say so; each says so after 3 failures in a row, asked every 2 s, and again at once after the first',
    ]);
  });

  it('is a success where one is enough, and at the pace that is asked for', () => {
    const down = { ...UP, isUp: false };
    expect(explainChange(facts({ status: down, checkers: 1 }))).toEqual([
      'it is up when 1 of the 1 director that check it say so; each says so after 1 success, asked every 2 s',
    ]);
    const timing = { intervalMs: 2000, rise: 1, fall: 2, retryMs: 500 };
    expect(explainChange(facts({ timing })).join()).toContain('every 500 ms from the first on');
    expect(explainChange(facts({ timing: { ...timing, retryMs: 0 } })).join()).toContain(
      'and without a pause from the first on',
    );
  });

  it('names who is outvoted, and what stands against this director’s own vote', () => {
    expect(explainChange(facts({ against: ['d1', 'd2'], contrary: 2 }))).toEqual([
      'd1 and d2 say down, and the others outvote it',
      expect.stringContaining('it is down when'),
      'this director has seen 2 of 3 against its vote so far',
    ]);
  });

  it.each([
    ['kept', 'to overrule what is known, or that the others say nothing for 18 s'],
    ['alone', 'that does not count here while etcd is away'],
  ] as const)('tells why votes do not count where the verdict is %s', (basis, words) => {
    const lines = explainChange(facts({ status: { ...UP, basis }, against: ['d2'] }));
    expect(lines.join()).toContain(words);
  });

  it('is the word of one where one decides', () => {
    const alone = explainChange(facts({ status: { ...UP, basis: 'alone' } }));
    expect(alone.join()).toContain('when this director finds it so');
    expect(explainChange(facts({ isHolders: true })).join()).toContain('the holder of its group');
    const initial = explainChange(facts({ status: { ...UP, basis: 'initial' }, checkers: 0 }));
    expect(initial.join()).toContain('the first vote decides');
    expect(initial.at(-1)).toBe('no director runs the check now');
  });
});
