/**
 * The Prober port over worker threads: plain connects on a thread of their own, all other checks spread by hash over
 * threads with an event loop. Results come back in batches.
 */
import { availableParallelism } from 'node:os';
import { AsyncQueue } from '../../lib/async.ts';
import { hash32 } from '../../lib/hash.ts';
import { createPace, runPaced, runSteps } from '../../lib/steps.ts';
import type { Check } from '../../model/cluster.ts';
import type { Observation } from '../../model/health.ts';
import type { CheckId } from '../../model/ids.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { observationsOf, type ProbeBatch, type Prober } from '../../ports/prober.ts';
import type { Random } from '../../ports/random.ts';
import { isPlainConnect } from './connect-engine.ts';
import { descriptorLimit, probesAtOnce } from './descriptors.ts';
import { type PackedResults, SaidBook, unpackResults } from './probe-protocol.ts';
import { OwnTrouble } from './own-trouble.ts';
import { ProbeThread, type ThreadHooks } from './probe-thread.ts';

/** A probe with an event loop's sockets takes some 50 KiB while it runs. */
const CONCURRENT_DEFAULT = 2_048;
const WORKERS_DEFAULT_MAX = 4;
/** So many are shared out in a millisecond or two; of more, there are rests. */
const AT_ONCE = 2_000;
/** Batches waiting for a slow reader; beyond it the oldest are dropped. */
const BATCHES_MAX = 1_024;

export type ProberOptions = {
  /** Threads for what is more than a connect; default: one less than the machine's processors, 1 to 4. */
  readonly workers?: number;
  /** Probes at once in each of these, default 2048; targets that never answer may use half of them. */
  readonly maxConcurrent?: number;
  /** Descriptors for all probes together; default: what this process may open, less what else it needs. */
  readonly descriptors?: number;
};

export type ProberPorts = { readonly clock: Clock; readonly log: Log; readonly random: Random };

/** Threads start with the first checks. */
export function createProber(options: ProberOptions, ports: ProberPorts): Prober {
  return new WorkerProber(options, ports);
}

/** What one thread gets and gives up of a new set. */
type Share = {
  readonly thread: ProbeThread;
  readonly added: Check[];
  readonly gone: CheckId[];
  /** Of its checks. */
  count: number;
  /** Of all threads' checks. */
  readonly all: number;
};

class WorkerProber implements Prober {
  readonly limit: number;
  readonly #threads: readonly ProbeThread[];
  readonly #connects: ProbeThread;
  readonly #maxConcurrent: number;
  readonly #clock: Clock;
  readonly #queues = new Set<AsyncQueue<ProbeBatch>>();
  readonly #said = new SaidBook();
  readonly #trouble = new OwnTrouble();
  /** The last set that was asked for; it may still be on its way to the threads. */
  #wanted: readonly Check[] = [];
  readonly #current = new Map<CheckId, number>();
  /** By number. A number is never used twice: results of a check that has left are known by it. */
  readonly #byNumber = new Map<number, CheckId>();
  #lastNumber = 0;
  /** Checks that this machine could not make when they were due last, and why. */
  readonly #problems = new Map<CheckId, string>();
  #isClosed = false;

