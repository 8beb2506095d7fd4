/**
 * The real agents on fakes through drawn faults: never two voices for a VIP, and after peace exactly
 * one holder for each group. `npm run sim:many -- --seeds N --seed S` runs more of the same.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runSeed } from './chaos.ts';
import { type Mutation, World } from './world.ts';

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

describe('a VIP that moves from one group to another', () => {
  it('waits in the new group until the former holder enforces the spec that moved it', async () => {
    const world = new World({ seed: 1, directors: 2, groups: 2, rateSpread: 0, expiryLagMs: 0 });
    const [d1, d2] = world.directors;
    if (d1 === undefined || d2 === undefined) throw new Error('two directors are needed');
    world.applySpec();
    d1.start();
    await world.clock.runUntil(() => world.isSettled(), 30_000);
    d2.start();
    await world.clock.advance(2000);
    world.switchover('g2', 'd2');
    await world.clock.runUntil(() => world.holdersOf('g2').includes('d2'), 10_000);
    await world.clock.advance(1000);
    expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([['d1'], ['d2']]);
    // The former holder hears of the new spec five seconds late; its rounds go on meanwhile.
    if (d1.store !== null) d1.store.faults.watchLagMs = 5000;
    world.applySpec(3000, true);
    await world.clock.advance(4000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    await world.clock.advance(8000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
    await world.close();
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
