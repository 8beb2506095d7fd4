/** IPVS destinations (real servers of a service): requests and the dump. Source: linux/ip_vs.h. */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, type IpAddress, type IpFamily } from '../model/address.ts';
import {
  familyOfKey,
  type ForwardMethod,
  type ServiceKey,
  type Tunnel,
  TUNNEL_TYPES,
  type TunnelChecksum,
  type TunnelType,
} from '../model/cluster.ts';
import type { IpvsDestination, ObservedDestination } from '../model/kernel.ts';
import {
  addressAt,
  addressFamily,
  familyFrom,
  findNested,
  IPVS_CMD_ATTR_DEST,
  IPVS_CMD_GET_DEST,
  startRequest,
  writeAddress,
} from './ipvs-common.ts';
import { encodeServiceKey } from './ipvs-service.ts';
import { noteStats, readStats, type StatsPlace } from './ipvs-stats.ts';
import { type AttributeWriter, readU16, readU16be, readU32, walkAttributes } from './netlink.ts';

const IPVS_DEST_ATTR_ADDR = 1;
const IPVS_DEST_ATTR_PORT = 2;
const IPVS_DEST_ATTR_FWD_METHOD = 3;
const IPVS_DEST_ATTR_WEIGHT = 4;
const IPVS_DEST_ATTR_U_THRESH = 5;
const IPVS_DEST_ATTR_L_THRESH = 6;
const IPVS_DEST_ATTR_ACTIVE_CONNS = 7;
const IPVS_DEST_ATTR_INACT_CONNS = 8;
const IPVS_DEST_ATTR_PERSIST_CONNS = 9;
const IPVS_DEST_ATTR_STATS = 10;
const IPVS_DEST_ATTR_ADDR_FAMILY = 11;
const IPVS_DEST_ATTR_STATS64 = 12;
const IPVS_DEST_ATTR_TUN_TYPE = 13;
const IPVS_DEST_ATTR_TUN_PORT = 14;
const IPVS_DEST_ATTR_TUN_FLAGS = 15;

/** IP_VS_CONN_F_*: the low bits of a connection's flags. */
const FORWARD_METHODS: Readonly<Record<ForwardMethod, number>> = { nat: 0, tun: 2, dr: 3 };
const FORWARD_MASK = 0x7;
/** IP_VS_CONN_F_TUNNEL_TYPE_*. */
const TUNNEL_NUMBERS: Readonly<Record<TunnelType, number>> = { ipip: 0, gue: 1, gre: 2 };
const IP_VS_TUNNEL_ENCAP_FLAG_CSUM = 1;
const IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM = 2;
const CHECKSUM_FLAGS: Readonly<Record<TunnelChecksum, number>> = {
  nocsum: 0,
  csum: IP_VS_TUNNEL_ENCAP_FLAG_CSUM,
  remcsum: IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM,
};

type Endpoint = { readonly address: IpAddress; readonly port: number };

/** Body of a dump of one service's destinations; an unknown service has none (no error). */
export const encodeGetDestinations = (key: ServiceKey): Uint8Array =>
  encodeServiceKey(startRequest(IPVS_CMD_GET_DEST), key).finish();

/** The rest of a request that adds or changes a destination. */
export function encodeDestination(
  request: AttributeWriter,
  service: ServiceKey,
  destination: IpvsDestination,
): Uint8Array {
  return encodeServiceKey(request, service)
    .nested(IPVS_CMD_ATTR_DEST, (writer) => {
      writeEndpoint(writer, destination);
      writer
        .u32(IPVS_DEST_ATTR_FWD_METHOD, FORWARD_METHODS[destination.forward])
        .u32(IPVS_DEST_ATTR_WEIGHT, destination.weight)
        .u32(IPVS_DEST_ATTR_U_THRESH, destination.upperThreshold)
        .u32(IPVS_DEST_ATTR_L_THRESH, destination.lowerThreshold);
      if (destination.tunnel !== null) writeTunnel(writer, destination.tunnel);
    })
    .finish();
}

/** The rest of a request that names one destination and nothing else of it. */
export const encodeEndpoint = (
  request: AttributeWriter,
  service: ServiceKey,
  endpoint: Endpoint,
): Uint8Array =>
  encodeServiceKey(request, service)
    .nested(IPVS_CMD_ATTR_DEST, (writer) => writeEndpoint(writer, endpoint))
    .finish();

function writeEndpoint(writer: AttributeWriter, endpoint: Endpoint): void {
  writer.u16(IPVS_DEST_ATTR_ADDR_FAMILY, addressFamily(familyOf(endpoint.address)));
  writeAddress(writer, IPVS_DEST_ATTR_ADDR, endpoint.address);
  writer.u16be(IPVS_DEST_ATTR_PORT, endpoint.port);
}

