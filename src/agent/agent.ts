/**
 * One director's agent: the loops of this folder, connected. The flow is one way: the watch replaces
 * the view and wakes the loops; each loop reads what it needs, acts through its port and reads back.
 */
import type { ElectionNotice } from '../core/election/state.ts';
import type { IpAddress } from '../model/address.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { HoldReason } from '../model/decision.ts';
import type { GroupId } from '../model/ids.ts';
import { formatRecord, type VoteRecord } from '../model/records.ts';
import type { AgentView } from '../ports/agent-view.ts';
import { createAddressKeeper } from './address-keeper.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import { ClusterView, type ViewUpdate } from './cluster-view.ts';
import { type ConflictWatch, createConflictWatch } from './conflict-watch.ts';
import { createDirectorLease } from './director-lease.ts';
import { createEpochFence } from './epoch-fence.ts';
import { createEventLog, type EventLog, recordOf } from './event-log.ts';
import { createEventStream, type EventStream } from './event-stream.ts';
import { createFenceGate } from './fence-gate.ts';
import { deriveEligibility, type Eligibility, isSameEligibility } from './fitness.ts';
import { createGauges, type Gauges } from './gauges.ts';
import { createGroupLeases } from './group-leases.ts';
import { createHealthDesk, livingOf, votesOf } from './health-desk.ts';
import { createHoldLoop, type HoldLoop } from './hold-loop.ts';
import { createHousekeeping, type Housekeeping } from './housekeeping.ts';
import { announcementsOf, gateGroupOf, gatePlacesOf } from './interfaces.ts';
import { createLifetimeGate } from './lifetime-gate.ts';
import type { LocalGate } from './local-gate.ts';
import { createNotifyLoop, type NotifyLoop } from './notify-loop.ts';
import { createOperationWriter } from './operations.ts';
import { createProbeLoop, type ProbeLoop } from './probe-loop.ts';
import { createReconcileLoop, type ReconcileLoop } from './reconcile-loop.ts';
import { freeze, FREEZE, release } from './shut-down.ts';
import { createSpecBarrier, type SpecBarrier } from './spec-barrier.ts';
import { createSpecDesk } from './spec-desk.ts';
import { createAgentView, isSpeaking } from './status-desk.ts';
import { verifyTakeover } from './takeover-proof.ts';
import { createTrackLoop } from './track-loop.ts';

export type { AgentOptions, AgentPorts };

export type Agent = {
  readonly view: AgentView;
  /**
   * Until the signal aborts. Then every group is handed over or silenced and the session closed; or,
   * where the signal's reason is `FREEZE`, all of it is left to a new process of this director. Either
   * way within a few seconds.
   */
  run(signal: AbortSignal): Promise<void>;
};

const DEFAULT_LEASE_TTL_S = 15;

export function createAgent(options: AgentOptions, ports: AgentPorts): Agent {
  return new Director(options, ports);
}

class Director implements Agent {
  readonly view: AgentView;
  readonly #options: AgentOptions;
  readonly #ports: AgentPorts;
  readonly #parts: AgentParts;
  readonly #events: EventLog;
  readonly #stream: EventStream = createEventStream();
  readonly #probes: ProbeLoop;
  readonly #conflicts: ConflictWatch;
  readonly #notify: NotifyLoop;
  readonly #housekeeping: Housekeeping;
  readonly #barrier: SpecBarrier = createSpecBarrier();
  readonly #gauges: Gauges;
  readonly #epochs: ReturnType<typeof createEpochFence>;
  /** Why each group was taken or given up last. */
  readonly #reasons = new Map<GroupId, HoldReason>();
  /** Groups of an earlier life that are bound until the election has said whose they are. */
  #kept: ReadonlySet<GroupId> = new Set();
  #gateProblem: string | null = null;
  #judged: Eligibility | null = null;
  #hasAdopted = false;

