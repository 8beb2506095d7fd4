/** Packets along a VIP's path, byte by byte, and what is heard of them (RFC 791, RFC 9293, RFC 792, RFC 4443, RFC 2784). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { formatIp, formatMac, type IpAddress, ipToBytes } from '../../../src/model/address.ts';
import { internetChecksum } from '../../../src/wire/checksum.ts';
import {
  decodeHeard,
  encapsulate,
  encodeEchoPacket,
  encodeEthernet,
  encodeSegment,
  type Ends,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from '../../../src/wire/vip-packets.ts';
import { ip } from '../core/desired/spec-builders.ts';

const ENDS: Ends = { source: ip('10.90.0.11'), destination: ip('10.90.0.100'), hopLimit: 1 };
const ENDS6: Ends = { source: ip('fd90::11'), destination: ip('fd90::100'), hopLimit: 1 };
const SYN = {
  sourcePort: 40_000,
  destinationPort: 80,
  sequence: 0xdead_beef,
  acknowledgement: 0,
  flags: TCP_SYN,
};
const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const ends = fc.constantFrom(4, 16).chain((length) =>
  fc.record({
    source: bytesOf(length).map(formatIp),
    destination: bytesOf(length).map(formatIp),
    hopLimit: fc.integer({ min: 1, max: 255 }),
  }),
);
const segments = fc.record({
  sourcePort: fc.nat(0xffff),
  destinationPort: fc.nat(0xffff),
  sequence: fc.nat(0xffff_ffff),
  acknowledgement: fc.nat(0xffff_ffff),
  flags: fc.nat(0x3f),
});

/** Over what TCP and ICMPv6 sum up (RFC 9293 3.1, RFC 8200 8.1): 0 where the checksum is right. */
function sumOf(packet: Uint8Array, protocol: number): number {
  const is4 = (packet[0] ?? 0) >>> 4 === 4;
  const addresses = is4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  const payload = packet.subarray(is4 ? 20 : 40);
  const tail = Uint8Array.of(0, 0, payload.length >> 8, payload.length & 255, 0, 0, 0, protocol);
  return internetChecksum([addresses, tail, payload]);
}

/** An error of ICMP as routers send it, quoting the packet. */
function errorAbout(packet: Uint8Array, from: IpAddress, type: number, code: number): Uint8Array {
  const is4 = (packet[0] ?? 0) >>> 4 === 4;
  const message = Uint8Array.of(type, code, 0, 0, 0, 0, 0, 0, ...packet);
  const head = new Uint8Array(is4 ? 20 : 40);
  const view = new DataView(head.buffer);
  head[0] = is4 ? 0x45 : 0x60;
  view.setUint16(is4 ? 2 : 4, message.length + (is4 ? 20 : 0));
  head[is4 ? 9 : 6] = is4 ? 1 : 58;
  head.set(ipToBytes(from), is4 ? 12 : 8);
  return Uint8Array.of(...head, ...message);
}

describe('a segment', () => {
  test('is a whole packet of IPv4 that goes one hop', () => {
    const packet = encodeSegment(ENDS, SYN);
    expect(toHex(packet)).toMatch(/^4500002c000040000106[0-9a-f]{4}0a5a000b0a5a0064/);
    expect(toHex(packet.subarray(20, 34))).toBe('9c400050deadbeef000000006002');
    expect(toHex(packet.subarray(40))).toBe('02040218');
    expect(internetChecksum([packet.subarray(0, 20)])).toBe(0);
    expect(sumOf(packet, 6)).toBe(0);
  });

  test('has right checksums whatever it holds, and is read again', () => {
    fc.assert(
      fc.property(ends, segments, fc.uint8Array({ maxLength: 8 }), (between, segment, padding) => {
        const packet = encodeSegment(between, segment);
        expect(sumOf(packet, 6)).toBe(0);
        const { source, destination } = between;
        expect(decodeHeard(Uint8Array.of(...packet, ...padding))).toEqual({
          ok: true,
          value: { kind: 'segment', source, destination, ...segment },
        });
      }),
    );
  });

  test('has no option where it only ends a connection', () => {
    expect(encodeSegment(ENDS, { ...SYN, flags: TCP_RST })).toHaveLength(40);
    expect(encodeSegment(ENDS6, { ...SYN, flags: TCP_RST | TCP_ACK })).toHaveLength(60);
  });
});

