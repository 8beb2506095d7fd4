/** Firewall marks that leasehold itself gives: which packets get which mark, and for whom. */
import { formatEndpoint, type IpAddress } from './address.ts';
import type { PortRange, Protocol } from './cluster.ts';
import type { ServiceId } from './ids.ts';

/** Packets to one address and these ports get the mark, whatever mark they had. */
export type MarkEntry = {
  readonly address: IpAddress;
  readonly protocol: Protocol;
  readonly ports: PortRange;
  /** 1 to 4294967295. */
  readonly mark: number;
  /** Why: the service that is found by the mark. */
  readonly service: ServiceId;
};

/** `tcp 10.90.0.100:8000-8010`, without the mark. */
export function formatMarked({
  address,
  protocol,
  ports,
}: Pick<MarkEntry, 'address' | 'protocol' | 'ports'>): string {
  const more = ports.from === ports.to ? '' : `-${ports.to}`;
  return `${protocol} ${formatEndpoint(address, ports.from)}${more}`;
}

/** The whole of an entry as text: equal entries have equal texts. */
export const formatMarkEntry = (entry: MarkEntry): string =>
  `${formatMarked(entry)} mark ${entry.mark} for ${entry.service}`;

/** What is in the kernel under the name of our table. */
export type MarkContents = {
  /** False: somebody, or another version, made maps, chains, rules or elements otherwise than we do. */
  readonly isIntact: boolean;
  readonly entries: readonly MarkEntry[];
};

/** In one batch, removals first. */
export type MarkChange = {
  readonly add: readonly MarkEntry[];
  readonly remove: readonly MarkEntry[];
};
