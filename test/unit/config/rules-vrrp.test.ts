/** `vrrp` of VIP groups, good and bad, and the routers that come of it. */
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { deriveInstances } from '../../../src/core/vrrp/instances.ts';
import { formatIp, type IpAddress, type IpFamily, parseIp } from '../../../src/model/address.ts';
import { directorId } from '../../../src/model/ids.ts';
import type { VrrpInstance } from '../../../src/model/vrrp.ts';
import { type BadCase, itFindsEach, minimal, problemsOf, withValue } from './documents.ts';

const group = (
  vrrp: unknown,
  fields: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> => {
  const all = {
    addresses: ['10.90.0.100/24', '10.90.0.99/24'],
    interface: 'public',
    virtualRouterId: 51,
    vrrp,
    ...fields,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
};
const web = ['groups', 'web'];
const place = 'groups.web.vrrp';
const KEY = '00112233445566778899aabbccddeeff'.repeat(2);
const many = Array.from({ length: 91 }, (_, i) => `fd90::1:${i.toString(16)}/64`);

const BAD: readonly BadCase[] = [
  ['version 4', web, group({ version: 4 }), `${place}.version`, /out of range/],
  [
    'no router id',
    web,
    group({}, { virtualRouterId: undefined }),
    'groups.web.virtualRouterId',
    /is missing: vrrp needs it/,
  ],
  [
    'half a second in version 2',
    web,
    group({ version: 2, interval: '500ms' }),
    `${place}.interval`,
    /version 2/,
  ],
  ['5 ms', web, group({ interval: '5ms' }), `${place}.interval`, /version 3/],
  ['41 s', web, group({ interval: '41s' }), `${place}.interval`, /version 3/],
  [
    'a minute in version 2 beside IPv6',
    web,
    group({ version: 2, interval: '1m' }, { addresses: ['10.90.0.100/24', 'fd90::100/64'] }),
    `${place}.interval`,
    /version 2/,
  ],
  [
    'an interval shorter than a dead holder speaks, beside a neighbour',
    web,
    group({ interval: '320ms', neighbours: ['10.90.0.14'] }),
    `${place}.interval`,
    /too short beside other routers.*\(645ms\)/,
  ],
  [
    'the same where anybody may listen',
    web,
    group({ interval: '100ms', multicast: true }),
    `${place}.interval`,
    /too short beside other routers/,
  ],
  [
    'a password in version 3',
    web,
    group({ auth: { pass: 'x' } }),
    `${place}.auth.pass`,
    /no passwords/,
  ],
  ['auth of no kind', web, group({ auth: {} }), `${place}.auth`, /nothing to prove/],
  [
    'a password and keys',
    web,
    group({ version: 2, auth: { pass: 'x', hmac: [{ id: 1, key: KEY }] } }),
    `${place}.auth`,
    /has both/,
  ],
  [
    'a key of 31 bytes',
    web,
    group({ auth: { hmac: [{ id: 1, key: KEY.slice(2) }] } }),
    `${place}.auth.hmac[0].key`,
    /does not fit/,
  ],
  [
    'a key twice under one id',
    web,
    group({
      auth: {
        hmac: [
          { id: 1, key: KEY },
          { id: 1, key: KEY },
        ],
      },
    }),
    `${place}.auth.hmac[1].id`,
    /1 is in the list twice/,
  ],
  [
    'so many IPv6 addresses that the trailer does not fit beside them',
    web,
    group(
      { auth: { hmac: [{ id: 1, key: KEY }] } },
      { addresses: ['10.90.0.100/24', ...many.slice(1)] },
    ),
    'groups.web.addresses',
    /90 IPv6 addresses/,
  ],
  [
    'a password of 9',
    web,
    group({ version: 2, auth: { pass: '123456789' } }),
    `${place}.auth.pass`,
    /does not fit/,
  ],
  [
    'neighbours and multicast',
    web,
    group({ multicast: true, neighbours: ['10.90.0.14'] }),
    `${place}.neighbours`,
    /multicast/,
  ],
  [
    'a neighbour that is none',
    web,
    group({ neighbours: ['224.0.0.18'] }),
    `${place}.neighbours[0]`,
    /multicast/,
  ],
  [
    'a neighbour twice',
    web,
    group({ neighbours: ['10.90.0.14', { address: '10.90.0.14' }] }),
    `${place}.neighbours[1].address`,
    /twice/,
  ],
  [
    'a neighbour that is a VIP',
    web,
    group({ neighbours: ['10.90.0.99'] }),
    `${place}.neighbours[0]`,
    /10.90.0.99 is a VIP of group "web"/,
  ],
  [
    'a neighbour of a family that the group has not',
    web,
    group({ neighbours: ['10.90.0.14', { address: 'fd90::14' }] }),
    `${place}.neighbours[1].address`,
    /no IPv6 address: nothing would be said to fd90::14/,
  ],
  [
    'limits the wrong way round',
    web,
    group({ neighbours: [{ address: '10.90.0.14', minTtl: 255, maxTtl: 254 }] }),
    `${place}.neighbours[0].maxTtl`,
    /below minTtl/,
  ],
  [
    'too many IPv6 addresses',
    web,
    group({}, { addresses: ['10.90.0.100/24', ...many] }),
    'groups.web.addresses',
    /91 IPv6 addresses/,
  ],
  [
    'an owner of addresses without vrrp',
    web,
    group(undefined, { priorities: { d1: 255, d2: 100 } }),
    'groups.web.priorities.d1',
    /255 is for the owner of a virtual router, and the group has no vrrp/,
  ],
  [
    'two owners',
    web,
    group({}, { priorities: { d1: 255, d2: 255 } }),
    'groups.web.priorities.d2',
    /255 is the priority of director "d1": the addresses have one owner/,
  ],
  [
    'an owner that never preempts',
    web,
    group({}, { priorities: { d1: 255, d2: 100 }, preempt: 'never' }),
    'groups.web.preempt',
    /does not go with priority 255 of director "d1"/,
  ],
  [
    'an owner that waits',
    web,
    group({}, { priorities: { d2: 255 }, preempt: { after: '5m' } }),
    'groups.web.preempt',
    /does not go with priority 255 of director "d2"/,
  ],
  [
    'a router id twice on an interface',
    ['groups'],
    {
      web: group({}),
      db: group({}, { addresses: ['10.90.0.110/24'] }),
    },
    'groups.db.virtualRouterId',
    /that of group "web"/,
  ],
];

describe('vrrp', () => {
  itFindsEach(BAD);

  it('needs an interval where the default is too short for the timing', () => {
    const problems = problemsOf({
      ...minimal(),
      timing: { profile: 'relaxed' },
      groups: { web: group({ neighbours: ['10.90.0.14'] }) },
    });
    expect(problems.map(({ path }) => path)).toEqual([`${place}.interval`]);
    expect(problems[0]?.message).toMatch(/^1s is too short/);
    expect(problems[0]?.allowed).toMatch(/at least 1890ms|at least 1.89s/);
  });

  it('may be as fast as a dead holder falls silent', () => {
    const fast = {
      ...minimal(),
      timing: { profile: 'fast' },
      groups: { web: group({ interval: '90ms', neighbours: ['10.90.0.14'] }) },
    };
    for (const document of [
      fast,
      { ...minimal(), groups: { web: group({ interval: '330ms', neighbours: ['10.90.0.14'] }) } },
      { ...minimal(), groups: { web: group({ interval: '10ms' }) } },
    ]) {
      const parsed = parseClusterDocument(document);
      expect(parsed.ok ? '' : formatProblems(parsed.error)).toBe('');
    }
  });

  it('preempts at once where a director owns the addresses, and says so where asked', () => {
    const priorities = { d1: 255, d2: 100 };
    for (const preempt of [undefined, 'immediate']) {
      const parsed = parseClusterDocument({
        ...minimal(),
        groups: { web: group({}, { priorities, preempt }) },
      });
      if (!parsed.ok) throw new Error(formatProblems(parsed.error));
      const [web] = parsed.value.spec.groups;
      expect(web?.preempt).toEqual({ kind: 'immediate' });
      expect(web?.priorities?.get(directorId('d1'))).toBe(255);
    }
  });

  it('may have one router id on two interfaces', () => {
    const parsed = parseClusterDocument(
      withValue(['groups'], {
        web: group({}),
        db: group({}, { addresses: ['10.90.1.110/24'], interface: 'inside' }),
      }),
    );
    expect(parsed.ok ? '' : formatProblems(parsed.error)).toBe('');
  });
});

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

/** The routers of d1 with `eth0` as its public interface. */
function instancesOf(
  vrrp: unknown,
  fields: Readonly<Record<string, unknown>> = {},
  sourceOf: (device: string, family: IpFamily) => IpAddress | null = (_, family) =>
    family === 4 ? ip('10.90.0.11') : ip('fd90::11'),
): readonly VrrpInstance[] {
  const parsed = parseClusterDocument({ ...minimal(), groups: { web: group(vrrp, fields) } });
  if (!parsed.ok) throw new Error(formatProblems(parsed.error));
  const { spec } = parsed.value;
  return [...spec.groups].flatMap((each) =>
    deriveInstances(each, {
      director: directorId('d1'),
      directors: spec.directors,
      deviceOf: (name) => (name === 'public' ? 'eth0' : null),
      sourceOf,
    }),
  );
}

describe('deriveInstances', () => {
  it('tells the other directors and the neighbours, VIPs in their order', () => {
    expect(instancesOf({ neighbours: ['10.90.0.14'] })).toEqual([
      {
        key: 'web/4',
        family: 4,
        routerId: 51,
        version: 3,
        device: 'eth0',
        source: '10.90.0.11',
        to: {
          kind: 'unicast',
          neighbours: [
            { address: '10.90.0.12', ttlMin: 0, ttlMax: 255 },
            { address: '10.90.0.14', ttlMin: 0, ttlMax: 255 },
          ],
        },
        // keepalived's own.
        intervalMs: 1000,
        addresses: ['10.90.0.100', '10.90.0.99'],
        auth: { kind: 'none' },
        checksum: 'pseudo-header',
      },
    ]);
  });

  it('takes the limits that are set for a director', () => {
    const [instance] = instancesOf({ neighbours: [{ address: '10.90.0.12', minTtl: 255 }] });
    expect(instance?.to).toEqual({
      kind: 'unicast',
      neighbours: [{ address: '10.90.0.12', ttlMin: 255, ttlMax: 255 }],
    });
  });

  it('speaks version 2 with its password over IPv4, version 3 over IPv6', () => {
    const instances = instancesOf(
      { version: 2, auth: { pass: 'secret' }, multicast: true },
      { addresses: ['fd90::100/64', '10.90.0.100/24'] },
    );
    expect(instances).toMatchObject([
      {
        key: 'web/4',
        version: 2,
        intervalMs: 1000,
        auth: { kind: 'pass', password: 'secret' },
        to: { kind: 'multicast' },
      },
      { key: 'web/6', version: 3, intervalMs: 1000, auth: { kind: 'none' }, source: 'fd90::11' },
    ]);
  });

  it('signs with the keys of the document, in both versions and families', () => {
    const hmac = [
      { id: 7, key: KEY },
      { id: 0, key: KEY.toUpperCase() },
    ];
    const instances = instancesOf(
      { version: 2, auth: { hmac }, multicast: true },
      { addresses: ['fd90::100/64', '10.90.0.100/24'] },
    );
    const key = Uint8Array.from(Buffer.from(KEY, 'hex'));
    const auth = {
      kind: 'hmac',
      keys: [
        { id: 7, key },
        { id: 0, key },
      ],
    };
    expect(instances).toMatchObject([
      { version: 2, auth },
      { version: 3, auth },
    ]);
  });

  it('leaves out a family without neighbours, without a source, and a device that is not here', () => {
    const both = { addresses: ['10.90.0.100/24', 'fd90::100/64'] };
    const keys = (instances: readonly VrrpInstance[]): readonly string[] =>
      instances.map(({ key }) => key);
    expect(keys(instancesOf({}, both))).toEqual(['web/4']);
    expect(keys(instancesOf({ neighbours: ['fd90::14'] }, both))).toEqual(['web/4', 'web/6']);
    const noIpv6 = (_: string, family: IpFamily): IpAddress | null =>
      family === 4 ? formatIp(Uint8Array.of(10, 90, 0, 11)) : null;
    expect(keys(instancesOf({ neighbours: ['fd90::14'] }, both, noIpv6))).toEqual(['web/4']);
    expect(instancesOf({}, { interface: 'inside' })).toEqual([]);
    expect(instancesOf(undefined)).toEqual([]);
  });
});

describe('an address that shall not be advertised', () => {
  const warningsOf = (vrrp: unknown): readonly string[] => {
    const addresses = ['10.90.0.100/24', { address: '10.90.0.99/24', advertise: false }];
    const parsed = parseClusterDocument(withValue(web, group(vrrp, { addresses })));
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    return parsed.value.warnings
      .filter(({ path }) => path === 'groups.web.addresses[1].advertise')
      .map(({ message }) => message);
  };

  it('is, and what that means beside keepalived is told', () => {
    const loud = expect.stringContaining('would open beside the holder');
    expect(warningsOf({ neighbours: ['10.90.0.14'] })).toEqual([loud]);
    expect(warningsOf({ multicast: true })).toEqual([loud]);
    expect(warningsOf({})).toEqual(['has no effect in this version yet']);
  });
});
