/** One seed: a cluster, a mix of faults drawn from the seed, then peace, and what must hold. */
import type { TimingProfile } from '../../src/model/cluster.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import type { Violation } from './checkers.ts';
import { calmStore, PLAIN_FAULTS, type Stage } from './faults.ts';
import type { Machine } from './machine.ts';
import type { Mutation } from './mutations.ts';
import { ISOLATION_FAULTS } from './isolation.ts';
import { OPERATOR_FAULTS } from './operators.ts';
import { OUTAGE_FAULTS } from './outages.ts';
import { keys, type SimDocument } from './spec.ts';
import { World, type WorldOptions } from './world.ts';

const RELEASE_FAULTS = { ...PLAIN_FAULTS, ...OUTAGE_FAULTS };
const FAULTS = new Map(
  Object.entries({ ...RELEASE_FAULTS, ...ISOLATION_FAULTS, ...OPERATOR_FAULTS }),
);
/** By the policy of the document: what is drawn with `release` is drawn from these alone. */
const NAMES = {
  release: Object.keys(RELEASE_FAULTS),
  gateway: Object.keys({ ...RELEASE_FAULTS, ...ISOLATION_FAULTS }),
} as const;

export type SeedResult = {
  readonly seed: number;
  readonly profile: TimingProfile;
  readonly isolation: SimDocument['isolation'];
  readonly violations: readonly Violation[];
  /** Milliseconds of virtual time from the last fault's end until all was settled; null: it never was. */
  readonly healedMs: number | null;
  /** How often each fault was begun. */
  readonly faults: ReadonlyMap<string, number>;
  /** Changes of a holder by their reason. */
  readonly moves: ReadonlyMap<string, number>;
  /** Instants at which a machine without its rules spoke beside another: the documented hole. */
  readonly exposedOverlaps: number;
  /** How often two spoke because the segment let them, and the longest time in which they could have heard it. */
  readonly windows: number;
  readonly longestWindowMs: number;
  readonly events: number;
  readonly log: readonly string[];
};

export type ChaosOptions = {
  readonly seed: number;
  readonly chaosMs?: number;
  readonly trace?: boolean;
  readonly overrides?: Partial<WorldOptions>;
};

/**
 * Longest allowed from peace to one holder per group: a rebooted director whose scope record was deleted by
 * hand waits D' of 60 s, 76 s, for its own former life; then 17 s for a group without a record, with four
 * times D; and all of it begins when etcd answers again.
 */
const HEAL_LIMIT_MS = 110_000;

/** How long faults last and how close they come, by the profile's pace. */
const SCALE: Readonly<Record<TimingProfile, number>> = { fast: 0.15, default: 0.4, relaxed: 1 };

export async function runSeed(options: ChaosOptions): Promise<SeedResult> {
  const draw = new SeededRandom(options.seed ^ 0x5eed);
  const world = new World({
    ...drawWorld(options.seed, draw),
    ...options.overrides,
    ...trace(options),
  });
  const chaos = new Chaos(world, draw);
  try {
    await chaos.run(options.chaosMs ?? 60_000);
    const healedMs = await chaos.heal();
    return {
      seed: options.seed,
      profile: world.document.profile,
      isolation: world.options.isolation ?? 'release',
      violations: world.violations,
      healedMs,
      faults: chaos.faults,
      moves: world.checkers.moves,
      exposedOverlaps: world.checkers.exposedOverlaps,
      windows: world.checkers.overlaps.windows,
      longestWindowMs: world.checkers.overlaps.longestMs,
      events: world.clock.fired,
      log: world.log,
    };
  } finally {
    await world.close();
  }
}

const trace = (options: ChaosOptions): { trace: boolean } => ({ trace: options.trace ?? false });

/** Each seed has its own cluster; what costs most is drawn least. */
function drawWorld(seed: number, draw: SeededRandom): WorldOptions {
  const size = draw.next();
  const pace = draw.next();
  const hasFence = draw.next() > 1 / 6;
  const profile = pace < 0.03 ? 'fast' : pace < 0.2 ? 'default' : 'relaxed';
  return {
    seed,
    directors: size < 0.55 ? 2 : size < 0.92 ? 3 : 5,
    groups: draw.integer(1, draw.chance(0.3) ? 5 : 3),
    hasFence,
    profile: hasFence ? profile : 'relaxed',
    preempt: draw.chance(0.3) ? 'immediate' : 'never',
    hasServices: draw.chance(0.2),
    hasTracks: draw.chance(0.3),
    isolation: isIsolated(seed) ? 'gateway' : 'release',
  };
}

