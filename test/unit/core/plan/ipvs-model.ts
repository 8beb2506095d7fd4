/** A tiny strict model of the kernel's IPVS table: the oracle for plans. Refuses what ip_vs would refuse. */
import {
  formatServiceKey,
  type DesiredService,
  type IpvsDestination,
  type IpvsTableOperation,
  type IpvsService,
  type IpvsTable,
  type ObservedDestination,
} from '../../../../src/model/kernel.ts';
import { serviceKeyOf } from '../../../../src/core/plan/ipvs-plan.ts';

type Entry = { service: IpvsService; destinations: Map<string, IpvsDestination> };

const NONE = { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };

type ModelConnections = Pick<
  ObservedDestination,
  'activeConnections' | 'inactiveConnections' | 'persistentConnections'
>;

const IDLE: ModelConnections = {
  activeConnections: 0,
  inactiveConnections: 0,
  persistentConnections: 0,
};

export class IpvsModel {
  readonly #entries = new Map<string, Entry>();
  readonly #connections = new Map<string, ModelConnections>();

  static of(services: readonly DesiredService[]): IpvsModel {
    const model = new IpvsModel();
    for (const { destinations, ...service } of services) {
      model.apply({ op: 'add-service', service });
      for (const destination of destinations)
        model.apply({ op: 'add-destination', service: service.key, destination });
    }
    return model;
  }

  apply(operation: IpvsTableOperation): void {
    const key = formatServiceKey(serviceKeyOf(operation));
    const entry = this.#entries.get(key);
    if (operation.op === 'add-service') {
      if (entry !== undefined) throw new Error(`EEXIST ${key}`);
      this.#entries.set(key, { service: operation.service, destinations: new Map() });
      return;
    }
    if (entry === undefined) throw new Error(`ESRCH ${operation.op} ${key}`);
    if ('destination' in operation) applyToDestination(entry, operation);
    else if (operation.op === 'delete-service') this.#entries.delete(key);
    else entry.service = operation.service;
  }

  dump(): IpvsTable {
    const services = [...this.#entries.values()].map(({ service, destinations }) => ({
      ...service,
      flags: service.flags | 2,
      counters: NONE,
      rates: NONE,
      destinations: [...destinations.values()].map((destination) => ({
        ...destination,
        ...IDLE,
        ...this.#connections.get(`${formatServiceKey(service.key)} ${destination.address}`),
        counters: NONE,
        rates: NONE,
      })),
    }));
    return { services };
  }

  /** Of one destination, by the name of its service and its address. */
  setConnections(key: string, address: string, connections: Partial<ModelConnections>): void {
    this.#connections.set(`${key} ${address}`, { ...IDLE, ...connections });
  }

  /** Sum of the weights that take new connections; null where there is no such service. */
  weightOf(key: string): number | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    return [...entry.destinations.values()].reduce((sum, { weight }) => sum + weight, 0);
  }
}

function applyToDestination(
  entry: Entry,
  operation: Extract<IpvsTableOperation, { destination: unknown }>,
): void {
  const { address, port } = operation.destination;
  const id = `${address} ${port}`;
  const isThere = entry.destinations.has(id);
  if (isThere !== (operation.op !== 'add-destination'))
    throw new Error(`${isThere ? 'EEXIST' : 'ENOENT'} ${operation.op} ${id}`);
  if (operation.op === 'delete-destination') entry.destinations.delete(id);
  else entry.destinations.set(id, operation.destination);
}
