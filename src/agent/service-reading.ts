/** What the metrics tell of services and real servers, read off the last pass; made while it is read. */
import { realServerKey } from '../core/health/checks.ts';
import type { ClusterSpec, VirtualService } from '../model/cluster.ts';
import { formatServiceKey, type ObservedService } from '../model/kernel.ts';
import type {
  HealthReading,
  RealServerReading,
  ServiceReading,
  ServicesReading,
} from '../ports/service-reading.ts';
import { countRealServers } from './ipvs-status.ts';
import type { ReconcileState } from './reconcile-state.ts';
import { observedDestinations, sumTraffic } from './service-status.ts';

type Input = {
  readonly spec: ClusterSpec | null;
  readonly reconcile: ReconcileState;
  /** By `realServerKey`. Absent: nothing is known of checks. */
  readonly health?: (realServer: string) => HealthReading | null;
};

export const readServices = (input: Input): ServicesReading => ({
  services: () => services(input),
  realServers: countRealServers(input.spec),
});

type Table = ReadonlyMap<string, ObservedService>;

function* services({ spec, reconcile, health = () => null }: Input): Generator<ServiceReading> {
  const table: Table = new Map(
    (reconcile.table?.services ?? []).map((one) => [formatServiceKey(one.key), one]),
  );
  const draining = drainingOf(reconcile);
  for (const service of spec?.services ?? []) {
    const explanation = reconcile.serviceExplanations.get(service.id);
    const sum = sumTraffic(service.keys.flatMap((key) => table.get(formatServiceKey(key)) ?? []));
    yield {
      service: service.id,
      quorum: quorumOf(explanation),
      isSorryActive: reconcile.sorryActive.has(service.id),
      isFailOpen: explanation?.failOpen.isOpen ?? false,
      draining: draining.get(service.id)?.size ?? 0,
      traffic:
        sum === null
          ? null
          : {
              active: sum.connections.active,
              inactive: sum.connections.inactive,
              templates: sum.connections.persistent,
              counters: sum.counters,
              rates: sum.rates,
            },
      realServers: () => realServers(service, reconcile, table, health),
    };
  }
}

/** Real servers by service: one drains in each of its IPVS services. */
function drainingOf({ drains }: ReconcileState): ReadonlyMap<string, ReadonlySet<string>> {
  const draining = new Map<string, Set<string>>();
  for (const { service, realServer, end } of drains.values()) {
    if (end !== null) continue;
    const servers = draining.get(service) ?? new Set();
    draining.set(service, servers.add(realServer));
  }
  return draining;
}

function quorumOf(
  explanation: ReturnType<ReconcileState['serviceExplanations']['get']>,
): ServiceReading['quorum'] {
  if (explanation === undefined || !explanation.isHere) return null;
  const { isUp, live, upAt, downBelow } = explanation.quorum;
  return { isUp, live, needed: isUp ? downBelow : upAt };
}

function* realServers(
  service: VirtualService,
  { explanations }: ReconcileState,
  table: Table,
  health: NonNullable<Input['health']>,
): Generator<RealServerReading> {
  const observed = observedDestinations(service, table);
  const told = new Set<string>();
  for (const { id } of service.realServers) {
    const explanation = explanations.get(realServerKey(service.id, id));
    // Two entries with one id are one real server: a series twice would be no text for Prometheus.
    if (explanation === undefined || told.has(id)) continue;
    told.add(id);
    const { drain, wantedWeight } = explanation;
    const one = observed.get(id);
    const left = drain === null || drain.end !== null ? null : drain.left;
    yield {
      realServer: id,
      isUp: explanation.health !== 'down',
      weight: wantedWeight ?? 0,
      health: health(realServerKey(service.id, id)),
      draining: left === null ? null : left.active + left.inactive + left.persistent,
      traffic:
        one === undefined
          ? null
          : {
              active: one.activeConnections,
              inactive: one.inactiveConnections,
              templates: one.persistentConnections,
              counters: one.counters,
              rates: one.rates,
            },
    };
  }
}
