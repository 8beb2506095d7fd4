/** Which connections of the kernel's list belong to a virtual service, and which are templates. */
import { formatIp, type IpFamily } from './address.ts';
import type { VirtualService } from './cluster.ts';
import type { IpvsConnection } from './kernel.ts';

/** Of persistence: it has no client port, and says where the next connections of the client go. */
export const isTemplate = ({ client }: Pick<IpvsConnection, 'client'>): boolean =>
  client.port === 0;

type Endpoint = IpvsConnection['virtual'];

/**
 * A connection of a firewall mark does not show its mark: it belongs to what leasehold marks for the service;
 * where others set the mark, to whoever goes to one of its real servers.
 */
export function connectionMatcher(
  service: VirtualService,
): (connection: Pick<IpvsConnection, 'protocol' | 'virtual' | 'realServer'>) => boolean {
  const endpoints = new Set<string>();
  const marks = new Set<string>();
  for (const key of service.keys)
    if (key.kind === 'fwmark') marks.add(templateAddress(key.family, key.mark));
    else endpoints.add(textOf(key.protocol, key));
  const isMarkedByOthers = marks.size > 0 && service.marks.length === 0;
  const servers = new Set(service.realServers.map(({ address }) => String(address)));
  const sorry = service.sorryServer;
  if (sorry !== null) servers.add(sorry.address);
  return ({ protocol, virtual, realServer }) => {
    const word = protocol.toLowerCase();
    if (word.startsWith('ip')) return marks.has(virtual.address);
    if (
      endpoints.has(textOf(word, virtual)) ||
      endpoints.has(textOf(word, { ...virtual, port: 0 }))
    )
      return true;
    if (isMarkedByOthers) return servers.has(realServer.address);
    return service.marks.some(
      (mark) =>
        mark.protocol === word &&
        mark.address === virtual.address &&
        mark.ports.some(({ from, to }) => virtual.port >= from && virtual.port <= to),
    );
  };
}

const textOf = (protocol: string, { address, port }: Endpoint): string =>
  `${protocol} ${address} ${port}`;

/** The kernel keeps the mark in the first 32 bits of the virtual address (ip_vs_sched_persist). */
function templateAddress(family: IpFamily, mark: number): string {
  const bytes = new Uint8Array(family === 6 ? 16 : 4);
  bytes.set([mark >>> 24, mark >>> 16, mark >>> 8, mark]);
  return formatIp(bytes);
}
