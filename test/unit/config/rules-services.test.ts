/** Each rule of virtual services finds its document, and near misses pass. */
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { type BadCase, itFindsEach, minimal, problemsOf, withValue } from './documents.ts';

const http = ['services', 'http'] as const;
const { port: _port, ...portless } = minimal().services.http;
const { address: _address, ...placeless } = portless;
const servers = [{ address: '10.90.0.21' }, { address: '10.90.0.22' }];
const vip = '10.90.0.100';
/** A service of a firewall mark that leasehold sets. */
const marked = (fields: object = {}) => ({
  ...placeless,
  fwmark: 7,
  marks: [{ address: vip, ports: [80, 443] }],
  ...fields,
});
const withPort = (fields: object) => ({ ...minimal().services.http, ...fields });
const first = { address: '10.90.0.21' };

const PLACES: readonly BadCase[] = [
  ['no address', http, { ...placeless, port: 80 }, 'services.http.address', /missing/],
  ['no port', http, portless, 'services.http.port', /missing/],
  [
    'address and addresses',
    [...http, 'addresses'],
    [vip],
    'services.http.addresses',
    /beside address/,
  ],
  ['port and ports', [...http, 'ports'], [81], 'services.http.ports', /beside port/],
  [
    'a range that is none',
    http,
    { ...placeless, port: 80, addresses: ['web'] },
    'services.http.addresses[0]',
    /no address, range or network/,
  ],
  [
    'a range backwards',
    http,
    { ...placeless, port: 80, addresses: ['10.90.0.100-99'] },
    'services.http.addresses[0]',
    /ends before it begins/,
  ],
  [
    'a range over two families',
    http,
    { ...placeless, port: 80, addresses: ['10.90.0.100-fd90::1'] },
    'services.http.addresses[0]',
    /different families/,
  ],
  [
    'a network with host bits',
    http,
    { ...placeless, port: 80, addresses: ['10.90.0.100/24'] },
    'services.http.addresses[0]',
    /bits behind its prefix/,
  ],
  [
    'all of IPv6',
    http,
    { ...placeless, port: 80, addresses: ['::/0'] },
    'services.http.addresses[0]',
    /340282366920938463463374607431768211456 addresses/,
  ],
  [
    'an address twice',
    http,
    { ...placeless, port: 80, addresses: [vip, vip] },
    'services.http.addresses[1]',
    /10\.90\.0\.100 is in the list twice/,
  ],
  [
    'a range that leaves the group',
    http,
    { ...placeless, port: 80, addresses: ['10.90.0.100-102'] },
    'services.http.addresses[0]',
    /10\.90\.0\.101 and 1 more is no address of group "web"/,
  ],
  [
    'a port twice',
    http,
    { ...portless, ports: [80, '79-81'] },
    'services.http.ports',
    /port 80 is in the list twice/,
  ],
  [
    'ports backwards',
    http,
    { ...portless, ports: ['90-80'] },
    'services.http.ports[0]',
    /ends before it begins/,
  ],
  [
    'ports from 0',
    http,
    { ...portless, ports: ['0-80'] },
    'services.http.ports[0]',
    /leaves the ports/,
  ],
  [
    'ports over 65535',
    http,
    { ...portless, ports: ['80-65536'] },
    'services.http.ports[0]',
    /leaves the ports/,
  ],
  [
    '5000 ports',
    http,
    { ...portless, ports: ['1001-6000'] },
    'services.http',
    /5000 pairs of address and port/,
  ],
  [
    'all ports without persistence',
    [...http, 'port'],
    0,
    'services.http.port',
    /needs persistence/,
  ],
  [
    'an overlap of one port with another service',
    ['services', 'more'],
    { ...portless, ports: [79, 80, 81] },
    'services.more',
    /tcp 10\.90\.0\.100:80 is also service "http"/,
  ],
];

