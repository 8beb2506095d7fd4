/** Whole agents on fakes: whose word counts on a real server, while etcd answers and while it does not. */
import { afterEach, describe, expect, it } from 'vitest';
import type { CheckTiming } from '../../../src/model/cluster.ts';
import { formatRecord } from '../../../src/model/records.ts';
import type { Machine } from '../../sim/machine.ts';
import { addressOf, keys } from '../../sim/spec.ts';
import { World } from '../../sim/world.ts';

const SERVER = addressOf(21);
const INTERVAL_MS = 2000;
const TIMEOUT_MS = 1000;
const FALL = 2;
/** From a real server's death to the end of its traffic, of the issue. */
const BOUND_MS = INTERVAL_MS * FALL + TIMEOUT_MS + 1000;

const worlds: World[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

/** d1 holds g1; the directors that `blind` names do not reach the first real server. */
async function settled(directors = 3, check: Partial<CheckTiming> = {}) {
  const options = { seed: 5, directors, groups: 1, rateSpread: 0, expiryLagMs: 0 };
  const world = new World({ ...options, hasServices: true });
  worlds.push(world);
  const blind = new Set<string>();
  world.targetOf = (machine, address) =>
    address === SERVER && blind.has(machine)
      ? { kind: 'hang' }
      : { kind: 'up', detail: 'up', latencyMs: 1 };
  world.applySpec({ check });
  for (const one of world.directors) one.start();
  await world.clock.advance(12_000);
  expect(world.holdersOf('g1')).toEqual(['d1']);
  return { world, blind };
}

/** Directors that send traffic to the first real server. */
const using = (world: World): string[] =>
  world.directors.filter((one) => isUsed(one)).map(({ name }) => name);

const isUsed = ({ ipvs }: Machine): boolean =>
  ipvs.table().services[0]?.destinations.some(({ address }) => address === SERVER) === true;

const votesOf = (world: World): Record<string, boolean> => {
  const found: Record<string, boolean> = {};
  for (const { key, value } of world.cluster.entries(`${keys.prefix}run/vote/`)) {
    const director = key.split('/').at(-1) ?? '';
    found[director] = (found[director] ?? true) && (JSON.parse(value) as { up: boolean }).up;
  }
  return found;
};

describe('while etcd answers', () => {
  it('a real server that one of three does not reach stays, and goes everywhere when two do not', async () => {
    const { world, blind } = await settled();
    blind.add('d1');
    await world.clock.advance(BOUND_MS);
    expect(votesOf(world)).toEqual({ d1: false, d2: true, d3: true });
    expect(using(world)).toEqual(['d1', 'd2', 'd3']);
    blind.add('d2');
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual([]);
    blind.clear();
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual(['d1', 'd2', 'd3']);
  });

  it('the tables of all follow the probe that decides within 50 ms', async () => {
    const { world, blind } = await settled();
    const seen = new Map<string, number[]>();
    world.targetOf = (machine, address) => {
      if (address !== SERVER || blind.size === 0) return { kind: 'up', detail: 'up', latencyMs: 1 };
      seen.set(machine, [...(seen.get(machine) ?? []), world.clock.now()]);
      return { kind: 'down', detail: 'refused', latencyMs: 1 };
    };
    blind.add('all');
    let goneAt: number | null = null;
    for (let ms = 0; ms < BOUND_MS && goneAt === null; ms += 2) {
      await world.clock.advance(2);
      if (using(world).length === 0) goneAt = world.clock.now();
    }
    // Each has decided with its second failure, and the second of them decides for all.
    const decided = [...seen.values()].map((times) => times[FALL - 1] ?? Infinity);
    const decidedAt = decided.toSorted((a, b) => a - b)[1] ?? Infinity;
    expect((goneAt ?? Infinity) - decidedAt).toBeLessThanOrEqual(50);
  });

  it('a voter that dies leaves the verdict as it is', async () => {
    const { world, blind } = await settled();
    blind.add('d1').add('d3');
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual([]);
    world.directors[2]?.crash();
    await world.clock.advance(40_000);
    expect(using(world).filter((name) => name !== 'd3')).toEqual([]);
  });

  it('nothing is written while nothing changes', async () => {
    const { world } = await settled();
    const votes = () => world.cluster.entries(`${keys.prefix}run/vote/`);
    const before = votes();
    await world.clock.advance(60_000);
    expect(votes()).toEqual(before);
  });
});

describe('checks of the holder alone', () => {
  it('are made by nobody else, and its word counts', async () => {
    const { world, blind } = await settled(3, { runBy: 'holder' });
    expect(votesOf(world)).toEqual({ d1: true });
    blind.add('d1');
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual([]);
  });

  it('go with the group, and what was known goes along', async () => {
    const { world, blind } = await settled(3, { runBy: 'holder' });
    blind.add('d1').add('d2').add('d3');
    await world.clock.advance(BOUND_MS);
    world.directors[0]?.stop();
    for (let ms = 0; ms < 20_000; ms += 50) {
      await world.clock.advance(50);
      expect(using(world)).toEqual([]);
    }
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(votesOf(world)).toEqual({ d2: false });
  });
});

describe('checks that rest while their real server is drained', () => {
  it('end with the drain, and begin again after it; the verdict stands meanwhile', async () => {
    const { world } = await settled(3, { whileDrained: false });
    const key = keys.real('web' as never, '10.90.0.21:80' as never);
    let probes = 0;
    world.targetOf = (_machine, address) => {
      if (address === SERVER) probes++;
      return { kind: 'up', detail: 'up', latencyMs: 1 };
    };
    const record = { v: 1, state: 'drain', weight: null, by: 'op', reason: 'r', at: '' } as const;
    world.cluster.write(key, formatRecord(record));
    await world.clock.advance(3000);
    const before = probes;
    await world.clock.advance(20_000);
    expect(probes).toBe(before);
    const [service] = world.directors[0]?.agent?.view.status().services ?? [];
    expect(service?.realServers[0]).toMatchObject({ health: 'up', basis: 'kept' });
    world.cluster.remove(key);
    await world.clock.advance(5000);
    expect(probes).toBeGreaterThan(before);
    expect(votesOf(world)).toEqual({ d1: true, d2: true, d3: true });
  });
});

describe('while etcd is away', () => {
  const cut = (world: World): void => {
    for (const one of world.directors) one.cutFromStore('away');
  };
  const heal = (world: World): void => {
    for (const one of world.directors) one.healToStore('away');
  };
  const holderUses = ({ directors: [d1] }: World): boolean => d1 !== undefined && isUsed(d1);

  it.each([2, 3, 5])(
    'a real server that dies leaves the table of the holder in time, with %i directors',
    async (directors) => {
      const { world, blind } = await settled(directors);
      cut(world);
      await world.clock.advance(5000);
      expect(world.holdersOf('g1')).toEqual(['d1']);
      expect(holderUses(world)).toBe(true);
      for (const { name } of world.directors) blind.add(name);
      await world.clock.advance(BOUND_MS);
      expect(holderUses(world)).toBe(false);
      // And it comes back where it is alive again.
      blind.clear();
      await world.clock.advance(BOUND_MS);
      expect(holderUses(world)).toBe(true);
    },
  );

  it.each([-1500, -500, 0, 500, 1000, 2000])(
    'a real server that dies %i ms after its last answer does so too',
    async (afterMs) => {
      const { world, blind } = await settled(3);
      const die = (): void => {
        for (const { name } of world.directors) blind.add(name);
      };
      if (afterMs < 0) die();
      await world.clock.advance(Math.max(0, -afterMs));
      cut(world);
      await world.clock.advance(Math.max(0, afterMs));
      die();
      await world.clock.advance(BOUND_MS);
      expect(holderUses(world)).toBe(false);
    },
  );

  it('one verdict stands again when it is back, and nothing flaps', async () => {
    const { world, blind } = await settled(3);
    const basis = (): string | undefined =>
      world.directors[0]?.agent?.view.status().services[0]?.realServers[0]?.basis;
    cut(world);
    await world.clock.advance(5000);
    for (const { name } of world.directors) blind.add(name);
    await world.clock.advance(BOUND_MS);
    expect(basis()).toBe('alone');
    heal(world);
    for (let ms = 0; ms < 20_000; ms += 20) {
      await world.clock.advance(20);
      expect(holderUses(world)).toBe(false);
    }
    expect(using(world)).toEqual([]);
    expect(basis()).toBe('majority');
    expect(votesOf(world)).toEqual({ d1: false, d2: false, d3: false });
  });

  it('what only the holder lost comes back with the votes of the others', async () => {
    const { world, blind } = await settled(3);
    cut(world);
    await world.clock.advance(5000);
    blind.add('d1');
    await world.clock.advance(BOUND_MS);
    expect(holderUses(world)).toBe(false);
    heal(world);
    await world.clock.advance(10_000);
    expect(using(world)).toEqual(['d1', 'd2', 'd3']);
  });

  it('nothing changes by that alone, also where the holder had been outvoted', async () => {
    const { world, blind } = await settled(3);
    blind.add('d1');
    // The others have had the time to see it as d1 does.
    await world.clock.advance(2 * BOUND_MS);
    cut(world);
    for (let ms = 0; ms < 30_000; ms += 100) {
      await world.clock.advance(100);
      expect(using(world)).toEqual(['d1', 'd2', 'd3']);
    }
  });

  it('who has given its group away meanwhile goes on with what it has found', async () => {
    const { world, blind } = await settled(3);
    const [d1] = world.directors;
    d1?.cutFromStore('away');
    await world.clock.advance(4000);
    for (const { name } of world.directors) blind.add(name);
    await world.clock.advance(BOUND_MS);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(using(world)).toEqual([]);
    for (let ms = 0; ms < 30_000; ms += 100) {
      await world.clock.advance(100);
      expect(using(world)).toEqual([]);
    }
    // What it sees now counts here, and the word of the others when it hears it again.
    blind.clear();
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual(['d1', 'd2', 'd3']);
    blind.add('d1');
    await world.clock.advance(BOUND_MS);
    expect(using(world)).toEqual(['d2', 'd3']);
    d1?.healToStore('away');
    await world.clock.advance(10_000);
    expect(using(world)).toEqual(['d1', 'd2', 'd3']);
  });

  it('no vote of a check that is the holder’s for a while is left behind', async () => {
    const { world, blind } = await settled(5);
    const before = votesOf(world);
    cut(world);
    await world.clock.advance(8000);
    for (const { name } of world.directors) blind.add(name);
    await world.clock.advance(BOUND_MS);
    blind.clear();
    await world.clock.advance(BOUND_MS);
    heal(world);
    await world.clock.advance(15_000);
    expect(votesOf(world)).toEqual(before);
    expect(using(world)).toHaveLength(5);
  });
});
