/**
 * Each rule of design 4 left out is found: `seed` is one that finds it, kept so that every run shows
 * it again. `npm run sim -- --mutation NAME` looks for others.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { mutated, runSeed } from './chaos.ts';
import { mutationNamed, MUTATIONS } from './mutations.ts';

const FOUND = new Map(
  readFileSync(new URL('./mutations.txt', import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => /^[a-z]/.test(line))
    .map((line) => {
      const [name = '', seed = ''] = line.split(/\s+/);
      return [name, Number(seed)] as const;
    }),
);

describe('the checkers', () => {
  it('have a seed for every rule', () => {
    expect([...FOUND.keys()].toSorted()).toEqual(MUTATIONS.map(({ name }) => name).toSorted());
  });

  it.each([...FOUND])('find that a rule is left out: %s', async (name, seed) => {
    const { violations } = await runSeed({ seed, overrides: mutated(mutationNamed(name)) });
    expect(violations).not.toEqual([]);
  });
});