  constructor(options: ProberOptions, ports: ProberPorts) {
    this.#clock = ports.clock;
    this.limit = options.descriptors ?? probesAtOnce(descriptorLimit());
    this.#maxConcurrent = options.maxConcurrent ?? CONCURRENT_DEFAULT;
    const fallback = Math.min(WORKERS_DEFAULT_MAX, Math.max(1, availableParallelism() - 1));
    const hooks: ThreadHooks = {
      onResults: (packed) => this.#deliver(packed),
      numberOf: (check) => this.#current.get(check) ?? -1,
    };
    this.#threads = Array.from(
      { length: options.workers ?? fallback },
      (_, n) => new ProbeThread({ name: `probes-${n}`, kind: 'probe' }, ports, hooks),
    );
    this.#connects = new ProbeThread({ name: 'connects', kind: 'connect' }, ports, hooks);
  }

  setChecks(checks: readonly Check[]): void {
    this.#wanted = checks;
    const steps = this.#shareSteps(checks);
    if (Math.max(checks.length, this.#current.size) <= AT_ONCE) {
      for (const share of runSteps(steps)) this.#give(share);
      return;
    }
    void runPaced(steps, createPace(this.#clock)).then((shares) => {
      if (this.#wanted === checks) for (const share of shares) this.#give(share);
    });
  }

  probeSoon(check: CheckId, afterMs = 0): void {
    for (const thread of [this.#connects, ...this.#threads])
      if (thread.has(check)) thread.soon({ check, afterMs });
  }

  problemOf(check: CheckId): string | null {
    return this.#problems.get(check) ?? null;
  }

  problem(): string | null {
    return this.#trouble.tell(this.#clock.now());
  }

  async *observations(signal: AbortSignal): AsyncIterable<readonly Observation[]> {
    for await (const batch of this.results(signal)) yield observationsOf(batch);
  }

  /** A reader gets what arrives from this call on. */
  results(signal: AbortSignal): AsyncIterable<ProbeBatch> {
    const queue = new AsyncQueue<ProbeBatch>(BATCHES_MAX);
    const end = (): void => {
      this.#queues.delete(queue);
      queue.end();
    };
    if (signal.aborted || this.#isClosed) queue.end();
    else {
      this.#queues.add(queue);
      signal.addEventListener('abort', end, { once: true });
    }
    return queue;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
    await Promise.all([this.#connects, ...this.#threads].map((thread) => thread.close()));
  }

  #threadOf(check: Check): ProbeThread {
    // Files are read by one thread, which bounds how many at once.
    const place = check.spec.kind === 'file' ? 0 : hash32(check.id) % this.#threads.length;
    const thread = this.#threads[place];
    return thread === undefined || isPlainConnect(check.spec) ? this.#connects : thread;
  }

  /** What changes for each thread; nothing has changed yet. */
  *#shareSteps(checks: readonly Check[]): Generator<undefined, readonly Share[]> {
    const shares = new Map<ProbeThread, Share>();
    for (const thread of [this.#connects, ...this.#threads])
      shares.set(thread, { thread, added: [], gone: [], count: 0, all: checks.length });
    const wanted = new Set<CheckId>();
    for (const check of checks) {
      yield;
      const share = shares.get(this.#threadOf(check));
      if (share === undefined || wanted.has(check.id)) continue;
      wanted.add(check.id);
      share.count++;
      // One that stays may leave this machine in another way.
      if (share.thread.checkOf(check.id) !== check) share.added.push(check);
    }
    for (const share of shares.values())
      for (const id of share.thread.ids()) {
        yield;
        if (!wanted.has(id)) share.gone.push(id);
      }
    return [...shares.values()];
  }

  #give(share: Share): void {
    const { thread, added, gone } = share;
    for (const id of gone) {
      this.#byNumber.delete(this.#current.get(id) ?? -1);
      this.#problems.delete(id);
      this.#current.delete(id);
    }
    for (const { id } of added) {
      if (this.#current.has(id)) continue;
      this.#current.set(id, ++this.#lastNumber);
      this.#byNumber.set(this.#lastNumber, id);
    }
    thread.change(added, gone, this.#slotsOf(share));
  }

  /** A share of the descriptors by the number of checks, and no more than the kind of thread stands. */
  #slotsOf({ thread, count, all }: Share): number {
    const most = thread === this.#connects ? count : this.#maxConcurrent;
    const fair = all <= this.limit ? count : (this.limit * count) / all;
    return Math.max(1, Math.floor(Math.min(most, fair)));
  }

  #deliver(packed: PackedResults): void {
    const now = this.#clock.now();
    if (packed.localFailure !== null) this.#trouble.note(packed.localFailure, now);
    const batch = unpackResults(packed, {
      now,
      checkOf: (number) => this.#byNumber.get(number),
      same: (said) => this.#said.same(said),
    });
    if (this.#problems.size > 0) for (const check of batch.checks) this.#problems.delete(check);
    for (const [number, detail] of packed.unable ?? []) {
      const check = this.#byNumber.get(number);
      if (check !== undefined) this.#problems.set(check, detail);
    }
    if (batch.checks.length === 0) return;
    for (const queue of this.#queues) queue.push(batch);
  }
}
