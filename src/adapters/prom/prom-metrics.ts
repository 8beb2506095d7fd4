/** The catalogue on prom-client, with a registry of its own: nothing global, several agents in one process. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DirectorId, GroupId } from '../../model/ids.ts';
import { HOLD_BASES } from '../../model/decision.ts';
import { GATE_KINDS } from '../../model/kernel.ts';
import { VRRP_DROPS } from '../../model/vrrp.ts';
import type { Metrics } from '../../ports/metrics.ts';
import type { MetricsText } from '../../ports/metrics-text.ts';
import type { ServicesReading } from '../../ports/service-reading.ts';
import { renderServiceSeries } from './service-series.ts';
import { CATALOGUE, type CounterSpec, type GaugeSpec, type HistogramSpec } from './catalogue.ts';

/** What a Prometheus keeps without anybody's thinking of it. */
const REAL_SERVER_SERIES = 2000;

/** What notify programs are told (`docs/notify.md`), and how they end. */
const NOTIFY_STATES = ['MASTER', 'BACKUP', 'FAULT', 'STOP'] as const;
const NOTIFY_RESULTS = ['ok', 'failed', 'timeout'] as const;

type Labels<S extends { readonly labels: readonly string[] }> = S['labels'][number];

/** Metrics of one director; process metrics of Node come with the prefix `leasehold_`. */
export function createPromMetrics(options: {
  readonly director: DirectorId;
  readonly cluster: string;
  /** With more real servers than this, the series of each of them are left out. */
  readonly realServerSeries?: number;
}): Metrics & MetricsText {
  const registry = new Registry();
  const labels = { cluster: options.cluster, director: options.director };
  const series = { labels, realServers: options.realServerSeries ?? REAL_SERVER_SERIES };
  let readServices: (() => ServicesReading) | null = null;
  registry.setDefaultLabels(labels);
  collectDefaultMetrics({
    register: registry,
    prefix: 'leasehold_',
    // Its default wakes an idle process a hundred times a second; the hold loop measures its own lag.
    eventLoopMonitoringPrecision: 1000,
  });
  const renderAll = async (): Promise<string> =>
    (await registry.metrics()) + (await renderServiceSeries(readServices?.() ?? null, series));
  /** Many who ask at once share one text: it may be tens of megabytes. */
  let rendering: Promise<string> | null = null;
  return {
    contentType: registry.contentType,
    render: () => {
      rendering ??= renderAll().finally(() => {
        rendering = null;
      });
      return rendering;
    },
    services: (read) => {
      readServices = read;
    },
    ...holdMetrics(registry),
    ...gateMetrics(registry),
    ...gatewayMetrics(registry),
    ...standInMetrics(registry),
    ...trackMetrics(registry),
    ...specMetrics(registry),
    ...kernelMetrics(registry),
    ...syncMetrics(registry),
    ...healthMetrics(registry),
    ...networkMetrics(registry),
    ...vrrpMetrics(registry),
  };
}

function holdMetrics(registry: Registry) {
  const owner = gauge(registry, CATALOGUE.groupOwner);
  const epochs = gauge(registry, CATALOGUE.groupEpoch);
  const remaining = gauge(registry, CATALOGUE.leaseRemaining);
  const conflicts = counter(registry, CATALOGUE.conflicts);
  const renew = histogram(registry, CATALOGUE.leaseRenew);
  const failures = counter(registry, CATALOGUE.leaseRenewFailures);
  const transitions = counter(registry, CATALOGUE.transitions);
  const takeover = histogram(registry, CATALOGUE.takeover);
  const lag = worst(registry, CATALOGUE.eventLoopLag);
  const known = new Set<GroupId>();
  return {
    holder: (group, isHolder, epoch) => {
      known.add(group);
      owner.set({ group }, Number(isHolder));
      // A counter that appears with its first conflict has no increase that an alert could see.
      conflicts.inc({ group }, 0);
      if (epoch === null) epochs.remove({ group });
      else epochs.set({ group }, epoch);
      // A candidate has nothing that could run out; an old value would look like a dying hold.
      if (!isHolder) remaining.remove({ group });
    },
    transition: (to, reason) => transitions.inc({ to, reason }),
    roundFinished: (seconds, result) => {
      renew.observe({ result }, seconds);
      if (result !== 'confirmed') failures.inc({ reason: result });
    },
    leaseRemaining: (group, seconds) => {
      known.add(group);
      remaining.set({ group }, seconds);
    },
    keepGroups: (groups) => {
      for (const group of known) {
        if (groups.has(group)) continue;
        known.delete(group);
        // "Nobody holds it" would be an alert for as long as the agent lives.
        for (const each of [owner, epochs, remaining, conflicts]) each.remove({ group });
      }
    },
    takeover: (seconds) => takeover.observe(seconds),
    conflict: (group) => conflicts.inc({ group }),
    eventLoopLag: lag,
  } satisfies Partial<Metrics>;
}

