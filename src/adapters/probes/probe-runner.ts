/**
 * Runs the checks of one worker: starts what is due, cuts at deadlines, posts results in batches. One timer
 * for everything. The time source and the timer are arguments, because a worker thread has its own.
 */
import { assert } from '../../lib/assert.ts';
import type { Check } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import { describeFailure } from './failure-words.ts';
import type { FromWorker, ProbeResult, ToWorker, WorkerOptions } from './probe-protocol.ts';
import { ProbeSchedule } from './probe-schedule.ts';
import type { Outcome } from './run-probe.ts';
import { TimeHeap } from './time-heap.ts';

/** Results wait this long for others, and no batch is larger than this. */
const FLUSH_MS = 10;
const BATCH_MAX = 256;
/** A timer later than this means that the thread stood still, not that targets were slow. */
const STALL_MS = 50;

export type RunnerWorld = {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly setTimer: (ms: number, action: () => void) => () => void;
  readonly probe: (check: Check, done: (outcome: Outcome) => void) => () => void;
  readonly post: (message: FromWorker) => void;
};

type Probe = {
  readonly check: Check;
  readonly startedAt: number;
  abort: () => void;
  isOver: boolean;
};
type PendingResult = Omit<ProbeResult, 'ageMs'> & { readonly at: number };

export class ProbeRunner {
  readonly #world: RunnerWorld;
  readonly #schedule: ProbeSchedule;
  readonly #checks = new Map<CheckId, Check>();
  readonly #probes = new Map<CheckId, Probe>();
  readonly #deadlines = new TimeHeap<{ readonly at: number; readonly probe: Probe }>();
  /** Of a set that is on its way. */
  #parts: Check[] = [];
  #results: PendingResult[] = [];
  #localFailure: string | null = null;
  #flushAt: number | null = null;
  #cancelTimer: (() => void) | null = null;
  /** For when the timer is set. */
  #timerAt: number | null = null;
  #isForgiving = false;
  #isTurning = false;

  constructor(options: WorkerOptions, world: RunnerWorld) {
    this.#world = world;
    this.#schedule = new ProbeSchedule(options.maxConcurrent, seededRandom(options.seed));
  }

  handle(message: ToWorker): void {
    const now = this.#world.now();
    if (message.kind === 'part') {
      // A set that never came to its end is forgotten.
      if (message.isFirst) this.#parts = [];
      for (const check of message.checks) this.#parts.push(check);
      return;
    }
    if (message.kind === 'soon') this.#schedule.soon(message.check, now);
    else {
      const parts = message.hasParts === true ? this.#parts : [];
      this.#parts = [];
      this.#setChecks([...parts, ...message.checks], now);
    }
    this.#turn();
  }

  #setChecks(checks: readonly Check[], now: number): void {
    const jobs = checks.map((check) => ({ id: check.id, intervalMs: check.spec.intervalMs }));
    for (const id of this.#schedule.set(jobs, now)) this.#drop(id);
    this.#checks.clear();
    for (const check of checks) this.#checks.set(check.id, check);
  }

  #drop(id: CheckId): void {
    const probe = this.#probes.get(id);
    this.#probes.delete(id);
    if (probe === undefined) return;
    probe.isOver = true;
    probe.abort();
  }

  /** Everything that time or a free slot allows now; then one timer for what comes next. */
  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    const now = this.#world.now();
    const hasStalled = this.#timerAt !== null && now - this.#timerAt > STALL_MS;
    // After a stall, the answers that came meanwhile are read before a deadline counts.
    if (!hasStalled) this.#cutLate(now);
    for (const id of this.#schedule.takeDue(now)) this.#start(id, now);
    if (this.#flushAt !== null && (now >= this.#flushAt || this.#results.length >= BATCH_MAX))
      this.#flush(now);
    this.#isTurning = false;
    if (hasStalled) this.#forgive();
    else this.#arm(now);
  }

  #start(id: CheckId, now: number): void {
    const check = this.#checks.get(id);
    assert(check !== undefined, 'a scheduled check is known');
    const probe: Probe = { check, startedAt: now, abort: () => {}, isOver: false };
    this.#probes.set(id, probe);
    this.#deadlines.push({ at: now + check.spec.timeoutMs, probe });
    try {
      probe.abort = this.#world.probe(check, (outcome) => {
        this.#finish(probe, outcome, false);
        this.#turn();
      });
    } catch (error) {
      this.#finish(probe, { kind: 'down', detail: describeFailure(error) }, false);
    }
  }

  #cutLate(now: number): void {
    for (let next = this.#deadlines.peek(); next !== undefined && next.at <= now; ) {
      this.#deadlines.pop();
      const { probe } = next;
      if (!probe.isOver) {
        probe.abort();
        const detail = `no answer within ${probe.check.spec.timeoutMs} ms`;
        this.#finish(probe, { kind: 'down', detail }, true);
      }
      next = this.#deadlines.peek();
    }
  }

  #finish(probe: Probe, outcome: Outcome, ranIntoDeadline: boolean): void {
    if (probe.isOver) return;
    probe.isOver = true;
    const { id } = probe.check;
    this.#probes.delete(id);
    const now = this.#world.now();
    this.#schedule.finished(id, now, ranIntoDeadline);
    this.#flushAt ??= now + FLUSH_MS;
    if (outcome.kind === 'local') {
      this.#localFailure = outcome.detail;
      return;
    }
    this.#results.push({
      check: id,
      isUp: outcome.kind === 'up',
      detail: outcome.detail,
      latencyMs: now - probe.startedAt,
      at: now,
    });
  }

  #flush(now: number): void {
    const results = this.#results.map(({ at, ...result }) => ({ ...result, ageMs: now - at }));
    this.#results = [];
    this.#flushAt = null;
    this.#world.post({ results, localFailure: this.#localFailure });
    this.#localFailure = null;
  }

  #arm(now: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#timerAt = null;
    // Deadlines of probes that are over would wake the thread for nothing.
    while (this.#deadlines.peek()?.probe.isOver === true) this.#deadlines.pop();
    const times = [this.#schedule.nextAt(), this.#deadlines.peek()?.at, this.#flushAt];
    const next = times.reduce<number>((least, at) => Math.min(least, at ?? least), Infinity);
    if (next === Infinity) return;
    // Whole milliseconds, rounded up: a timer that fires a fraction early would spin.
    const delayMs = Math.max(1, Math.ceil(next - now));
    this.#timerAt = now + delayMs;
    this.#cancelTimer = this.#world.setTimer(delayMs, () => this.#turn());
  }

  /** One round of the event loop without deadlines. */
  #forgive(): void {
    if (this.#isForgiving) return;
    this.#isForgiving = true;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#world.setTimer(1, () => {
      this.#isForgiving = false;
      this.#timerAt = null;
      this.#turn();
    });
  }
}

/** Numerical Recipes' linear congruential generator: enough to spread probes over time. */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
