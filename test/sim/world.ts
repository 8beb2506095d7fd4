/**
 * A cluster of real agents on fakes, in virtual time, all of it from one seed. The checker looks at
 * every binding at the moment it is made: a second voice can begin at no other.
 */
import { type Agent, createAgent } from '../../src/agent/agent.ts';
import { err, ok } from '../../src/lib/result.ts';
import type { CheckSpec, ClusterSpec, RealServer, VipGroup } from '../../src/model/cluster.ts';
import { formatIp, type IpAddress, parseIp } from '../../src/model/address.ts';
import {
  type DirectorId,
  directorId,
  groupId,
  realServerId,
  serviceId,
} from '../../src/model/ids.ts';
import type { BindRequest } from '../../src/model/kernel.ts';
import { createKeys } from '../../src/model/keys.ts';
import { formatRecord, type OperationRecord, type SpecRecord } from '../../src/model/records.ts';
import type { Ledger } from '../../src/ports/ledger.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { CallOptions, ClusterStore, Txn } from '../../src/ports/cluster-store.ts';
import { type Log, silentLog } from '../../src/ports/log.ts';
import { FakeAnnouncer } from '../fakes/fake-announcer.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeIpvsKernel, FakeNetworkKernel } from '../fakes/fake-kernel.ts';
import { FakePeerNetwork } from '../fakes/fake-peer-link.ts';
import { FakeProber } from '../fakes/fake-prober.ts';
import { FakeCluster, type FakeStore } from '../fakes/fake-store.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { silentMetrics } from '../fakes/silent-metrics.ts';
import { Life, LifeKernel, LifePeerLink, lifeStore } from './life.ts';

export const CLUSTER = 'sim';
export const keys = createKeys(CLUSTER);

export type WorldOptions = {
  readonly seed: number;
  readonly directors: number;
  readonly groups: number;
  /** Rates of the machines' clocks are drawn from 1 ± this. */
  readonly rateSpread?: number;
  /** How late kernels drop an address, at most. */
  readonly expiryLagMs?: number;
  readonly preempt?: 'never' | 'immediate';
  readonly trace?: boolean;
  /** Where a director's agent logs; default nowhere. */
  readonly logOf?: (director: string) => Log;
  /** This director cannot use the spec that moves a VIP: an older version. */
  readonly rejectsMove?: string;
  /** A rule left out, to see that the checker notices. */
  readonly mutation?: Mutation;
};

/**
 * `unguarded`: rounds compare nothing. `challenge-ignored`: rounds do not remove challenges.
 * `no-lifetime`: kernels keep addresses for ever.
 */
export type Mutation = 'unguarded' | 'challenge-ignored' | 'no-lifetime';

export type Violation = { readonly at: number; readonly text: string };

export class World {
  readonly clock = new FakeClock();
  readonly random: SeededRandom;
  readonly cluster: FakeCluster;
  readonly peers: FakePeerNetwork;
  readonly directors: readonly Machine[];
  readonly violations: Violation[] = [];
  readonly log: string[] = [];
  readonly options: WorldOptions;
  #operations = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
    this.cluster = new FakeCluster({ clock: this.clock, random: this.random.fork() });
    this.peers = new FakePeerNetwork({ clock: this.clock, random: this.random.fork() });
    this.directors = Array.from(
      { length: options.directors },
      (_, i) => new Machine(this, `d${i + 1}`, addressOf(11 + i)),
    );
  }

  note(text: string): void {
    if (this.options.trace) this.log.push(`${(this.clock.now() / 1000).toFixed(3)} ${text}`);
  }

  /** `isMoved`: the VIP of the first group is in the second one. */
  applySpec(holdMs = 3000, isMoved = false): void {
    const document = { holdMs, isMoved };
    const record: SpecRecord = { v: 1, document, by: 'sim', at: this.clock.wallTime() };
    this.cluster.write(keys.spec, formatRecord(record));
  }

  /** What the API writes when an operator asks. */
  switchover(group: string, to: string | null): void {
    const record: OperationRecord = {
      v: 1,
      kind: 'switchover',
      group,
      from: null,
      to,
      by: 'sim',
      reason: 'sim',
      at: this.clock.wallTime(),
      state: 'pending',
      steps: [],
      result: null,
    };
    this.note(`switchover of ${group} to ${to ?? 'any'}`);
    this.cluster.write(keys.operation(`op${this.#operations++}`), formatRecord(record));
  }

  groupNames(): readonly string[] {
    return Array.from({ length: this.options.groups }, (_, i) => `g${i + 1}`);
  }

  /** I1: whoever binds a VIP must be the only one that has it. */
  onBind(by: Machine, requests: readonly BindRequest[]): void {
    for (const { address } of requests)
      for (const other of this.directors) {
        if (other === by || !other.kernel.isBound(address)) continue;
        this.violations.push({
          at: this.clock.now(),
          text: `${by.name} binds ${address} while ${other.name} has it`,
        });
      }
  }

  /** I3: who does not hold a VIP never announces it. Somebody may have removed it a moment ago. */
  onFrame(by: Machine, address: IpAddress): void {
    const group = groupId(`g${Number(address.split('.')[3]) - 100}`);
    if (by.kernel.isBound(address) || by.agent?.view.holdsNow(group) === true) return;
    this.violations.push({
      at: this.clock.now(),
      text: `${by.name} announces ${address} and does not have it`,
    });
  }

  /** Directors whose kernel has a group's VIP now. */
  holdersOf(group: string): readonly string[] {
    const vip = vipOf(group);
    return this.directors.filter((one) => one.kernel.isBound(vip)).map((one) => one.name);
  }

  /** L1: every group has exactly one voice, and all living directors' views agree on it. */
  isSettled(): boolean {
    return this.groupNames().every((group) => {
      const [holder, ...more] = this.holdersOf(group);
      if (holder === undefined || more.length > 0) return false;
      return this.directors
        .filter((one) => one.isRunning)
        .every(
          (one) =>
            one.agent?.view.status().groups.find((each) => each.name === group)?.holder === holder,
        );
    });
  }

  async close(): Promise<void> {
    for (const director of this.directors) director.crash();
    this.cluster.close();
    await this.clock.drain();
  }
}

