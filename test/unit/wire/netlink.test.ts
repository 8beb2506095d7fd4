/** Netlink framing: round trips, limits, and that no bytes make it throw. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes } from '../../../src/lib/bytes.ts';
import {
  AttributeWriter,
  decodeAcknowledgement,
  decodeMessages,
  encodeBatch,
  encodeMessage,
  NLMSG_DONE,
  NLMSG_ERROR,
  readText,
  readU16be,
  readU32,
  readU64,
  walkAttributes,
  type NetlinkMessage,
} from '../../../src/wire/netlink.ts';

const message = fc.record({
  type: fc.nat(0xffff),
  flags: fc.nat(0xffff),
  seq: fc.nat(0xffff_ffff),
  port: fc.nat(0xffff_ffff),
  body: fc.uint8Array({ maxLength: 64 }),
});

describe('messages', () => {
  test('a datagram of messages comes back as it was', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        expect(decodeMessages(concatBytes(messages.map(encodeMessage)))).toEqual({
          ok: true,
          value: messages,
        });
      }),
    );
  });

  test('a batch is numbered, and the last one has the flags of the last', () => {
    const entry = { type: 28, flags: 1, body: Uint8Array.of(1, 2, 3) };
    const bytes = encodeBatch([entry, entry], { seq: 7, port: 9, lastFlags: 4 });
    expect(decodeMessages(bytes)).toEqual({
      ok: true,
      value: [
        { ...entry, seq: 7, port: 9 },
        { ...entry, flags: 5, seq: 8, port: 9 },
      ],
    });
  });

  test('no bytes make the decoder throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const decoded = decodeMessages(bytes);
        if (decoded.ok) for (const entry of decoded.value) decodeAcknowledgement(entry);
      }),
    );
  });

  test.each([
    ['a header that is cut off', 15, 'a header has 16'],
    ['a length below the header', 8, 'message length 8'],
    ['a length beyond the datagram', 99, 'message length 99'],
  ])('%s is an error', (_, length, text) => {
    const bytes = length === 15 ? new Uint8Array(15) : new Uint8Array(16);
    if (length !== 15) bytes[0] = length;
    const decoded = decodeMessages(bytes);
    expect(decoded.ok ? '' : decoded.error).toContain(text);
  });
});

describe('acknowledgements', () => {
  const reply = (type: number, flags: number, body: Uint8Array): NetlinkMessage => ({
    type,
    flags,
    seq: 1,
    port: 1,
    body,
  });
  const errno = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

  test('zero is success and minus seventeen is EEXIST', () => {
    expect(decodeAcknowledgement(reply(NLMSG_ERROR, 0, errno(0)))).toEqual({
      ok: true,
      value: { errno: 0, reason: null },
    });
    expect(decodeAcknowledgement(reply(NLMSG_ERROR, 0, errno(-17)))).toMatchObject({
      value: { errno: 17 },
    });
  });

  test('a dump ends with success where its result is not negative or missing', () => {
    for (const body of [errno(0), errno(12), new Uint8Array()])
      expect(decodeAcknowledgement(reply(NLMSG_DONE, 0, body))).toMatchObject({
        value: { errno: 0 },
      });
    expect(decodeAcknowledgement(reply(NLMSG_DONE, 0, errno(-2)))).toMatchObject({
      value: { errno: 2 },
    });
  });

  test("the kernel's own words are read after a capped and after a whole request", () => {
    const words = new AttributeWriter().text(1, 'ipv4: Invalid prefix length').finish();
    const request = encodeMessage({ type: 20, flags: 5, seq: 1, port: 1, body: new Uint8Array(8) });
    for (const [flags, copy] of [
      [0x300, request.subarray(0, 16)],
      [0x200, request],
    ] as const) {
      const body = concatBytes([errno(-22), copy, words]);
      expect(decodeAcknowledgement(reply(NLMSG_ERROR, flags, body))).toEqual({
        ok: true,
        value: { errno: 22, reason: 'ipv4: Invalid prefix length' },
      });
    }
  });

  test('a short one is an error', () => {
    expect(decodeAcknowledgement(reply(NLMSG_ERROR, 0, new Uint8Array(3))).ok).toBe(false);
  });
});

describe('attributes', () => {
  test('every kind is found again with its length and without flag bits', () => {
    const bytes = new AttributeWriter()
      .u8(1, 7)
      .u16be(2, 80)
      .u32(3, 0xffff_fffe)
      .text(4, 'wlc')
      .nested(5, (writer) => writer.u32be(6, 1).bytes(7, Uint8Array.of(1, 2, 3, 4, 5)))
      .finish();
    const seen: string[] = [];
    const isWhole = walkAttributes(bytes, 0, bytes.length, (type, offset, length) => {
      seen.push(`${type}/${length}`);
      if (type === 1) expect(bytes[offset]).toBe(7);
      if (type === 2) expect(readU16be(bytes, offset)).toBe(80);
      if (type === 3) expect(readU32(bytes, offset)).toBe(0xffff_fffe);
      if (type === 4) expect(readText(bytes, offset, length)).toBe('wlc');
      if (type === 5)
        walkAttributes(bytes, offset, offset + length, (inner, _, size) =>
          seen.push(`  ${inner}/${size}`),
        );
    });
    expect(isWhole).toBe(true);
    expect(seen).toEqual(['1/1', '2/2', '3/4', '4/4', '5/20', '  6/4', '  7/5']);
  });

  test('a writer grows as it must', () => {
    const payload = new Uint8Array(5000).fill(9);
    const bytes = new AttributeWriter().u32(1, 1).bytes(2, payload).u32(3, 3).finish();
    const types: number[] = [];
    expect(walkAttributes(bytes, 0, bytes.length, (type) => types.push(type))).toBe(true);
    expect(types).toEqual([1, 2, 3]);
  });

  test('no attribute is lost where the writer grows', () => {
    const ways: readonly ((writer: AttributeWriter) => AttributeWriter)[] = [
      (writer) => writer.u8(1, 7),
      (writer) => writer.u16(1, 7),
      (writer) => writer.u16be(1, 0x0700),
      (writer) => writer.u32(1, 7),
      (writer) => writer.u32be(1, 0x0700_0000),
      (writer) => writer.text(1, '\u0007'),
      (writer) => writer.bytes(1, Uint8Array.of(7)),
    ];
    for (const write of ways) {
      const bytes = write(new AttributeWriter(1)).finish();
      expect(bytes[4]).toBe(7);
    }
  });

  test('64-bit values are exact up to 2^53', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const bytes = new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
        expect(readU64(bytes, 0)).toBe(value);
      }),
    );
  });

  test('no bytes and no range make the walk throw or leave the range', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.nat(120),
        fc.nat(120),
        (bytes, start, end) => {
          walkAttributes(bytes, start, end, (_, offset, length) => {
            expect(offset + length).toBeLessThanOrEqual(Math.min(end, bytes.length));
          });
        },
      ),
    );
  });
});
