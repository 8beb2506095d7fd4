/**
 * One AF_PACKET socket to send whole Ethernet frames, through libc by way of koffi (packet(7), netdevice(7)).
 * Node's own sockets know neither ARP nor link-layer sending. Never blocks; closed at exec.
 */
import koffi from 'koffi';
import { err, ok, type Result } from '../../lib/result.ts';
import { formatMac, type MacAddress } from '../../model/address.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_DONTWAIT = 0x40;
const SIOCGIFINDEX = 0x8933;
const SIOCGIFHWADDR = 0x8927;
const ARPHRD_ETHER = 1;
/** struct ifreq: 16 bytes of name, then a union of 24 bytes on 64-bit machines. */
const IFREQ_LENGTH = 40;
const IFNAME_LENGTH_MAX = 15;
const SOCKADDR_LL_LENGTH = 20;

type Libc = {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly ioctl: (fd: number, request: number, argument: Uint8Array) => number;
  readonly sendto: (
    fd: number,
    bytes: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number;
  readonly close: (fd: number) => number;
};

/** What a frame needs to know of its device, as the kernel says now. */
export type Device = { readonly index: number; readonly mac: MacAddress };

export interface PacketSocket {
  device(name: string): Result<Device, string>;
  send(deviceIndex: number, frame: Uint8Array): Result<void, string>;
  close(): void;
}

/** Needs CAP_NET_RAW; the socket lives in the network namespace of the calling process. */
export function openPacketSocket(): Result<PacketSocket, string> {
  const libc = bindLibc();
  // Protocol 0: the socket receives nothing.
  const fd = libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return err(`cannot open a packet socket: ${lastError()}`);
  return ok({
    device: (name) => queryDevice(libc, fd, name),
    send: (deviceIndex, frame) => {
      const address = linkAddress(deviceIndex, frame);
      const sent = libc.sendto(fd, frame, frame.length, MSG_DONTWAIT, address, SOCKADDR_LL_LENGTH);
      return sent === frame.length ? ok(undefined) : err(`cannot send: ${lastError()}`);
    },
    close: () => {
      libc.close(fd);
    },
  });
}

function bindLibc(): Libc {
  const library = koffi.load(null);
  return {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    // Variadic in C; on Linux the calling convention of these arguments is the same.
    ioctl: library.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
    sendto: library.func(
      'intptr_t sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *address, uint32_t address_length)',
    ),
    close: library.func('int close(int fd)'),
  };
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

/** struct sockaddr_ll; the destination is the frame's own. */
function linkAddress(deviceIndex: number, frame: Uint8Array): Uint8Array {
  const address = new Uint8Array(SOCKADDR_LL_LENGTH);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, IS_LITTLE_ENDIAN);
  address.set(frame.subarray(12, 14), 2);
  view.setInt32(4, deviceIndex, IS_LITTLE_ENDIAN);
  address[11] = 6;
  address.set(frame.subarray(0, 6), 12);
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
