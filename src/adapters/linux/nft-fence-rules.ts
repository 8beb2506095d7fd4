/**
 * The rules of the fence (design 4.4) for each kind of kernel, as data. What they have in common: a
 * managed address passes only while it is in `enabled` and its interface in `alive`; ARP and ND
 * about it only while it is not `muted`. One that is `served` takes and sends IP, and nothing but IP, beside
 * that: what other directors forward to this one as a real server. Sources: RFC 826, RFC 4861 4.3 and 4.4, nft(8).
 */
import { hash64Hex } from '../../lib/hash.ts';
import type { FenceDevice, FenceKind } from '../../ports/fence.ts';
import { LITTLE_ENDIAN, viewOf } from '../../wire/netlink.ts';
import {
  type NftExpression,
  NFT_META_IIF,
  NFT_META_L4PROTO,
  NFT_META_NFPROTO,
  NFT_META_OIF,
  NFT_META_PROTOCOL,
  NFT_PAYLOAD_LL_HEADER,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_PAYLOAD_TRANSPORT_HEADER,
} from '../../wire/nft-expressions.ts';
import {
  NFPROTO_ARP,
  NFPROTO_BRIDGE,
  NFPROTO_INET,
  NFPROTO_NETDEV,
  type NftChain,
  type NftSet,
  type NftTable,
  NFT_SET_TIMEOUT,
} from '../../wire/nftables.ts';

/** Name of our table in every family. */
export const FENCE_TABLE = 'leasehold';

export const PERMIT_SET = 'permit';
export const ALIVE_SET = 'alive';
/** Where chains have no device of their own: the devices that are fenced. */
export const DEVICE_SET = 'device';

/** MACs that other directors forward from. */
export const DIRECTOR_SET = 'director';

export type AddressSet = 'managed' | 'enabled' | 'muted' | 'served';
export const ADDRESS_SETS: readonly AddressSet[] = ['managed', 'enabled', 'muted', 'served'];

export type RuledChain = NftChain & {
  readonly rules: readonly {
    readonly expressions: readonly NftExpression[];
    readonly comment: string;
  }[];
};

export type TableScheme = {
  readonly table: NftTable;
  readonly sets: readonly NftSet[];
  /** Chains that are there whatever the devices are, callees first. */
  readonly chains: readonly RuledChain[];
  /** Base chains of one device. */
  readonly chainsOf: (device: FenceDevice) => readonly RuledChain[];
  readonly families: readonly (4 | 6)[];
};

export type FenceScheme = {
  readonly kind: FenceKind;
  /** Permits are in the first one. */
  readonly tables: readonly [TableScheme, ...TableScheme[]];
  /** Each device has base chains, named by its index; else it is in the set `device`. */
  readonly isPerDevice: boolean;
  /** Devices are bridges, and what is alive are their ports: frames tell nothing else there. */
  readonly isBridged: boolean;
};

const TYPE_IPADDR = 7;
const TYPE_IP6ADDR = 8;
const TYPE_ETHERADDR = 9;
const TYPE_MARK = 19;
const TYPE_IFINDEX = 20;

const ETH_P_IP = 0x0800;
const ETH_P_ARP = 0x0806;
const ETH_P_IPV6 = 0x86dd;
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;
const ARPOP_REQUEST = 1;
const IPPROTO_ICMPV6 = 58;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;

/** Numbers of hooks: linux/netfilter.h, netfilter_arp.h, netfilter_bridge.h. */
const NF_NETDEV_INGRESS = 0;
const NF_NETDEV_EGRESS = 1;
const NF_ARP_IN = 0;
const NF_ARP_OUT = 1;
const NF_INET_PRE_ROUTING = 0;
const NF_INET_POST_ROUTING = 4;
const NF_BR_LOCAL_IN = 1;
const NF_BR_LOCAL_OUT = 3;

/** Before what rewrites addresses on the way in, after it on the way out. */
const PRIORITY_IN = -300;
const PRIORITY_OUT = 300;

const network = (offset: number, length: number): NftExpression => ({
  kind: 'payload',
  base: NFT_PAYLOAD_NETWORK_HEADER,
  offset,
  length,
});
const transport = (offset: number, length: number): NftExpression => ({
  kind: 'payload',
  base: NFT_PAYLOAD_TRANSPORT_HEADER,
  offset,
  length,
});
const meta = (key: number): NftExpression => ({ kind: 'meta', key });
const equals = (...value: readonly number[]): NftExpression => ({
  kind: 'equals',
  value: Uint8Array.from(value),
});
const word = (value: number): readonly [number, number] => [value >> 8, value & 0xff];

