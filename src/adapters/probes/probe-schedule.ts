/**
 * When which check is probed, and how many at once. Pure: time and randomness are arguments.
 *
 * Targets that swallow packets hold a slot for their whole timeout. So that a thousand of them do not delay
 * the others, slots are shared by what a check did last: who answered may use all slots, who has
 * not been probed yet three quarters, who ran into the deadline half of them; and in this order they are served.
 * A check that is due and finds no slot waits; it is never queued twice, so the queues are bounded.
 */
import type { CheckId } from '../../model/ids.ts';
import { TimeHeap } from './time-heap.ts';

/** Part of the interval by which the rhythm varies, up and down. */
export const JITTER = 0.1;

/** Void alarms tolerated before they are swept. */
const ALARMS_SPARE = 64;

const PACES = ['prompt', 'unknown', 'slow'] as const;
type Pace = (typeof PACES)[number];
/** Share of all slots that may be in use when a probe of this pace starts. */
const SHARE: Readonly<Record<Pace, number>> = { prompt: 1, unknown: 0.75, slow: 0.5 };

export type Scheduled = { readonly id: CheckId; readonly intervalMs: number };

type Job = {
  readonly id: CheckId;
  readonly intervalMs: number;
  pace: Pace;
  state: 'waiting' | 'queued' | 'running';
  /** When the next probe is due; the rhythm counts from here, not from when a slot was free. */
  dueAt: number;
  isWantedSoon: boolean;
  isRemoved: boolean;
};
type Alarm = { readonly at: number; readonly job: Job };

export class ProbeSchedule {
  readonly #maxConcurrent: number;
  readonly #random: () => number;
  readonly #jobs = new Map<CheckId, Job>();
  readonly #alarms = new TimeHeap<Alarm>();
  readonly #queues: Readonly<Record<Pace, Set<Job>>> = {
    prompt: new Set(),
    unknown: new Set(),
    slow: new Set(),
  };
  #running = 0;

  constructor(maxConcurrent: number, random: () => number) {
    this.#maxConcurrent = maxConcurrent;
    this.#random = random;
  }

  get running(): number {
    return this.#running;
  }

  /** The complete set. Returns the checks that are gone while their probe runs: abort these. */
  set(checks: readonly Scheduled[], now: number): readonly CheckId[] {
    const wanted = new Map(checks.map((check) => [check.id, check]));
    const aborted: CheckId[] = [];
    for (const job of this.#jobs.values()) {
      if (wanted.has(job.id)) continue;
      if (job.state === 'running') {
        aborted.push(job.id);
        this.#running--;
      }
      job.isRemoved = true;
      this.#queues[job.pace].delete(job);
      this.#jobs.delete(job.id);
    }
    for (const check of wanted.values()) this.#setOne(check, now);
    return aborted;
  }

  /** One probe as soon as a slot is free; while one is running, one more after it. */
  soon(id: CheckId, now: number): void {
    const job = this.#jobs.get(id);
    if (job?.state === 'running') job.isWantedSoon = true;
    else if (job?.state === 'waiting') {
      job.dueAt = now;
      this.#enqueue(job);
    }
  }

  /** Checks to start now; each is running until `finished`. */
  takeDue(now: number): readonly CheckId[] {
    this.#compact();
    for (let next = this.#alarms.peek(); next !== undefined && next.at <= now; ) {
      this.#alarms.pop();
      // An alarm of an earlier plan, or of a check that is gone, means nothing.
      const isValid = next.job.state === 'waiting' && next.job.dueAt === next.at;
      if (isValid && !next.job.isRemoved) this.#enqueue(next.job);
      next = this.#alarms.peek();
    }
    const started: CheckId[] = [];
    for (const pace of PACES)
      for (const job of this.#queues[pace]) {
        if (this.#running >= Math.max(1, Math.floor(this.#maxConcurrent * SHARE[pace]))) break;
        this.#queues[pace].delete(job);
        job.state = 'running';
        this.#running++;
        started.push(job.id);
      }
    return started;
  }

  /** `ranIntoDeadline`: the target held its slot to the end. */
  finished(id: CheckId, now: number, ranIntoDeadline: boolean): void {
    const job = this.#jobs.get(id);
    if (job?.state !== 'running') return;
    this.#running--;
    job.pace = ranIntoDeadline ? 'slow' : 'prompt';
    const factor = 1 + JITTER * (2 * this.#random() - 1);
    job.dueAt = job.isWantedSoon ? now : Math.max(now, job.dueAt + job.intervalMs * factor);
    job.isWantedSoon = false;
    this.#wait(job);
  }

  /** When `takeDue` has something new at the earliest by time alone; null: only after `finished`. */
  nextAt(): number | null {
    return this.#alarms.peek()?.at ?? null;
  }

  #setOne(check: Scheduled, now: number): void {
    // The id is a hash of all parameters: a check that is known has not changed.
    if (this.#jobs.has(check.id)) return;
    const job: Job = {
      id: check.id,
      intervalMs: check.intervalMs,
      pace: 'unknown',
      state: 'waiting',
      dueAt: now + this.#random() * check.intervalMs,
      isWantedSoon: false,
      isRemoved: false,
    };
    this.#jobs.set(check.id, job);
    this.#wait(job);
  }

  #wait(job: Job): void {
    job.state = 'waiting';
    this.#alarms.push({ at: job.dueAt, job });
  }

  /** Void alarms (of removed checks, or overtaken by `soon`) must not pile up. */
  #compact(): void {
    if (this.#alarms.size <= 2 * this.#jobs.size + ALARMS_SPARE) return;
    this.#alarms.clear();
    for (const job of this.#jobs.values())
      if (job.state === 'waiting') this.#alarms.push({ at: job.dueAt, job });
  }

  #enqueue(job: Job): void {
    job.state = 'queued';
    this.#queues[job.pace].add(job);
  }
}