/** A director: its clock and its kernel outlive its agent's lives. */
export class Machine {
  readonly id: DirectorId;
  readonly name: string;
  readonly address: IpAddress;
  readonly clock: Clock;
  readonly kernel: FakeNetworkKernel;
  readonly ipvs: FakeIpvsKernel;
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #ledger: Ledger = createMemoryLedger();
  store: FakeStore | null = null;
  agent: Agent | null = null;
  #life: Life | null = null;
  #stopping: AbortController | null = null;
  #boot = 1;
  #lives = 0;

  constructor(world: World, name: string, address: IpAddress) {
    this.#world = world;
    this.name = name;
    this.id = directorId(name);
    this.address = address;
    this.#random = world.random.fork();
    const spread = world.options.rateSpread ?? 0.1;
    this.clock = world.clock.derive({
      rate: this.#random.between(1 - spread, 1 + spread),
      offset: this.#random.between(0, 1e6),
    });
    const lag =
      world.options.mutation === 'no-lifetime' ? 1e9 : (world.options.expiryLagMs ?? 1000);
    this.kernel = new FakeNetworkKernel(this.clock, {
      expiryLagMs: () => this.#random.between(0, lag),
    });
    this.kernel.addLink('eth0');
    this.ipvs = new FakeIpvsKernel();
  }

  get isRunning(): boolean {
    return this.#life !== null && !this.#life.isPaused;
  }
  get isAlive(): boolean {
    return this.#life !== null;
  }

