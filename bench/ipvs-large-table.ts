/** A table as large installations have it: 37,000 destinations in 2,300 services. */
import { formatIp, type IpAddress } from '../src/model/address.ts';
import type { DesiredService } from '../src/model/kernel.ts';

export const LARGE = { services: 2300, destinations: 37_000 } as const;

/** A virtual service of the document is one VIP with so many ports. */
const PORTS = { from: 1000, count: 100 } as const;
/** Every VIP has 16 real servers, and the first two one more. */
const EACH = Math.floor(LARGE.destinations / LARGE.services);
const MORE = (LARGE.destinations - EACH * LARGE.services) / PORTS.count;

const vipIndexOf = (service: number): number => Math.floor(service / PORTS.count);

export const vipOf = (service: number): IpAddress =>
  formatIp(Uint8Array.of(10, 92, 0, 1 + vipIndexOf(service)));
export const portOf = (service: number): number => PORTS.from + (service % PORTS.count);
/** Name of the virtual service in the document that an IPVS service comes from. */
export const nameOf = (service: number): string => `s${vipIndexOf(service)}`;
/** First IPVS service of each VIP. */
const FIRSTS: readonly number[] = Array.from(
  { length: LARGE.services / PORTS.count },
  (_, index) => index * PORTS.count,
);
export const VIPS: readonly IpAddress[] = FIRSTS.map(vipOf);

/** Addresses of the real servers of a service. */
export const realServersOf = (service: number): readonly IpAddress[] =>
  Array.from({ length: EACH + (vipIndexOf(service) < MORE ? 1 : 0) }, (_, d) =>
    formatIp(Uint8Array.of(10, 93, vipIndexOf(service), d + 1)),
  );

/** As the kernel shall have it. */
export function largeServices(): readonly DesiredService[] {
  return Array.from({ length: LARGE.services }, (_, service) => {
    const port = portOf(service);
    return {
      key: { kind: 'address', protocol: 'tcp', address: vipOf(service), port },
      scheduler: 'wlc',
      flags: 0,
      timeoutS: 0,
      persistencePrefix: 32,
      persistenceEngine: null,
      destinations: realServersOf(service).map((address) => ({
        address,
        port,
        forward: 'dr',
        tunnel: null,
        weight: 1,
        upperThreshold: 0,
        lowerThreshold: 0,
      })),
    };
  });
}

/** One service of the document for each of the kernel's, with all real servers listed: as long as can be. */
export function listedDocumentServices(group: string): Readonly<Record<string, object>> {
  return Object.fromEntries(
    largeServices().map(({ key, destinations }, service) => [
      `listed-${service}`,
      {
        group,
        ...(key.kind === 'address' ? { address: key.address, port: key.port } : {}),
        realServers: destinations.map(({ address, port, weight }) => ({ address, port, weight })),
      },
    ]),
  );
}

/** The same in words of a cluster document. */
export function largeDocumentServices(group: string): Readonly<Record<string, object>> {
  return Object.fromEntries(
    FIRSTS.map((service) => [
      nameOf(service),
      {
        group,
        address: vipOf(service),
        ports: [`${PORTS.from}-${PORTS.from + PORTS.count - 1}`],
        realServers: realServersOf(service).map((address) => ({ address })),
      },
    ]),
  );
}