const ETHER_SOURCE: NftExpression = {
  kind: 'payload',
  base: NFT_PAYLOAD_LL_HEADER,
  offset: 6,
  length: 6,
};
const ARP_SENDER = network(14, 4);
const ARP_TARGET = network(24, 4);
const IPV4_SOURCE = network(12, 4);
const IPV4_DESTINATION = network(16, 4);
const IPV6_SOURCE = network(8, 16);
const IPV6_DESTINATION = network(24, 16);
const ND_TARGET = transport(8, 16);
const IS_ARP_REQUEST = [network(6, 2), equals(...word(ARPOP_REQUEST))];
const isIcmpv6 = (type: number): readonly NftExpression[] => [
  meta(NFT_META_L4PROTO),
  equals(IPPROTO_ICMPV6),
  transport(0, 1),
  equals(type),
];

/** How a rule of a table recognises a protocol; null: the table does not see it. */
type Protocols = {
  readonly arp: readonly NftExpression[] | null;
  readonly ipv4: readonly NftExpression[];
  readonly ipv6: readonly NftExpression[] | null;
};

const BY_ETHER_TYPE: Protocols = {
  arp: [meta(NFT_META_PROTOCOL), equals(...word(ETH_P_ARP))],
  ipv4: [meta(NFT_META_PROTOCOL), equals(...word(ETH_P_IP))],
  ipv6: [meta(NFT_META_PROTOCOL), equals(...word(ETH_P_IPV6))],
};

/** At the hooks of a bridge these are its ports. */
const BY_INDEX = { arriving: meta(NFT_META_IIF), leaving: meta(NFT_META_OIF) };

function ruled(chain: NftChain, rules: readonly (readonly NftExpression[])[]): RuledChain {
  return {
    ...chain,
    rules: rules.map((expressions) => ({ expressions, comment: commentOf(expressions) })),
  };
}

/** Names a rule by what it does, so that one that was changed is known. */
export function commentOf(expressions: readonly NftExpression[]): string {
  const text = expressions.map((expression) =>
    expression.kind === 'equals' ? `= ${expression.value.join()}` : JSON.stringify(expression),
  );
  return `leasehold ${hash64Hex(text.join(' '))}`;
}

type Question = {
  readonly chain: string;
  readonly family: 4 | 6;
  /** Selects the packets that are about an address. */
  readonly about: readonly NftExpression[];
  readonly address: NftExpression;
  readonly link: NftExpression;
  /** `mutable`: ARP and ND. */
  readonly voice: 'plain' | 'mutable';
  /** Which addresses it is asked of; absent: those that are managed. */
  readonly of?: 'served';
  /** What a served address may do while it is silent; absent: nothing. */
  readonly exempt?: 'from-directors' | 'any';
};

/** The chain that judges packets about a managed address. */
function judge(question: Question): RuledChain {
  const { chain, family, address, link, voice, exempt } = question;
  const drop: NftExpression = { kind: 'drop' };
  const rules: NftExpression[][] = [];
  if (exempt !== undefined)
    rules.push([
      address,
      { kind: 'in', set: `served${family}` },
      ...(exempt === 'any' ? [] : FROM_DIRECTOR),
      { kind: 'return' },
    ]);
  rules.push(
    [address, { kind: 'not-in', set: `enabled${family}` }, drop],
    [link, { kind: 'not-in', set: ALIVE_SET }, drop],
  );
  if (voice === 'mutable') rules.push([address, { kind: 'in', set: `muted${family}` }, drop]);
  return ruled({ name: chain, hook: null }, rules);
}

const FROM_DIRECTOR: readonly NftExpression[] = [ETHER_SOURCE, { kind: 'in', set: DIRECTOR_SET }];

/** Sends every packet about a managed address to its judge. */
function sort(name: string, questions: readonly Question[]): RuledChain {
  return ruled(
    { name, hook: null },
    questions.map(({ about, address, family, chain, of = 'managed' }) => [
      ...about,
      address,
      { kind: 'in', set: `${of}${family}` },
      { kind: 'jump', chain },
    ]),
  );
}