/** Two of five, and none of the seeds that were kept before there was a choice. */
const isIsolated = (seed: number): boolean => [0, 2, 6, 8].includes(seed % 10);

/** Operators change the document in all seeds that are newer than the possibility. */
export const OPERATED_FROM = 400_000;

/** With `release`, unless the mutation is about the other policy. */
export function mutated(mutation: Mutation): Partial<WorldOptions> {
  return { isolation: 'release', ...mutation.overrides, mutation };
}

function namesOf({ seed, isolation }: WorldOptions): readonly string[] {
  const names = NAMES[isolation ?? 'release'];
  return seed >= OPERATED_FROM ? [...names, ...Object.keys(OPERATOR_FAULTS)] : names;
}

class Chaos implements Stage {
  readonly world: World;
  readonly draw: SeededRandom;
  readonly faults = new Map<string, number>();
  readonly #scale: number;
  readonly #enabled: readonly string[];
  readonly #pending = new Set<() => void>();
  /** What is about to happen. */
  readonly #coming = new Set<() => void>();
  #inPeace: (() => Promise<void>) | null = null;

  constructor(world: World, draw: SeededRandom) {
    this.world = world;
    this.draw = draw;
    this.#scale = SCALE[world.document.profile];
    const names = world.options.mutation?.faults ?? namesOf(world.options);
    // Swarm: each seed has its own mix, so that rare faults meet in some of them.
    const mix = names.filter(() => draw.chance(0.4));
    this.#enabled = mix.length > 0 ? mix : names;
    world.onConnect = (_, store) => calmStore(store);
    world.onEnd = (machine) => this.later(this.ms(0.05, 1), () => machine.start());
  }

  any(): Machine {
    const { directors } = this.world;
    const machine = directors[this.draw.integer(0, directors.length - 1)];
    if (machine === undefined) throw new Error('no such director');
    return machine;
  }

  anyGroup(): string {
    return `g${this.draw.integer(1, this.world.options.groups)}`;
  }

  ms(lowS: number, highS: number): number {
    return this.draw.between(lowS * 1000, highS * 1000) * this.#scale;
  }

  async run(chaosMs: number): Promise<void> {
    const { world, draw } = this;
    world.applySpec();
    for (const director of world.directors) director.start();
    await world.clock.advance(this.ms(0, 8));
    const end = world.clock.now() + chaosMs;
    while (world.clock.now() < end) {
      const name = this.#enabled[draw.integer(0, this.#enabled.length - 1)] ?? '';
      this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
      FAULTS.get(name)?.(this);
      await this.#peacefully();
      // What was done in peace may have taken longer.
      const left = Math.max(0, end - world.clock.now());
      await world.clock.advance(Math.min(draw.between(0, 3000), left));
    }
  }

  soon(ms: number, act: () => void): void {
    const run = (): void => {
      if (this.#coming.delete(run)) act();
    };
    this.#coming.add(run);
    this.world.clock.schedule(ms, run);
  }

  later(ms: number, undo: () => void): void {
    const run = (): void => {
      if (this.#pending.delete(run)) undo();
    };
    this.#pending.add(run);
    this.world.clock.schedule(ms, run);
  }

  inPeace(action: () => Promise<void>): void {
    this.#inPeace = action;
  }

  async #peacefully(): Promise<void> {
    const action = this.#inPeace;
    this.#inPeace = null;
    if (action === null || (await this.heal()) === null) return;
    const { world } = this;
    // Who has just started promises nothing, and what was asked for before is still done.
    await world.clock.advance(this.ms(20, 25));
    await world.clock.advance(Math.max(0, world.refusedUntil - world.clock.now()));
    if (world.isSettled() && world.isMutual()) await action();
  }

  async heal(): Promise<number | null> {
    const { world } = this;
    this.#coming.clear();
    for (const undo of this.#pending) undo();
    this.#pending.clear();
    world.cluster.resume();
    world.forgetAwaited();
    world.lossOf.clear();
    world.segment.heal();
    world.peers.setFaults({ loss: 0, duplication: 0, delayMinMs: 0.2, delayMaxMs: 0.5 });
    for (const a of world.directors) for (const b of world.directors) world.peers.heal(a.id, b.id);
    for (const clone of world.clones) clone.crash();
    for (const director of world.directors) {
      world.cluster.remove(keys.drain(director.id));
      director.strikeAt(null);
      director.setCarrier(true);
      director.healToStore(null);
      director.resume();
      director.start();
      calmStore(director.store);
    }
    world.note('peace');
    const start = world.clock.now();
    const isHealed = await world.clock.runUntil(() => world.seemsSettled(), HEAL_LIMIT_MS);
    return isHealed || world.isSettled() ? world.clock.now() - start : null;
  }
}
