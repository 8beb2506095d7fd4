/**
 * One life of one agent process in the simulation: it can be paused (nothing reaches it, nothing of it
 * runs, its kernel goes on) and killed (what it had in memory is lost, its kernel goes on).
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
import type { NetworkKernel } from '../../src/ports/kernel.ts';
import type { PeerDelivery, PeerLink, PeerMessage } from '../../src/ports/peer-link.ts';

type PeerTarget = Parameters<PeerLink['send']>[0];

/** A promise that never settles: what a dead process would have waited for. */
const never = <T>(): Promise<T> => new Promise<T>(() => {});

export class Life implements Clock {
  readonly #machine: Clock;
  #isDead = false;
  #isPaused = false;
  #waiting: (() => void)[] = [];

  constructor(machine: Clock) {
    this.#machine = machine;
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
    return this.#machine.now();
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
    await this.running();
  }

  /** A system call: made at once or, by a dead process, never; its return waits for the process. */
  async call<T>(make: () => Promise<T>): Promise<T> {
    if (this.#isDead) return never();
    const answer = await make();
    await this.running();
    return answer;
  }

  async *stream<T>(source: AsyncIterable<T>): AsyncIterable<T> {
    for await (const entry of source) {
      await this.running();
      yield entry;
    }
  }
}

/** The machine's kernel as this life reaches it. `onBind` sees every binding at the moment it is made. */
export class LifeKernel implements NetworkKernel {
  readonly #life: Life;
  readonly #kernel: NetworkKernel;
  readonly #onBind: (requests: readonly BindRequest[]) => void;

  constructor(
    life: Life,
    kernel: NetworkKernel,
    onBind: (requests: readonly BindRequest[]) => void,
  ) {
    this.#life = life;
    this.#kernel = kernel;
    this.#onBind = onBind;
  }

  links(): Promise<Result<readonly LinkState[], KernelError>> {
    return this.#life.call(() => this.#kernel.links());
  }
  addresses(): Promise<Result<readonly BoundAddress[], KernelError>> {
    return this.#life.call(() => this.#kernel.addresses());
  }
  bind(requests: readonly BindRequest[]): Promise<readonly Result<void, KernelError>[]> {
    return this.#life.call(() => {
      const done = this.#kernel.bind(requests);
      this.#onBind(requests);
      return done;
    });
  }
  unbind(
    addresses: Parameters<NetworkKernel['unbind']>[0],
  ): Promise<readonly Result<void, KernelError>[]> {
    return this.#life.call(() => this.#kernel.unbind(addresses));
  }
  watch(signal: AbortSignal): AsyncIterable<KernelEvent> {
    return this.#life.stream(this.#kernel.watch(signal));
  }
  close(): void {}
}

export class LifePeerLink implements PeerLink {
  readonly #life: Life;
  readonly #link: PeerLink;

  constructor(life: Life, link: PeerLink) {
    this.#life = life;
    this.#link = link;
  }

  send(to: PeerTarget, message: PeerMessage): void {
    if (!this.#life.isDead) this.#link.send(to, message);
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
    txn: (txn, options) => life.call(() => store.txn(txn, options)),
    list: (prefix, options) => life.call(() => store.list(prefix, options)),
    get: (key, options) => life.call(() => store.get(key, options)),
    watch: (prefix, signal) => life.stream(store.watch(prefix, signal)),
    grantLease: (ttlS, options) => life.call(() => store.grantLease(ttlS, options)),
    keepLeaseAlive: (lease, options) => life.call(() => store.keepLeaseAlive(lease, options)),
    revokeLease: (lease, options) => life.call(() => store.revokeLease(lease, options)),
    health: () => store.health(),
    close: () => store.close(),
  };
}
