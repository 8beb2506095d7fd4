/**
 * The real agents on fakes through drawn faults: never two voices for a VIP, and after peace exactly
 * one holder for each group. `npm run sim:many -- --seeds N --seed S` runs more of the same.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runSeed } from './chaos.ts';
import type { Mutation } from './world.ts';

const KEPT = readFileSync(new URL('./seeds.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => /^\d/.test(line))
  .map((line) => Number(line.split(/\s/)[0]));

async function expectClean(seed: number): Promise<void> {
  const { violations, healedMs } = await runSeed({ seed });
  expect(violations, `seed ${seed}`).toEqual([]);
  expect(healedMs, `seed ${seed} settles after peace`).not.toBeNull();
}

describe('directors under drawn faults', () => {
  it.each(KEPT)('stay right with seed %i, which found a bug', expectClean);

  it('never speak with two voices, and settle after peace, in 200 seeds', async () => {
    for (let seed = 1; seed <= 200; seed++) await expectClean(seed);
  });
});

describe('the checker', () => {
  it.each<{ readonly mutation: Mutation; readonly first: number }>([
    { mutation: 'unguarded', first: 330 },
    { mutation: 'challenge-ignored', first: 1 },
    { mutation: 'no-lifetime', first: 1 },
  ])('finds two voices when a rule is left out: $mutation', async ({ mutation, first }) => {
    let found = 0;
    for (let seed = first; seed < first + 40; seed++) {
      const { violations } = await runSeed({ seed, overrides: { mutation } });
      if (violations.some(({ text }) => text.includes('binds'))) found++;
    }
    expect(found).toBeGreaterThan(0);
  });
});
