/** IPVS messages against what ipvsadm sends and Linux answers, round trips, and random bytes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { formatIp, type IpAddress } from '../../../src/model/address.ts';
import { DEFAULT_TUNNEL, type Tunnel, TUNNEL_CHECKSUMS } from '../../../src/model/cluster.ts';
import type {
  IpvsDestination,
  IpvsTableOperation,
  IpvsService,
} from '../../../src/model/kernel.ts';
import {
  decodeDestination,
  decodeInfo,
  decodeService,
  encodeGetDestinations,
  encodeGetServices,
  encodeOperation,
} from '../../../src/wire/ipvs.ts';
import { real, service, tcp } from '../../contract/ipvs-kernel.contract.ts';
import { attributeLines, bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = loadCaptured('ipvsadm.txt');
const VIP = tcp('10.90.0.100', 80);
const VIP6 = tcp('fd90::100', 443);

/** Nested attributes of the body, in one order. */
const shape = (body: Uint8Array): readonly (readonly string[])[] => {
  const inner: (readonly string[])[] = [[toHex(body.subarray(0, 4))]];
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  for (let offset = 4; offset + 4 <= body.length; ) {
    const length = view.getUint16(offset, true);
    inner.push(attributeLines(body.slice(offset, offset + length), 4));
    offset += (length + 3) & ~3;
  }
  return inner;
};

describe('what ipvsadm sends for the same wish', () => {
  const wishes: Readonly<Record<string, IpvsTableOperation>> = {
    'add-service': { op: 'add-service', service: service(VIP) },
    'add-service-persistent6': {
      op: 'add-service',
      service: service(VIP6, { scheduler: 'rr', flags: 1, timeoutS: 360, persistencePrefix: 64 }),
    },
    'add-service-fwmark': {
      op: 'add-service',
      service: service(
        { kind: 'fwmark', family: 4, mark: 7 },
        { flags: 1, timeoutS: 50, persistencePrefix: 24 },
      ),
    },
    'set-service': { op: 'set-service', service: service(VIP, { scheduler: 'rr' }) },
  };
  test.each(Object.entries(wishes))('%s', (name, operation) => {
    expect(shape(encodeOperation(operation))).toEqual(shape(bodyOf(captured(messages, name))));
  });

  const destinations: Readonly<Record<string, IpvsTableOperation>> = {
    'delete-service': { op: 'delete-service', service: VIP },
    'add-destination': {
      op: 'add-destination',
      service: VIP,
      destination: real('10.90.0.21', 80, { weight: 5, upperThreshold: 100, lowerThreshold: 10 }),
    },
    'set-destination': {
      op: 'set-destination',
      service: VIP,
      destination: real('10.90.0.21', 80, { forward: 'nat', weight: 0 }),
    },
    'add-destination6': {
      op: 'add-destination',
      service: VIP6,
      destination: real('fd90::21', 443, { forward: 'tun' }),
    },
    'delete-destination': {
      op: 'delete-destination',
      service: VIP,
      destination: real('10.90.0.21', 80),
    },
  };
  /** Attribute types that ipvsadm adds though the kernel looks at the key (or endpoint) alone. */
  const keyExtras = ['6', '7', '8', '9'];
  const tunnel = ['13', '14', '15'];
  test.each([
    ['delete-service', keyExtras, []],
    ['add-destination', keyExtras, tunnel],
    ['set-destination', keyExtras, tunnel],
    ['add-destination6', keyExtras, tunnel],
    ['delete-destination', keyExtras, ['3', '4', '5', '6', ...tunnel]],
  ])('%s, less what the kernel does not read', (name, ...extras) => {
    const operation = destinations[name];
    if (operation === undefined) throw new Error(`no wish ${name}`);
    const [header, ...ours] = shape(encodeOperation(operation));
    const [theirHeader, ...theirs] = shape(bodyOf(captured(messages, name)));
    expect(header).toEqual(theirHeader);
    expect(ours).toEqual(
      theirs.map((lines, i) =>
        lines.filter((line) => !(extras[i] ?? []).includes(line.split(':')[0] ?? '')),
      ),
    );
  });

  test('questions', () => {
    expect(toHex(encodeGetServices())).toBe('04010000');
    expect(toHex(encodeGetDestinations({ kind: 'fwmark', family: 4, mark: 7 }))).toBe(
      '08010000140001800600010002000000' + '0800050007000000',
    );
  });
});

