/** Random services, real servers and sync daemons as the kernel takes them, for properties. */
import fc from 'fast-check';
import { formatIp, type IpAddress } from '../../src/model/address.ts';
import {
  DEFAULT_TUNNEL,
  familyOfKey,
  SCHEDULERS,
  type ServiceKey,
  type Tunnel,
  TUNNEL_CHECKSUMS,
} from '../../src/model/cluster.ts';
import type { IpvsDaemon, IpvsDestination, IpvsService } from '../../src/model/kernel.ts';

const bytesOf = (length: number): fc.Arbitrary<IpAddress> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => formatIp(bytes));
export const ipv4 = bytesOf(4);
export const ipv6 = bytesOf(16);
export const port = fc.nat(0xffff);

const keyOf = (address: fc.Arbitrary<IpAddress>): fc.Arbitrary<ServiceKey> =>
  fc.record({
    kind: fc.constant('address' as const),
    protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
    address,
    port,
  });
const mark = fc.record({
  kind: fc.constant('fwmark' as const),
  family: fc.constantFrom(4 as const, 6 as const),
  mark: fc.integer({ min: 1, max: 0xffff_ffff }),
});
export const serviceKey: fc.Arbitrary<ServiceKey> = fc.oneof(keyOf(ipv4), keyOf(ipv6), mark);

export const ipvsService: fc.Arbitrary<IpvsService> = serviceKey.chain((key) =>
  fc
    .record({
      scheduler: fc.constantFrom(...SCHEDULERS),
      // Every bit but the kernel's own HASHED.
      flags: fc.nat(0x3f).map((flags) => flags & ~2),
      timeoutS: fc.integer({ min: 1, max: 2_678_400 }),
      persistencePrefix:
        familyOfKey(key) === 6 ? fc.integer({ min: 1, max: 128 }) : fc.integer({ min: 0, max: 32 }),
      persistenceEngine: fc.constantFrom(null, 'sip'),
    })
    .map((service) => ({
      key,
      ...service,
      timeoutS: (service.flags & 1) === 0 ? 0 : service.timeoutS,
    })),
);

export const tunnel: fc.Arbitrary<Tunnel> = fc.oneof(
  fc.constant(DEFAULT_TUNNEL),
  fc.record({
    type: fc.constant('gue' as const),
    port: fc.integer({ min: 1, max: 0xffff }),
    checksum: fc.constantFrom(...TUNNEL_CHECKSUMS),
  }),
  fc.record({
    type: fc.constant('gre' as const),
    port: fc.constant(0),
    checksum: fc.constantFrom('nocsum' as const, 'csum' as const),
  }),
);

export const ipvsDestination: fc.Arbitrary<IpvsDestination> = fc
  .record({
    address: fc.oneof(ipv4, ipv6),
    port,
    forward: fc.constantFrom('dr' as const, 'nat' as const, 'tun' as const),
    tunnel,
    weight: fc.nat(0x7fff_ffff),
    thresholds: fc.tuple(fc.nat(0x7fff_ffff), fc.nat(0x7fff_ffff)),
  })
  .map(({ thresholds: [a, b], ...rest }) => ({
    ...rest,
    tunnel: rest.forward === 'tun' ? rest.tunnel : null,
    upperThreshold: Math.max(a, b),
    lowerThreshold: Math.min(a, b),
  }));

export const ipvsDaemon: fc.Arbitrary<IpvsDaemon> = fc.record({
  state: fc.constantFrom('master' as const, 'backup' as const),
  interface: fc.constantFrom('eth0', 'bond0.100', 'a-name-of-15-by'),
  syncId: fc.nat(255),
  maxLength: fc.option(fc.integer({ min: 1, max: 0xffff })),
  group: fc.oneof(ipv4, ipv6),
  port,
  ttl: fc.integer({ min: 1, max: 255 }),
});
