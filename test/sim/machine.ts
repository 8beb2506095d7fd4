/** A director of the simulation: its clock, kernel and fence outlive the lives of its agent. */
import { type Agent, createAgent } from '../../src/agent/agent.ts';
import { ok, type Result } from '../../src/lib/result.ts';
import type { IpAddress } from '../../src/model/address.ts';
import type { ClusterSpec } from '../../src/model/cluster.ts';
import { type DirectorId, directorId } from '../../src/model/ids.ts';
import type { BoundAddress } from '../../src/model/kernel.ts';
import type { PeerMessage } from '../../src/model/peer.ts';
import type { ScopeRecord } from '../../src/model/records.ts';
import type { GroupStatus } from '../../src/model/status.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Fence } from '../../src/ports/fence.ts';
import type { Ledger } from '../../src/ports/ledger.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { StatusLedger } from '../../src/ports/status-ledger.ts';
import { FakeAnnouncer } from '../fakes/fake-announcer.ts';
import { FakeFence } from '../fakes/fake-fence.ts';
import { FakeIpvsKernel, FakeNetworkKernel } from '../fakes/fake-kernel.ts';
import { FakeGatewayPing } from '../fakes/fake-gateway.ts';
import { FakeNeighbours } from '../fakes/fake-neighbours.ts';
import { FakeNotifier } from '../fakes/fake-notifier.ts';
import { FakeProber, type FakeTarget } from '../fakes/fake-prober.ts';
import type { FakeStore } from '../fakes/fake-store.ts';
import type { SeededRandom } from '../fakes/seeded-random.ts';
import { silentMetrics } from '../fakes/silent-metrics.ts';
import { FakeTracker } from '../fakes/fake-tracker.ts';
import type { GroupEpoch, Speaker } from './checkers.ts';
import { LongArming } from './long-arming.ts';
import {
  type Edge,
  Life,
  LifeFence,
  LifeKernel,
  LifePeerLink,
  lifeStore,
  type Moment,
} from './life.ts';
import { PROBE_POLL_MS } from './segment.ts';
import { ALL_VIPS, CLUSTER, keys, mayCarry, parseSimSpec } from './spec.ts';
import type { World } from './world.ts';

/** What happens to the process at the next call of that kind. */
export type Strike = {
  readonly edge: Edge | 'any';
  readonly moment: Moment;
  /** Null: killed there. */
  readonly pauseMs: number | null;
};

export type MachineOptions = {
  readonly name: string;
  /** The name it goes by: a cloned machine has another's. */
  readonly director: string;
  readonly address: IpAddress;
  readonly hasFence: boolean;
};

const DEVICE = 'eth0';
/** From the order to leave all to a new process to the end of what it was left, by far. */
const FROZEN_MS = 60_000;
/** Whoever speaks on the wire and is not this machine. */
const STRANGER = '02:00:00:00:00:01';
/** A gateway's answer takes so long. */
const GATEWAY_MS = 0.4;
/** A clock that is a tenth slow takes so much longer. */
const SLOWEST = 1 / 0.9;
/** Elements of a set end so late at most; addresses by whole seconds, and when the kernel looks at them. */
const FINE_MS = 10;
const COARSE_MS = 2500;
/** IPv4 addresses go with the kernel's look at lifetimes, up to so much late. */
const EXPIRY_LAG_MS = 1000;

