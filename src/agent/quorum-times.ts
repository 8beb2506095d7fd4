/** Since when services have their quorum or not, for people: as this director decided it. */
import type { Desired } from '../core/desired/desired-state.ts';
import type { MonoMs, ServiceId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';

type Quorums = Desired['quorums'];

export class QuorumTimes {
  readonly #clock: Pick<Clock, 'now'>;
  #changes: ReadonlyMap<ServiceId, MonoMs> = new Map();

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** After each decision; what was unknown before has been so for nobody knows how long. */
  decided(before: Quorums, after: Quorums): void {
    if (before === after) return;
    const now = this.#clock.now();
    const changes = new Map<ServiceId, MonoMs>();
    for (const [service, isUp] of after) {
      const was = before.get(service);
      const known = this.#changes.get(service);
      if (was !== undefined && was !== isUp) changes.set(service, now);
      else if (known !== undefined) changes.set(service, known);
    }
    this.#changes = changes;
  }

  /** Null: it has not changed as long as this director has known it. */
  forMs(service: ServiceId): number | null {
    const at = this.#changes.get(service);
    return at === undefined ? null : Math.round(this.#clock.now() - at);
  }
}
