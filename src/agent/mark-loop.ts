/**
 * Keeps the table of firewall marks as the cluster document wants it: read, plan, write, read again; one
 * pass at a time, on wake-up, on the kernel's word and on a timer. Law: without a usable spec it touches
 * nothing, and what it cannot write concerns no service but those that ask for marks.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import { deriveMarks, type DesiredMarks, NO_MARKS } from '../core/marks/desired-marks.ts';
import { type MarkPlan, planMarks } from '../core/marks/plan-marks.ts';
import { Wakeup } from '../lib/async.ts';
import { err, type Result } from '../lib/result.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { ServiceId } from '../model/ids.ts';
import type { KernelError } from '../model/kernel.ts';
import { formatMarked, type MarkContents, type MarkEntry } from '../model/marks.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { MarkTable } from '../ports/marks.ts';
import type { Metrics } from '../ports/metrics.ts';

export type MarkLoopOptions = {
  /** Time between two looks at the table where marks are wanted. */
  readonly resyncMs: number;
  /** The same where none are: somebody else's leftover is nothing urgent. */
  readonly idleMs: number;
  /** Looking takes at most this share of the time, however many marks there are. */
  readonly busyShare: number;
  /** Shortest time between two passes: one who keeps deleting the table must not keep us busy. */
  readonly gapMs: number;
  readonly retry: BackoffConfig;
};

export const MARK_LOOP_DEFAULTS: MarkLoopOptions = {
  resyncMs: 2000,
  idleMs: 60_000,
  busyShare: 0.01,
  gapMs: 100,
  retry: { firstMs: 250, limitMs: 10_000 },
};

export type MarkLoopPorts = {
  readonly marks: MarkTable;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'driftRepaired'>;
  /** Null: no usable spec. The same object as before where it did not change. */
  readonly spec: () => ClusterSpec | null;
};

export type MarkState = {
  /** Why the table is not as wanted, with the remedy; null: it is, or nobody asks for marks. */
  readonly problem: string | null;
  /** What is wrong for single services: they get no mark, or not all; others are not concerned. */
  readonly problems: ReadonlyMap<ServiceId, string>;
  /** In the kernel, as last read: address and port ranges that get a mark. */
  readonly entries: readonly MarkEntry[];
  /** Times that what somebody else changed was made good since the start. */
  readonly driftRepaired: number;
};

export type MarkLoop = {
  /** Until the signal aborts; the table stays as it is. */
  run(signal: AbortSignal): Promise<void>;
  /** The spec may have changed. */
  wake(): void;
  state(): MarkState;
  /** Takes the table away: at an exit that releases, once `run` has ended. The error says why it stays. */
  remove(): Promise<Result<void, string>>;
};

export function createMarkLoop(options: Partial<MarkLoopOptions>, ports: MarkLoopPorts): MarkLoop {
  const loop = new Loop({ ...MARK_LOOP_DEFAULTS, ...options }, ports);
  return {
    run: (signal) => loop.run(signal),
    wake: () => loop.wake(),
    state: () => loop.state(),
    remove: () => loop.remove(),
  };
}

type Writing = Exclude<MarkPlan, { kind: 'nothing' }>;

/** Names in one log line. */
const LISTED = 10;

class Loop {
  readonly #options: MarkLoopOptions;
  readonly #ports: MarkLoopPorts;
  readonly #wakeup = new Wakeup();
  #spec: ClusterSpec | null = null;
  #desired: DesiredMarks = NO_MARKS;
  /** What was in the kernel as it should be; null: not since the document changed. */
  #settled: DesiredMarks | null = null;
  #observed: MarkContents | null = null;
  #watching: Promise<void> | null = null;
  #problem: string | null = null;
  #failures = 0;
  #driftRepaired = 0;

  constructor(options: MarkLoopOptions, ports: MarkLoopPorts) {
    this.#options = options;
    this.#ports = ports;
  }

  wake(): void {
    this.#wakeup.wake();
  }

  state(): MarkState {
    const problems = new Map(this.#desired.conflicts);
    const problem = this.#problem;
    if (problem !== null)
      for (const service of this.#desired.services) problems.set(service, problem);
    return {
      problem,
      problems,
      entries: this.#observed?.entries ?? [],
      driftRepaired: this.#driftRepaired,
    };
  }

  async remove(): Promise<Result<void, string>> {
    const removed = await this.#ports.marks.remove();
    if (!removed.ok) return err(`the table of firewall marks: ${removed.error.message}`);
    this.#observed = null;
    return removed;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    const wake = (): void => this.#wakeup.wake();
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        const startedAt = clock.now();
        const restMs = await this.#pass(signal);
        const { gapMs, busyShare, retry } = this.#options;
        // A kernel that answers late is no reason to look away for long.
        const leastMs = Math.min((clock.now() - startedAt) / busyShare, retry.limitMs);
        await clock.sleep(gapMs, signal);
        const cancel = clock.schedule(Math.max(restMs, leastMs) - gapMs, wake);
        await this.#wakeup.wait();
        cancel();
      }
    } finally {
      signal.removeEventListener('abort', wake);
      await this.#watching;
    }
  }

