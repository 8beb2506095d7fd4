/** What IPVS has beside its table: sync daemons, timeouts, information. Source: linux/ip_vs.h. */
import { err, ok, type Result } from '../lib/result.ts';
import { familyOf, formatIp, type IpAddress, ipToBytes } from '../model/address.ts';
import type { IpvsDaemon, IpvsTimeouts } from '../model/kernel.ts';
import { GENL_HEADER_BYTES } from './genetlink.ts';
import {
  addressAt,
  findNested,
  IPVS_CMD_ATTR_DAEMON,
  IPVS_CMD_GET_CONFIG,
  IPVS_CMD_GET_DAEMON,
  IPVS_CMD_GET_INFO,
  startRequest,
} from './ipvs-common.ts';
import { type AttributeWriter, readText, readU16, readU32, walkAttributes } from './netlink.ts';

const IPVS_CMD_ATTR_TIMEOUT_TCP = 4;
const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN = 5;
const IPVS_CMD_ATTR_TIMEOUT_UDP = 6;

const IPVS_INFO_ATTR_VERSION = 1;
const IPVS_INFO_ATTR_CONN_TAB_SIZE = 2;

const IPVS_DAEMON_ATTR_STATE = 1;
const IPVS_DAEMON_ATTR_MCAST_IFN = 2;
const IPVS_DAEMON_ATTR_SYNC_ID = 3;
const IPVS_DAEMON_ATTR_SYNC_MAXLEN = 4;
const IPVS_DAEMON_ATTR_MCAST_GROUP = 5;
const IPVS_DAEMON_ATTR_MCAST_GROUP6 = 6;
const IPVS_DAEMON_ATTR_MCAST_PORT = 7;
const IPVS_DAEMON_ATTR_MCAST_TTL = 8;

/** IP_VS_STATE_*. */
const STATES = { master: 1, backup: 2 } as const;
/** What kernels before 4.3 had fixed, and tell nothing of (ip_vs_sync.c). */
const OLD_GROUP = formatIp(Uint8Array.of(224, 0, 0, 81));
const OLD_PORT = 8848;
const OLD_TTL = 1;

export const encodeGetInfo = (): Uint8Array => startRequest(IPVS_CMD_GET_INFO).finish();

export const encodeGetTimeouts = (): Uint8Array => startRequest(IPVS_CMD_GET_CONFIG).finish();

/** Body of a dump: a message for each daemon that runs. */
export const encodeGetDaemons = (): Uint8Array => startRequest(IPVS_CMD_GET_DAEMON).finish();

/** The rest of a request that sets the timeouts: seconds; the kernel keeps what is 0. */
export const encodeTimeouts = (request: AttributeWriter, timeouts: IpvsTimeouts): Uint8Array =>
  request
    .u32(IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcpS)
    .u32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcpFinS)
    .u32(IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udpS)
    .finish();

/** The rest of a request that starts a daemon. The port is in host order here, unlike all others. */
export const encodeDaemon = (request: AttributeWriter, daemon: IpvsDaemon): Uint8Array =>
  request
    .nested(IPVS_CMD_ATTR_DAEMON, (writer) => {
      writer
        .u32(IPVS_DAEMON_ATTR_STATE, STATES[daemon.state])
        .text(IPVS_DAEMON_ATTR_MCAST_IFN, daemon.interface)
        .u32(IPVS_DAEMON_ATTR_SYNC_ID, daemon.syncId);
      if (daemon.maxLength !== null) writer.u16(IPVS_DAEMON_ATTR_SYNC_MAXLEN, daemon.maxLength);
      const isIpv6 = familyOf(daemon.group) === 6;
      writer
        .bytes(
          isIpv6 ? IPVS_DAEMON_ATTR_MCAST_GROUP6 : IPVS_DAEMON_ATTR_MCAST_GROUP,
          ipToBytes(daemon.group),
        )
        .u16(IPVS_DAEMON_ATTR_MCAST_PORT, daemon.port)
        .u8(IPVS_DAEMON_ATTR_MCAST_TTL, daemon.ttl);
    })
    .finish();

/** The rest of a request that ends the daemon of one state. */
export const encodeDaemonState = (
  request: AttributeWriter,
  daemon: Pick<IpvsDaemon, 'state'>,
): Uint8Array =>
  request
    .nested(IPVS_CMD_ATTR_DAEMON, (writer) =>
      writer.u32(IPVS_DAEMON_ATTR_STATE, STATES[daemon.state]),
    )
    .finish();