  constructor(options: AgentOptions, ports: AgentPorts) {
    this.#options = options;
    this.#ports = ports;
    const { me, keys } = options;
    const { store, clock, log, random, metrics, neighbours, announcer } = ports;
    this.#gauges = createGauges(ports);
    this.#epochs = createEpochFence({ log });
    this.#events = createEventLog({ keys }, { store, clock, random, log });
    this.#parts = this.#createParts();
    this.#notify = createNotifyLoop({ me }, ports);
    this.#probes = this.#createProbes();
    this.#conflicts = createConflictWatch({
      neighbours,
      announcer,
      clock,
      log,
      metrics,
      held: () => this.#speakingVips(),
      tell: (group, message) => this.#tellContest(group, message),
    });
    this.#housekeeping = createHousekeeping(
      options,
      {
        clock,
        store,
        gauges: this.#gauges,
        notify: this.#notify,
        conflicts: this.#conflicts,
        epochs: this.#epochs,
        judge: () => this.#judge(),
        // Nobody tells that a director has been awaited for long enough.
        countAwaited: () => {
          if (this.#parts.desk.setLiving(this.#living())) this.#countVotes();
        },
        reasonOf: (group) => this.#reasons.get(group) ?? null,
      },
      this.#parts,
    );
    this.view = createAgentView(options, ports, this.#parts, (end) => this.#stream.watch(end));
    metrics.gate(this.#parts.gate.kind);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, prober } = this.#ports;
    const { gate, hold } = this.#parts;
    const ends: AbortController[] = [];
    // Each loop has a signal of its own: one for all would collect listeners without bound in sight.
    const running = this.#loops().map((loop) => {
      const end = new AbortController();
      ends.push(end);
      return loop(end.signal);
    });
    await Promise.race([aborted(signal), ...running.map((loop) => loop.catch(() => {}))]);
    const wasAsked = signal.aborted;
    const isFreeze = wasAsked && signal.reason === FREEZE;
    const shutDown = { hold, clock, log };
    const isReleased = isFreeze ? await freeze(shutDown) : await release(shutDown);
    hold.end();
    await this.#notify.end(isFreeze ? 'freeze' : 'stop');
    for (const end of ends) end.abort(isFreeze ? FREEZE : undefined);
    const ended = await Promise.allSettled(running);
    // After the last sweep, which would make it anew; what may still be bound needs its rules.
    if (isReleased && !isFreeze) await this.#removeGate(gate);
    await prober.close();
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw new Error('a loop failed', { cause: failed.reason });
    // An agent without one of its loops would look alive and not be: systemd starts a whole one.
    if (!wasAsked) throw new Error('a loop ended by itself');
  }

  #loops(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    const { keeper, leases, directorLease, reconcile, tracks } = this.#parts;
    return [
      (end) => keeper.run(end),
      (end) => this.#watchStore(end),
      (end) => this.#hear(end),
      (end) => leases.run(end),
      (end) => directorLease.run(end),
      (end) => this.#events.run(end),
      (end) => reconcile.run(end),
      (end) => this.#probes.run(end),
      (end) => tracks.run(end),
      (end) => this.#conflicts.run(end),
      (end) => this.#housekeeping.run(end),
    ];
  }

  async #removeGate(gate: LocalGate): Promise<void> {
    const removed = await gate.uninstall();
    if (!removed.ok) this.#ports.log.warn({ problem: removed.error.message }, 'gate.left');
  }

  #createParts(): AgentParts {
    const { me, keys, identity, devices, parseSpec } = this.#options;
    const { store, clock, log, metrics, fence, network, tracker } = this.#ports;
    const gate =
      fence === null
        ? createLifetimeGate({ kernel: network, clock })
        : createFenceGate({ fence, kernel: network, clock, log });
    const specs = createSpecDesk(
      { me, identity, keys, gateKind: gate.kind, parseSpec },
      { log, metrics },
    );
    const ttlS = (): number => specs.spec()?.timing.leaseTtlS ?? DEFAULT_LEASE_TTL_S;
    const records = new ClusterView(keys, log);
    const lease = {
      ttlS,
      revisionOf: (key: string) => records.revisionOf(key),
      outlives: (key: string) => keys.parse(key)?.kind === 'vote',
    };
    return {
      gate,
      specs,
      records,
      desk: createHealthDesk(),
      leases: createGroupLeases({ director: me, keys, ttlS }, { store, clock, log }),
      directorLease: createDirectorLease(lease, { store, clock, log }),
      hold: this.#createHold(gate),
      keeper: createAddressKeeper({
        kernel: network,
        clock,
        log,
        metrics,
        devices,
        watched: () => this.#parts.tracks.devices(),
        groups: () => specs.spec()?.groups ?? [],
        mayBeBound: (group) => this.#mayBeBound(group),
        exclusively: (work) => this.#parts.hold.exclusively(work),
        checkGate: () => this.#checkGate(),
        linksChanged: () => this.#onLinks(),
        addressGone: (linkIndex, address) => this.#onAddressGone(linkIndex, address),
      }),
      reconcile: this.#createReconcile(),
      tracks: createTrackLoop(
        { devices },
        { tracker, clock, log, metrics, changed: () => this.#judge() },
      ),
      gateProblem: () => this.#gateProblem,
    };
  }

  #createHold(gate: LocalGate): HoldLoop {
    const { store, clock, log, metrics, announcer, peerLink, neighbours } = this.#ports;
    const { me, keys, devices } = this.#options;
    return createHoldLoop({
      store,
      gate,
      announcer,
      peerLink,
      clock,
      log,
      metrics,
      epochs: this.#epochs,
      parseReads: (reads, asOf) => this.#parts.records.electionReads(reads, asOf),
      gateGroup: (id) => {
        const group = this.#allowedGroup(id);
        const { keeper } = this.#parts;
        return group === undefined ? null : gateGroupOf(group, devices, keeper.links());
      },
      announcements: (id) => {
        const group = this.#allowedGroup(id);
        return group === undefined ? [] : announcementsOf(group, devices);
      },
      peers: () =>
        (this.#parts.specs.spec()?.directors ?? [])
          .filter((director) => director.id !== me)
          .map((director) => ({ director: director.id, address: director.address })),
      clearGate: (keep) => this.#clearGate(keep),
      verify: (id, timeoutMs) => {
        const gateways = this.#parts.specs.spec()?.gateways ?? [];
        const vips = (this.#allowedGroup(id)?.addresses ?? []).flatMap((one) => {
          const device = devices.get(one.interface);
          return device === undefined ? [] : [{ ...one, device }];
        });
        return verifyTakeover(neighbours, vips, gateways, timeoutMs);
      },
      showLease: (group, epoch) => {
        metrics.holder(group, epoch !== null, epoch);
        this.#parts.leases.show(group, epoch);
      },
      reportOperation: createOperationWriter({ keys }, { store, clock, log }),
      tell: (notice) => this.#tell(notice),
      changed: () => this.#housekeeping.wake(),
    });
  }

  #createReconcile(): ReconcileLoop {
    const { ipvs, ledger, clock, log, metrics } = this.#ports;
    return createReconcileLoop(
      {},
      {
        kernel: ipvs,
        ledger,
        clock,
        log,
        metrics,
        input: () => this.#desired(),
        passed: () => this.#judge(),
      },
    );
  }

  #createProbes(): ProbeLoop {
    const { prober, clock, log, metrics } = this.#ports;
    const { me, keys } = this.#options;
    const { directorLease } = this.#parts;
    return createProbeLoop(
      { me },
      {
        prober,
        clock,
        log,
        metrics,
        publish: (check, vote) => {
          const key = keys.vote(check, me);
          if (vote === null) return directorLease.publish(key, null);
          const { isUp, since, detail } = vote;
          const record: VoteRecord = { v: 1, up: isUp, since, detail };
          directorLease.publish(key, formatRecord(record));
        },
      },
    );
  }

  #tell(notice: ElectionNotice): void {
    const { severity, kind, ...fields } = notice;
    const { log, clock } = this.#ports;
    log[severity](fields, kind);
    if (notice.group !== null && notice.reason !== null)
      this.#reasons.set(notice.group, notice.reason);
    this.#gauges.noticed(notice, this.#parts.hold.state());
    this.#events.record(recordOf(notice, this.#options.me, clock));
  }

  #tellContest(group: GroupId, message: string): void {
    const { me } = this.#options;
    const epoch = this.#parts.hold.state().holdings.get(group)?.epoch ?? null;
    this.#events.record({
      v: 1,
      at: this.#ports.clock.wallTime(),
      director: me,
      severity: 'warn',
      kind: 'address.contested',
      subject: group,
      message,
      reason: null,
      epoch,
      by: null,
    });
  }

  async #watchStore(signal: AbortSignal): Promise<void> {
    const { store, log } = this.#ports;
    const { records } = this.#parts;
    for await (const event of store.watch(this.#options.keys.prefix, signal)) {
      if (event.kind === 'snapshot' && event.revision < records.revision)
        throw new Error(
          `etcd went back from revision ${records.revision} to ${event.revision}: restored or replaced; all that was known of it is void`,
        );
      if (event.kind === 'interrupted') {
        log.warn({ problem: event.error.message }, 'watch.interrupted');
        continue;
      }
      this.#take(records.apply(event), event.kind === 'snapshot');
    }
  }

  #take(update: ViewUpdate, isSynced: boolean): void {
    const { areas } = update;
    const { hold, desk, records, reconcile } = this.#parts;
    if (areas.has('spec') || isSynced) this.#takeSpec();
    if (update.election.length > 0 || isSynced)
      hold.offer({ kind: 'view', changes: update.election, isSynced });
    // The next round opens what the barrier lets through now.
    const wasReady = this.#barrier.isReady();
    this.#barrier.look(hold.state().view, this.#options.me);
    if (this.#barrier.isReady() !== wasReady) this.#judge();
    if (isSynced && !this.#hasAdopted) {
      this.#hasAdopted = true;
      this.#probes.adopt(votesOf(this.#options.me, records.votes));
    }
    // Counted first: a director that takes over a check goes on from what is known of it.
    const isOtherLiving = desk.setLiving(this.#living());
    if (areas.has('votes') || areas.has('spec') || isSynced || isOtherLiving) this.#countVotes();
    if (areas.has('spec') || areas.has('reports') || isSynced) this.#assign();
    if (areas.has('spec') || areas.has('overrides') || isSynced) reconcile.wake();
    this.#stream.push(update.newEvents);
    this.#ports.metrics.storeRevision(records.revision);
  }

  #takeSpec(): void {
    const { records, specs, desk, tracks, hold } = this.#parts;
    if (!specs.take(records.spec)) return;
    const spec = specs.spec();
    if (spec === null) return;
    desk.setSpec(spec);
    this.#barrier.setSpec(spec, specs.accepted());
    tracks.setGroups(spec.groups);
    this.#onLinks();
    hold.setConfig(specs.electionConfig());
  }

  /** The links or the spec changed: where VIPs may be, and what could be held. */
  #onLinks(): void {
    const { keeper, specs, gate, tracks } = this.#parts;
    const groups = specs.spec()?.groups ?? [];
    gate.setPlaces(gatePlacesOf(groups, this.#options.devices, keeper.links()));
    tracks.setLinks(keeper.links());
    this.#judge();
  }

  /** Tells the election what this director could hold, where that changed. */
  #judge(): void {
    const { specs, keeper, gate, tracks, reconcile, hold } = this.#parts;
    const judged = deriveEligibility({
      spec: specs.spec(),
      devices: this.#options.devices,
      links: keeper.links(),
      hostProblems: this.#options.hostProblems,
      isSpecSettled: this.#barrier.isReady(),
      gateKind: gate.kind,
      tracks,
      reconcile: reconcile.state(),
    });
    if (this.#judged !== null && isSameEligibility(this.#judged, judged)) return;
    this.#judged = judged;
    hold.offer(judged);
  }

  /** The group with those of its addresses that may speak by now. */
  #allowedGroup(id: GroupId): VipGroup | undefined {
    const group = this.#parts.specs.group(id);
    return group === undefined ? undefined : { ...group, addresses: this.#barrier.allowed(group) };
  }

  /**
   * What has rules may be bound ahead and stay bound after its deadline, silent; without them only what
   * speaks.
   */
  #mayBeBound(group: GroupId): boolean {
    const { hold, gate } = this.#parts;
    const { holdings, session } = hold.state();
    const holding = holdings.get(group);
    const hasRules = gate.kind !== 'address-lifetime';
    switch (holding?.kind) {
      case undefined:
        return this.#kept.has(group) && session.kind !== 'open';
      case 'owned':
        return hasRules || this.#kept.has(group);
      case 'open':
        return hasRules || holding.until > this.#ports.clock.now();
      case 'leaving':
        return hasRules || holding.phase === 'waiting';
      case 'closing':
      case 'shut':
        return false;
    }
  }

  async #checkGate(): Promise<void> {
    const checked = await this.#parts.gate.check((group) => this.#mayBeBound(group));
    const problem = checked.ok ? null : checked.error.message;
    if (problem !== null && problem !== this.#gateProblem)
      this.#ports.log.error({ problem }, 'gate.damaged');
    this.#gateProblem = problem;
  }

  /** First the rules, which silence at once, then the addresses. */
  async #clearGate(keep: readonly GroupId[]): Promise<boolean> {
    const { keeper, gate, specs } = this.#parts;
    const { devices } = this.#options;
    if (!(await keeper.ensureLinks())) return false;
    const groups = keep.flatMap((id) => {
      const group = specs.group(id);
      return (group && gateGroupOf(group, devices, keeper.links())) ?? [];
    });
    const adopted = await gate.adopt(groups);
    if (!adopted.ok) {
      this.#ports.log.error({ problem: adopted.error.message }, 'gate.unadopted');
      return false;
    }
    this.#kept = new Set(adopted.value);
    return keeper.clear(this.#kept);
  }

  #onAddressGone(linkIndex: number, address: IpAddress): void {
    const { gate, hold } = this.#parts;
    const group = gate.forget(linkIndex, address);
    if (group === null || !isSpeaking(this.#parts, group, this.#ports.clock.now())) return;
    this.#ports.log.warn({ vipGroup: group, address }, 'address.lost');
    hold.offer({ kind: 'address-lost', group });
  }

  #speakingVips(): ReturnType<Parameters<typeof createConflictWatch>[0]['held']> {
    const now = this.#ports.clock.now();
    const groups = [...this.#parts.hold.state().holdings.keys()];
    return groups.flatMap((id) => {
      const group = isSpeaking(this.#parts, id, now) ? this.#allowedGroup(id) : undefined;
      if (group === undefined) return [];
      return announcementsOf(group, this.#options.devices).map((vip) => ({ ...vip, group: id }));
    });
  }

  async #hear(signal: AbortSignal): Promise<void> {
    for await (const { from, message } of this.#ports.peerLink.receive(signal))
      this.#parts.hold.offer({ kind: 'peer', from, message });
  }

  #living(): ReturnType<typeof livingOf> {
    const { specs, records } = this.#parts;
    return livingOf(this.#options.me, specs.spec(), records, this.#ports.clock.now());
  }

  /** Those that are alive share the checks. */
  #assign(): void {
    const { specs, desk } = this.#parts;
    if (specs.spec() === null) return;
    const checks = desk.assignmentsOf(this.#options.me, this.#living().alive);
    this.#probes.setAssignments(checks, desk.statuses());
  }

  #countVotes(): void {
    const { desk, records, reconcile } = this.#parts;
    for (const { check, current } of desk.count(records.votes)) {
      this.#ports.log.info({ check, ...current }, 'check.decided');
      reconcile.wake();
    }
  }

  #desired(): ReturnType<Parameters<typeof createReconcileLoop>[1]['input']> {
    const { specs, desk, records } = this.#parts;
    const spec = specs.spec();
    if (spec === null) return null;
    return {
      spec,
      checks: desk.checks().byRealServer,
      overrides: records.overrides,
      statuses: desk.statuses(),
    };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
}
