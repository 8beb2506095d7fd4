/**
 * The table of marks as nftables has it, as data: a map for each family from address, protocol and port
 * to the mark, and a rule that looks every packet up. Sources: nft(8), linux/netfilter/nf_tables.h.
 *
 * Chains are at the hook `input`, priority mangle, which packets for local addresses pass after routing and
 * before IPVS (priority 98): fragments are whole there, and a mark of IPVS never meets a routing rule.
 * What this machine sends to its own VIPs is marked at `output`, before IPVS looks there (priority -98).
 */
import { familyOf, formatIp, type IpFamily, ipToBytes } from '../../model/address.ts';
import type { Protocol } from '../../model/cluster.ts';
import { serviceId } from '../../model/ids.ts';
import type { KernelError } from '../../model/kernel.ts';
import type { MarkChange, MarkEntry } from '../../model/marks.ts';
import {
  type NftExpression,
  NFT_META_L4PROTO,
  NFT_META_NFPROTO,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_PAYLOAD_TRANSPORT_HEADER,
  NFT_REG32_00,
} from '../../wire/nft-expressions.ts';
import {
  type NftMarkElement,
  type NftMarkMap,
  deleteMarkElements,
  newMarkElements,
  newMarkMap,
} from '../../wire/nft-maps.ts';
import {
  deleteTable,
  newChain,
  newRule,
  newTable,
  NFPROTO_INET,
  type NftMessage,
  type NftTable,
} from '../../wire/nftables.ts';
import { commentOf, type RuledChain } from './nft-fence-rules.ts';

/** Its name says whose it is; `nft list table inet leasehold-marks` shows it. */
export const MARKS_TABLE: NftTable = { family: NFPROTO_INET, table: 'leasehold-marks' };

const FAMILIES = [4, 6] as const;
const NF_INET_LOCAL_IN = 1;
const NF_INET_LOCAL_OUT = 3;
const PRIORITY_MANGLE = -150;

const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;
const TYPE_IPADDR = 7;
const TYPE_IP6ADDR = 8;
const TYPE_INET_PROTOCOL = 12;
const TYPE_INET_SERVICE = 13;
const PROTOCOLS: readonly (readonly [Protocol, number])[] = [
  ['tcp', 6],
  ['udp', 17],
  ['sctp', 132],
];

export const mapOf = (family: IpFamily): NftMarkMap => ({
  name: `marks${family}`,
  fields: [
    family === 4 ? { type: TYPE_IPADDR, bytes: 4 } : { type: TYPE_IP6ADDR, bytes: 16 },
    { type: TYPE_INET_PROTOCOL, bytes: 1 },
    { type: TYPE_INET_SERVICE, bytes: 2 },
  ],
});

export const MARK_MAPS: readonly { readonly family: IpFamily; readonly map: NftMarkMap }[] =
  FAMILIES.map((family) => ({ family, map: mapOf(family) }));

const RULES = FAMILIES.map(ruleOf);

/** Base chains: they have no rules but these. */
export const MARK_CHAINS: readonly RuledChain[] = [
  chainOf('input', NF_INET_LOCAL_IN),
  chainOf('output', NF_INET_LOCAL_OUT),
];

function chainOf(name: string, hook: number): RuledChain {
  return {
    name,
    hook: { hook, priority: PRIORITY_MANGLE, device: null },
    rules: RULES.map((expressions) => ({ expressions, comment: commentOf(expressions) })),
  };
}

/** The destination address goes to the first register, protocol and port to those behind it. */
function ruleOf(family: IpFamily): readonly NftExpression[] {
  const [offset, length] = family === 4 ? [16, 4] : [24, 16];
  const behind = NFT_REG32_00 + length / 4;
  return [
    { kind: 'meta', key: NFT_META_NFPROTO },
    { kind: 'equals', value: Uint8Array.of(family === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6) },
    { kind: 'payload', base: NFT_PAYLOAD_NETWORK_HEADER, offset, length },
    { kind: 'meta', key: NFT_META_L4PROTO, register: behind },
    {
      kind: 'payload',
      base: NFT_PAYLOAD_TRANSPORT_HEADER,
      offset: 2,
      length: 2,
      register: behind + 1,
    },
    { kind: 'map', map: mapOf(family).name },
    { kind: 'set-mark' },
  ];
}

