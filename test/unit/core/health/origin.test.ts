import { describe, expect, it } from 'vitest';
import {
  checkOnDirector,
  isSameOnDirector,
  lookOrigin,
  vipCheckOnDirector,
} from '../../../../src/core/health/origin.ts';
import { ANY_ORIGIN } from '../../../../src/model/check.ts';
import type { Check, GroupAddress } from '../../../../src/model/cluster.ts';
import { checkId, directorId } from '../../../../src/model/ids.ts';
import { anySpec, ip, TCP_CHECK } from '../desired/spec-builders.ts';
import { G1, group } from '../election/election-driver.ts';

const vipAt = (address: string): GroupAddress => ({
  address: ip(address),
  prefix: 24,
  interface: 'public',
  label: null,
  scope: 'global',
});
const [D1, D2] = [directorId('d1'), directorId('d2')];
const devices = new Map([['public', 'eth0']]);
const check = (origin: object | undefined): Check => ({
  id: checkId('c'),
  address: ip('10.0.0.1'),
  port: 80,
  spec: { ...TCP_CHECK, ...(origin === undefined ? {} : { origin: { ...ANY_ORIGIN, ...origin } }) },
});

describe('where a probe leaves a director', () => {
  it('is left to the routes where nothing is said', () => {
    const plain = check(undefined);
    expect(checkOnDirector(plain, D1, devices)).toBe(plain);
  });

  it('is its own address, else that of all', () => {
    const named = check({ sources: [[D1, ip('10.0.0.11')]], source: ip('10.0.0.99') });
    expect(checkOnDirector(named, D1, devices).spec.origin).toMatchObject({
      sources: [],
      source: '10.0.0.11',
    });
    expect(checkOnDirector(named, D2, devices).spec.origin).toMatchObject({ source: '10.0.0.99' });
  });

  it('is the device of a logical name, or a device as it is named', () => {
    const via = (name: string) =>
      checkOnDirector(check({ interface: name }), D1, devices).spec.origin?.interface;
    expect([via('public'), via('eth7')]).toEqual(['eth0', 'eth7']);
  });
});

describe('what a director looks along a VIP’s path from', () => {
  const spec = {
    ...anySpec([]),
    directors: [{ id: D1, address: ip('10.0.0.11'), zone: null }],
    groups: [group(G1, { addresses: [vipAt('10.0.0.100')] })],
  };
  const vips = spec.groups.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  const own = lookOrigin(D1, spec, null);
  const lookAt = (address: string): Check => {
    const { spec: timing, ...rest } = check(undefined);
    const kind = {
      kind: 'vip',
      vip: ip('10.0.0.100'),
      ask: 'tcp',
      arp: 'fail',
      tunnel: null,
    } as const;
    return { ...rest, address: ip(address), spec: { ...timing, ...kind } };
  };

  it('is its own address, and never a VIP', () => {
    expect(own).toEqual({ address: '10.0.0.11', vips });
    expect(vips.length).toBeGreaterThan(0);
    const look = lookAt('10.0.0.1');
    expect(vipCheckOnDirector(look, own)?.spec).toMatchObject({ own });
    expect(lookOrigin(D2, spec, own)).toBeNull();
    expect(vipCheckOnDirector(look, null)).toBe(look);
  });

  it('is another object only where it is another', () => {
    const [first] = spec.groups;
    if (first === undefined) throw new Error('no group');
    expect(lookOrigin(D1, { ...spec }, own)).toBe(own);
    const groups = [{ ...first, addresses: [...first.addresses, vipAt('10.0.0.200')] }];
    const next = lookOrigin(D1, { ...spec, groups }, own);
    expect(next?.vips).toContain('10.0.0.200');
    const [before, after] = [own, next].map((one) => vipCheckOnDirector(lookAt('10.0.0.1'), one));
    if (!before || !after) throw new Error('no check');
    expect(isSameOnDirector(before, after)).toBe(false);
    expect(isSameOnDirector(before, vipCheckOnDirector(lookAt('10.0.0.1'), own) ?? after)).toBe(
      true,
    );
  });

  it('is nothing where the real server is this director itself', () => {
    expect(vipCheckOnDirector(lookAt('10.0.0.11'), own)).toBeNull();
  });

  it('is nothing to a check of another kind', () => {
    const plain = check(undefined);
    expect(vipCheckOnDirector(plain, own)).toBe(plain);
    expect(isSameOnDirector(plain, check(undefined))).toBe(true);
  });
});
