/** The source of an echo: the director's own address, and never a VIP that happens to be bound here. */
import { describe, expect, it } from 'vitest';
import { pickSource } from '../../../../src/adapters/gateway/own-addresses.ts';
import {
  type OwnAddress,
  readOwnAddresses,
} from '../../../../src/adapters/raw-sockets/own-addresses.ts';
import { type IpAddress, parseCidr, parseIp } from '../../../../src/model/address.ts';
import type { GatewaySource } from '../../../../src/ports/gateway.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const on = (device: string, ...cidrs: string[]): OwnAddress[] =>
  cidrs.map((cidr) => {
    const parsed = parseCidr(cidr);
    if (!parsed.ok) throw new Error(parsed.error);
    return { device, ...parsed.value };
  });

const VIPS = ['10.90.0.100', '10.90.0.101', 'fd90::100'].map(ip);
const OWN = [
  ...on('lo', '127.0.0.1/8', '::1/128'),
  ...on('eth1', '192.0.2.7/24'),
  // VIPs stand before the own address, with any prefix.
  ...on('eth0', '10.90.0.100/32', '10.90.0.101/24', '10.90.0.11/24', '172.16.0.5/32'),
  ...on('eth0', 'fd90::100/128', 'fe80::1/64', 'fd90::11/64'),
];
const devices = (...names: string[]): GatewaySource => ({
  kind: 'devices',
  devices: names,
  except: VIPS,
});
const picked = (source: GatewaySource | null, target: string): string => {
  const result = pickSource(source, ip(target), OWN);
  return result.ok ? `${result.value.address}%${result.value.device}` : result.error;
};

describe('the source of an echo', () => {
  it.each([
    ['the own address, whatever the target', address('10.90.0.11'), '8.8.8.8', '10.90.0.11%eth0'],
    [
      'none where it is not bound',
      address('10.90.0.12'),
      '8.8.8.8',
      '10.90.0.12 is not bound here',
    ],
    ['of a device, in the target’s network', devices('eth0'), '10.90.0.1', '10.90.0.11%eth0'],
    [
      'of the devices, in the target’s network',
      devices('eth0', 'eth1'),
      '192.0.2.1',
      '192.0.2.7%eth1',
    ],
    ['of a device, rather not a host prefix', devices('eth0'), '8.8.8.8', '10.90.0.11%eth0'],
    ['of IPv6, in the target’s network', devices('eth0'), 'fd90::1', 'fd90::11%eth0'],
    ['of IPv6, not link-local for others', devices('eth0'), '2001:db8::1', 'fd90::11%eth0'],
    ['link-local for link-local', devices('eth0'), 'fe80::ff', 'fe80::1%eth0'],
    [
      'none of a device without one',
      devices('eth1'),
      'fd90::1',
      'no IPv6 address but VIPs on eth1',
    ],
  ])('is %s', (_, source, target, expected) => {
    expect(picked(source, target)).toBe(expected);
  });

  it('is none where VIPs are all there is', () => {
    const vips = on('eth0', '10.90.0.100/24', '10.90.0.101/32');
    expect(pickSource(devices('eth0'), ip('10.90.0.1'), vips).ok).toBe(false);
  });

  it('is none for a family without source, and none for a target on this host', () => {
    expect(picked(null, 'fd90::1')).toMatch(/no IPv6 address of its own/);
    expect(picked(address('10.90.0.11'), '192.0.2.7')).toMatch(/would answer itself/);
  });
});

describe('the addresses of this host', () => {
  it('are read with device and prefix', () => {
    const read = readOwnAddresses();
    expect(read.ok && read.value.find((one) => one.address === '127.0.0.1')).toEqual({
      device: 'lo',
      address: '127.0.0.1',
      prefix: 8,
    });
  });

  it('are of the device that their label begins with', () => {
    const rest = { netmask: '', mac: '', internal: false, family: 'IPv4' } as const;
    const labelled = { ...rest, address: '10.90.0.11', cidr: '10.90.0.11/24' };
    expect(readOwnAddresses(() => ({ 'eth0:1': [labelled] }))).toEqual({
      ok: true,
      value: on('eth0', '10.90.0.11/24'),
    });
  });
});

function address(text: string): GatewaySource {
  return { kind: 'address', address: ip(text) };
}
