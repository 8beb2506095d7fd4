/**
 * Keeps this director's IPVS table as wanted: dump, plan, apply, dump again; one pass at a time, on
 * wake-up and on a timer. It repairs what others change in our services and never touches theirs.
 * Law: it never flushes, and without a usable spec it touches nothing.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import {
  deriveDesired,
  type Desired,
  type DesiredInput,
  type Explanation,
  isStillDesired,
  NOTHING_DESIRED,
} from '../core/desired/desired-state.ts';
import { describeFailure, formatOperation } from '../core/plan/failure-text.ts';
import { type IpvsPlan, planIpvs, serviceKeyOf } from '../core/plan/ipvs-plan.ts';
import { Wakeup } from '../lib/async.ts';
import { type MonoMs, monoMs, type ServiceId } from '../model/ids.ts';
import { formatServiceKey, type IpvsTableOperation, type IpvsTable } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { IpvsCapability, IpvsKernel } from '../ports/kernel.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import { type DesiredByKey, ReconcileBook } from './reconcile-book.ts';

export type ReconcileInput = DesiredInput;

export type ReconcileOptions = {
  /** Time between passes when nothing wakes the loop. */
  readonly resyncMs: number;
  /** Time between two looks whether ip_vs has come. */
  readonly capabilityRecheckMs: number;
  /** Waits after a failed dump or load, and per service that the kernel refuses. */
  readonly retry: BackoffConfig;
  /** Shortest time between two passes: a storm of wake-ups must not starve the hold loop. */
  readonly gapMs: number;
};

export const RECONCILE_DEFAULTS: ReconcileOptions = {
  resyncMs: 2000,
  capabilityRecheckMs: 10_000,
  retry: { firstMs: 250, limitMs: 5000 },
  gapMs: 20,
};

export type ReconcilePorts = {
  readonly kernel: Pick<IpvsKernel, 'capability' | 'dump' | 'apply'>;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Null: no usable spec. Cheap where spec, checks, statuses and each override are the same objects as before. */
  readonly input: () => ReconcileInput | null;
  /** After each pass: whether the table is as wanted may have changed. */
  readonly passed?: () => void;
};

export type ReconcileState = {
  readonly available: boolean;
  readonly detail: string;
  /** What keeps the loop as a whole from its work: the dump, the ledger; null where nothing. */
  readonly problem: string | null;
  /** By service key: what is wrong with single services. */
  readonly problems: ReadonlyMap<string, string>;
  readonly foreign: readonly string[];
  /** How long the last complete pass took; null before the first. */
  readonly lastReconcileMs: number | null;
  readonly lastReconcileAt: MonoMs | null;
  /** Services and destinations repaired since the start. */
  readonly driftRepaired: number;
  /** As last dumped; null before, and where ip_vs is missing. */
  readonly table: IpvsTable | null;
  /** By `realServerKey`. */
  readonly explanations: ReadonlyMap<string, Explanation>;
  readonly sorryActive: ReadonlySet<ServiceId>;
};

export type ReconcileLoop = {
  /** Until the signal aborts; the table stays as it is. */
  run(signal: AbortSignal): Promise<void>;
  /** Something that the desired state depends on may have changed. */
  wake(): void;
  state(): ReconcileState;
};

export function createReconcileLoop(
  options: Partial<ReconcileOptions>,
  ports: ReconcilePorts,
): ReconcileLoop {
  const loop = new Loop({ ...RECONCILE_DEFAULTS, ...options }, ports);
  return {
    run: (signal) => loop.run(signal),
    wake: () => loop.wake(),
    state: () => loop.state(),
  };
}

type Derived = { readonly input: ReconcileInput; readonly desired: Desired; byKey: DesiredByKey };
type Applied = {
  readonly failed: Map<string, string>;
  readonly done: readonly IpvsTableOperation[];
};

/** A ledger that cannot be read after so many tries is given up. */
const LEDGER_TRIES = 3;
/** Names in one log line. */
const LISTED = 10;