const MARKS: readonly BadCase[] = [
  ['mark 0', http, marked({ fwmark: 0 }), 'services.http.fwmark', /out of range/],
  ['a mark of 33 bits', http, marked({ fwmark: 2 ** 32 }), 'services.http.fwmark', /out of range/],
  ['a mark with a port', http, marked({ port: 80 }), 'services.http.port', /nothing with fwmark/],
  [
    'a mark with an address',
    http,
    marked({ address: vip }),
    'services.http.address',
    /nothing with fwmark/,
  ],
  [
    'a mark with a protocol',
    http,
    marked({ protocol: 'udp' }),
    'services.http.protocol',
    /nothing with fwmark/,
  ],
  [
    'marks without a mark',
    [...http, 'marks'],
    [{ address: vip }],
    'services.http.marks',
    /nothing without fwmark/,
  ],
  [
    'a family without a mark',
    [...http, 'family'],
    'inet',
    'services.http.family',
    /nothing without fwmark/,
  ],
  [
    'a mark for nothing',
    http,
    marked({ marks: [{ ports: [80] }] }),
    'services.http.marks[0].address',
    /missing/,
  ],
  [
    'a mark outside the group',
    http,
    marked({ marks: [{ address: '10.90.0.99' }] }),
    'services.http.marks[0].address',
    /no address of group/,
  ],
  [
    'a mark of the other family',
    http,
    { ...marked({ family: 'inet6' }), realServers: [{ address: 'fd90::21' }] },
    'services.http.marks[0].address',
    /another family than the service \(IPv6\)/,
  ],
  [
    'a port marked twice',
    http,
    marked({ marks: [{ address: vip }, { address: vip, port: 443 }] }),
    'services.http.marks',
    /port 443 of tcp 10\.90\.0\.100 is also marked for service "http"/,
  ],
];

const SERVERS: readonly BadCase[] = [
  [
    'dr with a port behind a mark',
    http,
    marked({ realServers: [{ ...first, port: 80 }] }),
    'services.http.realServers[0].port',
    /no single port/,
  ],
  [
    'dr with a port behind several ports',
    http,
    { ...portless, ports: [80, 81], realServers: [{ ...first, port: 80 }] },
    'services.http.realServers[0].port',
    /no single port/,
  ],
  [
    'nat with a port behind all ports',
    http,
    withPort({
      port: 0,
      persistence: {},
      realServers: [{ ...first, port: 80, forward: 'nat' }],
    }),
    'services.http.realServers[0].port',
    /keeps the port that the client asked for/,
  ],
  [
    'a port of several given twice',
    http,
    {
      ...portless,
      ports: [80, 81],
      forward: 'nat',
      realServers: [first, { ...first, port: 81 }],
    },
    'services.http.realServers[1]',
    /10\.90\.0\.21 with port 81 is also services\.http\.realServers\[0\]/,
  ],
  [
    'a check of no single port',
    http,
    { ...portless, ports: [80, 81], check: { tcp: {} }, realServers: [first] },
    'services.http.realServers[0].port',
    /no single port that the check could ask/,
  ],
  [
    'a VIP of the marks as real server',
    http,
    marked({ realServers: [{ address: vip }] }),
    'services.http.realServers[0].address',
    /the VIP of the service/,
  ],
  [
    'a tunnel without tun',
    [...http, 'tunnel'],
    { type: 'gre' },
    'services.http.tunnel',
    /no real server has forward: tun/,
  ],
  [
    'a tunnel of one with dr',
    [...http, 'realServers', 0, 'tunnel'],
    { type: 'gre' },
    'services.http.realServers[0].tunnel',
    /nothing with forward: dr/,
  ],
  [
    'gue without a port',
    http,
    withPort({ forward: 'tun', tunnel: { type: 'gue' } }),
    'services.http.tunnel.port',
    /missing/,
  ],
  [
    'gre with a port',
    http,
    withPort({ forward: 'tun', tunnel: { type: 'gre', port: 5555 } }),
    'services.http.tunnel.port',
    /nothing for a tunnel of type gre/,
  ],
  [
    'ipip with a checksum',
    http,
    withPort({ forward: 'tun', tunnel: { checksum: 'csum' } }),
    'services.http.tunnel.checksum',
    /csum is not for a tunnel of type ipip/,
  ],
  [
    'gre with remcsum',
    http,
    withPort({
      realServers: [{ ...first, forward: 'tun', tunnel: { type: 'gre', checksum: 'remcsum' } }],
    }),
    'services.http.realServers[0].tunnel.checksum',
    /remcsum is not for a tunnel of type gre/,
  ],
  [
    'equal thresholds',
    [...http, 'realServers', 0],
    { ...first, upperThreshold: 10, lowerThreshold: 10 },
    'services.http.realServers[0].lowerThreshold',
    /not below the upper threshold \(10\)/,
  ],
  [
    'a lower threshold alone',
    [...http, 'realServers', 0],
    { ...first, lowerThreshold: 10 },
    'services.http.realServers[0].lowerThreshold',
    /without an upper threshold/,
  ],
];

