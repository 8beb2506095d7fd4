/**
 * Raw sockets that send echo requests from one address and hear their own replies: libc by way of koffi
 * (raw(7), ip(7), ipv6(7), socket(7)). Nothing here blocks; sockets are closed at exec. Needs CAP_NET_RAW.
 */
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import {
  familyOf,
  formatIp,
  type IpAddress,
  type IpFamily,
  ipToBytes,
} from '../../model/address.ts';
import { encodeFilter, type Instruction } from '../../wire/bpf.ts';
import { ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY } from '../../wire/icmp.ts';
import { isLinkLocal, type OwnAddress } from './own-addresses.ts';

export type HeardReply = {
  readonly from: IpAddress;
  /** As the kernel gives it: IPv4 with its header. Valid until the next call. */
  readonly bytes: Uint8Array;
};

export interface EchoSocket {
  send(target: IpAddress, message: Uint8Array): Result<void, string>;
  /** Null: nothing waits. */
  receive(): HeardReply | null;
  close(): void;
}

export type OpenEchoSocket = (own: OwnAddress, identifier: number) => Result<EchoSocket, string>;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const MSG_DONTWAIT = 0x40;
/** struct sock_fprog: a short, padding, a pointer. */
const FPROG_LENGTH = 16;
const SOCKADDR_IN_LENGTH = 16;
const SOCKADDR_IN6_LENGTH = 28;
/** A reply is as long as its request, but for the options of an IPv4 header. */
const RECEIVE_LENGTH = 256;

/** Loads the library, some 20 ms where nobody has yet; opens nothing. */
export function createEchoSockets(): OpenEchoSocket {
  const libc = bindLibc();
  return (own, identifier) => openSocket(libc, own, identifier);
}

/**
 * Only replies with the identifier, so that nothing else on the host costs this process anything. Offsets count
 * from the IP header (4), or from the ICMPv6 header.
 */
export function buildEchoFilter(family: IpFamily, identifier: number): readonly Instruction[] {
  const [head, loadByte, loadHalf, type] =
    family === 4
      ? ([[HEADER_TO_X], LOAD_BYTE_X, LOAD_HALF_X, ICMP_ECHO_REPLY] as const)
      : ([[], LOAD_BYTE, LOAD_HALF, ICMPV6_ECHO_REPLY] as const);
  return [
    ...head,
    { code: loadByte, jt: 0, jf: 0, k: 0 },
    { code: JUMP_IF_EQUAL, jt: 0, jf: 3, k: type },
    { code: loadHalf, jt: 0, jf: 0, k: 4 },
    { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: identifier },
    { code: RETURN, jt: 0, jf: 0, k: RECEIVE_LENGTH },
    { code: RETURN, jt: 0, jf: 0, k: 0 },
  ];
}

const LOAD_BYTE = 0x30;
const LOAD_BYTE_X = 0x50;
const LOAD_HALF = 0x28;
const LOAD_HALF_X = 0x48;
/** X = length of the IPv4 header that begins at 0. */
const HEADER_TO_X: Instruction = { code: 0xb1, jt: 0, jf: 0, k: 0 };
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;

function openSocket(libc: Libc, own: OwnAddress, identifier: number): Result<EchoSocket, string> {
  const family = familyOf(own.address);
  const [domain, protocol] = family === 4 ? [AF_INET, IPPROTO_ICMP] : [AF_INET6, IPPROTO_ICMPV6];
  const fd = libc.socket(domain, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) return err(`cannot open a raw socket: ${lastError()}`);
  const program = buildEchoFilter(family, identifier);
  const filter = { len: program.length, filter: encodeFilter(program) };
  const filtered = libc.attachFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, FPROG_LENGTH);
  // The device of a link-local address is looked up again each time: it may have been made anew.
  const index = isLinkLocal(own.address) ? libc.indexOf(own.device) : 0;
  const address = socketAddress(own.address, index);
  if (filtered === 0 && libc.bind(fd, address, address.length) === 0)
    return ok(new RawEchoSocket(libc, fd, own));
  const reason = lastError();
  libc.close(fd);
  return err(`cannot send from ${own.address}: ${reason}`);
}

