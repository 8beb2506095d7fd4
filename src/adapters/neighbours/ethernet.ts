/**
 * Packet sockets that hear one EtherType of one device through a filter, and send whole frames: libc by
 * way of koffi (packet(7), socket(7), netdevice(7)). Nothing here blocks; sockets are closed at exec.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import {
  formatMac,
  type IpAddress,
  type IpFamily,
  ipToBytes,
  type MacAddress,
} from '../../model/address.ts';
import { encodeFilter, type Instruction } from '../../wire/bpf.ts';
import { solicitedNodeGroup } from '../../wire/ndp.ts';
import { SNAP_LENGTH } from './voice-filter.ts';

/** What a frame needs to know of its device, as the kernel says now. */
export type Device = { readonly index: number; readonly mac: MacAddress };

export interface Ear {
  /** Index of the device it was opened on; that device may be gone, and another have its name. */
  readonly deviceIndex: number;
  setFilter(program: readonly Instruction[]): Result<void, string>;
  /** The next frame, valid until the next call; null: none waits. */
  receive(): Uint8Array | null;
  /**
   * Whether frames may have passed unheard since this was last asked: the device was down (packet(7), ENETDOWN),
   * or more came than the socket holds (PACKET_STATISTICS). To be asked when `receive` has given null.
   */
  hasMissed(): boolean;
  /**
   * Makes the device hear what is sent to the solicited-node group of an IPv6 address until the ear is closed,
   * through filters of the hardware and of switches that snoop MLD (RFC 4862 5.4.2). Where the address is
   * bound, the kernel has done so already; a failure changes nothing.
   */
  joinGroupOf(address: IpAddress): void;
  /** Never blocks: the end is given to the kernel on another thread. */
  close(): void;
}

export interface Ethernet {
  device(name: string): Result<Device, string>;
  /** MAC addresses of all interfaces of this network namespace; those read last where they cannot be read. */
  ownMacs(): ReadonlySet<MacAddress>;
  /** Hears ARP (4) or IPv6 (6) of the device, by the filter from the first frame on. Needs CAP_NET_RAW. */
  openEar(device: string, family: IpFamily, filter: readonly Instruction[]): Result<Ear, string>;
  /**
   * Hears every frame that comes in, before any rule of the kernel may drop it: the filter must tell what is
   * wanted. A gate hides from an ordinary ear what others ask about VIPs that are silent here.
   */
  openEarlyEar(device: string, filter: readonly Instruction[]): Result<Ear, string>;
  send(deviceIndex: number, frame: Uint8Array): Result<void, string>;
  close(): void;
}

const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const MSG_DONTWAIT = 0x40;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFHWADDR = 0x8927;
const ARPHRD_ETHER = 1;
const ETH_P_ALL = 0x0003;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
/** struct tpacket_stats: packets, drops. Reading it begins the count anew. */
const STATISTICS_LENGTH = 8;
const IPPROTO_IPV6 = 41;
const IPV6_JOIN_GROUP = 20;
const ETHERTYPE = { 4: 0x0806, 6: 0x86dd } as const;
/** struct ifreq: 16 bytes of name, then a union of 24 bytes on 64-bit machines. */
const IFREQ_LENGTH = 40;
const IFNAME_LENGTH_MAX = 15;
const SOCKADDR_LL_LENGTH = 20;

/** The packet sockets of this process's network namespace; opens nothing yet. */
export function createEthernet(): Ethernet {
  return new PacketEthernet();
}

class PacketEthernet implements Ethernet {
  readonly #libc = bindLibc();
  /** Sends and asks; protocol 0, so that it receives nothing. */
  #fd: number | null = null;
  #ownMacs: ReadonlySet<MacAddress> = new Set();