describe('an echo', () => {
  test('has its checksum, also over IPv6, where no kernel fills it in', () => {
    const echo = { identifier: 40_000, sequence: 7 };
    expect(internetChecksum([encodeEchoPacket(ENDS, echo).subarray(20)])).toBe(0);
    const packet = encodeEchoPacket(ENDS6, echo);
    expect(sumOf(packet, 58)).toBe(0);
    expect([packet[7], packet[40]]).toEqual([1, 128]);
  });

  test('is heard when it is answered, and not when it is asked', () => {
    for (const [between, at, reply] of [
      [ENDS, 20, 0],
      [ENDS6, 40, 129],
    ] as const) {
      const packet = encodeEchoPacket(between, { identifier: 40_000, sequence: 7 });
      expect(decodeHeard(packet).ok).toBe(false);
      packet[at] = reply;
      const value = { kind: 'echo', source: between.source, identifier: 40_000, sequence: 7 };
      expect(decodeHeard(packet)).toEqual({ ok: true, value });
    }
  });
});

describe('an error of ICMP', () => {
  test.each([
    [ENDS, 11, 0, 'expired'],
    [ENDS, 3, 1, 'unreachable'],
    [ENDS, 3, 2, 'unreachable'],
    [ENDS, 3, 3, 'prohibited'],
    [ENDS, 3, 13, 'prohibited'],
    [ENDS6, 3, 0, 'expired'],
    [ENDS6, 1, 0, 'unreachable'],
    [ENDS6, 1, 1, 'prohibited'],
    [ENDS6, 1, 4, 'prohibited'],
  ] as const)(
    'names the segment that it is about (%o type %i code %i)',
    (between, type, code, what) => {
      const from = between.destination;
      const error = errorAbout(encodeSegment(between, SYN), from, type, code);
      const about = { protocol: 'tcp', port: 40_000, sequence: 0xdead_beef };
      expect(decodeHeard(error)).toEqual({
        ok: true,
        value: { kind: 'error', source: from, what, about: { destination: from, ...about } },
      });
    },
  );

  test('names an echo, and knows the rest by its destination alone', () => {
    const echo = encodeEchoPacket(ENDS, { identifier: 5, sequence: 6 });
    expect(decodeHeard(errorAbout(echo, ENDS.destination, 3, 1))).toMatchObject({
      value: { about: { protocol: 'echo', port: 5, sequence: 6 } },
    });
    const tunnel = encodeSegment(ENDS, SYN);
    tunnel[9] = 4;
    expect(decodeHeard(errorAbout(tunnel, ENDS.destination, 3, 2))).toMatchObject({
      value: { about: { protocol: 'other', destination: '10.90.0.100', port: 0 } },
    });
  });

  test('is nothing where it tells of lengths, or of fragments that did not come', () => {
    for (const [type, code] of [
      [3, 4],
      [11, 1],
      [5, 0],
    ] as const)
      expect(decodeHeard(errorAbout(encodeSegment(ENDS, SYN), ENDS.source, type, code)).ok).toBe(
        false,
      );
  });
});

test('nothing that comes in makes the reader throw', () => {
  const wild = fc.uint8Array({ maxLength: 120 });
  const heads = fc.constantFrom(0x45, 0x4f, 0x60, 0x41, 0);
  fc.assert(
    fc.property(heads, wild, fc.constantFrom(1, 6, 58, 4), (head, bytes, protocol) => {
      const packet = Uint8Array.of(head, ...bytes);
      if (packet.length > 9) packet[9] = protocol;
      if (packet.length > 6 && head === 0x60) packet[6] = protocol;
      expect(typeof decodeHeard(packet).ok).toBe('boolean');
    }),
    { numRuns: 2000 },
  );
});

test('a fragment, and a packet that is cut off, are not taken for whole', () => {
  const packet = encodeSegment(ENDS, { ...SYN, flags: TCP_SYN | TCP_ACK });
  expect(decodeHeard(packet.subarray(0, 43)).ok).toBe(false);
  packet[7] = 1;
  expect(decodeHeard(packet).ok).toBe(false);
});

test('a frame says what it carries', () => {
  const [destination, source] = [1, 2].map((n) => formatMac(Uint8Array.of(2, 0, 0, 0, 0, n)));
  if (destination === undefined || source === undefined) throw new Error('two addresses');
  const frame = encodeEthernet({ destination, source }, encodeSegment(ENDS6, SYN));
  expect(toHex(frame.subarray(0, 15))).toBe('02000000000102000000000286dd60');
});

test.each([
  ['ipip', ENDS, ''],
  ['gre', ENDS, '00000800'],
  ['gre', ENDS6, '000086dd'],
  ['gue', ENDS, '00040000'],
  ['gue', ENDS6, '00290000'],
] as const)('%s has its header before the packet', (type, between, header) => {
  const packet = encodeSegment(between, SYN);
  expect(toHex(encapsulate(type, packet))).toBe(header + toHex(packet));
});
