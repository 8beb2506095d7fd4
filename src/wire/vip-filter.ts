/** Socket filters (linux/filter.h) for a look along a VIP's path. Offsets count from the network header. */
import type { IpFamily } from '../model/address.ts';
import type { Instruction } from './bpf.ts';
import { PROTOCOL_TCP } from './vip-packets.ts';

const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
const LOAD_BYTE_X = 0x50;
const LOAD_HALF_X = 0x48;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_SET = 0x45;
const RETURN = 0x06;
/** X = length of the IPv4 header that begins at 0. */
const HEADER_TO_X: Instruction = { code: 0xb1, jt: 0, jf: 0, k: 0 };
/** SKF_AD_OFF + SKF_AD_PROTOCOL: the EtherType, in host order. */
const ANCILLARY_PROTOCOL = 0xffff_f000;
const FRAGMENT_OFFSET = 0x1fff;

const load = (code: number, k: number): Instruction => ({ code, jt: 0, jf: 0, k });
const ret = (k: number): Instruction => ({ code: RETURN, jt: 0, jf: 0, k });
/** Skips the block, which ends with a return, unless what was loaded is `k`. */
const when = (k: number, block: readonly Instruction[]): readonly Instruction[] => [
  { code: JUMP_IF_EQUAL, jt: 0, jf: block.length, k },
  ...block,
];

/** Takes nothing: what comes to such a socket is dropped without an answer. */
export const DEAF_FILTER: readonly Instruction[] = [ret(0)];

/**
 * For a packet socket of all frames without their link header (SOCK_DGRAM): TCP to the port, replies to echoes with
 * it as their identifier, errors of ICMP, and answers to the question who has an address (ARP; neighbour
 * advertisements). Fragments are none of these.
 */
export function buildVipFilter(
  family: IpFamily,
  port: number,
  receiveLength: number,
): readonly Instruction[] {
  const take = [ret(receiveLength)];
  const none = ret(0);
  const here = (code: number, offset: number): readonly Instruction[] => [
    load(code, offset),
    ...when(port, take),
    none,
  ];
  const head = load(LOAD_WORD, ANCILLARY_PROTOCOL);
  if (family === 6)
    return [
      head,
      ...when(0x86dd, [
        load(LOAD_BYTE, 6),
        ...when(PROTOCOL_TCP, here(LOAD_HALF, 42)),
        ...when(58, [
          load(LOAD_BYTE, 40),
          ...[1, 3, 136].flatMap((type) => when(type, take)),
          ...when(129, here(LOAD_HALF, 44)),
          none,
        ]),
        none,
      ]),
      none,
    ];
  const whole: readonly Instruction[] = [
    load(LOAD_HALF, 6),
    { code: JUMP_IF_SET, jt: 0, jf: 1, k: FRAGMENT_OFFSET },
    none,
    HEADER_TO_X,
  ];
  return [
    head,
    ...when(0x0800, [
      load(LOAD_BYTE, 9),
      ...when(PROTOCOL_TCP, [...whole, ...here(LOAD_HALF_X, 2)]),
      ...when(1, [
        ...whole,
        load(LOAD_BYTE_X, 0),
        ...[3, 11].flatMap((type) => when(type, take)),
        ...when(0, here(LOAD_HALF_X, 4)),
        none,
      ]),
      none,
    ]),
    ...when(0x0806, [load(LOAD_HALF, 6), ...when(2, take), none]),
    none,
  ];
}