function arriving(protocols: Protocols): readonly Question[] {
  const questions: Question[] = [];
  const { arp, ipv4, ipv6 } = protocols;
  const add = (question: Omit<Question, 'link'>): void => {
    questions.push({ ...question, link: BY_INDEX.arriving });
  };
  if (arp !== null)
    add({
      chain: 'ask4',
      family: 4,
      about: [...arp, ...IS_ARP_REQUEST],
      address: ARP_TARGET,
      voice: 'mutable',
    });
  if (ipv6 === null) return questions;
  const plain = { voice: 'plain', exempt: 'from-directors' } as const;
  add({ chain: 'to4', family: 4, about: ipv4, address: IPV4_DESTINATION, ...plain });
  const solicitation = [...ipv6, ...isIcmpv6(NEIGHBOR_SOLICITATION)];
  add({ chain: 'ask6', family: 6, about: solicitation, address: ND_TARGET, voice: 'mutable' });
  add({ chain: 'to6', family: 6, about: ipv6, address: IPV6_DESTINATION, ...plain });
  return questions;
}

function leaving(protocols: Protocols): readonly Question[] {
  const questions: Question[] = [];
  const { arp, ipv4, ipv6 } = protocols;
  const add = (question: Omit<Question, 'link'>): void => {
    questions.push({ ...question, link: BY_INDEX.leaving });
  };
  if (arp !== null)
    add({ chain: 'tell4', family: 4, about: arp, address: ARP_SENDER, voice: 'mutable' });
  if (ipv6 === null) return questions;
  const plain = { voice: 'plain', exempt: 'any' } as const;
  add({ chain: 'from4', family: 4, about: ipv4, address: IPV4_SOURCE, ...plain });
  // What is silent here is on lo: only a table that nobody keeps any more forwards to it, back to the holder.
  const toward = { voice: 'plain', of: 'served' } as const;
  add({ chain: 'toward4', family: 4, about: ipv4, address: IPV4_DESTINATION, ...toward });
  const advertisement = [...ipv6, ...isIcmpv6(NEIGHBOR_ADVERTISEMENT)];
  add({ chain: 'tell6', family: 6, about: advertisement, address: ND_TARGET, voice: 'mutable' });
  // A solicitation from the VIP tells its link-layer address too, as an ARP request does.
  const solicitation = [...ipv6, ...isIcmpv6(NEIGHBOR_SOLICITATION)];
  add({ chain: 'seek6', family: 6, about: solicitation, address: IPV6_SOURCE, voice: 'mutable' });
  add({ chain: 'from6', family: 6, about: ipv6, address: IPV6_SOURCE, ...plain });
  add({ chain: 'toward6', family: 6, about: ipv6, address: IPV6_DESTINATION, ...toward });
  return questions;
}

function judgingChains(protocols: Protocols): readonly RuledChain[] {
  const arrivals = arriving(protocols);
  const departures = leaving(protocols);
  return [
    ...arrivals.map(judge),
    ...departures.map(judge),
    sort('arrive', arrivals),
    sort('leave', departures),
  ];
}

/** Base chains for all devices of the set `device`, or of all bridges. */
function commonChains(
  hooks: { readonly in: number; readonly out: number },
  devices: 'of-set' | 'all',
): readonly RuledChain[] {
  const chain = (name: string, hook: number, priority: number): NftChain => ({
    name,
    hook: { hook, priority, device: null },
  });
  const only = (link: NftExpression): readonly NftExpression[] =>
    devices === 'all' ? [] : [link, { kind: 'in', set: DEVICE_SET }];
  return [
    ruled(chain('in', hooks.in, PRIORITY_IN), [
      [...only(BY_INDEX.arriving), { kind: 'goto', chain: 'arrive' }],
    ]),
    ruled(chain('out', hooks.out, PRIORITY_OUT), [
      [...only(BY_INDEX.leaving), { kind: 'goto', chain: 'leave' }],
    ]),
  ];
}

function deviceChains(device: FenceDevice): readonly RuledChain[] {
  const chain = (name: string, hook: number, priority: number): NftChain => ({
    name: `${name}-${device.index}`,
    hook: { hook, priority, device: device.name },
  });
  return [
    ruled(chain('in', NF_NETDEV_INGRESS, PRIORITY_IN), [[{ kind: 'goto', chain: 'arrive' }]]),
    ruled(chain('out', NF_NETDEV_EGRESS, PRIORITY_OUT), [[{ kind: 'goto', chain: 'leave' }]]),
  ];
}

