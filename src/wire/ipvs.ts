/**
 * IPVS over generic netlink: services, destinations and counters.
 * Byte orders are the kernel's: ports and IPv4 netmasks in network order, all else in host order.
 * Sources: linux/ip_vs.h, net/netfilter/ipvs/ip_vs_ctl.c (policies).
 */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, formatIp, ipToBytes, type IpAddress, type IpFamily } from '../model/address.ts';
import {
  DEFAULT_TUNNEL,
  familyOfKey,
  type ForwardMethod,
  type Protocol,
  type Tunnel,
  TUNNEL_TYPES,
} from '../model/cluster.ts';
import {
  IP_VS_SVC_F_HASHED,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsCounters,
  type IpvsRates,
  type IpvsDestination,
  type IpvsTableOperation,
  type IpvsService,
  type IpvsServiceKey,
  type ObservedDestination,
} from '../model/kernel.ts';
import { encodeGenericHeader, GENL_HEADER_BYTES } from './genetlink.ts';
import {
  AttributeWriter,
  LITTLE_ENDIAN,
  readText,
  readU16,
  readU16be,
  readU32,
  readU64,
  viewOf,
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
export const IPVS_CMD_GET_INFO = 15;

const ATTR_SERVICE = 1;
const ATTR_DEST = 2;
const INFO_VERSION = 1;
const INFO_CONNECTION_TABLE_SIZE = 2;

const SVC_AF = 1;
const SVC_PROTOCOL = 2;
const SVC_ADDR = 3;
const SVC_PORT = 4;
const SVC_FWMARK = 5;
const SVC_SCHED_NAME = 6;
const SVC_FLAGS = 7;
const SVC_TIMEOUT = 8;
const SVC_NETMASK = 9;
const SVC_STATS = 10;
const SVC_PE_NAME = 11;
const SVC_STATS64 = 12;

const DEST_ADDR = 1;
const DEST_PORT = 2;
const DEST_FWD_METHOD = 3;
const DEST_WEIGHT = 4;
const DEST_U_THRESH = 5;
const DEST_L_THRESH = 6;
const DEST_ACTIVE_CONNS = 7;
const DEST_INACT_CONNS = 8;
const DEST_PERSIST_CONNS = 9;
const DEST_STATS = 10;
const DEST_ADDR_FAMILY = 11;
const DEST_STATS64 = 12;
const DEST_TUN_TYPE = 13;
const DEST_TUN_PORT = 14;
const DEST_TUN_FLAGS = 15;

const AF_INET = 2;
const AF_INET6 = 10;
const PROTOCOLS: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, sctp: 132 };
/** IP_VS_CONN_F_*: the low bits of a connection's flags. */
const FORWARD_METHODS: Readonly<Record<ForwardMethod, number>> = { nat: 0, tun: 2, dr: 3 };
const FORWARD_MASK = 0x7;
/** IP_VS_TUNNEL_ENCAP_FLAG_*. */
const TUNNEL_CHECKSUM_BITS: Readonly<Record<Tunnel['checksum'], number>> = {
  nocsum: 0,
  csum: 1,
  remcsum: 2,
};

const addressFamily = (family: IpFamily): number => (family === 6 ? AF_INET6 : AF_INET);

/** The header of each command, made once. */
const HEADERS = Array.from({ length: 16 }, (_, command) =>
  encodeGenericHeader(command, IPVS_VERSION),
);

const start = (command: number, writer = new AttributeWriter()): AttributeWriter =>
  writer.raw(HEADERS[command] ?? encodeGenericHeader(command, IPVS_VERSION));

export const encodeGetInfo = (): Uint8Array => start(IPVS_CMD_GET_INFO).finish();

/** Body of a dump of all services. */
export const encodeGetServices = (): Uint8Array => start(IPVS_CMD_GET_SERVICE).finish();

/** Body of a dump of one service's destinations; an unknown service has none (no error). */
export const encodeGetDestinations = (key: IpvsServiceKey): Uint8Array =>
  start(IPVS_CMD_GET_DEST)
    .nested(ATTR_SERVICE, (writer) => writeKey(writer, key))
    .finish();

