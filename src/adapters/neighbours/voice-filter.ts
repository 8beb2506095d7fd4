/**
 * Classic BPF programs (linux/filter.h) for packet sockets: only frames that speak as one of a few
 * addresses reach the process, so that nothing else on the network costs it anything. Offsets count
 * from the Ethernet header. A filter may let a stranger through, but never drops a voice.
 */
import { familyOf, type IpAddress, type IpFamily, ipToBytes } from '../../model/address.ts';
import type { Instruction } from '../../wire/bpf.ts';

/** BPF_MAXINSNS: the kernel refuses longer programs. */
const INSTRUCTIONS_MAX = 4_096;
/**
 * Each address takes two instructions; the rest is room for the head and the tail. A kernel may have memory for fewer
 * (net.core.optmem_max; before Linux 6.7 for 300 to 800): it then refuses the program with ENOMEM.
 */
export const FILTER_ADDRESSES_MAX = (INSTRUCTIONS_MAX - 32) / 2;

const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const JUMP = 0x05;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;

const LOAD_HALF = 0x28;
const AND = 0x54;

const ETHER_TYPE = 12;
const VLAN_ID = 0xfff;
/** SKF_AD_OFF + SKF_AD_VLAN_TAG. */
const ANCILLARY_VLAN_TAG = 0xffff_f000 + 44;
const ARP_SENDER_IP = 28;
const ARP_TARGET_IP = 38;
const IPV6_NEXT_HEADER = 20;
const IPV6_SOURCE_LOW_WORD = 14 + 8 + 12;
const ICMPV6_TYPE = 54;
const ND_TARGET_LOW_WORD = 54 + 8 + 12;
const ICMPV6 = 58;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
/** Longest part of a frame that is kept: more than any ARP or ND message needs. */
export const SNAP_LENGTH = 2_048;

/**
 * For a socket that gets one EtherType: ARP whose sender is one of the addresses; NA about one of them,
 * and NS from one of them. IPv6 addresses are told apart by their last 32 bits only. Addresses of the
 * other family are ignored; with more than `addressesMax` all ARP, or all NS and NA, pass.
 */
export function buildVoiceFilter(
  family: IpFamily,
  addresses: readonly IpAddress[],
  addressesMax: number = FILTER_ADDRESSES_MAX,
): readonly Instruction[] {
  const own = addresses.filter((address) => familyOf(address) === family);
  const words = [...new Set(own.map(lowWord))];
  const head = family === 4 ? [load(LOAD_WORD, ARP_SENDER_IP)] : NEIGHBOR_DISCOVERY_HEAD;
  if (words.length > addressesMax) return [...head, ret(SNAP_LENGTH)];
  return [...head, ...words.flatMap((word) => [equals(word, 0, 1), ret(SNAP_LENGTH)]), ret(0)];
}

/**
 * For a socket that gets every frame: those of the family, without VLAN tag, that speak as one of the addresses
 * or ask for it as nobody (sender 0.0.0.0, source `::`). With more than half of `addressesMax` as above.
 */
export function buildProbeFilter(
  family: IpFamily,
  addresses: readonly IpAddress[],
  addressesMax: number = FILTER_ADDRESSES_MAX,
): readonly Instruction[] {
  const own = addresses.filter((address) => familyOf(address) === family);
  const words = [...new Set(own.map(lowWord))];
  const [etherType, voiceHead, target] =
    family === 4
      ? [0x0806, [load(LOAD_WORD, ARP_SENDER_IP)], ARP_TARGET_IP]
      : [0x86dd, NEIGHBOR_DISCOVERY_HEAD, ND_TARGET_LOW_WORD];
  const head = [
    load(LOAD_HALF, ETHER_TYPE),
    equals(etherType, 1, 0),
    ret(0),
    // A frame of another VLAN has its tag beside it (0: none, or a priority alone).
    load(LOAD_WORD, ANCILLARY_VLAN_TAG),
    { code: AND, jt: 0, jf: 0, k: VLAN_ID },
    equals(0, 1, 0),
    ret(0),
    ...voiceHead,
  ];
  if (2 * words.length > addressesMax) return [...head, ret(SNAP_LENGTH)];
  const isOneOf = words.flatMap((word) => [equals(word, 0, 1), ret(SNAP_LENGTH)]);
  return [
    ...head,
    ...isOneOf,
    equals(0, 1, 0),
    ret(0),
    load(LOAD_WORD, target),
    ...isOneOf,
    ret(0),
  ];
}

const load = (code: number, offset: number): Instruction => ({ code, jt: 0, jf: 0, k: offset });
const equals = (k: number, jt: number, jf: number): Instruction => ({
  code: JUMP_IF_EQUAL,
  jt,
  jf,
  k,
});
const ret = (k: number): Instruction => ({ code: RETURN, jt: 0, jf: 0, k });

/** Leaves the word to compare: the target of an NA, the source of an NS; all else is dropped. */
const NEIGHBOR_DISCOVERY_HEAD: readonly Instruction[] = [
  load(LOAD_BYTE, IPV6_NEXT_HEADER),
  equals(ICMPV6, 1, 0),
  ret(0),
  load(LOAD_BYTE, ICMPV6_TYPE),
  equals(NEIGHBOR_ADVERTISEMENT, 2, 0),
  equals(NEIGHBOR_SOLICITATION, 3, 0),
  ret(0),
  load(LOAD_WORD, ND_TARGET_LOW_WORD),
  { code: JUMP, jt: 0, jf: 0, k: 1 },
  load(LOAD_WORD, IPV6_SOURCE_LOW_WORD),
];

function lowWord(address: IpAddress): number {
  const bytes = ipToBytes(address);
  return new DataView(bytes.buffer).getUint32(bytes.length - 4);
}
