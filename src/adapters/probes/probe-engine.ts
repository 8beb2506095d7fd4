/**
 * The checks of one worker: starts what is due, cuts at deadlines, posts results in batches. It acts only when it
 * is turned, and tells when that must be; whoever owns the thread turns it.
 */
import { assert } from '../../lib/assert.ts';
import { messageOf } from '../../lib/result.ts';
import { formatEndpoint } from '../../model/address.ts';
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import { idleProbe, type Outcome, type RunningProbe, type StartProbe } from './probe.ts';
import {
  type FromWorker,
  type ProbeResult,
  type ToWorker,
  UNABLE_MAX,
  type WorkerOptions,
} from './probe-protocol.ts';
import { ProbeSchedule, type Scheduled } from './probe-schedule.ts';
import { Places } from './places.ts';
import { seededRandom } from './seeded-random.ts';
import { TimingWheel } from './timing-wheel.ts';

/** Results that may decide wait this long for others, those that say what the ones before said longer. */
const FLUSH_MS = 10;
const FLUSH_SAME_MS = 200;
/** No batch is larger. */
const BATCH_MAX = 256;
const DEADLINE_TICK_MS = 1;
/** Votes carry it, and one with a longer text than `model/records.ts` allows is nobody's. */
const DETAIL_LENGTH_MAX = 1_000;
/** A thread that was late for more than this part of a probe cannot tell who was slow. */
const BUSY_SHARE = 0.5;

export type EngineWorld = {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly probe: StartProbe;
  readonly post: (message: FromWorker) => void;
  /** A probe has ended by itself: a turn has something to do at that time, which may have come already. */
  readonly ended: (at: number) => void;
};

/** A check, and what its last results said. */
class Known {
  readonly check: Check;
  /** So many results that say the same may decide: none of these waits for others. */
  readonly #deciding: number;
  #isUp = false;
  #detail = '';
  #times = 0;
  /** Probes in a row that came to nothing because this thread could not listen. */
  #lost = 0;

  constructor(check: Check) {
    this.check = check;
    this.#deciding = Math.max(check.spec.rise, check.spec.fall);
  }

  /** Whether a result may decide anything. */
  hear(isUp: boolean, detail: string, hasWeight: boolean): boolean {
    this.#lost = 0;
    const isSame = this.#times > 0 && this.#isUp === isUp && this.#detail === detail;
    this.#isUp = isUp;
    this.#detail = detail;
    this.#times = isSame ? this.#times + 1 : 1;
    return hasWeight || this.#times <= this.#deciding;
  }

  /**
   * After how many milliseconds to try again what came to nothing. Soon, as nothing is known and the next beat may be
   * minutes away; but each time later, as what is too busy must not become busier for good.
   */
  lose(): number {
    return this.check.spec.timeoutMs * 2 ** this.#lost++;
  }
}

class Probe {
  readonly known: Known;
  readonly startedAt: number;
  /** How late the thread had been until then, in all. */
  readonly lateMs: number;
  /** On the wheel of deadlines. */
  place = -1;
  running: RunningProbe = idleProbe;
  isOver = false;

  constructor(known: Known, startedAt: number, lateMs: number) {
    this.known = known;
    this.startedAt = startedAt;
    this.lateMs = lateMs;
  }
}

/** `ageMs`: when, until it is posted. */
type PendingResult = Omit<ProbeResult, 'ageMs'> & { ageMs: number };

export class ProbeEngine {
  readonly #world: EngineWorld;
  readonly #schedule: ProbeSchedule;
  readonly #checks = new Map<CheckId, Known>();
  readonly #probes = new Map<CheckId, Probe>();
  readonly #deadlines: TimingWheel;
  readonly #places = new Places<Probe>();
  #results: PendingResult[] = [];
  #localFailure: string | null = null;
  #unable = new Map<CheckId, string>();
  #flushAt = Infinity;
  #lateMs = 0;

  constructor(options: WorkerOptions, world: EngineWorld) {
    const now = world.now();
    this.#world = world;
    this.#schedule = new ProbeSchedule(options.maxConcurrent, seededRandom(options.seed), now);
    this.#deadlines = new TimingWheel(DEADLINE_TICK_MS, now);
  }