/** Body of the request that performs one operation; many of them may share a writer. */
export function encodeOperation(
  operation: IpvsTableOperation,
  writer: AttributeWriter = new AttributeWriter(),
): Uint8Array {
  switch (operation.op) {
    case 'add-service':
      return encodeService(start(IPVS_CMD_NEW_SERVICE, writer), operation.service);
    case 'set-service':
      return encodeService(start(IPVS_CMD_SET_SERVICE, writer), operation.service);
    case 'delete-service':
      return start(IPVS_CMD_DEL_SERVICE, writer)
        .nested(ATTR_SERVICE, (nested) => writeKey(nested, operation.service))
        .finish();
    case 'add-destination':
      return encodeDestination(start(IPVS_CMD_NEW_DEST, writer), operation);
    case 'set-destination':
      return encodeDestination(start(IPVS_CMD_SET_DEST, writer), operation);
    case 'delete-destination':
      return start(IPVS_CMD_DEL_DEST, writer)
        .nested(ATTR_SERVICE, (nested) => writeKey(nested, operation.service))
        .nested(ATTR_DEST, (nested) => writeEndpoint(nested, operation.destination))
        .finish();
  }
}

function encodeService(request: AttributeWriter, service: IpvsService): Uint8Array {
  const flags = new Uint8Array(8);
  viewOf(flags).setUint32(0, service.flags, LITTLE_ENDIAN);
  // The mask says which bits are meant; without all of them a set would keep the old ones.
  viewOf(flags).setUint32(4, 0xffff_ffff, LITTLE_ENDIAN);
  return request
    .nested(ATTR_SERVICE, (writer) => {
      writeKey(writer, service.key);
      writer.text(SVC_SCHED_NAME, service.scheduler).bytes(SVC_FLAGS, flags);
      writer.u32(SVC_TIMEOUT, service.timeoutS);
      if (familyOfKey(service.key) === 6) writer.u32(SVC_NETMASK, service.persistencePrefix);
      else writer.u32be(SVC_NETMASK, netmaskOf(service.persistencePrefix));
      if (service.persistenceEngine !== null) writer.text(SVC_PE_NAME, service.persistenceEngine);
    })
    .finish();
}

function encodeDestination(
  request: AttributeWriter,
  operation: { readonly service: IpvsServiceKey; readonly destination: IpvsDestination },
): Uint8Array {
  const { service, destination } = operation;
  return request
    .nested(ATTR_SERVICE, (writer) => writeKey(writer, service))
    .nested(ATTR_DEST, (writer) => {
      writeEndpoint(writer, destination);
      writer
        .u32(DEST_FWD_METHOD, FORWARD_METHODS[destination.forward])
        .u32(DEST_WEIGHT, destination.weight)
        .u32(DEST_U_THRESH, destination.upperThreshold)
        .u32(DEST_L_THRESH, destination.lowerThreshold);
      writeTunnel(writer, destination.tunnel);
    })
    .finish();
}

/** Nothing means ipip, which is all that kernels before 5.3 have. */
function writeTunnel(writer: AttributeWriter, tunnel: Tunnel | null): void {
  if (tunnel === null || tunnel.type === 'ipip') return;
  writer
    .bytes(DEST_TUN_TYPE, Uint8Array.of(TUNNEL_TYPES.indexOf(tunnel.type)))
    .u16be(DEST_TUN_PORT, tunnel.port)
    .u16(DEST_TUN_FLAGS, TUNNEL_CHECKSUM_BITS[tunnel.checksum]);
}

function writeKey(writer: AttributeWriter, key: IpvsServiceKey): void {
  writer.u16(SVC_AF, addressFamily(familyOfKey(key)));
  if (key.kind === 'fwmark') {
    writer.u32(SVC_FWMARK, key.mark);
    return;
  }
  writer.u16(SVC_PROTOCOL, PROTOCOLS[key.protocol]);
  writeAddress(writer, SVC_ADDR, key.address);
  writer.u16be(SVC_PORT, key.port);
}

