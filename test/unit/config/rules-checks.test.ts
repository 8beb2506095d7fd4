/** Each rule of checks finds its document, near misses pass, and what is written is what is run. */
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import type { CheckTree } from '../../../src/model/cluster.ts';
import { type BadCase, itFindsEach, minimal, problemsOf, withValue } from './documents.ts';

const check = ['services', 'http', 'check'] as const;
const at = 'services.http.check';
const bad = (title: string, value: unknown, where: string, message: RegExp): BadCase => [
  title,
  check,
  value,
  `${at}${where}`,
  message,
];

describe('trees and timing', () => {
  itFindsEach([
    bad('no kind', { interval: '2s' }, '', /no kind/),
    bad('two kinds', { tcp: {}, icmp: {} }, '', /2 kinds: icmp, tcp/),
    bad('a kind beside all', { tcp: {}, all: [{ icmp: {} }] }, '', /2 kinds: all, tcp/),
    bad('all beside any', { all: [{ tcp: {} }], any: [{ tcp: {} }] }, '', /2 kinds: all, any/),
    bad('a member without a kind', { all: [{ tcp: {} }, {}] }, '.all[1]', /no kind/),
    bad('no member', { all: [] }, '.all', /0 entries/),
    bad(
      'groups two deep',
      { all: [{ any: [{ all: [{ tcp: {} }] }] }] },
      '.all[0].any[0].all',
      /unknown key/,
    ),
    bad('an unknown kind', { ping: {} }, '.ping', /unknown key/),
    bad('a timeout too short', { tcp: {}, timeout: '20ms' }, '.timeout', /20ms is out of range/),
    bad(
      'a timeout longer than the interval of its group',
      { interval: '1s', all: [{ tcp: {}, timeout: '2s' }] },
      '.all[0].timeout',
      /2s is longer than the interval \(1s\)/,
    ),
    bad(
      'a retry longer than the interval',
      { tcp: {}, retry: '3s' },
      '.retry',
      /3s is longer than the interval \(2s\)/,
    ),
    bad(
      'a port for icmp',
      { icmp: {}, port: 80 },
      '.port',
      /means nothing to a check of kind icmp/,
    ),
    bad('a mark for a script', { script: { command: '/x' }, mark: 7 }, '.mark', /means nothing/),
    bad(
      'an address for a file',
      { file: { path: '/x' }, address: '10.0.0.1' },
      '.address',
      /means nothing/,
    ),
    bad('a bad address', { tcp: {}, address: 'web1' }, '.address', /no IP|web1/),
    bad(
      'a source of the other family',
      { tcp: {}, source: 'fd90::1' },
      '.source',
      /fd90::1 is IPv6/,
    ),
    bad(
      'a source of the other family than the address',
      { tcp: {}, address: 'fd90::9', source: '10.90.0.1' },
      '.source',
      /10\.90\.0\.1 is IPv4/,
    ),
    bad(
      'a source of nobody',
      { tcp: {}, source: { d9: '10.90.0.9' } },
      '.source.d9',
      /no director "d9"/,
    ),
    bad(
      'a privileged source port',
      { tcp: {}, sourcePort: 53 },
      '.sourcePort',
      /53 is out of range/,
    ),
    bad('a jitter too large', { tcp: {}, jitter: 80 }, '.jitter', /80 is out of range/),
  ]);
});

