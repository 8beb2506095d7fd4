/**
 * One socket of libc that never waits and is closed at exec (socket(2), socket(7)). It belongs to the network
 * namespace of the process. Errors are texts for people; a caller says before them what it tried.
 */
import { err, ok, type Result } from '../../lib/result.ts';
import { encodeFilter, type Instruction } from '../../wire/bpf.ts';
import type { Libc } from './libc.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK } from './socket-numbers.ts';

export const SOCK_RAW = 3;
const MSG_DONTWAIT = 0x40;

export type SocketKind = {
  /** AF_… */
  readonly domain: number;
  /** SOCK_RAW or SOCK_DGRAM. */
  readonly type: number;
  readonly protocol: number;
};

/** What an errno means to the users of a kind of socket, by its name, where that is another than below. */
export type ErrnoWords = Readonly<Record<string, string>>;

const WORDS: ErrnoWords = {
  EPERM: 'not permitted, CAP_NET_RAW is needed',
  EACCES: 'not permitted',
  ENODEV: 'the device does not exist',
  ENXIO: 'the device does not exist',
  ENETDOWN: 'the device is down',
  ENOBUFS: 'dropped on its way out (queue full or filtered)',
  EAGAIN: 'the send buffer is full',
};

export class RawSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #words: ErrnoWords;
  #isClosed = false;

  private constructor(libc: Libc, fd: number, words: ErrnoWords) {
    this.#libc = libc;
    this.#fd = fd;
    this.#words = words;
  }

  /** Needs CAP_NET_RAW, but for SOCK_STREAM, and SOCK_DGRAM of other families than AF_PACKET. */
  static open(libc: Libc, kind: SocketKind, words: ErrnoWords = {}): Result<RawSocket, string> {
    const type = kind.type | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const fd = libc.socket(kind.domain, type, kind.protocol);
    return fd < 0 ? err(describe(libc, words)) : ok(new RawSocket(libc, fd, words));
  }

  bind(address: Uint8Array): Result<void, string> {
    return this.#try((fd) => this.#libc.bind(fd, address, address.length) === 0);
  }

  /** Of a stream. */
  listen(backlog: number): Result<void, string> {
    return this.#try((fd) => this.#libc.listen(fd, backlog) === 0);
  }

  /** Fills `address` with what it is bound to. */
  localAddress(address: Uint8Array): Result<void, string> {
    const length = [address.length];
    return this.#try((fd) => this.#libc.getsockname(fd, address, length) === 0);
  }

  /** Replaces the program at once: no frame is judged by neither. */
  setFilter(program: readonly Instruction[]): Result<void, string> {
    const filter = { len: program.length, filter: encodeFilter(program) };
    return this.#try((fd) => this.#libc.attachFilter(fd, filter) === 0);
  }

  setOption(level: number, name: number, value: Uint8Array): Result<void, string> {
    return this.#try((fd) => this.#libc.setsockopt(fd, level, name, value, value.length) === 0);
  }

  /** Fills `value`. */
  getOption(level: number, name: number, value: Uint8Array): Result<void, string> {
    const length = [value.length];
    return this.#try((fd) => this.#libc.getsockopt(fd, level, name, value, length) === 0);
  }

  /** Fills `argument`. */
  ioctl(request: number, argument: Uint8Array): Result<void, string> {
    return this.#try((fd) => this.#libc.ioctl(fd, request, argument) >= 0);
  }

  /** All of it, or an error. The bytes may be used again afterwards: the kernel has its copy. */
  send(bytes: Uint8Array, address: Uint8Array): Result<void, string> {
    const { length } = bytes;
    return this.#try(
      (fd) =>
        this.#libc.sendto(fd, bytes, length, MSG_DONTWAIT, address, address.length) === length,
    );
  }

  /**
   * How much of `into` is filled, with `from` by its sender's address; 0: nothing waits. An error of the socket,
   * such as ENETDOWN where its device went down, is told once.
   */
  receive(into: Uint8Array, from: Uint8Array): Result<number, string> {
    if (this.#isClosed) return err('closed');
    const addressLength = [from.length];
    const { length } = into;
    const got = this.#libc.recvfrom(this.#fd, into, length, MSG_DONTWAIT, from, addressLength);
    if (got >= 0) return ok(got);
    return this.#libc.errno() === 'EAGAIN' ? ok(0) : err(describe(this.#libc, this.#words));
  }

  /** Where the end takes long, it is given to the kernel on another thread. */
  close(where: 'here' | 'aside' = 'here'): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (where === 'here') this.#libc.close(this.#fd);
    else this.#libc.closeAside(this.#fd);
  }

  #try(call: (fd: number) => boolean): Result<void, string> {
    if (this.#isClosed) return err('closed');
    return call(this.#fd) ? ok(undefined) : err(describe(this.#libc, this.#words));
  }
}

function describe(libc: Libc, own: ErrnoWords): string {
  const name = libc.errno();
  const words = own[name] ?? WORDS[name];
  return words === undefined ? name : `${words} (${name})`;
}
