/** etcd keys: each is parsed back to what it was built from, and nothing else is taken for ours. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkId,
  directorId,
  groupId,
  NAME_PATTERN,
  realServerId,
  serviceId,
} from '../../../src/model/ids.ts';
import { createKeys, type ParsedKey } from '../../../src/model/keys.ts';

const keys = createKeys('lab');
const name = fc.stringMatching(new RegExp(NAME_PATTERN));
const endpoint = fc.oneof(
  fc.tuple(fc.ipV4(), fc.nat(65535)).map(([address, port]) => `${address}:${port}`),
  fc.tuple(fc.ipV6(), fc.nat(65535)).map(([address, port]) => `[${address}]:${port}`),
  // Written by hand or by another version: whatever it is, it must not break out of its place.
  fc.string({ unit: 'grapheme', minLength: 1 }),
);

/** A key and what it must parse to. */
const built: fc.Arbitrary<readonly [string, ParsedKey]> = fc.oneof(
  fc.constant([keys.spec, { kind: 'spec' }] as const),
  fc.constant([keys.pause, { kind: 'pause' }] as const),
  name.map((text) => {
    const director = directorId(text);
    return [keys.drain(director), { kind: 'drain', director }] as const;
  }),
  name.map((text) => {
    const director = directorId(text);
    return [keys.confirmDead(director), { kind: 'confirm-dead', director }] as const;
  }),
  fc.tuple(name, endpoint).map(([text, rs]) => {
    const [service, realServer] = [serviceId(text), realServerId(rs)];
    return [keys.real(service, realServer), { kind: 'real', service, realServer }] as const;
  }),
  name.map((id) => [keys.operation(id), { kind: 'operation', id }] as const),
  name.map((text) => {
    const group = groupId(text);
    return [keys.switchover(group), { kind: 'switchover', group }] as const;
  }),
  name.map((text) => {
    const director = directorId(text);
    return [keys.session(director), { kind: 'session', director }] as const;
  }),
  name.map((text) => {
    const group = groupId(text);
    return [keys.owner(group), { kind: 'owner', group }] as const;
  }),
  name.map((text) => {
    const director = directorId(text);
    return [keys.scope(director), { kind: 'scope', director }] as const;
  }),
  name.map((text) => {
    const director = directorId(text);
    return [keys.challenge(director), { kind: 'challenge', director }] as const;
  }),
  name.map((text) => {
    const group = groupId(text);
    return [keys.lease(group), { kind: 'lease', group }] as const;
  }),
  name.map((text) => {
    const director = directorId(text);
    return [keys.report(director), { kind: 'report', director }] as const;
  }),
  fc.tuple(name, name).map(([a, b]) => {
    const [check, director] = [checkId(a), directorId(b)];
    return [keys.vote(check, director), { kind: 'vote', check, director }] as const;
  }),
  name.map((id) => [keys.event(id), { kind: 'event', id }] as const),
);

describe('a key', () => {
  it('is parsed back to what it was built from', () => {
    fc.assert(
      fc.property(built, ([key, parsed]) => {
        expect(keys.parse(key)).toEqual(parsed);
        expect(key.startsWith(keys.prefix)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('is another key for another meaning', () => {
    fc.assert(
      fc.property(built, built, ([a, meaningOfA], [b, meaningOfB]) => {
        expect(a === b).toBe(JSON.stringify(meaningOfA) === JSON.stringify(meaningOfB));
      }),
    );
  });

  it('of another cluster is not ours, even where one name begins as the other', () => {
    fc.assert(
      fc.property(built, ([key]) => {
        expect(createKeys('la').parse(key)).toBeNull();
        expect(createKeys('labs').parse(key)).toBeNull();
      }),
    );
  });

  it.each([
    '',
    '/leasehold/lab',
    '/leasehold/lab/',
    '/leasehold/lab/spec/x',
    '/leasehold/lab/admin',
    '/leasehold/lab/admin/pause/x',
    '/leasehold/lab/admin/drain/',
    '/leasehold/lab/admin/drain/a/b',
    '/leasehold/lab/admin/real/http',
    '/leasehold/lab/run/owner/',
    '/leasehold/lab/run/vote/c1',
    '/leasehold/lab/run/vote/c1/',
    '/leasehold/lab/run/vote/c1/d1/x',
    '/leasehold/lab/run/unknown/x',
    '/leasehold/lab/log/event/',
  ])('%j is none of ours', (key) => expect(keys.parse(key)).toBeNull());

  it('never makes the parser throw', () => {
    const part = fc.constantFrom('admin', 'run', 'real', 'vote', 'spec', '%', '%zz', '', 'x', '..');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        keys.parse(`${keys.prefix}${parts.join('/')}`);
      }),
    );
    expect(keys.parse(`${keys.prefix}admin/real/http/%zz`)).toMatchObject({ realServer: '%zz' });
  });

  it('stands where design 3 says', () => {
    expect(keys.owner(groupId('web'))).toBe('/leasehold/lab/run/owner/web');
    expect(keys.session(directorId('d1'))).toBe('/leasehold/lab/run/session/d1');
    expect(keys.real(serviceId('http'), realServerId('[fd90::21]:80'))).toBe(
      '/leasehold/lab/admin/real/http/%5Bfd90%3A%3A21%5D%3A80',
    );
    expect(keys.event('01').startsWith(keys.eventPrefix)).toBe(true);
  });
});
