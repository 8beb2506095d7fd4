/**
 * What all IPVS messages share: command and attribute numbers, service keys, addresses.
 * Byte orders are the kernel's: ports, tunnel ports and IPv4 netmasks in network order, all else in host
 * order. Sources: linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c (policies).
 */
import { familyOf, formatIp, ipToBytes, type IpAddress, type IpFamily } from '../model/address.ts';
import { familyOfKey, type Protocol, type ServiceKey } from '../model/cluster.ts';
import { encodeGenericHeader, GENL_HEADER_BYTES } from './genetlink.ts';
import {
  align4,
  ATTRIBUTE_HEADER_BYTES,
  AttributeWriter,
  NLA_TYPE_MASK,
  readU16,
  readU32,
  walkAttributes,
} from './netlink.ts';

export const IPVS_FAMILY_NAME = 'IPVS';
const IPVS_VERSION = 1;

export const IPVS_CMD_NEW_SERVICE = 1;
export const IPVS_CMD_SET_SERVICE = 2;
export const IPVS_CMD_DEL_SERVICE = 3;
export const IPVS_CMD_GET_SERVICE = 4;
export const IPVS_CMD_NEW_DEST = 5;
export const IPVS_CMD_SET_DEST = 6;
export const IPVS_CMD_DEL_DEST = 7;
export const IPVS_CMD_GET_DEST = 8;
export const IPVS_CMD_NEW_DAEMON = 9;
export const IPVS_CMD_DEL_DAEMON = 10;
export const IPVS_CMD_GET_DAEMON = 11;
export const IPVS_CMD_SET_CONFIG = 12;
export const IPVS_CMD_GET_CONFIG = 13;
export const IPVS_CMD_GET_INFO = 15;
export const IPVS_CMD_ZERO = 16;
const IPVS_CMD_MAX = 17;

export const IPVS_CMD_ATTR_SERVICE = 1;
export const IPVS_CMD_ATTR_DEST = 2;
export const IPVS_CMD_ATTR_DAEMON = 3;

export const IPVS_SVC_ATTR_AF = 1;
export const IPVS_SVC_ATTR_PROTOCOL = 2;
export const IPVS_SVC_ATTR_ADDR = 3;
export const IPVS_SVC_ATTR_PORT = 4;
export const IPVS_SVC_ATTR_FWMARK = 5;

const AF_INET = 2;
const AF_INET6 = 10;
const PROTOCOLS: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, sctp: 132 };

/** The header of each command, made once. */
const HEADERS = Array.from({ length: IPVS_CMD_MAX + 1 }, (_, command) =>
  encodeGenericHeader(command, IPVS_VERSION),
);

/** Begins the body of a request. */
export const startRequest = (command: number, writer = new AttributeWriter()): AttributeWriter =>
  writer.raw(HEADERS[command] ?? encodeGenericHeader(command, IPVS_VERSION));

export const addressFamily = (family: IpFamily): number => (family === 6 ? AF_INET6 : AF_INET);

/** Null: a family that IPVS does not have. */
export function familyFrom(value: number): IpFamily | null {
  if (value === AF_INET) return 4;
  return value === AF_INET6 ? 6 : null;
}

export function protocolFrom(value: number): Protocol | null {
  if (value === PROTOCOLS.tcp) return 'tcp';
  if (value === PROTOCOLS.udp) return 'udp';
  return value === PROTOCOLS.sctp ? 'sctp' : null;
}

/** What identifies a service, inside its attribute. */
export function writeKey(writer: AttributeWriter, key: ServiceKey): void {
  writer.u16(IPVS_SVC_ATTR_AF, addressFamily(familyOfKey(key)));
  if (key.kind === 'fwmark') {
    writer.u32(IPVS_SVC_ATTR_FWMARK, key.mark);
    return;
  }
  writer.u16(IPVS_SVC_ATTR_PROTOCOL, PROTOCOLS[key.protocol]);
  writeAddress(writer, IPVS_SVC_ATTR_ADDR, key.address);
  writer.u16be(IPVS_SVC_ATTR_PORT, key.port);
}

/** `union nf_inet_addr`: 16 bytes, an IPv4 address in the first four. */
export function writeAddress(writer: AttributeWriter, type: number, address: IpAddress): void {
  writer.fill(type, 16, (bytes, offset) => {
    if (familyOf(address) === 6) bytes.set(ipToBytes(address), offset);
    else writeCanonicalIpv4(bytes, offset, address);
  });
}

/** Ten thousand destinations are encoded at once, and an `IpAddress` needs no checks any more. */
function writeCanonicalIpv4(bytes: Uint8Array, offset: number, address: IpAddress): void {
  let place = offset;
  let value = 0;
  for (let i = 0; i < address.length; i++) {
    const digit = address.charCodeAt(i) - 48;
    if (digit >= 0) {
      value = value * 10 + digit;
      continue;
    }
    // The dot is below the digits.
    bytes[place++] = value;
    value = 0;
  }
  bytes[place] = value;
}

/** The caller has checked that the bytes are there: 4 or 16. */
export const addressAt = (body: Uint8Array, offset: number, family: IpFamily): IpAddress =>
  formatIp(body.subarray(offset, offset + (family === 6 ? 16 : 4)));

/** Texts kept at most; real servers and VIPs of a table are far fewer. */
const TEXTS_MAX = 65_536;

/** IPv4 addresses of dumps come again and again: their texts are made once. */
export class AddressTexts {
  readonly #texts = new Map<number, IpAddress>();

  /** The caller has checked that the bytes are there: 4 or 16. */
  at(body: Uint8Array, offset: number, family: IpFamily): IpAddress {
    if (family === 6) return addressAt(body, offset, family);
    const number = readU32(body, offset);
    const known = this.#texts.get(number);
    if (known !== undefined) return known;
    const text = addressAt(body, offset, family);
    if (this.#texts.size >= TEXTS_MAX) this.#texts.clear();
    this.#texts.set(number, text);
    return text;
  }
}

/**
 * Where the payload of a top-level attribute begins, of which its header tells the length; -1: it is not
 * there, or the body is malformed.
 */
export function nestedAt(body: Uint8Array, wanted: number): number {
  let found = -1;
  let offset = GENL_HEADER_BYTES;
  if (offset > body.length) return -1;
  while (body.length - offset >= ATTRIBUTE_HEADER_BYTES) {
    const length = readU16(body, offset);
    if (length < ATTRIBUTE_HEADER_BYTES || length > body.length - offset) return -1;
    if ((readU16(body, offset + 2) & NLA_TYPE_MASK) === wanted)
      found = offset + ATTRIBUTE_HEADER_BYTES;
    offset += align4(length);
  }
  return found;
}

/** Where the payload of a top-level attribute lies; null: it is not there, or the body is malformed. */
export function findNested(
  body: Uint8Array,
  wanted: number,
): { readonly start: number; readonly end: number } | null {
  let range: { start: number; end: number } | null = null;
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === wanted) range = { start: offset, end: offset + length };
  });
  return isWhole ? range : null;
}
