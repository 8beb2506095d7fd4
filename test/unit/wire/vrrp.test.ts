/**
 * VRRP messages: byte-exact vectors of keepalived 2.2.7 captures (and 2.4's trailer), round trips, and what
 * is refused.
 */
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concatBytes, toHex } from '../../../src/lib/bytes.ts';
import { formatIp, type IpAddress, parseIp } from '../../../src/model/address.ts';
import { VRRP_DROPS, type VrrpInstance } from '../../../src/model/vrrp.ts';
import {
  checksumFormOf,
  decodeVrrp,
  encodeVrrp,
  type VrrpMessage,
  type VrrpSealing,
} from '../../../src/wire/vrrp.ts';
import { decodeHmacTrailer, stampOf } from '../../../src/wire/vrrp-hmac.ts';
import {
  decodeIpv4Packet,
  encodeVrrpPacket,
  VRRP_GROUP_4,
  VRRP_GROUP_6,
} from '../../../src/wire/vrrp-ip.ts';
import { judgeVrrp, type ReceiveMeans } from '../../../src/wire/vrrp-receive.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const sign = (key: Uint8Array, bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHmac('sha256', key).update(bytes).digest());

const PATH_4 = { source: ip('10.99.0.1'), destination: ip('10.99.0.2') };
const PATH_6 = { source: ip('fd99::1'), destination: ip('fd99::2') };
const VIPS_4 = [ip('10.99.0.100'), ip('10.99.0.101')];
const VIPS_6 = [ip('fe80::100'), ip('fd99::100')];
const PLAIN: VrrpSealing = { path: PATH_4, checksum: 'pseudo-header', password: null, hmac: null };
const V2: VrrpMessage = {
  version: 2,
  routerId: 51,
  priority: 200,
  intervalMs: 1000,
  addresses: VIPS_4,
};
const V3: VrrpMessage = { ...V2, version: 3, intervalMs: 500 };
const PASS: VrrpSealing = { ...PLAIN, password: 'secret12345' };

describe('encodeVrrp gives the bytes of keepalived', () => {
  test.each<[string, VrrpMessage, VrrpSealing, string]>([
    ['v2', V2, PLAIN, '2133c8020001013a0a6300640a6300650000000000000000'],
    [
      'v2 PASS, owner',
      { ...V2, priority: 255 },
      PASS,
      '2133ff0201015bbb0a6300640a6300657365637265743132',
    ],
    [
      'v2, goodbye',
      { ...V2, priority: 0 },
      PLAIN,
      '213300020001c93a0a6300640a6300650000000000000000',
    ],
    [
      'v2 PASS, goodbye',
      { ...V2, priority: 0 },
      PASS,
      '2133000201015abc0a6300640a6300657365637265743132',
    ],
    ['v3 unicast', V3, PLAIN, '3133c8020032dbbf0a6300640a630065'],
    ['v3 unicast, goodbye', { ...V3, priority: 0 }, PLAIN, '313300020032a3c00a6300640a630065'],
    [
      'v3, old unicast',
      V3,
      { ...PLAIN, checksum: 'old-unicast' },
      '3133c802003206120a6300640a630065',
    ],
    [
      'v3, multicast',
      { ...V3, priority: 0 },
      { ...PLAIN, path: { ...PATH_4, destination: VRRP_GROUP_4 } },
      '313300020032ce120a6300640a630065',
    ],
    [
      'v3, message only',
      V3,
      { ...PLAIN, checksum: 'message-only' },
      '3133c8020032f1080a6300640a630065',
    ],
    [
      'v3, message only, goodbye',
      { ...V3, priority: 0 },
      { ...PLAIN, checksum: 'message-only' },
      '313300020032b9090a6300640a630065',
    ],
    [
      'v3 over IPv6',
      { ...V3, addresses: VIPS_6 },
      { ...PLAIN, path: PATH_6 },
      '3133c80200320caefe800000000000000000000000000100fd990000000000000000000000000100',
    ],
  ])('%s', (_name, message, sealing, expected) => {
    const bytes = encodeVrrp(message, sealing);
    expect(toHex(bytes)).toBe(expected);
    const decoded = decodeVrrp(bytes, sealing.path === PATH_6 ? 6 : 4);
    expect(decoded).toMatchObject({ ok: true, value: message });
  });

  test('with the IP header of a whole packet', () => {
    const payload = encodeVrrp({ ...V2, priority: 255 }, PASS);
    const packet = encodeVrrpPacket(PATH_4, payload, 1);
    expect(toHex(packet)).toBe(`45c0002c00010000ff70a5d80a6300010a630002${toHex(payload)}`);
    const read = decodeIpv4Packet(concatBytes([packet, new Uint8Array(6)]));
    expect(read).toEqual({ ok: true, value: { ...PATH_4, ttl: 255, payload } });
  });

  test('with an IPv6 header of traffic class 0xc0 and hop limit 255', () => {
    const packet = encodeVrrpPacket(PATH_6, new Uint8Array(40));
    expect(toHex(packet.subarray(0, 8))).toBe('6c000000002870ff');
    expect(formatIp(packet.subarray(8, 24))).toBe('fd99::1');
    expect(formatIp(packet.subarray(24, 40))).toBe('fd99::2');
    expect(packet).toHaveLength(80);
  });
});

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
const STAMP = 0x68000000_8000_0000n;
const trailed = (path: VrrpSealing['path'], checksum: VrrpSealing['checksum']): VrrpSealing => ({
  path,
  checksum,
  password: null,
  hmac: { keyId: 1, stamp: STAMP, sign: (bytes) => sign(KEY, bytes) },
});
const HMAC_PATH_4 = { source: ip('198.51.100.10'), destination: VRRP_GROUP_4 };
const HMAC_PATH_6 = { source: ip('fe80::10'), destination: ip('fe80::20') };
const HMAC_4 = { ...V3, intervalMs: 1000, addresses: [ip('192.0.2.100')] };
const HMAC_6 = { ...V3, intervalMs: 1000, addresses: [ip('fe80::100')] };

