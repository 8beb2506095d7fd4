/**
 * The table of marks by nftables: every change is one batch in one datagram. Needs CAP_NET_ADMIN and Linux
 * 5.6; works in the network namespace of the process. Sources: nft(8), linux/netfilter/nf_tables.h.
 */
import { AsyncQueue } from '../../lib/async.ts';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import type { MarkChange, MarkContents, MarkEntry } from '../../model/marks.ts';
import type { MarkTable } from '../../ports/marks.ts';
import { decodeMarkElements, keyLengthOf, MARK_MAP_FLAGS } from '../../wire/nft-maps.ts';
import {
  decodeChainPolicy,
  decodeRule,
  decodeSet,
  decodeTableFlags,
  deleteTable,
  encodeElementDump,
  encodePartsDump,
  encodeTablesDump,
  isAboutTable,
  NETLINK_NETFILTER,
  NFNLGRP_NFTABLES,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_TABLE_F_DORMANT,
  type NftTable,
} from '../../wire/nftables.ts';
import { kernelError } from './kernel-error.ts';
import { type KernelPorts, type KernelSocket, openKernelSocket } from './kernel-socket.ts';
import { failureOf, NftSocket } from './nft-fence-socket.ts';
import {
  entryOf,
  explainRefusal,
  MARK_CHAINS,
  MARK_MAPS,
  MARKS_TABLE,
  planChange,
  planTable,
} from './nft-marks-table.ts';

const OBSERVE_ATTEMPTS = 5;
const NOTIFICATION_BUFFER_BYTES = 1 << 20;
const TIMEOUT_MS = 2000;
/** One is as good as many. */
const QUEUED_REASONS = 1;

/** No netlink socket of that protocol, or no subsystem behind it: no table of ours can be there. */
const NO_NFTABLES: readonly string[] = ['UNAVAILABLE', 'EINVAL', 'ENOTSUP'];

/** Starts nothing: sockets open at the first call. */
export function createNftMarks(ports: KernelPorts): MarkTable {
  return new NftMarks(ports);
}

/** Removes the table of marks of this network namespace; true: one was there. */
export async function uninstallMarks(ports: KernelPorts): Promise<Result<boolean, KernelError>> {
  const marks = new NftMarks(ports);
  try {
    return await marks.uninstall();
  } finally {
    marks.close();
  }
}

type Parts = {
  readonly isIntact: boolean;
  /** Names of our maps that are there and have the shape that we give them. */
  readonly maps: ReadonlySet<string>;
};

class NftMarks implements MarkTable {
  readonly #ports: KernelPorts;
  readonly #socket: NftSocket;
  readonly #watches = new Set<KernelSocket>();

  constructor(ports: KernelPorts) {
    this.#ports = ports;
    this.#socket = new NftSocket(ports);
  }

  async observe(): Promise<Result<MarkContents | null, KernelError>> {
    for (let attempt = 0; attempt < OBSERVE_ATTEMPTS; attempt++) {
      // oxlint-disable-next-line no-await-in-loop -- a repetition of the same question
      const contents = await this.#contents();
      // Somebody may remove the table while it is read: the next attempt finds none.
      if (contents.ok || contents.error.code !== 'ENOENT') return contents;
    }
    return err(kernelError('EAGAIN', 'read the table of marks', 'it changed during each reading'));
  }

  async replace(entries: readonly MarkEntry[]): Promise<Result<void, KernelError>> {
    const what = 'write the table of marks';
    const replies = await this.#socket.transact(planTable(entries));
    if (!replies.ok) return err(explainRefusal(replies.error, 'all'));
    const failure = failureOf(replies.value, what);
    if (failure === null) return ok(undefined);
    const first = replies.value.findIndex(({ code }) => code !== null);
    // A batch that is refused as such; else messages about what is missing fail in ways of their own.
    const isWhole = replies.value.every(({ code }) => code === failure.code);
    return err(explainRefusal(failure, isWhole ? 'all' : first));
  }

  async change(change: MarkChange): Promise<Result<void, KernelError>> {
    const replies = await this.#socket.transact(planChange(change));
    if (!replies.ok) return replies;
    const failure = failureOf(replies.value, 'change the table of marks');
    return failure === null ? ok(undefined) : err(failure);
  }

  async remove(): Promise<Result<void, KernelError>> {
    const removed = await this.uninstall();
    return removed.ok ? ok(undefined) : removed;
  }

  async uninstall(): Promise<Result<boolean, KernelError>> {
    const table = await this.#table();
    if (!table.ok) return NO_NFTABLES.includes(table.error.code) ? ok(false) : table;
    if (table.value === null) return ok(false);
    const replies = await this.#socket.transact([deleteTable(MARKS_TABLE)]);
    if (!replies.ok) return replies;
    const failure = failureOf(replies.value, 'remove the table of marks');
    return failure === null || failure.code === 'ENOENT' ? ok(true) : err(failure);
  }

