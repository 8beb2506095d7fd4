/** Which connections of the kernel a virtual service has. */
import { describe, expect, it } from 'vitest';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { connectionMatcher, isTemplate } from '../../../src/model/connection-match.ts';

function matcher(service: object) {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' } },
    groups: {
      web: { addresses: ['10.90.0.100/24', '10.90.0.101/24', 'fd90::100/64'], interface: 'public' },
    },
    services: { shop: { group: 'web', ...service } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [shop] = parsed.value.spec.services;
  if (shop === undefined) throw new Error('none');
  const isOf = connectionMatcher(shop);
  return (protocol: string, virtual: string, server = '10.90.0.21') => {
    const cut = virtual.lastIndexOf(':');
    const address = virtual.slice(0, cut).replaceAll(/[[\]]/g, '') as IpAddress;
    const realServer = { address: server as IpAddress, port: 80 };
    return isOf({
      protocol,
      virtual: { address, port: Number(virtual.slice(cut + 1)) },
      realServer,
    });
  };
}

const realServers = [{ address: '10.90.0.21' }];

describe('a connection belongs to a service', () => {
  it('by protocol, address and port of any of its keys', () => {
    const isOf = matcher({
      addresses: ['10.90.0.100', '10.90.0.101'],
      ports: [80, 443],
      realServers,
    });
    expect(isOf('TCP', '10.90.0.101:443')).toBe(true);
    expect(isOf('UDP', '10.90.0.101:443')).toBe(false);
    expect(isOf('TCP', '10.90.0.101:8080')).toBe(false);
    expect(isOf('TCP', '10.90.0.102:80')).toBe(false);
    expect(isOf('IP', '0.0.0.7:0')).toBe(false);
  });

  it('by address alone where it has all ports', () => {
    const isOf = matcher({ address: '10.90.0.100', port: 0, persistence: {}, realServers });
    expect(isOf('TCP', '10.90.0.100:8080')).toBe(true);
    expect(isOf('TCP', '10.90.0.100:0')).toBe(true);
    expect(isOf('TCP', '10.90.0.101:8080')).toBe(false);
  });

  it('by what is marked for it, and its mark in templates', () => {
    const marks = [{ address: '10.90.0.100', ports: [80, '8000-8010'] }];
    const isOf = matcher({ fwmark: 258, marks, persistence: {}, realServers });
    expect(isOf('TCP', '10.90.0.100:8005')).toBe(true);
    expect(isOf('TCP', '10.90.0.100:8011')).toBe(false);
    expect(isOf('IP', '0.0.1.2:0')).toBe(true);
    expect(isOf('IP', '0.0.1.3:0')).toBe(false);
  });

  it('by its real servers where others set the mark', () => {
    const isOf = matcher({ fwmark: 7, realServers });
    expect(isOf('TCP', '192.0.2.1:99', '10.90.0.21')).toBe(true);
    expect(isOf('TCP', '192.0.2.1:99', '10.90.0.22')).toBe(false);
    const six = matcher({
      fwmark: 0x80000001,
      family: 'inet6',
      realServers: [{ address: 'fd90::21' }],
    });
    expect(six('IP', '[8000:1::]:0')).toBe(true);
    expect(six('IP', '[0:7::]:0')).toBe(false);
  });
});

it('a template has no client port', () => {
  expect(isTemplate({ client: { address: '10.0.0.1' as IpAddress, port: 0 } })).toBe(true);
  expect(isTemplate({ client: { address: '10.0.0.1' as IpAddress, port: 1 } })).toBe(false);
});
