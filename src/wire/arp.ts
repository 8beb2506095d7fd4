/**
 * ARP for IPv4 over Ethernet as whole frames: gratuitous announcements, directed requests and a decoder
 * (RFC 826, RFC 5227 3). No sockets here.
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

/** Ethernet header plus the ARP packet; the driver pads to the smallest Ethernet frame. */
export const ARP_FRAME_LENGTH = 42;

const ETHERNET_HEADER_LENGTH = 14;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV4 = 0x0800;
const HARDWARE_ETHERNET = 1;
const BROADCAST = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
const NO_MAC = new Uint8Array(6);

export type ArpOperation = 'request' | 'reply';

export type ArpFrame = {
  readonly destination: MacAddress;
  readonly source: MacAddress;
  readonly operation: ArpOperation;
  readonly senderMac: MacAddress;
  readonly senderIp: IpAddress;
  readonly targetMac: MacAddress;
  readonly targetIp: IpAddress;
};

/** Broadcast request form: every neighbour that has an entry for the VIP overrides it. */
export function encodeGratuitousArpRequest(mac: MacAddress, vip: IpAddress): Uint8Array {
  return encodeGratuitous(1, mac, vip, NO_MAC);
}

/**
 * Broadcast reply form, for equipment that learns from replies only. The target hardware address is
 * our own: Linux ignores a gratuitous reply with another one while its entry is younger than a second.
 */
export function encodeGratuitousArpReply(mac: MacAddress, vip: IpAddress): Uint8Array {
  return encodeGratuitous(2, mac, vip, macToBytes(mac));
}

/**
 * Asks for the target's hardware address in the name of `senderIp`: who answers has learnt where the
 * sender lives (RFC 826, packet reception). `destination` null: broadcast.
 */
export function encodeArpRequest(request: {
  readonly mac: MacAddress;
  readonly senderIp: IpAddress;
  readonly targetIp: IpAddress;
  readonly destination: MacAddress | null;
}): Uint8Array {
  return encodePacket({
    operation: 1,
    destination: request.destination === null ? BROADCAST : macToBytes(request.destination),
    senderMac: macToBytes(request.mac),
    senderIp: ipToBytes(request.senderIp),
    targetMac: NO_MAC,
    targetIp: ipToBytes(request.targetIp),
  });
}

/** The answer to a request, unicast to who asked (RFC 826). */
export function encodeArpReply(reply: {
  readonly mac: MacAddress;
  readonly senderIp: IpAddress;
  readonly targetMac: MacAddress;
  readonly targetIp: IpAddress;
}): Uint8Array {
  return encodePacket({
    operation: 2,
    destination: macToBytes(reply.targetMac),
    senderMac: macToBytes(reply.mac),
    senderIp: ipToBytes(reply.senderIp),
    targetMac: macToBytes(reply.targetMac),
    targetIp: ipToBytes(reply.targetIp),
  });
}

/** Decodes an Ethernet frame that carries ARP for IPv4; bytes behind the packet are padding. */
export function decodeArpFrame(frame: Uint8Array): Result<ArpFrame, string> {
  if (frame.length < ARP_FRAME_LENGTH) return err(`an ARP frame of ${frame.length} bytes`);
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(12) !== ETHERTYPE_ARP) return err('not an ARP frame');
  if (view.getUint16(14) !== HARDWARE_ETHERNET || view.getUint16(16) !== ETHERTYPE_IPV4)
    return err('not ARP for IPv4 over Ethernet');
  if (frame[18] !== 6 || frame[19] !== 4) return err('address lengths other than 6 and 4');
  const operation = view.getUint16(20);
  if (operation !== 1 && operation !== 2) return err(`ARP operation ${operation}`);
  return ok({
    destination: formatMac(frame.subarray(0, 6)),
    source: formatMac(frame.subarray(6, 12)),
    operation: operation === 1 ? 'request' : 'reply',
    senderMac: formatMac(frame.subarray(22, 28)),
    senderIp: formatIp(frame.subarray(28, 32)),
    targetMac: formatMac(frame.subarray(32, 38)),
    targetIp: formatIp(frame.subarray(38, 42)),
  });
}

function encodeGratuitous(
  operation: number,
  mac: MacAddress,
  vip: IpAddress,
  targetMac: Uint8Array,
): Uint8Array {
  const ip = ipToBytes(vip);
  return encodePacket({
    operation,
    destination: BROADCAST,
    senderMac: macToBytes(mac),
    senderIp: ip,
    targetMac,
    targetIp: ip,
  });
}

function encodePacket(packet: {
  readonly operation: number;
  readonly destination: Uint8Array;
  readonly senderMac: Uint8Array;
  readonly senderIp: Uint8Array;
  readonly targetMac: Uint8Array;
  readonly targetIp: Uint8Array;
}): Uint8Array {
  const frame = new Uint8Array(ARP_FRAME_LENGTH);
  const view = new DataView(frame.buffer);
  frame.set(packet.destination, 0);
  frame.set(packet.senderMac, 6);
  view.setUint16(12, ETHERTYPE_ARP);
  view.setUint16(ETHERNET_HEADER_LENGTH, HARDWARE_ETHERNET);
  view.setUint16(16, ETHERTYPE_IPV4);
  frame[18] = 6;
  frame[19] = 4;
  view.setUint16(20, packet.operation);
  frame.set(packet.senderMac, 22);
  frame.set(packet.senderIp, 28);
  frame.set(packet.targetMac, 32);
  frame.set(packet.targetIp, 38);
  return frame;
}
