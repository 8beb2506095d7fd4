/** One seed: a cluster, a mix of faults drawn from the seed, then peace, and what must hold. */
import { formatRecord } from '../../src/model/records.ts';
import { groupId } from '../../src/model/ids.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { keys, type Machine, type Violation, vipOf, World, type WorldOptions } from './world.ts';

export type SeedResult = {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** Milliseconds of virtual time from the last fault's end until all was settled; null: it never was. */
  readonly healedMs: number | null;
  readonly faults: number;
  readonly log: readonly string[];
};

export type ChaosOptions = {
  readonly seed: number;
  readonly chaosMs?: number;
  readonly trace?: boolean;
  readonly overrides?: Partial<WorldOptions>;
};

type Fault = (chaos: Chaos) => Promise<void> | void;

/** Longest allowed from peace to one holder per group: a scope record deleted by hand counts as D = 60 s, then D' of it. */
const HEAL_LIMIT_MS = 100_000;

export async function runSeed(options: ChaosOptions): Promise<SeedResult> {
  const draw = new SeededRandom(options.seed ^ 0x5eed);
  const world = new World({
    seed: options.seed,
    directors: draw.integer(2, 4),
    groups: draw.integer(1, 4),
    preempt: draw.chance(0.3) ? 'immediate' : 'never',
    trace: options.trace ?? false,
    ...options.overrides,
  });
  const chaos = new Chaos(world, draw);
  try {
    await chaos.run(options.chaosMs ?? 60_000);
    const healedMs = await chaos.heal();
    return {
      seed: options.seed,
      violations: world.violations,
      healedMs,
      faults: chaos.faults,
      log: world.log,
    };
  } finally {
    await world.close();
  }
}

class Chaos {
  readonly world: World;
  readonly draw: SeededRandom;
  faults = 0;
  readonly #enabled: readonly Fault[];
  readonly #pending = new Set<() => void>();

  constructor(world: World, draw: SeededRandom) {
    this.world = world;
    this.draw = draw;
    // Swarm: each seed has its own mix, so that rare faults meet in some of them.
    const mix = FAULTS.filter(() => draw.chance(0.5));
    this.#enabled = mix.length > 0 ? mix : FAULTS;
  }

  any(): Machine {
    const index = this.draw.integer(0, this.world.directors.length - 1);
    const machine = this.world.directors[index];
    if (machine === undefined) throw new Error('no such director');
    return machine;
  }

  async run(chaosMs: number): Promise<void> {
    const { world, draw } = this;
    world.applySpec();
    for (const director of world.directors) director.start();
    await world.clock.advance(draw.between(0, 8000));
    const end = world.clock.now() + chaosMs;
    while (world.clock.now() < end) {
      const fault = this.#enabled[draw.integer(0, this.#enabled.length - 1)];
      this.faults++;
      await fault?.(this);
      await world.clock.advance(draw.between(0, 3000));
    }
  }

