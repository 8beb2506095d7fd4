/**
 * Keeps this director's IPVS as wanted, the table and what is beside it: dump, plan, apply, dump again; one
 * pass at a time, on wake-up and on a timer. It repairs what others change in our services and never touches
 * theirs. Law: it never flushes, and without a usable spec it touches nothing.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import {
  type Desired,
  type DesiredInput,
  deriveDesiredSteps,
  isStillDesired,
  NO_FACTS,
} from '../core/desired/desired-state.ts';
import type { DesiredSync, SyncInput } from '../core/desired/sync-daemons.ts';
import { type KernelPlan, planKernelSteps } from '../core/plan/control-plan.ts';
import { formatOperation } from '../core/plan/failure-text.ts';
import type { Drains } from '../core/service/drain.ts';
import { Wakeup } from '../lib/async.ts';
import { err, ok, type Result } from '../lib/result.ts';
import { createPace, runPaced } from '../lib/steps.ts';
import { type DirectorId, type GroupId, type MonoMs, monoMs } from '../model/ids.ts';
import { formatServiceKey, type IpvsDaemon, type IpvsOperation } from '../model/kernel.ts';
import type { Clock } from '../ports/clock.ts';
import type { IpvsCapability, IpvsKernel } from '../ports/kernel.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import { type Applied, applyPlan, isOfTable, keyOf } from './apply-plan.ts';
import { ControlBook, controlKeyOf, type WantedControl, wantedControl } from './control-book.ts';
import { IpvsFacts, type Surroundings } from './ipvs-facts.ts';
import { type KernelLook, lookAgain, lookAtKernel } from './kernel-look.ts';
import { type DesiredByKey, ReconcileBook } from './reconcile-book.ts';
import { type ControlKey, desiredPartOf, type ReconcileState } from './reconcile-state.ts';
import { type Released, releaseTable } from './release-table.ts';
import { isSameSet, SyncDesk } from './sync-desk.ts';

export type { ReconcileState };

export type ReconcileInput = Omit<DesiredInput, 'facts'> & {
  /** Absent: nobody knows any. */
  readonly around?: Surroundings;
  /**
   * Groups that this director speaks for: their connections are told to the others. Absent: none; null: not
   * known yet, so sync daemons are left as an earlier process left them.
   */
  readonly held?: ReadonlySet<GroupId> | null;
} & Pick<SyncInput, 'isBackupOnly' | 'serving'>;

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
  readonly me: DirectorId;
  /** Logical interface name to device. */
  readonly devices: ReadonlyMap<string, string>;
  readonly kernel: Pick<IpvsKernel, 'capability' | 'dump' | 'apply' | 'daemons' | 'timeouts'>;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Null: no usable spec. Cheap where spec, checks, statuses and each override are the same objects as before. */
  readonly input: () => ReconcileInput | null;
  /** Something was decided anew from what the kernel has: in the pass, before it acts. */
  readonly decided?: (decision: Decided) => void;
  /** After each pass: whether the table is as wanted may have changed. */
  readonly passed?: () => void;
};

export type Decided = {
  /** Quorums as they were before. */
  readonly before: Desired['quorums'];
  readonly desired: Desired;
  readonly drains: Drains;
};

export type ReconcileLoop = {
  /** Until the signal aborts; the table stays as it is. */
  run(signal: AbortSignal): Promise<void>;
  /** Something that the desired state depends on may have changed. */
  wake(): void;
  state(): ReconcileState;
  /**
   * After `run` has ended: takes our services and sync daemons out of the kernel. The error says what is
   * left of them and why; it is ours still, by the ledger.
   */
  release(): Promise<Result<Released, string>>;
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
    release: () => loop.release(),
  };
}

type Derived = {
  readonly input: DesiredInput;
  readonly desired: Desired;
  readonly byKey: DesiredByKey;
};
/** What one pass wants of the kernel. */
type Wanted = {
  readonly spec: ReconcileInput['spec'];
  readonly derived: Derived;
  readonly sync: DesiredSync;
  /** Sync daemons are another matter until it is known what is held. */
  readonly isSyncKnown: boolean;
  readonly control: WantedControl;
};
/** What a pass leaves alone. */
type Held = { readonly services: ReadonlySet<string>; readonly control: ReadonlySet<ControlKey> };

