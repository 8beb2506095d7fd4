/** A socket filter for the replies to one process's echo requests. */
import type { IpFamily } from '../model/address.ts';
import type { Instruction } from './bpf.ts';
import { ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY } from './icmp.ts';

/**
 * Only replies with the identifier, so that nothing else on the host costs this process anything. Offsets count
 * from the IP header (4), or from the ICMPv6 header.
 */
export function buildEchoFilter(
  family: IpFamily,
  identifier: number,
  receiveLength: number,
): readonly Instruction[] {
  const [head, loadByte, loadHalf, type] =
    family === 4
      ? ([[HEADER_TO_X], LOAD_BYTE_X, LOAD_HALF_X, ICMP_ECHO_REPLY] as const)
      : ([[], LOAD_BYTE, LOAD_HALF, ICMPV6_ECHO_REPLY] as const);
  return [
    ...head,
    { code: loadByte, jt: 0, jf: 0, k: 0 },
    { code: JUMP_IF_EQUAL, jt: 0, jf: 3, k: type },
    { code: loadHalf, jt: 0, jf: 0, k: 4 },
    { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: identifier },
    { code: RETURN, jt: 0, jf: 0, k: receiveLength },
    { code: RETURN, jt: 0, jf: 0, k: 0 },
  ];
}

const LOAD_BYTE = 0x30;
const LOAD_BYTE_X = 0x50;
const LOAD_HALF = 0x28;
const LOAD_HALF_X = 0x48;
/** X = length of the IPv4 header that begins at 0. */
const HEADER_TO_X: Instruction = { code: 0xb1, jt: 0, jf: 0, k: 0 };
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
