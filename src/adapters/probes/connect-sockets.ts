/**
 * TCP connects by the bare system calls: a `net.Socket` for each costs more than twice as much. By way of koffi, on a
 * thread of its own, which may wait here. Connections end by reset, so nothing stays in TIME_WAIT; and no socket is
 * shared with programs that the process starts.
 */
import koffi from 'koffi';
import { assert } from '../../lib/assert.ts';
import { familyOf, type IpAddress } from '../../model/address.ts';
import {
  AF_INET,
  AF_INET6,
  encodeAnyAddress,
  encodeIpAddress,
  hostInt,
} from '../raw-sockets/socket-address.ts';
import {
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SO_BINDTODEVICE,
  SO_MARK,
} from '../raw-sockets/socket-numbers.ts';

export type ConnectTarget = {
  readonly address: IpAddress;
  readonly port: number;
  /** Null: as the route says. */
  readonly source: IpAddress | null;
  /** 0: any. */
  readonly sourcePort: number;
  /** Null: as the route says. */
  readonly device: string | null;
  /** 0: none. */
  readonly mark: number;
};

/** What a look at a connect finds; a positive number is an errno. */
export const CONNECTED = 0;
export const CONNECTING = -1;
/** Added to an errno of what comes before the connect, which says nothing of the target whatever it is. */
export const UNMADE = 500_000;

export interface ConnectSockets {
  /** The descriptor of a connect that has begun; or the errno, negative, with `UNMADE` where there is no socket. */
  open(target: ConnectTarget): number;
  /** `CONNECTED`, `CONNECTING` or an errno. */
  look(fd: number): number;
  /** Of the connect that was looked at last, where it is connected: how long the kernel saw it take. */
  readonly roundTripMs: number;
  /** From now on the end of this connect ends a wait, and is told by it, once. */
  watch(fd: number): boolean;
  /** Waits at most so long. True: more may have ended than were told, as where a signal ended the wait. */
  wait(timeoutMs: number, tell: (fd: number) => void): boolean;
  /** Ends the connection; where it was connected the socket may be used again. */
  close(fd: number, wasConnected: boolean): void;
  /** An eventfd: 8 bytes written to it end a wait. It stays open when all else is closed. */
  readonly wakeFd: number;
  /** Everything but `wakeFd`. */
  closeAll(): void;
}

const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EPOLLOUT = 4;
const EPOLLONESHOT = 1 << 30;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_LINGER = 13;
const IPPROTO_IP = 0;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** struct tcp_info (linux/tcp.h): the state is its first byte, the smoothed round trip in microseconds its 68th. */
const TCP_INFO_LENGTH = 72;
const TCP_INFO_RTT_WORD = 17;
const TCP_ESTABLISHED = 1;
const TCP_SYN_SENT = 2;
const EINPROGRESS = koffi.os.errno['EINPROGRESS'];
const EINTR = koffi.os.errno['EINTR'];
const ECONNRESET = koffi.os.errno['ECONNRESET'] ?? 104;
const ECONNABORTED = koffi.os.errno['ECONNABORTED'] ?? 103;
const EVENTS_MAX = 256;
/** struct epoll_event in 32-bit words: packed on x86-64 alone (linux/eventpoll.h). */
const [EVENT_WORDS, DATA_WORD] = process.arch === 'x64' ? [3, 1] : [4, 2];
/** Sockets that wait to be used again; each is a few kilobytes of the kernel's. */
const IDLE_MAX = 512;
/** struct sockaddr with AF_UNSPEC: to connect to it dissolves the connection, see connect(2). */
const NOWHERE = new Uint8Array(16);
/** struct linger: on, for 0 seconds. */
const RESET_AT_CLOSE = new Uint8Array(Int32Array.of(1, 0).buffer);

type Calls = ReturnType<typeof bindCalls>;

type Used = {
  readonly family: number;
  /** Which use of the descriptor it is: its number may be used again while an event of the last use waits. */
  readonly use: number;
  /** It leaves by the routes, and can be used for any other target that does. */
  readonly isPlain: boolean;
  isWatched: boolean;
};

export function openConnectSockets(): ConnectSockets {
  return new EpollSockets(bindCalls());
}

