/** What must not block: each on a cluster of real agents in the one situation where it could (design 4.16). */
import { afterEach, describe, expect, it } from 'vitest';
import { err } from '../../src/lib/result.ts';
import { directorId, revision } from '../../src/model/ids.ts';
import { calmStore } from './faults.ts';
import type { Machine } from './machine.ts';
import type { Mutation } from './mutations.ts';
import { kindOf, rewriteReads } from './rewriting.ts';
import { keys, timingOf } from './spec.ts';
import { World, type WorldOptions } from './world.ts';

let world: World;
afterEach(() => world.close());

/** All directors run, d1 holds all groups. */
async function start(options: Partial<WorldOptions>): Promise<readonly Machine[]> {
  world = new World({
    seed: 1,
    directors: 3,
    groups: 1,
    profile: 'default',
    rateSpread: 0,
    expiryLagMs: 0,
    ...options,
  });
  world.onConnect = (_, store) => calmStore(store);
  world.applySpec({});
  const [d1, ...others] = world.directors;
  d1?.start();
  await world.clock.runUntil(() => world.isSettled(), 60_000);
  for (const director of others) director.start();
  await world.clock.advance(10_000);
  for (const group of world.groupNames()) expect(world.holdersOf(group)).toEqual(['d1']);
  return world.directors;
}

/** Longer than D' and all that is waited for besides. */
const TAKEN_MS = 10_000;

describe('a challenge whose author has died', () => {
  /** What another has put is not seen. */
  const notAdopted: Mutation = {
    name: 'challenge-of-another-not-adopted',
    store: (store, { me }) =>
      rewriteReads(store, (read) => {
        if (read.value === null || kindOf(read.key) !== 'challenge') return read;
        const { by } = JSON.parse(read.value) as { by: string };
        return by === me ? read : { ...read, value: null, modRevision: revision(0) };
      }),
  };

  const orphan = async (mutation?: Mutation): Promise<readonly string[]> => {
    const [d1] = await start(mutation === undefined ? {} : { mutation });
    const key = keys.challenge(directorId('d1'));
    d1?.crash();
    await world.clock.runUntil(() => world.cluster.read(key).value !== null, 5000);
    const { by } = JSON.parse(world.cluster.read(key).value ?? '{}') as { by: string };
    world.directors.find(({ name }) => name === by)?.crash();
    const left = world.directors.filter(({ isAlive }) => isAlive).map(({ name }) => name);
    await world.clock.advance(TAKEN_MS);
    expect(world.violations).toEqual([]);
    return world.holdersOf('g1').map((name) => (left.includes(name) ? 'who is left' : name));
  };

  it('is adopted by who is left', async () => {
    expect(await orphan()).toEqual(['who is left']);
  });

  it('would block that one for ever if it were not', async () => {
    expect(await orphan(notAdopted)).toEqual([]);
  });
});

describe('a holder whose kernel refuses every batch', () => {
  it('makes way for the others, though it answers etcd', async () => {
    const [d1] = await start({ directors: 2, hasFence: true });
    const fence = d1?.fence ?? null;
    if (fence === null) throw new Error('a director without a fence');
    fence.commit = () =>
      Promise.resolve(err({ code: 'ENOMEM', message: 'change the fence: ENOMEM' }));
    await world.clock.advance(TAKEN_MS);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });
});

describe('two holders that have promised each other their groups', () => {
  it('speak again by themselves when both have lapsed', async () => {
    const [d1, d2] = await start({ directors: 2, groups: 2 });
    world.switchover('g2', 'd2');
    await world.clock.advance(TAKEN_MS);
    world.cluster.halt('lose');
    await world.clock.advance(2000);
    expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([['d1'], ['d2']]);
    d1?.pause();
    d2?.pause();
    await world.clock.advance(2 * timingOf(world.document).holdMs);
    expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([[], []]);
    d1?.resume();
    d2?.resume();
    await world.clock.advance(TAKEN_MS);
    expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([['d1'], ['d2']]);
    expect(world.violations).toEqual([]);
  });
});

describe('a former holder that dies before it says that it is mute', () => {
  it('is waited for until its session is broken', async () => {
    const [d1] = await start({ directors: 2 });
    world.lossOf.set('muted', 1);
    world.switchover('g1', 'd2');
    await world.clock.runUntil(() => world.ownerOf('g1') === 'd2', 5000);
    d1?.crash();
    await world.clock.advance(TAKEN_MS);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });
});
