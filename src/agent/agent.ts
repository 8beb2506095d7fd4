/**
 * One director's agent: the loops of this folder, connected. The flow is one way: the watch replaces
 * the view and wakes the loops; each loop reads what it needs, acts through its port and reads back.
 */
import { isFoundFree } from '../core/election/probing.ts';
import { isUpToVoices } from '../core/election/segment.ts';
import { isSegmentUsed } from '../core/election/stand-in.ts';
import type { ElectionNotice } from '../core/election/notices.ts';
import type { VipGroup } from '../model/cluster.ts';
import type { HoldReason } from '../model/decision.ts';
import type { GroupId } from '../model/ids.ts';
import type { AgentView } from '../ports/agent-view.ts';
import { type AddressKeeper, createAddressKeeper } from './address-keeper.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import { CheckDesk } from './check-desk.ts';
import { ClusterView, type ViewUpdate } from './cluster-view.ts';
import { type ConflictWatch, createConflictWatch } from './conflict-watch.ts';
import { DataPlane } from './data-plane.ts';
import { createDirectorLease } from './director-lease.ts';
import { createEpochFence } from './epoch-fence.ts';
import { createEventLog, type EventLog, recordOf } from './event-log.ts';
import { createEventStream, type EventStream } from './event-stream.ts';
import { createFenceGate } from './fence-gate.ts';
import { deriveEligibility, type Eligibility, isSameEligibility } from './fitness.ts';
import { createGauges, type Gauges } from './gauges.ts';
import { createGroupLeases } from './group-leases.ts';
import { GateDesk } from './gate-desk.ts';
import { createHealthDesk } from './health-desk.ts';
import { createGatewayDesk, deriveGatewaySources, type GatewayDesk } from './gateway-desk.ts';
import { createGatewayWatch, type GatewayWatch } from './gateway-watch.ts';
import { createHoldLoop, type HoldLoop } from './hold-loop.ts';
import { createHousekeeping, type Housekeeping } from './housekeeping.ts';
import { GroupPlaces } from './interfaces.ts';
import { createLifetimeGate } from './lifetime-gate.ts';
import type { LocalGate } from './local-gate.ts';
import { createNotifyLoop, type NotifyLoop } from './notify-loop.ts';
import { createOperationWriter } from './operations.ts';
import { createPeers } from './peers.ts';
import { freeze, FREEZE, release } from './shut-down.ts';
import { ServedDesk } from './served-desk.ts';
import { LateVips } from './late-vips.ts';
import { createSpecBarrier, type SpecBarrier } from './spec-barrier.ts';
import type { SpecDesk } from './spec-desk.ts';
import { SpecIntake } from './spec-intake.ts';
import { createStandInBook } from './stand-in-book.ts';
import { createAgentView } from './status-desk.ts';
import { verifyTakeover } from './takeover-proof.ts';
import { createTrackLoop } from './track-loop.ts';
import { createVrrpPart } from './vrrp-part.ts';

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
  readonly #gateway: GatewayDesk;
  readonly #plane: DataPlane;
  readonly #stream: EventStream = createEventStream();
  readonly #checks: CheckDesk;
  readonly #conflicts: ConflictWatch;
  readonly #notify: NotifyLoop;
  readonly #housekeeping: Housekeeping;
  readonly #barrier: SpecBarrier = createSpecBarrier();
  readonly #late: LateVips;
  readonly #intake: SpecIntake;
  readonly #places: GroupPlaces;
  readonly #gauges: Gauges;
  readonly #epochs: ReturnType<typeof createEpochFence>;
  /** Why each group was taken or given up last. */
  readonly #reasons = new Map<GroupId, HoldReason>();
  #judged: Eligibility | null = null;

  constructor(options: AgentOptions, ports: AgentPorts) {
    this.#options = options;
    this.#ports = ports;
    const { me, keys } = options;
    const { store, clock, log, random, metrics, neighbours } = ports;
    this.#gauges = createGauges(ports);
    this.#epochs = createEpochFence({ log });
    this.#events = createEventLog({ keys }, { store, clock, random, log });
    this.#gateway = this.#createGatewayDesk();
    this.#late = this.#createLateVips();
    this.#plane = new DataPlane(options, ports, {
      parts: () => this.#parts,
      passed: () => this.#judge(),
      record: (event) => this.#events.record(event),
    });
    this.#intake = new SpecIntake(options, ports, {
      parts: () => this.#parts,
      barrier: this.#barrier,
      checks: () => this.#checks,
      judge: () => this.#judge(),
      placesChanged: () => this.#onLinks(),
      specChanged: () => this.#plane.specChanged(),
    });
    this.#parts = this.#createParts();
    this.#places = new GroupPlaces(options.devices, () => this.#parts.keeper.links());
    this.#notify = createNotifyLoop({ me }, ports);
    this.#checks = new CheckDesk({ me, keys, devices: options.devices }, ports, this.#parts);
    this.#conflicts = createConflictWatch({
      neighbours,
      clock,
      log,
      metrics,
      held: () => this.#vipsOf((id) => this.#parts.gates.isSpeaking(id)),
      awaited: () => this.#vipsOf((id) => isFoundFree(this.#parts.hold.state(), id)),
      contested: (group) => {
        const { hold } = this.#parts;
        hold.offer({ kind: 'contested', group });
        return hold.state().holdings.get(group)?.kind !== 'closing';
      },
      defend: (vip) => this.#parts.hold.defend(vip),
      isUrgent: () => isUpToVoices(this.#parts.hold.state()),
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
        lookAround: () => this.#intake.lookAround(),
        lookAtChecks: () => this.#checks.look(),
        reasonOf: (group) => this.#reasons.get(group) ?? null,
      },
      this.#parts,
    );
    this.view = createAgentView(options, ports, this.#parts, (end) => this.#stream.watch(end));
    metrics.gate(this.#parts.gate.kind);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, prober } = this.#ports;
    const { gates, hold } = this.#parts;
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
    this.#plane.end();
    await this.#notify.end(isFreeze ? 'freeze' : 'stop');
    for (const end of ends) end.abort(isFreeze ? FREEZE : undefined);
    const ended = await Promise.allSettled(running);
    // After the last sweep, which would make it anew; what may still be bound needs its rules.
    if (isReleased && !isFreeze) await gates.remove();
    if (isFreeze) this.#plane.keep('a new process of this director goes on with it');
    else if (isReleased && wasAsked) await this.#plane.release();
    else this.#plane.keep('the groups were not given up in order');
    await prober.close();
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw new Error('a loop failed', { cause: failed.reason });
    // An agent without one of its loops would look alive and not be: systemd starts a whole one.
    if (!wasAsked) throw new Error('a loop ended by itself');
  }

  #loops(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    const { keeper, leases, directorLease, tracks, gateways, vrrp } = this.#parts;
    return [
      (end) => keeper.run(end),
      (end) => this.#watchStore(end),
      (end) => this.#hear(end),
      (end) => leases.run(end),
      (end) => directorLease.run(end),
      (end) => this.#events.run(end),
      ...this.#plane.loops(),
      (end) => this.#checks.run(end),
      (end) => tracks.run(end),
      (end) => gateways.run(end),
      (end) => this.#conflicts.run(end),
      (end) => this.#housekeeping.run(end),
      ...(vrrp === null ? [] : [(end: AbortSignal) => vrrp.run(end)]),
    ];
  }

  #createParts(): AgentParts {
    const { me, keys, devices } = this.#options;
    const { store, clock, log, metrics, fence, network, tracker, announcer } = this.#ports;
    const gate =
      fence === null
        ? createLifetimeGate({ kernel: network, clock })
        : createFenceGate({ ...this.#ports, fence, kernel: network, lost: this.#late.lost });
    const specs = this.#intake.createDesk(gate.kind);
    const ttlS = (): number => specs.spec()?.timing.leaseTtlS ?? DEFAULT_LEASE_TTL_S;
    const records = new ClusterView(keys, log);
    const lease = {
      ttlS: () => specs.spec()?.timing.leaseTtlS ?? null,
      revisionOf: (key: string) => records.revisionOf(key),
      outlives: (key: string) => keys.parse(key)?.kind === 'vote',
    };
    return {
      gate,
      specs,
      records,
      desk: createHealthDesk(),
      checks: {
        seen: (check) => this.#checks.seen(check),
        problem: () => this.#checks.problem(),
        health: (realServer) => this.#checks.health(realServer),
      },
      leases: createGroupLeases({ director: me, keys, ttlS }, { store, clock, log }),
      directorLease: createDirectorLease(lease, { store, clock, log }),
      hold: this.#createHold(gate),
      keeper: this.#createKeeper(specs),
      reconcile: this.#plane.reconcile,
      plane: this.#plane,
      tracks: createTrackLoop(
        { devices },
        { tracker, clock, log, metrics, changed: () => this.#judge() },
      ),
      gates: new GateDesk({
        gate,
        devices,
        clock,
        log,
        election: () => this.#parts.hold.state(),
        keeper: () => this.#parts.keeper,
        served: () => this.#parts.served.places(),
        groups: () => specs.spec()?.groups ?? [],
        addressLost: (group, address) => {
          this.#late.lost(group, address);
          this.#parts.hold.offer({ kind: 'address-lost', group });
        },
      }),
      served: this.#createServed(gate),
      gateways: this.#createGatewayWatch(),
      gateway: this.#gateway,
      standIns: createStandInBook({ clock }),
      vrrp: createVrrpPart(this.#options, this.#ports, this.#ports.vrrp ?? null, {
        parts: () => this.#parts,
        judge: () => this.#judge(),
        announce: (id) => {
          const group = this.#allowedGroup(id);
          if (group !== undefined) announcer.announce(this.#places.announcements(group));
        },
        record: (event) => this.#events.record(event),
      }),
    };
  }

  #createKeeper(specs: SpecDesk): AddressKeeper {
    const { network, clock, log, metrics } = this.#ports;
    const { devices } = this.#options;
    return createAddressKeeper({
      kernel: network,
      clock,
      log,
      metrics,
      devices,
      watched: () => this.#parts.tracks.devices(),
      groups: () => specs.spec()?.groups ?? [],
      mayBeBound: (group) => this.#parts.gates.mayBeBound(group),
      exclusively: (work) => this.#parts.hold.exclusively(work),
      checkGate: () => this.#parts.gates.check(),
      linksChanged: () => this.#onLinks(),
      addressGone: (linkIndex, address) => this.#parts.gates.addressGone(linkIndex, address),
      addressSeen: (linkIndex, address) => this.#parts.gate.seen(linkIndex, address),
      dumped: (addresses) => this.#parts.served.see(addresses),
    });
  }

  #createServed(gate: LocalGate): ServedDesk {
    return new ServedDesk({
      ...this.#options,
      gateKind: gate.kind,
      links: () => this.#parts.keeper.links(),
      spec: () => this.#parts.specs.spec(),
      reports: () => this.#parts.records.reports,
      placesChanged: () => this.#parts.gates.place(),
      gateDue: () => this.#parts.keeper.look(),
      addressesChanged: () => this.#parts.reconcile.wake(),
    });
  }

  #createHold(gate: LocalGate): HoldLoop {
    const { store, clock, log, metrics, announcer, peerLink, neighbours } = this.#ports;
    const { me, keys, devices } = this.#options;
    const peers = createPeers(me);
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
        return group === undefined ? null : this.#places.gateGroup(group);
      },
      isAwaited: (id) => this.#plane.isAwaited(id),
      isWithheld: (id) => this.#isWithheld(id),
      announcements: (id) => {
        const group = this.#allowedGroup(id);
        return group === undefined ? [] : this.#places.announcements(group);
      },
      peers: () => peers(this.#parts.specs.spec(), this.#parts.hold.state().view),
      clearGate: (keep) => this.#parts.gates.clear(keep),
      verify: (id, timeoutMs) => {
        const gateways = this.#parts.specs.spec()?.gateways ?? [];
        const vips = (this.#allowedGroup(id)?.addresses ?? []).flatMap((one) => {
          const device = devices.get(one.interface);
          return device === undefined ? [] : [{ ...one, device }];
        });
        return verifyTakeover(neighbours, vips, gateways, timeoutMs);
      },
      askGateway: (timeoutMs) => this.#gateway.ask(timeoutMs),
      probe: (groups, how) => this.#gateway.probe(groups, how),
      showLease: (group, epoch) => {
        metrics.holder(group, epoch !== null, epoch);
        this.#parts.leases.show(group, epoch);
      },
      reportOperation: createOperationWriter({ keys }, { store, clock, log }),
      noted: (notice) => this.#note(notice),
      tell: (notice) => this.#tell(notice),
      changed: () => {
        this.#parts.vrrp?.look();
        this.#plane.look();
        // Whoever begins to speak a moment after this one must not be missed.
        this.#conflicts.lookSoon();
        this.#housekeeping.wake();
      },
    });
  }

  #createGatewayDesk(): GatewayDesk {
    const { gateway, neighbours, clock, log, metrics } = this.#ports;
    const { me, devices } = this.#options;
    const spec = () => this.#parts.specs.spec();
    return createGatewayDesk({
      gateway,
      neighbours,
      clock,
      log,
      metrics,
      isolation: () => spec()?.isolation ?? null,
      sources: () =>
        deriveGatewaySources(spec() ?? { directors: [], groups: [] }, me, devices.values()),
      places: (id, length) => {
        const group = this.#parts.specs.group(id);
        if (group === undefined) return [];
        const addresses = this.#late.begin(group, this.#barrier.allowed(group));
        // A VIP that has moved here may be allowed when it opens; without etcd it stays where it is, and is spoken for.
        return this.#places.announcements(length === 'short' ? group : { ...group, addresses });
      },
    });
  }

  #createLateVips(): LateVips {
    return new LateVips(this.#ports, {
      isAsked: () => {
        const isolation = this.#parts.specs.spec()?.isolation.policy ?? 'release';
        return isSegmentUsed({ config: { isolation }, state: this.#parts.hold.state() });
      },
      isSpeaking: (id) => this.#parts.gates.isSpeaking(id),
      isProbed: (id) => this.#parts.hold.state().probings.has(id),
      places: (group) => this.#places.announcements(group),
      contested: (group) => this.#parts.hold.offer({ kind: 'contested', group }),
    });
  }

  #createGatewayWatch(): GatewayWatch {
    const { clock, log } = this.#ports;
    return createGatewayWatch({
      targets: () => this.#parts.specs.spec()?.isolation.targets ?? [],
      ask: (timeoutMs, end) => this.#gateway.ask(timeoutMs, end),
      clock,
      log,
      changed: () => this.#judge(),
    });
  }

  #note(notice: ElectionNotice): void {
    if (notice.group !== null && notice.reason !== null)
      this.#reasons.set(notice.group, notice.reason);
    this.#gauges.noticed(notice, this.#parts.hold.state());
    // Rules end to the millisecond; a lifetime up to a second late, for which a stand-in's rivals do not wait.
    const { gate, keeper } = this.#parts;
    if (notice.kind === 'holder.lapsed' && gate.kind === 'address-lifetime') keeper.look();
  }

  #tell(notice: ElectionNotice): void {
    const { severity, kind, ...fields } = notice;
    const { log, clock } = this.#ports;
    log[severity](fields, kind);
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
    if (this.#ports.statuses !== undefined) await this.#checks.recall();
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
    const { hold, records, reconcile } = this.#parts;
    if (areas.has('spec') || isSynced) this.#intake.take();
    if (update.election.length > 0 || isSynced)
      hold.offer({ kind: 'view', changes: update.election, isSynced });
    // The next round opens what the barrier lets through now.
    const wasReady = this.#barrier.isReady();
    this.#intake.lookAround();
    if (this.#barrier.isReady() !== wasReady) this.#judge();
    if (isSynced) this.#checks.adopt();
    // Counted first: a director that takes over a check goes on from what is known of it.
    this.#checks.count(areas.has('spec') || isSynced ? 'all' : update.voted);
    // Reports are looked at by housekeeping: many may come and go together.
    if (areas.has('spec') || areas.has('overrides') || isSynced) this.#checks.assign();
    if (areas.has('spec') || areas.has('reports') || isSynced) this.#parts.served.look();
    if (areas.has('spec') || isSynced) this.#plane.specChanged();
    else if (areas.has('overrides')) reconcile.wake();
    this.#stream.push(update.newEvents);
    this.#ports.metrics.storeRevision(records.revision);
  }

  /** The links or the spec changed: where VIPs may be, and what could be held. */
  #onLinks(): void {
    const { keeper, gates, served, tracks, specs, vrrp } = this.#parts;
    served.look();
    gates.place();
    tracks.setLinks(keeper.links());
    vrrp?.place(specs.spec());
    this.#judge();
  }

  /** Tells the election what this director could hold, where that changed. */
  #judge(): void {
    const { specs, keeper, gate, tracks, reconcile, hold, gateways, vrrp } = this.#parts;
    const judged = deriveEligibility({
      me: this.#options.me,
      spec: specs.spec(),
      devices: this.#options.devices,
      links: keeper.links(),
      hostProblems: this.#options.hostProblems,
      isSpecSettled: this.#barrier.isReady(),
      gateKind: gate.kind,
      tracks,
      reconcile: reconcile.state(),
      marks: this.#plane.marks?.state() ?? null,
      gateway: gateways,
      holds: (group) => hold.state().holdings.has(group),
      vrrp,
    });
    if (this.#judged !== null && isSameEligibility(this.#judged, judged)) return;
    this.#judged = judged;
    hold.offer(judged);
  }

  /** The group with those of its addresses that may speak by now. */
  #allowedGroup(id: GroupId): VipGroup | undefined {
    const group = this.#parts.specs.group(id);
    if (group === undefined) return undefined;
    const addresses = this.#late.pass(group, this.#barrier.allowed(group));
    return addresses === group.addresses ? group : { ...group, addresses };
  }

  /** The barrier lets none of its addresses through yet: what opened now would answer for nothing. */
  #isWithheld(id: GroupId): boolean {
    const wanted = this.#parts.specs.group(id)?.addresses.length ?? 0;
    return wanted > 0 && this.#allowedGroup(id)?.addresses.length === 0;
  }

  #vipsOf(
    test: (id: GroupId) => boolean,
  ): ReturnType<Parameters<typeof createConflictWatch>[0]['held']> {
    const { hold } = this.#parts;
    return [...hold.state().holdings.keys()].flatMap((id) => {
      const group = test(id) ? this.#allowedGroup(id) : undefined;
      if (group === undefined) return [];
      return this.#places.announcements(group).map((vip) => ({ ...vip, group: id }));
    });
  }

  async #hear(signal: AbortSignal): Promise<void> {
    const { hold, standIns } = this.#parts;
    for await (const { from, message } of this.#ports.peerLink.receive(signal)) {
      standIns.heard(from, message, hold.state().round);
      hold.offer({ kind: 'peer', from, message });
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
}
