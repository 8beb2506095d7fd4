/** What the words of a service become in the spec; and that no document that passes becomes too much. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import {
  type ClusterSpec,
  MAX_IPVS_DESTINATIONS,
  MAX_IPVS_SERVICES,
  MAX_MARK_RANGES,
  MAX_SERVICE_KEYS,
  portIn,
  SCHEDULERS,
  type VirtualService,
} from '../../../src/model/cluster.ts';
import { formatServiceKey } from '../../../src/model/kernel.ts';
import { minimal } from './documents.ts';

const GROUPS = {
  web: {
    addresses: ['10.90.0.100/24', '10.90.0.101/24', '10.90.0.102/24', 'fd90::100/64'],
    interface: 'public',
    virtualRouterId: 51,
  },
};

function specOf(document: unknown): ClusterSpec {
  const parsed = parseClusterDocument(document);
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  return parsed.value.spec;
}

function serviceOf(fields: object): VirtualService {
  const service = { group: 'web', realServers: [{ address: '10.90.0.21' }], ...fields };
  const [built] = specOf({ ...minimal(), groups: GROUPS, services: { s: service } }).services;
  if (built === undefined) throw new Error('no service');
  return built;
}

const keysOf = (fields: object): readonly string[] => serviceOf(fields).keys.map(formatServiceKey);

describe('keys', () => {
  it('are every address with every port', () => {
    expect(keysOf({ addresses: ['10.90.0.100-101'], ports: [443, '80-81'] })).toEqual([
      'tcp 10.90.0.100:80',
      'tcp 10.90.0.100:81',
      'tcp 10.90.0.100:443',
      'tcp 10.90.0.101:80',
      'tcp 10.90.0.101:81',
      'tcp 10.90.0.101:443',
    ]);
  });

  it.each([
    ['10.90.0.100-10.90.0.102', 3],
    ['10.90.0.102/32', 1],
    ['10.90.0.100/31', 2],
  ])('take %s', (range, count) => {
    expect(keysOf({ addresses: [range], port: 53, protocol: 'udp' })).toHaveLength(count);
  });

  it('of IPv6 ranges count in hexadecimal', () => {
    const addresses = Array.from({ length: 17 }, (_, i) => `fd90::${(0x100 + i).toString(16)}/64`);
    const { services } = specOf({
      ...minimal(),
      groups: { web: { addresses, interface: 'public' } },
      services: {
        s: { group: 'web', addresses: ['fd90::100-110'], port: 80, realServers: [] },
      },
    });
    expect(services[0]?.keys).toHaveLength(17);
  });

  it('are the mark and its family', () => {
    const marks = [{ address: 'fd90::100', ports: [80, '443-444', 445] }];
    const service = serviceOf({ fwmark: 9, marks, realServers: [{ address: 'fd90::21' }] });
    expect(service.keys).toEqual([{ kind: 'fwmark', family: 6, mark: 9 }]);
    expect(service.marks).toEqual([
      {
        address: 'fd90::100',
        protocol: 'tcp',
        ports: [
          { from: 80, to: 80 },
          { from: 443, to: 445 },
        ],
      },
    ]);
  });

  it('of a foreign mark have the family of the first real server, or the one that is said', () => {
    const six = [{ address: 'fd90::21' }];
    expect(keysOf({ fwmark: 9, realServers: six })).toEqual(['fwmark 9 inet6']);
    expect(keysOf({ fwmark: 9 })).toEqual(['fwmark 9 inet']);
    expect(keysOf({ fwmark: 9, family: 'inet', forward: 'tun', realServers: six })).toEqual([
      'fwmark 9 inet',
    ]);
  });

  it('marks without ports take every port', () => {
    const [rule] = serviceOf({ fwmark: 9, marks: [{ address: '10.90.0.100' }] }).marks;
    expect(rule?.ports).toEqual([{ from: 0, to: 65_535 }]);
  });
});

describe('real servers', () => {
  it('have the port of the one key, or of whichever key is asked', () => {
    const one = serviceOf({ address: '10.90.0.100', port: 80 }).realServers[0];
    expect([one?.id, one?.port]).toEqual(['10.90.0.21:80', 80]);
    const service = serviceOf({ address: '10.90.0.100', ports: [80, 443] });
    const [many] = service.realServers;
    if (many === undefined) throw new Error('one');
    expect([many.id, many.port]).toEqual(['10.90.0.21:0', 0]);
    expect(service.keys.map((key) => portIn(key, many))).toEqual([80, 443]);
  });

  it('take from the service what they do not say themselves', () => {
    const { realServers, sorryServer } = serviceOf({
      address: '10.90.0.100',
      port: 80,
      forward: 'tun',
      tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
      alpha: true,
      inhibitOnFailure: true,
      realServers: [
        { address: '10.90.0.21', upperThreshold: 100, lowerThreshold: 50 },
        { address: 'fd90::22', tunnel: { type: 'gre' }, alpha: false },
        { address: '10.90.0.23', forward: 'nat', port: 81, inhibitOnFailure: false },
      ],
      sorryServer: { address: '10.90.0.29', forward: 'dr', inhibit: true },
    });
    const gue = { type: 'gue', port: 6080, checksum: 'csum' };
    expect(realServers).toMatchObject([
      { tunnel: gue, alpha: true, inhibitOnFailure: true, upperThreshold: 100, lowerThreshold: 50 },
      { tunnel: { type: 'gre', port: 0, checksum: 'nocsum' }, alpha: false },
      { tunnel: null, forward: 'nat', port: 81, alpha: true, inhibitOnFailure: false },
    ]);
    expect(sorryServer).toMatchObject({ forward: 'dr', tunnel: null, inhibit: true, weight: 1 });
  });
});

describe('options', () => {
  it('are filled in', () => {
    expect(
      serviceOf({
        address: '10.90.0.100',
        port: 5060,
        protocol: 'udp',
        scheduler: 'mh',
        schedulerFlags: ['mh-port', 'mh-fallback'],
        ops: true,
        persistence: { prefix: 24, engine: 'sip' },
        quorum: { need: 1, up: '/bin/up now', down: ['/bin/down'], timeout: '2s', user: 'nobody' },
        failOpen: 30,
        slowStart: '1m',
        drain: { deadline: '0s' },
      }),
    ).toMatchObject({
      schedulerFlags: ['mh-port', 'mh-fallback'],
      ops: true,
      persistence: { timeoutS: 360, prefix: 24, engine: 'sip' },
      quorum: {
        need: 1,
        hysteresis: 0,
        up: ['/bin/up', 'now'],
        down: ['/bin/down'],
        timeoutMs: 2000,
        user: 'nobody',
      },
      failOpenPercent: 30,
      slowStartMs: 60_000,
      weightSource: 'fixed',
      drain: { deadlineMs: 0 },
    });
  });

  it('of persistence default to the host', () => {
    const six = { address: 'fd90::100', port: 80, realServers: [] };
    expect(serviceOf({ ...six, persistence: { timeout: '50s' } }).persistence).toEqual({
      timeoutS: 50,
      prefix: 128,
      engine: null,
    });
  });

  it('take a number for the quorum', () => {
    const service = serviceOf({ address: '10.90.0.100', port: 80, quorum: 1 });
    expect(service.quorum).toMatchObject({ need: 1, hysteresis: 0, up: null, user: null });
  });
});

describe('IPVS as a whole', () => {
  it('leaves everything alone where nothing is said', () => {
    expect(specOf(minimal()).ipvs).toEqual({
      timeouts: { tcpS: null, tcpFinS: null, udpS: null },
      standby: 'warm',
      onExit: 'release',
      sysctls: [],
    });
  });

  it('takes timeouts, settings and connection sync', () => {
    const { ipvs, groups } = specOf({
      ...minimal(),
      groups: { web: { ...GROUPS.web, connectionSync: { maxLength: 1400, catchUp: '3s' } } },
      ipvs: {
        timeouts: { tcp: '15m', udp: '5m' },
        standby: 'cold',
        onExit: 'freeze',
        sysctls: { 'net.ipv4.vs.sync_threshold': '3 50', 'net.ipv4.ip_forward': 1 },
      },
    });
    expect(ipvs).toEqual({
      timeouts: { tcpS: 900, tcpFinS: null, udpS: 300 },
      standby: 'cold',
      onExit: 'freeze',
      sysctls: [
        { name: 'net.ipv4.vs.sync_threshold', value: '3 50' },
        { name: 'net.ipv4.ip_forward', value: '1' },
      ],
    });
    expect(groups[0]?.connectionSync).toEqual({
      syncId: 51,
      interface: 'public',
      group: '224.0.0.81',
      port: 8848,
      ttl: 1,
      maxLength: 1400,
      catchUpMs: 3000,
    });
  });
});

const portWord = fc.oneof(
  fc.integer({ min: 1, max: 65_535 }),
  fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.nat(3000)).map(([a, n]) => `${a}-${a + n}`),
);
const addressWord = fc.constantFrom('10.90.0.100', '10.90.0.101-102', '10.90.0.100/31', '::/3');
const address = fc.constantFrom('10.90.0.100', '10.90.0.101', '10.90.0.102');
const ports = fc.array(portWord, { minLength: 1, maxLength: 2 });
const addresses = fc.array(addressWord, { minLength: 1, maxLength: 2 });
const fwmark = fc.integer({ min: 1, max: 9 });
const marks = fc.array(fc.record({ address, ports }, { requiredKeys: ['address'] }), {
  minLength: 1,
  maxLength: 2,
});
const placeWords = fc.oneof(
  fc.record({ address, port: fc.integer({ min: 0, max: 65_535 }) }),
  fc.record({ address, ports }),
  fc.record({ addresses, ports }),
  fc.record({ fwmark }),
  fc.record({ fwmark, marks }),
  fc.record({ address, addresses, ports, fwmark, marks }, { requiredKeys: [] }),
);
const serviceWords = fc
  .tuple(
    placeWords,
    fc.record(
      {
        protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
        scheduler: fc.constantFrom(...SCHEDULERS),
        forward: fc.constantFrom('dr', 'nat', 'tun'),
        persistence: fc.constantFrom({}, { prefix: 24 }),
      },
      { requiredKeys: [] },
    ),
    fc.uniqueArray(fc.integer({ min: 1, max: 250 }), { maxLength: 90 }),
  )
  .map(([place, { protocol, ...options }, servers]) => ({
    group: 'web',
    ...place,
    ...(protocol === undefined || 'fwmark' in place ? {} : { protocol }),
    ...options,
    realServers: servers.map((last) => ({ address: `10.91.0.${last}` })),
  }));
const services = fc
  .array(serviceWords, { minLength: 1, maxLength: 4 })
  .map((list) => Object.fromEntries(list.map((service, i) => [`s${i}`, service])));

describe('any document that passes', () => {
  it('gives keys, destinations and marking rules within their bounds, and each key once', () => {
    let passed = 0;
    fc.assert(
      fc.property(services, (given) => {
        const parsed = parseClusterDocument({ ...minimal(), groups: GROUPS, services: given });
        if (!parsed.ok) {
          expect(parsed.error.length).toBeGreaterThan(0);
          return;
        }
        passed++;
        const built = parsed.value.spec.services;
        const keys = built.flatMap((service) => service.keys.map(formatServiceKey));
        expect(new Set(keys).size).toBe(keys.length);
        expect(keys.length).toBeLessThanOrEqual(MAX_IPVS_SERVICES);
        const destinations = built.reduce(
          (sum, service) => sum + service.keys.length * service.realServers.length,
          0,
        );
        expect(destinations).toBeLessThanOrEqual(MAX_IPVS_DESTINATIONS);
        const ranges = built.flatMap(({ marks }) => marks.flatMap(({ ports }) => ports));
        expect(ranges.length).toBeLessThanOrEqual(MAX_MARK_RANGES);
        for (const service of built) {
          expect(service.keys.length).toBeGreaterThan(0);
          expect(service.keys.length).toBeLessThanOrEqual(MAX_SERVICE_KEYS);
        }
      }),
      { numRuns: 400 },
    );
    expect(passed).toBeGreaterThan(20);
  });
});
