/**
 * One director's agent: the loops of this folder, connected. The flow is one way: the watch replaces
 * the view and wakes the loops; each loop reads what it needs, acts through its port and reads back.
 */
import type { IneligibleReason } from '../model/decision.ts';
import type { ElectionConfig, Identity } from '../core/election/state.ts';
import { AsyncQueue, Wakeup } from '../lib/async.ts';
import type { Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import { ABSENT, type DirectorId, type GroupId, type MonoMs, type Revision } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import { type EventRecord, formatRecord, type VoteRecord } from '../model/records.ts';
import type { AgentView, Stored } from '../ports/agent-view.ts';
import type { Announcer } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { IpvsKernel, NetworkKernel } from '../ports/kernel.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { PeerLink } from '../ports/peer-link.ts';
import type { Prober } from '../ports/prober.ts';
import type { Random } from '../ports/random.ts';
import { type AddressKeeper, createAddressKeeper } from './address-keeper.ts';
import { ClusterView, type ViewUpdate } from './cluster-view.ts';
import { createDirectorLease, type DirectorLease } from './director-lease.ts';
import { createEventLog, type EventLog, recordOf } from './event-log.ts';
import { createGauges, type Gauges } from './gauges.ts';
import { createGroupLeases, type GroupLeases } from './group-leases.ts';
import { createHealthDesk, type HealthDesk, livingOf, votesOf } from './health-desk.ts';
import { createHoldLoop, type HoldLoop } from './hold-loop.ts';
import { announcementsOf, gateGroupOf, type InterfaceMap, judgeInterfaces } from './interfaces.ts';
import { createLifetimeGate, type LifetimeGate } from './lifetime-gate.ts';
import { createOperationWriter } from './operations.ts';
import { createProbeLoop, type ProbeLoop } from './probe-loop.ts';
import { createReconcileLoop, type ReconcileLoop } from './reconcile-loop.ts';
import { deriveReport, localProblems } from './report.ts';
import { createSpecBarrier, type SpecBarrier } from './spec-barrier.ts';
import { deriveStatus, type StatusInput } from './status.ts';
import { waitFor } from './wait-for.ts';

export type AgentOptions = {
  readonly me: DirectorId;
  readonly cluster: string;
  readonly keys: Keys;
  readonly version: string;
  readonly identity: Identity;
  readonly startedAt: string;
  readonly devices: InterfaceMap;
  /** What keeps this process from holding anything, in words; empty where nothing does. */
  readonly hostProblems: readonly string[];
  /** The stored document as a spec; the error is a sentence. */
  readonly parseSpec: (document: unknown) => Result<ClusterSpec, string>;
};

export type AgentPorts = {
  readonly store: ClusterStore;
  readonly network: NetworkKernel;
  readonly ipvs: IpvsKernel;
  readonly announcer: Announcer;
  readonly peerLink: PeerLink;
  readonly prober: Prober;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
};

export type Agent = {
  readonly view: AgentView;
  /** Until the signal aborts; then every group is given up and the session closed, within `RELEASE_MS`. */
  run(signal: AbortSignal): Promise<void>;
};

/** How long a release may take before the agent ends without it; the kernel's deadline does the rest. */
const RELEASE_MS = 4000;
const HOUSEKEEPING_MS = 1000;
/** Without an answer for so long etcd counts as away, for people; the election has its own deadlines. */
const STORE_AWAY_MS = 3000;
const DEFAULT_LEASE_TTL_S = 15;

export function createAgent(options: AgentOptions, ports: AgentPorts): Agent {
  return new Director(options, ports);
}

class Director implements Agent {
  readonly view: AgentView;
  readonly #options: AgentOptions;
  readonly #ports: AgentPorts;
  readonly #records: ClusterView;
  readonly #gate: LifetimeGate;
  readonly #keeper: AddressKeeper;
  readonly #hold: HoldLoop;
  readonly #leases: GroupLeases;
  readonly #directorLease: DirectorLease;
  readonly #events: EventLog;
  readonly #reconcile: ReconcileLoop;
  readonly #probes: ProbeLoop;
  readonly #desk: HealthDesk = createHealthDesk();
  readonly #barrier: SpecBarrier = createSpecBarrier();
  readonly #gauges: Gauges;
  readonly #subscribers = new Set<AsyncQueue<Stored<EventRecord>>>();
  readonly #housekeeping = new Wakeup();
  #spec: ClusterSpec | null = null;
  #specProblem: string | null = null;
  #hasAdopted = false;
  /** Revision of the spec in force: the last one that could be used, not the last one stored. */
  #accepted: Revision = ABSENT;
  /** Revision of the spec that this director's kernel obeys; the others wait for it. */
  #enforced: Revision = ABSENT;

  constructor(options: AgentOptions, ports: AgentPorts) {
    this.#options = options;
    this.#ports = ports;
    const { me, keys, devices } = options;
    const { store, clock, log, metrics, random } = ports;
    const ttlS = (): number => this.#spec?.timing.leaseTtlS ?? DEFAULT_LEASE_TTL_S;
    this.#records = new ClusterView(keys, log);
    this.#gauges = createGauges(ports);
    this.#gate = createLifetimeGate({ kernel: ports.network, clock });
    this.#leases = createGroupLeases({ director: me, keys, ttlS }, { store, clock, log });
    this.#directorLease = createDirectorLease(
      {
        ttlS,
        revisionOf: (key) => this.#records.revisionOf(key),
        outlives: (key) => keys.parse(key)?.kind === 'vote',
      },
      { store, clock, log },
    );
    this.#events = createEventLog({ keys }, { store, clock, random, log });
    this.#keeper = createAddressKeeper({
      kernel: ports.network,
      clock,
      log,
      metrics,
      devices,
      groups: () => this.#spec?.groups ?? [],
      mayBeBound: (group) => this.#mayBeBound(group),
      exclusively: (work) => this.#hold.exclusively(work),
      linksChanged: () => this.#judge(),
      addressGone: (linkIndex, address) => this.#onAddressGone(linkIndex, address),
    });
    this.#hold = this.#createHold();
    this.#reconcile = createReconcileLoop(
      {},
      {
        kernel: ports.ipvs,
        ledger: ports.ledger,
        clock,
        log,
        metrics,
        input: () => this.#desired(),
      },
    );
    this.#probes = this.#createProbes();
    this.view = this.#createView();
  }

  #createView(): AgentView {
    return {
      cluster: this.#options.cluster,
      director: this.#options.me,
      status: () => deriveStatus(this.#statusInput()),
      spec: () => ({
        revision: this.#records.spec?.revision ?? this.#records.revisionOf(this.#options.keys.spec),
        document: this.#records.spec?.document ?? null,
        spec: this.#spec,
      }),
      holdsNow: (group) => {
        const holding = this.#hold.state().holdings.get(group);
        return holding?.kind === 'open' && holding.until > this.#ports.clock.now();
      },
      isLive: () => this.#hold.isLive(),
      operations: () => [...this.#records.operations.values()],
      events: () => this.#records.events,
      watchEvents: (signal) => this.#watchEvents(signal),
    };
  }

  async run(signal: AbortSignal): Promise<void> {
    const { prober } = this.#ports;
    const ends: AbortController[] = [];
    // Each loop has a signal of its own: one for all would collect listeners without bound in sight.
    const begin = (loop: (signal: AbortSignal) => Promise<void>): Promise<void> => {
      const end = new AbortController();
      ends.push(end);
      return loop(end.signal);
    };
    const running = [
      begin((end) => this.#keeper.run(end)),
      begin((end) => this.#watchStore(end)),
      begin((end) => this.#hear(end)),
      begin((end) => this.#leases.run(end)),
      begin((end) => this.#directorLease.run(end)),
      begin((end) => this.#events.run(end)),
      begin((end) => this.#reconcile.run(end)),
      begin((end) => this.#probes.run(end)),
      begin((end) => this.#keepHouse(end)),
    ];
    await Promise.race([aborted(signal), ...running.map((loop) => loop.catch(() => {}))]);
    const wasAsked = signal.aborted;
    await this.#release();
    for (const end of ends) end.abort();
    const ended = await Promise.allSettled(running);
    this.#hold.end();
    await prober.close();
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw new Error('a loop failed', { cause: failed.reason });
    // An agent without one of its loops would look alive and not be: systemd starts a whole one.
    if (!wasAsked) throw new Error('a loop ended by itself');
  }

  #createHold(): HoldLoop {
    const { store, clock, log, metrics, announcer, peerLink } = this.#ports;
    const { me, keys, devices } = this.#options;
    const groupOf = (id: GroupId): VipGroup | undefined => {
      const group = this.#spec?.groups.find((one) => one.id === id);
      return group === undefined
        ? undefined
        : { ...group, addresses: this.#barrier.allowed(group) };
    };
    return createHoldLoop({
      store,
      gate: this.#gate,
      announcer,
      peerLink,
      clock,
      log,
      metrics,
      parseReads: (reads, asOf) => this.#records.electionReads(reads, asOf),
      gateGroup: (id) => {
        const group = groupOf(id);
        return group === undefined ? null : gateGroupOf(group, devices, this.#keeper.links());
      },
      announcements: (id) => {
        const group = groupOf(id);
        return group === undefined ? [] : announcementsOf(group, devices);
      },
      peers: () =>
        (this.#spec?.directors ?? [])
          .filter((director) => director.id !== me)
          .map((director) => ({ director: director.id, address: director.address })),
      clearGate: () => this.#keeper.clear(),
      showLease: (group, epoch) => {
        metrics.holder(group, epoch !== null, epoch);
        this.#leases.show(group, epoch);
      },
      reportOperation: createOperationWriter({ keys }, { store, clock, log }),
      tell: (notice) => {
        const { severity, kind, ...fields } = notice;
        log[severity](fields, kind);
        this.#gauges.noticed(notice, this.#hold.state());
        this.#events.record(recordOf(notice, me, clock));
      },
      changed: () => this.#housekeeping.wake(),
    });
  }

  #createProbes(): ProbeLoop {
    const { prober, clock, log, metrics } = this.#ports;
    const { me, keys } = this.#options;
    return createProbeLoop(
      { me },
      {
        prober,
        clock,
        log,
        metrics,
        publish: (check, vote) => {
          const key = keys.vote(check, me);
          if (vote === null) return this.#directorLease.publish(key, null);
          const { isUp, since, detail } = vote;
          const record: VoteRecord = { v: 1, up: isUp, since, detail };
          this.#directorLease.publish(key, formatRecord(record));
        },
      },
    );
  }

  async #watchStore(signal: AbortSignal): Promise<void> {
    const { store, log } = this.#ports;
    for await (const event of store.watch(this.#options.keys.prefix, signal)) {
      if (event.kind === 'snapshot' && event.revision < this.#records.revision)
        throw new Error(
          `etcd went back from revision ${this.#records.revision} to ${event.revision}: restored or replaced; all that was known of it is void`,
        );
      if (event.kind === 'interrupted') {
        log.warn({ problem: event.error.message }, 'watch.interrupted');
        continue;
      }
      this.#take(this.#records.apply(event), event.kind === 'snapshot');
    }
  }

  #take(update: ViewUpdate, isSynced: boolean): void {
    const { areas } = update;
    if (areas.has('spec') || isSynced) this.#takeSpec();
    if (update.election.length > 0 || isSynced)
      this.#hold.offer({ kind: 'view', changes: update.election, isSynced });
    // The next round opens what the barrier lets through now.
    const wasReady = this.#barrier.isReady();
    this.#barrier.look(this.#hold.state().view, this.#options.me);
    if (this.#barrier.isReady() !== wasReady) this.#judge();
    if (isSynced && !this.#hasAdopted) {
      this.#hasAdopted = true;
      this.#probes.adopt(votesOf(this.#options.me, this.#records.votes));
    }
    // Counted first: a director that takes over a check goes on from what is known of it.
    const isOtherLiving = this.#desk.setLiving(this.#living());
    if (areas.has('votes') || areas.has('spec') || isSynced || isOtherLiving) this.#countVotes();
    if (areas.has('spec') || areas.has('reports') || isSynced) this.#assign();
    if (areas.has('spec') || areas.has('overrides') || isSynced) this.#reconcile.wake();
    for (const event of update.newEvents) for (const queue of this.#subscribers) queue.push(event);
    this.#ports.metrics.storeRevision(this.#records.revision);
  }

  /** A document that cannot be used changes nothing: the last good one stays in force. */
  #takeSpec(): void {
    const stored = this.#records.spec;
    if (stored === null) return;
    const parsed = this.#options.parseSpec(stored.document);
    const { log, metrics } = this.#ports;
    metrics.specRejected(!parsed.ok);
    if (!parsed.ok) {
      if (this.#specProblem !== parsed.error)
        log.error({ revision: stored.revision, problem: parsed.error }, 'spec.rejected');
      this.#specProblem = parsed.error;
      return;
    }
    this.#specProblem = null;
    this.#spec = parsed.value;
    this.#accepted = stored.revision;
    metrics.specRevision(stored.revision);
    log.info({ revision: stored.revision, by: stored.by }, 'spec.enforced');
    this.#desk.setSpec(parsed.value);
    this.#barrier.setSpec(parsed.value, stored.revision);
    this.#judge();
    this.#hold.setConfig(this.#electionConfig(parsed.value));
  }

  #electionConfig(spec: ClusterSpec): ElectionConfig {
    const { me, identity, keys } = this.#options;
    return {
      me,
      address: spec.directors.find((director) => director.id === me)?.address ?? '',
      identity,
      keys,
      timing: spec.timing,
      directors: spec.directors.map((director) => director.id),
      groups: spec.groups,
    };
  }

  /** Tells the election which groups the interfaces could carry. */
  #judge(): void {
    const groups = this.#spec?.groups ?? [];
    const { devices } = this.#options;
    const links = this.#keeper.links();
    const general = this.#generalObstacle();
    this.#hold.offer({
      kind: 'eligibility',
      groups: new Map(
        groups.map((group) => [
          group.id,
          general ?? judgeInterfaces(group, devices, links).obstacle,
        ]),
      ),
    });
  }

  #generalObstacle(): IneligibleReason | null {
    if (this.#options.hostProblems.length > 0) return 'cannot-bind';
    return this.#barrier.isReady() ? null : 'starting';
  }

  /** Only inside its deadline; what has lapsed goes by itself, or by the keeper's sweep. */
  #mayBeBound(group: GroupId): boolean {
    const holding = this.#hold.state().holdings.get(group);
    return holding?.kind === 'open' && holding.until > this.#ports.clock.now();
  }

  #onAddressGone(linkIndex: number, address: IpAddress): void {
    const group = this.#gate.forget(linkIndex, address);
    if (group === null || !this.#mayBeBound(group)) return;
    this.#ports.log.warn({ vipGroup: group, address }, 'address.lost');
    this.#hold.offer({ kind: 'address-lost', group });
  }

  async #hear(signal: AbortSignal): Promise<void> {
    for await (const { from, message } of this.#ports.peerLink.receive(signal))
      this.#hold.offer({
        kind: 'heartbeat',
        from,
        session: message.session,
        groups: message.armed.map((one) => one.group),
      });
  }

  #living(): ReturnType<typeof livingOf> {
    return livingOf(this.#options.me, this.#spec, this.#records, this.#ports.clock.now());
  }

  /** Those that are alive share the checks. */
  #assign(): void {
    if (this.#spec === null) return;
    const checks = this.#desk.assignmentsOf(this.#options.me, this.#living().alive);
    this.#probes.setAssignments(checks, this.#desk.statuses());
  }

  #countVotes(): void {
    for (const { check, current } of this.#desk.count(this.#records.votes)) {
      this.#ports.log.info({ check, ...current }, 'check.decided');
      this.#reconcile.wake();
    }
  }

  #desired(): ReturnType<Parameters<typeof createReconcileLoop>[1]['input']> {
    if (this.#spec === null) return null;
    return {
      spec: this.#spec,
      checks: this.#desk.checks().byRealServer,
      overrides: this.#records.overrides,
      statuses: this.#desk.statuses(),
    };
  }

  async #keepHouse(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    let lastMetricsAt = -Infinity;
    while (!signal.aborted) {
      await this.#enforce();
      this.#publishReport();
      // Nobody tells that a director has been awaited for long enough.
      if (this.#desk.setLiving(this.#living())) this.#countVotes();
      if (clock.now() - lastMetricsAt >= HOUSEKEEPING_MS) {
        lastMetricsAt = clock.now();
        this.#measure();
      }
      await waitFor(this.#housekeeping, HOUSEKEEPING_MS, clock, signal);
    }
  }

  /** A spec counts as enforced when the kernel has nothing any more that it forbids. */
  async #enforce(): Promise<void> {
    const accepted = this.#accepted;
    if (accepted === ABSENT || accepted === this.#enforced) return;
    if (await this.#keeper.enforce()) this.#enforced = accepted;
  }

  #publishReport(): void {
    const { me, keys, version, startedAt } = this.#options;
    if (this.#spec === null) return;
    const report = deriveReport({
      config: this.#electionConfig(this.#spec),
      state: this.#hold.state(),
      now: this.#ports.clock.now(),
      version,
      startedAt,
      specRevision: this.#enforced,
      gateKind: this.#gate.kind,
      ipvs: this.#reconcile.state(),
      problems: this.#localProblems(),
    });
    if (report !== null) this.#directorLease.publish(keys.report(me), formatRecord(report));
  }

  #localProblems(): readonly string[] {
    return localProblems({
      me: this.#options.me,
      spec: this.#spec,
      devices: this.#options.devices,
      links: this.#keeper.links(),
      hostProblems: this.#options.hostProblems,
      kernelProblem: this.#keeper.problem(),
      refusals: this.#hold.refusals(),
    });
  }

  #measure(): void {
    this.#gauges.measure({
      isStoreConnected: this.#isStoreConnected(this.#ports.clock.now()),
      lagMs: this.#hold.lagMs(),
      state: this.#hold.state(),
      groups: (this.#spec?.groups ?? []).map(({ id }) => ({
        group: id,
        leaseMs: this.#leases.remainingMs(id),
      })),
      explanations: this.#reconcile.state().explanations.values(),
    });
  }

  #isStoreConnected(now: MonoMs): boolean {
    const { lastAnswerAt } = this.#ports.store.health();
    return lastAnswerAt !== null && now - lastAnswerAt < STORE_AWAY_MS;
  }

  async #release(): Promise<void> {
    const { clock, log } = this.#ports;
    this.#hold.offer({ kind: 'stop' });
    const endAt = clock.now() + RELEASE_MS;
    while (this.#hold.state().session.kind !== 'closed' && clock.now() < endAt)
      await clock.sleep(10);
    if (this.#hold.state().session.kind !== 'closed') log.warn({}, 'release.unfinished');
  }

  /** Subscribed at the call, not at the first read: a reader that resumes misses nothing between. */
  #watchEvents(signal: AbortSignal): AsyncIterable<Stored<EventRecord>> {
    const queue = new AsyncQueue<Stored<EventRecord>>(1000);
    const end = (): void => {
      queue.end();
      this.#subscribers.delete(queue);
    };
    this.#subscribers.add(queue);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    return queue;
  }

  #statusInput(): StatusInput {
    const { clock, store } = this.#ports;
    const now = clock.now();
    return {
      cluster: this.#options.cluster,
      me: this.#options.me,
      version: this.#options.version,
      wallTime: clock.wallTime(),
      now,
      store: store.health(),
      isStoreConnected: this.#isStoreConnected(now),
      storedSpec: this.#records.spec,
      spec: this.#spec,
      specProblem: this.#specProblem,
      election: this.#hold.state(),
      config: this.#spec === null ? null : this.#electionConfig(this.#spec),
      gateKind: this.#gate.kind,
      lagMs: this.#hold.lagMs(),
      reconcile: this.#reconcile.state(),
      checks: this.#desk.checks().byRealServer,
      statuses: this.#desk.statuses(),
      votes: this.#records.votes,
      overrides: this.#records.overrides,
      drains: this.#records.drains,
      reports: this.#records.reports,
      localProblems: this.#localProblems(),
    };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
}
