/**
 * One life of one agent process in the simulation: it can be paused (nothing reaches it, nothing of it
 * runs, its kernel goes on) and killed (what it had in memory is lost, its kernel goes on), also
 * exactly at a call: between the decision and the system call, or between the call and its return.
 */
import type { Result } from '../../src/lib/result.ts';
import type { MonoMs } from '../../src/model/ids.ts';
import type {
  BindRequest,
  BoundAddress,
  KernelError,
  KernelEvent,
  LinkState,
} from '../../src/model/kernel.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { ClusterStore } from '../../src/ports/cluster-store.ts';
import type { Fence, FenceChange, FenceContents, FenceDevice } from '../../src/ports/fence.ts';
import type { NetworkKernel } from '../../src/ports/kernel.ts';
import type { PeerDelivery, PeerLink, PeerMessage } from '../../src/ports/peer-link.ts';

type PeerTarget = Parameters<PeerLink['send']>[0];

/** Calls that leave the process: a fault can strike just before or just after one. */
export const EDGES = ['txn', 'permit', 'commit', 'bind', 'unbind', 'observe', 'other'] as const;
export type Edge = (typeof EDGES)[number];
export type Moment = 'before' | 'after';

/** A process that reads its clock so often at one instant would never end; a busy one does it some hundred times. */
const READS_MAX = 100_000;

export class Life implements Clock {
  readonly #machine: Clock;
  readonly #onEdge: (edge: Edge, moment: Moment) => void;
  #isDead = false;
  #isPaused = false;
  #waiting: (() => void)[] = [];
  #readAt: number = Number.NEGATIVE_INFINITY;
  #reads = 0;

  constructor(machine: Clock, onEdge: (edge: Edge, moment: Moment) => void = () => {}) {
    this.#machine = machine;
    this.#onEdge = onEdge;
  }

  get isDead(): boolean {
    return this.#isDead;
  }
  get isPaused(): boolean {
    return this.#isPaused;
  }

  kill(): void {
    this.#isDead = true;
    this.#waiting = [];
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }

