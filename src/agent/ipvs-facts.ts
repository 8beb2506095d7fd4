/**
 * What the IPVS table is derived from beside document and statuses, and has to be remembered for: real
 * servers on their way out, and quorums. It learns from each dump of the table.
 */
import {
  type Desired,
  type DesiredFacts,
  NO_FACTS,
  recallQuorums,
} from '../core/desired/desired-state.ts';
import { type Drain, type Drains, NO_DRAINS, stepDrainsSteps } from '../core/service/drain.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { RealServerOverride } from '../model/health.ts';
import { monoMs } from '../model/ids.ts';
import type { IpvsTable } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';

/** Facts that others know. */
export type Surroundings = Pick<DesiredFacts, 'upSince' | 'dynamicWeights' | 'groupsHere'> &
  Partial<Pick<DesiredFacts, 'own'>>;

export type FactsInput = {
  readonly spec: ClusterSpec;
  readonly overrides: readonly RealServerOverride[];
  readonly around?: Surroundings;
};

/**
 * A table of so many services is worked out anew for counts of connections alone no more often than this:
 * it takes the process a while, in which it does nothing else.
 */
const LARGE_SERVICES = 500;
const COUNTS_MS = 10_000;

/** A wall clock that differs from the monotonic one by this much more than before was set. */
const CLOCK_SET_MS = 2000;

export class IpvsFacts {
  readonly #clock: Pick<Clock, 'now' | 'wallMs'>;
  #drains = NO_DRAINS;
  /** As what is wanted was worked out with: the same but for counts. */
  #usedDrains = NO_DRAINS;
  #usedAt = monoMs(-Infinity);
  #countsMs = 0;
  #quorums = NO_FACTS.quorums;
  #isRecalled = false;
  /** The document that the drains were stepped with last. */
  #spec: ClusterSpec | null = null;
  /** Wall clock minus monotonic clock. */
  #offsetMs: number;

  constructor(clock: Pick<Clock, 'now' | 'wallMs'>) {
    this.#clock = clock;
    this.#offsetMs = clock.wallMs() - clock.now();
  }

  get drains(): Drains {
    return this.#drains;
  }

  get quorums(): DesiredFacts['quorums'] {
    return this.#quorums;
  }

  /** Keys of services that have connections which are waited for. */
  drained(): ReadonlySet<string> {
    const keys = new Set<string>();
    for (const { key, end } of this.#drains.values()) if (end === null) keys.add(key);
    return keys;
  }

  /** Wall clock, for what other directors tell has its times; drains that are under way move with it. */
  nowMs(): number {
    const wallMs = this.#clock.wallMs();
    const offsetMs = wallMs - this.#clock.now();
    const jumpMs = offsetMs - this.#offsetMs;
    this.#offsetMs = offsetMs;
    if (Math.abs(jumpMs) >= CLOCK_SET_MS && this.#drains.size > 0)
      this.#drains = new Map([...this.#drains].map(([id, one]) => [id, moved(one, jumpMs)]));
    return wallMs;
  }

  facts(around: Surroundings): DesiredFacts {
    const { upSince, dynamicWeights, groupsHere, own = null } = around;
    const nowMs = this.nowMs();
    return {
      nowMs,
      upSince,
      dynamicWeights,
      groupsHere,
      own,
      drains: this.#drainsToUse(),
      quorums: this.#quorums,
    };
  }

  #drainsToUse(): Drains {
    if (this.#drains === this.#usedDrains) return this.#usedDrains;
    const now = this.#clock.now();
    const isDue = now - this.#usedAt >= this.#countsMs;
    if (isDue || !isSameButCounts(this.#drains, this.#usedDrains)) {
      this.#usedDrains = this.#drains;
      this.#usedAt = now;
    }
    return this.#usedDrains;
  }

  /** The table as dumped just now; in pieces, since it may be large. */
  *observe(
    { spec, overrides, around }: FactsInput,
    observed: IpvsTable,
  ): Generator<undefined, void> {
    const isFirst = !this.#isRecalled;
    if (isFirst) {
      this.#isRecalled = true;
      this.#quorums = recallQuorums(spec, observed, around?.own?.addresses);
    }
    const before = this.#spec === null || this.#spec === spec ? null : this.#spec;
    this.#spec = spec;
    this.#countsMs = observed.services.length > LARGE_SERVICES ? COUNTS_MS : 0;
    for (;;) {
      const nowMs = this.nowMs();
      const drains = this.#drains;
      const input = { spec, before, overrides, observed, nowMs, isFirst };
      const next = yield* stepDrainsSteps(drains, input);
      // Where the wall clock was set meanwhile they have moved.
      if (this.#drains !== drains) continue;
      this.#drains = next;
      return;
    }
  }

  /** What was decided with these facts stands for the next time. */
  decided({ quorums }: Pick<Desired, 'quorums'>): void {
    this.#quorums = quorums;
  }
}

const moved = (drain: Drain, ms: number): Drain => ({
  ...drain,
  sinceMs: drain.sinceMs + ms,
  deadlineAtMs: drain.deadlineAtMs === null ? null : drain.deadlineAtMs + ms,
});

function isSameButCounts(a: Drains, b: Drains): boolean {
  if (a.size !== b.size) return false;
  for (const [id, drain] of a) {
    const other = b.get(id);
    if (other === undefined || !isSameDrain(drain, other)) return false;
  }
  return true;
}

const isSameDrain = (a: Drain, b: Drain): boolean =>
  a.cause === b.cause &&
  a.end === b.end &&
  a.sinceMs === b.sinceMs &&
  a.deadlineAtMs === b.deadlineAtMs;
