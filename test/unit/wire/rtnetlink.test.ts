/** Addresses and links against what iproute2 sends and Linux answers, round trips, and random bytes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { familyOf, formatIp, parseIp, type IpAddress } from '../../../src/model/address.ts';
import { ADDRESS_PROTOCOL, type BindRequest } from '../../../src/model/kernel.ts';
import {
  decodeAddress,
  decodeLink,
  decodeLinkRole,
  encodeDeleteAddress,
  encodeNewAddress,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
} from '../../../src/wire/rtnetlink.ts';
import { AttributeWriter } from '../../../src/wire/netlink.ts';
import { attributeLines, bodyOf, captured, loadCaptured } from './netlink-fixture.ts';

const messages = loadCaptured('iproute2.txt');

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const BIND4: BindRequest = {
  linkIndex: 3,
  address: ip('10.90.0.100'),
  prefix: 24,
  scope: 'global',
  label: 'eth0:vip',
  validLifetimeS: 5,
};
const BIND6: BindRequest = { ...BIND4, address: ip('fd90::100'), prefix: 64, label: null };

describe('what iproute2 sends for the same wish', () => {
  test.each([
    ['bind4', encodeNewAddress(BIND4, { protocol: null })],
    ['bind6', encodeNewAddress(BIND6, { protocol: null })],
    ['unbind4', encodeDeleteAddress(BIND4)],
  ])('%s', (name, ours) => {
    const theirs = bodyOf(captured(messages, name));
    expect(toHex(ours.subarray(0, 8))).toBe(toHex(theirs.subarray(0, 8)));
    expect(attributeLines(ours, 8)).toEqual(attributeLines(theirs, 8));
  });

  test('our tag is one more attribute: IFA_PROTO (11)', () => {
    const plain = attributeLines(encodeNewAddress(BIND4, { protocol: null }), 8);
    const tagged = attributeLines(encodeNewAddress(BIND4), 8);
    expect(tagged.filter((line) => !plain.includes(line))).toEqual(['11: 6c']);
  });
});

describe("Linux's answers", () => {
  test('an IPv4 and an IPv6 address', () => {
    const four = decodeAddress(bodyOf(captured(messages, 'dumped-address-1')));
    expect(four).toEqual({
      ok: true,
      value: {
        address: { ...BIND4, protocol: null },
        flags: IFA_F_NOPREFIXROUTE,
      },
    });
    const six = decodeAddress(bodyOf(captured(messages, 'dumped-address-2')));
    expect(six).toMatchObject({ ok: true, value: { address: { ...BIND6, protocol: null } } });
    expect(six.ok ? (six.value?.flags ?? 0) & IFA_F_NODAD : 0).toBe(IFA_F_NODAD);
  });

  test("the kernel's own link-local address lives for ever and has its tag", () => {
    const own = decodeAddress(bodyOf(captured(messages, 'dumped-address-3')));
    expect(own).toMatchObject({
      ok: true,
      value: { address: { scope: 'link', validLifetimeS: null, protocol: 3 } },
    });
  });

  test('a link', () => {
    expect(decodeLink(bodyOf(captured(messages, 'dumped-link')))).toEqual({
      ok: true,
      value: {
        index: 3,
        name: 'eth0',
        mac: '02:00:00:00:00:01',
        isAdminUp: true,
        isRunning: true,
        mtu: 1500,
      },
    });
  });

  test.each([
    ['without carrier', 0x10000, true, false],
    ['not running', 0x40, true, false],
    ['set down', 0x1, false, true],
  ])('a link that is %s', (_, flag, isAdminUp, isRunning) => {
    const body = Uint8Array.from(bodyOf(captured(messages, 'dumped-link')));
    const view = new DataView(body.buffer);
    view.setUint32(8, view.getUint32(8, true) & ~flag, true);
    expect(decodeLink(body)).toMatchObject({ value: { isAdminUp, isRunning } });
  });

  test("a bridge's words about its port are no link", () => {
    const body = Uint8Array.from(bodyOf(captured(messages, 'dumped-link')));
    body[0] = 7; // AF_BRIDGE
    expect(decodeLink(body)).toEqual({ ok: true, value: null });
  });

  test.each([
    ['on a link of this namespace', false, 7],
    ['on one of another namespace, which has numbers of its own', true, null],
  ])('a VLAN %s', (_, isElsewhere, lower) => {
    const writer = new AttributeWriter().raw(new Uint8Array(16)).u32(5, 7);
    if (isElsewhere) writer.u32(37, 0);
    const body = writer.nested(18, (info) => info.text(1, 'vlan')).finish();
    expect(decodeLinkRole(body)).toEqual({ kind: 'vlan', master: null, lower });
  });

  test('an address of another family is nobody', () => {
    const body = Uint8Array.from(bodyOf(captured(messages, 'dumped-address-1')));
    body[0] = 28; // AF_MPLS
    expect(decodeAddress(body)).toEqual({ ok: true, value: null });
  });
});

const request: fc.Arbitrary<BindRequest> = fc
  .record({
    linkIndex: fc.integer({ min: 1, max: 0x7fff_ffff }),
    address: fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => formatIp(bytes)),
      fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatIp(bytes)),
    ),
    prefix: fc.nat(32),
    scope: fc.constantFrom('global', 'site', 'link', 'host'),
    label: fc.constantFrom(null, 'eth0:vip'),
    validLifetimeS: fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 0xffff_fffe })),
  })
  .map((all) => ({ ...all, label: familyOf(all.address) === 6 ? null : all.label }));

test('an address is decoded as it was encoded', () => {
  fc.assert(
    fc.property(request, (wanted) => {
      expect(decodeAddress(encodeNewAddress(wanted))).toMatchObject({
        ok: true,
        value: { address: { ...wanted, protocol: ADDRESS_PROTOCOL } },
      });
    }),
  );
});

test('random bytes and random changes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeAddress(bytes);
      decodeLink(bytes);
    }),
  );
  fc.assert(
    fc.property(fc.nat(1200), fc.nat(255), (place, value) => {
      for (const name of ['dumped-link', 'dumped-address-1', 'dumped-address-2']) {
        const body = Uint8Array.from(bodyOf(captured(messages, name)));
        body[place % body.length] = value;
        decodeAddress(body);
        decodeLink(body);
      }
    }),
  );
});
