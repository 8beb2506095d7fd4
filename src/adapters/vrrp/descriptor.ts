/**
 * What raw-socket leaves out, through libc by way of koffi: its descriptor, closing at exec, and reading with
 * ancillary data, without which an IPv6 datagram has neither destination nor hop limit (recvmsg(2),
 * ipv6(7), RFC 3542 4). Structures are those of 64-bit Linux.
 */
import { readdirSync } from 'node:fs';
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import { formatIp } from '../../model/address.ts';
import type { VrrpDatagram } from '../../wire/vrrp-ip.ts';
import type { RawSocket } from './raw-package.ts';
import { SOL_SOCKET } from '../raw-sockets/socket-numbers.ts';

const SO_COOKIE = 57;
const COOKIE_LENGTH = 8;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const MSG_DONTWAIT = 0x40;
const IPPROTO_IPV6 = 41;
const IPV6_PKTINFO = 50;
const IPV6_HOPLIMIT = 52;
const SOCKADDR_IN6_LENGTH = 28;
const MSGHDR_LENGTH = 56;
const CMSGHDR_LENGTH = 16;
const IOVEC_LENGTH = 16;
const CONTROL_LENGTH = 256;
/** The largest advertisement of IPv6 has 255 addresses and a trailer: 4116 bytes. */
const DATA_LENGTH = 8_192;

type Libc = {
  readonly getsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number[],
  ) => number;
  readonly fcntl: (fd: number, command: number, argument: number) => number;
  readonly recvmsg: (fd: number, message: unknown, flags: number) => number;
  readonly indexOf: (device: string) => number;
};

export class Descriptors {
  readonly #libc: Libc;

  constructor() {
    const library = koffi.load(null);
    this.#libc = {
      getsockopt: library.func(
        'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
      ),
      // Variadic in C; on Linux the calling convention of these arguments is the same.
      fcntl: library.func('int fcntl(int fd, int command, int argument)'),
      recvmsg: library.func('intptr_t recvmsg(int fd, void *message, int flags)'),
      indexOf: library.func('uint32_t if_nametoindex(const char *device)'),
    };
  }

  /** Of the calling process's network namespace; null: there is no such device. */
  deviceIndex(device: string): number | null {
    const index = this.#libc.indexOf(device);
    return index === 0 ? null : index;
  }

  /** Finds the descriptor of a socket and makes it close at exec: children must not keep it. */
  take(socket: RawSocket): Result<number, string> {
    const cookie = Buffer.alloc(COOKIE_LENGTH);
    socket.getOption(SOL_SOCKET, SO_COOKIE, cookie, COOKIE_LENGTH);
    for (const name of readdirSync('/proc/self/fd')) {
      const fd = Number(name);
      const other = Buffer.alloc(COOKIE_LENGTH);
      const length = [COOKIE_LENGTH];
      // Descriptors that are no sockets refuse.
      if (this.#libc.getsockopt(fd, SOL_SOCKET, SO_COOKIE, other, length) !== 0) continue;
      if (!other.equals(cookie)) continue;
      if (this.#libc.fcntl(fd, F_SETFD, FD_CLOEXEC) !== 0) return err('it stays open at exec');
      return ok(fd);
    }
    return err('its descriptor is not found');
  }

  reader(fd: number): Ipv6Reader {
    return new Ipv6Reader(this.#libc, fd);
  }
}

/** Reads datagrams of an IPv6 raw socket that has RECVPKTINFO and RECVHOPLIMIT set. */
export class Ipv6Reader {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #memory: unknown;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #isClosed = false;

  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
    // Outside the heap of JavaScript, so that its address stays.
    this.#memory = koffi.alloc('uint8_t', TOTAL_LENGTH);
    this.#bytes = new Uint8Array(koffi.view(this.#memory, TOTAL_LENGTH));
    this.#view = new DataView(this.#bytes.buffer);
    const base = koffi.address(this.#memory);
    const pointer = (at: number, to: number): void =>
      this.#view.setBigUint64(at, base + BigInt(to), IS_LITTLE_ENDIAN);
    pointer(0, NAME_OFFSET);
    pointer(16, IOVEC_OFFSET);
    pointer(32, CONTROL_OFFSET);
    pointer(IOVEC_OFFSET, DATA_OFFSET);
    this.#setLength(24, 1);
    this.#setLength(IOVEC_OFFSET + 8, DATA_LENGTH);
  }

  /** The next datagram, its payload a copy; null: none waits, or it has not all its ancillary data. */
  receive(): VrrpDatagram | null {
    if (this.#isClosed) return null;
    this.#view.setUint32(8, SOCKADDR_IN6_LENGTH, IS_LITTLE_ENDIAN);
    this.#setLength(40, CONTROL_LENGTH);
    const length = this.#libc.recvmsg(this.#fd, this.#memory, MSG_DONTWAIT);
    if (length < 0) return null;
    const control = this.#readControl();
    if (control === null) return null;
    return {
      source: formatIp(this.#bytes.subarray(NAME_OFFSET + 8, NAME_OFFSET + 24)),
      ...control,
      payload: this.#bytes.slice(DATA_OFFSET, DATA_OFFSET + length),
    };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    koffi.free(this.#memory);
  }

  /** CMSG_FIRSTHDR and CMSG_NXTHDR of cmsg(3). */
  #readControl(): Pick<VrrpDatagram, 'destination' | 'ttl'> | null {
    const filled = Number(this.#view.getBigUint64(40, IS_LITTLE_ENDIAN));
    const end = CONTROL_OFFSET + Math.min(filled, CONTROL_LENGTH);
    let destination: VrrpDatagram['destination'] | null = null;
    let ttl: number | null = null;
    for (let at = CONTROL_OFFSET; at + CMSGHDR_LENGTH <= end; ) {
      const length = Number(this.#view.getBigUint64(at, IS_LITTLE_ENDIAN));
      if (length < CMSGHDR_LENGTH || at + length > end) break;
      const data = at + CMSGHDR_LENGTH;
      const isIpv6 = this.#view.getInt32(at + 8, IS_LITTLE_ENDIAN) === IPPROTO_IPV6;
      const type = this.#view.getInt32(at + 12, IS_LITTLE_ENDIAN);
      if (isIpv6 && type === IPV6_PKTINFO && length >= CMSGHDR_LENGTH + 16)
        destination = formatIp(this.#bytes.subarray(data, data + 16));
      if (isIpv6 && type === IPV6_HOPLIMIT && length >= CMSGHDR_LENGTH + 4)
        ttl = this.#view.getInt32(data, IS_LITTLE_ENDIAN);
      at += (length + 7) & ~7;
    }
    return destination === null || ttl === null ? null : { destination, ttl };
  }

  #setLength(at: number, value: number): void {
    this.#view.setBigUint64(at, BigInt(value), IS_LITTLE_ENDIAN);
  }
}

/** struct msghdr at the beginning, then what it points to; each part begins at a multiple of 8. */
const IOVEC_OFFSET = MSGHDR_LENGTH;
const NAME_OFFSET = IOVEC_OFFSET + IOVEC_LENGTH;
const CONTROL_OFFSET = NAME_OFFSET + 32;
const DATA_OFFSET = CONTROL_OFFSET + CONTROL_LENGTH;
const TOTAL_LENGTH = DATA_OFFSET + DATA_LENGTH;

/** The C structures are in host order. */
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
