/**
 * From this director's probes to its votes: observations go through rise and fall, and a verdict that
 * changed is published. That a vote reaches the store, and again after a loss, is the publisher's work.
 */
import { equalWeights } from '../core/health/dynamic-weights.ts';
import { isSameOnDirector } from '../core/health/origin.ts';
import { type RiseFallState, stepRiseFall, UNOBSERVED } from '../core/health/rise-fall.ts';
import { freshPace, spend, type WeightPace } from '../core/health/weight-pace.ts';
import type { Check } from '../model/cluster.ts';
import type { CheckStatus, Observation, Vote, VoteEvidence } from '../model/health.ts';
import { type CheckId, type DirectorId, type MonoMs, monoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { ProbeBatch, Prober, ProbeSaid } from '../ports/prober.ts';

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
  /** The last observations of a check that this director runs, the latest last; null: it does not run it. */
  seen(check: CheckId): SeenCheck | null;
};

export type SeenCheck = {
  /** At most `SEEN_MAX`; the last one that said something else than the one before begins each. */
  readonly runs: readonly SeenRun[];
  /** Observations in a row that contradict what this director says. */
  readonly contrary: number;
  /** Why this director cannot make the check at the moment; null: it can. */
  readonly problem: string | null;
};

/** Observations in a row that said the same. */
export type SeenRun = {
  readonly said: ProbeSaid;
  readonly times: number;
  readonly firstAt: MonoMs;
  readonly lastAt: MonoMs;
  /** Of the last one. */
  readonly latencyMs: number;
};

/** Runs of each check that are remembered, to be told to people. */
export const SEEN_MAX = 5;

export function createProbeLoop(options: ProbeLoopOptions, ports: ProbeLoopPorts): ProbeLoop {
  const loop = new Loop(options, ports);
  return {
    run: (signal) => loop.run(signal),
    setAssignments: (checks, statuses) => loop.setAssignments(checks, statuses),
    adopt: (votes) => loop.adopt(votes),
    currentVotes: () => loop.currentVotes(),
    seen: (check) => loop.seen(check),
  };
}

/** What nobody knows is decided by the first observation. */
const stateOf = (status: CheckStatus | undefined): RiseFallState =>
  status === undefined || status.basis === 'initial'
    ? UNOBSERVED
    : { verdict: status.isUp, contrary: 0 };