  /** To be followed by a turn. */
  handle(message: Exclude<ToWorker, { kind: 'stop' }>): void {
    const now = this.#world.now();
    if (message.kind === 'soon') {
      this.#schedule.soon(message.check, now, message.afterMs);
      return;
    }
    if (message.kind === 'soons') {
      for (const { check, afterMs } of message.wishes) this.#schedule.soon(check, now, afterMs);
      return;
    }
    const { added, gone } = message.kind === 'set' ? this.#difference(message.checks) : message;
    if (message.kind === 'change') this.#schedule.limit(message.maxConcurrent);
    for (const id of gone) this.#checks.delete(id);
    const fresh = added.filter(({ id }) => !this.#checks.has(id)).map(scheduled);
    for (const id of this.#schedule.change(fresh, gone, now)) this.#drop(id);
    for (const check of added) this.#checks.set(check.id, new Known(check));
  }

  /**
   * Everything that time or a free slot allows now. `mayCut`: false where answers that came in time may still wait
   * to be read.
   */
  turn(mayCut: boolean): void {
    const now = this.#world.now();
    if (mayCut)
      this.#deadlines.turn(now, (place) => {
        const probe = this.#places.at(place);
        if (probe !== undefined) this.#cut(probe);
      });
    for (const id of this.#schedule.takeDue(now)) this.#start(id, now);
    if (now >= this.#flushAt || this.#results.length >= BATCH_MAX) this.#flush(now);
  }

  /** The thread came so much later to a turn than it meant to: it was busy, or had no processor. */
  late(ms: number): void {
    this.#lateMs += ms;
  }

  /** Targets are being waited for. */
  get isProbing(): boolean {
    return this.#probes.size > 0;
  }

  /** When the next turn is due at the latest; null: only after a message or the end of a probe. */
  nextAt(): number | null {
    const dueAt = this.#schedule.nextAt() ?? Infinity;
    const next = Math.min(dueAt, this.#deadlines.nextAt() ?? Infinity, this.#flushAt);
    return next === Infinity ? null : next;
  }

  /** Ends every probe, in silence. */
  stop(): void {
    for (const id of this.#probes.keys()) this.#drop(id);
  }

  #difference(checks: readonly Check[]): { added: readonly Check[]; gone: readonly CheckId[] } {
    const wanted = new Set(checks.map(({ id }) => id));
    return {
      added: checks,
      gone: [...this.#checks.keys()].filter((id) => !wanted.has(id)),
    };
  }

  #drop(id: CheckId): void {
    const probe = this.#probes.get(id);
    this.#probes.delete(id);
    if (probe === undefined) return;
    probe.isOver = true;
    this.#release(probe);
    probe.running.abort();
  }

  #start(id: CheckId, now: number): void {
    const known = this.#checks.get(id);
    assert(known !== undefined, 'a scheduled check is known');
    const { check } = known;
    const probe = new Probe(known, now, this.#lateMs);
    this.#probes.set(id, probe);
    probe.place = this.#places.take(probe);
    this.#deadlines.set(probe.place, now + check.spec.timeoutMs);
    try {
      probe.running = this.#world.probe(check, (outcome) => {
        if (!probe.isOver) this.#world.ended(this.#finish(probe, outcome, false));
      });
    } catch (error) {
      this.#finish(probe, { kind: 'local', detail: messageOf(error) }, false);
    }
  }

  #release({ place }: Probe): void {
    this.#deadlines.cancel(place);
    this.#places.give(place);
  }

  #cut(probe: Probe): void {
    const outcome = probe.running.expire();
    if (probe.isOver) return;
    const { id, spec } = probe.known.check;
    const lateMs = this.#lateMs - probe.lateMs;
    if (lateMs <= BUSY_SHARE * spec.timeoutMs) {
      this.#finish(probe, outcome, true);
      return;
    }
    this.#finish(probe, busy(Math.round(lateMs), spec.timeoutMs), true);
    this.#schedule.soon(id, this.#world.now(), probe.known.lose());
  }

  /** When a turn has something to do because of this. */
  #finish(probe: Probe, outcome: Outcome, ranIntoDeadline: boolean): number {
    probe.isOver = true;
    this.#release(probe);
    const { known, startedAt } = probe;
    const { id } = known.check;
    this.#probes.delete(id);
    const now = this.#world.now();
    const nextAt = this.#schedule.finished(id, now, ranIntoDeadline);
    const isUp = outcome.kind === 'up';
    const weight = isUp ? (outcome.weight ?? null) : null;
    if (outcome.kind === 'local') {
      this.#localFailure = `${nameOf(known.check)}: ${outcome.detail}`;
      if (this.#unable.size < UNABLE_MAX) this.#unable.set(id, clipped(outcome.detail));
      this.#flushAt = Math.min(this.#flushAt, now + FLUSH_MS);
    } else {
      this.#unable.delete(id);
      const mayDecide = known.hear(isUp, outcome.detail, weight !== null);
      this.#flushAt = Math.min(this.#flushAt, now + (mayDecide ? FLUSH_MS : FLUSH_SAME_MS));
      this.#results.push({
        check: id,
        isUp,
        detail: clipped(outcome.detail),
        latencyMs: now - startedAt,
        ageMs: now,
        reason: outcome.kind === 'down' ? outcome.reason : null,
        weight,
      });
    }
    return this.#results.length >= BATCH_MAX ? now : Math.min(nextAt, this.#flushAt);
  }

  #flush(now: number): void {
    const results = this.#results;
    for (const result of results) result.ageMs = now - result.ageMs;
    this.#results = [];
    this.#flushAt = Infinity;
    const [localFailure, unable] = [this.#localFailure, this.#unable];
    this.#world.post({ results, localFailure, ...(unable.size === 0 ? {} : { unable }) });
    this.#localFailure = null;
    this.#unable = new Map();
  }
}

const clipped = (detail: string): string =>
  detail.length <= DETAIL_LENGTH_MAX ? detail : `${detail.slice(0, DETAIL_LENGTH_MAX)}…`;

const busy = (lateMs: number, timeoutMs: number): Outcome => ({
  kind: 'local',
  detail: `no answer within ${timeoutMs} ms, of which this director was too busy to listen for ${lateMs} ms (too many checks for its processors, or too short a timeout?)`,
});

/** Of many checks of one worker: which one this machine could not make. */
const nameOf = ({ address, port, spec }: Check): string =>
  `${spec.kind} check of ${port === 0 ? address : formatEndpoint(address, port)}`;

const scheduled = ({ id, spec }: Check): Scheduled => ({
  id,
  intervalMs: spec.intervalMs,
  warmupMs: spec.warmupMs,
  jitter: spec.jitter,
});