export type IpvsInfo = { readonly version: string; readonly connectionTableSize: number };

export function decodeInfo(body: Uint8Array): Result<IpvsInfo, string> {
  let version: number | null = null;
  let connectionTableSize = 0;
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (length < 4) return;
    if (type === IPVS_INFO_ATTR_VERSION) version = readU32(body, offset);
    else if (type === IPVS_INFO_ATTR_CONN_TAB_SIZE) connectionTableSize = readU32(body, offset);
  });
  if (!isWhole || version === null) return err('malformed IPVS information');
  const packed: number = version;
  const text = `${(packed >>> 16) & 0xff}.${(packed >>> 8) & 0xff}.${packed & 0xff}`;
  return ok({ version: text, connectionTableSize });
}

/** A kernel built without TCP (or UDP) tells no timeouts of it: 0. */
export function decodeTimeouts(body: Uint8Array): Result<IpvsTimeouts, string> {
  let tcpS = 0;
  let tcpFinS = 0;
  let udpS = 0;
  const isWhole = walkAttributes(body, GENL_HEADER_BYTES, body.length, (type, offset, length) => {
    if (length < 4) return;
    if (type === IPVS_CMD_ATTR_TIMEOUT_TCP) tcpS = readU32(body, offset);
    else if (type === IPVS_CMD_ATTR_TIMEOUT_TCP_FIN) tcpFinS = readU32(body, offset);
    else if (type === IPVS_CMD_ATTR_TIMEOUT_UDP) udpS = readU32(body, offset);
  });
  return isWhole ? ok({ tcpS, tcpFinS, udpS }) : err('malformed IPVS timeouts');
}

type DaemonAttributes = {
  state: number;
  interface: string;
  syncId: number;
  maxLength: number | null;
  group: IpAddress | null;
  port: number;
  ttl: number;
};

/** Body of one message of a daemon dump. */
export function decodeDaemon(body: Uint8Array): Result<IpvsDaemon, string> {
  const range = findNested(body, IPVS_CMD_ATTR_DAEMON);
  if (range === null) return err('a message without a sync daemon');
  const seen: DaemonAttributes = {
    state: 0,
    interface: '',
    syncId: 0,
    maxLength: null,
    group: null,
    port: OLD_PORT,
    ttl: OLD_TTL,
  };
  const isWhole = walkAttributes(body, range.start, range.end, (type, offset, length) => {
    if (type === IPVS_DAEMON_ATTR_MCAST_IFN) seen.interface = readText(body, offset, length);
    else if (type === IPVS_DAEMON_ATTR_MCAST_GROUP6 && length >= 16)
      seen.group = addressAt(body, offset, 6);
    else if (type === IPVS_DAEMON_ATTR_MCAST_GROUP && length >= 4)
      seen.group = addressAt(body, offset, 4);
    else if (type === IPVS_DAEMON_ATTR_MCAST_TTL && length >= 1) seen.ttl = body[offset] ?? 0;
    else if (type === IPVS_DAEMON_ATTR_STATE && length >= 4) seen.state = readU32(body, offset);
    else if (type === IPVS_DAEMON_ATTR_SYNC_ID && length >= 4) seen.syncId = readU32(body, offset);
    else if (type === IPVS_DAEMON_ATTR_SYNC_MAXLEN && length >= 2)
      seen.maxLength = readU16(body, offset);
    else if (type === IPVS_DAEMON_ATTR_MCAST_PORT && length >= 2) seen.port = readU16(body, offset);
  });
  return isWhole ? daemonOf(seen) : err('malformed attributes in a sync daemon');
}

function daemonOf(seen: DaemonAttributes): Result<IpvsDaemon, string> {
  const group = seen.group ?? OLD_GROUP;
  const { interface: device, syncId, maxLength, port, ttl } = seen;
  const common = { interface: device, syncId, maxLength, group, port, ttl };
  if (seen.state === STATES.master) return ok({ state: 'master', ...common });
  if (seen.state === STATES.backup) return ok({ state: 'backup', ...common });
  return err(`state ${seen.state} of a sync daemon`);
}
