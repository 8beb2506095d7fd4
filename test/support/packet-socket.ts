/**
 * Raw sockets of the lab's client through koffi: whole frames (packet(7)), and echoes on the kernel's
 * own path (raw(7)), which follow its neighbour table as any program's do. Nothing here waits.
 * For probe processes only; the product has its own announcer.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { checksum, ETHERTYPE, isIpv6, parseIp, parseMac } from './frames.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0x800;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;
const SOL_RAW = 255;
const ICMP_FILTER = 1;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const ICMPV6_FILTER = 1;
const ICMP_ECHO_REPLY = 0;
const ICMPV6_ECHO_REPLY = 129;
const MSG_DONTWAIT = 0x40;
const RECEIVE_BYTES = 4 << 20;
/** Read at once at most: a probe must get back to its clock. */
const DRAIN_MAX = 4000;

const libc = koffi.load('libc.so.6');
const openSocket = libc.func('int socket(int, int, int)');
const bind = libc.func('int bind(int, void *, int)');
const send = libc.func('intptr_t send(int, void *, size_t, int)');
const sendto = libc.func('intptr_t sendto(int, void *, size_t, int, void *, int)');
const recv = libc.func('intptr_t recv(int, _Out_ uint8_t *, size_t, int)');
const setsockopt = libc.func('int setsockopt(int, int, int, void *, int)');
koffi.struct('LabBpf', { code: 'uint16', jt: 'uint8', jf: 'uint8', k: 'uint32' });
koffi.struct('LabBpfProgram', { length: 'uint16', filter: 'LabBpf *' });

export interface PacketSocket {
  readonly mac: Buffer;
  send(frame: Buffer): void;
  /** Calls back for every frame that waits, at most 4000; a frame is good until the call returns. */
  drain(onFrame: (frame: Buffer) => void): void;
}

/** One instruction of classic BPF: code, jumps if true and if false, operand (linux/filter.h). */
export type Bpf = readonly [code: number, jt: number, jf: number, k: number];

/** A socket for frames of one ethertype (default: all of them), those that the filter lets through. */
export function openPacketSocket(
  device: string,
  etherType: number = ETHERTYPE.all,
  filter: readonly Bpf[] = [],
): PacketSocket {
  const protocol = ((etherType & 0xff) << 8) | (etherType >> 8);
  const fd = rawSocket(AF_PACKET, protocol);
  const index = Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'utf8'));
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(etherType, 2);
  address.writeInt32LE(index, 4);
  if (filter.length > 0) attachFilter(fd, filter);
  if (Number(bind(fd, address, address.length)) !== 0)
    throw new Error(`bind to ${device}: errno ${koffi.errno()}`);
  return {
    mac: parseMac(readFileSync(`/sys/class/net/${device}/address`, 'utf8').trim()),
    send: (frame) => void send(fd, frame, frame.length, 0),
    drain: (onFrame) => drainAll(fd, onFrame),
  };
}

export interface EchoSocket {
  /** One echo request; the kernel resolves the neighbour. False: it did not take it. */
  send(sequence: number): boolean;
  /** Calls back with the sequence of every reply to ours that waits. */
  drain(onReply: (sequence: number) => void): void;
}

/** Echoes to one address, numbered with 32 bits in the data; `id` tells them from others'. */
export function openEchoSocket(target: string, id: number): EchoSocket {
  const isV6 = isIpv6(target);
  const fd = rawSocket(isV6 ? AF_INET6 : AF_INET, isV6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
  const address = socketAddress(target);
  const icmp = Buffer.alloc(12);
  icmp[0] = isV6 ? 128 : 8;
  icmp.writeUInt16BE(id, 4);
  if (isV6) {
    // A bit that is set blocks its type: all but the reply.
    const mask = Buffer.alloc(32, 0xff);
    mask.writeUInt32LE(~(1 << (ICMPV6_ECHO_REPLY & 31)) >>> 0, (ICMPV6_ECHO_REPLY >> 5) * 4);
    setsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, mask, mask.length);
  } else {
    const mask = Buffer.alloc(4);
    mask.writeUInt32LE(~(1 << ICMP_ECHO_REPLY) >>> 0);
    setsockopt(fd, SOL_RAW, ICMP_FILTER, mask, mask.length);
  }
  return {
    send(sequence) {
      icmp.writeUInt16BE(sequence & 0xffff, 6);
      icmp.writeUInt32BE(sequence >>> 0, 8);
      icmp.writeUInt16BE(0, 2);
      if (!isV6) icmp.writeUInt16BE(checksum(icmp), 2); // Of ICMPv6 the kernel makes it.
      return Number(sendto(fd, icmp, icmp.length, 0, address, address.length)) === icmp.length;
    },
    drain: (onReply) =>
      drainAll(fd, (packet) => {
        const reply = isV6 ? packet : packet.subarray(20);
        if (reply.length >= 12 && reply.readUInt16BE(4) === id) onReply(reply.readUInt32BE(8));
      }),
  };
}

function rawSocket(family: number, protocol: number): number {
  const fd = Number(openSocket(family, SOCK_RAW_NONBLOCK, protocol));
  if (fd < 0) throw new Error(`raw socket of family ${family}: errno ${koffi.errno()}`);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(RECEIVE_BYTES);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, size.length);
  return fd;
}

function attachFilter(fd: number, filter: readonly Bpf[]): void {
  const program = {
    length: filter.length,
    filter: filter.map(([code, jt, jf, k]) => ({ code, jt, jf, k })),
  };
  const pointer = koffi.as(program, 'LabBpfProgram *');
  if (Number(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, pointer, 16)) !== 0)
    throw new Error(`the filter is refused: errno ${koffi.errno()}`);
}

const buffer = Buffer.alloc(2048);

function drainAll(fd: number, onData: (data: Buffer) => void): void {
  for (let count = 0; count < DRAIN_MAX; count += 1) {
    const length = Number(recv(fd, buffer, buffer.length, MSG_DONTWAIT));
    if (length <= 0) return;
    onData(buffer.subarray(0, length));
  }
}

/** sockaddr_in or sockaddr_in6. */
function socketAddress(target: string): Buffer {
  const ip = parseIp(target);
  const address = Buffer.alloc(ip.length === 16 ? 28 : 16);
  address.writeUInt16LE(ip.length === 16 ? AF_INET6 : AF_INET, 0);
  ip.copy(address, ip.length === 16 ? 8 : 4);
  return address;
}
