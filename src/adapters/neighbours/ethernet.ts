/**
 * Packet sockets that hear one EtherType of one device through a filter, and send whole frames: libc by
 * way of koffi (packet(7), socket(7), netdevice(7)). Nothing here blocks; sockets are closed at exec.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import { formatMac, type IpFamily, type MacAddress } from '../../model/address.ts';
import { encodeFilter, type Instruction } from '../../wire/bpf.ts';
import { SNAP_LENGTH } from './voice-filter.ts';

/** What a frame needs to know of its device, as the kernel says now. */
export type Device = { readonly index: number; readonly mac: MacAddress };

export interface Ear {
  /** Index of the device it was opened on; that device may be gone, and another have its name. */
  readonly deviceIndex: number;
  setFilter(program: readonly Instruction[]): Result<void, string>;
  /** The next frame, valid until the next call; null: none waits. */
  receive(): Uint8Array | null;
  /** Never blocks: the end is given to the kernel on another thread. */
  close(): void;
}

export interface Ethernet {
  device(name: string): Result<Device, string>;
  /** MAC addresses of all interfaces of this network namespace. */
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

const AF_PACKET = 17;
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
const PACKET_IGNORE_OUTGOING = 23;
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

  device(name: string): Result<Device, string> {
    const fd = this.#open();
    return fd.ok ? queryDevice(this.#libc, fd.value, name) : fd;
  }

  ownMacs(): ReadonlySet<MacAddress> {
    const macs = new Set<MacAddress>();
    for (const name of interfaceNames()) {
      const device = this.device(name);
      if (device.ok) macs.add(device.value.mac);
    }
    return macs;
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
      this.#libc.setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, [1], 4);
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
    return length > 0 ? this.#buffer.subarray(0, length) : null;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // The kernel waits for every processor to let go of the hook, some 10 ms: not on this thread.
    this.#libc.closeAsync(this.#fd, () => {});
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
    value: readonly number[],
    length: number,
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
      'int setsockopt(int fd, int level, int name, const int *value, uint32_t length)',
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

/** Of the calling process's network namespace (proc_pid_net(5)). */
function interfaceNames(): string[] {
  const lines = readFileSync('/proc/self/net/dev', 'utf8').split('\n').slice(2);
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
