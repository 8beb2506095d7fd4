/**
 * One netlink socket: packed requests matched by sequence number, dumps, notifications.
 * It is built over the raw socket of the `netlink` package, whose two ways to abort the process it
 * closes: every callback body is guarded (a throw inside would abort), and the descriptor gets
 * NETLINK_NO_ENOBUFS and a large buffer (an overrun would abort). Source: netlink(7).
 */
import { RawNetlinkSocket } from 'netlink';
import { err, messageOf, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import {
  decodeAcknowledgement,
  decodeMessages,
  encodeBatch,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  type NetlinkMessage,
} from '../../wire/netlink.ts';
import { errnoName, kernelError } from './kernel-error.ts';
import { protectSocket, readDropped } from './socket-options.ts';

const MESSAGES_PER_DATAGRAM = 200;
const BYTES_PER_DATAGRAM = 60_000;
const SEND_BUFFER_BYTES = 1 << 20;
const DUMP_ATTEMPTS = 5;

export type KernelPorts = { readonly log: Log; readonly clock: Clock };

export type KernelSocketOptions = {
  readonly protocol: number;
  readonly receiveBytes: number;
  /** Fixed size of one read: large for dumps (fewer system calls); null peeks at each message first. */
  readonly readBytes: number | null;
  readonly timeoutMs: number;
  /** Messages that answer nothing we asked. */
  readonly onNotification?: (message: NetlinkMessage) => void;
  /** Something was received that could not be read: treat it as lost. */
  readonly onLoss?: (reason: string) => void;
};

export type NetlinkRequest = {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
};

/** `code` null: acknowledged. Else an errno name or `TIMEOUT`. */
export type Reply = {
  readonly code: string | null;
  readonly reason: string | null;
  readonly messages: readonly NetlinkMessage[];
};

type Waiting = {
  readonly first: number;
  /** Its answer is the last one. */
  readonly last: number;
  readonly replies: Reply[];
  /** The growing lists behind `messages` of the replies that have any. */
  readonly collected: Map<number, NetlinkMessage[]>;
  readonly finish: (code: string | null) => void;
};

/** One value for all that succeed without words: a batch of thousands makes no garbage. */
const ACKNOWLEDGED: Reply = { code: null, reason: null, messages: [] };

export class KernelSocket {
  readonly #options: KernelSocketOptions;
  readonly #ports: KernelPorts;
  readonly #raw: RawNetlinkSocket;
  readonly #port: number;
  /** Null where it was not found. */
  readonly #descriptor: number | null;
  #seq = 1;
  #waiting: Waiting | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  /** Null while an overrun cannot end the process; else what is missing. */
  readonly unprotected: string | null;

  /** Throws where the kernel gives no socket; use `openKernelSocket`. */
  constructor(options: KernelSocketOptions, ports: KernelPorts) {
    this.#options = options;
    this.#ports = ports;
    const { readBytes } = options;
    this.#raw = new RawNetlinkSocket(options.protocol, {
      recvBufferSize: options.receiveBytes,
      sendBufferSize: SEND_BUFFER_BYTES,
      ...(readBytes === null ? {} : { messagePeeking: false, msgBufferSize: readBytes }),
    });
    this.#port = this.#raw.address().port;
    const guarded = protectSocket(options.protocol, this.#port, options.receiveBytes);
    this.#descriptor = guarded.ok ? guarded.value : null;
    this.unprotected = guarded.ok ? null : guarded.error;
    this.#raw.on('message', (bytes) => this.#guard(() => this.#receive(bytes)));
    this.#raw.on('truncatedMessage', () => this.#guard(() => this.#lose('truncated message')));
    this.#raw.on('error', (error) =>
      this.#guard(() => {
        this.#lose(`socket error: ${error.message}`);
        this.#waiting?.finish(error.code);
      }),
    );
  }

  /** Joins a multicast group; throws where the kernel refuses. */
  join(group: number): void {
    this.#raw.addMembership(group);
  }

  /**
   * Sends all in packed datagrams and resolves with one reply each, in order. The kernel works through a
   * datagram in order and reports every failure; the last message alone asks for an acknowledgement.
   */
  exchange(requests: readonly NetlinkRequest[]): Promise<readonly Reply[]> {
    return this.exchangeEach(requests, (request) => ({
      ...request,
      flags: request.flags | NLM_F_REQUEST,
    }));
  }

  /**
   * As `exchange`, but encodes one datagram's items at a time, so that thousands leave little garbage.
   * `encode` sets all flags itself, NLM_F_REQUEST too.
   */
  exchangeEach<T>(
    items: readonly T[],
    encode: (item: T) => NetlinkRequest,
  ): Promise<readonly Reply[]> {
    return this.#inTurn(async () => {
      const replies: Reply[] = [];
      while (replies.length < items.length) {
        const requests: NetlinkRequest[] = [];
        let bytes = 0;
        for (let i = replies.length; i < items.length; i++) {
          if (requests.length === MESSAGES_PER_DATAGRAM || bytes > BYTES_PER_DATAGRAM) break;
          const item = items[i];
          if (item === undefined) break;
          const request = encode(item);
          bytes += request.body.length;
          requests.push(request);
        }
        // oxlint-disable-next-line no-await-in-loop -- the order of the requests is the caller's
        const answered = await this.#send(requests, NLM_F_ACK);
        for (const reply of answered) replies.push(reply);
      }
      return replies;
    });
  }

  /** All messages of a dump; one that changed while it ran is repeated, at most five times. */
  dump(
    request: Omit<NetlinkRequest, 'flags'>,
    what: string,
  ): Promise<Result<readonly NetlinkMessage[], KernelError>> {
    return this.#inTurn(async () => {
      for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
        // oxlint-disable-next-line no-await-in-loop -- a repetition of the same question
        const [reply] = await this.#send([{ ...request, flags: NLM_F_REQUEST | NLM_F_DUMP }], 0);
        if (reply === undefined) break;
        if (reply.code !== null) return err(kernelError(reply.code, what, reply.reason));
        if (!reply.messages.some((message) => (message.flags & NLM_F_DUMP_INTR) !== 0))
          return ok(reply.messages.filter((message) => message.type !== NLMSG_DONE));
      }
      return err(kernelError('EAGAIN', what, `it changed during each of ${DUMP_ATTEMPTS} dumps`));
    });
  }

  /** Messages that the kernel could not deliver since the socket was made; null where unknown. */
  drops(): number | null {
    return this.#descriptor === null || this.#isClosed ? null : readDropped(this.#descriptor);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#raw.close();
    this.#waiting?.finish('UNAVAILABLE');
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action);
    this.#turn = result.catch(() => {});
    return result;
  }

  #send(requests: readonly NetlinkRequest[], lastFlags: number): Promise<readonly Reply[]> {
    const count = requests.length;
    if (this.#isClosed)
      return Promise.resolve(requests.map(() => ({ ...ACKNOWLEDGED, code: 'UNAVAILABLE' })));
    // Sequence numbers wrap long before 2^32 so that a batch is always a contiguous range.
    if (this.#seq > 0x7000_0000) this.#seq = 1;
    const first = this.#seq;
    this.#seq += count;
    const datagram = encodeBatch(requests, { seq: first, port: this.#port, lastFlags });
    return new Promise((resolve) => {
      this.#await({ first, count }, resolve);
      this.#raw.send(datagram, {}, (error) =>
        this.#guard(() => {
          // An answered batch is no longer waiting: a late error of its send concerns nobody.
          if (error && this.#waiting?.first === first) this.#waiting.finish(error.code);
        }),
      );
    });
  }

  #await(
    { first, count }: { readonly first: number; readonly count: number },
    resolve: (replies: readonly Reply[]) => void,
  ): void {
    const cancel = this.#ports.clock.schedule(this.#options.timeoutMs, () => {
      // After a blocked event loop the answer may lie in the socket: let it be read first.
      setImmediate(() => {
        if (this.#waiting === waiting) waiting.finish('TIMEOUT');
      });
    });
    const waiting: Waiting = {
      first,
      last: first + count - 1,
      replies: Array<Reply>(count).fill(ACKNOWLEDGED),
      collected: new Map(),
      finish: (code) => {
        cancel();
        this.#waiting = null;
        // Without the last acknowledgement nothing is known of those that did not fail.
        resolve(
          code === null
            ? waiting.replies
            : waiting.replies.map((reply) => (reply.code === null ? { ...reply, code } : reply)),
        );
      },
    };
    this.#waiting = waiting;
  }

  #receive(bytes: Uint8Array): void {
    const messages = decodeMessages(bytes);
    if (!messages.ok) {
      this.#lose(messages.error);
      return;
    }
    for (const message of messages.value) {
      const waiting = this.#waiting;
      const isAnswer = waiting !== null && message.port === this.#port;
      if (isAnswer && message.seq >= waiting.first && message.seq <= waiting.last)
        this.#answer(waiting, message);
      else if (message.type > NLMSG_DONE) this.#options.onNotification?.(message);
    }
  }

  #answer(waiting: Waiting, message: NetlinkMessage): void {
    const index = message.seq - waiting.first;
    const reply = waiting.replies[index];
    if (reply === undefined || message.type === NLMSG_NOOP) return;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      this.#collect(waiting, index, message);
      return;
    }
    if (message.type === NLMSG_DONE) this.#collect(waiting, index, message);
    const acknowledgement = decodeAcknowledgement(message);
    if (!acknowledgement.ok) {
      this.#lose(acknowledgement.error);
      return;
    }
    const { errno, reason } = acknowledgement.value;
    if (errno !== 0) {
      const { messages } = waiting.replies[index] ?? reply;
      waiting.replies[index] = { code: errnoName(errno), reason, messages };
    }
    if (message.seq === waiting.last) waiting.finish(null);
  }

  #collect(waiting: Waiting, index: number, message: NetlinkMessage): void {
    const known = waiting.collected.get(index);
    if (known !== undefined) {
      known.push(message);
      return;
    }
    const messages = [message];
    waiting.collected.set(index, messages);
    waiting.replies[index] = { ...ACKNOWLEDGED, messages };
  }

  #lose(reason: string): void {
    this.#ports.log.warn({ reason }, 'netlink.message-lost');
    this.#options.onLoss?.(reason);
  }

  /** The library aborts the process when a callback throws: here the throw ends. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#ports.log.error({ error: messageOf(error) }, 'netlink.listener-failed');
    }
  }
}

/** A new socket, or why there is none. */
export function openKernelSocket(
  options: KernelSocketOptions,
  ports: KernelPorts,
): Result<KernelSocket, KernelError> {
  try {
    const socket = new KernelSocket(options, ports);
    if (socket.unprotected !== null)
      ports.log.warn({ missing: socket.unprotected }, 'netlink.socket-unprotected');
    return ok(socket);
  } catch (error) {
    return err(kernelError('UNAVAILABLE', 'open a netlink socket', messageOf(error)));
  }
}

/** Opens at the first use, so that creating a kernel starts nothing. */
export class LazySocket {
  readonly #open: () => Result<KernelSocket, KernelError>;
  #socket: KernelSocket | null = null;

  constructor(options: KernelSocketOptions, ports: KernelPorts) {
    this.#open = () => openKernelSocket(options, ports);
  }

  get(): Result<KernelSocket, KernelError> {
    if (this.#socket !== null) return ok(this.#socket);
    const opened = this.#open();
    if (opened.ok) this.#socket = opened.value;
    return opened;
  }

  close(): void {
    this.#socket?.close();
    this.#socket = null;
  }
}
