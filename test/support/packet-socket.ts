/**
 * A raw Ethernet socket of the lab's client (packet(7)) through koffi: sends frames, reads without
 * waiting. For probe processes only; the product has its own announcer.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0x800;
const ETH_P_ALL = 0x0003;
const MSG_DONTWAIT = 0x40;

export interface PacketSocket {
  readonly mac: Buffer;
  send(frame: Buffer): void;
  /** Calls back for every frame that waits, at most 1000. */
  drain(onFrame: (frame: Buffer) => void): void;
}

export function openPacketSocket(device: string): PacketSocket {
  const libc = koffi.load('libc.so.6');
  const socket = libc.func('int socket(int, int, int)');
  const bind = libc.func('int bind(int, void *, int)');
  const sendto = libc.func('intptr_t send(int, void *, size_t, int)');
  const recv = libc.func('intptr_t recv(int, _Out_ uint8_t *, size_t, int)');
  const protocol = ((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8);
  const fd = Number(socket(AF_PACKET, SOCK_RAW_NONBLOCK, protocol));
  if (fd < 0) throw new Error(`packet socket: errno ${koffi.errno()}`);
  const index = Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'utf8'));
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ALL, 2);
  address.writeInt32LE(index, 4);
  if (Number(bind(fd, address, address.length)) !== 0)
    throw new Error(`bind to ${device}: errno ${koffi.errno()}`);
  const buffer = Buffer.alloc(2048);
  return {
    mac: parseMac(readFileSync(`/sys/class/net/${device}/address`, 'utf8').trim()),
    send: (frame) => void sendto(fd, frame, frame.length, 0),
    drain(onFrame) {
      for (let count = 0; count < 1000; count += 1) {
        const length = Number(recv(fd, buffer, buffer.length, MSG_DONTWAIT));
        if (length <= 0) return;
        onFrame(Buffer.from(buffer.subarray(0, length)));
      }
    },
  };
}

export function parseMac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

export function formatMac(bytes: Buffer): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function parseIpv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

/** One's complement sum of 16-bit words (RFC 1071). */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  if (bytes.length % 2 === 1) sum += (bytes.at(-1) ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