function writeEndpoint(
  writer: AttributeWriter,
  endpoint: { readonly address: IpAddress; readonly port: number },
): void {
  writer.u16(DEST_ADDR_FAMILY, addressFamily(familyOf(endpoint.address)));
  writeAddress(writer, DEST_ADDR, endpoint.address);
  writer.u16be(DEST_PORT, endpoint.port);
}

/** `union nf_inet_addr`: 16 bytes, an IPv4 address in the first four. */
function writeAddress(writer: AttributeWriter, type: number, address: IpAddress): void {
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

const netmaskOf = (prefix: number): number =>
  prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0;

const NO_COUNTERS: IpvsCounters = {
  connections: 0,
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
};

const NO_RATES: IpvsRates = NO_COUNTERS;

export type DumpedService = IpvsService & {
  readonly counters: IpvsCounters;
  readonly rates: IpvsRates;
};

type ServiceAttributes = {
  family: IpFamily | null;
  protocol: number;
  address: number;
  port: number;
  mark: number;
  scheduler: string;
  flags: number;
  timeoutS: number;
  netmask: number;
  engine: string;
  /** Place of the newest form of the counters; -1: none. */
  stats: number;
  statsLength: number;
  statsType: number;
};

/** Body of one message of a service dump. */
export function decodeService(body: Uint8Array): Result<DumpedService, string> {
  const range = findNested(body, ATTR_SERVICE);
  if (range === null) return err('a message without a service');
  const seen: ServiceAttributes = {
    family: null,
    protocol: 0,
    address: -1,
    port: 0,
    mark: 0,
    scheduler: '',
    flags: 0,
    timeoutS: 0,
    netmask: -1,
    engine: '',
    stats: -1,
    statsLength: 0,
    statsType: 0,
  };
  const isWhole = walkAttributes(body, range.start, range.end, (type, offset, length) => {
    if (type === SVC_AF && length >= 2) seen.family = familyFrom(readU16(body, offset));
    else if (type === SVC_PROTOCOL && length >= 2) seen.protocol = readU16(body, offset);
    else if (type === SVC_ADDR && length >= 16) seen.address = offset;
    else if (type === SVC_PORT && length >= 2) seen.port = readU16be(body, offset);
    else if (type === SVC_FWMARK && length >= 4) seen.mark = readU32(body, offset);
    else if (type === SVC_SCHED_NAME) seen.scheduler = readText(body, offset, length);
    else if (type === SVC_FLAGS && length >= 8) seen.flags = readU32(body, offset);
    else if (type === SVC_TIMEOUT && length >= 4) seen.timeoutS = readU32(body, offset);
    else if (type === SVC_NETMASK && length >= 4) seen.netmask = offset;
    else if (type === SVC_PE_NAME) seen.engine = readText(body, offset, length);
    else if (type === SVC_STATS || type === SVC_STATS64) noteStats(seen, type, offset, length);
  });
  return isWhole ? serviceOf(body, seen) : err('malformed attributes in a service');
}

function serviceOf(body: Uint8Array, seen: ServiceAttributes): Result<DumpedService, string> {
  const key = keyOf(body, seen);
  if (key === null) return err('a service without a family, protocol or address that we know');
  const flags = (seen.flags & ~IP_VS_SVC_F_HASHED) >>> 0;
  return ok({
    key,
    scheduler: seen.scheduler,
    flags,
    timeoutS: (flags & IP_VS_SVC_F_PERSISTENT) === 0 ? 0 : seen.timeoutS,
    persistencePrefix: prefixOf(body, seen.netmask, familyOfKey(key)),
    persistenceEngine: seen.engine === '' ? null : seen.engine,
    ...decodeStats(body, seen),
  });
}

function keyOf(body: Uint8Array, seen: ServiceAttributes): IpvsServiceKey | null {
  if (seen.family === null) return null;
  if (seen.mark !== 0) return { kind: 'fwmark', family: seen.family, mark: seen.mark };
  const protocol = protocolFrom(seen.protocol);
  if (protocol === null || seen.address < 0) return null;
  const address = addressAt(body, seen.address, seen.family);
  return { kind: 'address', protocol, address, port: seen.port };
}

function prefixOf(body: Uint8Array, offset: number, family: IpFamily): number {
  if (offset < 0) return family === 6 ? 128 : 32;
  if (family === 6) return Math.min(readU32(body, offset), 128);
  const mask = readU16be(body, offset) * 0x10000 + readU16be(body, offset + 2);
  return Math.clz32(~mask);
}

type DestinationAttributes = {
  family: IpFamily | null;
  address: number;
  port: number;
  forward: number;
  weight: number;
  upper: number;
  lower: number;
  active: number;
  inactive: number;
  persistent: number;
  tunnelType: number;
  tunnelPort: number;
  tunnelFlags: number;
  /** Place of the newest form of the counters; -1: none. */
  stats: number;
  statsLength: number;
  statsType: number;
};

/** Body of one message of a destination dump; kernels before 3.18 tell no family: the service's. */
export function decodeDestination(
  body: Uint8Array,
  key: IpvsServiceKey,
): Result<ObservedDestination, string> {
  const range = findNested(body, ATTR_DEST);
  if (range === null) return err('a message without a destination');
  const seen: DestinationAttributes = {
    family: null,
    address: -1,
    port: 0,
    forward: 0,
    weight: 0,
    upper: 0,
    lower: 0,
    active: 0,
    inactive: 0,
    persistent: 0,
    tunnelType: 0,
    tunnelPort: 0,
    tunnelFlags: 0,
    stats: -1,
    statsLength: 0,
    statsType: 0,
  };
  const isWhole = walkAttributes(body, range.start, range.end, (type, offset, length) => {
    if (type === DEST_ADDR && length >= 16) seen.address = offset;
    else if (type === DEST_PORT && length >= 2) seen.port = readU16be(body, offset);
    else if (type === DEST_ADDR_FAMILY && length >= 2)
      seen.family = familyFrom(readU16(body, offset));
    else if (type === DEST_STATS || type === DEST_STATS64) noteStats(seen, type, offset, length);
    else if (type === DEST_TUN_TYPE && length >= 1) seen.tunnelType = body[offset] ?? 0;
    else if (type === DEST_TUN_PORT && length >= 2) seen.tunnelPort = readU16be(body, offset);
    else if (type === DEST_TUN_FLAGS && length >= 2) seen.tunnelFlags = readU16(body, offset);
    else if (length >= 4) readNumber(seen, type, readU32(body, offset));
  });
  if (!isWhole) return err('malformed attributes in a destination');
  return destinationOf(body, seen, familyOfKey(key));
}

function readNumber(seen: DestinationAttributes, type: number, value: number): void {
  if (type === DEST_FWD_METHOD) seen.forward = value & FORWARD_MASK;
  else if (type === DEST_WEIGHT) seen.weight = value;
  else if (type === DEST_U_THRESH) seen.upper = value;
  else if (type === DEST_L_THRESH) seen.lower = value;
  else if (type === DEST_ACTIVE_CONNS) seen.active = value;
  else if (type === DEST_INACT_CONNS) seen.inactive = value;
  else if (type === DEST_PERSIST_CONNS) seen.persistent = value;
}

function destinationOf(
  body: Uint8Array,
  seen: DestinationAttributes,
  serviceFamily: IpFamily,
): Result<ObservedDestination, string> {
  const forward = forwardFrom(seen.forward);
  if (seen.address < 0) return err('a destination without an address');
  if (forward === null) return err(`forwarding method ${seen.forward} of a destination`);
  const tunnel = forward === 'tun' ? tunnelFrom(seen) : null;
  if (tunnel === 'unknown') return err(`tunnel type ${seen.tunnelType} of a destination`);
  return ok({
    address: addressAt(body, seen.address, seen.family ?? serviceFamily),
    port: seen.port,
    forward,
    tunnel,
    weight: seen.weight,
    upperThreshold: seen.upper,
    lowerThreshold: seen.lower,
    activeConnections: seen.active,
    inactiveConnections: seen.inactive,
    persistentConnections: seen.persistent,
    ...decodeStats(body, seen),
  });
}

function tunnelFrom(
  seen: Pick<DestinationAttributes, 'tunnelType' | 'tunnelPort' | 'tunnelFlags'>,
): Tunnel | 'unknown' {
  const type = TUNNEL_TYPES[seen.tunnelType];
  if (type === undefined) return 'unknown';
  if (type === 'ipip') return DEFAULT_TUNNEL;
  const port = type === 'gue' ? seen.tunnelPort : 0;
  if ((seen.tunnelFlags & TUNNEL_CHECKSUM_BITS.remcsum) !== 0)
    return { type, port, checksum: 'remcsum' };
  const hasSum = (seen.tunnelFlags & TUNNEL_CHECKSUM_BITS.csum) !== 0;
  return { type, port, checksum: hasSum ? 'csum' : 'nocsum' };
}

export type IpvsInfo = { readonly version: string; readonly connectionTableSize: number };

/** Body of the answer to GET_INFO; the version is packed as three bytes. */
export function decodeInfo(body: Uint8Array): Result<IpvsInfo, string> {
  let version: number | null = null;
  let connectionTableSize = 0;
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === INFO_VERSION && length >= 4) version = readU32(body, offset);
    else if (type === INFO_CONNECTION_TABLE_SIZE && length >= 4)
      connectionTableSize = readU32(body, offset);
  });
  if (!isWhole || version === null) return err('malformed IPVS information');
  const packed: number = version;
  const text = `${(packed >>> 16) & 0xff}.${(packed >>> 8) & 0xff}.${packed & 0xff}`;
  return ok({ version: text, connectionTableSize });
}