type SetOptions = {
  readonly families: readonly (4 | 6)[];
  readonly hasPermits: boolean;
  readonly hasDevices: boolean;
};

function setsOf(options: SetOptions): readonly NftSet[] {
  const sets: NftSet[] = [{ name: ALIVE_SET, flags: NFT_SET_TIMEOUT, ...LINK_INDEX }];
  if (options.hasPermits)
    sets.push({ name: PERMIT_SET, flags: NFT_SET_TIMEOUT, keyType: TYPE_MARK, keyLength: 4 });
  if (options.hasDevices) sets.push({ name: DEVICE_SET, flags: 0, ...LINK_INDEX });
  for (const family of options.families)
    for (const name of ADDRESS_SETS)
      sets.push({ name: `${name}${family}`, flags: 0, ...addressKey(family) });
  sets.push({ name: DIRECTOR_SET, flags: 0, keyType: TYPE_ETHERADDR, keyLength: 6 });
  return sets;
}

const addressKey = (family: 4 | 6): Pick<NftSet, 'keyType' | 'keyLength'> =>
  family === 4 ? { keyType: TYPE_IPADDR, keyLength: 4 } : { keyType: TYPE_IP6ADDR, keyLength: 16 };

const LINK_INDEX = { keyType: TYPE_IFINDEX, keyLength: 4 };

/** Index in host order, as the kernel compares it. */
export function u32Key(value: number): Uint8Array {
  const key = new Uint8Array(4);
  viewOf(key).setUint32(0, value, LITTLE_ENDIAN);
  return key;
}

/** `table` is `FENCE_TABLE`, or another name to try a kernel with. */
export function fenceScheme(kind: FenceKind, table: string = FENCE_TABLE): FenceScheme {
  switch (kind) {
    case 'netdev':
      return netdevScheme(table);
    case 'arp-inet-ip6':
      return arpInetScheme(table);
    case 'bridge':
      return bridgeScheme(table);
  }
}

function netdevScheme(table: string): FenceScheme {
  const families = [4, 6] as const;
  return {
    kind: 'netdev',
    isPerDevice: true,
    isBridged: false,
    tables: [
      {
        table: { family: NFPROTO_NETDEV, table },
        families,
        sets: setsOf({ families, hasPermits: true, hasDevices: false }),
        chains: judgingChains(BY_ETHER_TYPE),
        chainsOf: deviceChains,
      },
    ],
  };
}

function arpInetScheme(table: string): FenceScheme {
  const inet: Protocols = {
    arp: null,
    ipv4: [meta(NFT_META_NFPROTO), equals(NFPROTO_IPV4)],
    ipv6: [meta(NFT_META_NFPROTO), equals(NFPROTO_IPV6)],
  };
  const inetHooks = { in: NF_INET_PRE_ROUTING, out: NF_INET_POST_ROUTING };
  const arpHooks = { in: NF_ARP_IN, out: NF_ARP_OUT };
  const common = { hasDevices: true };
  return {
    kind: 'arp-inet-ip6',
    isPerDevice: false,
    isBridged: false,
    tables: [
      {
        table: { family: NFPROTO_INET, table },
        families: [4, 6],
        sets: setsOf({ ...common, families: [4, 6], hasPermits: true }),
        chains: [...judgingChains(inet), ...commonChains(inetHooks, 'of-set')],
        chainsOf: () => [],
      },
      {
        table: { family: NFPROTO_ARP, table },
        families: [4],
        sets: setsOf({ ...common, families: [4], hasPermits: false }),
        chains: [
          ...judgingChains({ arp: [], ipv4: [], ipv6: null }),
          ...commonChains(arpHooks, 'of-set'),
        ],
        chainsOf: () => [],
      },
    ],
  };
}

function bridgeScheme(table: string): FenceScheme {
  const families = [4, 6] as const;
  const hooks = { in: NF_BR_LOCAL_IN, out: NF_BR_LOCAL_OUT };
  return {
    kind: 'bridge',
    isPerDevice: false,
    isBridged: true,
    tables: [
      {
        table: { family: NFPROTO_BRIDGE, table },
        families,
        sets: setsOf({ families, hasPermits: true, hasDevices: true }),
        chains: [...judgingChains(BY_ETHER_TYPE), ...commonChains(hooks, 'all')],
        chainsOf: () => [],
      },
    ],
  };
}
