/**
 * Unsolicited neighbour advertisements as whole Ethernet frames (RFC 4861 4.4, 4.6.1, 7.1.2, 7.2.6).
 * No sockets here.
 */
import { err, ok, type Result } from '../lib/result.ts';
import {
  formatIp,
  formatMac,
  type IpAddress,
  ipToBytes,
  type MacAddress,
  macToBytes,
} from '../model/address.ts';

/** Ethernet, IPv6, neighbour advertisement, target link-layer address option. */
export const NEIGHBOR_ADVERTISEMENT_FRAME_LENGTH = 14 + 40 + 32;

const ETHERTYPE_IPV6 = 0x86dd;
const NEXT_HEADER_ICMPV6 = 58;
const ICMPV6_NEIGHBOR_ADVERTISEMENT = 136;
const OPTION_TARGET_LINK_LAYER_ADDRESS = 2;
/** Receivers drop neighbour discovery that could have passed a router (RFC 4861 7.1.2). */
const HOP_LIMIT = 255;
const FLAG_ROUTER = 0x80;
const FLAG_SOLICITED = 0x40;
const FLAG_OVERRIDE = 0x20;
const IPV6_OFFSET = 14;
const ICMP_OFFSET = 54;
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
/** RFC 2464 7: 33:33 and the last four bytes of the group. */
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

export type NeighborAdvertisement = {
  readonly destinationMac: MacAddress;
  readonly sourceMac: MacAddress;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly target: IpAddress;
  readonly isRouter: boolean;
  readonly isSolicited: boolean;
  readonly isOverride: boolean;
  /** Target link-layer address option; null where there is none. */
  readonly targetMac: MacAddress | null;
};

/**
 * The advertisement that moves a VIP to `mac` in every neighbour's table: to all nodes, from the VIP
 * itself, override set. `isRouter` must tell whether this host forwards IPv6: a neighbour that used
 * the VIP as its default router drops that route when the flag is missing (RFC 4861 7.2.5).
 */
export function encodeUnsolicitedAdvertisement(
  mac: MacAddress,
  vip: IpAddress,
  isRouter: boolean,
): Uint8Array {
  const frame = new Uint8Array(NEIGHBOR_ADVERTISEMENT_FRAME_LENGTH);
  const view = new DataView(frame.buffer);
  const ownMac = macToBytes(mac);
  const ip = ipToBytes(vip);
  frame.set(ALL_NODES_MAC, 0);
  frame.set(ownMac, 6);
  view.setUint16(12, ETHERTYPE_IPV6);
  view.setUint32(IPV6_OFFSET, 0x60000000);
  view.setUint16(IPV6_OFFSET + 4, frame.length - ICMP_OFFSET);
  frame[IPV6_OFFSET + 6] = NEXT_HEADER_ICMPV6;
  frame[IPV6_OFFSET + 7] = HOP_LIMIT;
  frame.set(ip, IPV6_OFFSET + 8);
  frame.set(ALL_NODES, IPV6_OFFSET + 24);
  frame[ICMP_OFFSET] = ICMPV6_NEIGHBOR_ADVERTISEMENT;
  frame[ICMP_OFFSET + 4] = FLAG_OVERRIDE | (isRouter ? FLAG_ROUTER : 0);
  frame.set(ip, ICMP_OFFSET + 8);
  frame[ICMP_OFFSET + 24] = OPTION_TARGET_LINK_LAYER_ADDRESS;
  frame[ICMP_OFFSET + 25] = 1;
  frame.set(ownMac, ICMP_OFFSET + 26);
  view.setUint16(ICMP_OFFSET + 2, icmpv6Checksum(frame));
  return frame;
}

/** Decodes and validates as RFC 4861 7.1.2 demands: hop limit 255, code 0, right checksum, sane options. */
export function decodeNeighborAdvertisement(
  frame: Uint8Array,
): Result<NeighborAdvertisement, string> {
  if (frame.length < ICMP_OFFSET + 24) return err(`a frame of ${frame.length} bytes`);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== ETHERTYPE_IPV6 || (frame[IPV6_OFFSET] ?? 0) >>> 4 !== 6)
    return err('not an IPv6 frame');
  if (frame[IPV6_OFFSET + 6] !== NEXT_HEADER_ICMPV6) return err('not ICMPv6');
  const length = view.getUint16(IPV6_OFFSET + 4);
  if (length < 24 || ICMP_OFFSET + length > frame.length) return err(`payload of ${length} bytes`);
  const packet = frame.subarray(0, ICMP_OFFSET + length);
  if (packet[ICMP_OFFSET] !== ICMPV6_NEIGHBOR_ADVERTISEMENT || packet[ICMP_OFFSET + 1] !== 0)
    return err('not a neighbour advertisement');
  if (packet[IPV6_OFFSET + 7] !== HOP_LIMIT) return err('a hop limit other than 255');
  if (icmpv6Checksum(packet) !== 0) return err('wrong checksum');
  const targetMac = readTargetMac(packet);
  if (!targetMac.ok) return targetMac;
  const flags = packet[ICMP_OFFSET + 4] ?? 0;
  return ok({
    destinationMac: formatMac(packet.subarray(0, 6)),
    sourceMac: formatMac(packet.subarray(6, 12)),
    source: formatIp(packet.subarray(IPV6_OFFSET + 8, IPV6_OFFSET + 24)),
    destination: formatIp(packet.subarray(IPV6_OFFSET + 24, IPV6_OFFSET + 40)),
    target: formatIp(packet.subarray(ICMP_OFFSET + 8, ICMP_OFFSET + 24)),
    isRouter: (flags & FLAG_ROUTER) !== 0,
    isSolicited: (flags & FLAG_SOLICITED) !== 0,
    isOverride: (flags & FLAG_OVERRIDE) !== 0,
    targetMac: targetMac.value,
  });
}

function readTargetMac(packet: Uint8Array): Result<MacAddress | null, string> {
  let offset = ICMP_OFFSET + 24;
  let mac: MacAddress | null = null;
  while (offset + 2 <= packet.length) {
    const length = (packet[offset + 1] ?? 0) * 8;
    if (length === 0 || offset + length > packet.length) return err('an option of wrong length');
    if (packet[offset] === OPTION_TARGET_LINK_LAYER_ADDRESS)
      mac = formatMac(packet.subarray(offset + 2, offset + 8));
    offset += length;
  }
  return offset === packet.length ? ok(mac) : err('bytes behind the last option');
}

/**
 * Internet checksum over the pseudo header (RFC 8200 8.1) and the ICMPv6 message; 0 over a message
 * that carries its right checksum.
 */
function icmpv6Checksum(packet: Uint8Array): number {
  let sum = packet.length - ICMP_OFFSET + NEXT_HEADER_ICMPV6;
  for (let i = IPV6_OFFSET + 8; i < packet.length; i += 2)
    sum += ((packet[i] ?? 0) << 8) | (packet[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