type Assigned = {
  check: Check;
  state: RiseFallState;
  readonly runs: Writable<SeenRun>[];
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

const weightSaid = ({ weight = null }: Observation): Pick<Vote, 'weight'> =>
  weight === null ? {} : { weight };

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const saidBy = ({ isUp, detail, reason = null, weight = null }: Observation): ProbeSaid => ({
  isUp,
  detail,
  reason,
  weight,
});

/** What led to a vote; so much fits into a record that nobody reads every day. */
const EVIDENCE_MAX = 3;

const evidenceOf = (runs: readonly SeenRun[]): readonly VoteEvidence[] =>
  runs.slice(-EVIDENCE_MAX).map(({ said, times, latencyMs }) => ({
    isUp: said.isUp,
    detail: said.detail,
    times,
    latencyMs: Math.round(latencyMs * 100) / 100,
  }));

function remember(
  runs: Writable<SeenRun>[],
  { at, latencyMs }: Observation,
  said: ProbeSaid,
): void {
  const last = runs.at(-1);
  const isSame =
    last !== undefined && last.said.isUp === said.isUp && last.said.detail === said.detail;
  if (!isSame) {
    if (runs.push({ said, times: 1, firstAt: at, lastAt: at, latencyMs }) > SEEN_MAX) runs.shift();
    return;
  }
  last.said = said;
  last.times++;
  last.lastAt = at;
  last.latencyMs = latencyMs;
}

class Loop {
  readonly #me: DirectorId;
  readonly #ports: ProbeLoopPorts;
  #assigned: ReadonlyMap<CheckId, Assigned> | null = null;
  /** Found in the store before the first assignment. */
  #found: ReadonlyMap<CheckId, Vote> = new Map();
  readonly #votes = new Map<CheckId, Vote>();
  /** Up as its vote says, but with another weight; the first has waited longest to be told. */
  readonly #reweighed = new Map<CheckId, Observation>();
  #pace: WeightPace;

  constructor(options: ProbeLoopOptions, ports: ProbeLoopPorts) {
    this.#me = options.me;
    this.#ports = ports;
    this.#pace = freshPace(ports.clock.now());
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
    const { prober } = this.#ports;
    if (prober.results === undefined)
      for await (const batch of prober.observations(signal)) {
        for (const observation of batch) this.#take(observation, saidBy(observation));
        this.#tellWeights();
      }
    else
      for await (const batch of prober.results(signal)) {
        this.#takeBatch(batch);
        this.#tellWeights();
      }
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
      this.#tellWeights();
    }
  }

  setAssignments(checks: readonly Check[], statuses: ReadonlyMap<CheckId, CheckStatus>): void {
    const seenAt = this.#ports.clock.now();
    const before = this.#assigned ?? new Map<CheckId, Assigned>();
    const next = new Map<CheckId, Assigned>();
    let isSame = this.#assigned !== null;
    for (const check of checks) {
      const known = before.get(check.id);
      if (known === undefined) isSame = false;
      else if (!isSameOnDirector(known.check, check)) {
        isSame = false;
        known.check = check;
      }
      const state = stateOf(statuses.get(check.id));
      next.set(check.id, known ?? { check, seenAt, state, runs: [] });
    }
    if (isSame && next.size === before.size) return;
    this.#assigned = next;
    for (const id of before.keys()) {
      if (next.has(id)) continue;
      this.#reweighed.delete(id);
      if (this.#votes.delete(id)) this.#ports.publish(id, null);
    }
    const found = this.#found;
    this.#found = new Map();
    this.adopt(found);
    this.#ports.prober.setChecks(Array.from(next.values(), ({ check }) => check));
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

  seen(check: CheckId): SeenCheck | null {
    const entry = this.#assigned?.get(check);
    if (entry === undefined) return null;
    const problem = this.#ports.prober.problemOf?.(check) ?? null;
    return { runs: entry.runs, contrary: entry.state.contrary, problem };
  }

  /** Most results say what the last one of their check said, and change nothing. */
  #takeBatch({ checks, latencyMs, at, said }: ProbeBatch): void {
    const now = this.#ports.clock.now();
    const took = new Map<string, number[]>();
    const failed = new Map<ProbeSaid, { readonly kind: string; count: number }>();
    for (const [n, check] of checks.entries()) {
      const what = said[n];
      const entry = this.#assigned?.get(check);
      if (what === undefined || entry === undefined) continue;
      const run = entry.runs.at(-1);
      const { verdict, contrary } = entry.state;
      const latency = latencyMs[n] ?? 0;
      const seenAt = monoMs(at[n] ?? 0);
      const isRepeat = run?.said === what && contrary === 0 && verdict === what.isUp;
      if (!isRepeat || !this.#votes.has(check)) {
        this.#take({ check, ...what, latencyMs: latency, at: seenAt }, what);
        continue;
      }
      entry.seenAt = now;
      run.times++;
      run.lastAt = seenAt;
      run.latencyMs = latency;
      const key = `${what.isUp ? '+' : '-'}${entry.check.spec.kind}`;
      const seconds = took.get(key);
      if (seconds === undefined) took.set(key, [latency / 1000]);
      else seconds.push(latency / 1000);
      if (what.isUp) continue;
      const counted = failed.get(what);
      if (counted === undefined) failed.set(what, { kind: entry.check.spec.kind, count: 1 });
      else counted.count++;
    }
    for (const [{ reason }, { kind, count }] of failed)
      this.#ports.metrics.probeFailures(kind, reason ?? 'other', count);
    for (const [key, seconds] of took)
      this.#ports.metrics.probes(key.slice(1), key.startsWith('+'), seconds);
  }

  #take(observation: Observation, said: ProbeSaid): void {
    const entry = this.#assigned?.get(observation.check);
    if (entry === undefined) return; // Left the assignments while its probe was under way.
    const { check } = entry;
    const { isUp, detail, latencyMs } = observation;
    const { clock, log, metrics, prober } = this.#ports;
    metrics.probe(check.spec.kind, isUp, latencyMs / 1000);
    if (!isUp) metrics.probeFailures(check.spec.kind, said.reason ?? 'other', 1);
    const step = stepRiseFall(entry.state, observation, check.spec);
    entry.state = step.state;
    entry.seenAt = clock.now();
    remember(entry.runs, observation, said);
    const { retryMs } = check.spec;
    if (retryMs === undefined ? step.probeSoon : step.state.contrary > 0)
      prober.probeSoon(check.id, retryMs);
    // A verdict taken over becomes a vote when this director has seen the same.
    const isConfirmed = step.state.verdict === isUp && !this.#votes.has(check.id);
    if (step.change === null && !isConfirmed) {
      this.#reweigh(check.id, observation);
      return;
    }
    const since = clock.wallTime();
    const weighs = isUp ? weightSaid(observation) : {};
    const seen = evidenceOf(entry.runs);
    const vote: Vote = { director: this.#me, isUp, since, detail, seen, ...weighs };
    this.#votes.set(check.id, vote);
    this.#reweighed.delete(check.id);
    this.#ports.publish(check.id, vote);
    metrics.vote(vote.isUp);
    const { id, address, port, spec } = check;
    log.info({ check: id, kind: spec.kind, address, port, isUp, detail }, 'vote.changed');
  }

  /** It is no verdict, and needs no second look. */
  #reweigh(id: CheckId, observation: Observation): void {
    const vote = this.#votes.get(id);
    if (vote === undefined || !vote.isUp || !observation.isUp) return;
    if (equalWeights(vote.weight, observation.weight)) this.#reweighed.delete(id);
    else this.#reweighed.set(id, observation);
  }

  /** Those that have waited longest, as many as the pace lets. */
  #tellWeights(): void {
    if (this.#reweighed.size === 0) return;
    const { pace, granted } = spend(this.#pace, this.#ports.clock.now(), this.#reweighed.size);
    this.#pace = pace;
    let left = granted;
    for (const [id, observation] of this.#reweighed) {
      if (left === 0) return;
      this.#reweighed.delete(id);
      left -= 1;
      this.#tellWeight(id, observation);
    }
  }

  #tellWeight(id: CheckId, observation: Observation): void {
    const vote = this.#votes.get(id);
    if (vote === undefined || !vote.isUp) return;
    const { director, isUp, since, seen } = vote;
    const changed = {
      director,
      isUp,
      since,
      ...(seen === undefined ? {} : { seen }),
      detail: observation.detail,
      ...weightSaid(observation),
    };
    this.#votes.set(id, changed);
    this.#ports.publish(id, changed);
  }
}