describe('the trailer of keepalived 2.4', () => {
  test.each([
    [
      HMAC_4,
      trailed(HMAC_PATH_4, 'message-only'),
      '3133c80100644402c0000264 010100006800000080000000 1b84bc4e8e43892dc6d98448f8ee2265',
    ],
    [
      HMAC_6,
      trailed(HMAC_PATH_6, 'pseudo-header'),
      '3133c8010064a2e9fe800000000000000000000000000100 010100006800000080000000 c8c56146ebfd66ee10ec4d8186461b78',
    ],
  ])('is byte for byte its own', (message, sealing, expected) => {
    expect(toHex(encodeVrrp(message, sealing))).toBe(expected.replaceAll(' ', ''));
  });

  test('carries seconds and their binary fraction', () => {
    expect(stampOf(0x68000000 * 1000 + 500)).toBe(STAMP);
  });

  test.each([
    ['its type', 0, 2],
    ['the reserved bytes', 2, 1],
  ])('is malformed by %s', (_name, offset, value) => {
    const bytes = encodeVrrp(HMAC_4, trailed(HMAC_PATH_4, 'message-only')).slice(12);
    bytes[offset] = value;
    expect(decodeHmacTrailer(bytes)).toEqual({ ok: false, error: 'hmac-malformed' });
  });
});

