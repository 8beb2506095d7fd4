/**
 * Two directors and a keepalived in one virtual router, started, stopped and killed at random: never two that
 * answer. The directors' election is a sketch of the real one: a record, rounds, a kernel deadline.
 */
import { describe, expect, it } from 'vitest';
import { monoMs } from '../../../src/model/ids.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import type { VrrpLink } from '../../../src/ports/vrrp-link.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeVrrpSegment } from '../../fakes/fake-vrrp-link.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';
import {
  closing,
  DeskRig,
  foreignInstance,
  INTERVAL_MS,
  type Name,
  open,
  owned,
  shut,
  specOf,
} from './vrrp-bench.ts';

const HOLD_MS = 500;
const ROUND_MS = 100;
/** Suspicion, and D'. */
const DEAD_AFTER_MS = 900;
const CLOSE_MS = 2;
const K_PRIORITY = 50;
const K_DOWN_MS = 3 * INTERVAL_MS + ((256 - K_PRIORITY) / 256) * INTERVAL_MS;
const K_SKEW_MS = ((256 - K_PRIORITY) / 256) * INTERVAL_MS;

type Voice = { readonly name: string; isSpeaking(): boolean };

class Scene {
  readonly clock = new FakeClock();
  readonly random: SeededRandom;
  readonly segment: FakeVrrpSegment;
  readonly spec: ClusterSpec;
  readonly voices: Voice[] = [];
  readonly faults: string[] = [];
  /** The owner record. */
  owner: Name | null = null;
  readonly running = new Set<Name>();
  turns = 0;

  constructor(seed: number, group: object) {
    this.random = new SeededRandom(seed);
    this.segment = new FakeVrrpSegment({ clock: this.clock, random: this.random });
    this.spec = specOf(group);
  }

  between(from: number, to: number): number {
    return from + this.random.next() * (to - from);
  }

  /** Called whenever somebody begins or goes on to speak. */
  check(): void {
    const names = this.voices.filter((voice) => voice.isSpeaking()).map(({ name }) => name);
    if (names.length > 1) this.faults.push(`${this.clock.now()}: ${names.join(' and ')}`);
  }
}

class DirectorSketch implements Voice {
  readonly name: Name;
  readonly #scene: Scene;
  readonly #rank: number;
  #rig: DeskRig | null = null;
  #phase: 'none' | 'owned' | 'open' = 'none';
  #speaksUntil = 0;
  #nextAt = 0;
  #diedAt = 0;
  /** Rigs whose loops end. */
  readonly #ending: Promise<void>[] = [];

  constructor(scene: Scene, name: Name, rank: number) {
    this.name = name;
    this.#scene = scene;
    this.#rank = rank;
    this.#tick();
  }

  isSpeaking(): boolean {
    return this.#speaksUntil > this.#scene.clock.now();
  }

