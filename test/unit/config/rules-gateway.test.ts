/** `gateway` and `isolation`: who is asked whether a director is still on the network, and what follows. */
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { type BadCase, itFindsEach, minimal, problemsOf } from './documents.ts';

const BAD: readonly BadCase[] = [
  ['a gateway that is a director', ['gateway'], ['10.90.0.12'], 'gateway[0]', /director "d2"/],
  ['a gateway on loopback', ['gateway'], ['127.0.0.53'], 'gateway[0]', /answers itself/],
  ['an unknown policy', ['isolation'], 'gatway', 'isolation', /does not fit/],
  ['a policy with nobody to ask', ['isolation'], 'gateway', 'isolation', /nobody to ask/],
  [
    'a policy with nobody to ask, in a map',
    ['isolation'],
    { policy: 'gateway', mode: 'all' },
    'isolation.policy',
    /nobody to ask/,
  ],
  ['no targets', ['isolation'], { targets: [] }, 'isolation.targets', /0 entries/],
  ['an unknown mode', ['isolation'], { mode: 'some' }, 'isolation.mode', /"some" is unknown/],
  ['a slip', ['isolation'], { tragets: [] }, 'isolation.tragets', /did you mean "targets"/],
  [
    'a target that is a VIP',
    ['isolation'],
    { targets: ['10.90.0.100'] },
    'isolation.targets[0]',
    /a VIP of group "web"/,
  ],
  [
    'a target that is a director',
    ['isolation'],
    { targets: ['192.0.2.1', '10.90.0.11'] },
    'isolation.targets[1]',
    /director "d1", and would answer itself/,
  ],
  ['the own host', ['isolation'], { targets: ['::1'] }, 'isolation.targets[0]', /answers itself/],
  ['no address', ['isolation'], { targets: ['gw'] }, 'isolation.targets[0]', /not an IPv4/],
  [
    'a target twice',
    ['isolation'],
    { targets: ['192.0.2.1', '192.0.2.1'] },
    'isolation.targets[1]',
    /twice/,
  ],
];

describe('rules of gateway and isolation', () => itFindsEach(BAD));

describe('isolation', () => {
  const parsedOf = (extra: object) => {
    const parsed = parseClusterDocument({ ...minimal(), ...extra });
    if (!parsed.ok) throw new Error(formatProblems(parsed.error));
    return parsed.value;
  };
  const gateway = ['10.90.0.1', 'fd90::1'];

  it.each([
    [{}, { policy: 'release', targets: [], mode: 'any' }],
    [{ gateway }, { policy: 'gateway', targets: gateway, mode: 'any' }],
    [
      { gateway, isolation: 'release' },
      { policy: 'release', targets: gateway, mode: 'any' },
    ],
    [
      { gateway, isolation: 'gateway' },
      { policy: 'gateway', targets: gateway, mode: 'any' },
    ],
    [
      { gateway, isolation: {} },
      { policy: 'gateway', targets: gateway, mode: 'any' },
    ],
    [
      { gateway, isolation: { targets: ['192.0.2.1'], mode: 'all' } },
      { policy: 'gateway', targets: ['192.0.2.1'], mode: 'all' },
    ],
    [
      { isolation: { policy: 'release', targets: ['192.0.2.1'] } },
      { policy: 'release', targets: ['192.0.2.1'], mode: 'any' },
    ],
  ])('%j gives the policy that follows', (extra, isolation) => {
    expect(parsedOf(extra).spec.isolation).toEqual(isolation);
  });

  it('warns who depends on first hops alone, and nobody else', () => {
    const warned = (extra: object) => parsedOf(extra).warnings.map(({ path }) => path);
    expect(warned({ gateway, isolation: 'gateway' })).toEqual([]);
    const near = ['10.90.0.1', 'fe80::1'];
    expect(warned({ gateway: near, isolation: 'gateway' })).toEqual(['isolation']);
    expect(warned({ isolation: { targets: near } })).toEqual(['isolation']);
    expect(warned({ isolation: { targets: [...near, '192.0.2.1'] } })).toEqual([]);
    expect(warned({ isolation: { policy: 'release', targets: near } })).toEqual([]);
    expect(warned({ gateway: near })).toEqual([]);
    expect(warned({ gateway: near, isolation: 'release' })).toEqual([]);
  });

  it('tells a missing target beside other problems', () => {
    const problems = problemsOf({ ...minimal(), isolation: 'gateway', gateway: ['10.90.0.11'] });
    expect(problems.map(({ path }) => path)).toEqual(['gateway[0]']);
  });
});