describe('decodeVrrp refuses', () => {
  const changed = (offset: number, value: number): Uint8Array => {
    const bytes = encodeVrrp(V3, PLAIN);
    bytes[offset] = value;
    return bytes;
  };
  test.each([
    ['nothing', new Uint8Array(0), 'truncated'],
    ['a header cut short', changed(0, 0x31).subarray(0, 7), 'truncated'],
    ['fewer addresses than counted', changed(3, 3), 'truncated'],
    ['more addresses than counted', changed(3, 1), 'length'],
    ['another version', changed(0, 0x41), 'version'],
    ['another type', changed(0, 0x32), 'type'],
    ['no addresses', changed(3, 0), 'no-addresses'],
    ['an interval of nothing', changed(5, 0), 'interval-zero'],
    ['version 2 cut before its last 8 bytes', encodeVrrp(V2, PLAIN).subarray(0, 16), 'truncated'],
  ])('%s', (_name, bytes, error) => {
    expect(decodeVrrp(bytes, 4)).toEqual({ ok: false, error });
  });

  test('version 2 over IPv6', () => {
    expect(decodeVrrp(encodeVrrp(V2, PLAIN), 6)).toEqual({ ok: false, error: 'version' });
  });

  test.each([
    ['truncated', new Uint8Array(19)],
    ['ip-header', encodeVrrpPacket(PATH_6, new Uint8Array(8))],
    ['ip-header', encodeVrrpPacket(PATH_4, new Uint8Array(8)).map((b, i) => (i === 9 ? 17 : b))],
    ['ip-header', encodeVrrpPacket(PATH_4, new Uint8Array(8)).map((b, i) => (i === 0 ? 0x44 : b))],
    ['ip-header', encodeVrrpPacket(PATH_4, new Uint8Array(8)).map((b, i) => (i === 3 ? 19 : b))],
    ['truncated', encodeVrrpPacket(PATH_4, new Uint8Array(8)).subarray(0, 27)],
  ])('an IPv4 packet: %s', (error, packet) => {
    expect(decodeIpv4Packet(packet)).toEqual({ ok: false, error });
  });
});

const INSTANCE: VrrpInstance = {
  key: 'web/4',
  family: 4,
  routerId: 51,
  version: 3,
  device: 'eth0',
  source: PATH_4.destination,
  to: { kind: 'unicast', neighbours: [{ address: PATH_4.source, ttlMin: 0, ttlMax: 255 }] },
  intervalMs: 500,
  addresses: [...VIPS_4].toReversed(),
  auth: { kind: 'none' },
  checksum: 'pseudo-header',
};
const NO_STAMP: ReceiveMeans = { sign, lastStamp: () => null };
type Arrival = {
  readonly bytes: Uint8Array;
  readonly source?: IpAddress;
  readonly destination?: IpAddress;
  readonly ttl?: number;
  readonly means?: ReceiveMeans;
};
const verdict = (instance: Partial<VrrpInstance>, arrival: Arrival): string => {
  const decoded = decodeVrrp(arrival.bytes, instance.family ?? 4);
  if (!decoded.ok) return decoded.error;
  const { source = PATH_4.source, destination = PATH_4.destination, ttl = 255 } = arrival;
  const datagram = { source, destination, ttl, payload: arrival.bytes };
  const judged = judgeVrrp(
    { ...INSTANCE, ...instance },
    datagram,
    decoded.value,
    arrival.means ?? NO_STAMP,
  );
  return judged.ok ? 'ok' : judged.error;
};

