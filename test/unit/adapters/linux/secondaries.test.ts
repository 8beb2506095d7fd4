/** Which addresses Linux deletes together with a primary one. */
import { describe, expect, test } from 'vitest';
import { findTakenAlong } from '../../../../src/adapters/linux/secondaries.ts';
import { formatIp, parseIp, type IpAddress } from '../../../../src/model/address.ts';
import { IFA_F_SECONDARY, type AddressMessage } from '../../../../src/wire/rtnetlink.ts';

function bound(text: string, flags = 0, linkIndex = 2): AddressMessage {
  const [host = '', prefix] = text.split('/');
  const parsed = parseIp(host);
  const address: IpAddress = parsed.ok ? parsed.value : formatIp(new Uint8Array(4));
  return {
    flags,
    address: {
      linkIndex,
      address,
      prefix: Number(prefix),
      scope: 'global',
      label: null,
      validLifetimeS: null,
      protocol: null,
    },
  };
}

const primary = bound('10.90.0.100/24');
const secondary = bound('10.90.0.5/24', IFA_F_SECONDARY);

const taken = (deleted: readonly AddressMessage[], others: readonly AddressMessage[]): string[] =>
  findTakenAlong(
    deleted.map((entry) => entry.address),
    [...deleted, ...others],
  ).map((entry) => entry.address.address);

describe('deleting a primary address', () => {
  test('takes the secondaries of its subnet along', () => {
    expect(taken([primary], [secondary])).toEqual(['10.90.0.5']);
  });

  test.each([
    ['another subnet', bound('10.91.0.5/24', IFA_F_SECONDARY)],
    ['another prefix length', bound('10.90.0.5/25', IFA_F_SECONDARY)],
    ['another link', bound('10.90.0.5/24', IFA_F_SECONDARY, 3)],
    ['a primary of its own', bound('10.90.0.5/24')],
    ['IPv6', bound('fd90::5/24', IFA_F_SECONDARY)],
  ])('leaves %s', (_, other) => {
    expect(taken([primary], [other])).toEqual([]);
  });

  test('does not name what is deleted anyway', () => {
    expect(taken([primary, secondary], [])).toEqual([]);
  });
});

test('deleting a secondary takes nothing along', () => {
  expect(taken([secondary], [bound('10.90.0.6/24', IFA_F_SECONDARY), primary])).toEqual([]);
});

test('with prefix 0 all of the link is one subnet', () => {
  expect(taken([bound('10.0.0.1/0')], [bound('192.0.2.1/0', IFA_F_SECONDARY)])).toEqual([
    '192.0.2.1',
  ]);
});
