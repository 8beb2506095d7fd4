/**
 * Neighbour solicitations and advertisements as whole Ethernet frames (RFC 4861 4.3, 4.4, 4.6.1, 7.1,
 * 7.2.2, 7.2.6). No sockets here.
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
const ICMPV6_NEIGHBOR_SOLICITATION = 135;
const ICMPV6_NEIGHBOR_ADVERTISEMENT = 136;
const OPTION_SOURCE_LINK_LAYER_ADDRESS = 1;
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

export type NeighborSolicitation = {
  readonly destinationMac: MacAddress;
  readonly sourceMac: MacAddress;
  /** `::` in duplicate address detection (RFC 4862 5.4.2). */
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly target: IpAddress;
  /** Source link-layer address option; null where there is none. */
  readonly sourceLinkMac: MacAddress | null;
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
  return encodeMessage({
    destinationMac: ALL_NODES_MAC,
    sourceMac: macToBytes(mac),
    source: ipToBytes(vip),
    destination: ALL_NODES,
    type: ICMPV6_NEIGHBOR_ADVERTISEMENT,
    flags: FLAG_OVERRIDE | (isRouter ? FLAG_ROUTER : 0),
    target: ipToBytes(vip),
    option: OPTION_TARGET_LINK_LAYER_ADDRESS,
  });
}

/** The answer to a solicitation, unicast to who asked, override set (RFC 4861 7.2.4). */
export function encodeSolicitedAdvertisement(answer: {
  readonly mac: MacAddress;
  readonly target: IpAddress;
  readonly destinationMac: MacAddress;
  readonly destination: IpAddress;
}): Uint8Array {
  return encodeMessage({
    destinationMac: macToBytes(answer.destinationMac),
    sourceMac: macToBytes(answer.mac),
    source: ipToBytes(answer.target),
    destination: ipToBytes(answer.destination),
    type: ICMPV6_NEIGHBOR_ADVERTISEMENT,
    flags: FLAG_SOLICITED | FLAG_OVERRIDE,
    target: ipToBytes(answer.target),
    option: OPTION_TARGET_LINK_LAYER_ADDRESS,
  });
}

/**
 * Asks for the target's hardware address in the name of `source`, with our own in the option: who
 * answers has learnt where the source lives (RFC 4861 7.2.3).
 */
export function encodeNeighborSolicitation(solicitation: {
  readonly mac: MacAddress;
  readonly source: IpAddress;
  readonly target: IpAddress;
  /** Asks this machine alone, at an address that it surely has. Absent: the target's group (RFC 4861 7.2.2). */
  readonly whom?: { readonly mac: MacAddress; readonly address: IpAddress };
}): Uint8Array {
  const target = ipToBytes(solicitation.target);
  const group = solicitedNodeGroup(target);
  const { whom } = solicitation;
  return encodeMessage({
    destinationMac:
      whom === undefined ? Uint8Array.of(0x33, 0x33, ...group.subarray(12)) : macToBytes(whom.mac),
    sourceMac: macToBytes(solicitation.mac),
    source: ipToBytes(solicitation.source),
    destination: whom === undefined ? group : ipToBytes(whom.address),
    type: ICMPV6_NEIGHBOR_SOLICITATION,
    flags: 0,
    target,
    option: OPTION_SOURCE_LINK_LAYER_ADDRESS,
  });
}

/**
 * Asks whether anybody has the address (RFC 4862 5.4.2): from `::` and so without a link-layer address
 * option (RFC 4861 4.3); nobody learns anything of the sender by it.
 */
export function encodeAddressProbe(mac: MacAddress, target: IpAddress): Uint8Array {
  const bytes = ipToBytes(target);
  const group = solicitedNodeGroup(bytes);
  return encodeMessage({
    destinationMac: Uint8Array.of(0x33, 0x33, ...group.subarray(12)),
    sourceMac: macToBytes(mac),
    source: new Uint8Array(16),
    destination: group,
    type: ICMPV6_NEIGHBOR_SOLICITATION,
    flags: 0,
    target: bytes,
    option: null,
  });
}

/** Decodes and validates as RFC 4861 7.1.2 demands: hop limit 255, code 0, right checksum, sane options. */
export function decodeNeighborAdvertisement(
  frame: Uint8Array,
): Result<NeighborAdvertisement, string> {
  const packet = decodeMessage(frame, ICMPV6_NEIGHBOR_ADVERTISEMENT);
  if (!packet.ok) return packet;
  const targetMac = readLinkOption(packet.value, OPTION_TARGET_LINK_LAYER_ADDRESS);
  if (!targetMac.ok) return targetMac;
  const flags = packet.value[ICMP_OFFSET + 4] ?? 0;
  return ok({
    ...readAddresses(packet.value),
    isRouter: (flags & FLAG_ROUTER) !== 0,
    isSolicited: (flags & FLAG_SOLICITED) !== 0,
    isOverride: (flags & FLAG_OVERRIDE) !== 0,
    targetMac: targetMac.value,
  });
}