describe('judgeVrrp', () => {
  const v3 = encodeVrrp(V3, PLAIN);
  const v2Pass = encodeVrrp(V2, PASS);
  const pass = {
    version: 2,
    intervalMs: 1000,
    auth: { kind: 'pass', password: 'secret12' },
  } as const;
  const multicast = { to: { kind: 'multicast' } } as const;
  const limited = {
    to: { kind: 'unicast', neighbours: [{ address: PATH_4.source, ttlMin: 254, ttlMax: 254 }] },
  } as const;
  const toGroup = encodeVrrp(V3, {
    ...PLAIN,
    path: { source: PATH_4.source, destination: VRRP_GROUP_4 },
  });

  test.each<[string, Partial<VrrpInstance>, Arrival, string]>([
    ['takes what is right', {}, { bytes: v3 }, 'ok'],
    ['takes unicast of any TTL where no limit is set', {}, { bytes: v3, ttl: 3 }, 'ok'],
    ['takes the password', pass, { bytes: v2Pass }, 'ok'],
    ['takes multicast', multicast, { bytes: toGroup, destination: VRRP_GROUP_4 }, 'ok'],
    ['another router id', { routerId: 52 }, { bytes: v3 }, 'router-id'],
    ['another version', { version: 2 }, { bytes: v3 }, 'version'],
    ['itself', { source: PATH_4.source }, { bytes: v3 }, 'own-address'],
    ['a stranger', {}, { bytes: v3, source: ip('10.99.0.9') }, 'source'],
    ['a TTL below the limit', limited, { bytes: v3, ttl: 253 }, 'ttl'],
    ['a TTL above the limit', limited, { bytes: v3, ttl: 255 }, 'ttl'],
    ['unicast instead of multicast', multicast, { bytes: v3 }, 'destination'],
    [
      'multicast instead of unicast',
      {},
      { bytes: toGroup, destination: VRRP_GROUP_4 },
      'destination',
    ],
    [
      'multicast that was routed',
      multicast,
      { bytes: toGroup, destination: VRRP_GROUP_4, ttl: 254 },
      'ttl',
    ],
    ['a wrong checksum', {}, { bytes: v3.map((b, i) => (i === 2 ? 201 : b)) }, 'checksum'],
    ['no password', pass, { bytes: encodeVrrp(V2, PLAIN) }, 'auth-type'],
    ['a password unasked', { ...pass, auth: { kind: 'none' } }, { bytes: v2Pass }, 'auth-type'],
    [
      'another password',
      { ...pass, auth: { kind: 'pass', password: 'secret13' } },
      { bytes: v2Pass },
      'auth-mismatch',
    ],
    [
      'another interval of version 2',
      { ...pass, intervalMs: 2000 },
      { bytes: v2Pass },
      'interval-mismatch',
    ],
    [
      'a trailer unasked',
      {},
      { bytes: encodeVrrp(V3, trailed(PATH_4, 'pseudo-header')) },
      'length',
    ],
  ])('%s', (_name, instance, arrival, expected) => {
    expect(verdict(instance, arrival)).toBe(expected);
  });

  test.each(['pseudo-header', 'old-unicast', 'message-only'] as const)(
    'takes the checksum form %s and says so',
    (checksum) => {
      const bytes = encodeVrrp(V3, { ...PLAIN, checksum });
      const decoded = decodeVrrp(bytes, 4);
      expect(decoded.ok && checksumFormOf(decoded.value, PATH_4)).toBe(checksum);
      expect(verdict({}, { bytes })).toBe('ok');
    },
  );

  test('compares VIPs as a set', () => {
    const judge = (addresses: readonly IpAddress[]): unknown => {
      const decoded = decodeVrrp(v3, 4);
      if (!decoded.ok) return decoded.error;
      const datagram = { ...PATH_4, ttl: 255, payload: v3 };
      return judgeVrrp({ ...INSTANCE, addresses }, datagram, decoded.value, NO_STAMP);
    };
    expect(judge([...VIPS_4].toReversed())).toMatchObject({ value: { hasOurAddresses: true } });
    expect(judge(VIPS_4.slice(1))).toMatchObject({ value: { hasOurAddresses: false } });
  });

  describe('with a trailer', () => {
    const hmac = { auth: { kind: 'hmac', keys: [{ id: 1, key: KEY }] } } as const;
    const bytes = encodeVrrp(V3, trailed(PATH_4, 'message-only'));
    const touched = (offset: number, value: number): Uint8Array => {
      const copy = Uint8Array.from(bytes);
      copy[offset] = value;
      // The checksum anew, so that only the HMAC can notice.
      const fresh = encodeVrrp(
        { ...V3, priority: copy[2] ?? 0 },
        { ...PLAIN, checksum: 'message-only' },
      );
      copy.set(fresh.subarray(6, 8), 6);
      return copy;
    };
    test.each<[string, Partial<VrrpInstance>, Arrival, string]>([
      ['takes what is right', hmac, { bytes }, 'ok'],
      ['another priority', hmac, { bytes: touched(2, 201) }, 'hmac-mismatch'],
      ['another stamp', hmac, { bytes: touched(16 + 9, 1) }, 'hmac-mismatch'],
      ['none', hmac, { bytes: v3 }, 'hmac-missing'],
      ['an unknown key', hmac, { bytes: touched(16 + 1, 7) }, 'hmac-unknown-key'],
      ['another type', hmac, { bytes: touched(16, 2) }, 'hmac-malformed'],
      [
        'another key under that id',
        { auth: { kind: 'hmac', keys: [{ id: 1, key: KEY.map((byte) => byte ^ 1) }] } },
        { bytes },
        'hmac-mismatch',
      ],
      ['a repetition', hmac, { bytes, means: { sign, lastStamp: () => STAMP } }, 'hmac-replay'],
      ['a later one', hmac, { bytes, means: { sign, lastStamp: () => STAMP - 1n } }, 'ok'],
    ])('%s', (_name, instance, arrival, expected) => {
      expect(verdict(instance, arrival)).toBe(expected);
    });

    test('another checksum is no matter of the HMAC', () => {
      const other = encodeVrrp(V3, trailed(PATH_4, 'old-unicast'));
      expect(verdict(hmac, { bytes: other })).toBe('ok');
    });
  });
});