function gateMetrics(registry: Registry) {
  const gate = gauge(registry, CATALOGUE.gate);
  const hold = gauge(registry, CATALOGUE.hold);
  const permit = gauge(registry, CATALOGUE.permit);
  const handovers = counter(registry, CATALOGUE.handovers);
  // There from the start, as the conflicts are.
  for (const step of ['started', 'completed', 'failed']) handovers.inc({ step }, 0);
  return {
    gate: (kind) => {
      for (const each of GATE_KINDS) gate.set({ kind: each }, Number(each === kind));
    },
    holdTiming: (holdSeconds, permitSeconds) => {
      hold.set(holdSeconds);
      permit.set(permitSeconds);
    },
    handover: (step) => handovers.inc({ step }),
  } satisfies Partial<Metrics>;
}

function gatewayMetrics(registry: Registry) {
  const reachable = gauge(registry, CATALOGUE.gatewayReachable);
  const lastAnswer = gauge(registry, CATALOGUE.gatewayLastAnswer);
  // Nothing was asked yet: neither 0 nor 1 is true.
  reachable.remove();
  return {
    gateway: (isReachable) => reachable.set(Number(isReachable)),
    gatewayAnswered: (target, wallSeconds) => lastAnswer.set({ target }, wallSeconds),
    forgetGateways: () => {
      reachable.remove();
      lastAnswer.reset();
    },
  } satisfies Partial<Metrics>;
}

function standInMetrics(registry: Registry) {
  const bases = gauge(registry, CATALOGUE.holdBasis);
  const standIns = gauge(registry, CATALOGUE.standIn);
  const candidates = gauge(registry, CATALOGUE.standInCandidate);
  const answered = counter(registry, CATALOGUE.vipsAnswered);
  return {
    holdBasis: (basis) => {
      for (const each of HOLD_BASES) bases.set({ basis: each }, Number(each === basis));
    },
    standIn: (group, role) => {
      standIns.set({ group }, Number(role === 'stand-in'));
      candidates.set({ group }, Number(role === 'candidate'));
      // There before the first one, as the conflicts are.
      answered.inc({ group }, 0);
    },
    forgetStandIns: () => {
      standIns.reset();
      candidates.reset();
    },
    vipsAnswered: (group) => answered.inc({ group }),
  } satisfies Partial<Metrics>;
}

function trackMetrics(registry: Registry) {
  const passing = gauge(registry, CATALOGUE.trackPassing);
  const notified = counter(registry, CATALOGUE.notify);
  // There from the start, as the conflicts are: most programs that fail do so once, in a failover.
  for (const state of NOTIFY_STATES)
    for (const result of NOTIFY_RESULTS) notified.inc({ state, result }, 0);
  return {
    track: (group, track, isPassing) => passing.set({ group, track }, Number(isPassing)),
    forgetTracks: () => passing.reset(),
    notifyFinished: (state, result) => notified.inc({ state, result }),
  } satisfies Partial<Metrics>;
}

function specMetrics(registry: Registry) {
  const storeRevision = gauge(registry, CATALOGUE.storeRevision);
  const storeConnected = gauge(registry, CATALOGUE.storeConnected);
  const specRevision = gauge(registry, CATALOGUE.specRevision);
  const specRejected = gauge(registry, CATALOGUE.specRejected);
  return {
    storeRevision: (revision) => storeRevision.set(revision),
    storeConnected: (isConnected) => storeConnected.set(Number(isConnected)),
    specRevision: (revision) => specRevision.set(revision),
    specRejected: (isRejected) => specRejected.set(Number(isRejected)),
  } satisfies Partial<Metrics>;
}

function kernelMetrics(registry: Registry) {
  const reconcile = histogram(registry, CATALOGUE.reconcile);
  const operations = counter(registry, CATALOGUE.reconcileOperations);
  const drift = counter(registry, CATALOGUE.reconcileDrift);
  const foreign = gauge(registry, CATALOGUE.foreignServices);
  const available = gauge(registry, CATALOGUE.ipvsAvailable);
  return {
    reconcileFinished: (seconds, result) => reconcile.observe({ result }, seconds),
    operationApplied: (op, result, count) => operations.inc({ op, result }, count),
    driftRepaired: (kind, count) => drift.inc({ kind }, count),
    foreignServices: (count) => foreign.set(count),
    ipvsAvailable: (isAvailable) => available.set(Number(isAvailable)),
  } satisfies Partial<Metrics>;
}

