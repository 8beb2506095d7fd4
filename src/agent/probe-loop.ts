/**
 * From this director's probes to its votes: observations go through rise and fall, and a verdict that
 * changed is published until it stands in the store or a newer one takes its place.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import { type RiseFallState, stepRiseFall, UNOBSERVED } from '../core/health/rise-fall.ts';
import { Wakeup } from '../lib/async.ts';
import type { Result } from '../lib/result.ts';
import type { Check } from '../model/cluster.ts';
import type { Observation, Vote } from '../model/health.ts';
import type { CheckId, DirectorId } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Prober } from '../ports/prober.ts';
import type { Random } from '../ports/random.ts';

export type ProbeLoopOptions = {
  readonly me: DirectorId;
  /** Waits after a publication failed. */
  readonly retry?: BackoffConfig;
  /** Publications under way at once. */
  readonly parallel?: number;
};

export type ProbeLoopPorts = {
  readonly prober: Prober;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Writes the vote under the director's lease; the error is for the log. It is tried again. */
  readonly publishVote: (check: CheckId, vote: Vote) => Promise<Result<void, string>>;
  /** Removes the vote; one that is not there is a success. */
  readonly withdrawVote: (check: CheckId) => Promise<Result<void, string>>;
};

export type ProbeLoop = {
  /**
   * Until the signal aborts, or the prober ends by itself (logged as an error). The votes in the store
   * end with the director's lease.
   */
  run(signal: AbortSignal): Promise<void>;
  /** The complete set of checks this director runs; the votes of those that leave are withdrawn. */
  setAssignments(checks: readonly Check[]): void;
  /**
   * Votes an earlier life of this director left in the store: it goes on from there. They are written
   * again, because their lease is not this life's; those not assigned are withdrawn.
   */
  adopt(votes: ReadonlyMap<CheckId, Vote>): void;
  /** The director has a new lease: what stood under the old one is gone. */
  republishAll(): void;
  currentVotes(): ReadonlyMap<CheckId, Vote>;
  /** Votes not yet in the store, or not yet out of it. At most the checks of two assignments. */
  pending(): number;
};

const RETRY: BackoffConfig = { firstMs: 100, limitMs: 2000 };
const PARALLEL = 16;

export function createProbeLoop(options: ProbeLoopOptions, ports: ProbeLoopPorts): ProbeLoop {
  const loop = new Loop(options, ports);
  return {
    run: (signal) => loop.run(signal),
    setAssignments: (checks) => loop.setAssignments(checks),
    adopt: (votes) => loop.adopt(votes),
    republishAll: () => loop.republishAll(),
    currentVotes: () => loop.currentVotes(),
    pending: () => loop.pending(),
  };
}

type Assigned = { readonly check: Check; state: RiseFallState };

class Loop {
  readonly #me: DirectorId;
  readonly #ports: ProbeLoopPorts;
  readonly #outbox: Outbox;
  #assigned: ReadonlyMap<CheckId, Assigned> | null = null;
  /** Found in the store before the first assignment. */
  #found: ReadonlyMap<CheckId, Vote> = new Map();
  readonly #votes = new Map<CheckId, Vote>();