describe('round trips', () => {
  const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => formatIp(bytes));
  const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatIp(bytes));
  const common = {
    routerId: fc.integer({ min: 1, max: 255 }),
    priority: fc.integer({ min: 0, max: 255 }),
  };
  const cs = fc.integer({ min: 1, max: 4095 }).map((value) => value * 10);
  const list = (of: fc.Arbitrary<IpAddress>): fc.Arbitrary<IpAddress[]> =>
    fc.array(of, { minLength: 1, maxLength: 255 });
  const messages: fc.Arbitrary<VrrpMessage> = fc.oneof(
    fc.record({
      ...common,
      version: fc.constant(2 as const),
      intervalMs: fc.integer({ min: 1, max: 255 }).map((value) => value * 1000),
      addresses: list(v4),
    }),
    fc.record({ ...common, version: fc.constant(3 as const), intervalMs: cs, addresses: list(v4) }),
    fc.record({ ...common, version: fc.constant(3 as const), intervalMs: cs, addresses: list(v6) }),
  );
  const forms = fc.constantFrom('pseudo-header', 'old-unicast', 'message-only' as const);

  test('what is encoded is decoded, and its checksum is right', () => {
    fc.assert(
      fc.property(messages, forms, fc.boolean(), (message, checksum, isTrailed) => {
        const family = message.addresses[0]?.includes(':') === true ? 6 : 4;
        const path = family === 6 ? PATH_6 : PATH_4;
        const sealing = isTrailed
          ? trailed(path, checksum)
          : { path, checksum, password: null, hmac: null };
        const decoded = decodeVrrp(encodeVrrp(message, sealing), family);
        if (!decoded.ok) throw new Error(decoded.error);
        expect(decoded.value).toMatchObject(message);
        expect(decoded.value.trailer !== null).toBe(isTrailed);
        expect(checksumFormOf(decoded.value, path)).not.toBeNull();
      }),
    );
  });

  test('one changed bit is noticed', () => {
    fc.assert(
      fc.property(messages, fc.nat(), (message, where) => {
        const family = message.addresses[0]?.includes(':') === true ? 6 : 4;
        const path = family === 6 ? PATH_6 : PATH_4;
        const bytes = encodeVrrp(message, {
          path,
          checksum: 'message-only',
          password: null,
          hmac: null,
        });
        const form = family === 6 ? 'pseudo-header' : 'message-only';
        const bit = where % (bytes.length * 8);
        bytes[bit >>> 3] = (bytes[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
        const decoded = decodeVrrp(bytes, family);
        const isTaken = decoded.ok && checksumFormOf(decoded.value, path) === form;
        expect(isTaken).toBe(false);
      }),
    );
  });

  test('a multicast packet over IPv6 has its group in the checksum', () => {
    const path = { source: ip('fe80::1'), destination: VRRP_GROUP_6 };
    const message = { ...V3, addresses: VIPS_6 };
    const decoded = decodeVrrp(encodeVrrp(message, { ...PLAIN, path }), 6);
    if (!decoded.ok) throw new Error(decoded.error);
    expect(checksumFormOf(decoded.value, path)).toBe('pseudo-header');
    expect(checksumFormOf(decoded.value, { ...path, destination: PATH_6.destination })).toBeNull();
  });
});

test('every reason to drop is named once', () => {
  expect(new Set(VRRP_DROPS).size).toBe(VRRP_DROPS.length);
});