  /** Returns the milliseconds to the next pass, unless something wakes the loop before. */
  async #pass(signal: AbortSignal): Promise<number> {
    const spec = this.#ports.spec();
    if (spec === null) return this.#options.idleMs;
    this.#derive(spec);
    const desired = this.#desired;
    const isWanted = desired.entries.length > 0;
    if (isWanted) this.#watching ??= this.#watch(signal);
    if (!(await this.#reconcile(desired)))
      return deriveBackoffMs(++this.#failures, this.#options.retry, 1);
    this.#failures = 0;
    this.#settled = desired;
    return isWanted ? this.#options.resyncMs : this.#options.idleMs;
  }

  #derive(spec: ClusterSpec): void {
    if (spec === this.#spec) return;
    this.#spec = spec;
    const desired = deriveMarks(spec);
    const before = this.#desired;
    this.#desired = desired;
    // A document that says the same of marks leaves what somebody changes a drift.
    const isSame = planMarks(desired.entries, { isIntact: true, entries: before.entries });
    if (isSame.kind === 'nothing' && this.#settled === before) this.#settled = desired;
    for (const [service, problem] of desired.conflicts)
      if (before.conflicts.get(service) !== problem)
        this.#ports.log.warn({ service, problem }, 'marks.conflicted');
  }

  /** True: the table is as wanted. */
  async #reconcile(desired: DesiredMarks): Promise<boolean> {
    const plan = await this.#plan(desired);
    if (plan === null) return false;
    if (plan.kind === 'nothing') return this.#settle(null);
    const written = await this.#write(plan, desired);
    if (!written.ok) return this.#settle(refused(written.error));
    this.#tell(plan, desired);
    const rest = await this.#plan(desired);
    if (rest === null) return false;
    return this.#settle(
      rest.kind === 'nothing' ? null : 'the table of marks was changed by somebody else at once',
    );
  }

  async #write(plan: Writing, desired: DesiredMarks): Promise<Result<void, KernelError>> {
    const { marks, log } = this.#ports;
    if (plan.kind === 'remove') return marks.remove();
    if (plan.kind === 'change') {
      const changed = await marks.change(plan);
      if (changed.ok) return changed;
      // Somebody was faster, or a kernel takes the old and the new range for one: then all of it anew.
      log.debug({ reason: changed.error.message }, 'marks.unchanged');
    }
    return marks.replace(desired.entries);
  }

  /** Null: the table cannot be read. */
  async #plan(desired: DesiredMarks): Promise<MarkPlan | null> {
    const observed = await this.#ports.marks.observe();
    if (observed.ok) {
      this.#observed = observed.value;
      return planMarks(desired.entries, observed.value);
    }
    this.#settle(`the table of marks cannot be read: ${observed.error.message}`);
    return null;
  }

  #tell(plan: Writing, desired: DesiredMarks): void {
    const { log, metrics } = this.#ports;
    const fields = {
      reason: plan.reason,
      entries: desired.entries.length,
      added: listSome(plan.add),
      removed: listSome(plan.remove),
    };
    if (this.#settled !== desired) {
      log.info(fields, 'marks.written');
      return;
    }
    this.#driftRepaired++;
    metrics.driftRepaired('mark', Math.max(1, plan.add.length + plan.remove.length));
    log.warn(fields, 'marks.repaired');
  }

  /** True where there is no problem. Problems that nobody's service has are only logged at debug. */
  #settle(problem: string | null): boolean {
    const { log } = this.#ports;
    const shown = this.#desired.services.length > 0 ? problem : null;
    if (shown !== null && shown !== this.#problem)
      log.error(
        { problem: shown, services: this.#desired.services.slice(0, LISTED) },
        'marks.refused',
      );
    if (shown === null && this.#problem !== null)
      log.info({ problem: this.#problem }, 'marks.recovered');
    if (problem !== shown) log.debug({ problem }, 'marks.unreadable');
    this.#problem = shown;
    return problem === null;
  }

  /** Wakes the loop when the kernel tells of a change; it ends with the signal, or early where it cannot. */
  async #watch(signal: AbortSignal): Promise<void> {
    for await (const reason of this.#ports.marks.watch(signal)) {
      this.#ports.log.debug({ reason }, 'marks.changed');
      this.#wakeup.wake();
    }
  }
}

const refused = ({ message }: KernelError): string =>
  `packets get no mark: ${message}; or leave "marks" out of the document and let another tool set the mark`;

const listSome = (entries: readonly MarkEntry[]): readonly string[] =>
  entries.slice(0, LISTED).map((entry) => `${formatMarked(entry)} mark ${entry.mark}`);