/** Kernels before 5.3 know none of these and take every tunnel for ipip. */
function writeTunnel(writer: AttributeWriter, tunnel: Tunnel): void {
  writer
    .u8(IPVS_DEST_ATTR_TUN_TYPE, TUNNEL_NUMBERS[tunnel.type])
    .u16be(IPVS_DEST_ATTR_TUN_PORT, tunnel.port)
    .u16(IPVS_DEST_ATTR_TUN_FLAGS, CHECKSUM_FLAGS[tunnel.checksum]);
}

type DestinationAttributes = StatsPlace & {
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
};

const noAttributes = (): DestinationAttributes => ({
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
  statsOffset: -1,
  statsLength: 0,
  statsType: 0,
});

/** Body of one message of a destination dump; kernels before 3.18 tell no family: the service's. */
export function decodeDestination(
  body: Uint8Array,
  key: ServiceKey,
): Result<ObservedDestination, string> {
  const range = findNested(body, IPVS_CMD_ATTR_DEST);
  if (range === null) return err('a message without a destination');
  const seen = noAttributes();
  const isWhole = walkAttributes(body, range.start, range.end, (type, offset, length) => {
    if (type === IPVS_DEST_ATTR_STATS || type === IPVS_DEST_ATTR_STATS64)
      noteStats(seen, type, offset, length);
    else if (type === IPVS_DEST_ATTR_ADDR && length >= 16) seen.address = offset;
    else if (type === IPVS_DEST_ATTR_TUN_TYPE && length >= 1) seen.tunnelType = body[offset] ?? 0;
    else if (length >= 4) noteNumber(seen, type, readU32(body, offset));
    else if (length >= 2) noteShort(seen, type, body, offset);
  });
  if (!isWhole) return err('malformed attributes in a destination');
  return destinationOf(body, seen, familyOfKey(key));
}

function noteNumber(seen: DestinationAttributes, type: number, value: number): void {
  if (type === IPVS_DEST_ATTR_FWD_METHOD) seen.forward = value & FORWARD_MASK;
  else if (type === IPVS_DEST_ATTR_WEIGHT) seen.weight = value;
  else if (type === IPVS_DEST_ATTR_U_THRESH) seen.upper = value;
  else if (type === IPVS_DEST_ATTR_L_THRESH) seen.lower = value;
  else if (type === IPVS_DEST_ATTR_ACTIVE_CONNS) seen.active = value;
  else if (type === IPVS_DEST_ATTR_INACT_CONNS) seen.inactive = value;
  else if (type === IPVS_DEST_ATTR_PERSIST_CONNS) seen.persistent = value;
}

function noteShort(
  seen: DestinationAttributes,
  type: number,
  body: Uint8Array,
  offset: number,
): void {
  if (type === IPVS_DEST_ATTR_PORT) seen.port = readU16be(body, offset);
  else if (type === IPVS_DEST_ATTR_ADDR_FAMILY) seen.family = familyFrom(readU16(body, offset));
  else if (type === IPVS_DEST_ATTR_TUN_PORT) seen.tunnelPort = readU16be(body, offset);
  else if (type === IPVS_DEST_ATTR_TUN_FLAGS) seen.tunnelFlags = readU16(body, offset);
}

function destinationOf(
  body: Uint8Array,
  seen: DestinationAttributes,
  serviceFamily: IpFamily,
): Result<ObservedDestination, string> {
  const forward = forwardFrom(seen.forward);
  if (seen.address < 0) return err('a destination without an address');
  if (forward === null) return err(`forwarding method ${seen.forward} of a destination`);
  const tunnel = tunnelFrom(seen);
  if (forward === 'tun' && tunnel === null)
    return err(`tunnel type ${seen.tunnelType} of a destination`);
  return ok({
    address: addressAt(body, seen.address, seen.family ?? serviceFamily),
    port: seen.port,
    forward,
    tunnel: forward === 'tun' ? tunnel : null,
    weight: seen.weight,
    upperThreshold: seen.upper,
    lowerThreshold: seen.lower,
    activeConnections: seen.active,
    inactiveConnections: seen.inactive,
    persistentConnections: seen.persistent,
    ...readStats(body, seen),
  });
}

/** `local` (1) and `bypass` (4) cannot be asked for by ipvsadm or by us. */
function forwardFrom(value: number): ForwardMethod | null {
  if (value === FORWARD_METHODS.dr) return 'dr';
  if (value === FORWARD_METHODS.tun) return 'tun';
  return value === FORWARD_METHODS.nat ? 'nat' : null;
}

/** Null: a type that we do not know. */
function tunnelFrom(seen: DestinationAttributes): Tunnel | null {
  const type = TUNNEL_TYPES.find((one) => TUNNEL_NUMBERS[one] === seen.tunnelType);
  if (type === undefined) return null;
  return { type, port: seen.tunnelPort, checksum: checksumFrom(seen.tunnelFlags) };
}

function checksumFrom(flags: number): TunnelChecksum {
  if ((flags & IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM) !== 0) return 'remcsum';
  return (flags & IP_VS_TUNNEL_ENCAP_FLAG_CSUM) === 0 ? 'nocsum' : 'csum';
}
