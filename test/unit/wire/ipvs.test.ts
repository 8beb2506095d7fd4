/** IPVS messages against what ipvsadm sends and Linux answers, round trips, and random bytes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { DEFAULT_TUNNEL, type Tunnel } from '../../../src/model/cluster.ts';
import {
  type IpvsCounters,
  type IpvsOperation,
  type IpvsService,
  type IpvsServiceKey,
  type ObservedDestination,
  schedulerFlagBits,
} from '../../../src/model/kernel.ts';
import {
  decodeDaemon,
  decodeInfo,
  decodeTimeouts,
  encodeGetDaemons,
  encodeGetTimeouts,
} from '../../../src/wire/ipvs-control.ts';
import { decodeDestination, encodeGetDestinations } from '../../../src/wire/ipvs-destination.ts';
import { decodeService, encodeGetServices } from '../../../src/wire/ipvs-service.ts';
import { encodeOperation } from '../../../src/wire/ipvs.ts';
import { AttributeWriter } from '../../../src/wire/netlink.ts';
import { ip, real, service, tcp } from '../../contract/ipvs-kernel.contract.ts';
import {
  ipvsDaemon,
  ipvsDestination,
  ipvsService,
  serviceKey,
} from '../../support/ipvs-arbitraries.ts';
import { attributeLines, bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = new Map([...loadCaptured('ipvsadm.txt'), ...loadCaptured('ipvsadm-more.txt')]);
const VIP = tcp('10.90.0.100', 80);
const VIP6 = tcp('fd90::100', 443);
const udp = (at: number): IpvsServiceKey => ({
  kind: 'address',
  protocol: 'udp',
  address: ip('10.90.0.100'),
  port: at,
});
const add = (one: IpvsService): IpvsOperation => ({ op: 'add-service', service: one });

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
  const wishes: Readonly<Record<string, IpvsOperation>> = {
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
    'add-service-ops': add(service(udp(53), { scheduler: 'rr', flags: 4 })),
    'add-service-sctp': add(
      service(
        { kind: 'address', protocol: 'sctp', address: ip('10.90.0.100'), port: 3868 },
        { scheduler: 'wrr' },
      ),
    ),
    'add-service-sh': add(
      service(VIP, { scheduler: 'sh', flags: schedulerFlagBits(['sh-port', 'sh-fallback']) }),
    ),
    'add-service-mh': add(
      service(VIP, {
        scheduler: 'mh',
        flags: 1 | schedulerFlagBits(['mh-port']),
        timeoutS: 60,
        persistencePrefix: 25,
      }),
    ),
    'add-service-flags': add(
      service(VIP, {
        scheduler: 'rr',
        flags: schedulerFlagBits(['flag-1', 'flag-2', 'flag-3']),
      }),
    ),
    'add-service-sip': add(
      service(udp(5060), { scheduler: 'rr', flags: 5, timeoutS: 60, persistenceEngine: 'sip' }),
    ),
    'add-service-fwmark6': add(
      service(
        { kind: 'fwmark', family: 6, mark: 2_147_483_649 },
        { scheduler: 'rr', flags: 1, timeoutS: 120, persistencePrefix: 64 },
      ),
    ),
    'add-service-all-ports': add(
      service(tcp('10.90.0.100', 0), { scheduler: 'fo', flags: 1, timeoutS: 360 }),
    ),
    'new-daemon-all': {
      op: 'new-daemon',
      daemon: {
        state: 'backup',
        interface: 'eth1',
        syncId: 51,
        maxLength: 1400,
        group: ip('224.0.0.82'),
        port: 8850,
        ttl: 3,
      },
    },
    'new-daemon6': {
      op: 'new-daemon',
      daemon: {
        state: 'master',
        interface: 'eth0',
        syncId: 52,
        maxLength: null,
        group: ip('ff02::81'),
        port: 8848,
        ttl: 1,
      },
    },
  };
  test.each(Object.entries(wishes))('%s', (name, operation) => {
    expect(shape(encodeOperation(operation))).toEqual(shape(bodyOf(captured(messages, name))));
  });

  const less: Readonly<Record<string, IpvsOperation>> = {
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
    'add-destination-mixed': {
      op: 'add-destination',
      service: VIP,
      destination: real('fd90::21', 80, { forward: 'tun' }),
    },
    'add-destination-limits': {
      op: 'add-destination',
      service: VIP,
      destination: real('10.90.0.21', 8080, {
        forward: 'nat',
        weight: 2_147_483_647,
        upperThreshold: 2_147_483_647,
        lowerThreshold: 1,
      }),
    },
    'zero-service': { op: 'zero', service: VIP },
    'zero-fwmark': { op: 'zero', service: { kind: 'fwmark', family: 4, mark: 7 } },
    'delete-daemon': { op: 'delete-daemon', daemon: { state: 'backup' } },
    'delete-destination': {
      op: 'delete-destination',
      service: VIP,
      destination: real('10.90.0.21', 80),
    },
  };
  const tunnels: Readonly<Record<string, Tunnel>> = {
    'gue-csum': { type: 'gue', port: 6080, checksum: 'csum' },
    'gue-remcsum': { type: 'gue', port: 6080, checksum: 'remcsum' },
    gue: { type: 'gue', port: 6080, checksum: 'nocsum' },
    'gre-csum': { type: 'gre', port: 0, checksum: 'csum' },
    ipip: DEFAULT_TUNNEL,
  };
  /** Attribute types that ipvsadm adds though the kernel looks at the key (or endpoint) alone. */
  const keyExtras = ['6', '7', '8', '9'];
  const tunnel = ['13', '14', '15'];
  test.each(Object.entries(tunnels))('a tunnel: %s', (name, wanted) => {
    const body = encodeOperation({
      op: 'add-destination',
      service: VIP,
      destination: real('10.90.0.21', 80, { forward: 'tun', tunnel: wanted }),
    });
    const [, , ours] = shape(body);
    expect(ours).toEqual(shape(bodyOf(captured(messages, `add-destination-${name}`)))[2]);
  });

  test.each([
    ['delete-service', keyExtras, []],
    ['add-destination', keyExtras, tunnel],
    ['set-destination', keyExtras, tunnel],
    ['add-destination6', keyExtras, []],
    ['add-destination-mixed', keyExtras, []],
    ['add-destination-limits', keyExtras, tunnel],
    ['zero-service', keyExtras, []],
    ['zero-fwmark', keyExtras, []],
    ['delete-daemon', ['2', '3'], []],
    ['delete-destination', keyExtras, ['3', '4', '5', '6', ...tunnel]],
  ])('%s, less what the kernel does not read', (name, ...extras) => {
    const operation = less[name];
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

  test.each<[string, IpvsOperation]>([
    ['zero', { op: 'zero', service: null }],
    ['set-timeouts', { op: 'set-timeouts', timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 } }],
    ['set-timeouts-one', { op: 'set-timeouts', timeouts: { tcpS: 0, tcpFinS: 0, udpS: 300 } }],
  ])('%s, to the byte', (name, operation) => {
    expect(encodeOperation(operation)).toEqual(bodyOf(captured(messages, name)));
  });

  test('questions', () => {
    expect(toHex(encodeGetServices())).toBe('04010000');
    expect(encodeGetTimeouts()).toEqual(bodyOf(captured(messages, 'get-timeouts')));
    expect(encodeGetDaemons()).toEqual(bodyOf(captured(messages, 'get-daemons')));
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

/** Statistics of line n of the table: n thousand and up, rates from n times ten up. */
const statisticsOf = (line: number): Pick<ObservedDestination, 'counters' | 'rates'> => {
  const from = (first: number): IpvsCounters => ({
    connections: first,
    packetsIn: first + 1,
    packetsOut: first + 2,
    bytesIn: first + 3,
    bytesOut: first + 4,
  });
  return { counters: from(line * 1000), rates: from(line * 10) };
};

describe('answers with everything', () => {
  const answer = (name: string): Uint8Array => bodyOf(captured(messages, name));

  test('counters and rates in 64 bits, connections of all kinds', () => {
    expect(decodeService(answer('table-service-1'))).toEqual({
      ok: true,
      value: { ...service(VIP), ...statisticsOf(1) },
    });
    expect(decodeDestination(answer('table-destination-3'), VIP)).toEqual({
      ok: true,
      value: {
        ...real('10.90.0.22', 8080, {
          forward: 'nat',
          weight: 0,
          upperThreshold: 100,
          lowerThreshold: 10,
        }),
        activeConnections: 3,
        inactiveConnections: 4,
        persistentConnections: 5,
        ...statisticsOf(3),
      },
    });
  });

  test('tunnels, and a real server of another family than its service', () => {
    const tunnels = [4, 5, 6, 7, 8, 9].map((line) => {
      const decoded = decodeDestination(answer(`table-destination-${line}`), VIP);
      return decoded.ok ? decoded.value.tunnel : decoded.error;
    });
    expect(tunnels).toEqual([
      { type: 'ipip', port: 0, checksum: 'nocsum' },
      { type: 'gue', port: 6080, checksum: 'csum' },
      { type: 'gue', port: 6080, checksum: 'remcsum' },
      { type: 'gue', port: 6080, checksum: 'nocsum' },
      { type: 'gre', port: 0, checksum: 'csum' },
      { type: 'gre', port: 0, checksum: 'nocsum' },
    ]);
    const mixed = decodeDestination(answer('table-destination-10'), VIP);
    expect(mixed).toMatchObject({ ok: true, value: { address: 'fd90::29', forward: 'tun' } });
  });

  test('a persistence engine', () => {
    expect(decodeService(answer('table-service-17'))).toMatchObject({
      ok: true,
      value: { key: udp(5060), persistenceEngine: 'sip', flags: 5, timeoutS: 60 },
    });
  });

  test('timeouts', () => {
    expect(decodeTimeouts(answer('timeouts'))).toEqual({
      ok: true,
      value: { tcpS: 900, tcpFinS: 120, udpS: 300 },
    });
  });

  test('sync daemons of both states and families', () => {
    expect(decodeDaemon(answer('dumped-daemon-1'))).toEqual({
      ok: true,
      value: {
        state: 'master',
        interface: 'eth0',
        syncId: 51,
        maxLength: 1472,
        group: '224.0.0.81',
        port: 8848,
        ttl: 1,
      },
    });
    expect(decodeDaemon(answer('dumped-daemon-2'))).toEqual({
      ok: true,
      value: {
        state: 'backup',
        interface: 'eth1.100',
        syncId: 52,
        maxLength: 1400,
        group: 'ff02::81',
        port: 8850,
        ttl: 3,
      },
    });
  });

  test('a daemon of a kernel that tells three attributes has what that kernel has fixed', () => {
    const old = new AttributeWriter()
      .raw(Uint8Array.of(9, 1, 0, 0))
      .nested(3, (writer) => writer.u32(1, 1).text(2, 'eth0').u32(3, 7))
      .finish();
    expect(decodeDaemon(old)).toMatchObject({
      ok: true,
      value: { maxLength: null, group: '224.0.0.81', port: 8848, ttl: 1 },
    });
  });
});

describe('round trips', () => {
  test('a service is decoded as it was encoded', () => {
    fc.assert(
      fc.property(ipvsService, (wanted) => {
        const decoded = decodeService(encodeOperation({ op: 'add-service', service: wanted }));
        expect(decoded).toMatchObject({ ok: true, value: wanted });
      }),
    );
  });

  test('a destination is decoded as it was encoded', () => {
    fc.assert(
      fc.property(ipvsDestination, (wanted) => {
        const body = encodeOperation({ op: 'add-destination', service: VIP, destination: wanted });
        expect(decodeDestination(body, VIP)).toMatchObject({ ok: true, value: wanted });
      }),
    );
  });

  test('a sync daemon is decoded as it was encoded', () => {
    fc.assert(
      fc.property(ipvsDaemon, (daemon) => {
        const body = encodeOperation({ op: 'new-daemon', daemon });
        expect(decodeDaemon(body)).toEqual({ ok: true, value: daemon });
      }),
    );
  });

  test('timeouts are decoded as they were encoded', () => {
    const seconds = fc.nat(0xffff_ffff);
    fc.assert(
      fc.property(fc.record({ tcpS: seconds, tcpFinS: seconds, udpS: seconds }), (timeouts) => {
        const body = encodeOperation({ op: 'set-timeouts', timeouts });
        expect(decodeTimeouts(body)).toEqual({ ok: true, value: timeouts });
      }),
    );
  });

  test('many bodies of one writer are those of a writer each', () => {
    const operation = fc.oneof(
      ipvsService.map((one): IpvsOperation => ({ op: 'set-service', service: one })),
      ipvsDestination.map(
        (one): IpvsOperation => ({ op: 'set-destination', service: VIP6, destination: one }),
      ),
      serviceKey.map((key): IpvsOperation => ({ op: 'zero', service: key })),
      ipvsDaemon.map((daemon): IpvsOperation => ({ op: 'delete-daemon', daemon })),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 20 }), (operations) => {
        const writer = new AttributeWriter(64);
        const shared = operations.map((one) => encodeOperation(one, writer));
        expect(shared.map(toHex)).toEqual(operations.map((one) => toHex(encodeOperation(one))));
      }),
    );
  });
});

