/**
 * What a look along a VIP's path sends and hears, as whole IP packets: TCP segments (RFC 9293), echoes (RFC 792,
 * RFC 4443) and the errors of ICMP about either; and what goes around them, Ethernet or a tunnel. No sockets here.
 */
import { err, ok, type Result } from '../lib/result.ts';
import {
  familyOf,
  formatIp,
  type IpAddress,
  type IpFamily,
  ipToBytes,
  type MacAddress,
  macToBytes,
} from '../model/address.ts';
import { internetChecksum } from './checksum.ts';
import { encodeEchoRequest, ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY } from './icmp.ts';

export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_ACK = 0x10;

export const PROTOCOL_IPIP = 4;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_IPV6 = 41;
export const PROTOCOL_GRE = 47;
const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMPV6 = 58;
const ETHERTYPE = { 4: 0x0800, 6: 0x86dd } as const;
const IP_HEADER_LENGTH = { 4: 20, 6: 40 } as const;
const TCP_HEADER_LENGTH = 20;
/** What every machine must take (RFC 9293 3.7.1), and what fits any link of IPv6. */
const SEGMENT_SIZE = { 4: 536, 6: 1220 } as const;
const DONT_FRAGMENT = 0x4000;
const WINDOW = 1024;
/** RFC 6864 4.1: an atomic packet needs none. */
const NO_IDENTIFICATION = 0;

export type Ends = {
  /** Of one family. */
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /**
   * TTL or hop limit. 1: who gets the packet takes it or drops it, and never passes it on to another machine.
   */
  readonly hopLimit: number;
};

export type Segment = {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** 32 bits, as the next. */
  readonly sequence: number;
  readonly acknowledgement: number;
  /** TCP_… */
  readonly flags: number;
};

export function encodeSegment(ends: Ends, segment: Segment): Uint8Array {
  const family = familyOf(ends.source);
  const hasOption = (segment.flags & TCP_SYN) !== 0;
  const bytes = new Uint8Array(TCP_HEADER_LENGTH + (hasOption ? 4 : 0));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.sequence);
  view.setUint32(8, segment.acknowledgement);
  bytes[12] = (bytes.length / 4) << 4;
  bytes[13] = segment.flags;
  view.setUint16(14, hasOption ? WINDOW : 0);
  if (hasOption) {
    view.setUint16(20, 0x0204);
    view.setUint16(22, SEGMENT_SIZE[family]);
  }
  view.setUint16(16, transportChecksum(ends, PROTOCOL_TCP, bytes));
  return encodeIp(ends, PROTOCOL_TCP, bytes);
}

/** Identifier and sequence have 16 bits each. */
export function encodeEchoPacket(
  ends: Ends,
  echo: { readonly identifier: number; readonly sequence: number },
): Uint8Array {
  const family = familyOf(ends.source);
  const message = encodeEchoRequest(family, { ...echo, payload: new Uint8Array(8) });
  if (family === 6)
    new DataView(message.buffer).setUint16(2, transportChecksum(ends, PROTOCOL_ICMPV6, message));
  return encodeIp(ends, family === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6, message);
}

export function encodeEthernet(
  ends: { readonly destination: MacAddress; readonly source: MacAddress },
  packet: Uint8Array,
): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  frame.set(macToBytes(ends.destination), 0);
  frame.set(macToBytes(ends.source), 6);
  new DataView(frame.buffer).setUint16(12, ETHERTYPE[familyOfPacket(packet) ?? 4]);
  frame.set(packet, 14);
  return frame;
}

/**
 * What goes behind the outer IP header (ipip, gre: RFC 2784) or the outer UDP header (gue: header of 4 bytes, with
 * the protocol of what follows, as IPVS writes it; draft-ietf-intarea-gue 3.1).
 */
export function encapsulate(type: 'ipip' | 'gue' | 'gre', packet: Uint8Array): Uint8Array {
  if (type === 'ipip') return packet;
  const family = familyOfPacket(packet) ?? 4;
  const header = new Uint8Array(4);
  if (type === 'gre') new DataView(header.buffer).setUint16(2, ETHERTYPE[family]);
  else header[1] = family === 4 ? PROTOCOL_IPIP : PROTOCOL_IPV6;
  return Uint8Array.of(...header, ...packet);
}

/** What an error of ICMP says of the packet that it is about, as far as it quotes it. */
export type Quoted = {
  readonly destination: IpAddress;
  readonly protocol: 'tcp' | 'echo' | 'other';
  /** Source port of TCP, identifier of an echo; else 0. */
  readonly port: number;
  /** Of TCP 32 bits, of an echo 16; else 0. */
  readonly sequence: number;
};

export type Heard =
  | ({
      readonly kind: 'segment';
      readonly source: IpAddress;
      readonly destination: IpAddress;
    } & Segment)
  | {
      readonly kind: 'echo';
      readonly source: IpAddress;
      readonly identifier: number;
      readonly sequence: number;
    }
  | {
      readonly kind: 'error';
      readonly source: IpAddress;
      /** `expired`: it was to be passed on. `prohibited`: a filter says no. */
      readonly what: 'expired' | 'unreachable' | 'prohibited';
      readonly about: Quoted;
    };

/**
 * A packet that came in, from its IP header on; bytes behind its end are padding. Checksums are not judged: the
 * device may have done so, or left them out between two machines of one host.
 */
