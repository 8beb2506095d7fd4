/** The IP headers before a VRRP message: IPv4 (RFC 791) both ways, IPv6 (RFC 8200) to send. */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, formatIp, type IpAddress, ipToBytes } from '../model/address.ts';
import type { VrrpDrop } from '../model/vrrp.ts';
import { internetChecksum } from './checksum.ts';

export const PROTOCOL_VRRP = 112;
export const VRRP_GROUP_4 = formatIp(Uint8Array.of(224, 0, 0, 18));
export const VRRP_GROUP_6 = formatIp(
  Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12),
);
/** What every VRRP packet starts with, and what multicast ones must arrive with (RFC 9568 5.1.1.3). */
export const VRRP_TTL = 255;

const IPV4_HEADER_LENGTH = 20;
const IPV6_HEADER_LENGTH = 40;
/** Internetwork control (RFC 791), as keepalived marks its packets. */
const TRAFFIC_CLASS = 0xc0;

/** From where to where a message goes; both of one family. */
export type VrrpPath = { readonly source: IpAddress; readonly destination: IpAddress };

/** A VRRP message as it arrived. */
export type VrrpDatagram = VrrpPath & {
  /** TTL or hop limit. */
  readonly ttl: number;
  readonly payload: Uint8Array;
};

/** The whole packet. An IPv4 `identification` of 0 lets the kernel choose one. */
export function encodeVrrpPacket(
  path: VrrpPath,
  payload: Uint8Array,
  identification = 0,
): Uint8Array {
  return familyOf(path.source) === 4
    ? encodeIpv4(path, payload, identification)
    : encodeIpv6(path, payload);
}

function encodeIpv4(path: VrrpPath, payload: Uint8Array, identification: number): Uint8Array {
  const packet = new Uint8Array(IPV4_HEADER_LENGTH + payload.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  packet[1] = TRAFFIC_CLASS;
  view.setUint16(2, packet.length);
  view.setUint16(4, identification);
  packet[8] = VRRP_TTL;
  packet[9] = PROTOCOL_VRRP;
  packet.set(ipToBytes(path.source), 12);
  packet.set(ipToBytes(path.destination), 16);
  view.setUint16(10, internetChecksum([packet.subarray(0, IPV4_HEADER_LENGTH)]));
  packet.set(payload, IPV4_HEADER_LENGTH);
  return packet;
}

function encodeIpv6(path: VrrpPath, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(IPV6_HEADER_LENGTH + payload.length);
  const view = new DataView(packet.buffer);
  view.setUint32(0, (6 * 0x1000_0000 + TRAFFIC_CLASS * 0x10_0000) >>> 0);
  view.setUint16(4, payload.length);
  packet[6] = PROTOCOL_VRRP;
  packet[7] = VRRP_TTL;
  packet.set(ipToBytes(path.source), 8);
  packet.set(ipToBytes(path.destination), 24);
  packet.set(payload, IPV6_HEADER_LENGTH);
  return packet;
}

/**
 * Takes off the header that a raw IPv4 socket leaves on. Bytes behind the total length are padding. The
 * kernel has verified the header's checksum.
 */
export function decodeIpv4Packet(packet: Uint8Array): Result<VrrpDatagram, VrrpDrop> {
  if (packet.length < IPV4_HEADER_LENGTH) return err('truncated');
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const headerLength = ((packet[0] ?? 0) & 0x0f) * 4;
  const totalLength = view.getUint16(2);
  if ((packet[0] ?? 0) >>> 4 !== 4 || headerLength < IPV4_HEADER_LENGTH) return err('ip-header');
  if (packet[9] !== PROTOCOL_VRRP || totalLength < headerLength) return err('ip-header');
  if (totalLength > packet.length) return err('truncated');
  return ok({
    source: formatIp(packet.subarray(12, 16)),
    destination: formatIp(packet.subarray(16, 20)),
    ttl: packet[8] ?? 0,
    payload: packet.subarray(headerLength, totalLength),
  });
}
