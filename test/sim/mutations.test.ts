/**
 * Each rule of design 4 left out is found: by the kept seed, or where the code has changed what
 * happens in it, by one of the next. `npm run sim -- --mutation NAME` looks for others.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { mutated, runSeed } from './chaos.ts';
import type { Law } from './checkers.ts';
import { mutationNamed, MUTATIONS } from './mutations.ts';

/** What a rule is for: one voice, by its record, and none that ends for nothing. */
const FINDING: ReadonlySet<Law> = new Set(['I1', 'I2', 'outage', 'takeover']);
/** So many seeds at most, from the kept one on. */
const SEARCHED = 80;

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

  it.each([...FOUND])('find that a rule is left out: %s', async (name, first) => {
    let found = 0;
    for (let seed = first; found === 0 && seed < first + SEARCHED; seed++) {
      const { violations } = await runSeed({ seed, overrides: mutated(mutationNamed(name)) });
      found = violations.filter(({ law }) => FINDING.has(law)).length;
    }
    expect(found).toBeGreaterThan(0);
  });
});
