/** Single laws, each on a cluster of real agents brought into the one situation where it counts. */
import { afterEach, describe, expect, it } from 'vitest';
import { err } from '../../src/lib/result.ts';
import type { TimingProfile } from '../../src/model/cluster.ts';
import { groupId } from '../../src/model/ids.ts';
import { formatRecord } from '../../src/model/records.ts';
import type { StoreRead } from '../../src/ports/cluster-store.ts';
import { calmStore } from './faults.ts';
import type { Machine } from './machine.ts';
import { type Mutation, mutationNamed } from './mutations.ts';
import { rewriteFence, rewriteReads } from './rewriting.ts';
import { keys, timingOf, vipOf } from './spec.ts';
import { World, type WorldOptions } from './world.ts';

let world: World;
afterEach(() => world.close());

/** A kernel that falls silent eight seconds late: by no D but that of a freeze it might. */
const SPEAKS_ON: Mutation = {
  name: 'gate-expires-late',
  kernelKeeps: true,
  fence: (fence) =>
    rewriteFence(fence, (change) =>
      change.alive === null
        ? change
        : { ...change, alive: { ...change.alive, timeoutMs: change.alive.timeoutMs + 8000 } },
    ),
};

/** d1 holds g1, d2 holds g2, all are settled; clocks are equal and kernels on time. */
async function startPair(
  options: Partial<WorldOptions> = {},
  holdFactor = 1,
): Promise<readonly [Machine, Machine]> {
  world = new World({
    seed: 1,
    directors: 2,
    groups: 2,
    rateSpread: 0,
    expiryLagMs: 0,
    ...options,
  });
  const [d1, d2] = world.directors;
  if (d1 === undefined || d2 === undefined) throw new Error('two directors are needed');
  world.onConnect = (_, store) => calmStore(store);
  world.applySpec({ holdFactor });
  d1.start();
  await world.clock.runUntil(() => world.isSettled(), 60_000);
  d2.start();
  await world.clock.advance(3000);
  world.switchover('g2', 'd2');
  await world.clock.runUntil(() => world.holdersOf('g2').includes('d2'), 10_000);
  await world.clock.advance(1000);
  expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([['d1'], ['d2']]);
  return [d1, d2];
}