type Stats = { stats: number; statsLength: number; statsType: number };

/** STATS64 has the greater number for services and destinations alike, and wins in any order. */
function noteStats(seen: Stats, type: number, offset: number, length: number): void {
  if (type < seen.statsType) return;
  seen.stats = offset;
  seen.statsLength = length;
  seen.statsType = type;
}

/** Widths differ (STATS: 32 bits but for bytes, STATS64: 64 bits): the attribute's own length tells. */
function decodeStats(
  body: Uint8Array,
  { stats, statsLength }: Stats,
): { readonly counters: IpvsCounters; readonly rates: IpvsRates } {
  if (stats < 0) return NO_STATS;
  const values = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  const isWhole = walkAttributes(body, stats, stats + statsLength, (type, offset, bytes) => {
    if (type > 10 || bytes < 4) return;
    values[type] = bytes >= 8 ? readU64(body, offset) : readU32(body, offset);
  });
  return isWhole ? { counters: fiveFrom(values, 1), rates: fiveFrom(values, 6) } : NO_STATS;
}

const NO_STATS = { counters: NO_COUNTERS, rates: NO_RATES };

function fiveFrom(values: readonly number[], start: number): IpvsCounters & IpvsRates {
  const [connections = 0, packetsIn = 0, packetsOut = 0, bytesIn = 0, bytesOut = 0] =
    values.slice(start);
  return { connections, packetsIn, packetsOut, bytesIn, bytesOut };
}

function findNested(body: Uint8Array, wanted: number): { start: number; end: number } | null {
  let range: { start: number; end: number } | null = null;
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (type === wanted) range = { start: offset, end: offset + length };
  });
  return isWhole ? range : null;
}

function addressAt(body: Uint8Array, offset: number, family: IpFamily): IpAddress {
  return formatIp(body.subarray(offset, offset + (family === 6 ? 16 : 4)));
}

function familyFrom(value: number): IpFamily | null {
  if (value === AF_INET) return 4;
  return value === AF_INET6 ? 6 : null;
}

function protocolFrom(value: number): Protocol | null {
  if (value === PROTOCOLS.tcp) return 'tcp';
  if (value === PROTOCOLS.udp) return 'udp';
  return value === PROTOCOLS.sctp ? 'sctp' : null;
}

/** `local` (1) and `bypass` (4) cannot be asked for by ipvsadm or by us. */
function forwardFrom(value: number): ForwardMethod | null {
  if (value === FORWARD_METHODS.dr) return 'dr';
  if (value === FORWARD_METHODS.tun) return 'tun';
  return value === FORWARD_METHODS.nat ? 'nat' : null;
}