function syncMetrics(registry: Registry) {
  const running = gauge(registry, CATALOGUE.syncDaemon);
  const foreignTo = gauge(registry, CATALOGUE.foreignDaemons);
  const ready = gauge(registry, CATALOGUE.groupSyncReady);
  const remaining = gauge(registry, CATALOGUE.groupSyncRemaining);
  const problems = gauge(registry, CATALOGUE.ipvsProblems);
  return {
    syncDaemons: ({ master, backup }, foreign) => {
      running.set({ state: 'master' }, Number(master));
      running.set({ state: 'backup' }, Number(backup));
      foreignTo.set(foreign);
    },
    groupSync: (group, isReady, remainingSeconds) => {
      ready.set({ group }, Number(isReady));
      remaining.set({ group }, remainingSeconds);
    },
    forgetGroupSyncs: () => {
      ready.reset();
      remaining.reset();
    },
    ipvsProblems: (count) => problems.set(count),
  } satisfies Partial<Metrics>;
}

function healthMetrics(registry: Registry) {
  const duration = histogram(registry, CATALOGUE.checkDuration);
  const failures = counter(registry, CATALOGUE.checkFailures);
  const votes = counter(registry, CATALOGUE.votes);
  return {
    probeFailures: (kind, reason, count) => failures.inc({ kind, reason }, count),
    probe: (kind, isUp, seconds) =>
      duration.observe({ kind, result: isUp ? 'up' : 'down' }, seconds),
    probes: (kind, isUp, seconds) => {
      const labels = { kind, result: isUp ? 'up' : 'down' };
      for (const one of seconds) duration.observe(labels, one);
    },
    vote: (isUp) => votes.inc({ result: isUp ? 'up' : 'down' }),
  } satisfies Partial<Metrics>;
}

function networkMetrics(registry: Registry) {
  const sentTo = totalOf(counter(registry, CATALOGUE.garpSent));
  const failedTo = totalOf(counter(registry, CATALOGUE.garpFailed));
  const heard = gauge(registry, CATALOGUE.peerLastHeard);
  const rejected = counter(registry, CATALOGUE.peerRejected);
  const malformedTo = totalOf(rejected.labels({ reason: 'malformed' }));
  const unauthenticTo = totalOf(rejected.labels({ reason: 'unauthentic' }));
  const replayedTo = totalOf(rejected.labels({ reason: 'replayed' }));
  return {
    announcements: (sent, failed) => {
      sentTo(sent);
      failedTo(failed);
    },
    peer: (peer, lastHeardSeconds) => {
      if (lastHeardSeconds === null) heard.remove({ peer });
      else heard.set({ peer }, lastHeardSeconds);
    },
    peerRejected: (malformed, unauthentic, replayed) => {
      malformedTo(malformed);
      unauthenticTo(unauthentic);
      replayedTo(replayed);
    },
  } satisfies Partial<Metrics>;
}

function vrrpMetrics(registry: Registry) {
  const sentTo = totalOf(counter(registry, CATALOGUE.vrrpSent));
  const failedTo = totalOf(counter(registry, CATALOGUE.vrrpFailed));
  const receivedTo = totalOf(counter(registry, CATALOGUE.vrrpReceived));
  const dropped = counter(registry, CATALOGUE.vrrpDropped);
  const droppedTo = VRRP_DROPS.map(
    (reason) => [reason, totalOf(dropped.labels({ reason }))] as const,
  );
  return {
    vrrp: (counters) => {
      sentTo(counters.sent);
      failedTo(counters.failed);
      receivedTo(counters.received);
      for (const [reason, raiseTo] of droppedTo) raiseTo(counters.dropped[reason]);
    },
  } satisfies Partial<Metrics>;
}

/** Raises a counter to a total that somebody else counts; totals never shrink while the process lives. */
function totalOf(target: { inc(value: number): void }): (total: number) => void {
  let last = 0;
  return (total) => {
    target.inc(Math.max(0, total - last));
    last = Math.max(last, total);
  };
}

function gauge<S extends GaugeSpec>(registry: Registry, spec: S): Gauge<Labels<S>> {
  return new Gauge({ ...namesOf<S>(spec), registers: [registry] });
}

/**
 * Shows the highest value since the last reading but one: what lasts for a moment between two readings is seen, by
 * each of two readers.
 */
function worst(registry: Registry, spec: GaugeSpec): (value: number) => void {
  let [before, since] = [0, 0];
  const shown = new Gauge({
    ...namesOf(spec),
    registers: [registry],
    collect: () => {
      shown.set(Math.max(before, since));
      [before, since] = [since, 0];
    },
  });
  return (value) => {
    since = Math.max(since, value);
  };
}

function counter<S extends CounterSpec>(registry: Registry, spec: S): Counter<Labels<S>> {
  return new Counter({ ...namesOf<S>(spec), registers: [registry] });
}

function histogram<S extends HistogramSpec>(registry: Registry, spec: S): Histogram<Labels<S>> {
  const buckets = [...spec.buckets];
  return new Histogram({ ...namesOf<S>(spec), buckets, registers: [registry] });
}

function namesOf<S extends GaugeSpec | CounterSpec | HistogramSpec>(spec: S) {
  const labelNames: readonly Labels<S>[] = spec.labels;
  return { name: spec.name, help: spec.help, labelNames };
}