/** A ledger that cannot be read after so many tries is given up. */
const LEDGER_TRIES = 3;
/** Names in one log line. */
const LISTED = 10;
/** Operations between two steps: about half a millisecond. */
const REST_EVERY = 500;
const NOTHING_RELEASED: Released = { services: 0, daemons: [] };
const NOBODY: ReadonlySet<GroupId> = new Set();

class Loop {
  readonly #options: ReconcileOptions;
  readonly #ports: ReconcilePorts;
  readonly #wakeup = new Wakeup();
  readonly #book: ReconcileBook;
  readonly #control: ControlBook;
  readonly #facts: IpvsFacts;
  readonly #sync = new SyncDesk();
  #capability: IpvsCapability = { available: false, detail: 'not asked yet' };
  /** The ledger as it is on disk; null: not read yet. */
  #owned: ReadonlySet<string> | null = null;
  #derived: Derived | null = null;
  /** What was derived when it was told of last. */
  #told: Derived | null = null;
  #failures = 0;
  /** No wake-up brings the kernel another call before this time. */
  #restUntil = monoMs(-Infinity);
  #problem: string | null = null;
  #foreign: readonly string[] = [];
  #foreignDaemons: readonly IpvsDaemon[] = [];
  #look: KernelLook | null = null;
  #driftRepaired = 0;
  #lastReconcileMs: number | null = null;
  #lastReconcileAt: MonoMs | null = null;
  /** After a failed dump the capability is asked again, though it was there before. */
  #mustAsk = true;

  constructor(options: ReconcileOptions, ports: ReconcilePorts) {
    this.#options = options;
    this.#ports = ports;
    this.#book = new ReconcileBook(options.retry);
    this.#control = new ControlBook(options.retry);
    this.#facts = new IpvsFacts(ports.clock);
  }

  wake(): void {
    this.#wakeup.wake();
  }

