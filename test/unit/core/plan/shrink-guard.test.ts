import { describe, expect, it } from 'vitest';
import { checkShrink } from '../../../../src/core/shrink-guard.ts';
import { groupId } from '../../../../src/model/ids.ts';
import { anyService, anySpec, ip, server } from '../desired/spec-builders.ts';

const S = (n: number, fields: Parameters<typeof anyService>[0] = {}) =>
  anyService({ id: `s${n}`, port: 80 + n, ...fields });
const G = (id: string, ...addresses: string[]) => ({
  id: groupId(id),
  addresses: addresses.map((address) => ({ address: ip(address) })),
});
const groups = (...list: ReturnType<typeof G>[]) => ({ services: [], groups: list });
const four = anySpec([S(1), S(2), S(3), S(4)]);

describe('checkShrink', () => {
  it('lets growth, no change, a first apply and half of the services pass', () => {
    expect(checkShrink(null, anySpec([]))).toBeNull();
    expect(checkShrink(anySpec([]), anySpec([]))).toBeNull();
    expect(checkShrink(four, four)).toBeNull();
    expect(checkShrink(anySpec([S(1)]), four)).toBeNull();
    expect(checkShrink(four, anySpec([S(1), S(2)]))).toBeNull();
  });

  it('asks where more than half of the services go', () => {
    expect(checkShrink(four, anySpec([S(4)]))).toEqual({
      removedGroups: [],
      removedServices: ['s1', 's2', 's3'],
      removedRealServers: [],
      message: '3 of 4 services would be removed: s1, s2, s3',
    });
  });

  it('asks where everything goes, and says so of the real servers too', () => {
    expect(checkShrink(anySpec([S(1)]), anySpec([]))?.message).toBe(
      '1 of 1 services would be removed: s1; all 1 real servers of the cluster would be removed',
    );
  });

  it('asks where a service that stays loses all its real servers', () => {
    const emptied = anySpec([S(1, { realServers: [] }), S(2), S(3), S(4)]);
    expect(checkShrink(four, emptied)).toEqual({
      removedGroups: [],
      removedServices: [],
      removedRealServers: ['s1/10.90.0.21:80'],
      message: 'no real server would be left in: s1',
    });
  });

  it('asks where half of the services go and with them the last real server', () => {
    const before = anySpec([S(1), S(2, { realServers: [] })]);
    const after = anySpec([S(2, { realServers: [] })]);
    expect(checkShrink(before, after)).toMatchObject({
      removedServices: ['s1'],
      message: 'all 1 real servers of the cluster would be removed',
    });
  });

  it('does not ask for a service that had no real servers, or that gets others', () => {
    const empty = anySpec([S(1, { realServers: [] })]);
    expect(checkShrink(empty, empty)).toBeNull();
    const others = anySpec([S(1, { realServers: [server('10.90.0.99')] })]);
    expect(checkShrink(anySpec([S(1)]), others)).toBeNull();
  });

  it('takes a renamed or a moved service for the same', () => {
    expect(checkShrink(anySpec([S(1)]), anySpec([S(1, { id: 'new' })]))).toBeNull();
    expect(checkShrink(anySpec([S(1)]), anySpec([S(1, { port: 8080 })]))).toBeNull();
  });

  it('counts a service as removed where its address went to another that stays', () => {
    const after = anySpec([S(4, { port: 81 })]);
    expect(checkShrink(four, after)?.removedServices).toEqual(['s1', 's2', 's3']);
  });

  it('asks where a service that stays loses more than half of its addresses and ports', () => {
    const range = (ports: readonly number[]) =>
      anySpec([
        anyService({
          keys: ports.map((port) => ({
            kind: 'address',
            protocol: 'tcp',
            address: ip('10.90.0.100'),
            port,
          })),
        }),
      ]);
    expect(checkShrink(range([1, 2, 3, 4]), range([1, 2]))).toBeNull();
    expect(checkShrink(range([1]), range([2]))).toBeNull();
    expect(checkShrink(range([1, 2, 3, 4]), range([9]))?.message).toBe(
      'more than half of the addresses and ports would be removed from: web',
    );
  });

  it('keeps the message short', () => {
    const many = anySpec(Array.from({ length: 30 }, (_, n) => S(n)));
    expect(checkShrink(many, anySpec([S(0)]))?.message).toMatch(/s10 and 19 more$/);
  });

  it('asks where more than half of the VIP groups go, also in a cluster of groups only', () => {
    const before = groups(G('a', '10.90.0.1'), G('b', '10.90.0.2'));
    expect(checkShrink(before, groups())).toEqual({
      removedGroups: ['a', 'b'],
      removedServices: [],
      removedRealServers: [],
      message: '2 of 2 VIP groups would be removed: a, b',
    });
    expect(checkShrink(before, groups(G('b', '10.90.0.2')))).toBeNull();
  });

  it('asks where a VIP group that stays loses all its addresses', () => {
    const before = groups(G('a', '10.90.0.1', '10.90.0.9'), G('b', '10.90.0.2'));
    const moved = groups(G('a', '10.90.0.3'), G('b', '10.90.0.2'));
    expect(checkShrink(before, moved)).toMatchObject({
      removedGroups: ['a'],
      message: 'no address would be left of what is in: a',
    });
    expect(checkShrink(before, groups(G('a', '10.90.0.9'), G('b', '10.90.0.2')))).toBeNull();
  });

  it('takes a renamed VIP group for the same', () => {
    expect(checkShrink(groups(G('a', '10.90.0.1')), groups(G('z', '10.90.0.1')))).toBeNull();
  });

  it('takes weight 0 for gone', () => {
    const idle = S(1, { realServers: [server('10.90.0.21', { weight: 0 })] });
    expect(checkShrink(four, anySpec([idle, S(2), S(3), S(4)]))).toMatchObject({
      removedRealServers: ['s1/10.90.0.21:80'],
      message: 'every real server would have weight 0 in: s1',
    });
    expect(checkShrink(anySpec([S(1)]), anySpec([idle]))?.message).toContain(
      'no real server of the cluster would take connections',
    );
    expect(checkShrink(anySpec([idle]), anySpec([idle]))).toBeNull();
  });
});
