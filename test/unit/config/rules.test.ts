/** Bad cluster documents: each rule finds its problem, with the exact path, and all problems come at once. */
import { describe, expect, it } from 'vitest';
import { SCHEDULERS } from '../../../src/model/cluster.ts';
import { type BadCase, itFindsEach, minimal, problemsOf, withValue } from './documents.ts';

const web = ['groups', 'web'] as const;
const http = ['services', 'http'] as const;
const httpService = minimal().services.http;

const RULES: readonly BadCase[] = [
  [
    'an unknown director in priorities',
    [...web, 'priorities'],
    { d1: 9, d3: 8 },
    'groups.web.priorities.d3',
    /unknown director "d3"/,
  ],
  [
    'a bad director address',
    ['directors', 'd1', 'address'],
    '10.90.0.300',
    'directors.d1.address',
    /not an IPv4 or IPv6 address/,
  ],
  [
    'a shared director address',
    ['directors', 'd2', 'address'],
    '10.90.0.11',
    'directors.d2.address',
    /also the address of director "d1"/,
  ],
  [
    'a director on a VIP',
    ['directors', 'd2', 'address'],
    '10.90.0.100',
    'directors.d2.address',
    /a VIP of group "web"/,
  ],
  [
    'a multicast director',
    ['directors', 'd1', 'address'],
    'ff02::1',
    'directors.d1.address',
    /multicast/,
  ],
  ['a bad gateway', ['gateway'], ['10.90.0.1', 'gw'], 'gateway[1]', /not an IPv4/],
  [
    'a bad prefix',
    [...web, 'addresses', 0],
    '10.90.0.100/33',
    'groups.web.addresses[0]',
    /prefix length must be 0 to 32/,
  ],
  [
    'a prefix of 0',
    [...web, 'addresses', 0],
    '10.90.0.100/0',
    'groups.web.addresses[0]',
    /every host/,
  ],
  [
    'a bad CIDR in a map',
    [...web, 'addresses', 0],
    { address: '10.90.0/24' },
    'groups.web.addresses[0].address',
    /not an IPv4/,
  ],
  [
    'a network address',
    [...web, 'addresses', 1],
    '10.90.1.0/24',
    'groups.web.addresses[1]',
    /network address/,
  ],
  [
    'a broadcast address',
    [...web, 'addresses', 1],
    '10.90.0.255/24',
    'groups.web.addresses[1]',
    /broadcast address/,
  ],
  [
    'a multicast VIP',
    [...web, 'addresses', 1],
    '224.0.0.18/32',
    'groups.web.addresses[1]',
    /multicast/,
  ],
  [
    'an unspecified VIP',
    [...web, 'addresses', 1],
    '::/128',
    'groups.web.addresses[1]',
    /unspecified/,
  ],
  [
    'a VIP twice in a group',
    [...web, 'addresses', 1],
    '10.90.0.100/32',
    'groups.web.addresses[1]',
    /in this group twice/,
  ],
  [
    'a VIP in two groups',
    ['groups', 'db'],
    { addresses: ['10.90.0.100/24'], interface: 'public' },
    'groups.db.addresses[0]',
    /also in group "web"/,
  ],
  [
    'a VIP in two spellings',
    ['groups', 'db'],
    { addresses: ['::ffff:10.90.0.100/128', '::ffff:a5a:64/128'], interface: 'p' },
    'groups.db.addresses[1]',
    /in this group twice/,
  ],
  ['no interface', [...web, 'interface'], undefined, 'groups.web.addresses[0]', /has no interface/],
  [
    'a label on IPv6',
    [...web, 'addresses', 1],
    { address: 'fd90::100/64', label: 'x' },
    'groups.web.addresses[1].label',
    /no label/,
  ],
  [
    'a service of an unknown group',
    [...http, 'group'],
    'wbe',
    'services.http.group',
    /unknown group "wbe"/,
  ],
  [
    'a service outside its group',
    [...http, 'address'],
    '10.90.0.101',
    'services.http.address',
    /no address of group "web"/,
  ],
  ['a bad service address', [...http, 'address'], 'web', 'services.http.address', /not an IPv4/],
  [
    'a duplicate service',
    ['services', 'copy'],
    httpService,
    'services.copy',
    /tcp 10\.90\.0\.100:80 is also service "http"/,
  ],
  [
    'persistence of 0s',
    [...http, 'persistence'],
    { timeout: '0s' },
    'services.http.persistence.timeout',
    /kernel can keep/,
  ],
  [
    'persistence of 500ms',
    [...http, 'persistence'],
    { timeout: '1500ms' },
    'services.http.persistence.timeout',
    /kernel can keep/,
  ],
  [
    'persistence over 31 days',
    [...http, 'persistence'],
    { timeout: '745h' },
    'services.http.persistence.timeout',
    /kernel can keep/,
  ],
  [
    'a check without kind',
    [...http, 'check'],
    { interval: '2s' },
    'services.http.check',
    /no kind/,
  ],
  [
    'a check of two kinds',
    [...http, 'check'],
    { tcp: {}, http: {} },
    'services.http.check',
    /2 kinds: tcp, http/,
  ],
  [
    'a timeout over the interval',
    [...http, 'check'],
    { tcp: {}, interval: '1s', timeout: '2s' },
    'services.http.check.timeout',
    /longer than the interval/,
  ],
  [
    'an interval under the default timeout',
    [...http, 'check'],
    { tcp: {}, interval: '500ms' },
    'services.http.check.timeout',
    /1s is longer than the interval \(500ms\)/,
  ],
  [
    'an interval of two hours',
    [...http, 'check'],
    { tcp: {}, interval: '2h' },
    'services.http.check.interval',
    /out of range/,
  ],
  [
    'a status range backwards',
    [...http, 'check'],
    { http: { status: [200, '399-300'] } },
    'services.http.check.http.status[1]',
    /ends before it begins/,
  ],
  [
    'a bad real server',
    [...http, 'realServers', 1, 'address'],
    'rs2',
    'services.http.realServers[1].address',
    /not an IPv4/,
  ],
  [
    'a duplicate real server',
    [...http, 'realServers', 1, 'address'],
    '10.90.0.21',
    'services.http.realServers[1]',
    /also services\.http\.realServers\[0\]/,
  ],
  [
    'a sorry server that serves already',
    [...http, 'sorryServer'],
    { address: '10.90.0.22' },
    'services.http.sorryServer',
    /also services\.http\.realServers\[1\]/,
  ],
  [
    'the VIP as real server',
    [...http, 'realServers', 1, 'address'],
    '10.90.0.100',
    'services.http.realServers[1].address',
    /the VIP of the service/,
  ],
  [
    'dr with another port',
    [...http, 'realServers', 0, 'port'],
    8080,
    'services.http.realServers[0].port',
    /"dr" does not rewrite ports/,
  ],
  [
    'tun with another port',
    [...http, 'realServers', 0],
    { address: '10.90.0.21', port: 81, forward: 'tun' },
    'services.http.realServers[0].port',
    /"tun" does not rewrite ports/,
  ],
  [
    'a sorry server on another port',
    [...http, 'sorryServer'],
    { address: '10.90.0.29', port: 81 },
    'services.http.sorryServer.port',
    /does not rewrite ports/,
  ],
  [
    'another family with dr',
    [...http, 'realServers', 0, 'address'],
    'fd90::21',
    'services.http.realServers[0].address',
    /another family/,
  ],
  [
    'another family with nat',
    [...http, 'realServers', 0],
    { address: 'fd90::21', forward: 'nat' },
    'services.http.realServers[0].address',
    /another family/,
  ],
];

