/** Echo requests and replies, byte by byte (RFC 792, RFC 4443 4). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/lib/bytes.ts';
import { internetChecksum } from '../../../src/wire/checksum.ts';
import { decodeEchoReply, encodeEchoRequest } from '../../../src/wire/icmp.ts';
import { asEchoReply4 } from '../../support/echo-reply.ts';

const ECHO = { identifier: 0x1234, sequence: 0x00ff, payload: Uint8Array.of(1, 2, 3, 4) };
const echoes = fc.record({
  identifier: fc.nat(0xffff),
  sequence: fc.nat(0xffff),
  payload: fc.uint8Array({ maxLength: 64 }),
});

describe('an echo request', () => {
  test('has type 8, and a checksum over the whole message', () => {
    // 0800 + 1234 + 00ff + 0102 + 0304 = 1f39, complemented.
    expect(toHex(encodeEchoRequest(4, ECHO))).toBe('0800e0c6123400ff01020304');
    const odd = encodeEchoRequest(4, { ...ECHO, payload: Uint8Array.of(9) });
    expect(internetChecksum([odd])).toBe(0);
  });

  test('has type 128 over IPv6, and leaves the checksum to the kernel', () => {
    expect(toHex(encodeEchoRequest(6, ECHO))).toBe('80000000123400ff01020304');
  });
});

describe('an echo reply', () => {
  test('is read behind any IPv4 header, whatever pads the packet', () => {
    fc.assert(
      fc.property(echoes, fc.integer({ min: 0, max: 10 }), (echo, words) => {
        const packet = asEchoReply4(echo, 4 * words);
        const padded = new Uint8Array([...packet, 7, 7, 7]);
        for (const each of [packet, padded])
          expect(decodeEchoReply(each, 4)).toEqual({ ok: true, value: echo });
      }),
    );
  });

  test('is read without header over IPv6', () => {
    const message = fromHex('8100abcd123400ff01020304') ?? new Uint8Array();
    expect(decodeEchoReply(message, 6)).toEqual({ ok: true, value: ECHO });
  });

  test('of IPv4 must have its right checksum', () => {
    fc.assert(
      fc.property(echoes, fc.nat(), (echo, at) => {
        const packet = asEchoReply4(echo);
        const bit = at % (8 * (packet.length - 20));
        const place = 20 + (bit >>> 3);
        packet[place] = (packet[place] ?? 0) ^ (1 << (bit & 7));
        expect(decodeEchoReply(packet, 4).ok).toBe(false);
      }),
    );
  });

  test.each([
    ['an empty packet', new Uint8Array(), 4],
    ['an empty message', new Uint8Array(), 6],
    ['a header alone', asEchoReply4(ECHO).subarray(0, 20), 4],
    ['the own request', encodeEchoRequest(6, ECHO), 6],
    ['an IPv6 version', asEchoReply4(ECHO).with(0, 0x65), 4],
    ['a header length below 20', asEchoReply4(ECHO).with(0, 0x44), 4],
    ['another protocol', asEchoReply4(ECHO).with(9, 17), 4],
    ['a total length beyond the packet', asEchoReply4(ECHO).with(3, 200), 4],
    ['a total length within the header', asEchoReply4(ECHO).with(3, 19), 4],
    ['another code', Uint8Array.of(129, 1, 0, 0, 0, 0, 0, 0), 6],
  ] as const)('is not %s', (_, bytes, family) => {
    expect(decodeEchoReply(bytes, family).ok).toBe(false);
  });
});
