/** IPVS virtual services: requests that add or change them, and the dump. Source: linux/ip_vs.h. */
import { err, ok, type Result } from '../lib/result.ts';
import type { IpFamily } from '../model/address.ts';
import { familyOfKey, type ServiceKey } from '../model/cluster.ts';
import {
  IP_VS_SVC_F_HASHED,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsService,
  type ObservedService,
} from '../model/kernel.ts';
import {
  addressAt,
  familyFrom,
  findNested,
  IPVS_CMD_ATTR_SERVICE,
  IPVS_CMD_GET_SERVICE,
  IPVS_SVC_ATTR_ADDR,
  IPVS_SVC_ATTR_AF,
  IPVS_SVC_ATTR_FWMARK,
  IPVS_SVC_ATTR_PORT,
  IPVS_SVC_ATTR_PROTOCOL,
  protocolFrom,
  startRequest,
  writeKey,
} from './ipvs-common.ts';
import { StatsReader } from './ipvs-stats.ts';
import {
  type AttributeWriter,
  LITTLE_ENDIAN,
  readText,
  readU16,
  readU16be,
  readU32,
  viewOf,
  walkAttributes,
} from './netlink.ts';

const IPVS_SVC_ATTR_SCHED_NAME = 6;
const IPVS_SVC_ATTR_FLAGS = 7;
const IPVS_SVC_ATTR_TIMEOUT = 8;
const IPVS_SVC_ATTR_NETMASK = 9;
const IPVS_SVC_ATTR_STATS = 10;
const IPVS_SVC_ATTR_PE_NAME = 11;
const IPVS_SVC_ATTR_STATS64 = 12;

/** Body of a dump of all services. */
export const encodeGetServices = (): Uint8Array => startRequest(IPVS_CMD_GET_SERVICE).finish();

/** The rest of a request that names one service and nothing else of it. */
export const encodeServiceKey = (request: AttributeWriter, key: ServiceKey): AttributeWriter =>
  request.nested(IPVS_CMD_ATTR_SERVICE, (writer) => writeKey(writer, key));

/** The rest of a request that adds or changes a service; a change without an engine takes it away. */
export function encodeService(request: AttributeWriter, service: IpvsService): Uint8Array {
  const flags = new Uint8Array(8);
  viewOf(flags).setUint32(0, service.flags, LITTLE_ENDIAN);
  // The mask says which bits are meant; without all of them a set would keep the old ones.
  viewOf(flags).setUint32(4, 0xffff_ffff, LITTLE_ENDIAN);
  return request
    .nested(IPVS_CMD_ATTR_SERVICE, (writer) => {
      writeKey(writer, service.key);
      writer.text(IPVS_SVC_ATTR_SCHED_NAME, service.scheduler);
      if (service.persistenceEngine !== null)
        writer.text(IPVS_SVC_ATTR_PE_NAME, service.persistenceEngine);
      writer.bytes(IPVS_SVC_ATTR_FLAGS, flags).u32(IPVS_SVC_ATTR_TIMEOUT, service.timeoutS);
      const prefix = service.persistencePrefix;
      if (familyOfKey(service.key) === 6) writer.u32(IPVS_SVC_ATTR_NETMASK, prefix);
      else writer.u32be(IPVS_SVC_ATTR_NETMASK, netmaskOf(prefix));
    })
    .finish();
}

const netmaskOf = (prefix: number): number =>
  prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0;

/** A service as a message tells of it; its destinations are dumped apart. */
export type DumpedService = Omit<ObservedService, 'destinations'>;

type ServiceAttributes = {
  family: IpFamily | null;
  protocol: number;
  address: number;
  port: number;
  mark: number;
  scheduler: string;
  engine: string;
  flags: number;
  timeoutS: number;
  netmask: number;
  /** Of the newest form of the statistics. */
  statsType: number;
  statsAt: number;
  statsLength: number;
};

const noAttributes = (): ServiceAttributes => ({
  family: null,
  protocol: 0,
  address: -1,
  port: 0,
  mark: 0,
  scheduler: '',
  engine: '',
  flags: 0,
  timeoutS: 0,
  netmask: -1,
  statsType: 0,
  statsAt: -1,
  statsLength: 0,
});

/** Body of one message of a service dump. */
export function decodeService(body: Uint8Array): Result<DumpedService, string> {
  const range = findNested(body, IPVS_CMD_ATTR_SERVICE);
  if (range === null) return err('a message without a service');
  const seen = noAttributes();
  const isWhole = walkAttributes(body, range.start, range.end, (type, offset, length) =>
    noteAttribute(seen, body, { type, offset, length }),
  );
  return isWhole ? serviceOf(body, seen) : err('malformed attributes in a service');
}

function noteAttribute(
  seen: ServiceAttributes,
  body: Uint8Array,
  attribute: { readonly type: number; readonly offset: number; readonly length: number },
): void {
  const { type, offset, length } = attribute;
  if (type === IPVS_SVC_ATTR_SCHED_NAME) seen.scheduler = readText(body, offset, length);
  else if (type === IPVS_SVC_ATTR_PE_NAME) seen.engine = readText(body, offset, length);
  else if (type === IPVS_SVC_ATTR_STATS || type === IPVS_SVC_ATTR_STATS64)
    noteStats(seen, attribute);
  else if (length >= 16 && type === IPVS_SVC_ATTR_ADDR) seen.address = offset;
  else if (length >= 8 && type === IPVS_SVC_ATTR_FLAGS) seen.flags = readU32(body, offset);
  else if (length >= 4 && type === IPVS_SVC_ATTR_FWMARK) seen.mark = readU32(body, offset);
  else if (length >= 4 && type === IPVS_SVC_ATTR_TIMEOUT) seen.timeoutS = readU32(body, offset);
  else if (length >= 4 && type === IPVS_SVC_ATTR_NETMASK) seen.netmask = offset;
  else if (length >= 2 && type === IPVS_SVC_ATTR_AF)
    seen.family = familyFrom(readU16(body, offset));
  else if (length >= 2 && type === IPVS_SVC_ATTR_PROTOCOL) seen.protocol = readU16(body, offset);
  else if (length >= 2 && type === IPVS_SVC_ATTR_PORT) seen.port = readU16be(body, offset);
}

/** STATS64 has the greater number, and wins in any order. */
function noteStats(
  seen: ServiceAttributes,
  {
    type,
    offset,
    length,
  }: { readonly type: number; readonly offset: number; readonly length: number },
): void {
  if (type < seen.statsType) return;
  seen.statsType = type;
  seen.statsAt = offset;
  seen.statsLength = length;
}

function serviceOf(body: Uint8Array, seen: ServiceAttributes): Result<DumpedService, string> {
  const key = keyOf(body, seen);
  if (key === null) return err('a service without a family, protocol or address that we know');
  const flags = (seen.flags & ~IP_VS_SVC_F_HASHED) >>> 0;
  const stats = new StatsReader();
  stats.read(body, seen.statsAt, seen.statsLength);
  return ok({
    key,
    scheduler: seen.scheduler,
    flags,
    timeoutS: (flags & IP_VS_SVC_F_PERSISTENT) === 0 ? 0 : seen.timeoutS,
    persistencePrefix: prefixOf(body, seen.netmask, familyOfKey(key)),
    persistenceEngine: seen.engine === '' ? null : seen.engine,
    ...stats.statistics(),
  });
}

function keyOf(body: Uint8Array, seen: ServiceAttributes): ServiceKey | null {
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
