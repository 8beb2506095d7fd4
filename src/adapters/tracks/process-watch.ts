/**
 * Looks at the processes in a fixed rhythm: one look for all targets. It is polling: what starts and ends
 * between two looks is not seen. Where looking is slow it is done less often.
 */
import type { TrackSight } from '../../model/track.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ProcessTarget } from './track-protocol.ts';

export const PROCESS_LOOK_MS = 500;
/** Looking takes at most this part of one processor's time. */
const COST_SHARE = 1 / 20;
/** Between looks that see all, so that numbers above the quorum are right again. */
const THOROUGH_MS = 10_000;

export type ProcessWatchWorld = {
  readonly clock: Clock;
  readonly count: (
    targets: readonly ProcessTarget[],
    isThorough: boolean,
  ) => ReadonlyMap<string, number>;
  readonly seen: (target: string, sight: TrackSight) => void;
};

export class ProcessWatch {
  readonly #world: ProcessWatchWorld;
  #targets: readonly ProcessTarget[] = [];
  #told = new Map<string, number>();
  #thoroughAt = -Infinity;
  #cancel: () => void = () => {};

  constructor(world: ProcessWatchWorld) {
    this.#world = world;
  }

  set(targets: readonly ProcessTarget[]): void {
    const hasNew = targets.some(({ id }) => !this.#targets.some((before) => before.id === id));
    this.#targets = targets;
    const ids = new Set(targets.map(({ id }) => id));
    this.#told = new Map([...this.#told].filter(([id]) => ids.has(id)));
    if (targets.length === 0) this.#cancel();
    else if (hasNew) this.#arm(0);
  }

  #arm(ms: number): void {
    this.#cancel();
    this.#cancel = this.#world.clock.schedule(ms, () => this.#look());
  }

  #look(): void {
    const { clock, count, seen } = this.#world;
    const startedAt = clock.now();
    const isThorough = startedAt - this.#thoroughAt >= THOROUGH_MS;
    if (isThorough) this.#thoroughAt = startedAt;
    const counts = count(this.#targets, isThorough);
    for (const { id } of this.#targets) {
      const number = counts.get(id) ?? 0;
      if (this.#told.get(id) === number) continue;
      this.#told.set(id, number);
      seen(id, { kind: 'process', count: number });
    }
    const costMs = clock.now() - startedAt;
    this.#arm(Math.max(PROCESS_LOOK_MS, costMs / COST_SHARE));
  }
}