export class Machine implements Speaker {
  readonly id: DirectorId;
  readonly name: string;
  readonly director: string;
  readonly address: IpAddress;
  readonly clock: Clock;
  readonly kernel: FakeNetworkKernel;
  readonly fence: FakeFence | null;
  readonly ipvs = new FakeIpvsKernel();
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #ledger: Ledger = createMemoryLedger();
  /** What is known of checks, kept over lives; null: nothing is. */
  statuses: StatusLedger | null = null;
  /** What its probes find. */
  probed: FakeTarget | null = null;
  store: FakeStore | null = null;
  agent: Agent | null = null;
  link: number;
  /** Files of tracks that say 1. */
  readonly failing = new Set<string>();
  #life: Life | null = null;
  #stopping: AbortController | null = null;
  #boot = 1;
  #lives = 0;
  #strike: Strike | null = null;
  #isExposed = false;
  #flushes = 0;
  #neighbours: FakeNeighbours | null = null;
  #stoppedAt = 0;
  #startedAt = 0;
  #joinedAt: number | null = null;
  #goesOnUntil = 0;
  readonly #longArming: LongArming;
  /** Since when the document in force has named each director; null: there has been none in this life. */
  #namedSince: ReadonlyMap<DirectorId, number> | null = null;
  /** By that document, and the last one of a former life before; 0: there has been none. */
  #heartbeatMs = 0;
  /** Counts ends, stops and what follows them. */
  #turns = 0;
  readonly #storeCuts = new Set<string>();
  /** What somebody took away while it spoke, and until when its process may bind it again: by the machine's clock. */
  readonly #takenUntil = new Map<IpAddress, number>();
  /** What its former process held by the segment, for as long as the kernel speaks by that. */
  readonly #left = new Set<IpAddress>();