  constructor(options: ProbeLoopOptions, ports: ProbeLoopPorts) {
    this.#me = options.me;
    this.#ports = ports;
    this.#outbox = new Outbox(options, ports, this.#votes);
  }

  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    // Either half ends the other: a probe loop that only reads or only writes is worse than none.
    const both = new AbortController();
    const end = (): void => both.abort();
    signal.addEventListener('abort', end);
    try {
      await Promise.all([
        this.#observe(both.signal).finally(end),
        this.#outbox.run(both.signal).finally(end),
      ]);
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  setAssignments(checks: readonly Check[]): void {
    const before = this.#assigned ?? new Map<CheckId, Assigned>();
    const next = new Map(
      checks.map((check) => [check.id, before.get(check.id) ?? { check, state: UNOBSERVED }]),
    );
    const isSame =
      this.#assigned !== null &&
      next.size === before.size &&
      [...next.keys()].every((id) => before.has(id));
    if (isSame) return;
    this.#assigned = next;
    for (const id of before.keys())
      if (!next.has(id) && this.#votes.delete(id)) this.#outbox.add(id);
    const found = this.#found;
    this.#found = new Map();
    this.adopt(found);
    this.#ports.prober.setChecks([...next.values()].map((entry) => entry.check));
  }

  adopt(votes: ReadonlyMap<CheckId, Vote>): void {
    if (this.#assigned === null) {
      this.#found = new Map([...this.#found, ...votes]);
      return;
    }
    for (const [id, vote] of votes) {
      const entry = this.#assigned.get(id);
      // What this life has seen itself is newer than what was found.
      if (entry?.state.verdict === null) {
        entry.state = { verdict: vote.isUp, contrary: 0 };
        this.#votes.set(id, vote);
      }
      this.#outbox.add(id);
    }
  }

  republishAll(): void {
    for (const id of this.#votes.keys()) this.#outbox.add(id);
  }

  currentVotes(): ReadonlyMap<CheckId, Vote> {
    return this.#votes;
  }

  pending(): number {
    return this.#outbox.size;
  }

  async #observe(signal: AbortSignal): Promise<void> {
    for await (const batch of this.#ports.prober.observations(signal))
      for (const observation of batch) this.#take(observation);
    // Without observations the votes would stay as they are for ever: somebody must act.
    if (!signal.aborted) this.#ports.log.error({}, 'prober.ended');
  }

  #take(observation: Observation): void {
    const entry = this.#assigned?.get(observation.check);
    if (entry === undefined) return; // Left the assignments while its probe was under way.
    const { check } = entry;
    const { isUp, detail, latencyMs } = observation;
    const { clock, log, metrics, prober } = this.#ports;
    metrics.probe(check.spec.kind, isUp, latencyMs / 1000);
    const step = stepRiseFall(entry.state, observation, check.spec);
    entry.state = step.state;
    if (step.probeSoon) prober.probeSoon(check.id);
    if (step.change === null) return;
    const vote = { director: this.#me, isUp: step.change, since: clock.wallTime(), detail };
    this.#votes.set(check.id, vote);
    this.#outbox.add(check.id);
    metrics.vote(vote.isUp);
    const { id, address, port, spec } = check;
    log.info({ check: id, kind: spec.kind, address, port, isUp, detail }, 'vote.changed');
  }
}

/**
 * Checks whose vote in the store may differ from this director's. Only the check is queued: what is
 * written is the vote of the moment of writing, so a newer one takes the older one's place by itself.
 */
class Outbox {
  readonly #ports: ProbeLoopPorts;
  readonly #votes: ReadonlyMap<CheckId, Vote>;
  readonly #retry: BackoffConfig;
  readonly #parallel: number;
  /** To be written now, and refused ones to be written at the end of the pause; no check is in both. */
  readonly #due = new Set<CheckId>();
  readonly #later = new Set<CheckId>();
  readonly #wakeup = new Wakeup();
  #inFlight = 0;
  #failures = 0;
  #cancelPause: (() => void) | null = null;

  constructor(options: ProbeLoopOptions, ports: ProbeLoopPorts, votes: ReadonlyMap<CheckId, Vote>) {
    this.#ports = ports;
    this.#votes = votes;
    this.#retry = options.retry ?? RETRY;
    this.#parallel = options.parallel ?? PARALLEL;
  }

  get size(): number {
    return this.#due.size + this.#later.size + this.#inFlight;
  }

  /** A new vote does not wait for the refused ones. */
  add(check: CheckId): void {
    this.#later.delete(check);
    this.#due.add(check);
    this.#wakeup.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#wakeup.wake();
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        if (this.#due.size > 0) await this.#writeSome();
        else await this.#wakeup.wait();
      }
    } finally {
      signal.removeEventListener('abort', wake);
      this.#cancelPause?.();
    }
  }

  /** Writes a batch, each check once, so that no two writes of one check can overtake each other. */
  async #writeSome(): Promise<void> {
    const batch = [...this.#due].slice(0, this.#parallel);
    for (const check of batch) this.#due.delete(check);
    this.#inFlight = batch.length;
    const results = await Promise.all(batch.map((check) => this.#write(check)));
    this.#inFlight = 0;
    let error: string | null = null;
    let failed = 0;
    for (const [i, check] of batch.entries()) {
      const result = results[i];
      if (result === undefined || result.ok) continue;
      failed++;
      error = result.error;
      if (!this.#due.has(check)) this.#later.add(check);
    }
    if (failed === batch.length) this.#postponeAll();
    if (error !== null) this.#pause(error);
    else if (this.#due.size + this.#later.size === 0) this.#settle();
  }

  #write(check: CheckId): Promise<Result<void, string>> {
    const vote = this.#votes.get(check);
    return vote === undefined
      ? this.#ports.withdrawVote(check)
      : this.#ports.publishVote(check, vote);
  }

  /** Nothing arrives at all: the store is away, and the rest need not find out one by one. */
  #postponeAll(): void {
    for (const check of this.#due) this.#later.add(check);
    this.#due.clear();
  }

  #pause(error: string): void {
    if (this.#cancelPause !== null) return;
    const { clock, log, random } = this.#ports;
    if (this.#failures === 0) log.warn({ error }, 'votes.delayed');
    this.#failures++;
    const ms = deriveBackoffMs(this.#failures, this.#retry, random.next());
    this.#cancelPause = clock.schedule(ms, () => {
      this.#cancelPause = null;
      for (const check of this.#later) this.#due.add(check);
      this.#later.clear();
      this.#wakeup.wake();
    });
  }

  #settle(): void {
    if (this.#failures > 0) this.#ports.log.info({ failures: this.#failures }, 'votes.resumed');
    this.#failures = 0;
  }
}
