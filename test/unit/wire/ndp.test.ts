import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { formatIp, formatMac, parseIp } from '../../../src/model/address.ts';
import {
  decodeNeighborAdvertisement,
  decodeNeighborSolicitation,
  encodeAddressProbe,
  encodeNeighborSolicitation,
  encodeSolicitedAdvertisement,
  encodeUnsolicitedAdvertisement,
} from '../../../src/wire/ndp.ts';

const MAC = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 0x0a));
const parsed = parseIp('fd90::100');
if (!parsed.ok) throw new Error(parsed.error);
const VIP = parsed.value;
const macs = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(formatMac);
const ips = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(formatIp);

describe('the probe whether an address is free', () => {
  test('comes from nobody, has no option, and asks the solicited-node group (RFC 4862 5.4.2)', () => {
    const frame = encodeAddressProbe(MAC, VIP);
    expect(frame).toHaveLength(14 + 40 + 24);
    expect(decodeNeighborSolicitation(frame)).toEqual({
      ok: true,
      value: {
        destinationMac: '33:33:ff:00:01:00',
        sourceMac: MAC,
        source: '::',
        destination: 'ff02::1:ff00:100',
        target: VIP,
        sourceLinkMac: null,
      },
    });
  });
});

describe('unsolicited neighbour advertisement', () => {
  test('goes from the VIP to all nodes with hop limit 255, override set, not solicited (RFC 4861 7.2.6)', () => {
    const frame = encodeUnsolicitedAdvertisement(MAC, VIP, false);
    expect(toHex(frame.subarray(0, 14))).toBe('33330000000102000000000a86dd');
    expect(frame[14 + 7]).toBe(255);
    expect(decodeNeighborAdvertisement(frame)).toEqual({
      ok: true,
      value: {
        destinationMac: '33:33:00:00:00:01',
        sourceMac: MAC,
        source: VIP,
        destination: 'ff02::1',
        target: VIP,
        isRouter: false,
        isSolicited: false,
        isOverride: true,
        targetMac: MAC,
      },
    });
  });

  test('carries the checksum of an independent computation', () => {
    const frame = encodeUnsolicitedAdvertisement(MAC, VIP, false);
    // Words of the pseudo header and the message, added by hand for this MAC and VIP.
    const words = [
      [0xfd90, 0x0100, 0xff02, 0x0001, 0x0020, 0x003a], // source, destination, length, 58
      [0x8800, 0x2000, 0xfd90, 0x0100, 0x0201, 0x0200, 0x0000, 0x000a],
    ];
    let sum = words.flat().reduce((total, word) => total + word, 0);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    expect(((frame[56] ?? 0) << 8) | (frame[57] ?? 0)).toBe(~sum & 0xffff);
  });

  test('a forwarding host says so', () => {
    expect(
      decodeNeighborAdvertisement(encodeUnsolicitedAdvertisement(MAC, VIP, true)),
    ).toMatchObject({ ok: true, value: { isRouter: true } });
  });

  test('round trip for every MAC and VIP, and any flipped bit of the message is noticed', () => {
    fc.assert(
      fc.property(macs, ips, fc.boolean(), fc.nat(255), (mac, vip, isRouter, bit) => {
        const frame = encodeUnsolicitedAdvertisement(mac, vip, isRouter);
        expect(decodeNeighborAdvertisement(frame)).toMatchObject({
          ok: true,
          value: { source: vip, target: vip, targetMac: mac, isRouter },
        });
        const at = 54 + (bit >>> 3);
        frame[at] = (frame[at] ?? 0) ^ (1 << (bit & 7));
        expect(decodeNeighborAdvertisement(frame).ok).toBe(false);
      }),
    );
  });
});

describe('neighbour solicitation and its answer', () => {
  test('goes from the VIP to the solicited-node group of the target (RFC 4861 7.2.2, RFC 4291 2.7.1)', () => {
    const target = formatIp(
      Uint8Array.of(0xfd, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78),
    );
    const frame = encodeNeighborSolicitation({ mac: MAC, source: VIP, target });
    expect(decodeNeighborSolicitation(frame)).toEqual({
      ok: true,
      value: {
        destinationMac: '33:33:ff:34:56:78',
        sourceMac: MAC,
        source: VIP,
        destination: 'ff02::1:ff34:5678',
        target,
        sourceLinkMac: MAC,
      },
    });
    expect(frame[14 + 7]).toBe(255);
    expect(decodeNeighborAdvertisement(frame).ok).toBe(false);
  });

  test('round trip of question and answer for all addresses, a flipped bit is noticed', () => {
    fc.assert(
      fc.property(macs, ips, ips, macs, fc.nat(255), (mac, source, target, other, bit) => {
        const question = encodeNeighborSolicitation({ mac, source, target });
        expect(decodeNeighborSolicitation(question)).toMatchObject({
          ok: true,
          value: { source, target, sourceLinkMac: mac },
        });
        const answer = encodeSolicitedAdvertisement({
          mac: other,
          target,
          destinationMac: mac,
          destination: source,
        });
        expect(decodeNeighborAdvertisement(answer)).toMatchObject({
          ok: true,
          value: { destination: source, target, targetMac: other, isSolicited: true },
        });
        for (const frame of [question, answer]) {
          const at = 54 + (bit >>> 3);
          frame[at] = (frame[at] ?? 0) ^ (1 << (bit & 7));
        }
        expect(decodeNeighborSolicitation(question).ok).toBe(false);
        expect(decodeNeighborAdvertisement(answer).ok).toBe(false);
      }),
    );
  });

  test('random bytes are refused without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        expect(typeof decodeNeighborSolicitation(bytes).ok).toBe('boolean');
      }),
    );
  });
});

describe('decodeNeighborAdvertisement refuses', () => {
  const changed = (offset: number, value: number): Uint8Array => {
    const frame = encodeUnsolicitedAdvertisement(MAC, VIP, false);
    frame[offset] = value;
    return frame;
  };
  test.each([
    ['another EtherType', changed(13, 0), /not an IPv6/],
    ['another protocol', changed(20, 17), /not ICMPv6/],
    ['a payload longer than the frame', changed(19, 200), /payload of 200/],
    ['another ICMPv6 type', changed(54, 135), /not a neighbour advertisement/],
    ['a hop limit that passed a router', changed(21, 254), /hop limit/],
    ['a wrong checksum', changed(56, 0), /checksum/],
    ['a short frame', new Uint8Array(20), /20 bytes/],
  ])('%s', (_name, frame, message) => {
    const decoded = decodeNeighborAdvertisement(frame);
    expect(decoded.ok ? '' : decoded.error).toMatch(message);
  });

  test('an option of length 0, which would never end', () => {
    const frame = changed(54 + 25, 0);
    // Length 0 instead of 1: the checksum has to give the difference back.
    const sum = (((frame[56] ?? 0) << 8) | (frame[57] ?? 0)) + 1;
    frame[56] = sum >>> 8;
    frame[57] = sum & 0xff;
    expect(decodeNeighborAdvertisement(frame)).toEqual({
      ok: false,
      error: 'an option of wrong length',
    });
  });

  test('random bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        expect(typeof decodeNeighborAdvertisement(bytes).ok).toBe('boolean');
      }),
    );
  });
});