  async *watch(signal: AbortSignal): AsyncIterable<string> {
    const queue = new AsyncQueue<string>(QUEUED_REASONS);
    const socket = this.#openWatch(queue);
    const end = (): void => queue.end();
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    try {
      yield* queue;
    } finally {
      signal.removeEventListener('abort', end);
      if (socket !== null) this.#watches.delete(socket);
      socket?.close();
    }
  }

  close(): void {
    this.#socket.close();
    for (const socket of this.#watches) socket.close();
    this.#watches.clear();
  }

  async #table(): Promise<Result<{ readonly flags: number } | null, KernelError>> {
    const body = encodeTablesDump();
    const what = 'dump the nftables tables';
    const tables = await this.#socket.dump(NFT_MSG_GETTABLE, body, decodeTableFlags, what);
    return tables.ok ? ok(tables.value.find(isOurs) ?? null) : tables;
  }

  async #contents(): Promise<Result<MarkContents | null, KernelError>> {
    const table = await this.#table();
    // Where there is no nftables there is no table of ours; what to do about it, `replace` says.
    if (!table.ok) return NO_NFTABLES.includes(table.error.code) ? ok(null) : table;
    if (table.value === null) return ok(null);
    const parts = await this.#parts();
    if (!parts.ok) return parts;
    const { maps } = parts.value;
    const entries: MarkEntry[] = [];
    let isIntact = parts.value.isIntact && (table.value.flags & NFT_TABLE_F_DORMANT) === 0;
    for (const { map } of MARK_MAPS) {
      if (!maps.has(map.name)) continue;
      // oxlint-disable-next-line no-await-in-loop -- one socket, one dump at a time
      const dumped = await this.#socket.dump(
        NFT_MSG_GETSETELEM,
        encodeElementDump(MARKS_TABLE, map.name),
        (body) => decodeMarkElements(body, map.fields),
        `dump map ${map.name}`,
      );
      if (!dumped.ok) return dumped;
      for (const element of dumped.value.flat()) {
        const entry = element === null ? null : entryOf(element);
        if (entry === null) isIntact = false;
        else entries.push(entry);
      }
    }
    return ok({ isIntact, entries });
  }

  async #parts(): Promise<Result<Parts, KernelError>> {
    const body = encodePartsDump(MARKS_TABLE);
    const sets = await this.#socket.dump(NFT_MSG_GETSET, body, decodeSet, 'dump the maps');
    if (!sets.ok) return sets;
    const chains = await this.#socket.dump(
      NFT_MSG_GETCHAIN,
      body,
      decodeChainPolicy,
      'dump the chains',
    );
    if (!chains.ok) return chains;
    const rules = await this.#socket.dump(NFT_MSG_GETRULE, body, decodeRule, 'dump the rules');
    if (!rules.ok) return rules;
    const ownSets = sets.value.filter(isOurs);
    const ownChains = chains.value.filter(isOurs);
    const comments = (chain: string): readonly (string | null)[] =>
      rules.value.filter((rule) => isOurs(rule) && rule.chain === chain).map((r) => r.comment);
    const maps = MARK_MAPS.filter(({ map }) =>
      ownSets.some(
        ({ name, flags, keyLength }) =>
          name === map.name && flags === MARK_MAP_FLAGS && keyLength === keyLengthOf(map),
      ),
    );
    const isIntact =
      maps.length === MARK_MAPS.length &&
      ownSets.length === MARK_MAPS.length &&
      ownChains.length === MARK_CHAINS.length &&
      MARK_CHAINS.every(({ name, hook, rules: wanted }) => {
        const seen = ownChains.find((chain) => chain.name === name);
        return (
          seen?.isAccepting === true &&
          seen.hook?.hook === hook?.hook &&
          seen.hook?.priority === hook?.priority &&
          comments(name).join('\n') === wanted.map(({ comment }) => comment).join('\n')
        );
      });
    return ok({ isIntact, maps: new Set(maps.map(({ map }) => map.name)) });
  }

  #openWatch(queue: AsyncQueue<string>): KernelSocket | null {
    const { log } = this.#ports;
    const opened = openKernelSocket(
      {
        protocol: NETLINK_NETFILTER,
        receiveBytes: NOTIFICATION_BUFFER_BYTES,
        readBytes: null,
        timeoutMs: TIMEOUT_MS,
        onNotification: (message) => {
          if (isAboutTable(message, MARKS_TABLE)) queue.push('the table of marks was changed');
        },
        onLoss: (reason) => queue.push(reason),
      },
      this.#ports,
    );
    const socket = opened.ok ? opened.value : null;
    if (socket === null || socket.unprotected !== null) {
      // A group joined without protection could end the process; the caller's timer is slower but alive.
      socket?.close();
      log.warn(
        { reason: opened.ok ? 'unprotected socket' : opened.error.message },
        'marks.unwatched',
      );
      return null;
    }
    this.#watches.add(socket);
    try {
      socket.join(NFNLGRP_NFTABLES);
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'marks.unwatched');
    }
    return socket;
  }
}

const isOurs = ({ family, table }: NftTable): boolean =>
  family === MARKS_TABLE.family && table === MARKS_TABLE.table;
