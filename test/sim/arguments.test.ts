/** What `npm run sim` takes, and that it tells all that is wrong at once. */
import { describe, expect, it } from 'vitest';
import { readArguments } from './arguments.ts';

describe('the arguments of the simulation', () => {
  it('are a hundred schedules from the first one on where nothing is said', () => {
    expect(readArguments([])).toMatchObject({
      arguments: { seeds: 100, seed: 1, ms: 60_000, workers: 0, profile: null, resume: false },
    });
  });

  it('are taken as they are given', () => {
    const argv = '--seeds 7 --seed=9 --workers 2 --profile fast --trace --summary f --resume';
    expect(readArguments(argv.split(' '))).toMatchObject({
      arguments: { seeds: 7, seed: 9, workers: 2, profile: 'fast', summary: 'f', resume: true },
    });
  });

  it('are refused with all that is wrong with them', () => {
    const argv =
      'more --seeds many --seed -1 --profile quick --mutation none --wokers 2 --resume --trace=1 --ms';
    expect(readArguments(argv.split(' '))).toEqual({
      problems: [
        'more: no option',
        '--wokers: there is no such option',
        '2: no option',
        '--trace: takes no value',
        '--ms: wants a value',
        '--seeds many: wants a whole number from 1 on',
        '--seed -1: wants a whole number from 0 on',
        '--profile quick: wants one of fast, default, relaxed',
        '--mutation none: there is none of that name in test/sim/mutations.txt',
        '--resume: wants the --summary FILE to go on with',
      ],
    });
  });
});
