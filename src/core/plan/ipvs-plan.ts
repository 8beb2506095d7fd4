/**
 * From the IPVS table that is wanted and the one that was dumped to the operations between them.
 * What is neither wanted nor in the ledger belongs to somebody else and is never touched.
 */
import { formatEndpoint, type IpAddress } from '../../model/address.ts';
import { runSteps } from '../../lib/steps.ts';
import type { Tunnel } from '../../model/cluster.ts';
import {
  type DesiredService,
  formatServiceKey,
  IP_VS_SVC_F_HASHED,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsDestination,
  type IpvsTableOperation,
  type IpvsService,
  type IpvsServiceKey,
  type IpvsTable,
  type ObservedService,
} from '../../model/kernel.ts';

export type IpvsPlanInput = {
  readonly desired: readonly DesiredService[];
  readonly observed: IpvsTable;
  /** The ledger: keys, as `formatServiceKey` writes them, of the services that are ours. */
  readonly owned: ReadonlySet<string>;
};

export type IpvsPlan = {
  /** To be applied in this order. */
  readonly operations: readonly IpvsTableOperation[];
  /** Wanted and there already, but not in the ledger: ours from now on. */
  readonly adopted: readonly string[];
  /** Neither wanted nor ours. */
  readonly foreign: readonly string[];
  /** How many services and destinations differ; a service that goes counts without its destinations. */
  readonly drift: { readonly services: number; readonly destinations: number };
  /** The ledger to be on disk before the operations run: what is wanted, and ours still to be deleted. */
  readonly nextOwned: ReadonlySet<string>;
};

/**
 * Traffic never meets a hole: within a service, what gets weight comes first, then what loses
 * weight, then what goes; services that are no longer wanted go last. O(services + destinations).
 * Where `desired` names a service or a destination twice the first counts.
 */
export const planIpvs = (input: IpvsPlanInput): IpvsPlan => runSteps(planIpvsSteps(input));

/** Destinations between two steps: far less than a millisecond. */
const REST_EVERY = 200;

/** The same, with a rest now and then: tens of thousands take longer than the hold loop may wait. */
export function* planIpvsSteps(input: IpvsPlanInput): Generator<undefined, IpvsPlan> {
  const observed = new Map<string, ObservedService>();
  for (const service of input.observed.services)
    observed.set(formatServiceKey(service.key), service);
  const operations: IpvsTableOperation[] = [];
  const adopted: string[] = [];
  const nextOwned = new Set<string>();
  let sinceRest = 0;
  for (const service of input.desired) {
    const key = formatServiceKey(service.key);
    if (nextOwned.has(key)) continue;
    nextOwned.add(key);
    const present = observed.get(key) ?? null;
    if (present !== null && !input.owned.has(key)) adopted.push(key);
    pushServiceOperations(operations, service, present);
    sinceRest += service.destinations.length + 1;
    if (sinceRest >= REST_EVERY) {
      sinceRest = 0;
      yield;
    }
  }
  const foreign: string[] = [];
  for (const [key, service] of observed) {
    if (nextOwned.has(key)) continue;
    if (input.owned.has(key)) {
      nextOwned.add(key);
      operations.push({ op: 'delete-service', service: service.key });
    } else foreign.push(key);
  }
  return { operations, adopted, foreign, drift: countDifferences(operations), nextOwned };
}

/** The key of the service an operation works on. */
export function serviceKeyOf(operation: IpvsTableOperation): IpvsServiceKey {
  return 'key' in operation.service ? operation.service.key : operation.service;
}

function pushServiceOperations(
  operations: IpvsTableOperation[],
  desired: DesiredService,
  present: ObservedService | null,
): void {
  const { destinations, ...service } = desired;
  if (present === null) operations.push({ op: 'add-service', service });
  else if (!equalService(desired, present)) operations.push({ op: 'set-service', service });
  pushDestinationOperations(operations, service.key, destinations, present?.destinations ?? []);
}

