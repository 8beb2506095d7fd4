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
  addressFamily,
  AddressTexts,
  familyFrom,
  IPVS_CMD_ATTR_DEST,
  IPVS_CMD_GET_DEST,
  nestedAt,
  startRequest,
  writeAddress,
} from './ipvs-common.ts';
import { encodeServiceKey } from './ipvs-service.ts';
import { StatsReader } from './ipvs-stats.ts';
import {
  align4,
  ATTRIBUTE_HEADER_BYTES,
  type AttributeWriter,
  NLA_TYPE_MASK,
  readU16,
  readU16be,
  readU32,
} from './netlink.ts';

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

/** Body of one message of a destination dump; kernels before 3.18 tell no family: the service's. */
export const decodeDestination = (
  body: Uint8Array,
  key: ServiceKey,
): Result<ObservedDestination, string> => new DestinationDecoder().decode(body, key, null);

/**
 * Decodes the messages of dumps, tens of thousands every few seconds: what is as it was known is that very
 * object, and nothing is made for it.
 */
export class DestinationDecoder {
  readonly #addresses = new AddressTexts();
  readonly #stats = new StatsReader();
  #family: IpFamily | null = null;
  #address = -1;
  #port = 0;
  #forward = 0;
  #weight = 0;
  #upper = 0;
  #lower = 0;
  #active = 0;
  #inactive = 0;
  #persistent = 0;
  #tunnelType = 0;
  #tunnelPort = 0;
  #tunnelFlags = 0;

  /** `known`: what it probably is, from an earlier dump. */
  decode(
    body: Uint8Array,
    key: ServiceKey,
    known: ObservedDestination | null,
  ): Result<ObservedDestination, string> {
    const start = nestedAt(body, IPVS_CMD_ATTR_DEST);
    if (start < 0) return err('a message without a destination');
    if (!this.#read(body, start)) return err('malformed attributes in a destination');
    const forward = forwardFrom(this.#forward);
    if (this.#address < 0) return err('a destination without an address');
    if (forward === null) return err(`forwarding method ${this.#forward} of a destination`);
    const tunnel = forward === 'tun' ? this.#tunnel() : null;
    if (forward === 'tun' && tunnel === null)
      return err(`tunnel type ${this.#tunnelType} of a destination`);
    const address = this.#addresses.at(body, this.#address, this.#family ?? familyOfKey(key));
    if (known !== null && this.#is(known, address, forward, tunnel)) return ok(known);
    return ok({
      address,
      port: this.#port,
      forward,
      tunnel,
      weight: this.#weight,
      upperThreshold: this.#upper,
      lowerThreshold: this.#lower,
      activeConnections: this.#active,
      inactiveConnections: this.#inactive,
      persistentConnections: this.#persistent,
      ...this.#stats.statistics(),
    });
  }

  /** False: malformed. */
  #read(body: Uint8Array, start: number): boolean {
    this.#family = null;
    this.#address = -1;
    this.#port = this.#forward = this.#weight = this.#upper = this.#lower = 0;
    this.#active = this.#inactive = this.#persistent = 0;
    this.#tunnelType = this.#tunnelPort = this.#tunnelFlags = 0;
    let [statsType, statsAt, statsLength] = [0, -1, 0];
    const end = start + readU16(body, start - ATTRIBUTE_HEADER_BYTES) - ATTRIBUTE_HEADER_BYTES;
    let offset = start;
    while (end - offset >= ATTRIBUTE_HEADER_BYTES) {
      const length = readU16(body, offset);
      if (length < ATTRIBUTE_HEADER_BYTES || length > end - offset) return false;
      const type = readU16(body, offset + 2) & NLA_TYPE_MASK;
      const isStats = type === IPVS_DEST_ATTR_STATS || type === IPVS_DEST_ATTR_STATS64;
      // STATS64 has the greater number, and wins in any order.
      if (isStats && type >= statsType) {
        statsType = type;
        statsAt = offset + ATTRIBUTE_HEADER_BYTES;
        statsLength = length - ATTRIBUTE_HEADER_BYTES;
      } else if (!isStats) {
        const at = offset + ATTRIBUTE_HEADER_BYTES;
        this.#note(body, type, at, length - ATTRIBUTE_HEADER_BYTES);
      }
      offset += align4(length);
    }
    this.#stats.read(body, statsAt, statsLength);
    return true;
  }

  #note(body: Uint8Array, type: number, at: number, length: number): void {
    if (type === IPVS_DEST_ATTR_ADDR && length >= 16) this.#address = at;
    else if (type === IPVS_DEST_ATTR_TUN_TYPE && length >= 1) this.#tunnelType = body[at] ?? 0;
    else if (length >= 4) this.#noteNumber(type, readU32(body, at));
    else if (length >= 2) this.#noteShort(body, type, at);
  }

  #noteNumber(type: number, value: number): void {
    if (type === IPVS_DEST_ATTR_FWD_METHOD) this.#forward = value & FORWARD_MASK;
    else if (type === IPVS_DEST_ATTR_WEIGHT) this.#weight = value;
    else if (type === IPVS_DEST_ATTR_U_THRESH) this.#upper = value;
    else if (type === IPVS_DEST_ATTR_L_THRESH) this.#lower = value;
    else if (type === IPVS_DEST_ATTR_ACTIVE_CONNS) this.#active = value;
    else if (type === IPVS_DEST_ATTR_INACT_CONNS) this.#inactive = value;
    else if (type === IPVS_DEST_ATTR_PERSIST_CONNS) this.#persistent = value;
  }

  #noteShort(body: Uint8Array, type: number, at: number): void {
    if (type === IPVS_DEST_ATTR_PORT) this.#port = readU16be(body, at);
    else if (type === IPVS_DEST_ATTR_ADDR_FAMILY) this.#family = familyFrom(readU16(body, at));
    else if (type === IPVS_DEST_ATTR_TUN_PORT) this.#tunnelPort = readU16be(body, at);
    else if (type === IPVS_DEST_ATTR_TUN_FLAGS) this.#tunnelFlags = readU16(body, at);
  }