describe('a VIP that moves from one group to another', () => {
  it('waits in the new group until the former holder enforces the spec that moved it', async () => {
    const [d1] = await startPair();
    // The former holder hears of the new spec five seconds late; its rounds go on meanwhile.
    if (d1.store !== null) d1.store.faults.watchLagMs = 5000;
    world.applySpec({ isMoved: true });
    await world.clock.advance(4000);
    expect(world.answering(vipOf('g1'))).toEqual(['d1']);
    await world.clock.advance(8000);
    expect(world.answering(vipOf('g1'))).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });

  it('waits for ever while the former holder cannot use that spec', async () => {
    await startPair({ rejectsMove: 'd1' });
    world.applySpec({ isMoved: true });
    await world.clock.advance(30_000);
    expect(world.answering(vipOf('g1'))).toEqual(['d1']);
    expect(world.violations).toEqual([]);
  });

  it('waits also in a director that has just been started', async () => {
    const [, d2] = await startPair({ rejectsMove: 'd1' });
    world.applySpec({ isMoved: true });
    d2.crash();
    await world.clock.advance(1000);
    d2.start();
    await world.clock.advance(30_000);
    expect(world.answering(vipOf('g1'))).toEqual(['d1']);
    expect(world.violations).toEqual([]);
  });

  // By its own document it would let the VIP speak in its old group, also beside the new one.
  it.each([
    ['restarted', 100, (d1: Machine) => d1.crash()],
    ['upgraded', 3000, (d1: Machine) => d1.stop('freeze')],
  ])(
    'and speaks there, is not taken in its old group by who cannot use that spec: holder %s',
    async (_, awayMs, end) => {
      const [d1, d2] = await startPair({ rejectsMove: 'd2' });
      d2.crash();
      await world.clock.runUntil(() => world.holdersOf('g2').includes('d1'), 30_000);
      await world.clock.advance(20_000);
      d2.start();
      await world.clock.advance(5000);
      world.applySpec({ isMoved: true });
      await world.clock.advance(3000);
      expect(world.answering(vipOf('g1'))).toEqual([]);
      end(d1);
      await world.clock.advance(awayMs);
      if (d1.isAlive) d1.crash();
      d1.start();
      await world.clock.advance(3000);
      expect(world.answering(vipOf('g1'))).toEqual(['d1']);
      world.switchover('g1', 'd2');
      await world.clock.advance(10_000);
      expect(world.answering(vipOf('g1'))).toEqual(['d1']);
      expect(world.ownerOf('g1')).toBe('d1');
      expect(world.violations).toEqual([]);
    },
  );

  it('nor by who was away when it moved, and cannot use that spec', async () => {
    const [, d2] = await startPair({ rejectsMove: 'd2' });
    world.switchover('g2', 'd1');
    await world.clock.runUntil(() => world.holdersOf('g2').includes('d1'), 10_000);
    d2.cutFromStore('law');
    await world.clock.advance(20_000);
    world.applySpec({ isMoved: true });
    await world.clock.runUntil(() => world.answering(vipOf('g1')).includes('d1'), 20_000);
    d2.healToStore('law');
    await world.clock.advance(5000);
    world.switchover('g1', 'd2');
    await world.clock.advance(10_000);
    expect(world.answering(vipOf('g1'))).toEqual(['d1']);
    expect(world.ownerOf('g1')).toBe('d1');
    expect(world.violations).toEqual([]);
  });

  it('is taken by who cannot use that spec when its holder is dead', async () => {
    const [d1] = await startPair({ rejectsMove: 'd2' });
    world.applySpec({ isMoved: true });
    await world.clock.advance(3000);
    d1.crash();
    await world.clock.runUntil(() => world.answering(vipOf('g1')).includes('d2'), 20_000);
    expect(world.answering(vipOf('g1'))).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });

  it('is asked for on the network before it opens there: its former holder may go on without etcd', async () => {
    const [d1, d2] = await startPair({ isolation: 'gateway' });
    world.switchover('g1', 'd2');
    await world.clock.runUntil(() => world.holdersOf('g1').includes('d2'), 10_000);
    await world.clock.advance(3000);
    d2.cutFromStore('law');
    world.peers.cut(d1.id, d2.id);
    world.peers.cut(d2.id, d1.id);
    world.applySpec({ isMoved: true });
    // With its lease; from then on d1 waits for nobody but the holder by the record.
    world.cluster.remove(keys.report(d2.id));
    await world.clock.advance(30_000);
    expect(world.answering(vipOf('g1'))).toEqual(['d1']);
    expect(world.checkers.overlaps.windows).toBeGreaterThan(0);
    expect(world.violations).toEqual([]);
  });
});