describe('rules', () => itFindsEach(RULES));

describe('all problems', () => {
  it('come at once, from shape and rules together', () => {
    const problems = problemsOf({
      ...minimal(),
      timing: { profile: 'fast', heartbeat: 7, hold: '90ms' },
      groups: { web: { addresses: ['10.90.0.100/44'], priorities: { d9: 1 } } },
      services: { http: { ...httpService, scheduler: 'wx', port: 'http', forward: 'dr' } },
      notify: {},
    });
    expect(problems.map(({ path }) => path).toSorted()).toEqual([
      'groups.web.addresses[0]',
      'groups.web.addresses[0]',
      'groups.web.priorities.d9',
      'notify',
      'services.http.port',
      'services.http.scheduler',
      'timing.heartbeat',
      'timing.hold',
      'timing.round',
    ]);
  });

  it('name every scheduler the kernel may know', () => {
    const [problem] = problemsOf(withValue([...http, 'scheduler'], 'best'));
    expect(problem?.allowed.split(', ')).toEqual([...SCHEDULERS]);
  });
});

describe('near misses that are right', () => {
  it.each([
    ['31 days of persistence', [...http, 'persistence'], { timeout: '744h' }],
    ['a /31 pair', [...web, 'addresses', 1], '10.92.0.0/31'],
    ['timeout equal to interval', [...http, 'check'], { tcp: {}, interval: '1s', timeout: '1s' }],
    [
      'nat with another port',
      [...http, 'realServers', 0],
      { address: '10.90.0.21', port: 81, forward: 'nat' },
    ],
    [
      'two ports of one real server',
      [...http, 'realServers'],
      [
        { address: '10.90.0.21', port: 81, forward: 'nat' },
        { address: '10.90.0.21', port: 82, forward: 'nat' },
      ],
    ],
    ['udp on the same port', ['services', 'copy'], { ...httpService, protocol: 'udp' }],
    ['a round of exactly a fifth', ['timing'], { hold: '5s', round: '1s' }],
    ['a suspect of exactly 2.5 heartbeats', ['timing'], { heartbeat: '80ms', suspect: '200ms' }],
    ['the shortest hold', ['timing'], { profile: 'fast', hold: '100ms', round: '20ms' }],
  ])('%s', (_, where, value) => {
    expect(problemsOf(withValue(where, value))).toEqual([]);
  });
});