const OPTIONS: readonly BadCase[] = [
  [
    'persistence by /33',
    [...http, 'persistence'],
    { prefix: 33 },
    'services.http.persistence.prefix',
    /too long for IPv4/,
  ],
  [
    'sip over tcp',
    [...http, 'persistence'],
    { engine: 'sip' },
    'services.http.persistence.engine',
    /the service is tcp/,
  ],
  ['ops over tcp', [...http, 'ops'], true, 'services.http.ops', /the service is tcp/],
  [
    'sh-port with wlc',
    [...http, 'schedulerFlags'],
    ['sh-port'],
    'services.http.schedulerFlags[0]',
    /nothing for scheduler wlc/,
  ],
  [
    'mh-fallback with sh',
    http,
    withPort({ scheduler: 'sh', schedulerFlags: ['sh-port', 'mh-fallback'] }),
    'services.http.schedulerFlags[1]',
    /nothing for scheduler sh/,
  ],
  [
    'a flag twice',
    http,
    withPort({ scheduler: 'mh', schedulerFlags: ['mh-port', 'mh-port'] }),
    'services.http.schedulerFlags[1]',
    /twice/,
  ],
  ['quorum 0', [...http, 'quorum'], 0, 'services.http.quorum', /does not fit/],
  [
    'a hysteresis as high as the quorum',
    [...http, 'quorum'],
    { need: 2, hysteresis: 2 },
    'services.http.quorum.hysteresis',
    /2 is not below the quorum \(2\)/,
  ],
  [
    'a relative program',
    [...http, 'quorum'],
    { up: 'up.sh' },
    'services.http.quorum.up',
    /no absolute path/,
  ],
  ['fail-open of 0 %', [...http, 'failOpen'], 0, 'services.http.failOpen', /out of range/],
  ['a slow start of 25 h', [...http, 'slowStart'], '25h', 'services.http.slowStart', /range/],
  [
    'a drain of 25 h',
    [...http, 'drain'],
    { deadline: '25h' },
    'services.http.drain.deadline',
    /range/,
  ],
];

const SYNC: readonly BadCase[] = [
  [
    'a sync without id',
    ['groups', 'web', 'connectionSync'],
    {},
    'groups.web.connectionSync.id',
    /missing/,
  ],
  [
    'a sync id of 256',
    ['groups', 'web', 'connectionSync'],
    { id: 256 },
    'groups.web.connectionSync.id',
    /out of range/,
  ],
  [
    'a sync group that is no multicast',
    ['groups', 'web', 'connectionSync'],
    { id: 1, group: '10.90.0.81' },
    'groups.web.connectionSync.group',
    /no multicast address/,
  ],
  [
    'a TCP timeout of 1500 ms',
    ['ipvs'],
    { timeouts: { tcp: '1500ms' } },
    'ipvs.timeouts.tcp',
    /kernel can keep/,
  ],
  [
    'an unknown sysctl',
    ['ipvs'],
    { sysctls: { 'net.ipv4.vs.contrack': 1 } },
    'ipvs.sysctls["net.ipv4.vs.contrack"]',
    /did you mean "net\.ipv4\.vs\.conntrack"/,
  ],
  [
    'a sysctl out of range',
    ['ipvs'],
    { sysctls: { 'net.ipv4.ip_forward': 2 } },
    'ipvs.sysctls["net.ipv4.ip_forward"]',
    /out of range/,
  ],
  [
    'a sync threshold above its period',
    ['ipvs'],
    { sysctls: { 'net.ipv4.vs.sync_threshold': '50 3' } },
    'ipvs.sysctls["net.ipv4.vs.sync_threshold"]',
    /not below the second/,
  ],
];

describe('the place of a service', () => itFindsEach(PLACES));