/** Instead of whatever is there. */
export function planTable(entries: readonly MarkEntry[]): readonly NftMessage[] {
  return [
    // Without the first line a table that is not there would fail the batch.
    newTable(MARKS_TABLE),
    deleteTable(MARKS_TABLE),
    newTable(MARKS_TABLE),
    ...MARK_MAPS.map(({ map }, i) => newMarkMap(MARKS_TABLE, map, i + 1)),
    ...MARK_CHAINS.map((chain) => newChain(MARKS_TABLE, chain)),
    ...MARK_CHAINS.flatMap(({ name, rules }) =>
      rules.map((rule) => newRule(MARKS_TABLE, { chain: name, ...rule })),
    ),
    ...planElements(newMarkElements, entries),
  ];
}

/** In a table that is as we make it: what stays is not touched, so that its packets never miss it. */
export const planChange = ({ add, remove }: MarkChange): readonly NftMessage[] => [
  ...planElements(deleteMarkElements, remove),
  ...planElements(newMarkElements, add),
];

const planElements = (
  write: typeof newMarkElements,
  entries: readonly MarkEntry[],
): readonly NftMessage[] =>
  MARK_MAPS.flatMap(({ family, map }) => {
    const own = entries.filter(({ address }) => familyOf(address) === family);
    return write(MARKS_TABLE, map.name, own.map(elementOf));
  });

const portBytes = (port: number): Uint8Array => Uint8Array.of(port >> 8, port & 0xff);
const portOf = (bytes: Uint8Array): number => ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);

function elementOf({ address, protocol, ports, mark, service }: MarkEntry): NftMarkElement {
  const number = PROTOCOLS.find(([name]) => name === protocol)?.[1] ?? 0;
  const head = [ipToBytes(address), Uint8Array.of(number)];
  return {
    from: [...head, portBytes(ports.from)],
    to: [...head, portBytes(ports.to)],
    mark,
    comment: service,
  };
}

/** Null: not one of ours. */
export function entryOf({ from, to, mark, comment }: NftMarkElement): MarkEntry | null {
  const [address, protocol, first] = from;
  const [lastAddress, lastProtocol, last] = to;
  if (address === undefined || protocol === undefined || first === undefined) return null;
  if (lastAddress === undefined || lastProtocol === undefined || last === undefined) return null;
  const seen = formatIp(address);
  if (formatIp(lastAddress) !== seen || lastProtocol[0] !== protocol[0]) return null;
  const name = PROTOCOLS.find(([, number]) => number === protocol[0])?.[0];
  if (name === undefined) return null;
  const ports = { from: portOf(first), to: portOf(last) };
  return { address: seen, protocol: name, ports, mark, service: serviceId(comment) };
}

/** Where in `planTable` the maps and the chains begin. */
const FIRST_MAP = 3;
const FIRST_CHAIN = FIRST_MAP + MARK_MAPS.length;
const FIRST_RULE = FIRST_CHAIN + MARK_CHAINS.length;

/** What the refusal of a message of `planTable` (by its place) or of all of it means, with the remedy. */
export function explainRefusal(error: KernelError, at: number | 'all'): KernelError {
  const why = whyRefused(error.code, at);
  return why === null ? error : { code: error.code, message: `${error.message}: ${why}` };
}

function whyRefused(code: string, at: number | 'all'): string | null {
  if (code === 'EPERM' || code === 'TIMEOUT') return null;
  if (at === 'all')
    return code === 'EMSGSIZE'
      ? 'more marks than one batch takes: fewer addresses or port ranges under marks'
      : 'this kernel has no nftables; load the module nf_tables (modprobe nf_tables)';
  if (at < FIRST_MAP || (at >= FIRST_CHAIN && at < FIRST_RULE))
    return 'this kernel has no nftables for the family inet; load the modules nf_tables and nf_tables_inet';
  if (at < FIRST_CHAIN)
    return 'this kernel has no maps with ranges of several fields; Linux 5.6 or newer has them';
  return null;
}
