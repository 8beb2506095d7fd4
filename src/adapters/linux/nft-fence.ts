/**
 * The fence by nftables, through one netlink socket that opens at the first call. Every change is one
 * batch in one datagram. Needs CAP_NET_ADMIN; works in the network namespace of the process.
 * Sources: nft(8), linux/netfilter/nf_tables.h.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import {
  type Fence,
  type FenceChange,
  type FenceContents,
  type FenceDevice,
  type FenceKind,
  type FenceSetChange,
  SHORTEST_TIMEOUT_MS,
} from '../../ports/fence.ts';
import type { NftMessage } from '../../wire/nftables.ts';
import { kernelError } from './kernel-error.ts';
import type { KernelPorts, Reply } from './kernel-socket.ts';
import {
  type FenceLinks,
  type FenceState,
  lowersOf,
  planCommit,
  planInstall,
  planPermit,
  PERMIT_MESSAGE,
  readContents,
  readLifetimes,
} from './nft-fence-plan.ts';
import { ADDRESS_SETS, ALIVE_SET, fenceScheme, type FenceScheme } from './nft-fence-rules.ts';
import { failureOf, NftSocket } from './nft-fence-socket.ts';

const STATE_ATTEMPTS = 5;

/** Starts nothing. */
export function createNftFence(kind: FenceKind, ports: KernelPorts): Fence {
  return new NftFence(fenceScheme(kind), ports);
}

export class NftFence implements Fence {
  readonly #scheme: FenceScheme;
  readonly #socket: NftSocket;
  /** Grows with every change of elements of ours, at its begin and at its end. */
  #changes = 0;
  /** Batches of ours so far. */
  #batches = 0;
  /** What the kernel's generation is as long as nobody else changes rules; null: unknown. */
  #generation: number | null = null;
  /** By fenced device: other fenced ones that its frames pass. */
  #lowers: ReadonlyMap<number, readonly number[]> = new Map();

  constructor(scheme: FenceScheme, ports: KernelPorts) {
    this.#scheme = scheme;
    this.#socket = new NftSocket(ports);
  }

  get kind(): FenceKind {
    return this.#scheme.kind;
  }

  async observe(): Promise<Result<FenceContents | null, KernelError>> {
    this.#generation = null;
    const before = this.#socket.generation();
    const changes = this.#batches;
    const contents = await this.#observe();
    const isOfOneMoment = this.#batches === changes && this.#socket.generation() === before;
    if (contents.ok && isOfOneMoment) this.#generation = before;
    return contents;
  }

  isAsLeft(): boolean {
    return this.#generation !== null && this.#socket.generation() === this.#generation;
  }

  async #observe(): Promise<Result<FenceContents | null, KernelError>> {
    const links = await this.#socket.links();
    if (!links.ok) return links;
    const state = await this.#state();
    if (!state.ok) return state;
    const contents = readContents(this.#scheme, state.value, links.value);
    if (contents !== null) this.#learnLowers(contents.devices, links.value);
    return ok(contents);
  }