describe('kinds', () => {
  itFindsEach([
    bad('icmp too large', { icmp: { size: 9000 } }, '.icmp.size', /9000 is out of range/),
    bad('odd bytes', { tcp: { send: { hex: 'abc' } } }, '.tcp.send.hex', /no bytes/),
    bad('an empty match', { tcp: { expect: {} } }, '.tcp.expect', /says nothing/),
    bad('two matches', { tcp: { expect: { regex: 'a', hex: '61' } } }, '.tcp.expect', /both/),
    bad(
      'case of bytes',
      { tcp: { expect: { hex: '61', ignoreCase: true } } },
      '.tcp.expect.ignoreCase',
      /means nothing/,
    ),
    bad(
      'a bad expression',
      { tcp: { expect: { regex: 'a(b' } } },
      '.tcp.expect.regex',
      /"\(" without/,
    ),
    bad(
      'an expression that looks back',
      { http: { match: { regex: '(a)\\1' } } },
      '.http.match.regex',
      /back-reference/,
    ),
    bad(
      'an address among records of the default type',
      { dns: { name: 'www.example.org', answer: '192.0.2.1' } },
      '.dns.answer',
      /is an IPv4 address, and the question is for SOA/,
    ),
    bad(
      'an address of the other family',
      { dns: { type: 'A', answer: ['192.0.2.1', '2001:db8::1'] } },
      '.dns.answer[1]',
      /is an IPv6 address, and the question is for A/,
    ),
    bad(
      'a name where an address must be',
      { dns: { type: 'AAAA', answer: 'www.example.org' } },
      '.dns.answer',
      /is no IPv6 address/,
    ),
    bad('a range backwards', { http: { status: '300-200' } }, '.http.status', /ends before/),
    bad(
      'a short digest',
      { http: { digest: `sha256:${'a'.repeat(32)}` } },
      '.http.digest',
      /has 32 digits, and sha256 has 64/,
    ),
    bad('a digest of no kind', { http: { digest: 'a'.repeat(33) } }, '.http.digest', /33 digits/),
    bad(
      'a body to HEAD',
      { http: { method: 'HEAD', match: 'ok' } },
      '.http.match',
      /HEAD has no body/,
    ),
    bad(
      'a body to HEAD of another place',
      { http: { method: 'HEAD', requests: [{ path: '/', digest: 'a'.repeat(32) }] } },
      '.http.requests[0].digest',
      /HEAD has no body/,
    ),
    bad(
      'path and requests',
      { http: { path: '/', requests: [{ path: '/a' }] } },
      '.http.path',
      /beside requests/,
    ),
    bad(
      'a Host header',
      { http: { headers: { Host: 'x' } } },
      '.http.headers.Host',
      /word of its own/,
    ),
    bad(
      'a length',
      { http: { headers: { 'Content-Length': '1' } } },
      '.http.headers.Content-Length',
      /follows/,
    ),
    bad('a header twice', { http: { headers: { A: '1', a: '2' } } }, '.http.headers.a', /twice/),
    bad(
      'a header of no name',
      { http: { headers: { 'a b': 'x' } } },
      '.http.headers["a b"]',
      /no valid name/,
    ),
    bad(
      'a header with a line end',
      { http: { headers: { A: 'b\r\nc' } } },
      '.http.headers.A',
      /does not fit/,
    ),
    bad('a path with a space', { http: { path: '/a b' } }, '.http.path', /does not fit/),
    bad('verify without TLS', { http: { verify: true } }, '.http.verify', /unknown key/),
    bad('a key without a certificate', { tls: { key: '/k' } }, '.tls.cert', /missing/),
    bad('a certificate without a key', { https: { cert: '/c' } }, '.https.key', /missing/),
    bad('TLS words without TLS', { smtp: { ca: '/c' } }, '.smtp.ca', /nothing without TLS/),
    bad('an empty label', { dns: { name: 'a..b' } }, '.dns.name', /empty label/),
    bad('a long label', { dns: { name: 'a'.repeat(64) } }, '.dns.name', /longer than 63/),
    bad('an unknown type', { dns: { type: 'AXFR' } }, '.dns.type', /"AXFR"/),
    bad('a bad reply', { udp: { reply: 'a1 0' } }, '.udp.reply', /odd number/),
    bad(
      'lengths crossed',
      { udp: { minLength: 9, maxLength: 3 } },
      '.udp.maxLength',
      /3 is below minLength \(9\)/,
    ),
    bad(
      'a reply that need not come',
      { udp: { requireReply: false, reply: 'a1' } },
      '.udp.reply',
      /need not come/,
    ),
    bad(
      'a relative program',
      { script: { command: 'check -q' } },
      '.script.command',
      /no absolute path/,
    ),
    bad('a shell', { script: { command: '/bin/a | b' } }, '.script.command', /only a shell/),
    bad('no program', { script: {} }, '.script.command', /missing/),
    bad('a relative file', { file: { path: 'x' } }, '.file.path', /does not fit/),
  ]);

  it('tells every problem at once', () => {
    const tree = {
      timeout: '9s',
      all: [
        { tcp: { expect: { regex: '(' } } },
        { dns: { name: 'a..b' }, port: 53 },
        { icmp: {}, port: 1 },
      ],
    };
    expect(problemsOf(withValue(check, tree)).map(({ path }) => path.slice(at.length))).toEqual([
      '.all[0].tcp.expect.regex',
      '.timeout',
      '.all[1].dns.name',
      '.all[2].port',
    ]);
  });
});

