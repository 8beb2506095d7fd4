/**
 * A netlink socket for batches that the kernel works through within the system call that sends them, as nfnetlink
 * does: their answers wait when it returns, and are read at once. A round does so twice, ten times a second;
 * to be woken for each answer costs several times what the kernel does.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import type { KernelError } from '../../model/kernel.ts';
import {
  decodeAcknowledgement,
  decodeMessages,
  encodeBatch,
  NLM_F_ACK,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  type NetlinkMessage,
} from '../../wire/netlink.ts';
import { bindLibc, type Libc } from '../raw-sockets/libc.ts';
import { hostInt } from '../raw-sockets/socket-address.ts';
import { errnoName, kernelError } from './kernel-error.ts';
import type { NetlinkRequest, Reply } from './kernel-socket.ts';
import { NETLINK_CAP_ACK, NETLINK_EXT_ACK, SO_RCVBUFFORCE, SOL_NETLINK } from './socket-options.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET } from '../raw-sockets/socket-numbers.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SO_SNDBUFFORCE = 32;
const SOCKADDR_NL_LENGTH = 12;
/** What does not fit is refused as a whole (EMSGSIZE). */
const SEND_BUFFER_BYTES = 1 << 20;
/** Thousands of refusals of one batch fit. */
const RECEIVE_BUFFER_BYTES = 4 << 20;
/** An acknowledgement repeats no request (NETLINK_CAP_ACK) and has at most a line of text. */
const READ_BYTES = 8192;

const ACKNOWLEDGED: Reply = { code: null, reason: null, messages: [] };

export class BatchSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #kernel: Uint8Array;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #from = new Uint8Array(SOCKADDR_NL_LENGTH);
  #seq = 1;
  #isClosed = false;

  private constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
    this.#kernel = new Uint8Array(SOCKADDR_NL_LENGTH);
    new Uint16Array(this.#kernel.buffer)[0] = AF_NETLINK;
  }

  /** Of the network namespace of the process. */
  static open(protocol: number, libc: Libc = bindLibc()): Result<BatchSocket, KernelError> {
    const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0) return err(kernelError('UNAVAILABLE', 'open a netlink socket', libc.errno()));
    // An older kernel or a missing capability makes only the words of a refusal poorer, and batches smaller.
    for (const [level, name, value] of [
      [SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES],
      [SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES],
      [SOL_NETLINK, NETLINK_CAP_ACK, 1],
      [SOL_NETLINK, NETLINK_EXT_ACK, 1],
    ] as const)
      libc.setsockopt(fd, level, name, hostInt(value), 4);
    return ok(new BatchSocket(libc, fd));
  }

  /**
   * All of it in one datagram between `begin` and `end`, which the kernel takes as a whole or not at all.
   * Gives one reply each for `requests`; where any failed, those without a code had no effect either. A
   * failure of the whole (a family that is missing, EPERM) is every reply's.
   */
  transact(
    requests: readonly NetlinkRequest[],
    { begin, end }: { readonly begin: NetlinkRequest; readonly end: NetlinkRequest },
  ): readonly Reply[] {
    if (requests.length === 0) return [];
    const first = this.#take(requests.length + 2);
    const last = first + requests.length;
    const entries = [begin, ...requests, end].map((request, i) => ({
      ...request,
      flags: request.flags | NLM_F_REQUEST | (i === requests.length ? NLM_F_ACK : 0),
    }));
    const datagram = encodeBatch(entries, { seq: first, port: 0, lastFlags: 0 });
    const failure = this.#isClosed ? 'UNAVAILABLE' : this.#send(datagram);
    if (failure !== null) return requests.map(() => ({ ...ACKNOWLEDGED, code: failure }));
    return this.#answers(first, last);
  }

  /** What the kernel answers to a question that has one answer; null: none, or a refusal. */
  ask(request: Omit<NetlinkRequest, 'flags'>): NetlinkMessage | null {
    const seq = this.#take(1);
    const entry = { ...request, flags: NLM_F_REQUEST };
    const question = encodeBatch([entry], { seq, port: 0, lastFlags: 0 });
    if (this.#isClosed || this.#send(question) !== null) return null;
    for (;;) {
      const bytes = this.#receive();
      if (typeof bytes === 'string') return null;
      const messages = decodeMessages(bytes);
      const answer = messages.ok
        ? messages.value.find((message) => message.seq === seq)
        : undefined;
      if (answer !== undefined) return answer.type === NLMSG_ERROR ? null : answer;
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#libc.close(this.#fd);
  }

  /** The first of so many sequence numbers. They wrap long before 2^32: a batch is always a contiguous range. */
  #take(count: number): number {
    if (this.#seq > 0x7000_0000) this.#seq = 1;
    const first = this.#seq;
    this.#seq += count;
    return first;
  }

  /** Null, or why nothing was sent. */
  #send(datagram: Uint8Array): string | null {
    const { length } = datagram;
    const sent = this.#libc.sendto(this.#fd, datagram, length, 0, this.#kernel, SOCKADDR_NL_LENGTH);
    return sent === length ? null : this.#libc.errno();
  }

  /** `whole` numbers the mark of the beginning, whose failure is everybody's; the last one is always answered. */
  #answers(whole: number, last: number): readonly Reply[] {
    const replies = Array<Reply>(last - whole).fill(ACKNOWLEDGED);
    for (;;) {
      const bytes = this.#receive();
      // Without the last answer nothing is known of those that did not fail.
      if (typeof bytes === 'string') return failed(replies, bytes);
      const messages = decodeMessages(bytes);
      if (!messages.ok) continue;
      for (const message of messages.value) {
        // What an earlier batch was told belatedly.
        if (message.type !== NLMSG_ERROR || message.seq < whole || message.seq > last) continue;
        const told = decodeAcknowledgement(message);
        if (!told.ok) continue;
        const { errno, reason } = told.value;
        if (errno !== 0 && message.seq === whole) return failed(replies, errnoName(errno), reason);
        if (errno !== 0)
          replies[message.seq - whole - 1] = { code: errnoName(errno), reason, messages: [] };
        if (message.seq === last) return replies;
      }
    }
  }

  /** A datagram, valid until the next call, or why there is none. */
  #receive(): Uint8Array | string {
    const length = [SOCKADDR_NL_LENGTH];
    const got = this.#libc.recvfrom(this.#fd, this.#buffer, READ_BYTES, 0, this.#from, length);
    if (got >= 0) return this.#buffer.subarray(0, got);
    const error = this.#libc.errno();
    return error === 'EAGAIN' ? 'TIMEOUT' : error;
  }
}

const failed = (
  replies: readonly Reply[],
  code: string,
  reason: string | null = null,
): readonly Reply[] =>
  replies.map((reply) => (reply.code === null ? { ...reply, code, reason } : reply));