describe('firewall marks', () => {
  itFindsEach(MARKS);

  it('a mark used twice is one problem at its path', () => {
    const { marks: _marks, ...foreign } = marked();
    const problems = problemsOf({ ...minimal(), services: { one: marked(), again: foreign } });
    expect(problems.map(({ path, message }) => [path, message])).toEqual([
      ['services.again', 'fwmark 7 inet is also service "one"'],
    ]);
  });

  it('takes the packets of no other service', () => {
    const services = { web: marked(), http: minimal().services.http };
    expect(
      problemsOf({ ...minimal(), services }).map(({ path, message }) => [path, message]),
    ).toEqual([['services.http', 'tcp 10.90.0.100:80 gets no packet: service "web" marks it']]);
    const all = withPort({ port: 0, persistence: {} });
    expect(problemsOf({ ...minimal(), services: { web: marked(), rest: all } })).toEqual([]);
  });
});

describe('real servers', () => itFindsEach(SERVERS));

describe('options', () => itFindsEach(OPTIONS));

describe('IPVS as a whole', () => {
  itFindsEach(SYNC);

  const pair = (syncs: readonly object[]) => ({
    ...minimal(),
    groups: {
      web: { addresses: ['10.90.0.100/24'], interface: 'public', connectionSync: syncs[0] },
      db: { addresses: ['10.90.0.101/24'], interface: 'public', connectionSync: syncs[1] },
    },
  });

  it('finds a sync id that two groups of an interface have', () => {
    expect(problemsOf(pair([{ id: 5 }, { id: 5 }])).map(({ path }) => path)).toEqual([
      'groups.db.connectionSync',
    ]);
    expect(problemsOf(pair([{ id: 5 }, { id: 5, interface: 'inside' }]))).toEqual([]);
  });

  it('finds a mixed family beside connection sync, and only there', () => {
    const mixed = [{ address: 'fd90::21', forward: 'tun' }];
    const document = {
      ...pair([{ id: 5 }, { id: 6 }]),
      services: { http: { ...minimal().services.http, realServers: mixed } },
    };
    expect(problemsOf(document).map(({ path }) => path)).toEqual([
      'services.http.realServers[0].address',
    ]);
    expect(problemsOf({ ...document, groups: minimal().groups })).toEqual([]);
  });

  it('bounds what a document becomes in the kernel', () => {
    const ranges = Array.from({ length: 5 }, (_, i) => [
      `s${i}`,
      { ...portless, ports: [`${i * 4096 + 1}-${(i + 1) * 4096}`], realServers: [] },
    ]);
    const problems = problemsOf({ ...minimal(), services: Object.fromEntries(ranges) });
    expect(problems.map(({ message }) => message)).toEqual([
      'are 20480 IPVS services after expansion',
    ]);
    const many = Array.from({ length: 65 }, (_, i) => ({ address: `10.91.0.${i + 1}` }));
    const wide = { http: { ...portless, ports: ['1-4096'], realServers: many } };
    expect(problemsOf({ ...minimal(), services: wide }).map(({ message }) => message)).toEqual([
      'are 266240 IPVS destinations after expansion',
    ]);
    const marks = Array.from({ length: 20 }, (_, i) => [
      `m${i}`,
      {
        ...placeless,
        fwmark: i + 1,
        marks: [
          { address: vip, ports: Array.from({ length: 250 }, (_p, p) => 2 * (i * 250 + p) + 1) },
        ],
      },
    ]);
    expect(
      problemsOf({ ...minimal(), services: Object.fromEntries(marks) }).map(
        ({ message }) => message,
      ),
    ).toEqual(['are 5000 marking rules after expansion']);
  });
});

describe('near misses that are right', () => {
  it.each<readonly [string, readonly (string | number)[], unknown]>([
    ['all ports with persistence', http, withPort({ port: 0, persistence: {} })],
    ['one address as a list', http, { ...placeless, port: 80, addresses: [vip] }],
    ['a range of one', http, { ...placeless, port: 80, addresses: ['10.90.0.100-100'] }],
    ['neighbouring port ranges', http, { ...portless, ports: ['80-89', 90] }],
    [
      'nat to one port behind several',
      http,
      { ...portless, ports: [80, 81], realServers: [{ ...first, port: 8080, forward: 'nat' }] },
    ],
    [
      'a check port behind several',
      http,
      { ...portless, ports: [80, 81], check: { tcp: {}, port: 80 } },
    ],
    ['a mark that others set', http, { ...placeless, fwmark: 7 }],
    ['ops behind a mark', http, marked({ ops: true })],
    ['ops over udp', http, withPort({ protocol: 'udp', ops: true })],
    ['sip over udp', http, withPort({ protocol: 'udp', persistence: { engine: 'sip' } })],
    ['flag-1 with any scheduler', [...http, 'schedulerFlags'], ['flag-1']],
    [
      'sh with its flags',
      http,
      withPort({ scheduler: 'sh', schedulerFlags: ['sh-port', 'sh-fallback'] }),
    ],
    ['a hysteresis below', [...http, 'quorum'], { need: 2, hysteresis: 1 }],
    [
      'thresholds apart',
      [...http, 'realServers', 0],
      { ...first, upperThreshold: 2, lowerThreshold: 1 },
    ],
    [
      'gue with remcsum',
      http,
      withPort({ forward: 'tun', tunnel: { type: 'gue', port: 6080, checksum: 'remcsum' } }),
    ],
    [
      'a sync id of the virtual router',
      ['groups', 'web'],
      {
        addresses: ['10.90.0.100/24'],
        interface: 'public',
        virtualRouterId: 51,
        connectionSync: {},
      },
    ],
    ['persistence by /32', [...http, 'persistence'], { prefix: 32 }],
  ])('%s', (_, where, value) => {
    expect(problemsOf(withValue(where, value))).toEqual([]);
  });
});