describe('bytes that are none of ours', () => {
  const decodeAll = (bytes: Uint8Array): unknown => [
    decodeService(bytes),
    decodeDestination(bytes, VIP),
    decodeDestination(bytes, VIP6),
    decodeDaemon(bytes),
    decodeTimeouts(bytes),
    decodeInfo(bytes),
  ];

  test('random bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        decodeAll(bytes);
      }),
    );
  });

  test('real answers with random changes never throw', () => {
    const answers = [...messages.keys()].filter((name) => /^(dumped|table|info|time)/.test(name));
    fc.assert(
      fc.property(fc.constantFrom(...answers), fc.nat(400), fc.nat(255), (name, place, value) => {
        const bytes = Uint8Array.from(bodyOf(captured(messages, name)));
        bytes[place % bytes.length] = value;
        decodeAll(bytes);
      }),
    );
  });

  test('a forwarding method that we cannot ask for is an error, not a guess', () => {
    const operation = { op: 'add-destination', service: VIP, destination: real('10.0.0.1', 1) };
    const body = encodeOperation(operation as IpvsOperation);
    const text = toHex(body).replace('0800030003000000', '0800030004000000');
    const bytes = Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
    const decoded = decodeDestination(bytes, VIP);
    expect(decoded).toEqual({ ok: false, error: 'forwarding method 4 of a destination' });
  });

  test('a tunnel type that we do not know is an error, and means nothing without a tunnel', () => {
    const withType = (forward: number): Uint8Array =>
      new AttributeWriter()
        .raw(Uint8Array.of(5, 1, 0, 0))
        .nested(2, (writer) => writer.bytes(1, new Uint8Array(16)).u32(3, forward).u8(13, 9))
        .finish();
    const error = 'tunnel type 9 of a destination';
    expect(decodeDestination(withType(2), VIP)).toEqual({ ok: false, error });
    expect(decodeDestination(withType(3), VIP)).toMatchObject({ value: { tunnel: null } });
  });

  test('a daemon of a state that we do not know is an error', () => {
    const body = encodeOperation({ op: 'delete-daemon', daemon: { state: 'master' } });
    expect(decodeDaemon(body).ok).toBe(true);
    const bytes = Uint8Array.from(body);
    bytes[12] = 3;
    expect(decodeDaemon(bytes)).toEqual({ ok: false, error: 'state 3 of a sync daemon' });
  });
});
