/**
 * From this director's probes to its votes: observations go through rise and fall, and a verdict that
 * changed is published. That a vote reaches the store, and again after a loss, is the publisher's work.
 */
import { type RiseFallState, stepRiseFall, UNOBSERVED } from '../core/health/rise-fall.ts';
import type { Check } from '../model/cluster.ts';
import type { CheckStatus, Observation, Vote } from '../model/health.ts';
import type { CheckId, DirectorId, MonoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { Prober } from '../ports/prober.ts';

export type ProbeLoopOptions = { readonly me: DirectorId };

export type ProbeLoopPorts = {
  readonly prober: Prober;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** What this director says of the check from now on; null: nothing any more. */
  readonly publish: (check: CheckId, vote: Vote | null) => void;
};

export type ProbeLoop = {
  /** Until the signal aborts. The votes in the store end with the director's lease. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * The complete set of checks this director runs; the votes of those that leave are withdrawn. One
   * that is new here goes on from what the cluster knows of it: `fall` and `rise` hold for it too.
   */
  setAssignments(checks: readonly Check[], statuses: ReadonlyMap<CheckId, CheckStatus>): void;
  /**
   * Votes an earlier life of this director left in the store: it goes on from there. They are
   * published again, because their lease is not this life's; those not assigned are withdrawn.
   */
  adopt(votes: ReadonlyMap<CheckId, Vote>): void;
  currentVotes(): ReadonlyMap<CheckId, Vote>;
};

export function createProbeLoop(options: ProbeLoopOptions, ports: ProbeLoopPorts): ProbeLoop {
  const loop = new Loop(options, ports);
  return {
    run: (signal) => loop.run(signal),
    setAssignments: (checks, statuses) => loop.setAssignments(checks, statuses),
    adopt: (votes) => loop.adopt(votes),
    currentVotes: () => loop.currentVotes(),
  };
}

/** What nobody knows is decided by the first observation. */
const stateOf = (status: CheckStatus | undefined): RiseFallState =>
  status === undefined || status.basis === 'initial'
    ? UNOBSERVED
    : { verdict: status.isUp, contrary: 0 };

type Assigned = {
  readonly check: Check;
  state: RiseFallState;
  /** The last observation; before the first one when the check came or its vote was adopted. */
  seenAt: MonoMs;
};

/** How often votes without observations are looked for. */
const EXPIRE_MS = 2000;
/** A vote ends after so many intervals without an observation, and not before `SILENCE_MS`. */
const SILENT_INTERVALS = 3;
const SILENCE_MS = 10_000;

const silenceMs = (check: Check): number =>
  Math.max(SILENT_INTERVALS * check.spec.intervalMs, SILENCE_MS);

class Loop {
  readonly #me: DirectorId;
  readonly #ports: ProbeLoopPorts;
  #assigned: ReadonlyMap<CheckId, Assigned> | null = null;
  /** Found in the store before the first assignment. */
  #found: ReadonlyMap<CheckId, Vote> = new Map();
  readonly #votes = new Map<CheckId, Vote>();

  constructor(options: ProbeLoopOptions, ports: ProbeLoopPorts) {
    this.#me = options.me;
    this.#ports = ports;
  }

  async run(signal: AbortSignal): Promise<void> {
    const end = new AbortController();
    const expiring = this.#expire(end.signal);
    const onAbort = (): void => end.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) end.abort();
    try {
      await this.#observe(signal);
    } finally {
      signal.removeEventListener('abort', onAbort);
      end.abort();
      await expiring;
    }
  }

  async #observe(signal: AbortSignal): Promise<void> {
    for await (const batch of this.#ports.prober.observations(signal))
      for (const observation of batch) this.#take(observation);
    // Without observations the votes would stay as they are for ever: somebody must act.
    if (!signal.aborted) this.#ports.log.error({}, 'prober.ended');
  }

  /** A vote that nothing confirms any more must not stand: a probe that cannot run sees nothing. */
  async #expire(signal: AbortSignal): Promise<void> {
    const { clock, log, publish } = this.#ports;
    while (!signal.aborted) {
      const before = clock.now();
      await clock.sleep(EXPIRE_MS, signal);
      const now = clock.now();
      // After a pause of the whole process, what was seen meanwhile may wait to be read.
      if (signal.aborted || now - before > 2 * EXPIRE_MS) continue;
      for (const { check, seenAt } of this.#assigned?.values() ?? []) {
        if (now - seenAt < silenceMs(check) || !this.#votes.delete(check.id)) continue;
        publish(check.id, null);
        log.warn({ check: check.id, silentMs: Math.round(now - seenAt) }, 'vote.expired');
      }
    }
  }

  setAssignments(checks: readonly Check[], statuses: ReadonlyMap<CheckId, CheckStatus>): void {
    const seenAt = this.#ports.clock.now();
    const before = this.#assigned ?? new Map<CheckId, Assigned>();
    const next = new Map(
      checks.map((check) => [
        check.id,
        before.get(check.id) ?? { check, seenAt, state: stateOf(statuses.get(check.id)) },
      ]),
    );
    const isSame =
      this.#assigned !== null &&
      next.size === before.size &&
      [...next.keys()].every((id) => before.has(id));
    if (isSame) return;
    this.#assigned = next;
    for (const id of before.keys())
      if (!next.has(id) && this.#votes.delete(id)) this.#ports.publish(id, null);
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
      if (entry !== undefined && !this.#votes.has(id)) {
        entry.state = { verdict: vote.isUp, contrary: 0 };
        entry.seenAt = this.#ports.clock.now();
        this.#votes.set(id, vote);
      }
      this.#ports.publish(id, this.#votes.get(id) ?? null);
    }
  }

  currentVotes(): ReadonlyMap<CheckId, Vote> {
    return this.#votes;
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
    entry.seenAt = clock.now();
    if (step.probeSoon) prober.probeSoon(check.id);
    // A verdict taken over becomes a vote when this director has seen the same.
    const isConfirmed = step.state.verdict === isUp && !this.#votes.has(check.id);
    if (step.change === null && !isConfirmed) return;
    const vote = { director: this.#me, isUp, since: clock.wallTime(), detail };
    this.#votes.set(check.id, vote);
    this.#ports.publish(check.id, vote);
    metrics.vote(vote.isUp);
    const { id, address, port, spec } = check;
    log.info({ check: id, kind: spec.kind, address, port, isUp, detail }, 'vote.changed');
  }
}
