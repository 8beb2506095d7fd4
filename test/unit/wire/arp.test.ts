import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { formatIp, formatMac } from '../../../src/model/address.ts';
import {
  ARP_FRAME_LENGTH,
  decodeArpFrame,
  encodeArpReply,
  encodeArpRequest,
  encodeGratuitousArpReply,
  encodeGratuitousArpRequest,
} from '../../../src/wire/arp.ts';

const MAC = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 0x0a));
const VIP = formatIp(Uint8Array.of(10, 90, 0, 100));
const macs = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(formatMac);
const ips = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(formatIp);

describe('gratuitous ARP', () => {
  test('the request form has these bytes on the wire (RFC 826, RFC 5227 3)', () => {
    expect(toHex(encodeGratuitousArpRequest(MAC, VIP))).toBe(
      'ffffffffffff02000000000a0806' +
        '00010800060400010200' +
        '0000000a0a5a0064' +
        '0000000000000a5a0064',
    );
  });

  test('the reply form names our own MAC as target, or Linux neighbours ignore it', () => {
    expect(decodeArpFrame(encodeGratuitousArpReply(MAC, VIP))).toEqual({
      ok: true,
      value: {
        destination: 'ff:ff:ff:ff:ff:ff',
        source: MAC,
        operation: 'reply',
        senderMac: MAC,
        senderIp: VIP,
        targetMac: MAC,
        targetIp: VIP,
      },
    });
  });

  test('sender and target address are the VIP for every MAC and VIP', () => {
    fc.assert(
      fc.property(macs, ips, (mac, vip) => {
        for (const frame of [
          encodeGratuitousArpRequest(mac, vip),
          encodeGratuitousArpReply(mac, vip),
        ]) {
          const decoded = decodeArpFrame(frame);
          expect(decoded).toMatchObject({
            ok: true,
            value: { source: mac, senderMac: mac, senderIp: vip, targetIp: vip },
          });
        }
      }),
    );
  });

  test('padding behind the packet is no error', () => {
    const padded = new Uint8Array(60);
    padded.set(encodeGratuitousArpRequest(MAC, VIP));
    expect(decodeArpFrame(padded).ok).toBe(true);
  });
});

describe('directed ARP', () => {
  const gateway = formatIp(Uint8Array.of(10, 90, 0, 1));

  test('a request speaks as the VIP and asks for the gateway (RFC 826)', () => {
    const request = { mac: MAC, senderIp: VIP, targetIp: gateway };
    const rest =
      '02000000000a0806' + '00010800060400010200' + '0000000a0a5a0064' + '0000000000000a5a0001';
    expect(toHex(encodeArpRequest({ ...request, destination: null }))).toBe(`ffffffffffff${rest}`);
    const known = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 1));
    expect(toHex(encodeArpRequest({ ...request, destination: known }))).toBe(`020000000001${rest}`);
  });

  test('a reply goes to who asked, for every pair of MACs and addresses', () => {
    fc.assert(
      fc.property(macs, ips, macs, ips, (mac, senderIp, targetMac, targetIp) => {
        expect(decodeArpFrame(encodeArpReply({ mac, senderIp, targetMac, targetIp }))).toEqual({
          ok: true,
          value: {
            destination: targetMac,
            source: mac,
            operation: 'reply',
            senderMac: mac,
            senderIp,
            targetMac,
            targetIp,
          },
        });
      }),
    );
  });
});

describe('decodeArpFrame refuses', () => {
  const broken = (offset: number, value: number): Uint8Array => {
    const frame = encodeGratuitousArpRequest(MAC, VIP);
    frame[offset] = value;
    return frame;
  };
  test.each([
    ['another EtherType', broken(13, 0x00), /not an ARP/],
    ['other hardware', broken(15, 6), /Ethernet/],
    ['another protocol', broken(16, 0x86), /IPv4/],
    ['other address lengths', broken(18, 8), /lengths/],
    ['an unknown operation', broken(21, 9), /operation 9/],
    ['a short frame', new Uint8Array(ARP_FRAME_LENGTH - 1), /41 bytes/],
  ])('%s', (_name, frame, message) => {
    const decoded = decodeArpFrame(frame);
    expect(decoded.ok ? '' : decoded.error).toMatch(message);
  });

  test('random bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expect(typeof decodeArpFrame(bytes).ok).toBe('boolean');
      }),
    );
  });
});
