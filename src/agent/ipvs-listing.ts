/** The rows of the table's listing: what was dumped, with what the cluster document says of it. Decides nothing. */
import { realServerKey } from '../core/health/checks.ts';
import type { Explanation, WeightReason } from '../core/service/explanation.ts';
import { familyOf, formatEndpoint, ipToBytes } from '../model/address.ts';
import { type ClusterSpec, familyOfKey, portIn, type VirtualService } from '../model/cluster.ts';
import {
  schedulerFlagNames,
  type TableDestinationRow,
  type TableRow,
  type TableServiceRow,
} from '../model/ipvs-listing.ts';
import {
  formatServiceKey,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsServiceKey,
  type IpvsTable,
  type ObservedDestination,
  type ObservedService,
} from '../model/kernel.ts';

export type ListingInput = {
  readonly spec: ClusterSpec | null;
  readonly table: IpvsTable;
  /** Keys, as `formatServiceKey` writes them. */
  readonly foreign: ReadonlySet<string>;
  /** By `realServerKey`. */
  readonly explanations: ReadonlyMap<string, Explanation>;
  /** A virtual service, or one IPVS service by its key; null: all. */
  readonly service: string | null;
};

/** One row after the other, so that a table of any size is never held as rows. */
export function* listTable(input: ListingInput): Generator<TableRow> {
  const owners = ownersOf(input.spec);
  let services = 0;
  let destinations = 0;
  for (const { name, service } of sortServices(input.table.services)) {
    const owner = owners.get(name) ?? null;
    if (input.service !== null && input.service !== name && input.service !== owner?.id) continue;
    services++;
    yield serviceRow(service, owner, input.foreign.has(name));
    const roles = rolesOf(input, service.key, owner);
    for (const destination of sortDestinations(service.destinations)) {
      destinations++;
      yield destinationRow(destination, owner === null && input.foreign.has(name), roles);
    }
  }
  yield { kind: 'end', services, destinations };
}

/** The virtual service of each IPVS service; where two want the same one the first has it. */
function ownersOf(spec: ClusterSpec | null): ReadonlyMap<string, VirtualService> {
  const owners = new Map<string, VirtualService>();
  for (const service of spec?.services ?? [])
    for (const key of service.keys) {
      const name = formatServiceKey(key);
      if (!owners.has(name)) owners.set(name, service);
    }
  return owners;
}

type Named = { readonly name: string; readonly service: ObservedService };

/** IANA numbers: the order of ipvsadm. */
const PROTOCOL_NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const;

function sortServices(services: readonly ObservedService[]): readonly Named[] {
  return services
    .map((service) => ({
      name: formatServiceKey(service.key),
      service,
      order: orderOf(service.key),
    }))
    .toSorted((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
}

/** Addresses before marks, IPv4 before IPv6, then by protocol, address, port: texts of equal parts. */
function orderOf(key: IpvsServiceKey): string {
  if (key.kind === 'fwmark') return `1 ${String(key.mark).padStart(10, '0')} ${key.family}`;
  const protocol = String(PROTOCOL_NUMBERS[key.protocol]).padStart(3, '0');
  const port = String(key.port).padStart(5, '0');
  return `0 ${familyOfKey(key)} ${protocol} ${hexOf(key.address)} ${port}`;
}

const hexOf = (address: ObservedDestination['address']): string =>
  [...ipToBytes(address)].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * IPv6 before IPv4, as ipvsadm has it for tunnels through the other family; then by address and port. Each
 * address is read once: a service may have tens of thousands, and the hold loop waits meanwhile.
 */
function sortDestinations(
  destinations: readonly ObservedDestination[],
): readonly ObservedDestination[] {
  return destinations
    .map((destination) => {
      const { address, port } = destination;
      const family = familyOf(address) === 6 ? '0' : '1';
      return { destination, order: `${family}${hexOf(address)}${String(port).padStart(5, '0')}` };
    })
    .toSorted((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0))
    .map(({ destination }) => destination);
}

function serviceRow(
  service: ObservedService,
  owner: VirtualService | null,
  isForeign: boolean,
): TableServiceRow {
  const { key, scheduler, flags, timeoutS, persistencePrefix, persistenceEngine } = service;
  return {
    kind: 'service',
    key,
    service: owner?.id ?? null,
    isForeign,
    scheduler,
    flags: schedulerFlagNames(service),
    isOnePacket: (flags & IP_VS_SVC_F_ONEPACKET) !== 0,
    persistence:
      (flags & IP_VS_SVC_F_PERSISTENT) === 0 ? null : { timeoutS, prefix: persistencePrefix },
    persistenceEngine,
    counters: service.counters,
    rates: service.rates,
  };
}

type Role = Pick<TableDestinationRow, 'role' | 'note'>;

/** By endpoint in this IPVS service. */
function rolesOf(
  { explanations }: ListingInput,
  key: IpvsServiceKey,
  owner: VirtualService | null,
): ReadonlyMap<string, (weight: number) => Role> {
  const roles = new Map<string, (weight: number) => Role>();
  if (owner === null) return roles;
  const sorry = owner.sorryServer;
  if (sorry !== null)
    roles.set(formatEndpoint(sorry.address, portIn(key, sorry)), (weight) => ({
      role: 'sorry-server',
      note: weight === 0 ? 'sorry server, idle' : 'sorry server',
    }));
  for (const server of owner.realServers) {
    const endpoint = formatEndpoint(server.address, portIn(key, server));
    const explanation = explanations.get(realServerKey(owner.id, server.id)) ?? null;
    // Also a sorry server, and out as a real server: it answers as the former.
    if (explanation?.wantedWeight === null && roles.has(endpoint)) continue;
    roles.set(endpoint, (weight) => ({
      role: 'real-server',
      note: explanation === null ? null : noteOf(explanation, weight),
    }));
  }
  return roles;
}

const NOTES: Readonly<Record<WeightReason, string | null>> = {
  up: null,
  unchecked: null,
  'slow-start': 'slow start',
  'fail-open': 'down, kept by fail-open',
  'down-removed': 'down',
  'down-inhibited': 'down',
  'sorry-removed': 'the sorry server answers',
  'sorry-inhibited': 'the sorry server answers',
  'admin-drain': 'draining',
  drained: 'drained',
  'admin-maint': 'maintenance',
  'standby-cold': null,
  'standby-own': 'this director itself',
  'standby-waits': 'the holder shares out',
  duplicate: null,
};

function noteOf({ why, wantedWeight }: Explanation, weight: number): string | null {
  const wanted = wantedWeight === null ? 'to be removed' : `weight ${wantedWeight} is wanted`;
  const notes = [NOTES[why], wantedWeight === weight ? null : wanted];
  return notes.filter((note) => note !== null).join(', ') || null;
}

function destinationRow(
  destination: ObservedDestination,
  isForeign: boolean,
  roles: ReadonlyMap<string, (weight: number) => Role>,
): TableDestinationRow {
  const known = roles.get(formatEndpoint(destination.address, destination.port));
  return {
    kind: 'destination',
    ...destination,
    ...(known?.(destination.weight) ?? strangerRole(destination, isForeign)),
  };
}

function strangerRole({ weight }: ObservedDestination, isForeign: boolean): Role {
  if (isForeign) return { role: 'foreign', note: null };
  return weight === 0
    ? { role: 'leaving', note: 'leaving' }
    : { role: 'unknown', note: 'not in the cluster document' };
}