  start(): void {
    if (this.#rig !== null) return;
    const { clock, segment, spec } = this.#scene;
    this.#rig = new DeskRig(segment, this.name, { clock, spec });
    this.#scene.running.add(this.name);
    this.#phase = 'none';
  }

  async stop(): Promise<void> {
    if (this.#phase === 'open') this.#close();
    await this.#scene.clock.advance(CLOSE_MS + 1);
    if (this.#scene.owner === this.name) this.#scene.owner = null;
    this.kill();
  }

  kill(): void {
    if (this.#rig === null) return;
    this.#rig.end.abort();
    this.#ending.push(this.#rig.running);
    this.#rig = null;
    this.#scene.running.delete(this.name);
    this.#diedAt = this.#scene.clock.now();
  }

  ended(): Promise<unknown> {
    return Promise.all(this.#ending);
  }

  #tick(): void {
    const { clock } = this.#scene;
    clock.schedule(10, () => {
      this.#step();
      this.#tick();
    });
  }

  #step(): void {
    const scene = this.#scene;
    const now = scene.clock.now();
    const rig = this.#rig;
    if (rig === null) {
      // Where nobody else lives the record stays, and a new process of it goes on with that.
      if (scene.running.size === 0) this.#diedAt = now;
      if (scene.owner === this.name && now > this.#diedAt + DEAD_AFTER_MS) scene.owner = null;
      return;
    }
    rig.isHeir = scene.owner === null && this.#rank === 0;
    const { obstacle } = rig;
    const isFree = scene.owner === null && obstacle === null;
    if (this.#phase === 'none' && (scene.owner === this.name || isFree)) {
      scene.owner = this.name;
      this.#phase = 'owned';
      this.#nextAt = now + scene.between(10, 60) * (1 + this.#rank);
    }
    if (this.#phase === 'owned') rig.holds(owned(), { lastConfirmedAt: monoMs(now) });
    if (this.#phase !== 'none' && rig.obstacle === 'vrrp-active-elsewhere') this.#close();
    else if (this.#phase !== 'none' && rig.obstacle !== 'vrrp-listening' && now >= this.#nextAt)
      this.#arm();
  }

  #arm(): void {
    const now = this.#scene.clock.now();
    if (this.#phase === 'owned') this.#scene.turns++;
    this.#phase = 'open';
    this.#nextAt = now + ROUND_MS;
    this.#speaksUntil = now + HOLD_MS;
    this.#rig?.holds(open(this.#speaksUntil));
    this.#scene.check();
  }

  /** The kernel acknowledges a moment later, and the record is freed. */
  #close(): void {
    const scene = this.#scene;
    const rig = this.#rig;
    const wasOpen = this.#phase === 'open';
    this.#phase = 'none';
    if (!wasOpen) {
      scene.owner = null;
      rig?.holds(null);
      return;
    }
    this.#speaksUntil = scene.clock.now() + CLOSE_MS;
    rig?.holds(closing(this.#speaksUntil));
    scene.clock.schedule(CLOSE_MS, () => {
      if (scene.owner === this.name) scene.owner = null;
      rig?.holds(shut(null));
      rig?.holds(null);
    });
  }
}

/** RFC 9568 6.4 as keepalived has it: it opens with its first advertisement. */
class KeepalivedSketch implements Voice {
  readonly name = 'k1';
  readonly #scene: Scene;
  #link: VrrpLink | null = null;
  #isActive = false;
  #cancel: () => void = () => {};

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  isSpeaking(): boolean {
    return this.#isActive;
  }

  start(): void {
    if (this.#link !== null) return;
    const link = this.#scene.segment.link('k1');
    this.#link = link;
    link.configure([foreignInstance()]);
    void this.#hear(link);
    this.#wait(K_DOWN_MS);
  }

  stop(): void {
    if (this.#isActive) this.#link?.send('k', 0, null);
    this.kill();
  }

  /** With its machine: what it had bound answers no more. */
  kill(): void {
    this.#cancel();
    this.#isActive = false;
    void this.#link?.close();
    this.#link = null;
  }

  #wait(ms: number): void {
    this.#cancel();
    this.#cancel = this.#scene.clock.schedule(ms, () => {
      if (!this.#isActive) this.#scene.turns++;
      this.#isActive = true;
      this.#link?.send('k', K_PRIORITY, null);
      this.#scene.check();
      this.#wait(INTERVAL_MS);
    });
  }

  async #hear(link: VrrpLink): Promise<void> {
    for await (const { advert } of link.receive(new AbortController().signal)) {
      if (this.#link !== link) return;
      if (advert.priority === 0) {
        if (!this.#isActive) this.#wait(K_SKEW_MS);
      } else if (advert.priority > K_PRIORITY) {
        this.#isActive = false;
        this.#wait(K_DOWN_MS);
      }
    }
  }
}

/** Faults for a minute, then calm: what went wrong, and who speaks in the end. */
async function play(
  seed: number,
  group: object,
): Promise<{ faults: readonly string[]; speaking: readonly string[]; turns: number }> {
  const scene = new Scene(seed, group);
  const directors = [new DirectorSketch(scene, 'd1', 0), new DirectorSketch(scene, 'd2', 1)];
  const k1 = new KeepalivedSketch(scene);
  const all = [...directors, k1];
  scene.voices.push(...all);
  for (let i = 0; i < 20; i++) {
    const one = all[Math.floor(scene.random.next() * all.length)];
    const act = (['start', 'start', 'stop', 'kill'] as const)[Math.floor(scene.random.next() * 4)];
    if (one !== undefined && act !== undefined) await one[act]();
    await scene.clock.advance(scene.between(1, 6000));
  }
  for (const one of all) one.start();
  await scene.clock.advance(15_000);
  const speaking = all.filter((one) => one.isSpeaking()).map(({ name }) => name);
  for (const one of all) one.kill();
  await scene.clock.advance(5000);
  await Promise.all(directors.map((one) => one.ended()));
  return { faults: scene.faults, speaking, turns: scene.turns };
}

describe.each([
  ['leave a keepalived of lower priority alone', {}],
  ['preempt a keepalived of lower priority', { preempt: 'immediate' }],
])('directors that %s', (_, group) => {
  it('never speak beside it, and in the end somebody speaks', async () => {
    let turns = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const played = await play(seed, group);
      expect({ seed, faults: played.faults }).toEqual({ seed, faults: [] });
      expect(played.speaking).toHaveLength(1);
      turns += played.turns;
    }
    // The faults have moved it: some turns in each.
    expect(turns).toBeGreaterThan(100);
  }, 60_000);
});