class EpollSockets implements ConnectSockets {
  readonly #calls: Calls;
  readonly #epoll: number;
  readonly wakeFd: number;
  roundTripMs = 0;
  readonly #event = new Int32Array(EVENT_WORDS);
  readonly #events = new Int32Array(EVENT_WORDS * EVENTS_MAX);
  readonly #info = new Int32Array(TCP_INFO_LENGTH / 4);
  readonly #infoBytes = new Uint8Array(this.#info.buffer);
  readonly #value = new Int32Array(1);
  readonly #length = new Int32Array(1);
  readonly #open = new Map<number, Used>();
  readonly #idle: Record<number, number[]> = { [AF_INET]: [], [AF_INET6]: [] };
  readonly #places = new WeakMap<ConnectTarget, { family: number; address: Uint8Array }>();
  #lastUse = 0;

  constructor(calls: Calls) {
    this.#calls = calls;
    this.#epoll = calls.epoll_create1(SOCK_CLOEXEC);
    assert(this.#epoll >= 0, 'epoll_create1 gives a descriptor');
    this.wakeFd = calls.eventfd(0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert(this.wakeFd >= 0, 'eventfd gives a descriptor');
    this.#add(this.wakeFd, EPOLLIN, 0);
  }

  open(target: ConnectTarget): number {
    const { family, address } = this.#placeOf(target);
    const { source, sourcePort, device, mark } = target;
    const isPlain = source === null && sourcePort === 0 && device === null && mark === 0;
    const idle = isPlain ? this.#idle[family]?.pop() : undefined;
    const fd = idle ?? this.#create(family, target);
    if (fd < 0) return fd;
    if (this.#calls.connect(fd, address, address.length) < 0) {
      const errno = koffi.errno();
      if (errno !== EINPROGRESS) {
        this.#calls.close(fd);
        return -errno;
      }
    }
    this.#lastUse = (this.#lastUse + 1) | 0;
    this.#open.set(fd, { family, use: this.#lastUse, isPlain, isWatched: false });
    return fd;
  }

  look(fd: number): number {
    this.#length[0] = TCP_INFO_LENGTH;
    const { getsockopt } = this.#calls;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#info, this.#length) < 0) return koffi.errno();
    const state = this.#infoBytes[0];
    if (state === TCP_SYN_SENT) return CONNECTING;
    if (state === TCP_ESTABLISHED) {
      this.roundTripMs = (this.#info[TCP_INFO_RTT_WORD] ?? 0) / 1000;
      return CONNECTED;
    }
    this.#length[0] = this.#value.byteLength;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#value, this.#length) < 0) return koffi.errno();
    const errno = this.#value[0] ?? 0;
    // Accepted, and ended by the other side already: it has connected. A SYN is refused, never reset.
    const hasConnected = errno === ECONNRESET || (errno === 0 && CLOSED_SINCE.has(state ?? 0));
    this.roundTripMs = 0;
    if (hasConnected) return CONNECTED;
    return errno === 0 ? ECONNABORTED : errno;
  }

  watch(fd: number): boolean {
    const used = this.#open.get(fd);
    if (used === undefined) return false;
    used.isWatched = true;
    return this.#add(fd, EPOLLOUT | EPOLLONESHOT, used.use);
  }

  wait(timeoutMs: number, tell: (fd: number) => void): boolean {
    const events = this.#events;
    const count = this.#calls.epoll_wait(this.#epoll, events, EVENTS_MAX, timeoutMs);
    // After a stop of the process (SIGSTOP, a freezer), too: what came meanwhile is not told yet.
    if (count < 0) return koffi.errno() === EINTR;
    for (let n = 0; n < count; n++) {
      const fd = events[n * EVENT_WORDS + DATA_WORD] ?? -1;
      const use = events[n * EVENT_WORDS + DATA_WORD + 1];
      if (fd === this.wakeFd) this.#calls.read(fd, new Uint8Array(8), 8);
      else if (this.#open.get(fd)?.use === use) tell(fd);
    }
    return count === EVENTS_MAX;
  }

  close(fd: number, wasConnected: boolean): void {
    const used = this.#open.get(fd);
    if (used === undefined) return;
    this.#open.delete(fd);
    const idle = this.#idle[used.family];
    const isReusable = wasConnected && used.isPlain && !used.isWatched;
    if (isReusable && idle !== undefined && idle.length < IDLE_MAX) {
      if (this.#calls.connect(fd, NOWHERE, NOWHERE.length) === 0) {
        idle.push(fd);
        return;
      }
    }
    this.#calls.close(fd);
  }

  closeAll(): void {
    for (const fd of this.#open.keys()) this.#calls.close(fd);
    for (const idle of Object.values(this.#idle))
      for (const fd of idle.splice(0)) this.#calls.close(fd);
    this.#open.clear();
    this.#calls.close(this.#epoll);
  }

  /** Negative: the errno and `UNMADE`. */
  #create(family: number, target: ConnectTarget): number {
    const { socket, setsockopt, close } = this.#calls;
    const fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -(UNMADE + koffi.errno());
    const lingers = setsockopt(fd, SOL_SOCKET, SO_LINGER, RESET_AT_CLOSE, RESET_AT_CLOSE.length);
    if (lingers === 0 && this.#leaveBy(fd, target)) return fd;
    const errno = koffi.errno();
    close(fd);
    return -(UNMADE + errno);
  }

  #leaveBy(fd: number, target: ConnectTarget): boolean {
    const { address, source, sourcePort, device, mark } = target;
    const { setsockopt, bind } = this.#calls;
    const set = (level: number, name: number, value: Uint8Array): boolean =>
      setsockopt(fd, level, name, value, value.length) === 0;
    if (mark !== 0 && !set(SOL_SOCKET, SO_MARK, hostInt(mark))) return false;
    if (device !== null && !set(SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(device)))
      return false;
    if (source === null && sourcePort === 0) return true;
    // Many targets can share a port, also one that is chosen with the connect.
    const isShared =
      sourcePort === 0
        ? set(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, hostInt(1))
        : set(SOL_SOCKET, SO_REUSEADDR, hostInt(1));
    if (!isShared) return false;
    const from = source === null ? encodeAnyAddress(address) : encodeIpAddress(source, 0);
    const local = withPort(from, sourcePort);
    return bind(fd, local, local.length) === 0;
  }

  #placeOf(target: ConnectTarget): { family: number; address: Uint8Array } {
    const known = this.#places.get(target);
    if (known !== undefined) return known;
    const family = familyOf(target.address) === 4 ? AF_INET : AF_INET6;
    const address = withPort(encodeIpAddress(target.address, 0), target.port);
    const place = { family, address };
    this.#places.set(target, place);
    return place;
  }

  #add(fd: number, events: number, use: number): boolean {
    this.#event[0] = events;
    this.#event[DATA_WORD] = fd;
    this.#event[DATA_WORD + 1] = use;
    return this.#calls.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#event) === 0;
  }
}

/** States of a connection that was made and that the other side has ended in order: CLOSE_WAIT, LAST_ACK, CLOSING. */
const CLOSED_SINCE: ReadonlySet<number> = new Set([8, 9, 11]);

function withPort(address: Uint8Array, port: number): Uint8Array {
  new DataView(address.buffer).setUint16(2, port);
  return address;
}

/** `ECONNREFUSED`; `errno 4711` where it has no name. */
export function nameOfErrno(errno: number): string {
  const found = Object.entries(koffi.os.errno).find(([, value]) => value === errno);
  return found?.[0] ?? `errno ${errno}`;
}

type AddressCall = (fd: number, address: Uint8Array, length: number) => number;

/** Takes some 20 ms where nobody has loaded koffi yet. Typed arrays go by their place in memory, both ways. */
function bindCalls() {
  const library = koffi.load(null);
  return {
    socket: library.func('int socket(int, int, int)') as (
      domain: number,
      type: number,
      protocol: number,
    ) => number,
    connect: library.func('int connect(int, const uint8_t *, uint32_t)') as AddressCall,
    bind: library.func('int bind(int, const uint8_t *, uint32_t)') as AddressCall,
    setsockopt: library.func('int setsockopt(int, int, int, const uint8_t *, uint32_t)') as (
      fd: number,
      level: number,
      name: number,
      value: Uint8Array,
      length: number,
    ) => number,
    getsockopt: library.func('int getsockopt(int, int, int, int32_t *, int32_t *)') as (
      fd: number,
      level: number,
      name: number,
      value: Int32Array,
      length: Int32Array,
    ) => number,
    epoll_create1: library.func('int epoll_create1(int)') as (flags: number) => number,
    epoll_ctl: library.func('int epoll_ctl(int, int, int, const int32_t *)') as (
      epoll: number,
      operation: number,
      fd: number,
      event: Int32Array,
    ) => number,
    epoll_wait: library.func('int epoll_wait(int, int32_t *, int, int)') as (
      epoll: number,
      events: Int32Array,
      count: number,
      timeoutMs: number,
    ) => number,
    eventfd: library.func('int eventfd(unsigned int, int)') as (
      value: number,
      flags: number,
    ) => number,
    read: library.func('intptr_t read(int, uint8_t *, size_t)') as (
      fd: number,
      bytes: Uint8Array,
      length: number,
    ) => number,
    close: library.func('int close(int)') as (fd: number) => number,
  };
}
