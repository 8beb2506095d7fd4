/** Texts of service keys and the brands: what the ledger and the status document rest on. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IpAddress, parseIp } from '../../../src/model/address.ts';
import {
  epochOf,
  NAME_PATTERN,
  revision,
  revisionOf,
  sessionIdOf,
} from '../../../src/model/ids.ts';
import { formatServiceKey, type IpvsServiceKey } from '../../../src/model/kernel.ts';

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const key: fc.Arbitrary<IpvsServiceKey> = fc.oneof(
  fc.record({
    kind: fc.constant('address' as const),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
    address: fc.oneof(fc.ipV4(), fc.ipV6()).map(ip),
    port: fc.nat(65535),
  }),
  fc.record({
    kind: fc.constant('fwmark' as const),
    family: fc.constantFrom(4 as const, 6 as const),
    mark: fc.nat(),
  }),
);

describe('the text of a service key', () => {
  it.each([
    [
      { kind: 'address', protocol: 'tcp', address: ip('10.90.0.100'), port: 80 },
      'tcp 10.90.0.100:80',
    ],
    [
      { kind: 'address', protocol: 'udp', address: ip('fd90::100'), port: 53 },
      'udp [fd90::100]:53',
    ],
    [{ kind: 'fwmark', family: 4, mark: 7 }, 'fwmark 7 inet'],
    [{ kind: 'fwmark', family: 6, mark: 7 }, 'fwmark 7 inet6'],
  ] as const)('%j is %s', (service, text) => expect(formatServiceKey(service)).toBe(text));

  it('is the same for the same service only', () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        const isSame = JSON.stringify(a) === JSON.stringify(b);
        expect(formatServiceKey(a) === formatServiceKey(b)).toBe(isSame);
      }),
    );
  });
});

describe('names', () => {
  const pattern = new RegExp(NAME_PATTERN);

  it('fit into keys and URLs as they are', () => {
    fc.assert(
      fc.property(fc.stringMatching(pattern), (name) => {
        expect(encodeURIComponent(name)).toBe(name);
        expect(name.length).toBeLessThanOrEqual(63);
      }),
    );
  });

  it.each(['', '-a', '.', '..', '_a', 'a/b', 'a b', 'a%2f', 'ä', 'a\n', 'x'.repeat(64)])(
    '%j is none',
    (name) => expect(pattern.test(name)).toBe(false),
  );
});

describe('tokens', () => {
  it('are the mod revisions they come from', () => {
    expect(revisionOf(epochOf(revision(42)))).toBe(42);
    expect(revisionOf(sessionIdOf(revision(43)))).toBe(43);
  });
});