function pushDestinationOperations(
  operations: IpvsTableOperation[],
  service: IpvsServiceKey,
  desired: readonly IpvsDestination[],
  present: readonly IpvsDestination[],
): void {
  if (isAsWanted(desired, present)) return;
  const presentByEndpoint = new Map<string, IpvsDestination>();
  for (const destination of present) presentByEndpoint.set(endpointOf(destination), destination);
  const wanted = new Set<string>();
  const lowering: IpvsTableOperation[] = [];
  for (const destination of desired) {
    const endpoint = endpointOf(destination);
    if (wanted.has(endpoint)) continue;
    wanted.add(endpoint);
    const now = presentByEndpoint.get(endpoint);
    if (now !== undefined && equalDestination(destination, now)) continue;
    const op = now === undefined ? 'add-destination' : 'set-destination';
    const isRaise = destination.weight > (now?.weight ?? 0);
    (isRaise ? operations : lowering).push({ op, service, destination });
  }
  for (const operation of lowering) operations.push(operation);
  for (const [endpoint, { address, port }] of presentByEndpoint) {
    if (wanted.has(endpoint)) continue;
    operations.push({ op: 'delete-destination', service, destination: { address, port } });
  }
}

/**
 * In our order, or the reverse, as the kernel has what was added in one go: nearly always, and no text is
 * made of tens of thousands of destinations.
 */
function isAsWanted(
  desired: readonly IpvsDestination[],
  present: readonly IpvsDestination[],
): boolean {
  const { length } = desired;
  if (length !== present.length) return false;
  const isEqualAt = (destination: IpvsDestination, i: number): boolean => {
    const other = present[i];
    return other !== undefined && equalDestination(destination, other);
  };
  return (
    desired.every(isEqualAt) ||
    desired.every((destination, i) => isEqualAt(destination, length - 1 - i))
  );
}

const endpointOf = (destination: { readonly address: IpAddress; readonly port: number }): string =>
  formatEndpoint(destination.address, destination.port);

/** Equal as far as the kernel forwards; what has no effect without persistence does not count. */
export function equalService(a: IpvsService, b: IpvsService): boolean {
  const flags = a.flags & ~IP_VS_SVC_F_HASHED;
  if (a.scheduler !== b.scheduler || flags !== (b.flags & ~IP_VS_SVC_F_HASHED)) return false;
  if ((flags & IP_VS_SVC_F_PERSISTENT) === 0) return true;
  return (
    a.timeoutS === b.timeoutS &&
    a.persistencePrefix === b.persistencePrefix &&
    a.persistenceEngine === b.persistenceEngine
  );
}

export function equalDestination(a: IpvsDestination, b: IpvsDestination): boolean {
  return (
    a.address === b.address &&
    a.port === b.port &&
    a.forward === b.forward &&
    equalTunnel(a.tunnel, b.tunnel) &&
    a.weight === b.weight &&
    a.upperThreshold === b.upperThreshold &&
    a.lowerThreshold === b.lowerThreshold
  );
}

function equalTunnel(a: Tunnel | null, b: Tunnel | null): boolean {
  if (a === null || b === null) return a === b;
  return a.type === b.type && a.port === b.port && a.checksum === b.checksum;
}

/** Both wanted the same, in the same order. */
export function equalDesiredService(a: DesiredService, b: DesiredService): boolean {
  if (a === b) return true;
  return (
    equalService(a, b) &&
    a.destinations.length === b.destinations.length &&
    a.destinations.every((destination, i) => {
      const other = b.destinations[i];
      return other !== undefined && equalDestination(destination, other);
    })
  );
}

function countDifferences(operations: readonly IpvsTableOperation[]): IpvsPlan['drift'] {
  let destinations = 0;
  for (const { op } of operations)
    if (op === 'add-destination' || op === 'set-destination' || op === 'delete-destination')
      destinations++;
  return { services: operations.length - destinations, destinations };
}