  device(name: string): Result<Device, string> {
    const fd = this.#open();
    return fd.ok ? queryDevice(this.#libc, fd.value, name) : fd;
  }

  ownMacs(): ReadonlySet<MacAddress> {
    const names = interfaceNames();
    // Out of descriptors: a stranger is not made of our own interfaces by that.
    if (names === null || !this.#open().ok) return this.#ownMacs;
    const devices = names.map((name) => this.device(name));
    this.#ownMacs = new Set(devices.flatMap((device) => (device.ok ? [device.value.mac] : [])));
    return this.#ownMacs;
  }

  openEar(device: string, family: IpFamily, filter: readonly Instruction[]): Result<Ear, string> {
    return this.#openEar(device, ETHERTYPE[family], filter);
  }

  openEarlyEar(device: string, filter: readonly Instruction[]): Result<Ear, string> {
    return this.#openEar(device, ETH_P_ALL, filter);
  }

  #openEar(device: string, protocol: number, filter: readonly Instruction[]): Result<Ear, string> {
    const found = this.device(device);
    if (!found.ok) return found;
    // Protocol 0: nothing is heard before the filter is there.
    const fd = this.#libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err(`cannot open a packet socket: ${lastError()}`);
    const ear = new PacketEar(this.#libc, fd, found.value.index);
    const filtered = ear.setFilter(filter);
    // Since Linux 4.20; without it our own frames are copied for us, and dropped by their MAC address.
    if (protocol === ETH_P_ALL)
      this.#libc.setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, IS_ON, IS_ON.length);
    const address = linkAddress(found.value.index, protocol, null);
    const isBound = filtered.ok && this.#libc.bind(fd, address, SOCKADDR_LL_LENGTH) === 0;
    if (isBound) return ok(ear);
    const reason = filtered.ok ? `cannot listen: ${lastError()}` : filtered.error;
    ear.close();
    return err(reason);
  }

  send(deviceIndex: number, frame: Uint8Array): Result<void, string> {
    const fd = this.#open();
    if (!fd.ok) return fd;
    const etherType = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
    const address = linkAddress(deviceIndex, etherType, frame.subarray(0, 6));
    const { length } = frame;
    const sent = this.#libc.sendto(
      fd.value,
      frame,
      length,
      MSG_DONTWAIT,
      address,
      SOCKADDR_LL_LENGTH,
    );
    return sent === length ? ok(undefined) : err(`cannot send: ${lastError()}`);
  }

  close(): void {
    if (this.#fd !== null) this.#libc.close(this.#fd);
    this.#fd = null;
  }

  #open(): Result<number, string> {
    if (this.#fd === null) {
      const fd = this.#libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      if (fd < 0) return err(`cannot open a packet socket: ${lastError()}`);
      this.#fd = fd;
    }
    return ok(this.#fd);
  }
}

class PacketEar implements Ear {
  readonly deviceIndex: number;
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(SNAP_LENGTH);
  readonly #statistics = new Uint8Array(STATISTICS_LENGTH);
  /** A socket of IPv6 that does nothing but hold memberships. */
  #memberFd: number | null = null;
  #hasFailed = false;
  #isClosed = false;

  constructor(libc: Libc, fd: number, deviceIndex: number) {
    this.#libc = libc;
    this.#fd = fd;
    this.deviceIndex = deviceIndex;
  }

  setFilter(program: readonly Instruction[]): Result<void, string> {
    const value = { len: program.length, filter: encodeFilter(program) };
    const done = this.#libc.attachFilter(
      this.#fd,
      SOL_SOCKET,
      SO_ATTACH_FILTER,
      value,
      FPROG_LENGTH,
    );
    return done === 0 ? ok(undefined) : err(`cannot filter: ${lastError()}`);
  }

  receive(): Uint8Array | null {
    if (this.#isClosed) return null;
    const length = this.#libc.recv(this.#fd, this.#buffer, SNAP_LENGTH, MSG_DONTWAIT);
    if (length < 0 && koffi.errno() !== koffi.os.errno['EAGAIN']) this.#hasFailed = true;
    return length > 0 ? this.#buffer.subarray(0, length) : null;
  }

  hasMissed(): boolean {
    if (this.#isClosed) return true;
    const bytes = this.#statistics;
    const read = this.#libc.getOption(this.#fd, SOL_PACKET, PACKET_STATISTICS, bytes, [
      STATISTICS_LENGTH,
    ]);
    const drops = new DataView(bytes.buffer).getUint32(4, IS_LITTLE_ENDIAN);
    const hasMissed = this.#hasFailed || read !== 0 || drops > 0;
    this.#hasFailed = false;
    return hasMissed;
  }

  joinGroupOf(address: IpAddress): void {
    if (this.#isClosed) return;
    this.#memberFd ??= this.#libc.socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const index = hostOrder(this.deviceIndex);
    // struct ipv6_mreq. A second membership of one group is refused, and not needed.
    const request = Uint8Array.of(...solicitedNodeGroup(ipToBytes(address)), ...index);
    const { length } = request;
    this.#libc.setOption(this.#memberFd, IPPROTO_IPV6, IPV6_JOIN_GROUP, request, length);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // The kernel waits for every processor to let go of the hook, some 10 ms: not on this thread.
    this.#libc.closeAsync(this.#fd, () => {});
    if (this.#memberFd !== null && this.#memberFd >= 0)
      this.#libc.closeAsync(this.#memberFd, () => {});
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
  readonly setOption: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number;
  readonly getOption: (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number[],
  ) => number;
  readonly ioctl: (fd: number, request: number, argument: Uint8Array) => number;
  readonly recv: (fd: number, bytes: Uint8Array, length: number, flags: number) => number;
  readonly sendto: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  readonly close: (fd: number) => number;
  readonly closeAsync: (fd: number, done: () => void) => void;
};

/** struct sock_fprog: a short, padding, a pointer. */
const FPROG_LENGTH = 16;

function bindLibc(): Libc {
  const library = koffi.load(null);
  const fprog = koffi.struct({ len: 'uint16_t', filter: 'uint8_t *' });
  const close = library.func('int close(int fd)');
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
    setOption: library.func(
      'int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)',
    ),
    getOption: library.func(
      'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
    ),
    // Variadic in C; on Linux the calling convention of these arguments is the same.
    ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
    recv: library.func('intptr_t recv(int fd, _Out_ uint8_t *bytes, size_t length, int flags)'),
    sendto: library.func(
      'intptr_t sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *address, uint32_t address_length)',
    ),
    close,
    closeAsync: (fd, done) => close.async(fd, done),
  };
}

/** Of the calling process's network namespace (proc_pid_net(5)); null: they cannot be read now. */
function interfaceNames(): string[] | null {
  let table: string;
  try {
    table = readFileSync('/proc/self/net/dev', 'utf8');
  } catch {
    return null;
  }
  const lines = table.split('\n').slice(2);
  return lines.flatMap((line) => {
    const name = line.split(':')[0]?.trim() ?? '';
    return name === '' ? [] : [name];
  });
}

function queryDevice(libc: Libc, fd: number, name: string): Result<Device, string> {
  const request = new Uint8Array(IFREQ_LENGTH);
  const encoded = new TextEncoder().encode(name);
  if (encoded.length === 0 || encoded.length > IFNAME_LENGTH_MAX)
    return err(`"${name}" is no device name`);
  request.set(encoded);
  if (libc.ioctl(fd, SIOCGIFINDEX, request) < 0) return err(`no such device: ${lastError()}`);
  const view = new DataView(request.buffer);
  const index = view.getInt32(16, IS_LITTLE_ENDIAN);
  if (libc.ioctl(fd, SIOCGIFHWADDR, request) < 0) return err(`no MAC address: ${lastError()}`);
  if (view.getUint16(16, IS_LITTLE_ENDIAN) !== ARPHRD_ETHER) return err('not an Ethernet device');
  return ok({ index, mac: formatMac(request.subarray(18, 24)) });
}

/** struct sockaddr_ll. */
function linkAddress(index: number, etherType: number, destination: Uint8Array | null): Uint8Array {
  const address = new Uint8Array(SOCKADDR_LL_LENGTH);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, IS_LITTLE_ENDIAN);
  view.setUint16(2, etherType);
  view.setInt32(4, index, IS_LITTLE_ENDIAN);
  if (destination !== null) {
    address[11] = 6;
    address.set(destination, 12);
  }
  return address;
}

/** The C structures are in host order. */
const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
const hostOrder = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);
const IS_ON = hostOrder(1);

const ERROR_WORDS: Readonly<Record<string, string>> = {
  EPERM: 'not permitted, CAP_NET_RAW is needed',
  EACCES: 'not permitted',
  ENODEV: 'the device does not exist',
  ENXIO: 'the device does not exist',
  ENETDOWN: 'the device is down',
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