class RawEchoSocket implements EchoSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #own: OwnAddress;
  readonly #buffer = new Uint8Array(RECEIVE_LENGTH);
  readonly #from = new Uint8Array(SOCKADDR_IN6_LENGTH);
  #isClosed = false;

  constructor(libc: Libc, fd: number, own: OwnAddress) {
    this.#libc = libc;
    this.#fd = fd;
    this.#own = own;
  }

  send(target: IpAddress, message: Uint8Array): Result<void, string> {
    if (this.#isClosed) return err('closed');
    const index = isLinkLocal(target) ? this.#libc.indexOf(this.#own.device) : 0;
    const to = socketAddress(target, index);
    const { length } = message;
    const sent = this.#libc.sendto(this.#fd, message, length, MSG_DONTWAIT, to, to.length);
    return sent === length ? ok(undefined) : err(lastError());
  }

  receive(): HeardReply | null {
    if (this.#isClosed) return null;
    const length = this.#libc.recvfrom(
      this.#fd,
      this.#buffer,
      RECEIVE_LENGTH,
      MSG_DONTWAIT,
      this.#from,
      [SOCKADDR_IN6_LENGTH],
    );
    if (length < 0) return null;
    const isV4 = familyOf(this.#own.address) === 4;
    const from = formatIp(isV4 ? this.#from.subarray(4, 8) : this.#from.subarray(8, 24));
    return { from, bytes: this.#buffer.subarray(0, length) };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#libc.close(this.#fd);
  }
}

type Fprog = { readonly len: number; readonly filter: Uint8Array };

type Libc = {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Uint8Array, length: number) => number;
  readonly attachFilter: (
    fd: number,
    level: number,
    name: number,
    value: Fprog,
    length: number,
  ) => number;
  readonly sendto: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  readonly recvfrom: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number[],
  ) => number;
  readonly indexOf: (device: string) => number;
  readonly close: (fd: number) => number;
};

function bindLibc(): Libc {
  const library = koffi.load(null);
  const fprog = koffi.struct({ len: 'uint16_t', filter: 'uint8_t *' });
  return {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    bind: library.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
    attachFilter: library.func('setsockopt', 'int', [
      'int',
      'int',
      'int',
      koffi.pointer(fprog),
      'uint32_t',
    ]),
    sendto: library.func(
      'intptr_t sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *address, uint32_t address_length)',
    ),
    recvfrom: library.func(
      'intptr_t recvfrom(int fd, _Out_ uint8_t *bytes, size_t length, int flags, _Out_ uint8_t *address, _Inout_ uint32_t *address_length)',
    ),
    indexOf: library.func('uint32_t if_nametoindex(const char *device)'),
    close: library.func('int close(int fd)'),
  };
}

/** struct sockaddr_in, struct sockaddr_in6. */
function socketAddress(address: IpAddress, deviceIndex: number): Uint8Array {
  const isV4 = familyOf(address) === 4;
  const bytes = new Uint8Array(isV4 ? SOCKADDR_IN_LENGTH : SOCKADDR_IN6_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, isV4 ? AF_INET : AF_INET6, IS_LITTLE_ENDIAN);
  bytes.set(ipToBytes(address), isV4 ? 4 : 8);
  if (!isV4) view.setUint32(24, deviceIndex, IS_LITTLE_ENDIAN);
  return bytes;
}

/** The C structures are in host order. */
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

const ERROR_WORDS: Readonly<Record<string, string>> = {
  EPERM: 'not permitted: CAP_NET_RAW is needed, and no firewall that drops it',
  EACCES: 'not permitted',
  ENETUNREACH: 'no route to it',
  EHOSTUNREACH: 'no route to it',
  ENETDOWN: 'the device is down',
  ENODEV: 'the device does not exist',
  EADDRNOTAVAIL: 'the address is not bound here',
  EINVAL: 'not from this address',
  ENOBUFS: 'dropped on its way out (queue full or filtered)',
  EAGAIN: 'the send buffer is full',
};

function lastError(): string {
  const number = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0];
  if (name === undefined) return `errno ${number}`;
  const words = ERROR_WORDS[name];
  return words === undefined ? name : `${words} (${name})`;
}