/** Decodes and validates as RFC 4861 7.1.1 demands: hop limit 255, code 0, right checksum, sane options. */
export function decodeNeighborSolicitation(
  frame: Uint8Array,
): Result<NeighborSolicitation, string> {
  const packet = decodeMessage(frame, ICMPV6_NEIGHBOR_SOLICITATION);
  if (!packet.ok) return packet;
  const sourceLinkMac = readLinkOption(packet.value, OPTION_SOURCE_LINK_LAYER_ADDRESS);
  if (!sourceLinkMac.ok) return sourceLinkMac;
  return ok({ ...readAddresses(packet.value), sourceLinkMac: sourceLinkMac.value });
}

/** ff02::1:ffXX:XXXX with the last three bytes of the address, both of 16 bytes (RFC 4291 2.7.1). */
export function solicitedNodeGroup(address: Uint8Array): Uint8Array {
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0);
  group.set(address.subarray(13), 13);
  return group;
}

function encodeMessage(message: {
  readonly destinationMac: Uint8Array;
  readonly sourceMac: Uint8Array;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly type: number;
  readonly flags: number;
  readonly target: Uint8Array;
  /** Carries `sourceMac`; null: no option. */
  readonly option: number | null;
}): Uint8Array {
  const optionLength = message.option === null ? 0 : 8;
  const frame = new Uint8Array(ICMP_OFFSET + 24 + optionLength);
  const view = new DataView(frame.buffer);
  frame.set(message.destinationMac, 0);
  frame.set(message.sourceMac, 6);
  view.setUint16(12, ETHERTYPE_IPV6);
  view.setUint32(IPV6_OFFSET, 0x60000000);
  view.setUint16(IPV6_OFFSET + 4, frame.length - ICMP_OFFSET);
  frame[IPV6_OFFSET + 6] = NEXT_HEADER_ICMPV6;
  frame[IPV6_OFFSET + 7] = HOP_LIMIT;
  frame.set(message.source, IPV6_OFFSET + 8);
  frame.set(message.destination, IPV6_OFFSET + 24);
  frame[ICMP_OFFSET] = message.type;
  frame[ICMP_OFFSET + 4] = message.flags;
  frame.set(message.target, ICMP_OFFSET + 8);
  if (message.option !== null) {
    frame[ICMP_OFFSET + 24] = message.option;
    frame[ICMP_OFFSET + 25] = 1;
    frame.set(message.sourceMac, ICMP_OFFSET + 26);
  }
  view.setUint16(ICMP_OFFSET + 2, icmpv6Checksum(frame));
  return frame;
}

/** The frame without padding, once everything but its options is checked. */
function decodeMessage(frame: Uint8Array, type: number): Result<Uint8Array, string> {
  if (frame.length < ICMP_OFFSET + 24) return err(`a frame of ${frame.length} bytes`);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== ETHERTYPE_IPV6 || (frame[IPV6_OFFSET] ?? 0) >>> 4 !== 6)
    return err('not an IPv6 frame');
  if (frame[IPV6_OFFSET + 6] !== NEXT_HEADER_ICMPV6) return err('not ICMPv6');
  const length = view.getUint16(IPV6_OFFSET + 4);
  if (length < 24 || ICMP_OFFSET + length > frame.length) return err(`payload of ${length} bytes`);
  const packet = frame.subarray(0, ICMP_OFFSET + length);
  if (packet[ICMP_OFFSET] !== type || packet[ICMP_OFFSET + 1] !== 0)
    return err(`not a neighbour ${MESSAGE_NAMES[type] ?? 'message'}`);
  if (packet[IPV6_OFFSET + 7] !== HOP_LIMIT) return err('a hop limit other than 255');
  if (icmpv6Checksum(packet) !== 0) return err('wrong checksum');
  return ok(packet);
}

const MESSAGE_NAMES: Readonly<Record<number, string>> = {
  [ICMPV6_NEIGHBOR_SOLICITATION]: 'solicitation',
  [ICMPV6_NEIGHBOR_ADVERTISEMENT]: 'advertisement',
};

function readAddresses(packet: Uint8Array): {
  readonly destinationMac: MacAddress;
  readonly sourceMac: MacAddress;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly target: IpAddress;
} {
  return {
    destinationMac: formatMac(packet.subarray(0, 6)),
    sourceMac: formatMac(packet.subarray(6, 12)),
    source: formatIp(packet.subarray(IPV6_OFFSET + 8, IPV6_OFFSET + 24)),
    destination: formatIp(packet.subarray(IPV6_OFFSET + 24, IPV6_OFFSET + 40)),
    target: formatIp(packet.subarray(ICMP_OFFSET + 8, ICMP_OFFSET + 24)),
  };
}

function readLinkOption(packet: Uint8Array, option: number): Result<MacAddress | null, string> {
  let offset = ICMP_OFFSET + 24;
  let mac: MacAddress | null = null;
  while (offset + 2 <= packet.length) {
    const length = (packet[offset + 1] ?? 0) * 8;
    if (length === 0 || offset + length > packet.length) return err('an option of wrong length');
    if (packet[offset] === option) mac = formatMac(packet.subarray(offset + 2, offset + 8));
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
