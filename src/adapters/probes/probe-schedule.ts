/**
 * When which check is probed, and how many at once. Pure: time and randomness are arguments.
 *
 * Targets that swallow packets hold a slot for their whole timeout. So that a thousand of them do not delay
 * the others, slots are shared by what a check did last: who answered may use all slots, who has
 * not been probed yet three quarters, who ran into the deadline half of them; and in this order they are served.
 * A check that is due and finds no slot waits; it is never queued twice, so the queues are bounded.
 */
import type { CheckId } from '../../model/ids.ts';
import { Places } from './places.ts';
import { TimingWheel } from './timing-wheel.ts';

/** Part of the interval by which the rhythm varies, up and down, where a check does not say. */
export const JITTER = 0.1;

/** How late a probe may start. What is due within the same tick starts together, which wakes the thread once. */
export const TICK_MS = 8;

const PACES = ['prompt', 'unknown', 'slow'] as const;
type Pace = (typeof PACES)[number];
/** Share of all slots that may be in use when a probe of this pace starts. */
const SHARE: Readonly<Record<Pace, number>> = { prompt: 1, unknown: 0.75, slow: 0.5 };

export type Scheduled = {
  readonly id: CheckId;
  readonly intervalMs: number;
  /** Default: the interval. */
  readonly warmupMs?: number | undefined;
  readonly jitter?: number | undefined;
};

class Job {
  readonly of: Scheduled;
  /** On the wheel. */
  place = -1;
  pace: Pace = 'unknown';
  state: 'waiting' | 'queued' | 'running' = 'waiting';
  /** When the next probe is due; the rhythm counts from here, not from when a slot was free. */
  dueAt: number;
  /** The next probe is wanted by then, whatever the rhythm says. */
  wantedAt = Infinity;

  constructor(of: Scheduled, dueAt: number) {
    this.of = of;
    this.dueAt = dueAt;
  }
}

export class ProbeSchedule {
  #maxConcurrent: number;
  readonly #random: () => number;
  readonly #jobs = new Map<CheckId, Job>();
  readonly #wheel: TimingWheel;
  readonly #places = new Places<Job>();
  readonly #queues: Readonly<Record<Pace, Set<Job>>> = {
    prompt: new Set(),
    unknown: new Set(),
    slow: new Set(),
  };
  #running = 0;

  constructor(maxConcurrent: number, random: () => number, now = 0) {
    this.#maxConcurrent = maxConcurrent;
    this.#random = random;
    this.#wheel = new TimingWheel(TICK_MS, now);
  }

  get running(): number {
    return this.#running;
  }

  /** Probes that run already go on. */
  limit(maxConcurrent: number): void {
    this.#maxConcurrent = maxConcurrent;
  }

  /** The complete set. Returns the checks that are gone while their probe runs: abort these. */
  set(checks: readonly Scheduled[], now: number): readonly CheckId[] {
    const wanted = new Set(checks.map(({ id }) => id));
    const gone = [...this.#jobs.keys()].filter((id) => !wanted.has(id));
    return this.change(checks, gone, now);
  }

  /** The same by what is new and what is gone. */
  change(added: readonly Scheduled[], gone: readonly CheckId[], now: number): readonly CheckId[] {
    const aborted: CheckId[] = [];
    for (const id of gone) {
      const job = this.#jobs.get(id);
      if (job === undefined) continue;
      if (job.state === 'running') {
        aborted.push(id);
        this.#running--;
      }
      this.#wheel.cancel(job.place);
      this.#places.give(job.place);
      this.#queues[job.pace].delete(job);
      this.#jobs.delete(id);
    }
    for (const check of added) this.#add(check, now);
    return aborted;
  }

  /**
   * The next probe not later than so long after now, as soon as a slot is free; while one is running, one more
   * after it.
   */
  soon(id: CheckId, now: number, afterMs = 0): void {
    const job = this.#jobs.get(id);
    if (job === undefined || job.state === 'queued') return;
    const at = now + afterMs;
    if (job.state === 'running') job.wantedAt = Math.min(job.wantedAt, at);
    else if (at < job.dueAt) {
      job.dueAt = at;
      if (afterMs <= 0) this.#enqueue(job);
      else this.#wait(job);
    }
  }

  /** Checks to start now; each is running until `finished`. */
  takeDue(now: number): readonly CheckId[] {
    this.#wheel.turn(now, (place) => {
      const job = this.#places.at(place);
      if (job !== undefined) this.#enqueue(job);
    });
    const started: CheckId[] = [];
    for (const pace of PACES) {
      const most = Math.max(1, Math.floor(this.#maxConcurrent * SHARE[pace]));
      for (const job of this.#queues[pace]) {
        if (this.#running >= most) break;
        this.#queues[pace].delete(job);
        job.state = 'running';
        this.#running++;
        started.push(job.of.id);
      }
    }
    return started;
  }

  /**
   * `ranIntoDeadline`: the target held its slot to the end. Gives when `takeDue` may have something because of this:
   * now, where others wait for a slot.
   */
  finished(id: CheckId, now: number, ranIntoDeadline: boolean): number {
    const job = this.#jobs.get(id);
    if (job?.state !== 'running') return Infinity;
    this.#running--;
    job.pace = ranIntoDeadline ? 'slow' : 'prompt';
    const { intervalMs, jitter = JITTER } = job.of;
    const factor = 1 + jitter * (2 * this.#random() - 1);
    job.dueAt = Math.max(now, Math.min(job.dueAt + intervalMs * factor, job.wantedAt));
    job.wantedAt = Infinity;
    if (job.dueAt > now) this.#wait(job);
    else this.#enqueue(job);
    return PACES.some((pace) => this.#queues[pace].size > 0) ? now : job.dueAt;
  }

  /** When `takeDue` has something new at the earliest by time alone; null: only after `finished`. */
  nextAt(): number | null {
    return this.#wheel.nextAt();
  }

  #add(check: Scheduled, now: number): void {
    // The id is a hash of all parameters: a check that is known has not changed.
    if (this.#jobs.has(check.id)) return;
    const warmupMs = check.warmupMs ?? check.intervalMs;
    const job = new Job(check, now + this.#random() * warmupMs);
    job.place = this.#places.take(job);
    this.#jobs.set(check.id, job);
    this.#wait(job);
  }

  #wait(job: Job): void {
    job.state = 'waiting';
    this.#wheel.set(job.place, job.dueAt);
  }

  #enqueue(job: Job): void {
    this.#wheel.cancel(job.place);
    job.state = 'queued';
    this.#queues[job.pace].add(job);
  }
}
