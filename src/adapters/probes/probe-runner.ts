/**
 * Turns the engine of one worker on the thread's event loop, with one timer for everything. The time source and the
 * timer are arguments, because a worker thread has its own.
 */
import { AwakeTime } from './awake-time.ts';
import { type EngineWorld, ProbeEngine } from './probe-engine.ts';
import type { ToWorker, WorkerOptions } from './probe-protocol.ts';

/** A timer later than this means that the thread stood still, not that targets were slow. */
const STALL_MS = 50;
/** While probes run the timer fires so often at least: a pause is known by one that is late. */
const HEARTBEAT_MS = 100;

export type RunnerWorld = Omit<EngineWorld, 'ended'> & {
  readonly setTimer: (ms: number, action: () => void) => () => void;
};

export class ProbeRunner {
  readonly #world: RunnerWorld;
  readonly #awake: AwakeTime;
  readonly #engine: ProbeEngine;
  #cancelTimer: (() => void) | null = null;
  /** For when the timer is set, and since when. */
  #timerAt: number | null = null;
  #armedAt = 0;
  #isTurning = false;

  constructor(options: WorkerOptions, world: RunnerWorld) {
    const awake = new AwakeTime(world.now);
    const now = (): number => awake.now();
    this.#world = world;
    this.#awake = awake;
    this.#engine = new ProbeEngine(options, {
      ...world,
      now,
      probe: (check, done) => world.probe(check, (outcome) => (this.#wake(), done(outcome))),
      ended: (at) => this.#onEnded(at),
    });
  }

  handle(message: ToWorker): void {
    if (message.kind === 'stop') {
      this.#engine.stop();
      // It would begin new probes, and keep its thread.
      this.#disarm();
    } else {
      this.#wake();
      this.#engine.handle(message);
      this.#look();
    }
  }

  /** Thousands a second end: most of them change nothing of what the timer waits for. */
  #onEnded(at: number): void {
    if (this.#isTurning) return;
    if (at <= this.#awake.now()) this.#look();
    else if (this.#timerAt === null || at < this.#timerAt) this.#arm();
  }

  /** Something has come: what a free slot allows now. Beside it other answers may wait, so no deadline counts. */
  #look(): void {
    if (this.#isTurning) return;
    this.#wake();
    this.#turn(false);
    this.#arm();
  }

  #onTimer(): void {
    const lateMs = this.#wake();
    this.#timerAt = null;
    this.#engine.late(lateMs);
    // After a stall, the answers that came meanwhile are read before a deadline counts.
    const hasStalled = lateMs > STALL_MS;
    this.#turn(!hasStalled);
    if (hasStalled)
      this.#set(1, () => {
        this.#engine.late(this.#wake());
        this.#timerAt = null;
        this.#turn(true);
        this.#arm();
      });
    else this.#arm();
  }

  #turn(mayCut: boolean): void {
    this.#isTurning = true;
    this.#engine.turn(mayCut);
    this.#isTurning = false;
  }

  /** How late the timer is; what the whole process stood still is not counted, and time goes on from before it. */
  #wake(): number {
    const timerAt = this.#timerAt;
    if (timerAt === null) return 0;
    const lateMs = this.#awake.now() - timerAt;
    if (lateMs <= STALL_MS) return Math.max(0, lateMs);
    const since = Math.max(this.#armedAt, timerAt - HEARTBEAT_MS);
    return this.#awake.resume(since, timerAt - since) ? 0 : lateMs;
  }

  /** One timer for what comes next; one that comes sooner does no harm. */
  #arm(): void {
    const next = this.#engine.nextAt();
    if (next === null) {
      this.#disarm();
      return;
    }
    // Whole milliseconds, rounded up: a timer that fires a fraction early would spin.
    const dueMs = Math.max(1, Math.ceil(next - this.#awake.now()));
    this.#set(this.#engine.isProbing ? Math.min(dueMs, HEARTBEAT_MS) : dueMs, () =>
      this.#onTimer(),
    );
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#timerAt = null;
  }

  #set(delayMs: number, action: () => void): void {
    const now = this.#awake.now();
    const at = now + delayMs;
    if (this.#timerAt !== null && this.#timerAt <= at) return;
    this.#cancelTimer?.();
    this.#armedAt = now;
    this.#timerAt = at;
    this.#cancelTimer = this.#world.setTimer(delayMs, action);
  }
}