describe('warnings', () => {
  const warned = (tree: object): readonly string[] => {
    const parsed = parseClusterDocument(withValue(check, tree));
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    return parsed.value.warnings.map(({ path, message }) => `${path.slice(at.length)} ${message}`);
  };

  it('of what is sent to nobody', () => {
    expect(warned({ tcp: { send: 'PING' } })).toEqual([
      '.tcp.send may never arrive: nothing is expected, so the connection is reset at once',
    ]);
    expect(warned({ tcp: { send: 'PING', expect: 'PONG' } })).toEqual([]);
  });

  it('of datagrams whose failure nobody tells in time', () => {
    const message =
      'a real server that is off is not found: nobody answers for it, which the kernel tells after 3s, and the timeout is';
    expect(warned({ udp: {} })).toEqual([`.udp ${message} 1s`]);
    expect(warned({ interval: '9s', timeout: '2s', all: [{ udp: {} }] })).toEqual([
      `.all[0].udp ${message} 2s`,
    ]);
    expect(warned({ udp: {}, interval: '9s', timeout: '4s' })).toEqual([]);
    expect(warned({ udp: { reply: 'a1' } })).toEqual([]);
    expect(warned({ udp: { requireReply: true } })).toEqual([]);
  });
});

describe('real servers of their own', () => {
  const first = ['services', 'http', 'realServers', 0] as const;
  const server = (own: unknown) => ({ address: '10.90.0.21', check: own });

  itFindsEach([
    [
      'a bad check',
      first,
      server({ tcp: {}, icmp: {} }),
      'services.http.realServers[0].check',
      /2 kinds/,
    ],
    [
      'another word',
      first,
      server('never'),
      'services.http.realServers[0].check',
      /does not fit|unknown/,
    ],
  ]);

  it('are checked as they say, or not at all', () => {
    const parsed = parseClusterDocument({
      ...minimal(),
      services: {
        http: {
          ...minimal().services.http,
          check: { tcp: {} },
          realServers: [
            server('none'),
            { address: '10.90.0.22', check: { icmp: {} } },
            { address: '10.90.0.23' },
          ],
        },
      },
    });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    expect(parsed.value.spec.services[0]?.realServers.map((one) => one.check)).toMatchObject([
      null,
      { kind: 'icmp', size: 56 },
      undefined,
    ]);
  });

  it('need a port of the check where the service has several, but not for what asks none', () => {
    const { port: _, ...portless } = minimal().services.http;
    const problems = (own: object) =>
      problemsOf(withValue(['services', 'http'], { ...portless, ports: [80, 81], check: own }));
    expect(problems({ icmp: {} })).toEqual([]);
    expect(problems({ port: 80, all: [{ tcp: {} }, { http: {} }] })).toEqual([]);
    expect(problems({ all: [{ icmp: {} }, { tcp: {} }] }).map(({ allowed }) => allowed)).toEqual([
      'services.http.check.all[1].port',
      'services.http.check.all[1].port',
    ]);
  });
});