describe('warnings', () => {
  const warningsOf = (fields: object) => {
    const parsed = parseClusterDocument(withValue(http, withPort(fields)));
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    return parsed.value.warnings.map(({ path, message }) => `${path} ${message}`);
  };

  it.each<readonly [string, object, RegExp | null]>([
    [
      'a quorum over all weights',
      { quorum: 3 },
      /http\.quorum 3 .* more than all weights together: 2/,
    ],
    ['a quorum of all weights', { quorum: 2 }, null],
    ['with its hysteresis too', { quorum: { need: 2, hysteresis: 1 } }, /quorum 3 /],
    [
      'fail-open beside a sorry server',
      { failOpen: 20, sorryServer: { address: '10.90.0.29' } },
      /failOpen the sorry server hardly ever/,
    ],
    ['slow start with rr', { slowStart: '30s', scheduler: 'rr' }, /slowStart .* knows no weights/],
    ['slow start with wrr', { slowStart: '30s', scheduler: 'wrr' }, null],
    [
      'a weight from the check',
      { weightFrom: 'check' },
      /weightFrom none of the checks says a weight/,
    ],
    [
      'a weight that nobody takes',
      { check: { script: { command: '/bin/x', dynamic: true } } },
      /script\.dynamic says a weight that the service does not take/,
    ],
    [
      'a weight from a file',
      { weightFrom: 'check', check: { file: { path: '/run/weight', weight: 2 } } },
      null,
    ],
    ['a certificate without a name', { check: { https: {} } }, /https names no host/],
    [
      'one source for all',
      { check: { tcp: {}, source: '10.90.0.9' } },
      /source is one address for all/,
    ],
    ['a source of the holder', { check: { tcp: {}, source: '10.90.0.9', runBy: 'holder' } }, null],
    ['sources of each', { check: { tcp: {}, source: { d1: '10.90.0.9' } } }, null],
    ['a certificate with one', { check: { https: { host: 'www.example.org' } } }, null],
  ])('%s', (_, fields, expected) => {
    const warnings = warningsOf(fields);
    expect(warnings).toHaveLength(expected === null ? 0 : 1);
    if (expected !== null) expect(warnings[0]).toMatch(expected);
  });

  it('a port behind a persistent mark that the kernel ignores', () => {
    const realServers = [{ ...first, port: 8080, forward: 'nat' }, servers[1]];
    const parsed = parseClusterDocument(withValue(http, marked({ persistence: {}, realServers })));
    expect(parsed.ok && parsed.value.warnings.map(({ path }) => path)).toEqual([
      'services.http.realServers[0].port',
    ]);
  });

  it('groups that sync in different ways', () => {
    const group = (last: number, sync: object) => ({
      addresses: [`10.90.0.${last}/24`],
      interface: 'public',
      connectionSync: sync,
    });
    const warned = (sync: object) => {
      const parsed = parseClusterDocument({
        ...minimal(),
        groups: { web: group(100, { id: 1 }), db: group(101, sync) },
      });
      return parsed.ok && parsed.value.warnings.map(({ path }) => path);
    };
    expect(warned({ id: 2, port: 8849 })).toEqual(['groups.db.connectionSync']);
    expect(warned({ id: 2, port: 8848, group: '224.0.0.81' })).toEqual([]);
  });
});
