/** Addresses: accepted exactly where Node accepts them, one text for one address, and round trips. */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  familyOf,
  formatEndpoint,
  formatIp,
  formatMac,
  type IpAddress,
  ipToBytes,
  macToBytes,
  parseCidr,
  parseIp,
  parseMac,
} from '../../../src/model/address.ts';

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const bytes = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Many zeros: runs of them are where texts of IPv6 differ.
  fc
    .array(fc.constantFrom(0, 0, 0, 1, 0xff), { minLength: 16, maxLength: 16 })
    .map((parts) => Uint8Array.from(parts)),
);

/** Texts that are nearly addresses. */
const nearly = fc.oneof(
  fc.ipV4(),
  fc.ipV4Extended(),
  fc.ipV6(),
  fc.string({ unit: fc.constantFrom(...'0123456789abfF:.'.split('')), maxLength: 24 }),
  fc
    .array(fc.constantFrom('0', '1', 'ffff', '', ':', '::', '10.0.0.1', '256', '01'), {
      maxLength: 10,
    })
    .map((parts) => parts.join(':')),
);

describe('parseIp', () => {
  it('accepts exactly what Node takes for an address without a zone', () => {
    fc.assert(
      fc.property(nearly, (text) => {
        expect(parseIp(text).ok).toBe(isIP(text) !== 0);
      }),
      { numRuns: 5000 },
    );
  });

  it('takes dotted quads for the last 32 bits only', () => {
    for (const text of ['10.0.0.1::', '1:10.0.0.1::', '::10.0.0.1:1', '10.0.0.1:1:2:3:4:5:6'])
      expect(parseIp(text).ok, text).toBe(false);
    expect(ip('1:2:3:4:5:6:10.0.0.1')).toBe('1:2:3:4:5:6:a00:1');
  });

  it('refuses zones, spaces, ports and prefixes', () => {
    for (const text of [
      'fe80::1%eth0',
      ' 10.0.0.1',
      '10.0.0.1 ',
      '10.0.0.1:80',
      '10.0.0.1/8',
      '[::1]',
      '',
    ])
      expect(parseIp(text)).toEqual({
        ok: false,
        error: `"${text}" is not an IPv4 or IPv6 address`,
      });
  });

  it.each([
    // RFC 5952 section 4, and the examples of its section 1.
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8::0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:DB8::AaAa', '2001:db8::aaaa'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1::', '1::'],
    ['::ffff:10.0.0.1', '::ffff:a00:1'],
  ])('writes %s as %s', (text, canonical) => expect(ip(text)).toBe(canonical));

  it('gives one text for all texts of one address', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const canonical = ip(text);
        expect(ip(canonical)).toBe(canonical);
        expect(ip(text.toUpperCase())).toBe(canonical);
        expect(ipToBytes(canonical)).toEqual(ipToBytes(ip(text)));
      }),
    );
  });
});

describe('bytes', () => {
  it('survive text and back', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        const text = formatIp(value);
        expect(value.length === 4 ? isIPv4(text) : isIPv6(text)).toBe(true);
        expect(ipToBytes(text)).toEqual(value);
        expect(ip(text)).toBe(text);
        expect(familyOf(text)).toBe(value.length === 4 ? 4 : 6);
      }),
      { numRuns: 1000 },
    );
  });

  it('agree with an address that the URL parser of Node writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (value) => {
        expect(new URL(`http://[${formatIp(value)}]/`).hostname).toBe(`[${formatIp(value)}]`);
      }),
    );
  });
});

describe('parseCidr', () => {
  it('survives text and back, for every prefix length', () => {
    fc.assert(
      fc.property(bytes, fc.nat(128), (value, prefix) => {
        const text = formatIp(value);
        const fits = prefix <= value.length * 8;
        const parsed = parseCidr(`${text}/${prefix}`);
        expect(parsed).toEqual(
          fits
            ? { ok: true, value: { address: text, prefix } }
            : { ok: false, error: expect.any(String) },
        );
      }),
    );
  });

  it('takes an address alone for a host', () => {
    expect(parseCidr('10.0.0.1')).toEqual({ ok: true, value: { address: '10.0.0.1', prefix: 32 } });
    expect(parseCidr('FD90::1')).toEqual({ ok: true, value: { address: 'fd90::1', prefix: 128 } });
  });

  it.each([
    '10.0.0.1/',
    '10.0.0.1/33',
    '::1/129',
    '10.0.0.1/-1',
    '10.0.0.1/8/8',
    '10.0.0.1/2a',
    '/8',
    '10.0.0.1/0000',
  ])('refuses %j', (text) => expect(parseCidr(text).ok).toBe(false));
});

describe('endpoints', () => {
  it('have IPv6 in brackets', () => {
    expect(formatEndpoint(ip('10.0.0.1'), 80)).toBe('10.0.0.1:80');
    expect(formatEndpoint(ip('fd90::1'), 80)).toBe('[fd90::1]:80');
  });
});

describe('MAC addresses', () => {
  it('survive bytes, text and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (value) => {
        const mac = formatMac(value);
        expect(macToBytes(mac)).toEqual(value);
        expect(parseMac(mac.toUpperCase())).toEqual({ ok: true, value: mac });
      }),
    );
  });

  it.each([
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:00:00',
    '2:0:0:0:0:0',
    '02-00-00-00-00-00',
    '0g:00:00:00:00:00',
  ])('refuse %j', (text) => expect(parseMac(text).ok).toBe(false));
});