  state(): ReconcileState {
    const now = this.#ports.clock.now();
    const syncReady = this.#sync.ready(now);
    const drainNowMs = this.#facts.nowMs();
    return {
      available: this.#capability.available,
      detail: this.#capability.detail,
      problem: this.#problem,
      problems: this.#book.problems,
      controlProblems: this.#control.problems,
      foreign: this.#foreign,
      foreignDaemons: this.#foreignDaemons,
      lastReconcileMs: this.#lastReconcileMs,
      lastReconcileAt: this.#lastReconcileAt,
      driftRepaired: this.#driftRepaired,
      table: this.#look?.table ?? null,
      daemons: this.#look?.daemons ?? null,
      timeouts: this.#look?.timeouts ?? null,
      ...desiredPartOf(this.#derived?.desired ?? null),
      drains: this.#facts.drains,
      drainNowMs,
      sync: this.#sync.explanations,
      syncReady,
      syncAwaited: this.#sync.awaited(syncReady, now),
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

  async release(): Promise<Result<Released, string>> {
    const owned = await this.#loadLedger();
    if (owned === null) return err(this.#problem ?? 'the ledger cannot be read');
    if (owned.size === 0) return ok(NOTHING_RELEASED);
    const outcome = await releaseTable(this.#ports, owned);
    if (!outcome.ok) return outcome;
    const { released, left } = outcome.value;
    const problems = [...outcome.value.problems];
    const isSaved = await this.#saveLedger(left);
    if (!isSaved && this.#problem !== null) problems.push(this.#problem);
    if (problems.length === 0) return ok(released);
    const more = problems.length - LISTED;
    return err(listSome(problems).join('; ') + (more > 0 ? `; and ${more} more` : ''));
  }

  /** Returns the milliseconds to the next pass, unless something wakes the loop before. */
  async #pass(): Promise<number> {
    const startedAt = this.#ports.clock.now();
    if (startedAt < this.#restUntil) {
      await this.#explain();
      return this.#restUntil - startedAt;
    }
    if (!(await this.#askCapability())) {
      await this.#explain();
      return this.#rest(this.#options.capabilityRecheckMs);
    }
    if (this.#ports.input() === null) return this.#options.resyncMs;
    const owned = await this.#loadLedger();
    const isDone = owned !== null && (await this.#reconcile(owned));
    if (!isDone) await this.#explain();
    const now = this.#ports.clock.now();
    const problems = this.#book.problems.size + this.#control.problems.size;
    const isClean = isDone && problems === 0 && this.#problem === null;
    this.#ports.metrics.reconcileFinished((now - startedAt) / 1000, isClean ? 'ok' : 'failed');
    if (!isDone) {
      this.#failures++;
      return this.#rest(deriveBackoffMs(this.#failures, this.#options.retry, 1));
    }
    this.#failures = 0;
    this.#lastReconcileAt = now;
    this.#lastReconcileMs = now - startedAt;
    return this.#untilNext(now);
  }

  #untilNext(now: MonoMs): number {
    const dueAtMs = this.#derived?.desired.dueAtMs ?? Infinity;
    return Math.min(
      this.#options.resyncMs,
      (this.#book.nextRetryAt() ?? Infinity) - now,
      (this.#control.nextRetryAt() ?? Infinity) - now,
      dueAtMs - this.#facts.nowMs(),
      this.#sync.nextInMs(now),
    );
  }

  #rest(ms: number): number {
    this.#restUntil = monoMs(this.#ports.clock.now() + ms);
    return ms;
  }

  /** Where the kernel cannot be reached, too, people want to read why each real server is wanted. */
  async #explain(): Promise<void> {
    const input = this.#ports.input();
    if (input === null) return;
    this.#deriveSync(input, await this.#derive(input));
    this.#sync.observe(null, this.#ports.clock.now());
  }

  /** What comes in while it rests is looked at in the next pass. */
  async #derive(input: ReconcileInput): Promise<Derived> {
    const { spec, checks, overrides, statuses, around = NO_FACTS } = input;
    const full = { spec, checks, overrides, statuses, facts: this.#facts.facts(around) };
    const last = this.#derived;
    if (last !== null && isStillDesired(last.input, last.desired, full)) return last;
    const desired = await this.#inSteps(deriveDesiredSteps(full));
    const byKey = new Map(
      desired.services.map((service) => [formatServiceKey(service.key), service]),
    );
    this.#derived = { input: full, desired, byKey };
    return this.#derived;
  }

  /** The hold loop shares the thread. */
  #inSteps<T>(steps: Generator<undefined, T>): Promise<T> {
    return runPaced(steps, createPace(this.#ports.clock));
  }

  #deriveSync(input: ReconcileInput, { desired }: Derived): DesiredSync {
    const { me, devices } = this.#ports;
    const { services } = desired;
    const { spec, held, isBackupOnly = false, serving = NOBODY } = input;
    const { groups } = spec;
    const known = { me, devices, groups, services, isBackupOnly, serving };
    return this.#sync.derive({ ...known, held: held ?? NOBODY });
  }

  /** From what the kernel has: drains go by it, and at the start quorums do. */
  async #decide(input: ReconcileInput, look: KernelLook): Promise<Wanted> {
    await this.#inSteps(this.#facts.observe(input, look.table));
    const before = this.#facts.quorums;
    const derived = await this.#derive(input);
    if (derived !== this.#told) {
      this.#told = derived;
      const { desired } = derived;
      this.#facts.decided(desired);
      this.#ports.decided?.({ before, desired, drains: this.#facts.drains });
    }
    const sync = this.#deriveSync(input, derived);
    const { spec, held } = input;
    const isSyncKnown = held !== null;
    const control = wantedControl(isSyncKnown ? sync.daemons : [], spec.ipvs.timeouts);
    return { spec, derived, sync, isSyncKnown, control };
  }

  #plan(
    { spec, derived, sync, isSyncKnown }: Wanted,
    look: KernelLook,
    owned: ReadonlySet<string>,
  ): Promise<KernelPlan> {
    const input = {
      desired: derived.desired.services,
      observed: look.table,
      owned,
      daemons: { desired: sync.daemons, observed: isSyncKnown ? look.daemons : null },
      timeouts: { desired: spec.ipvs.timeouts, observed: look.timeouts },
    };
    return this.#inSteps(planKernelSteps(input));
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
      this.#look = null;
      this.#foreign = [];
      this.#foreignDaemons = [];
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
  async #reconcile(owned: ReadonlySet<string>): Promise<boolean> {
    const look = await this.#dump();
    // As late as can be: what came in meanwhile counts.
    const input = this.#ports.input();
    if (look === null || input === null) return false;
    this.#sync.observe(look.daemons, this.#ports.clock.now());
    const wanted = await this.#decide(input, look);
    const plan = await this.#plan(wanted, look, owned);
    const isSaved = await this.#saveNewKeys(plan, owned);
    if (isSaved && plan.adopted.length > 0)
      this.#ports.log.info({ services: listSome(plan.adopted) }, 'service.adopted');
    const held = await this.#inSteps(this.#findHeld(plan, wanted, isSaved ? null : owned));
    const operations = plan.operations.filter((operation) => !isHeld(operation, held));
    const applied = await applyPlan(this.#ports, operations);
    await this.#inSteps(this.#countDrift(applied.done, wanted));
    let last = { plan, look };
    if (operations.length > 0) {
      const reread = await this.#dump({ look, operations });
      if (reread === null) return false;
      this.#sync.observe(reread.daemons, this.#ports.clock.now());
      last = { plan: await this.#plan(wanted, reread, this.#owned ?? owned), look: reread };
    }
    noteUnlike(last.plan.operations, held, applied);
    this.#settle(wanted, applied, held, last.look);
    this.#setForeign(last.plan);
    if (await this.#saveLedger(last.plan.nextOwned)) this.#setProblem(null);
    return true;
  }

  /** All of it, or what the operations may have changed since that look. */
  async #dump(after?: {
    readonly look: KernelLook;
    readonly operations: readonly IpvsOperation[];
  }): Promise<KernelLook | null> {
    const { kernel } = this.#ports;
    const looked =
      after === undefined
        ? await lookAtKernel(kernel, this.#facts.drained())
        : await lookAgain(kernel, after.look, after.operations);
    if (looked.ok) {
      this.#look = looked.value;
      return looked.value;
    }
    this.#mustAsk = true;
    this.#setProblem(
      `the IPVS table cannot be read: ${looked.error.message} (${looked.error.code})`,
    );
    return null;
  }

  /** New keys are on disk before the kernel gets them: a crash in between leaves no orphan. */
  async #saveNewKeys(plan: KernelPlan, owned: ReadonlySet<string>): Promise<boolean> {
    for (const key of plan.nextOwned) if (!owned.has(key)) return this.#saveLedger(plan.nextOwned);
    return true;
  }

  async #saveLedger(keys: ReadonlySet<string>): Promise<boolean> {
    if (this.#owned !== null && isSameSet(this.#owned, keys)) return true;
    const saved = await this.#ports.ledger.save(keys);
    if (saved.ok) this.#owned = keys;
    else this.#setProblem(`the ledger cannot be written: ${saved.error}`);
    return saved.ok;
  }

  /**
   * What this pass leaves alone: refused a moment ago, or to be created while the ledger cannot be
   * written (`ledger` is then what it still says; null where it was written).
   */
  *#findHeld(
    plan: KernelPlan,
    wanted: Wanted,
    ledger: ReadonlySet<string> | null,
  ): Generator<undefined, Held> {
    const now = this.#ports.clock.now();
    const services = new Set<string>();
    const control = new Set<ControlKey>();
    const isUnsaved = (operation: IpvsOperation): boolean =>
      ledger !== null &&
      (operation.op === 'add-service' || operation.op === 'new-daemon') &&
      !ledger.has(ledgerKeyOf(operation));
    for (const [i, operation] of plan.operations.entries()) {
      if (i % REST_EVERY === REST_EVERY - 1) yield;
      if (isOfTable(operation)) {
        const key = keyOf(operation);
        if (isUnsaved(operation) || this.#book.isHeld(key, wanted.derived.byKey, now))
          services.add(key);
        continue;
      }
      const key = controlKeyOf(operation);
      if (key !== null && (isUnsaved(operation) || this.#control.isHeld(key, wanted.control, now)))
        control.add(key);
    }
    return { services, control };
  }

  *#countDrift(
    done: readonly IpvsOperation[],
    { derived, control }: Wanted,
  ): Generator<undefined, void> {
    const drifts = new Map<string, boolean>();
    const beside = new Set<ControlKey>();
    let services = 0;
    let destinations = 0;
    for (const [i, operation] of done.entries()) {
      if (i % REST_EVERY === REST_EVERY - 1) yield;
      if (isOfTable(operation)) {
        const key = keyOf(operation);
        const isDrift = drifts.get(key) ?? this.#book.isDrift(key, derived.byKey);
        drifts.set(key, isDrift);
        if (!isDrift) continue;
        if ('destination' in operation) destinations++;
        else services++;
        continue;
      }
      const key = controlKeyOf(operation);
      if (key !== null && this.#control.isDrift(key, control)) beside.add(key);
    }
    if (services + destinations + beside.size === 0) return;
    const drifted = [...drifts.keys()].filter((key) => drifts.get(key) === true);
    this.#driftRepaired += services + destinations + beside.size;
    const { log, metrics } = this.#ports;
    if (services > 0) metrics.driftRepaired('service', services);
    if (destinations > 0) metrics.driftRepaired('destination', destinations);
    log.warn({ services, destinations, of: listSome([...drifted, ...beside]) }, 'drift.repaired');
  }

  #settle(wanted: Wanted, applied: Applied, held: Held, { unseen }: KernelLook): void {
    const { clock, log } = this.#ports;
    const now = clock.now();
    const { byKey: desired } = wanted.derived;
    const services = this.#book.settle({
      desired,
      failed: applied.failed,
      held: held.services,
      now,
    });
    for (const [service, problem] of services.appeared)
      log.warn({ service, problem }, 'service.refused');
    for (const service of services.cleared) log.info({ service }, 'service.recovered');
    const control = this.#control.settle({
      wanted: wanted.control,
      failed: applied.controlFailed,
      held: held.control,
      unseen,
      now,
    });
    for (const [what, problem] of control.appeared) log.warn({ what, problem }, 'ipvs.refused');
    for (const what of control.cleared) log.info({ what }, 'ipvs.recovered');
  }

  #setForeign({ foreign, foreignDaemons }: KernelPlan): void {
    const { log, metrics } = this.#ports;
    metrics.foreignServices(foreign.length);
    if (!isSameSet(new Set(this.#foreign), new Set(foreign)))
      log.info({ count: foreign.length, services: listSome(foreign) }, 'foreign-services.changed');
    this.#foreign = foreign;
    const names = foreignDaemons.map(({ state }) => state);
    if (!isSameSet(new Set(this.#foreignDaemons.map(({ state }) => state)), new Set(names)))
      log.info({ daemons: names }, 'foreign-daemons.changed');
    this.#foreignDaemons = foreignDaemons;
  }

  #setProblem(problem: string | null): void {
    if (problem !== null && problem !== this.#problem)
      this.#ports.log.error({ problem }, 'reconcile.failed');
    if (problem === null && this.#problem !== null)
      this.#ports.log.info({ problem: this.#problem }, 'reconcile.recovered');
    this.#problem = problem;
  }
}

const listSome = (names: readonly string[]): readonly string[] => names.slice(0, LISTED);

/** How the ledger names what an operation works on; a word that it never has where it names none. */
const ledgerKeyOf = (operation: IpvsOperation): string =>
  isOfTable(operation) ? keyOf(operation) : (controlKeyOf(operation) ?? operation.op);

function isHeld(operation: IpvsOperation, held: Held): boolean {
  if (isOfTable(operation)) return held.services.size > 0 && held.services.has(keyOf(operation));
  const key = controlKeyOf(operation);
  return key !== null && held.control.has(key);
}

/** What is still to be done after a plan was carried out went wrong without a word. */
function noteUnlike(operations: readonly IpvsOperation[], held: Held, applied: Applied): void {
  for (const operation of operations) {
    if (isHeld(operation, held)) continue;
    if (isOfTable(operation)) {
      const key = keyOf(operation);
      if (!applied.failed.has(key))
        applied.failed.set(key, `not as wanted after apply: ${formatOperation(operation)}`);
      continue;
    }
    const key = controlKeyOf(operation);
    if (key !== null && !applied.controlFailed.has(key))
      applied.controlFailed.set(key, `not as wanted after apply: ${operation.op}`);
  }
}
