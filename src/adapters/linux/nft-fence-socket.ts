/** The fence's way to the kernel: batches, and dumps of what is ours. */
import { err, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import {
  BATCH_BEGIN,
  BATCH_END,
  decodeChainPolicy,
  decodeElements,
  decodeExpiring,
  decodeGeneration,
  decodeRule,
  decodeSet,
  decodeTableFlags,
  deleteTable,
  encodeElementDump,
  encodeGenerationRequest,
  encodePartsDump,
  encodeTablesDump,
  NETLINK_NETFILTER,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_SET_TIMEOUT,
  NFT_TABLE_F_DORMANT,
  type NftLiving,
  type NftMessage,
  type NftSet,
  type NftTable,
} from '../../wire/nftables.ts';
import { decodeLink, decodeLinkRole, encodeLinkDump, RTM_GETLINK } from '../../wire/rtnetlink.ts';
import { kernelError } from './kernel-error.ts';
import { BatchSocket } from './batch-socket.ts';
import { type KernelPorts, LazySocket, type Reply } from './kernel-socket.ts';
import type {
  ChainState,
  FenceLink,
  FenceLinks,
  FenceState,
  TableState,
} from './nft-fence-plan.ts';
import type { FenceScheme } from './nft-fence-rules.ts';

const NETLINK_ROUTE = 0;
const TIMEOUT_MS = 2000;
const BUFFER_BYTES = 4 << 20;
/** The longest datagram that the kernel makes of a dump. */
const READ_BYTES = 32_768;
/** Kinds of links whose frames pass the hooks of the link below them, too, with the addresses that they have. */
const STACKED: ReadonlySet<string> = new Set(['vlan', 'macvlan', 'ipvlan']);

export class NftSocket {
  #batches: BatchSocket | null = null;
  /** Apart from the batches: those never wait for a dump. */
  readonly #dumps: LazySocket;
  readonly #links: LazySocket;

  constructor(ports: KernelPorts) {
    const common = { receiveBytes: BUFFER_BYTES, readBytes: READ_BYTES, timeoutMs: TIMEOUT_MS };
    this.#dumps = new LazySocket({ protocol: NETLINK_NETFILTER, ...common }, ports);
    this.#links = new LazySocket({ protocol: NETLINK_ROUTE, ...common }, ports);
  }

  /** One batch in one datagram; one reply for each message. */
  transact(messages: readonly NftMessage[]): Promise<Result<readonly Reply[], KernelError>> {
    const socket = this.#batchSocket();
    if (!socket.ok) return Promise.resolve(socket);
    const frame = { begin: BATCH_BEGIN, end: BATCH_END };
    return Promise.resolve(ok(socket.value.transact(messages, frame)));
  }

  /** It grows by one with each batch, of whomever, that changes rules or elements of this namespace; null: unknown. */
  generation(): number | null {
    const socket = this.#batchSocket();
    if (!socket.ok) return null;
    const question = { type: NFT_MSG_GETGEN, body: encodeGenerationRequest() };
    const answer = socket.value.ask(question);
    const generation = answer === null ? 0 : decodeGeneration(answer.body);
    return generation === 0 ? null : generation;
  }

  #batchSocket(): Result<BatchSocket, KernelError> {
    if (this.#batches !== null) return ok(this.#batches);
    const opened = BatchSocket.open(NETLINK_NETFILTER);
    if (opened.ok) this.#batches = opened.value;
    return opened;
  }

  async links(): Promise<Result<FenceLinks, KernelError>> {
    const socket = this.#links.get();
    if (!socket.ok) return socket;
    const what = 'dump the links';
    const dumped = await socket.value.dump({ type: RTM_GETLINK, body: encodeLinkDump() }, what);
    if (!dumped.ok) return dumped;
    const links = new Map<number, FenceLink>();
    for (const { body } of dumped.value) {
      const link = decodeLink(body);
      if (!link.ok || link.value === null) continue;
      const { master, kind, lower } = decodeLinkRole(body);
      links.set(link.value.index, {
        name: link.value.name,
        master,
        lower: kind !== null && STACKED.has(kind) ? lower : null,
        isBridge: kind === 'bridge',
      });
    }
    return ok(links);
  }

  /** Tables of that name in any family. */
  async tables(
    name: string,
  ): Promise<Result<readonly (NftTable & { readonly flags: number })[], KernelError>> {
    const what = 'dump the nftables tables';
    const tables = await this.dump(NFT_MSG_GETTABLE, encodeTablesDump(), decodeTableFlags, what);
    return tables.ok ? ok(tables.value.filter(({ table }) => table === name)) : tables;
  }

  async state(scheme: FenceScheme): Promise<Result<FenceState, KernelError>> {
    const found = await this.tables(scheme.tables[0].table.table);
    if (!found.ok) return found;
    const families = new Map(found.value.map(({ family, flags }) => [family, flags]));
    const state: (TableState | null)[] = [];
    for (const { table } of scheme.tables) {
      const flags = families.get(table.family);
      if (flags === undefined) {
        state.push(null);
        continue;
      }
      // oxlint-disable-next-line no-await-in-loop -- one socket, one dump at a time
      const seen = await this.#table(table);
      if (!seen.ok) return seen;
      state.push({ ...seen.value, isDormant: (flags & NFT_TABLE_F_DORMANT) !== 0 });
    }
    return ok(state);
  }

  /** Removes those of the tables that are there, in one batch; gives them. */
  async removeTables(
    tables: readonly NftTable[],
  ): Promise<Result<readonly NftTable[], KernelError>> {
    const there: NftTable[] = [];
    for (const name of new Set(tables.map(({ table }) => table))) {
      // oxlint-disable-next-line no-await-in-loop -- there is one name, as a rule
      const found = await this.tables(name);
      if (!found.ok) return found;
      there.push(...found.value);
    }
    const wanted = there.filter((seen) =>
      tables.some(({ family, table }) => family === seen.family && table === seen.table),
    );
    const replies = await this.transact(wanted.map((table) => deleteTable(table)));
    if (!replies.ok) return replies;
    const failure = failureOf(replies.value, 'remove the fence');
    return failure === null || failure.code === 'ENOENT' ? ok(wanted) : err(failure);
  }

  close(): void {
    this.#batches?.close();
    this.#batches = null;
    this.#dumps.close();
    this.#links.close();
  }

  async #table(table: NftTable): Promise<Result<Omit<TableState, 'isDormant'>, KernelError>> {
    const body = encodePartsDump(table);
    const sets = await this.dump(NFT_MSG_GETSET, body, decodeSet, 'dump the sets');
    if (!sets.ok) return sets;
    const chains = await this.dump(NFT_MSG_GETCHAIN, body, decodeChainPolicy, 'dump the chains');
    if (!chains.ok) return chains;
    const rules = await this.dump(NFT_MSG_GETRULE, body, decodeRule, 'dump the rules');
    if (!rules.ok) return rules;
    const isOurs = (part: NftTable): boolean =>
      part.table === table.table && part.family === table.family;
    const byName = new Map<string, ChainState & { comments: (string | null)[] }>();
    for (const { name, hook, isAccepting } of chains.value.filter(isOurs))
      byName.set(name, { name, hook, isAccepting, comments: [] });
    for (const { chain, comment } of rules.value.filter(isOurs))
      byName.get(chain)?.comments.push(comment);
    const ours = sets.value.filter(isOurs);
    const elements = await this.#elements(table, ours);
    if (!elements.ok) return elements;
    return ok({
      sets: new Map(ours.map((set) => [set.name, set])),
      chains: byName,
      elements: elements.value,
    });
  }

  async #elements(
    table: NftTable,
    sets: readonly NftSet[],
  ): Promise<Result<ReadonlyMap<string, readonly Uint8Array[]>, KernelError>> {
    const elements = new Map<string, readonly Uint8Array[]>();
    for (const { name, flags } of sets) {
      if ((flags & NFT_SET_TIMEOUT) !== 0) continue;
      const body = encodeElementDump(table, name);
      // oxlint-disable-next-line no-await-in-loop -- one socket, one dump at a time
      const dumped = await this.dump(NFT_MSG_GETSETELEM, body, decodeElements, `dump set ${name}`);
      if (!dumped.ok) return dumped;
      elements.set(name, dumped.value.flat());
    }
    return ok(elements);
  }

  /** What lives in a set whose elements expire: keys with the milliseconds that they have left. */
  async living(table: NftTable, set: string): Promise<Result<readonly NftLiving[], KernelError>> {
    const body = encodeElementDump(table, set);
    const dumped = await this.dump(NFT_MSG_GETSETELEM, body, decodeExpiring, `dump set ${set}`);
    return dumped.ok ? ok(dumped.value.flat()) : dumped;
  }

  /** All of a dump; what cannot be read fails it. */
  async dump<T>(
    type: number,
    body: Uint8Array,
    decode: (body: Uint8Array) => Result<T, string>,
    what: string,
  ): Promise<Result<readonly T[], KernelError>> {
    const socket = this.#dumps.get();
    if (!socket.ok) return socket;
    const dumped = await socket.value.dump({ type, body }, what);
    if (!dumped.ok) return dumped;
    const values: T[] = [];
    for (const message of dumped.value) {
      const decoded = decode(message.body);
      if (!decoded.ok) return err(kernelError('EPROTO', what, decoded.error));
      values.push(decoded.value);
    }
    return ok(values);
  }
}

/** The first refusal of a batch; null: it took effect. */
export function failureOf(replies: readonly Reply[], what: string): KernelError | null {
  for (const { code, reason } of replies) if (code !== null) return kernelError(code, what, reason);
  return null;
}