describe('a holder that has lapsed', () => {
  it('announces nothing, however long it is cut off', async () => {
    const [d1] = await startPair();
    d1.store?.cut();
    await world.clock.advance(120_000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });

  it('announces nothing when it goes on after a stop', async () => {
    const [d1] = await startPair();
    d1.pause();
    await world.clock.advance(40_000);
    d1.resume();
    await world.clock.advance(10_000);
    expect(world.violations).toEqual([]);
  });
});

describe('a holder that etcd answers no more', () => {
  /** Another machine opens a session by the name of the one that promises, and knows of no promise. */
  const supplant = async (mutation: Partial<WorldOptions>): Promise<void> => {
    const [d1, d2] = await startPair({ profile: 'default', ...mutation });
    d1.cutFromStore('law');
    await world.clock.advance(200);
    world.cluster.remove(keys.session(d1.id));
    await world.clock.advance(200);
    d2.cutFromStore('law');
    await world.clock.advance(300);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    world.clone(d2).start();
    await world.clock.advance(10_000);
  };

  it('counts by no promise of a machine whose name another one has taken', async () => {
    await supplant({});
    expect(world.holdersOf('g1')).toEqual(['d2-clone1']);
    expect(world.violations).toEqual([]);
  });

  it('would speak beside that one if it did', async () => {
    await supplant({ mutation: mutationNamed('promised-by-another-machine') });
    expect(world.violations.map(({ law }) => law)).toContain('I1');
  });
});

describe('an owner record that went and came back', () => {
  /** By the first record of g1 that d1 sees it goes on for ever; what it compares is true all the same. */
  const goesOnByTheFirst: Mutation = {
    name: 'goes-on-by-the-first-record',
    store: (store, { me }) => {
      const key = keys.owner(groupId('g1'));
      let first: StoreRead | null = null;
      const see = <T extends StoreRead>(read: T): T => {
        if (me !== 'd1' || read.key !== key) return read;
        if (read.value?.includes('"director":"d1"') === true) first ??= read;
        return first === null ? read : { ...read, ...first };
      };
      return rewriteReads(store, see, (txn) => ({
        ...txn,
        compares: txn.compares.map((one) =>
          one.key === key && one.modRevision === first?.modRevision
            ? { ...one, modRevision: world.cluster.read(key).modRevision }
            : one,
        ),
      }));
    },
  };

  /** While its process is stopped, and before anybody kills it, another one has the group. */
  const giveAndTake = async (options: Partial<WorldOptions>): Promise<readonly string[]> => {
    const [d1] = await startPair(options);
    const [owner, other] = ['g1', 'g2'].map((group) => keys.owner(groupId(group)));
    if (owner === undefined || other === undefined) throw new Error('two groups are needed');
    const mine = world.cluster.read(owner).value ?? '';
    d1.pause();
    await world.clock.advance(3100);
    world.cluster.write(owner, world.cluster.read(other).value ?? '');
    await world.clock.runUntil(() => world.holdersOf('g1').includes('d2'), 2000);
    world.cluster.write(owner, mine);
    await world.clock.runUntil(() => world.holdersOf('g1').length === 0, 2000);
    d1.resume();
    await world.clock.advance(2000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    return [...new Set(world.violations.map(({ law }) => law))];
  };

  it('opens its group by the epoch that it has now', async () => {
    expect(await giveAndTake({})).toEqual([]);
  });

  it('is told of where its group opens by the epoch before, though etcd answers', async () => {
    expect(await giveAndTake({ mutation: goesOnByTheFirst })).toEqual(['I2']);
    expect(world.violations[0]?.text).toMatch(/^d1 begins to answer .* by epoch/);
  });
});

describe('what is judged', () => {
  const startThree = async (options: Partial<WorldOptions> = {}): Promise<readonly Machine[]> => {
    await startPair({ directors: 3, ...options });
    world.directors[2]?.start();
    await world.clock.advance(10_000);
    return world.directors;
  };

  it('of a VIP that has moved goes by the group that it has, also when it is back', async () => {
    const [d1, d2] = await startPair();
    d2.stop();
    await world.clock.runUntil(() => world.holdersOf('g2').includes('d1'), 20_000);
    const holding = (): string | undefined => d1.holdingOf(vipOf('g1'))?.group;
    expect(holding()).toBe('g1');
    world.applySpec({ isMoved: true });
    await world.clock.advance(5000);
    expect([holding(), world.holdersOf('g2')]).toEqual(['g2', ['d1']]);
    world.applySpec({ isMoved: false });
    await world.clock.advance(5000);
    expect([holding(), world.holdersOf('g1')]).toEqual(['g1', ['d1']]);
    expect(d1.holdingOf(vipOf('g1'))?.epoch).toBe(
      world.cluster.read(keys.owner(groupId('g1'))).modRevision,
    );
  });

  it('of epochs goes by the heartbeat that says so as soon as the kernel speaks', async () => {
    const [, d2] = await startPair();
    const { checkers } = world;
    const tell = checkers.told.bind(checkers);
    const epochs: number[] = [];
    checkers.told = (by, armed) => {
      tell(by, armed);
      for (const { group, epoch } of armed)
        if (by === d2 && group === 'g1' && d2.answers(vipOf('g1'))) epochs.push(epoch);
    };
    world.switchover('g1', 'd2');
    await world.clock.runUntil(() => d2.answers(vipOf('g1')), 10_000);
    const shown = d2.holdingOf(vipOf('g1'))?.epoch;
    await world.clock.advance(1);
    expect(epochs).toEqual([shown]);
  });

  it('of what a director hears goes by the document that has come to it', async () => {
    const [d1, d2, d3] = await startThree();
    if (d1 === undefined || d2 === undefined || d3 === undefined)
      throw new Error('three are needed');
    world.applySpec({ directors: 2 });
    await world.clock.advance(1000);
    d1.cutFromStore('law');
    await world.clock.advance(1000);
    world.applySpec({ directors: 3 });
    await world.clock.advance(5000);
    const now = (): number => world.clock.now();
    expect([d1.hearsSince(d2.id) < now() - 5000, d1.hearsSince(d3.id)]).toEqual([true, now()]);
    d1.healToStore('law');
    const healedAt = now();
    await world.clock.advance(5000);
    const comesMs = d1.hearsSince(d3.id) - healedAt;
    expect([comesMs >= 0, comesMs < 3000]).toEqual([true, true]);
    expect(world.violations).toEqual([]);
  });

  it('of what a director hears does not go by a document that it cannot use', async () => {
    const [d1, d2, d3] = await startThree({ rejectsMove: 'd1' });
    if (d1 === undefined || d2 === undefined || d3 === undefined)
      throw new Error('three are needed');
    world.applySpec({ directors: 2 });
    await world.clock.advance(1000);
    world.applySpec({ directors: 3, isMoved: true });
    await world.clock.advance(5000);
    const now = world.clock.now();
    expect([d1.hearsSince(d2.id) < now - 5000, d1.hearsSince(d3.id)]).toEqual([true, now]);
    expect(d2.hearsSince(d3.id)).toBeLessThan(now - 4000);
  });
});

describe('a kernel whose process is gone', () => {
  const neverExpires = { mutation: mutationNamed('gate-never-expires') };
  const startAlone = async (options: Partial<WorldOptions>): Promise<Machine> => {
    const [d1, d2] = await startPair({ profile: 'default', hasFence: true, ...options });
    d2.reboot();
    return d1;
  };

  /** By a new process, to which the former one has left all. */
  const crashUpgraded = async (d1: Machine): Promise<void> => {
    d1.stop('freeze');
    await world.clock.runUntil(() => !d1.isAlive, 10_000);
    d1.start();
    await world.clock.advance(2000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    d1.crash();
  };

  /** Its kernel takes nothing any more, also not that it is to be silent. */
  const endUnheard = async (d1: Machine): Promise<void> => {
    const refused = err({ code: 'ENOMEM', message: 'not now: ENOMEM' });
    if (d1.fence !== null) d1.fence.commit = () => Promise.resolve(refused);
    d1.kernel.unbind = async (addresses) => addresses.map(() => refused);
    d1.stop();
    await world.clock.runUntil(() => !d1.isAlive, 20_000);
  };

  /** No new process comes. */
  const leave = async (d1: Machine): Promise<void> => {
    d1.stop('freeze');
    await world.clock.runUntil(() => !d1.isAlive, 10_000);
    await world.clock.advance(5000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
  };

  /** D is not raised: the others cannot be told of it. */
  const leaveUntold = async (d1: Machine): Promise<void> => {
    d1.cutFromStore('law');
    d1.stop('freeze');
    await world.clock.runUntil(() => !d1.isAlive, 10_000);
  };

  describe.each([
    ['was killed', async (d1: Machine) => d1.crash()],
    ['left it to a new one, which never came', leave],
    ['would have left it to a new one, and had no etcd', leaveUntold],
    ['was upgraded, and killed then', crashUpgraded],
    ['ended, and could not silence it', endUnheard],
  ])('and %s', (_, end) => {
    const toldAfter = async (options: Partial<WorldOptions>): Promise<readonly string[]> => {
      await end(await startAlone(options));
      await world.clock.advance(20_000);
      return [...new Set(world.violations.map(({ law }) => law))];
    };

    it('falls silent by itself, also where nobody else would speak', async () => {
      expect(await toldAfter({})).toEqual([]);
      expect(world.holdersOf('g1')).toEqual([]);
    });

    it('would be told of if it did not', async () => {
      expect(await toldAfter(neverExpires)).toEqual(['I3']);
    });
  });

  it.each([
    ['had no etcd when it was told to freeze', leaveUntold],
    ['had armed it anew after a freeze', crashUpgraded],
  ])('may not speak on for as long as after a freeze where that %s', async (_, end) => {
    await end(await startAlone({ mutation: SPEAKS_ON }));
    await world.clock.advance(20_000);
    expect([...new Set(world.violations.map(({ law }) => law))]).toEqual(['I3']);
  });
});

describe('a holder that goes on by its gateway', () => {
  /** The others take its groups by etcd, while it hears neither. */
  const overtake = async (isolation: 'gateway' | 'release'): Promise<void> => {
    const [d1, d2] = await startPair({ isolation });
    d1.store?.cut();
    world.peers.cut(d1.id, d2.id);
    world.peers.cut(d2.id, d1.id);
    await world.clock.advance(30_000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  };

  it('yields within the window to who takes its group by etcd', async () => {
    await overtake('gateway');
    expect(world.checkers.overlaps.windows).toBe(1);
    expect(world.checkers.overlaps.longestMs).toBeLessThan(20);
  });

  it('is heard for the rest of F when its process dies, also beside a new one that knows nothing', async () => {
    const [d1, d2] = await startPair({ isolation: 'gateway' });
    d1.cutFromStore('law');
    world.peers.cut(d1.id, d2.id);
    world.peers.cut(d2.id, d1.id);
    world.whenBroken('d1', () => {
      d1.crash();
      d1.start();
    });
    await world.clock.runUntil(() => world.holdersOf('g1').includes('d2'), 30_000);
    expect(world.holdersOf('g1')).toEqual(['d1', 'd2']);
    const { holdMs, permitMs } = timingOf(world.document);
    await world.clock.advance(holdMs - permitMs);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    await world.clock.advance(10_000);
    expect(world.checkers.overlaps.windows).toBe(1);
    expect(world.violations).toEqual([]);
  });

  it('goes on where the other one, whose VIP somebody takes away, announces it before it is back', async () => {
    const [d1, d2] = await startPair({ isolation: 'gateway' });
    world.segment.split(new Map([['d1', 1]]));
    d1.cutFromStore('law');
    world.peers.cut(d1.id, d2.id);
    world.peers.cut(d2.id, d1.id);
    await world.clock.runUntil(() => world.holdersOf('g1').includes('d2'), 30_000);
    await world.clock.advance(12_000);
    // The round that binds it anew has its answer so late.
    if (d2.store !== null) d2.store.faults.answerDelayMs = 120;
    for (const bound of d2.kernel.boundNow())
      if (bound.address === vipOf('g1')) d2.removeAddress(bound);
    world.segment.split(null);
    world.onFrame(d1, vipOf('g1'));
    await world.clock.advance(5000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    // The other one is of g2, for which d1 stands in meanwhile.
    expect(world.checkers.overlaps.windows).toBe(2);
    expect(world.violations).toEqual([]);
  });

  it('is no more where the document says release', async () => {
    await overtake('release');
    expect(world.checkers.overlaps.windows).toBe(0);
  });
});

describe('a shorter D', () => {
  it('is told to the others only when the kernel has taken it', async () => {
    const [d1] = await startPair({}, 3);
    world.applySpec({ holdFactor: 1 });
    d1.kernel.failNext('bind', 'EBUSY', 1000);
    await world.clock.advance(700);
    d1.pause();
    await world.clock.advance(40_000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    expect(world.violations).toEqual([]);
  });
});

describe('a longer D', () => {
  const raise = [
    ['fast', 'relaxed'],
    ['fast', 'default'],
    ['default', 'relaxed'],
  ] as const;

  /** Each phase of the rounds, at a store that is some ms away. */
  it.each(raise)('from %s to %s silences nobody', async (profile, next) => {
    let silentMs = 0;
    for (let phase = 0; phase < 12; phase++) {
      // oxlint-disable-next-line no-await-in-loop -- one world at a time
      silentMs += await silentAfter({ profile, next, phase, isLost: false });
    }
    expect(silentMs).toBe(0);
  });

  it.each(raise)('from %s to %s, and etcd dies then, silences nobody', async (profile, next) => {
    let silentMs = 0;
    for (let phase = 0; phase < 8; phase++) {
      // oxlint-disable-next-line no-await-in-loop -- one world at a time
      silentMs += await silentAfter({ profile, next, phase, isLost: true });
    }
    expect(silentMs).toBe(0);
  });

  async function silentAfter(one: {
    readonly profile: TimingProfile;
    readonly next: TimingProfile;
    readonly phase: number;
    readonly isLost: boolean;
  }): Promise<number> {
    const { profile, next, phase, isLost } = one;
    await startPair({ profile });
    for (const { store } of world.directors)
      if (store !== null) Object.assign(store.faults, { requestDelayMs: 3, answerDelayMs: 3 });
    await world.clock.advance(3000 + 2.7 * phase);
    world.applySpec({ profile: next });
    if (isLost) {
      await world.clock.advance(1 + 1.5 * phase);
      world.cluster.halt('lose');
    }
    let silentMs = 0;
    for (let i = 0; i < 4000; i++) {
      // oxlint-disable-next-line no-await-in-loop -- ms after ms
      await world.clock.advance(1);
      if (world.holdersOf('g1').length === 0) silentMs++;
    }
    expect(world.violations).toEqual([]);
    await world.close();
    return silentMs;
  }
});

describe('a drain', () => {
  const drain = (name: string): void => {
    const director = world.directors.find((one) => one.name === name);
    if (director === undefined) throw new Error(`no director ${name}`);
    const record = { v: 1, by: 'sim', reason: 'sim', at: '' };
    world.cluster.write(keys.drain(director.id), formatRecord(record));
  };

  it('gives nothing to a director that has just died, though its report still stands', async () => {
    const [, d2] = await startPair();
    d2.crash();
    await world.clock.advance(4000);
    drain('d1');
    await world.clock.advance(2000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
  });

  it('never ends traffic: when the successor dies, the drained director takes the group again', async () => {
    const [, d2] = await startPair();
    drain('d1');
    await world.clock.runUntil(() => world.holdersOf('g1').includes('d2'), 5000);
    expect(world.holdersOf('g1')).toEqual(['d2']);
    d2.crash();
    await world.clock.advance(15_000);
    expect(world.holdersOf('g1')).toEqual(['d1']);
    expect(world.violations).toEqual([]);
  });
});

describe('a blocked port between the directors', () => {
  it('fills the store with nothing: one event while it lasts', async () => {
    const [d1, d2] = await startPair();
    world.peers.cut(d1.id, d2.id);
    world.peers.cut(d2.id, d1.id);
    await world.clock.advance(5000);
    const before = world.cluster.entries(keys.eventPrefix).length;
    await world.clock.advance(120_000);
    const after = world.cluster.entries(keys.eventPrefix).length;
    expect(after - before).toBeLessThanOrEqual(4);
    expect([world.holdersOf('g1'), world.holdersOf('g2')]).toEqual([['d1'], ['d2']]);
  });
});

describe('an address that somebody removes again and again', () => {
  it('asks for ten rounds a second at most', async () => {
    const [d1] = await startPair();
    let removed = 0;
    for (let i = 0; i < 500; i++) {
      for (const bound of d1.kernel.boundNow()) {
        d1.kernel.removeAddress(bound);
        removed++;
      }
      await world.clock.advance(10);
    }
    expect(removed).toBeGreaterThan(20);
    expect(removed).toBeLessThan(70);
  });
});
