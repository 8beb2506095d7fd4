/**
 * Classic BPF programs (linux/filter.h) for packet sockets: only frames that speak as one of a few
 * addresses reach the process, so that nothing else on the network costs it anything. Offsets count
 * from the Ethernet header. A filter may let a stranger through, but never drops a voice.
 */
import { familyOf, type IpAddress, type IpFamily, ipToBytes } from '../../model/address.ts';

export type Instruction = {
  readonly code: number;
  /** Instructions skipped when a comparison is true, or false. */
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
};

/** BPF_MAXINSNS: the kernel refuses longer programs. */
const INSTRUCTIONS_MAX = 4_096;
/** Each address takes two instructions; the rest is room for the head and the tail. */
export const FILTER_ADDRESSES_MAX = (INSTRUCTIONS_MAX - 16) / 2;

const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const JUMP = 0x05;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;

const ARP_SENDER_IP = 28;
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
 * other family are ignored; with more than FILTER_ADDRESSES_MAX all ARP, or all NS and NA, pass.
 */
export function buildVoiceFilter(
  family: IpFamily,
  addresses: readonly IpAddress[],
): readonly Instruction[] {
  const own = addresses.filter((address) => familyOf(address) === family);
  const words = [...new Set(own.map(lowWord))];
  const head = family === 4 ? [load(LOAD_WORD, ARP_SENDER_IP)] : NEIGHBOR_DISCOVERY_HEAD;
  if (words.length > FILTER_ADDRESSES_MAX) return [...head, ret(SNAP_LENGTH)];
  return [...head, ...words.flatMap((word) => [equals(word, 0, 1), ret(SNAP_LENGTH)]), ret(0)];
}

/** struct sock_filter, an array of them, in host order. */
export function encodeFilter(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  for (const [i, { code, jt, jf, k }] of program.entries()) {
    view.setUint16(8 * i, code, IS_LITTLE_ENDIAN);
    bytes[8 * i + 2] = jt;
    bytes[8 * i + 3] = jf;
    view.setUint32(8 * i + 4, k, IS_LITTLE_ENDIAN);
  }
  return bytes;
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

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