  /** Runs now, or when the process runs again, or never. */
  whenRunning(run: () => void): void {
    if (this.#isDead) return;
    if (this.#isPaused) this.#waiting.push(() => this.whenRunning(run));
    else run();
  }

  running(): Promise<void> {
    return new Promise((resolve) => this.whenRunning(resolve));
  }

  now(): MonoMs {
    const at = this.#machine.now();
    this.#reads = at === this.#readAt ? this.#reads + 1 : 0;
    this.#readAt = at;
    if (this.#reads > READS_MAX) throw new Error('works on and on while no time passes');
    return at;
  }
  wallTime(): string {
    return this.#machine.wallTime();
  }
  wallMs(): number {
    return this.#machine.wallMs();
  }
  schedule(ms: number, action: () => void): () => void {
    return this.#machine.schedule(ms, () => this.whenRunning(action));
  }
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    await this.#machine.sleep(ms, signal);
    if (this.#isPaused || this.#isDead) await this.running();
  }

  /** Made at once or, by a dead process, never; its return waits for the process. */
  async call<T>(edge: Edge, make: () => Promise<T>): Promise<T> {
    this.#onEdge(edge, 'before');
    if (this.#isPaused || this.#isDead) await this.running();
    const answer = await make();
    this.#onEdge(edge, 'after');
    if (this.#isPaused || this.#isDead) await this.running();
    return answer;
  }

  async *stream<T>(source: AsyncIterable<T>): AsyncIterable<T> {
    for await (const entry of source) {
      if (this.#isPaused || this.#isDead) await this.running();
      yield entry;
    }
  }
}

/** The machine's kernel as this life reaches it. `around` sees every change of what may speak as it is made. */
export class LifeKernel implements NetworkKernel {
  readonly #life: Life;
  readonly #kernel: NetworkKernel;
  readonly #around: <T>(act: () => T) => T;

  constructor(life: Life, kernel: NetworkKernel, around: <T>(act: () => T) => T) {
    this.#life = life;
    this.#kernel = kernel;
    this.#around = around;
  }

  links(): Promise<Result<readonly LinkState[], KernelError>> {
    return this.#life.call('other', () => this.#kernel.links());
  }
  addresses(): Promise<Result<readonly BoundAddress[], KernelError>> {
    return this.#life.call('observe', () => this.#kernel.addresses());
  }
  bind(requests: readonly BindRequest[]): Promise<readonly Result<void, KernelError>[]> {
    return this.#life.call('bind', () => this.#around(() => this.#kernel.bind(requests)));
  }
  unbind(
    addresses: Parameters<NetworkKernel['unbind']>[0],
  ): Promise<readonly Result<void, KernelError>[]> {
    return this.#life.call('unbind', () => this.#kernel.unbind(addresses));
  }
  watch(signal: AbortSignal): AsyncIterable<KernelEvent> {
    return this.#life.stream(this.#kernel.watch(signal));
  }
  close(): void {}
}

/** The machine's fence as this life reaches it; a change may let something speak, hence `around`. */
export class LifeFence implements Fence {
  readonly kind: Fence['kind'];
  readonly #life: Life;
  readonly #fence: Fence;
  readonly #around: <T>(act: () => T) => T;

  constructor(life: Life, fence: Fence, around: <T>(act: () => T) => T) {
    this.kind = fence.kind;
    this.#life = life;
    this.#fence = fence;
    this.#around = around;
  }

  observe(): Promise<Result<FenceContents | null, KernelError>> {
    return this.#life.call('observe', () => this.#fence.observe());
  }
  isAsLeft(): boolean {
    return this.#fence.isAsLeft();
  }
  lifetimes(): Promise<Result<ReadonlyMap<number, number>, KernelError>> {
    return this.#life.call('observe', () => this.#fence.lifetimes());
  }
  install(devices: readonly FenceDevice[]): Promise<Result<void, KernelError>> {
    return this.#life.call('other', () => this.#around(() => this.#fence.install(devices)));
  }
  permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>> {
    return this.#life.call('permit', () => this.#fence.permit(round, timeoutMs));
  }
  commit(change: FenceChange): Promise<Result<void, KernelError>> {
    return this.#life.call('commit', () => this.#around(() => this.#fence.commit(change)));
  }
  uninstall(): Promise<Result<void, KernelError>> {
    return this.#life.call('other', () => this.#around(() => this.#fence.uninstall()));
  }
  close(): void {}
}

export class LifePeerLink implements PeerLink {
  readonly #life: Life;
  readonly #link: PeerLink;
  readonly #passes: (message: PeerMessage) => boolean;

  constructor(life: Life, link: PeerLink, passes: (message: PeerMessage) => boolean) {
    this.#life = life;
    this.#link = link;
    this.#passes = passes;
  }

  send(to: PeerTarget, message: PeerMessage): void {
    if (!this.#life.isDead && this.#passes(message)) this.#link.send(to, message);
  }
  receive(signal: AbortSignal): AsyncIterable<PeerDelivery> {
    return this.#life.stream(this.#link.receive(signal));
  }
  counters(): ReturnType<PeerLink['counters']> {
    return this.#link.counters();
  }
  close(): void {
    this.#link.close();
  }
}

/** The store as this life reaches it: no answer and no watch event wakes a frozen process. */
export function lifeStore(life: Life, store: ClusterStore): ClusterStore {
  return {
    txn: (txn, options) => life.call('txn', () => store.txn(txn, options)),
    list: (prefix, options) => life.call('other', () => store.list(prefix, options)),
    get: (key, options) => life.call('other', () => store.get(key, options)),
    watch: (prefix, signal) => life.stream(store.watch(prefix, signal)),
    grantLease: (ttlS, options) => life.call('other', () => store.grantLease(ttlS, options)),
    keepLeaseAlive: (lease, options) =>
      life.call('other', () => store.keepLeaseAlive(lease, options)),
    revokeLease: (lease, options) => life.call('other', () => store.revokeLease(lease, options)),
    health: () => store.health(),
    close: () => store.close(),
  };
}