  /** Null: a type that we do not know. */
  #tunnel(): Tunnel | null {
    const type = TUNNEL_TYPES.find((one) => TUNNEL_NUMBERS[one] === this.#tunnelType);
    if (type === undefined) return null;
    return { type, port: this.#tunnelPort, checksum: checksumFrom(this.#tunnelFlags) };
  }

  #is(
    known: ObservedDestination,
    address: IpAddress,
    forward: ForwardMethod,
    tunnel: Tunnel | null,
  ): boolean {
    return (
      known.address === address &&
      known.port === this.#port &&
      known.forward === forward &&
      known.tunnel?.type === tunnel?.type &&
      known.tunnel?.port === tunnel?.port &&
      known.tunnel?.checksum === tunnel?.checksum &&
      known.weight === this.#weight &&
      known.upperThreshold === this.#upper &&
      known.lowerThreshold === this.#lower &&
      known.activeConnections === this.#active &&
      known.inactiveConnections === this.#inactive &&
      known.persistentConnections === this.#persistent &&
      this.#stats.isSame(known)
    );
  }
}

/** `local` (1) and `bypass` (4) cannot be asked for by ipvsadm or by us. */
function forwardFrom(value: number): ForwardMethod | null {
  if (value === FORWARD_METHODS.dr) return 'dr';
  if (value === FORWARD_METHODS.tun) return 'tun';
  return value === FORWARD_METHODS.nat ? 'nat' : null;
}

function checksumFrom(flags: number): TunnelChecksum {
  if ((flags & IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM) !== 0) return 'remcsum';
  return (flags & IP_VS_TUNNEL_ENCAP_FLAG_CSUM) === 0 ? 'nocsum' : 'csum';
}