class Loop {
  readonly #options: ReconcileOptions;
  readonly #ports: ReconcilePorts;
  readonly #wakeup = new Wakeup();
  readonly #book: ReconcileBook;
  #capability: IpvsCapability = { available: false, detail: 'not asked yet' };
  /** The ledger as it is on disk; null: not read yet. */
  #owned: ReadonlySet<string> | null = null;
  #derived: Derived | null = null;
  #failures = 0;
  /** No wake-up brings the kernel another call before this time. */
  #restUntil = monoMs(-Infinity);
  #problem: string | null = null;
  #foreign: readonly string[] = [];
  #table: IpvsTable | null = null;
  #driftRepaired = 0;
  #lastReconcileMs: number | null = null;
  #lastReconcileAt: MonoMs | null = null;
  /** After a failed dump the capability is asked again, though it was there before. */
  #mustAsk = true;

  constructor(options: ReconcileOptions, ports: ReconcilePorts) {
    this.#options = options;
    this.#ports = ports;
    this.#book = new ReconcileBook(options.retry);
  }

  wake(): void {
    this.#wakeup.wake();
  }

  state(): ReconcileState {
    const { explanations, sorryActive } = this.#derived?.desired ?? NOTHING_DESIRED;
    return {
      available: this.#capability.available,
      detail: this.#capability.detail,
      problem: this.#problem,
      problems: this.#book.problems,
      foreign: this.#foreign,
      lastReconcileMs: this.#lastReconcileMs,
      lastReconcileAt: this.#lastReconcileAt,
      driftRepaired: this.#driftRepaired,
      table: this.#table,
      explanations,
      sorryActive,
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#wakeup.wake();
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        const restMs = await this.#pass();
        this.#ports.passed?.();
        const { gapMs } = this.#options;
        await this.#ports.clock.sleep(gapMs, signal);
        const cancel = this.#ports.clock.schedule(Math.max(restMs - gapMs, 0), wake);
        await this.#wakeup.wait();
        cancel();
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  /** Returns the milliseconds to the next pass, unless something wakes the loop before. */
  async #pass(): Promise<number> {
    const startedAt = this.#ports.clock.now();
    const input = this.#ports.input();
    // Also where the kernel cannot be reached: people want to read why each real server is wanted.
    const derived = input === null ? null : this.#derive(input);
    if (startedAt < this.#restUntil) return this.#restUntil - startedAt;
    if (!(await this.#askCapability())) return this.#rest(this.#options.capabilityRecheckMs);
    if (derived === null) return this.#options.resyncMs;
    const owned = await this.#loadLedger();
    const isDone = owned !== null && (await this.#reconcile(derived, owned));
    const now = this.#ports.clock.now();
    const isClean = isDone && this.#book.problems.size === 0 && this.#problem === null;
    this.#ports.metrics.reconcileFinished((now - startedAt) / 1000, isClean ? 'ok' : 'failed');
    if (!isDone) {
      this.#failures++;
      return this.#rest(deriveBackoffMs(this.#failures, this.#options.retry, 1));
    }
    this.#failures = 0;
    this.#lastReconcileAt = now;
    this.#lastReconcileMs = now - startedAt;
    return Math.min(this.#options.resyncMs, (this.#book.nextRetryAt() ?? Infinity) - now);
  }

  #rest(ms: number): number {
    this.#restUntil = monoMs(this.#ports.clock.now() + ms);
    return ms;
  }

  #derive(input: ReconcileInput): Derived {
    const last = this.#derived;
    if (last !== null && isStillDesired(last.input, last.desired, input)) return last;
    const desired = deriveDesired(input);
    const byKey = new Map(
      desired.services.map((service) => [formatServiceKey(service.key), service]),
    );
    this.#derived = { input, desired, byKey };
    return this.#derived;
  }

  async #askCapability(): Promise<boolean> {
    const before = this.#capability;
    if (before.available && !this.#mustAsk) return true;
    const now = await this.#ports.kernel.capability();
    const { log, metrics } = this.#ports;
    metrics.ipvsAvailable(now.available);
    if (now.available && !before.available) log.info({ detail: now.detail }, 'ipvs.found');
    if (!now.available && (before.available || before.detail !== now.detail))
      log.error({ detail: now.detail }, 'ipvs.missed');
    this.#capability = now;
    this.#mustAsk = false;
    if (!now.available) {
      this.#table = null;
      this.#foreign = [];
      this.#setProblem(null);
    }
    return now.available;
  }

  async #loadLedger(): Promise<ReadonlySet<string> | null> {
    if (this.#owned !== null) return this.#owned;
    const loaded = await this.#ports.ledger.load();
    if (loaded.ok) {
      this.#owned = loaded.value;
      return this.#owned;
    }
    this.#setProblem(`the ledger cannot be read: ${loaded.error}`);
    if (this.#failures + 1 < LEDGER_TRIES) return null;
    // Owning nothing deletes nothing: what was ours and is no longer wanted counts as foreign.
    this.#ports.log.error({ error: loaded.error }, 'ledger.lost');
    this.#owned = new Set();
    return this.#owned;
  }

  /** False where the table could not be dumped: nothing is known, so nothing more is done. */
  async #reconcile(derived: Derived, owned: ReadonlySet<string>): Promise<boolean> {
    const observed = await this.#dump();
    if (observed === null) return false;
    const { services } = derived.desired;
    const plan = planIpvs({ desired: services, observed, owned });
    const isSaved = await this.#saveNewKeys(plan, owned);
    if (isSaved && plan.adopted.length > 0)
      this.#ports.log.info({ services: listSome(plan.adopted) }, 'service.adopted');
    const held = this.#findHeld(plan, derived.byKey, isSaved ? null : owned);
    const operations = plan.operations.filter((operation) => !held.has(keyOf(operation)));
    const applied = await this.#apply(operations);
    this.#countDrift(applied.done, derived.byKey);
    let last = plan;
    if (operations.length > 0) {
      const reread = await this.#dump();
      if (reread === null) return false;
      last = planIpvs({ desired: services, observed: reread, owned: this.#owned ?? owned });
    }
    for (const operation of last.operations) {
      const key = keyOf(operation);
      if (!held.has(key) && !applied.failed.has(key))
        applied.failed.set(key, `not as wanted after apply: ${formatOperation(operation)}`);
    }
    this.#settle(derived.byKey, applied.failed, held);
    this.#setForeign(last.foreign);
    if (await this.#saveLedger(last.nextOwned)) this.#setProblem(null);
    return true;
  }

  async #dump(): Promise<IpvsTable | null> {
    const dumped = await this.#ports.kernel.dump();
    if (dumped.ok) {
      this.#table = dumped.value;
      return dumped.value;
    }
    this.#mustAsk = true;
    this.#setProblem(
      `the IPVS table cannot be read: ${dumped.error.message} (${dumped.error.code})`,
    );
    return null;
  }

  /** New keys are on disk before the kernel gets them: a crash in between leaves no orphan. */
  async #saveNewKeys(plan: IpvsPlan, owned: ReadonlySet<string>): Promise<boolean> {
    for (const key of plan.nextOwned) if (!owned.has(key)) return this.#saveLedger(plan.nextOwned);
    return true;
  }

  async #saveLedger(services: ReadonlySet<string>): Promise<boolean> {
    if (this.#owned !== null && equalSets(this.#owned, services)) return true;
    const saved = await this.#ports.ledger.save(services);
    if (saved.ok) this.#owned = services;
    else this.#setProblem(`the ledger cannot be written: ${saved.error}`);
    return saved.ok;
  }

  /**
   * Services that this pass leaves alone: refused a moment ago, or to be created while the ledger
   * cannot be written (`ledger` is then what it still says; null where it was written).
   */
  #findHeld(
    plan: IpvsPlan,
    desired: DesiredByKey,
    ledger: ReadonlySet<string> | null,
  ): ReadonlySet<string> {
    const now = this.#ports.clock.now();
    const held = new Set<string>();
    for (const operation of plan.operations) {
      const key = keyOf(operation);
      const isUnsaved = operation.op === 'add-service' && ledger !== null && !ledger.has(key);
      if (isUnsaved || this.#book.isHeld(key, desired, now)) held.add(key);
    }
    return held;
  }

  async #apply(operations: readonly IpvsTableOperation[]): Promise<Applied> {
    const failed = new Map<string, string>();
    if (operations.length === 0) return { failed, done: [] };
    const results = await this.#ports.kernel.apply(operations);
    const done: IpvsTableOperation[] = [];
    const counts = new Map<string, { op: string; result: 'ok' | 'failed'; count: number }>();
    for (const [i, operation] of operations.entries()) {
      const result = results[i];
      const isDone = result?.ok === true;
      const id = `${operation.op} ${isDone}`;
      const entry = counts.get(id) ?? {
        op: operation.op,
        result: isDone ? 'ok' : 'failed',
        count: 0,
      };
      entry.count++;
      counts.set(id, entry);
      const key = keyOf(operation);
      if (isDone) done.push(operation);
      else if (!failed.has(key)) failed.set(key, describeResult(operation, result));
    }
    for (const { op, result, count } of counts.values())
      this.#ports.metrics.operationApplied(op, result, count);
    this.#ports.log.info(
      { operations: operations.length, failed: operations.length - done.length },
      'plan.applied',
    );
    return { failed, done };
  }

  #countDrift(done: readonly IpvsTableOperation[], desired: DesiredByKey): void {
    const keys = new Set(done.map(keyOf));
    const drifted = new Set([...keys].filter((key) => this.#book.isDrift(key, desired)));
    const repairs = done.filter((operation) => drifted.has(keyOf(operation)));
    if (repairs.length === 0) return;
    const destinations = repairs.filter((operation) => 'destination' in operation).length;
    const services = repairs.length - destinations;
    this.#driftRepaired += repairs.length;
    const { log, metrics } = this.#ports;
    if (services > 0) metrics.driftRepaired('service', services);
    if (destinations > 0) metrics.driftRepaired('destination', destinations);
    log.warn({ services, destinations, of: listSome([...drifted]) }, 'drift.repaired');
  }

  #settle(desired: DesiredByKey, failed: Map<string, string>, held: ReadonlySet<string>): void {
    const { clock, log } = this.#ports;
    const changes = this.#book.settle({ desired, failed, held, now: clock.now() });
    for (const [service, problem] of changes.appeared)
      log.warn({ service, problem }, 'service.refused');
    for (const service of changes.cleared) log.info({ service }, 'service.recovered');
  }

  #setForeign(foreign: readonly string[]): void {
    this.#ports.metrics.foreignServices(foreign.length);
    if (!equalSets(new Set(this.#foreign), new Set(foreign)))
      this.#ports.log.info(
        { count: foreign.length, services: listSome(foreign) },
        'foreign-services.changed',
      );
    this.#foreign = foreign;
  }

  #setProblem(problem: string | null): void {
    if (problem !== null && problem !== this.#problem)
      this.#ports.log.error({ problem }, 'reconcile.failed');
    if (problem === null && this.#problem !== null)
      this.#ports.log.info({ problem: this.#problem }, 'reconcile.recovered');
    this.#problem = problem;
  }
}

const keyOf = (operation: IpvsTableOperation): string => formatServiceKey(serviceKeyOf(operation));

const listSome = (names: readonly string[]): readonly string[] => names.slice(0, LISTED);

type ApplyResult = Awaited<ReturnType<IpvsKernel['apply']>>[number];

const describeResult = (operation: IpvsTableOperation, result: ApplyResult | undefined): string =>
  result === undefined || result.ok
    ? `${formatOperation(operation)}: no answer`
    : describeFailure(operation, result.error);

function equalSets(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size !== b.size) return false;
  for (const entry of a) if (!b.has(entry)) return false;
  return true;
}