describe('what is written is what is run', () => {
  const built = (tree: object): CheckTree | null => {
    const parsed = parseClusterDocument(withValue(check, tree));
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    return parsed.value.spec.services[0]?.check ?? null;
  };
  const noTls = { verify: true, name: null, ca: null, cert: null, key: null, daysLeft: null };

  it.each<[string, object, object]>([
    ['icmp', { icmp: {} }, { kind: 'icmp', size: 56 }],
    ['vip', { vip: {} }, { kind: 'vip', vip: null, ask: null, arp: 'fail', tunnel: null }],
    [
      'vip with all words',
      { vip: { address: '10.90.0.100', ask: 'echo', arp: 'ignore' } },
      { kind: 'vip', vip: '10.90.0.100', ask: 'echo', arp: 'ignore', tunnel: null },
    ],
    [
      'tcp',
      { tcp: { send: 'a\r\n', expect: 'b' } },
      { kind: 'tcp', send: '610d0a', expect: { kind: 'bytes', hex: '62' } },
    ],
    [
      'tls',
      {
        tls: {
          name: 'a.example',
          daysLeft: 14,
          send: { hex: '00 FF' },
          expect: { regex: 'x', ignoreCase: true },
        },
      },
      {
        kind: 'tls',
        tls: { ...noTls, name: 'a.example', daysLeft: 14 },
        send: '00ff',
        expect: { kind: 'pattern', source: 'x', ignoreCase: true },
      },
    ],
    [
      'http with several paths',
      { http: { path: ['/a', '/b'], version: '1.0', headers: { A: 'b' } } },
      {
        kind: 'http',
        version: '1.0',
        tls: null,
        bodyMax: 65_536,
        requests: [{ path: '/a', headers: [['A', 'b']] }, { path: '/b' }],
      },
    ],
    [
      'https with requests',
      {
        https: {
          host: 'www.example.org',
          verify: false,
          status: 200,
          requests: [
            { path: '/a' },
            { path: '/b', status: 404, digest: 'AB'.repeat(16), noMatch: 'no' },
          ],
        },
      },
      {
        kind: 'https',
        tls: { ...noTls, verify: false },
        requests: [
          { path: '/a', host: 'www.example.org', status: [[200, 200]], digest: null },
          {
            path: '/b',
            host: 'www.example.org',
            status: [[404, 404]],
            digest: { algorithm: 'md5', hex: 'ab'.repeat(16) },
            noMatch: { kind: 'bytes', hex: '6e6f' },
          },
        ],
      },
    ],
    ['smtp', { smtp: {} }, { kind: 'smtp', helo: null, security: 'none', tls: null }],
    [
      'smtp with TLS',
      { smtp: { security: 'starttls', name: 'mx' } },
      { security: 'starttls', tls: { ...noTls, name: 'mx' } },
    ],
    [
      'dns, as keepalived',
      { dns: {} },
      {
        kind: 'dns',
        name: '.',
        type: 'SOA',
        transport: 'udp',
        rcodes: ['NOERROR'],
        answers: [],
        match: null,
        recursion: true,
      },
    ],
    [
      'dns',
      { dns: { rcode: ['NXDOMAIN'], type: 'A', answer: '192.0.2.1' } },
      { type: 'A', rcodes: ['NXDOMAIN'], answers: ['192.0.2.1'] },
    ],
    [
      'udp, as keepalived',
      { udp: {} },
      { kind: 'udp', requireReply: false, reply: null, minLength: 0, maxLength: 65_507 },
    ],
    [
      'udp',
      { udp: { payload: 'x', reply: 'A1 x0' } },
      { payload: '78', requireReply: true, reply: 'a1x0' },
    ],
    [
      'script',
      { script: { command: '/bin/x -a', user: 'nobody', dynamic: true } },
      { kind: 'script', command: ['/bin/x', '-a'], user: 'nobody', isDynamic: true },
    ],
    [
      'file',
      { file: { path: '/run/x', weight: -2 } },
      { kind: 'file', path: '/run/x', factor: -2 },
    ],
  ])('%s', (_, tree, wanted) => expect(built(tree)).toMatchObject(wanted));

  it('where it goes and how often', () => {
    expect(
      built({
        tcp: {},
        port: 81,
        address: '10.90.0.99',
        source: { d1: '10.90.0.11' },
        sourcePort: 1024,
        interface: 'public',
        mark: 7,
        interval: '5s',
        timeout: '2s',
        rise: 1,
        fall: 3,
        retry: '1s',
        warmup: '0s',
        jitter: 5,
        whileDrained: false,
        runBy: 'holder',
      }),
    ).toEqual({
      kind: 'tcp',
      port: 81,
      address: '10.90.0.99',
      origin: {
        sources: [['d1', '10.90.0.11']],
        source: null,
        sourcePort: 1024,
        interface: 'public',
        mark: 7,
      },
      intervalMs: 5000,
      timeoutMs: 2000,
      rise: 1,
      fall: 3,
      retryMs: 1000,
      warmupMs: 0,
      jitter: 0.05,
      whileDrained: false,
      runBy: 'holder',
    });
  });

  it('what a group says holds for its members', () => {
    const tree = built({
      interval: '10s',
      fall: 3,
      all: [{ icmp: {} }, { fall: 1, any: [{ tcp: {} }, { tcp: {}, port: 81, interval: '2s' }] }],
    });
    expect(tree).toMatchObject({
      kind: 'all',
      of: [
        { kind: 'icmp', intervalMs: 10_000, fall: 3 },
        {
          kind: 'any',
          of: [
            { kind: 'tcp', intervalMs: 10_000, fall: 1 },
            { kind: 'tcp', port: 81, intervalMs: 2000, fall: 1 },
          ],
        },
      ],
    });
  });
});