  start(): void {
    if (this.#life !== null) return;
    const life = new Life(this.clock);
    const stopping = new AbortController();
    const random = this.#random.fork();
    this.#lives++;
    const store = this.#world.cluster.connect(`${this.name}.${this.#lives}`, life);
    const link = this.#world.peers.link(this.id, this.address, this.clock);
    const agent = createAgent(
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
        devices: new Map([['public', 'eth0']]),
        hostProblems: [],
        parseSpec: (document) =>
          isHold(document) && !(document.isMoved && this.#world.options.rejectsMove === this.name)
            ? ok(specOf(this.#world.options, document))
            : err('not a spec of this version'),
      },
      {
        store: lifeStore(life, mutateStore(store, this.#world.options.mutation)),
        network: new LifeKernel(life, this.kernel, (requests) => this.#onBind(requests)),
        ipvs: this.ipvs,
        announcer: new FakeAnnouncer(
          {
            clock: life,
            onFrame: (frame) => this.#world.onFrame(this, frame.address),
          },
          0,
        ),
        peerLink: new LifePeerLink(life, link),
        prober: new FakeProber(
          { target: () => ({ kind: 'up', detail: 'up', latencyMs: 1 }) },
          { clock: life, random },
        ),
        ledger: this.#ledger,
        clock: life,
        random,
        log: this.#world.options.logOf?.(this.name) ?? silentLog,
        metrics: silentMetrics,
      },
    );
    this.store = store;
    this.agent = agent;
    this.#life = life;
    this.#stopping = stopping;
    this.#world.note(`${this.name} starts`);
    void agent.run(stopping.signal).then(
      () => this.#ended(life),
      (error: unknown) => {
        if (life.isDead) return;
        this.#world.violations.push({
          at: this.#world.clock.now(),
          text: `${this.name} failed: ${String(error)} ${String((error as Error).cause)}`,
        });
      },
    );
  }

  /** SIGTERM. */
  stop(): void {
    this.#world.note(`${this.name} is told to stop`);
    this.#stopping?.abort();
  }

  /** SIGKILL: the kernel keeps what it has. */
  crash(): void {
    this.#world.note(`${this.name} is killed`);
    this.#life?.kill();
    this.#forget();
  }

  /** The machine starts anew: its kernel is empty. */
  reboot(): void {
    this.crash();
    this.#boot++;
    this.kernel.reboot();
    this.ipvs.reboot();
  }

  pause(): void {
    this.#world.note(`${this.name} is frozen`);
    this.#life?.pause();
  }

  resume(): void {
    this.#world.note(`${this.name} goes on`);
    this.#life?.resume();
  }

  #ended(life: Life): void {
    if (this.#life !== life) return;
    this.#world.note(`${this.name} ended`);
    life.kill();
    this.#forget();
  }

  #forget(): void {
    this.store?.close();
    this.#life = null;
    this.#stopping = null;
    this.agent = null;
    this.store = null;
  }

  #onBind(requests: readonly BindRequest[]): void {
    this.#world.onBind(this, requests);
  }
}

function mutateStore(store: FakeStore, mutation: Mutation | undefined): ClusterStore {
  if (mutation === undefined || mutation === 'no-lifetime') return store;
  return new Proxy<ClusterStore>(store, {
    get: (target, name) => {
      if (name === 'txn')
        return (txn: Txn, options: CallOptions) => target.txn(mutateTxn(txn, mutation), options);
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function mutateTxn(txn: Txn, mutation: Mutation): Txn {
  const [only, ...more] = txn.success;
  const isRound =
    more.length === 0 && only?.op === 'delete' && keys.parse(only.key)?.kind === 'challenge';
  if (!isRound || only === undefined) return txn;
  if (mutation === 'unguarded') return { ...txn, compares: [] };
  return { ...txn, success: [{ ...only, key: `${only.key}-kept` }] };
}

const addressOf = (last: number): IpAddress => formatIp(Uint8Array.from([10, 90, 0, last]));

export function vipOf(group: string): IpAddress {
  const parsed = parseIp(`10.90.0.${100 + Number(group.slice(1))}`);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

type SimDocument = { readonly holdMs: number; readonly isMoved: boolean };
const isHold = (document: unknown): document is SimDocument =>
  typeof document === 'object' && document !== null && 'holdMs' in document;

const CHECK: CheckSpec = {
  kind: 'tcp',
  port: null,
  intervalMs: 2000,
  timeoutMs: 1000,
  rise: 2,
  fall: 2,
};

function addressesOf(group: string, isMoved: boolean): VipGroup['addresses'] {
  const of = (name: string): VipGroup['addresses'][number] => ({
    address: vipOf(name),
    prefix: 24,
    interface: 'public',
    label: null,
    scope: 'global',
  });
  if (isMoved && group === 'g1') return [of('g9')];
  return isMoved && group === 'g2' ? [of('g2'), of('g1')] : [of(group)];
}

/** The relaxed profile, and groups of which the odd ones have an order of their own. */
function specOf(options: WorldOptions, { holdMs, isMoved }: SimDocument): ClusterSpec {
  const directors = Array.from({ length: options.directors }, (_, i) => ({
    id: directorId(`d${i + 1}`),
    address: addressOf(11 + i),
  }));
  const priorities = new Map(directors.map(({ id }, i) => [id, 150 - 10 * i]));
  const groups = Array.from({ length: options.groups }, (_, i): VipGroup => {
    const id = groupId(`g${i + 1}`);
    const hasOrder = i % 2 === 0;
    return {
      id,
      addresses: addressesOf(id, isMoved),
      priorities: hasOrder ? priorities : null,
      preempt: { kind: hasOrder ? (options.preempt ?? 'never') : 'never' },
      virtualRouterId: null,
    };
  });
  const realServer = (last: number): RealServer => ({
    id: realServerId(`10.90.0.${last}:80`),
    address: addressOf(last),
    port: 80,
    weight: 1,
    forward: 'dr',
  });
  return {
    timing: {
      profile: 'relaxed',
      heartbeatMs: 1000,
      suspectMs: 3000,
      roundMs: 600,
      holdMs,
      permitMs: holdMs / 4,
      slackMs: 1100,
      driftMargin: 0.25,
      leaseTtlS: 15,
    },
    directors,
    groups,
    services: [
      {
        id: serviceId('web'),
        group: groupId('g1'),
        address: vipOf('g1'),
        port: 80,
        protocol: 'tcp',
        scheduler: 'wlc',
        persistence: null,
        check: CHECK,
        alpha: false,
        inhibitOnFailure: false,
        realServers: [realServer(21), realServer(22)],
        sorryServer: null,
      },
    ],
    checkers: null,
  };
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
