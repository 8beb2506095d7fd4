/** Echo requests and replies of ICMP (RFC 792) and ICMPv6 (RFC 4443 4). No sockets here. */
import { err, ok, type Result } from '../lib/result.ts';
import type { IpFamily } from '../model/address.ts';
import { internetChecksum } from './checksum.ts';

export const ICMP_ECHO_REPLY = 0;
export const ICMPV6_ECHO_REPLY = 129;
const ICMP_ECHO_REQUEST = 8;
const ICMPV6_ECHO_REQUEST = 128;
const HEADER_LENGTH = 8;
const IPV4_HEADER_LENGTH = 20;
const PROTOCOL_ICMP = 1;

export type Echo = {
  /** 16 bits. */
  readonly identifier: number;
  /** 16 bits. */
  readonly sequence: number;
  readonly payload: Uint8Array;
};

/**
 * The message without IP header. The checksum of ICMPv6 covers addresses that only the kernel knows: it
 * fills it in, here it is 0.
 */
export function encodeEchoRequest(family: IpFamily, echo: Echo): Uint8Array {
  const message = new Uint8Array(HEADER_LENGTH + echo.payload.length);
  const view = new DataView(message.buffer);
  message[0] = family === 4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
  view.setUint16(4, echo.identifier);
  view.setUint16(6, echo.sequence);
  message.set(echo.payload, HEADER_LENGTH);
  if (family === 4) view.setUint16(2, internetChecksum([message]));
  return message;
}

/**
 * An echo reply as a raw socket gives it: IPv4 with its IP header and a checksum that nobody has judged yet
 * (raw(7)); ICMPv6 without header, its checksum judged by the kernel.
 */
export function decodeEchoReply(bytes: Uint8Array, family: IpFamily): Result<Echo, string> {
  const message = family === 4 ? icmpOf(bytes) : ok(bytes);
  if (!message.ok) return message;
  const { value } = message;
  if (value.length < HEADER_LENGTH) return err(`a message of ${value.length} bytes`);
  const type = family === 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
  if (value[0] !== type || value[1] !== 0) return err('not an echo reply');
  if (family === 4 && internetChecksum([value]) !== 0) return err('wrong checksum');
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return ok({
    identifier: view.getUint16(4),
    sequence: view.getUint16(6),
    payload: value.subarray(HEADER_LENGTH),
  });
}

/** What an IPv4 packet carries, by its own lengths (RFC 791 3.1). */
function icmpOf(packet: Uint8Array): Result<Uint8Array, string> {
  const first = packet[0] ?? 0;
  const headerLength = 4 * (first & 0x0f);
  if (first >>> 4 !== 4 || headerLength < IPV4_HEADER_LENGTH) return err('not an IPv4 packet');
  if (packet[9] !== PROTOCOL_ICMP) return err('not ICMP');
  const length = ((packet[2] ?? 0) << 8) | (packet[3] ?? 0);
  if (length < headerLength || length > packet.length) return err(`a total length of ${length}`);
  return ok(packet.subarray(headerLength, length));
}