  constructor(world: World, options: MachineOptions) {
    this.#world = world;
    this.name = options.name;
    this.director = options.director;
    this.id = directorId(options.director);
    this.address = options.address;
    this.#random = world.random.fork();
    this.#longArming = new LongArming({
      machine: this.name,
      now: () => world.clock.now(),
      slowest: SLOWEST,
    });
    const spread = world.options.rateSpread ?? 0.1;
    this.clock = world.clock.derive({
      rate: this.#random.between(1 - spread, 1 + spread),
      offset: this.#random.between(0, 1e6),
    });
    const { mutation } = world.options;
    const lag = mutation?.kernelKeeps === true ? 1e9 : (world.options.expiryLagMs ?? EXPIRY_LAG_MS);
    this.kernel = new FakeNetworkKernel(this.clock, {
      expiryLagMs: () => this.#random.between(0, lag),
    });
    this.link = this.kernel.addLink(DEVICE);
    const lateMs = lag === 0 ? 0 : 4;
    this.fence = options.hasFence
      ? new FakeFence(this.clock, {
          devices: [{ index: this.link, name: DEVICE }],
          latenessMs: () => this.#random.between(0, lateMs),
        })
      : null;
  }

  get isRunning(): boolean {
    return this.#life !== null && !this.#life.isPaused;
  }
  get isAlive(): boolean {
    return this.#life !== null;
  }
  get isExposed(): boolean {
    return this.#isExposed;
  }
  get startedAt(): number {
    return this.#startedAt;
  }
  get knownRevision(): number {
    return this.store?.health().revision ?? 0;
  }
  get goesOnUntil(): number {
    return this.#goesOnUntil;
  }
  get stoppedAt(): number {
    return this.isRunning ? Math.max(this.#stoppedAt, this.#startedAt) : this.#world.clock.now();
  }

  /** Without the store a new process knows no director to listen to, and by a former document not all of them. */
  hearsSince(other: DirectorId): number {
    const bornAt = this.#joinedAt ?? this.#startedAt;
    if (this.#namedSince === null) return bornAt;
    return Math.max(bornAt, this.#namedSince.get(other) ?? this.#world.clock.now());
  }

  get heartbeatMs(): number {
    return this.#heartbeatMs;
  }

  /** Its process has a session, by now or for long. */
  joined(): void {
    this.#joinedAt ??= this.#world.clock.now();
  }

  isBySegment(address: IpAddress): boolean {
    return this.isLeft(address) || this.#isAny(address, (group) => this.#isByGateway(group));
  }

  withoutStoreMs(): number {
    return this.agent?.view.status().store.lastAnswerMsAgo ?? Number.POSITIVE_INFINITY;
  }

  /** What an owner tells of who stands in for it is about that one; it may stand in for a former life of its own. */
  #isByGateway({ basis, holder, standIn, state }: GroupStatus): boolean {
    // What has just yielded is no group of another director's yet.
    const isOwn = holder === this.director || state.endsWith('-here');
    if (basis !== 'segment' || !isOwn) return false;
    return standIn?.recordHolder !== this.director || holder === this.director;
  }

  groupOf(address: IpAddress): string | null {
    const groups = this.agent?.view.status().groups ?? [];
    return groups.find((one) => hasAddress(one, address))?.name ?? null;
  }

  /** By the document that its own process goes by: a VIP may have moved for it, and not for another. */
  holdingOf(address: IpAddress): GroupEpoch | null {
    // The record of a group that leaves is its successor's.
    const holding = (this.agent?.view.status().groups ?? []).find(
      (group) =>
        hasAddress(group, address) &&
        (group.state === 'held-here' || group.state === 'opening-here'),
    );
    if (holding === undefined || holding.epoch === null) return null;
    return { group: holding.name, epoch: holding.epoch };
  }

  isLeft(address: IpAddress): boolean {
    if (this.#left.has(address)) {
      const isOver =
        !this.answers(address) || this.#isAny(address, ({ state }) => state === 'held-here');
      if (!isOver) return true;
      this.#left.delete(address);
    }
    if (this.#isStoppedInClosing(address)) return true;
    // A process that ends leaves its kernel what a freeze could not give to a new one.
    if (this.agent === null || this.#neighbours?.isHeard !== false) return false;
    return this.#isAny(address, (group) => this.#isByGateway(group));
  }

  /** It was stopped between its decision to fall silent and its kernel's: by what it held it tells no more. */
  #isStoppedInClosing(address: IpAddress): boolean {
    if (this.agent === null || this.isRunning) return false;
    if (this.#world.options.isolation !== 'gateway') return false;
    return this.answers(address) && !this.#isAny(address, ({ state }) => state.endsWith('-here'));
  }

  /** One of the groups that the address may belong to, as its process tells of them. */
  #isAny(address: IpAddress, is: (group: GroupStatus) => boolean): boolean {
    const groups = this.agent?.view.status().groups ?? [];
    return groups.some((group) => mayCarry(group.name, address) && is(group));
  }

  answers(address: IpAddress): boolean {
    return this.kernel.isBound(address) && (this.fence?.answers(address, this.link) ?? true);
  }

  isOpen(address: IpAddress): boolean {
    if (this.answers(address)) return true;
    if (this.clock.now() >= (this.#takenUntil.get(address) ?? 0) || !this.letsOut(address))
      return false;
    return this.fence !== null || this.#isAny(address, ({ state }) => state === 'held-here');
  }

  /** Takes and sends IP as the address. */
  speaks(address: IpAddress): boolean {
    return this.kernel.isBound(address) && (this.fence?.speaks(address, this.link) ?? true);
  }

  letsOut(address: IpAddress): boolean {
    return this.fence?.answers(address, this.link) ?? true;
  }

  hear(address: IpAddress): void {
    const neighbours = this.#neighbours;
    const place = { device: DEVICE, address };
    this.hearProbe(address);
    // The ear's filter decides when the frame comes, not when the ear is read.
    if (neighbours?.isListening(place) !== true) return;
    const { segment } = this.#world;
    const ms = segment.wireMs() + segment.earMs(neighbours.withinMs);
    this.#life?.schedule(ms, () => neighbours.hearVoice({ ...place, mac: STRANGER }));
  }

  hearProbe(address: IpAddress): void {
    const neighbours = this.#neighbours;
    if (neighbours?.isProbing !== true) return;
    const { segment } = this.#world;
    const ms = segment.wireMs() + segment.earMs(PROBE_POLL_MS);
    this.#life?.schedule(ms, () => neighbours.hearProbe({ device: DEVICE, address }));
  }

  start(): void {
    if (this.#life !== null) return;
    const life = new Life(this.clock, (edge, moment) => this.#onEdge(life, edge, moment));
    const stopping = new AbortController();
    const random = this.#random.fork();
    this.#lives++;
    const store = this.#world.cluster.connect(`${this.name}.${this.#lives}`, life);
    const agent = this.#createAgent(life, store, random);
    this.#namedSince = null;
    this.store = store;
    this.agent = agent;
    this.#life = life;
    this.#turns++;
    this.#startedAt = this.#world.clock.now();
    this.#joinedAt = null;
    this.#stopping = stopping;
    this.#world.onStart(this, store);
    if (this.#storeCuts.size > 0) store.cut();
    this.#world.note(`${this.name} starts`);
    void agent.run(stopping.signal).then(
      () => this.#ended(life),
      (error: unknown) => this.#failed(life, error),
    );
  }

  #createAgent(life: Life, store: FakeStore, random: SeededRandom): Agent {
    const world = this.#world;
    const { options } = world;
    const around = <T>(act: () => T): T => {
      // What is silent by now, and is opened by this, was not left.
      for (const vip of this.#left) this.isLeft(vip);
      return world.checkers.around(this, act);
    };
    const { mutation } = options;
    const link = world.peers.link(this.id, this.address, this.clock);
    const others = world.directors.filter((one) => one.id !== this.id).map(({ id }) => id);
    const about = {
      me: this.id,
      clock: life,
      others,
      holdersOf: () => world.ownersInStore(),
      ownerOf: (group: string) => world.ownerOf(group),
    };
    const wrap = mutation?.life?.(about) ?? {};
    const wrapStore = wrap.store ?? mutation?.store ?? ((plain: FakeStore) => plain);
    const mutatedLink = wrap.link?.(link) ?? link;
    const peerLink = new LifePeerLink(life, mutatedLink, (message) => {
      this.#told(message);
      return world.passes(message);
    });
    const plain = { fence: this.fence, network: this.kernel };
    const told = mutation?.kernel?.(plain, this.#world.clock) ?? plain;
    const fence = this.#createFence(life, told.fence, around);
    const gatewayMs = (): number | null =>
      world.segment.hasGateway(this.name) ? GATEWAY_MS : null;
    const neighbours = new FakeNeighbours(
      {
        gateway: ({ vip }) => (this.answers(vip) ? gatewayMs() : null),
        defender: ({ address }) => world.segment.probe(this, address),
      },
      { clock: life },
    );
    this.#neighbours = neighbours;
    const gateway = new FakeGatewayPing(gatewayMs, { clock: life });
    const onFrame = ({ address }: { address: IpAddress }): void => world.onFrame(this, address);
    const announcer = new FakeAnnouncer({ clock: life, onFrame }, 0);
    return createAgent(
      {
        me: this.id,
        cluster: CLUSTER,
        keys,
        version: 'sim',
        identity: {
          boot: `${this.name} boot ${this.#boot}`,
          namespace: this.name,
          machine: this.name,
          nonce: random.hex(8),
        },
        startedAt: this.clock.wallTime(),
        devices: new Map([['public', DEVICE]]),
        hostProblems: [],
        parseSpec: (document) => this.#parseSpec(document),
      },
      {
        store: lifeStore(life, wrapStore(store, { me: this.id, clock: life })),
        network: new LifeKernel(life, told.network, around),
        fence,
        ipvs: this.ipvs,
        announcer: wrap.announcer?.(announcer) ?? announcer,
        peerLink,
        neighbours: wrap.neighbours?.(neighbours) ?? neighbours,
        gateway: wrap.gateway?.(gateway) ?? gateway,
        tracker: new FakeTracker(
          { file: (path) => (this.failing.has(path) ? '1' : '0') },
          { clock: life, random },
        ),
        prober: new FakeProber(
          { target: (check) => this.probed ?? this.#world.targetOf(this.name, check.address) },
          { clock: life, random },
        ),
        notifier: new FakeNotifier({ clock: life }),
        ledger: this.#ledger,
        ...(this.statuses === null ? {} : { statuses: this.statuses }),
        clock: life,
        random,
        log: options.logOf?.(this.name) ?? silentLog,
        metrics: silentMetrics,
      },
    );
  }

  /** What can be used is in force with this, and the former document with whatever cannot. */
  #parseSpec(document: unknown): Result<ClusterSpec, string> {
    const world = this.#world;
    const rejectsMove = world.options.rejectsMove === this.name;
    const parsed = parseSimSpec(document, { rejectsMove });
    if (!parsed.ok) return parsed;
    const before = this.#namedSince;
    const now = world.clock.now();
    this.#namedSince = new Map(
      parsed.value.directors.map(({ id }) => [id, before?.get(id) ?? now]),
    );
    this.#heartbeatMs = parsed.value.timing.heartbeatMs;
    return parsed;
  }

  #told(message: PeerMessage): void {
    if (message.kind === 'heartbeat') this.#world.checkers.told(this, message.armed);
  }

  #createFence(life: Life, told: Fence | null, around: <T>(act: () => T) => T): Fence | null {
    if (told === null) return null;
    const mutated = this.#world.options.mutation?.fence?.(told, this.#world.clock) ?? told;
    const fence = new LifeFence(life, mutated, around);
    const install = fence.install.bind(fence);
    const commit = fence.commit.bind(fence);
    let isInstalled = false;
    fence.install = async (devices) => {
      const result = await install(devices);
      isInstalled = result.ok;
      return result;
    };
    fence.commit = async (change) => {
      const flushes = this.#flushes;
      const result = await commit(change);
      // Rules made anew know nothing of what is bound: the first batch tells them, and no batch of before.
      if (result.ok && isInstalled && flushes === this.#flushes) this.#isExposed = false;
      if (result.ok && change.alive !== null) this.#longArming.armed(change.alive.timeoutMs);
      return result;
    };
    return fence;
  }

  /** Nothing passes between this machine and etcd, whatever process it runs, until that reason is gone. */
  cutFromStore(reason: string): void {
    this.#storeCuts.add(reason);
    this.store?.cut();
  }

  /** Null: all reasons. */
  healToStore(reason: string | null): void {
    if (reason === null) this.#storeCuts.clear();
    else if (!this.#storeCuts.delete(reason)) return;
    if (this.#storeCuts.size === 0) this.store?.heal();
  }

  /** Null: somebody has removed it. */
  scopeWritten(scope: ScopeRecord | null): void {
    this.#longArming.scopeWritten(scope);
  }

  /** SIGTERM; `freeze`: leaves kernel and session to a new process. */
  stop(reason?: 'freeze'): void {
    this.#world.note(`${this.name} is told to ${reason ?? 'stop'}`);
    if (reason === 'freeze') {
      this.#goesOnUntil = this.#world.clock.now() + FROZEN_MS;
      if (this.isAlive) this.#longArming.ordered();
    }
    this.#stopping?.abort(reason);
  }

  /** SIGKILL: the kernel keeps what it has. */
  crash(): void {
    if (this.#life === null) return;
    this.#world.note(`${this.name} is killed`);
    this.#life.kill();
    this.#forget();
    this.#expectSilence('its process was killed');
  }

  /** The machine starts anew: its kernel is empty. */
  reboot(): void {
    this.crash();
    this.#boot++;
    this.kernel.reboot();
    this.fence?.flush();
    this.#isExposed = false;
    this.ipvs.reboot();
  }

  pause(): void {
    this.#world.note(`${this.name} is frozen`);
    this.#life?.pause();
    this.#expectSilence('its process was stopped');
  }

  resume(): void {
    if (this.#life?.isPaused !== true) return;
    this.#world.note(`${this.name} goes on`);
    this.#stoppedAt = this.#world.clock.now();
    this.#turns++;
    this.#life.resume();
  }

  /** A kernel without its process falls silent when the last arming is over; one of a freeze is a long one. */
  #expectSilence(since: string): void {
    const { clock, longestHoldMs, checkers } = this.#world;
    const turn = ++this.#turns;
    const lateMs = this.fence === null ? COARSE_MS : FINE_MS;
    const armedMs = Math.max(longestHoldMs * SLOWEST, this.#longArming.leftMs()) + lateMs;
    clock.schedule(armedMs, () => {
      if (this.#turns !== turn || this.#isExposed) return;
      for (const vip of ALL_VIPS)
        if (this.answers(vip))
          checkers.tell('I3', `${this.name} answers for ${vip} ${armedMs} ms after ${since}`);
    });
  }

  /** The next call of that kind is struck. */
  strikeAt(strike: Strike | null): void {
    this.#strike = strike;
  }

  /** `ip address delete` by somebody else. */
  removeAddress(bound: BoundAddress): void {
    const { address, validLifetimeS } = bound;
    this.#world.note(`somebody removes ${address} on ${this.name}`);
    if (this.answers(address))
      this.#takenUntil.set(address, this.clock.now() + (validLifetimeS ?? 0) * 1000);
    this.kernel.removeAddress(bound);
  }

  /** `nft flush ruleset` by somebody else. */
  flushRules(): void {
    if (this.fence === null) return;
    this.#world.note(`somebody flushes the ruleset of ${this.name}`);
    this.#isExposed = true;
    this.#flushes++;
    this.#world.checkers.around(this, () => this.fence?.flush());
  }

  /** The interface is removed and made anew under another index. */
  recreateLink(): void {
    this.#world.note(`the interface of ${this.name} is made anew`);
    this.kernel.removeLink(this.link);
    this.fence?.removeDevice(this.link);
    this.link = this.kernel.addLink(DEVICE);
    this.fence?.addDevice({ index: this.link, name: DEVICE });
  }

  setCarrier(isRunning: boolean): void {
    this.kernel.setCarrier(this.link, isRunning);
  }

  #onEdge(life: Life, edge: Edge, moment: Moment): void {
    const strike = this.#strike;
    if (strike === null || this.#life !== life || strike.moment !== moment) return;
    if (strike.edge !== 'any' && strike.edge !== edge) return;
    // The documented hole of a gate without permits: a look at the clock, a stop, a late binding.
    if (this.fence === null && edge === 'bind' && moment === 'before') return;
    this.#strike = null;
    if (strike.pauseMs === null) {
      this.#world.note(`${this.name} is struck ${moment} ${edge}`);
      this.crash();
      return;
    }
    this.#world.note(`${this.name} is stopped ${moment} ${edge}`);
    life.pause();
    this.#expectSilence('its process was stopped');
    this.#world.clock.schedule(strike.pauseMs, () => {
      if (this.#life === life) this.resume();
    });
  }

  #ended(life: Life): void {
    if (this.#life !== life) return;
    this.#world.note(`${this.name} ended`);
    life.kill();
    this.#forget();
    this.#expectSilence('its process ended');
    this.#world.onEnd(this);
  }

  #failed(life: Life, error: unknown): void {
    if (life.isDead) return;
    const cause = error instanceof Error ? String(error.cause) : '';
    this.#world.checkers.tell('failed', `${this.name}: ${String(error)} ${cause}`);
  }

  #forget(): void {
    // Who does not see that D was raised for a freeze may stand in before the kernel falls silent.
    const isFrozen = this.#world.clock.now() < this.#goesOnUntil;
    if (this.#world.options.isolation === 'gateway')
      for (const vip of ALL_VIPS)
        if (this.answers(vip) && (isFrozen || this.isBySegment(vip))) this.#left.add(vip);
    this.#longArming.ended();
    this.store?.close();
    this.#life = null;
    this.#stopping = null;
    this.agent = null;
    this.store = null;
  }
}

function createMemoryLedger(): Ledger {
  let services: ReadonlySet<string> = new Set();
  return {
    load: async () => ok(services),
    save: async (next) => {
      services = new Set(next);
      return ok(undefined);
    },
  };
}

const hasAddress = ({ addresses }: GroupStatus, address: IpAddress): boolean =>
  addresses.some((one) => one.startsWith(`${address}/`));
