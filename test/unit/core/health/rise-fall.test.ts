import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type RiseFallState,
  stepRiseFall,
  UNOBSERVED,
} from '../../../../src/core/health/rise-fall.ts';

const timing = { rise: 2, fall: 3 };
const UP: RiseFallState = { verdict: true, contrary: 0 };
const DOWN: RiseFallState = { verdict: false, contrary: 0 };

function feed(start: RiseFallState, results: string, spec = timing) {
  let state = start;
  const steps = results.split('').map((letter) => {
    const step = stepRiseFall(state, { isUp: letter === 'u' }, spec);
    state = step.state;
    return step;
  });
  return { state, steps, changes: steps.map((step) => step.change) };
}

describe('stepRiseFall', () => {
  it.each(['u', 'd'])('lets the first observation (%s) decide', (letter) => {
    const { steps, state } = feed(UNOBSERVED, letter);
    expect(steps[0]?.change).toBe(letter === 'u');
    expect(state).toEqual({ verdict: letter === 'u', contrary: 0 });
  });

  it('needs `fall` failures in a row', () => {
    expect(feed(UP, 'ddd').changes).toEqual([null, null, false]);
    expect(feed(UP, 'ddudd').changes).toEqual([null, null, null, null, null]);
  });

  it('needs `rise` successes in a row', () => {
    expect(feed(DOWN, 'uu').changes).toEqual([null, true]);
    expect(feed(DOWN, 'udu').changes).toEqual([null, null, null]);
  });

  it('asks for an early probe after the first contrary observation only', () => {
    expect(feed(UP, 'ddd').steps.map((step) => step.probeSoon)).toEqual([true, false, false]);
    expect(feed(UP, 'udud').steps.map((step) => step.probeSoon)).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });

  it('flips at once, without an early probe, where one observation is enough', () => {
    const { steps } = feed(UP, 'du', { rise: 1, fall: 1 });
    expect(steps).toMatchObject([
      { change: false, probeSoon: false },
      { change: true, probeSoon: false },
    ]);
  });

  it('agrees with counting runs over the whole history', () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        (history, rise, fall) => {
          const letters = history.map((isUp) => (isUp ? 'u' : 'd')).join('');
          const { state, changes } = feed(UNOBSERVED, letters, { rise, fall });
          expect(state.verdict).toBe(verdictByRuns(history, rise, fall));
          const flips = changes.filter((change) => change !== null);
          flips.forEach((change, i) => expect(change).not.toBe(flips[i + 1]));
        },
      ),
    );
  });
});

/** The dumb oracle: the last run that was long enough against what stood before it. */
function verdictByRuns(history: readonly boolean[], rise: number, fall: number): boolean | null {
  let verdict: boolean | null = null;
  for (let end = 1; end <= history.length; end++) {
    const last = history[end - 1] === true;
    let run = 0;
    while (run < end && history[end - 1 - run] === last) run++;
    if (verdict === null || run >= (last ? rise : fall)) verdict = last;
  }
  return verdict;
}
