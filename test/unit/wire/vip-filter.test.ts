/** The filter of a look along a VIP's path takes its answers, and nothing else. */
import { describe, expect, test } from 'vitest';
import type { Instruction } from '../../../src/wire/bpf.ts';
import { formatMac } from '../../../src/model/address.ts';
import { encodeArpReply, encodeArpRequest } from '../../../src/wire/arp.ts';
import { encodeSolicitedAdvertisement } from '../../../src/wire/ndp.ts';
import { buildVipFilter, DEAF_FILTER } from '../../../src/wire/vip-filter.ts';
import { encodeEchoPacket, encodeSegment } from '../../../src/wire/vip-packets.ts';
import { ip } from '../core/desired/spec-builders.ts';

const PORT = 40_000;
const TAKEN = 640;
const MAC = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 1));
const ends4 = { source: ip('10.90.0.100'), destination: ip('10.90.0.11'), hopLimit: 64 };
const ends6 = { source: ip('fd90::100'), destination: ip('fd90::11'), hopLimit: 64 };

/** The kernel's machine, as far as these programs go; a load behind the end drops the packet. */
function run(program: readonly Instruction[], etherType: number, packet: Uint8Array): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  let [accumulator, index] = [0, 0];
  for (let at = 0; at < program.length; at++) {
    const { code, jt, jf, k } = program[at] ?? { code: 0, jt: 0, jf: 0, k: 0 };
    const place = k + ((code & 0xe0) === 0x40 ? index : 0);
    const length = { 0x20: 4, 0x28: 2, 0x48: 2, 0x30: 1, 0x50: 1 }[code] ?? 0;
    if (code === 0x06) return k;
    if (code === 0x15) at += accumulator === k ? jt : jf;
    else if (code === 0x45) at += (accumulator & k) === 0 ? jf : jt;
    else if (code === 0xb1) index = 4 * (view.getUint8(k) & 15);
    else if (code === 0x20 && k === 0xffff_f000) accumulator = etherType;
    else if (length === 0) throw new Error(`instruction ${code}`);
    else if (place + length > packet.length) return 0;
    else
      accumulator =
        length === 4
          ? view.getUint32(place)
          : length === 2
            ? view.getUint16(place)
            : view.getUint8(place);
  }
  throw new Error('ran out of the program');
}

const segmentTo = (ends: typeof ends4, port: number): Uint8Array =>
  encodeSegment(ends, {
    sourcePort: 80,
    destinationPort: port,
    sequence: 1,
    acknowledgement: 2,
    flags: 0x12,
  });

function echoTo(ends: typeof ends4, identifier: number, type: number): Uint8Array {
  const packet = encodeEchoPacket(ends, { identifier, sequence: 3 });
  packet[ends === ends4 ? 20 : 40] = type;
  return packet;
}

describe.each([
  [4, ends4, 0x0800, 0, [3, 11]],
  [6, ends6, 0x86dd, 129, [1, 3]],
] as const)('of IPv%i', (family, ends, etherType, reply, errors) => {
  const filter = buildVipFilter(family, PORT, TAKEN);
  const taken = (packet: Uint8Array, as: number = etherType): number => run(filter, as, packet);

  test('segments to the port are taken, others are not', () => {
    expect(taken(segmentTo(ends, PORT))).toBe(TAKEN);
    expect(taken(segmentTo(ends, PORT + 1))).toBe(0);
    expect(taken(segmentTo(ends, PORT), 0x8100)).toBe(0);
  });

  test('replies to its echoes, and errors about anything, are taken', () => {
    expect(taken(echoTo(ends, PORT, reply))).toBe(TAKEN);
    expect(taken(echoTo(ends, PORT - 1, reply))).toBe(0);
    expect(taken(echoTo(ends, PORT, family === 4 ? 8 : 128))).toBe(0);
    for (const type of errors) expect(taken(echoTo(ends, 1, type))).toBe(TAKEN);
  });

  test('another transport is not', () => {
    const packet = segmentTo(ends, PORT);
    packet[family === 4 ? 9 : 6] = 17;
    expect(taken(packet)).toBe(0);
  });
});

test('options and fragments of IPv4 are seen', () => {
  const filter = buildVipFilter(4, PORT, TAKEN);
  const plain = segmentTo(ends4, PORT);
  const withOptions = Uint8Array.of(
    0x46,
    ...plain.subarray(1, 20),
    1,
    1,
    1,
    0,
    ...plain.subarray(20),
  );
  expect(run(filter, 0x0800, withOptions)).toBe(TAKEN);
  plain[7] = 8;
  expect(run(filter, 0x0800, plain)).toBe(0);
});

test('answers to who has an address are taken, questions are not', () => {
  const filter = buildVipFilter(4, PORT, TAKEN);
  const [senderIp, targetIp] = [ends4.source, ends4.destination];
  const reply = encodeArpReply({ mac: MAC, senderIp, targetMac: MAC, targetIp });
  const request = encodeArpRequest({ mac: MAC, senderIp, targetIp, destination: null });
  expect(run(filter, 0x0806, reply.subarray(14))).toBe(TAKEN);
  expect(run(filter, 0x0806, request.subarray(14))).toBe(0);
  const advertisement = encodeSolicitedAdvertisement({
    mac: MAC,
    target: ends6.source,
    destinationMac: MAC,
    destination: ends6.destination,
  });
  expect(run(buildVipFilter(6, PORT, TAKEN), 0x86dd, advertisement.subarray(14))).toBe(TAKEN);
});

test('the filter of a socket that only holds a port takes nothing', () => {
  expect(run(DEAF_FILTER, 0x0800, segmentTo(ends4, PORT))).toBe(0);
});
