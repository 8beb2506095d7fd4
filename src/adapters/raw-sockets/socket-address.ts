/**
 * The structures that socket calls take and give, as bytes: sockaddr_ll, sockaddr_in and sockaddr_in6, ifreq,
 * tpacket_stats (linux/if_packet.h, linux/in.h, linux/in6.h, linux/if.h). They are in host order, and the same on
 * all 64-bit machines. Pure.
 */
import { familyOf, formatIp, type IpAddress, ipToBytes } from '../../model/address.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;

export const SOCKADDR_LL_LENGTH = 20;
export const SOCKADDR_IN_LENGTH = 16;
export const SOCKADDR_IN6_LENGTH = 28;
/** 16 bytes of name, and a union of 24. */
export const IFREQ_LENGTH = 40;
const IFREQ_VALUE = 16;
/** IFNAMSIZ without the zero at its end. */
const IFNAME_LENGTH_MAX = 15;
/** Packets, drops. */
export const TPACKET_STATS_LENGTH = 8;
const MAC_LENGTH = 6;

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** An int, as socket options are. */
export const hostInt = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

/** Where to send a frame (`destination`: its six bytes), or on which device to hear an EtherType. */
export function encodeLinkAddress(place: {
  readonly deviceIndex: number;
  readonly etherType: number;
  readonly destination: Uint8Array | null;
}): Uint8Array {
  const address = new Uint8Array(SOCKADDR_LL_LENGTH);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, IS_LITTLE_ENDIAN);
  view.setUint16(2, place.etherType);
  view.setInt32(4, place.deviceIndex, IS_LITTLE_ENDIAN);
  if (place.destination !== null) {
    address[11] = MAC_LENGTH;
    address.set(place.destination, 12);
  }
  return address;
}

/** What recvfrom said of a frame: its EtherType, the index of the device that has it, and who sent it. */
export const decodeLinkAddress = (
  address: Uint8Array,
): { readonly etherType: number; readonly deviceIndex: number; readonly sender: Uint8Array } => ({
  etherType: viewOf(address).getUint16(2),
  deviceIndex: viewOf(address).getInt32(4, IS_LITTLE_ENDIAN),
  sender: address.subarray(12, 12 + MAC_LENGTH),
});

/** Port 0. The device is that of a link-local address of IPv6; 0: none. */
export function encodeIpAddress(address: IpAddress, deviceIndex: number): Uint8Array {
  const isV4 = familyOf(address) === 4;
  const bytes = new Uint8Array(isV4 ? SOCKADDR_IN_LENGTH : SOCKADDR_IN6_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, isV4 ? AF_INET : AF_INET6, IS_LITTLE_ENDIAN);
  bytes.set(ipToBytes(address), isV4 ? 4 : 8);
  if (!isV4) view.setUint32(24, deviceIndex, IS_LITTLE_ENDIAN);
  return bytes;
}

/** Any address of the family of this one: where only a port is to be chosen. */
export const encodeAnyAddress = (like: IpAddress): Uint8Array =>
  encodeIpAddress(like, 0).fill(0, familyOf(like) === 4 ? 4 : 8);

/** Of at least SOCKADDR_IN6_LENGTH bytes. */
export function decodeIpAddress(bytes: Uint8Array): IpAddress {
  const family = new DataView(bytes.buffer, bytes.byteOffset).getUint16(0, IS_LITTLE_ENDIAN);
  return formatIp(family === AF_INET ? bytes.subarray(4, 8) : bytes.subarray(8, 24));
}

/** Null: no device can have that name. */
export function encodeInterfaceRequest(name: string): Uint8Array | null {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length === 0 || encoded.length > IFNAME_LENGTH_MAX) return null;
  const request = new Uint8Array(IFREQ_LENGTH);
  request.set(encoded);
  return request;
}

export const readInterfaceIndex = (request: Uint8Array): number =>
  viewOf(request).getInt32(IFREQ_VALUE, IS_LITTLE_ENDIAN);

/** What SIOCGIFHWADDR filled in: the kind of hardware (ARPHRD_…) and its address. */
export const readHardwareAddress = (
  request: Uint8Array,
): { readonly kind: number; readonly mac: Uint8Array } => ({
  kind: viewOf(request).getUint16(IFREQ_VALUE, IS_LITTLE_ENDIAN),
  mac: request.subarray(IFREQ_VALUE + 2, IFREQ_VALUE + 2 + MAC_LENGTH),
});

export const readDrops = (statistics: Uint8Array): number =>
  viewOf(statistics).getUint32(4, IS_LITTLE_ENDIAN);

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