export function decodeHeard(bytes: Uint8Array): Result<Heard, string> {
  const ip = decodeIp(bytes, 'whole');
  if (!ip.ok) return ip;
  const { family, source, destination, protocol, payload } = ip.value;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (protocol === PROTOCOL_TCP) {
    if (payload.length < TCP_HEADER_LENGTH) return err(`a segment of ${payload.length} bytes`);
    return ok({
      kind: 'segment',
      source,
      destination,
      sourcePort: view.getUint16(0),
      destinationPort: view.getUint16(2),
      sequence: view.getUint32(4),
      acknowledgement: view.getUint32(8),
      flags: payload[13] ?? 0,
    });
  }
  if (protocol !== (family === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6))
    return err('neither TCP nor ICMP');
  if (payload.length < 8) return err(`a message of ${payload.length} bytes`);
  const [type = 0, code = 0] = payload;
  if (type === (family === 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY))
    return ok({ kind: 'echo', source, identifier: view.getUint16(4), sequence: view.getUint16(6) });
  const what = (family === 4 ? errorOf4 : errorOf6)(type, code);
  if (what === null) return err(`a message of type ${type}`);
  const about = decodeQuoted(payload.subarray(8));
  return about.ok ? ok({ kind: 'error', source, what, about: about.value }) : about;
}

type ErrorWord = Extract<Heard, { kind: 'error' }>['what'];

/** RFC 792, RFC 1812 5.2.7.1: codes 9, 10 and 13 are filters; 3 is what Linux' REJECT says where nothing is asked. */
function errorOf4(type: number, code: number): ErrorWord | null {
  if (type === 11) return code === 0 ? 'expired' : null;
  if (type !== 3 || code === 4) return null;
  return [3, 9, 10, 13].includes(code) ? 'prohibited' : 'unreachable';
}

/** RFC 4443 3.1, 3.3: codes 1, 5 and 6 are filters; 4 is a port. */
function errorOf6(type: number, code: number): ErrorWord | null {
  if (type === 3) return code === 0 ? 'expired' : null;
  if (type !== 1) return null;
  return [1, 4, 5, 6].includes(code) ? 'prohibited' : 'unreachable';
}

/** What is quoted of a tunnel's packet goes deeper where enough of it is quoted. */
function decodeQuoted(bytes: Uint8Array): Result<Quoted, string> {
  const ip = decodeIp(bytes, 'beginning');
  if (!ip.ok) return ip;
  const { destination, protocol, payload, family } = ip.value;
  const other = { destination, protocol: 'other', port: 0, sequence: 0 } as const;
  if (payload.length < 8) return ok(other);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (protocol === PROTOCOL_TCP)
    return ok({
      destination,
      protocol: 'tcp',
      port: view.getUint16(0),
      sequence: view.getUint32(4),
    });
  if (protocol === (family === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6))
    return ok({
      destination,
      protocol: 'echo',
      port: view.getUint16(4),
      sequence: view.getUint16(6),
    });
  return ok(other);
}

type Ip = {
  readonly family: IpFamily;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly payload: Uint8Array;
};

/** Fragments are refused, but for the first one of what is only quoted. */
function decodeIp(bytes: Uint8Array, what: 'whole' | 'beginning'): Result<Ip, string> {
  const family = familyOfPacket(bytes);
  if (family === null || bytes.length < IP_HEADER_LENGTH[family]) return err('not an IP packet');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const is4 = family === 4;
  const headerLength = is4 ? 4 * ((bytes[0] ?? 0) & 0x0f) : IP_HEADER_LENGTH[6];
  const total = is4 ? view.getUint16(2) : IP_HEADER_LENGTH[6] + view.getUint16(4);
  if (
    headerLength < IP_HEADER_LENGTH[family] ||
    total < headerLength ||
    bytes.length < headerLength
  )
    return err(`a header of ${headerLength} bytes, ${total} in all`);
  if (is4 && (view.getUint16(6) & 0x1fff) !== 0) return err('a fragment');
  if (what === 'whole' && total > bytes.length) return err('cut off');
  return ok({
    family,
    source: formatIp(is4 ? bytes.subarray(12, 16) : bytes.subarray(8, 24)),
    destination: formatIp(is4 ? bytes.subarray(16, 20) : bytes.subarray(24, 40)),
    protocol: (is4 ? bytes[9] : bytes[6]) ?? 0,
    payload: bytes.subarray(headerLength, total),
  });
}

function familyOfPacket(bytes: Uint8Array): IpFamily | null {
  const version = (bytes[0] ?? 0) >>> 4;
  return version === 4 || version === 6 ? version : null;
}

function encodeIp(ends: Ends, protocol: number, payload: Uint8Array): Uint8Array {
  const family = familyOf(ends.source);
  const header = IP_HEADER_LENGTH[family];
  const packet = new Uint8Array(header + payload.length);
  const view = new DataView(packet.buffer);
  const [source, destination] = [ipToBytes(ends.source), ipToBytes(ends.destination)];
  packet.set(payload, header);
  if (family === 6) {
    view.setUint32(0, 0x6000_0000);
    view.setUint16(4, payload.length);
    packet[6] = protocol;
    packet[7] = ends.hopLimit;
    packet.set(source, 8);
    packet.set(destination, 24);
    return packet;
  }
  packet[0] = 0x45;
  view.setUint16(2, packet.length);
  view.setUint16(4, NO_IDENTIFICATION);
  view.setUint16(6, DONT_FRAGMENT);
  packet[8] = ends.hopLimit;
  packet[9] = protocol;
  packet.set(source, 12);
  packet.set(destination, 16);
  view.setUint16(10, internetChecksum([packet.subarray(0, header)]));
  return packet;
}

/** Over the pseudo header of RFC 9293 3.1 or RFC 8200 8.1; the checksum's own place holds 0. */
function transportChecksum(ends: Ends, protocol: number, bytes: Uint8Array): number {
  const tail = new Uint8Array(8);
  const view = new DataView(tail.buffer);
  view.setUint32(0, bytes.length);
  view.setUint32(4, protocol);
  return internetChecksum([ipToBytes(ends.source), ipToBytes(ends.destination), tail, bytes]);
}
