/** The explainer agrees with TypeBox on what fits, whatever the document. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import Value from 'typebox/value';
import { agentConfigSchema } from '../../../src/config/agent-schema.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { ClusterDocument } from '../../../src/config/cluster-schema.ts';
import { explainShape } from '../../../src/config/shape.ts';
import { minimal } from './documents.ts';

const full = () => ({
  ...minimal(),
  timing: { profile: 'relaxed', hold: '4s', drift: 0.25 },
  gateway: ['10.90.0.1'],
  isolation: { policy: 'gateway', targets: ['192.0.2.1'], mode: 'all' },
  checkers: 2,
  groups: {
    web: {
      addresses: ['10.90.0.100/24', { address: 'fd90::100/64', scope: 'site', advertise: true }],
      interface: 'public',
      priorities: { d1: 150, d2: 100 },
      preempt: { after: '300s' },
      weight: 2,
      antiAffinity: ['db'],
      track: [
        { interface: 'eth1', weight: 5 },
        { script: ['/bin/check', 'a'], interval: '2s', timeout: '1s', rise: 2, user: 'nobody' },
        { process: 'nginx', quorum: 2, delay: '1s' },
        { file: '/run/maint', initFail: true },
      ],
      notify: { master: '/bin/up web', any: ['/bin/any'], fifo: '/run/pipe', timeout: '3s' },
    },
    db: {
      addresses: ['10.90.0.101/24'],
      interface: 'public',
      connectionSync: { id: 5, group: '224.0.0.81', ttl: 1, catchUp: '3s' },
    },
  },
  services: {
    http: {
      ...minimal().services.http,
      check: { https: { status: [200, '300-399'], verify: false }, interval: '2s', rise: 1 },
      persistence: { timeout: '50s', prefix: 24, engine: 'sip' },
      schedulerFlags: ['flag-1'],
      quorum: { need: 2, hysteresis: 1, up: '/bin/up', user: 'nobody' },
      failOpen: 20,
      slowStart: '30s',
      weightFrom: 'check',
      drain: { deadline: '5m' },
      tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
      sorryServer: { address: '10.90.0.29', port: 80, inhibit: true },
    },
    marked: {
      group: 'web',
      fwmark: 7,
      family: 'inet',
      marks: [{ addresses: ['10.90.0.100-100'], protocol: 'tcp', ports: [80, '443-444'] }],
      quorum: 1,
      realServers: [{ address: '10.90.0.21', upperThreshold: 9, lowerThreshold: 3, alpha: true }],
    },
  },
  ipvs: {
    timeouts: { tcp: '15m' },
    standby: 'cold',
    onExit: 'freeze',
    sysctls: { 'net.ipv4.vs.conntrack': 1, 'net.ipv4.vs.sync_threshold': '3 50' },
  },
});

const agent = () => ({
  director: 'd1',
  cluster: 'lab',
  etcd: { endpoints: ['http://10.90.0.31:2379'], tls: { ca: 'ca.pem' } },
  interfaces: { public: 'eth0' },
  keyFile: 'cluster.key',
  log: { level: 'info' },
});

/** Every place in a document, as a path of keys. */
function placesOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [
    path,
    ...Object.entries(value).flatMap(([key, below]) => placesOf(below, [...path, key])),
  ];
}

/** Puts a value at a path of a document that has this path. */
function put(document: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const copy = structuredClone(document) as Record<string, unknown>;
  copy[key] = put(copy[key], rest, value);
  return copy;
}

const junk = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(
    0,
    -1,
    1.5,
    70_000,
    Number.NaN,
    '',
    '5s',
    '5',
    'never',
    'wlc',
    [],
    {},
    null,
    true,
  ),
  fc.dictionary(fc.string(), fc.constant({ address: '10.0.0.1' }), { maxKeys: 2 }),
);

describe.each([
  ['cluster document', ClusterDocument, full()],
  ['agent.yaml', agentConfigSchema, agent()],
])('%s', (_, schema, document) => {
  it('fits as it is', () => {
    expect(explainShape(schema, document)).toEqual([]);
    expect(Value.Check(schema, document)).toBe(true);
  });

  it('with junk in any place: a problem exactly where TypeBox refuses', () => {
    const places = placesOf(document);
    fc.assert(
      fc.property(fc.constantFrom(...places), junk, (place, value) => {
        const changed = put(document, place, value);
        expect(explainShape(schema, changed).length === 0).toBe(Value.Check(schema, changed));
      }),
      { numRuns: 2000 },
    );
  });

  it('with a key too many in any map is refused at that key', () => {
    const maps = placesOf(document).filter((path) => {
      const value = path.reduce<unknown>(
        (at, key) => (at as Record<string, unknown>)[key],
        document,
      );
      return typeof value === 'object' && !Array.isArray(value);
    });
    for (const path of maps) {
      const changed = put(document, [...path, 'not a name'], 1);
      const problems = explainShape(schema, changed);
      expect(problems.map((problem) => problem.path)).toEqual([
        expect.stringMatching(/\["not a name"\]$/),
      ]);
    }
  });
});

describe('any value at all', () => {
  it('is accepted or refused, but nothing is thrown', () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true }),
        (value) => {
          parseClusterDocument(value);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('in any place of a document too', () => {
    const document = full();
    fc.assert(
      fc.property(fc.constantFrom(...placesOf(document)), junk, (place, value) => {
        const parsed = parseClusterDocument(put(document, place, value));
        expect(parsed.ok || parsed.error.length > 0).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