describe("Linux's answers", () => {
  const counters = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };

  test('services: persistent IPv6, plain, by mark', () => {
    const seen = [1, 2, 3].map((i) =>
      decodeService(bodyOf(captured(messages, `dumped-service-${i}`))),
    );
    expect(seen).toEqual([
      {
        ok: true,
        value: {
          ...service(VIP6, { scheduler: 'rr', flags: 1, timeoutS: 360, persistencePrefix: 64 }),
          counters,
          rates: counters,
        },
      },
      { ok: true, value: { ...service(VIP), counters, rates: counters } },
      {
        ok: true,
        value: {
          ...service(
            { kind: 'fwmark', family: 4, mark: 7 },
            { flags: 1, timeoutS: 50, persistencePrefix: 24 },
          ),
          counters,
          rates: counters,
        },
      },
    ]);
  });

  test('destinations of both families', () => {
    const idle = {
      activeConnections: 0,
      inactiveConnections: 0,
      persistentConnections: 0,
      counters,
      rates: counters,
    };
    const four = decodeDestination(bodyOf(captured(messages, 'dumped-destination-1')), VIP);
    expect(four).toEqual({
      ok: true,
      value: {
        ...real('10.90.0.22', 8080, {
          forward: 'nat',
          weight: 3,
          upperThreshold: 9,
          lowerThreshold: 2,
        }),
        ...idle,
      },
    });
    const six = decodeDestination(bodyOf(captured(messages, 'dumped-destination-2')), VIP6);
    expect(six).toEqual({
      ok: true,
      value: { ...real('fd90::21', 443, { forward: 'tun' }), ...idle },
    });
  });

  test('the version', () => {
    expect(decodeInfo(bodyOf(captured(messages, 'info')))).toEqual({
      ok: true,
      value: { version: '1.2.1', connectionTableSize: 4096 },
    });
  });
});

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => formatIp(bytes));
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatIp(bytes));
const port = fc.nat(0xffff);

const keyOf = (address: fc.Arbitrary<IpAddress>): fc.Arbitrary<IpvsService['key']> =>
  fc.record({
    kind: fc.constant('address' as const),
    protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
    address,
    port,
  });
const mark = fc.record({
  kind: fc.constant('fwmark' as const),
  family: fc.constantFrom(4 as const, 6 as const),
  mark: fc.integer({ min: 1, max: 0xffff_ffff }),
});

const serviceOf = (key: fc.Arbitrary<IpvsService['key']>): fc.Arbitrary<IpvsService> =>
  fc
    .record({
      key,
      scheduler: fc.constantFrom('rr', 'wlc', 'mh'),
      flags: fc.constantFrom(0, 1, 4, 0x19),
      timeoutS: fc.integer({ min: 1, max: 86_400 }),
      prefix: fc.nat(32),
      persistenceEngine: fc.constantFrom(null, 'sip'),
    })
    .map(({ prefix, timeoutS, flags, ...rest }) => ({
      ...rest,
      flags,
      timeoutS: (flags & 1) === 0 ? 0 : timeoutS,
      persistencePrefix: prefix,
    }));

const tunnel: fc.Arbitrary<Tunnel> = fc.oneof(
  fc.constant(DEFAULT_TUNNEL),
  fc.record({
    type: fc.constant('gue' as const),
    port: fc.integer({ min: 1, max: 0xffff }),
    checksum: fc.constantFrom(...TUNNEL_CHECKSUMS),
  }),
  fc.record({
    type: fc.constant('gre' as const),
    port: fc.constant(0),
    checksum: fc.constantFrom('nocsum' as const, 'csum' as const),
  }),
);

const destination: fc.Arbitrary<IpvsDestination> = fc
  .record({
    address: fc.oneof(ipv4, ipv6),
    port,
    forward: fc.constantFrom('dr' as const, 'nat' as const, 'tun' as const),
    tunnel,
    weight: fc.nat(0xffff_ffff),
    upperThreshold: fc.nat(0xffff_ffff),
    lowerThreshold: fc.nat(0xffff_ffff),
  })
  .map((one) => ({ ...one, tunnel: one.forward === 'tun' ? one.tunnel : null }));

describe('round trips', () => {
  test('a service is decoded as it was encoded', () => {
    fc.assert(
      fc.property(serviceOf(fc.oneof(keyOf(ipv4), keyOf(ipv6), mark)), (wanted) => {
        const decoded = decodeService(encodeOperation({ op: 'add-service', service: wanted }));
        expect(decoded).toMatchObject({ ok: true, value: wanted });
      }),
    );
  });

  test('a destination is decoded as it was encoded', () => {
    fc.assert(
      fc.property(destination, (wanted) => {
        const body = encodeOperation({ op: 'add-destination', service: VIP, destination: wanted });
        expect(decodeDestination(body, VIP)).toMatchObject({ ok: true, value: wanted });
      }),
    );
  });
});

describe('bytes that are none of ours', () => {
  test('random bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        decodeService(bytes);
        decodeDestination(bytes, VIP);
        decodeInfo(bytes);
      }),
    );
  });

  test('real answers with random changes never throw', () => {
    const answers = ['dumped-service-1', 'dumped-destination-1', 'info', 'family'];
    fc.assert(
      fc.property(fc.constantFrom(...answers), fc.nat(400), fc.nat(255), (name, place, value) => {
        const bytes = Uint8Array.from(bodyOf(captured(messages, name)));
        bytes[place % bytes.length] = value;
        decodeService(bytes);
        decodeDestination(bytes, VIP6);
        decodeInfo(bytes);
      }),
    );
  });

  test('a forwarding method that we cannot ask for is an error, not a guess', () => {
    const operation = { op: 'add-destination', service: VIP, destination: real('10.0.0.1', 1) };
    const body = encodeOperation(operation as IpvsTableOperation);
    const text = toHex(body).replace('0800030003000000', '0800030004000000');
    const bytes = Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
    const decoded = decodeDestination(bytes, VIP);
    expect(decoded).toEqual({ ok: false, error: 'forwarding method 4 of a destination' });
  });
});