describe('the path of a VIP', () => {
  itFindsEach([
    bad('a kind of question that there is not', { vip: { ask: 'udp' } }, '.vip.ask', /udp/),
    bad('a VIP of no service', { vip: { address: '10.90.0.9' } }, '.vip.address', /no address of/),
    bad('no address', { vip: { address: '0.0.0.0' } }, '.vip.address', /unspecified/),
    bad('a mark', { vip: {}, mark: 7 }, '.mark', /means nothing/),
    bad('another address', { vip: {}, address: '10.90.0.9' }, '.address', /means nothing/),
    bad('a source port', { vip: {}, sourcePort: 5000 }, '.sourcePort', /means nothing/),
    bad('a source of another family', { vip: {}, source: 'fd90::1' }, '.source', /IPv6.*IPv4/),
  ]);

  const service = (fields: object): unknown =>
    withValue(['services', 'http'], {
      group: 'web',
      realServers: [{ address: '10.90.0.21' }],
      check: { vip: {} },
      ...fields,
    });

  it('is none with nat, told once for all real servers', () => {
    const document = service({
      address: '10.90.0.100',
      port: 80,
      forward: 'nat',
      realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.22' }],
    });
    expect(problemsOf(document)).toMatchObject([
      { path: 'services.http.check.vip', message: expect.stringContaining('with nat') },
    ]);
  });

  it('has to be named where others mark the packets', () => {
    expect(problemsOf(service({ fwmark: 7 }))).toMatchObject([
      { path: 'services.http.check.vip.address', message: expect.stringContaining('is missing') },
    ]);
    const check = { vip: { address: '10.90.0.100' } };
    expect(problemsOf(service({ fwmark: 7, check }))).toEqual([]);
  });

  it('needs a port only where TCP is asked', () => {
    const all = { address: '10.90.0.100', port: 0, persistence: { timeout: '5m' } };
    const told = problemsOf(service(all)).map(({ message }) => message);
    expect(told).toEqual([expect.stringContaining('no single port')]);
    expect(problemsOf(service({ ...all, check: { vip: { ask: 'echo' } } }))).toEqual([]);
    expect(problemsOf(service({ ...all, check: { vip: {}, port: 80 } }))).toEqual([]);
  });

  it('leads to a director for the holder only', () => {
    const address = { address: '10.90.0.100', port: 80, realServers: [{ address: '10.90.0.12' }] };
    expect(problemsOf(service(address))).toMatchObject([
      {
        path: 'services.http.check.runBy',
        message: expect.stringMatching(
          /^director d2 \(10\.90\.0\.12\) is a real server of 10\.90\.0\.100/,
        ),
      },
    ]);
    const check = { all: [{ vip: {} }, { tcp: {} }], runBy: 'holder' };
    expect(problemsOf(service({ ...address, check }))).toEqual([]);
    // That director's gate lets packets for the VIP go nowhere, whosever they are.
    const beside = [{ address: '10.90.0.12', check: { tcp: {} } }, { address: '10.90.0.21' }];
    expect(problemsOf(service({ ...address, realServers: beside }))).toHaveLength(1);
    const own = [{ address: '10.90.0.12' }, { address: '10.90.0.21', check: { vip: {} } }];
    expect(problemsOf(service({ ...address, check: { tcp: {} }, realServers: own }))).toMatchObject(
      [{ path: 'services.http.realServers[1].check.runBy' }],
    );
  });
});