  async lifetimes(): Promise<Result<ReadonlyMap<number, number>, KernelError>> {
    const links = await this.#socket.links();
    if (!links.ok) return links;
    const [first] = this.#scheme.tables;
    const living = await this.#socket.living(first.table, ALIVE_SET);
    if (!living.ok) return living.error.code === 'ENOENT' ? ok(new Map()) : living;
    return ok(readLifetimes(this.#scheme, living.value, links.value));
  }

  async install(devices: readonly FenceDevice[]): Promise<Result<void, KernelError>> {
    const links = await this.#socket.links();
    if (!links.ok) return links;
    // Newer kernels would take a name that no device has, and wait for one.
    const missing = devices.find(({ index, name }) => links.value.get(index)?.name !== name);
    if (missing !== undefined)
      return err(kernelError('ENODEV', `fence ${missing.name} (link ${missing.index})`));
    const plain = devices.find(({ index }) => links.value.get(index)?.isBridge !== true);
    if (this.#scheme.isBridged && plain !== undefined)
      return err(kernelError('ENOTSUP', `fence ${plain.name}`, 'it is no bridge'));
    const state = await this.#state();
    if (!state.ok) return state;
    const replies = await this.#change(planInstall(this.#scheme, state.value, devices));
    if (!replies.ok) return replies;
    const failure = failureOf(replies.value, `install the ${this.kind} fence`);
    if (failure !== null) return err(failure);
    this.#learnLowers(devices, links.value);
    return ok(undefined);
  }

  /** It never changes for a link: one on another link is another one. */
  #learnLowers(devices: readonly FenceDevice[], links: FenceLinks): void {
    if (this.#scheme.isPerDevice) this.#lowers = lowersOf(devices, links);
  }

  async permit(round: number, timeoutMs: number): Promise<Result<void, KernelError>> {
    const what = `permit round ${round}`;
    if (timeoutMs < SHORTEST_TIMEOUT_MS) return err(tooLate(what));
    const replies = await this.#transact(planPermit(this.#scheme, round, timeoutMs));
    if (!replies.ok) return replies;
    const failure = failureOf(replies.value, what);
    if (failure === null) return ok(undefined);
    return err(failure.code === 'ENOENT' ? gone(what) : failure);
  }

  async commit(change: FenceChange): Promise<Result<void, KernelError>> {
    const what = change.permit === null ? 'change the fence' : `commit round ${change.permit}`;
    const { alive } = change;
    if (alive !== null && alive.timeoutMs < SHORTEST_TIMEOUT_MS) return err(tooLate(what));
    const indexes = await this.#speakers(alive?.linkIndexes ?? []);
    if (!indexes.ok) return indexes;
    const batch = planCommit(this.#scheme, change, indexes.value);
    const isRenewal =
      isEmpty(change.directors) && ADDRESS_SETS.every((set) => isEmpty(change[set]));
    const replies = isRenewal ? await this.#transact(batch) : await this.#change(batch);
    if (!replies.ok) return replies;
    const failed = replies.value.flatMap(({ code, reason }, i) =>
      code === null
        ? []
        : [{ code, reason, isPermit: change.permit !== null && i === PERMIT_MESSAGE }],
    );
    const [first] = failed;
    if (first === undefined) return ok(undefined);
    const foreign = failed.find(({ code }) => code !== 'ENOENT');
    if (foreign !== undefined) return err(kernelError(foreign.code, what, foreign.reason));
    // Where the tables are gone, more messages than the permit's fail.
    return err(first.isPermit && failed.length === 1 ? tooLate(what) : gone(what));
  }

  async uninstall(): Promise<Result<void, KernelError>> {
    this.#generation = null;
    const removed = await this.#socket.removeTables(this.#scheme.tables.map(({ table }) => table));
    return removed.ok ? ok(undefined) : removed;
  }

  close(): void {
    this.#socket.close();
  }

  async #change(batch: readonly NftMessage[]): Promise<Result<readonly Reply[], KernelError>> {
    this.#changes++;
    try {
      return await this.#transact(batch);
    } finally {
      this.#changes++;
    }
  }

  async #transact(batch: readonly NftMessage[]): Promise<Result<readonly Reply[], KernelError>> {
    const replies = await this.#socket.transact(batch);
    this.#batches++;
    const isDone = replies.ok && replies.value.every(({ code }) => code === null);
    if (this.#generation !== null && batch.length > 0)
      this.#generation = isDone ? nextGeneration(this.#generation) : null;
    return replies;
  }

  /** Many dumps, of one moment as far as our own changes go. */
  async #state(): Promise<Result<FenceState, KernelError>> {
    for (let attempt = 0; attempt < STATE_ATTEMPTS; attempt++) {
      const before = this.#changes;
      // oxlint-disable-next-line no-await-in-loop -- a repetition of the same question
      const state = await this.#socket.state(this.#scheme);
      // Somebody else may remove tables while they are read: the next attempt finds none.
      const isTorn = before !== this.#changes || (!state.ok && state.error.code === 'ENOENT');
      if (!isTorn) return state;
    }
    return err(kernelError('EAGAIN', 'read the fence', 'it changed during each reading'));
  }

  /** The interfaces that frames are seen at: of a VLAN its link, too; of a bridge its ports, as they are now. */
  async #speakers(linkIndexes: readonly number[]): Promise<Result<readonly number[], KernelError>> {
    if (!this.#scheme.isBridged) {
      const lowers = linkIndexes.flatMap((index) => this.#lowers.get(index) ?? []);
      return ok(lowers.length === 0 ? linkIndexes : [...new Set([...linkIndexes, ...lowers])]);
    }
    if (linkIndexes.length === 0) return ok(linkIndexes);
    const links = await this.#socket.links();
    if (!links.ok) return links;
    const ports = [...links.value].filter(
      ([, { master }]) => master !== null && linkIndexes.includes(master),
    );
    return ok(ports.map(([index]) => index));
  }
}

/** 0 is none, also where the number wraps. */
const nextGeneration = (generation: number): number =>
  generation === 0xffff_ffff ? 1 : generation + 1;

const isEmpty = ({ add, remove }: FenceSetChange<unknown>): boolean =>
  add.length + remove.length === 0;

const tooLate = (what: string): KernelError => ({
  code: 'LATE',
  message: `${what}: LATE (its time was over)`,
});

const gone = (what: string): KernelError => ({
  code: 'MISSING',
  message: `${what}: MISSING (the fence is not installed, or somebody removed it)`,
});