  /** Undoes `undo` after a while, at peace at the latest. */
  later(ms: number, undo: () => void): void {
    const run = (): void => {
      if (this.#pending.delete(run)) undo();
    };
    this.#pending.add(run);
    this.world.clock.schedule(ms, run);
  }

  async heal(): Promise<number | null> {
    const { world } = this;
    for (const undo of this.#pending) undo();
    world.cluster.resume();
    world.peers.setFaults({ loss: 0, duplication: 0, delayMinMs: 0.2, delayMaxMs: 0.5 });
    for (const a of world.directors) for (const b of world.directors) world.peers.heal(a.id, b.id);
    for (const director of world.directors) {
      world.cluster.remove(keys.drain(director.id));
      director.resume();
      director.start();
      calm(director);
    }
    world.note('peace');
    const start = world.clock.now();
    const isHealed = await world.clock.runUntil(() => world.isSettled(), HEAL_LIMIT_MS);
    return isHealed ? world.clock.now() - start : null;
  }
}

function calm(director: Machine): void {
  const { store } = director;
  if (store === null) return;
  store.heal();
  Object.assign(store.faults, {
    requestDelayMs: 0.5,
    answerDelayMs: 0.5,
    watchLagMs: 1,
    requestLoss: 0,
    answerLoss: 0,
    lateCommit: 0,
  });
}

const seconds = (chaos: Chaos, low: number, high: number): number =>
  chaos.draw.between(low * 1000, high * 1000);

const cutFromStore: Fault = (chaos) => {
  const director = chaos.any();
  const way = (['both', 'requests', 'answers'] as const)[chaos.draw.integer(0, 2)] ?? 'both';
  chaos.world.note(`${director.name} is cut from etcd (${way})`);
  director.store?.cut(way);
  chaos.later(seconds(chaos, 0.1, 12), () => director.store?.heal());
};

const slowStore: Fault = (chaos) => {
  const director = chaos.any();
  const { store } = director;
  if (store === null) return;
  chaos.world.note(`etcd is slow and lossy for ${director.name}`);
  Object.assign(store.faults, {
    requestDelayMs: [0, seconds(chaos, 0, 1.5)],
    answerDelayMs: [0, seconds(chaos, 0, 1)],
    watchLagMs: [0, seconds(chaos, 0, 4)],
    requestLoss: chaos.draw.between(0, 0.3),
    answerLoss: chaos.draw.between(0, 0.3),
    lateCommit: chaos.draw.between(0, 0.2),
    lateMs: [100, seconds(chaos, 1, 12)],
  });
  chaos.later(seconds(chaos, 1, 15), () => calm(director));
};

const electionOfEtcd: Fault = (chaos) => {
  chaos.world.note('etcd answers nobody');
  chaos.world.cluster.halt(chaos.draw.chance(0.5) ? 'lose' : 'queue');
  chaos.later(seconds(chaos, 0.2, 6), () => chaos.world.cluster.resume());
};

const cutPeers: Fault = (chaos) => {
  const [a, b] = [chaos.any(), chaos.any()];
  chaos.world.note(`${a.name} cannot send to ${b.name}`);
  chaos.world.peers.cut(a.id, b.id);
  chaos.later(seconds(chaos, 1, 20), () => chaos.world.peers.heal(a.id, b.id));
};

const lossyPeers: Fault = (chaos) => {
  chaos.world.note('peer messages are lost, late and doubled');
  chaos.world.peers.setFaults({
    loss: chaos.draw.between(0, 0.8),
    duplication: chaos.draw.between(0, 0.3),
    delayMaxMs: seconds(chaos, 0, 2),
  });
  chaos.later(seconds(chaos, 1, 15), () =>
    chaos.world.peers.setFaults({ loss: 0, duplication: 0, delayMaxMs: 0.5 }),
  );
};

const crash: Fault = (chaos) => {
  const director = chaos.any();
  director.crash();
  chaos.later(seconds(chaos, 0, 15), () => director.start());
};

const reboot: Fault = (chaos) => {
  const director = chaos.any();
  director.reboot();
  chaos.later(seconds(chaos, 0, 15), () => director.start());
};

const terminate: Fault = (chaos) => {
  const director = chaos.any();
  director.stop();
  chaos.later(seconds(chaos, 5, 15), () => {
    if (director.isAlive) director.crash();
    director.start();
  });
};

const freeze: Fault = (chaos) => {
  const director = chaos.any();
  director.pause();
  chaos.later(seconds(chaos, 0.05, 20), () => director.resume());
};

const switchover: Fault = (chaos) => {
  const { world } = chaos;
  const group = world.groupNames()[chaos.draw.integer(0, world.options.groups - 1)] ?? 'g1';
  world.switchover(group, chaos.draw.chance(0.5) ? chaos.any().name : null);
};

const drain: Fault = (chaos) => {
  const { world } = chaos;
  const director = chaos.any();
  world.note(`${director.name} is drained`);
  const key = keys.drain(director.id);
  world.cluster.write(key, formatRecord({ v: 1, by: 'sim', reason: 'sim', at: '' }));
  chaos.later(seconds(chaos, 1, 20), () => world.cluster.remove(key));
};

/** Somebody deletes keys that nobody should. */
const tamper: Fault = (chaos) => {
  const { world } = chaos;
  const group = world.groupNames()[chaos.draw.integer(0, world.options.groups - 1)] ?? 'g1';
  const director = chaos.any();
  const key = [
    keys.owner(groupId(group)),
    keys.session(director.id),
    keys.scope(director.id),
    keys.challenge(director.id),
  ][chaos.draw.integer(0, 3)];
  if (key === undefined) return;
  world.note(`somebody deletes ${key}`);
  world.cluster.remove(key);
};

/** Leases end early: they are evidence of nothing. */
const revokeLeases: Fault = (chaos) => {
  chaos.world.note('leases are revoked');
  for (const lease of chaos.world.cluster.leases())
    if (chaos.draw.chance(0.5)) chaos.world.cluster.revoke(lease);
};

const removeAddress: Fault = (chaos) => {
  const { world } = chaos;
  for (const group of world.groupNames())
    for (const director of world.directors)
      for (const bound of director.kernel.boundNow())
        if (bound.address === vipOf(group)) {
          world.note(`somebody removes ${bound.address} on ${director.name}`);
          director.kernel.removeAddress(bound);
        }
};

const losesCarrier: Fault = (chaos) => {
  const director = chaos.any();
  const link = director.kernel.linkNamed('eth0');
  if (link === null) return;
  chaos.world.note(`${director.name} loses its carrier`);
  director.kernel.setCarrier(link.index, false);
  chaos.later(seconds(chaos, 0.1, 15), () => {
    const now = director.kernel.linkNamed('eth0');
    if (now !== null) director.kernel.setCarrier(now.index, true);
  });
};

const changeHold: Fault = (chaos) => {
  const holdMs = [3000, 4000, 6000][chaos.draw.integer(0, 2)] ?? 3000;
  chaos.world.note(`the spec asks for D = ${holdMs} ms`);
  chaos.world.applySpec(holdMs);
};

const compact: Fault = (chaos) => {
  chaos.world.note('etcd compacts its history');
  chaos.world.cluster.compact();
};

const FAULTS: readonly Fault[] = [
  cutFromStore,
  slowStore,
  electionOfEtcd,
  cutPeers,
  lossyPeers,
  crash,
  reboot,
  terminate,
  freeze,
  switchover,
  drain,
  tamper,
  revokeLeases,
  removeAddress,
  losesCarrier,
  changeHold,
  compact,
];
