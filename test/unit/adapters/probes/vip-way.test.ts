/** From where a director looks along a VIP's path: its own address on the real server's link, and never a VIP. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findWay, type VipTarget } from '../../../../src/adapters/probes/vip-way.ts';
import type { OwnAddress } from '../../../../src/adapters/raw-sockets/own-addresses.ts';
import { ip } from '../../core/desired/spec-builders.ts';

const bound = (device: string, address: string, prefix = 24): OwnAddress => ({
  device,
  address: ip(address),
  prefix,
});
const [VIP, VIP6] = [ip('10.90.0.100'), ip('fd90::100')];
const OWN = { address: ip('10.90.0.11'), vips: [VIP, ip('10.90.0.101'), VIP6] };
const HOLDER = [
  bound('lo', '127.0.0.1', 8),
  bound('eth0', '10.90.0.100'),
  bound('eth0', '10.90.0.101'),
  bound('eth0', '10.90.0.11'),
  bound('eth1', '192.0.2.11'),
  bound('eth0', 'fe80::11', 64),
  bound('eth0', 'fd90::100', 64),
  bound('eth0', 'fd90::11', 64),
];
const IPIP = { type: 'ipip', port: 0 } as const;

const target = (fields: Partial<VipTarget> = {}): VipTarget => ({
  address: ip('10.90.0.21'),
  vip: VIP,
  spec: { tunnel: null, own: OWN },
  origin: { source: null, interface: null },
  ...fields,
});

test('the holder looks from its own address, not from a VIP that stands before it', () => {
  expect(findWay(target(), HOLDER)).toEqual({
    ok: true,
    value: { source: '10.90.0.11', device: 'eth0' },
  });
  const six = target({ address: ip('fd90::21'), vip: VIP6 });
  expect(findWay(six, HOLDER)).toMatchObject({ value: { source: 'fd90::11', device: 'eth0' } });
});

test('an address on the real server’s link comes before the director’s own elsewhere', () => {
  const far = target({ address: ip('192.0.2.21') });
  expect(findWay(far, HOLDER)).toMatchObject({ value: { source: '192.0.2.11', device: 'eth1' } });
});

test('of two networks that have it, the smaller one is its link', () => {
  const wide = [bound('eth2', '10.0.0.5', 8), ...HOLDER];
  expect(findWay(target(), wide)).toMatchObject({ value: { device: 'eth0' } });
});

test('DR needs a link, a tunnel does not', () => {
  const address = ip('198.51.100.21');
  expect(findWay(target({ address }), HOLDER)).toMatchObject({
    error: expect.stringContaining('on no link of this director'),
  });
  expect(findWay(target({ address, spec: { tunnel: IPIP, own: OWN } }), HOLDER)).toEqual({
    ok: true,
    value: { source: '10.90.0.11', device: null },
  });
});

test('a named interface and source are used, a source that is a VIP or not here never', () => {
  const at = (source: string | null, device: string | null) =>
    findWay(
      target({ origin: { source: source === null ? null : ip(source), interface: device } }),
      HOLDER,
    );
  expect(at(null, 'eth1')).toMatchObject({ value: { device: 'eth1', source: '10.90.0.11' } });
  expect(at('192.0.2.11', null)).toMatchObject({ value: { source: '192.0.2.11', device: 'eth0' } });
  for (const source of ['10.90.0.101', '10.90.0.12'])
    expect(at(source, null)).toMatchObject({ error: expect.stringContaining('not bound here') });
});

test('a director says nothing about itself', () => {
  expect(findWay(target({ address: ip('10.90.0.11') }), HOLDER)).toMatchObject({
    error: expect.stringContaining('this director itself'),
  });
});

test('a director with nothing but VIPs has no source', () => {
  expect(findWay(target(), [bound('eth0', '10.90.0.100')])).toMatchObject({ ok: false });
});

test('no VIP is ever a source', () => {
  const addresses = fc.constantFrom('10.90.0.11', '10.90.0.100', '10.90.0.101', '192.0.2.11');
  const places = fc.array(
    fc.record({
      device: fc.constantFrom('eth0', 'eth1'),
      address: addresses.map(ip),
      prefix: fc.constantFrom(8, 24, 32),
    }),
    { maxLength: 6 },
  );
  const origins = fc.record({
    source: fc.option(addresses.map(ip)),
    interface: fc.option(fc.constantFrom('eth0', 'eth1')),
  });
  fc.assert(
    fc.property(places, origins, fc.constantFrom(null, IPIP), (here, origin, tunnel) => {
      const way = findWay(target({ origin, spec: { tunnel, own: OWN } }), here);
      if (way.ok) expect(OWN.vips).not.toContain(way.value.source);
    }),
  );
});
