/** What this director's IPVS table shall contain: a pure projection of spec, overrides and statuses. */
import { formatEndpoint } from '../../model/address.ts';
import {
  type ClusterSpec,
  familyOfKey,
  type ForwardTarget,
  portIn,
  type RealServer,
  type VirtualService,
} from '../../model/cluster.ts';
import type { AdminState, CheckStatus, RealServerOverride } from '../../model/health.ts';
import type { CheckId, RealServerId, ServiceId } from '../../model/ids.ts';
import {
  type DesiredService,
  formatServiceKey,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsDestination,
  type IpvsService,
  type IpvsServiceKey,
  schedulerFlagBits,
} from '../../model/kernel.ts';
import { realServerKey } from '../health/checks.ts';

export type DesiredInput = {
  readonly spec: ClusterSpec;
  /** `deriveChecks(spec).byRealServer`. */
  readonly checks: ReadonlyMap<string, CheckId>;
  readonly overrides: readonly RealServerOverride[];
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
};

/** Why a real server has the weight it has; a closed list. */
export type WeightReason =
  | 'up'
  | 'unchecked' // no check is configured: counts as up
  | 'down-removed'
  | 'down-inhibited' // weight 0 instead of removal: inhibitOnFailure
  | 'admin-drain'
  | 'admin-maint'
  | 'duplicate'; // the same address and port, or the same service, stands earlier in the spec

export type Explanation = {
  readonly service: ServiceId;
  readonly realServer: RealServerId;
  /** Null: not to be in the table. */
  readonly wantedWeight: number | null;
  readonly why: WeightReason;
  readonly health: 'up' | 'down' | 'unchecked';
  readonly basis: CheckStatus['basis'] | 'unchecked';
  readonly admin: AdminState;
};

export type Desired = {
  /** In the order of the spec, each service key once, each destination of a service once. */
  readonly services: readonly DesiredService[];
  /** By `realServerKey`: every real server of the spec. */
  readonly explanations: ReadonlyMap<string, Explanation>;
  /** Services that their sorry server answers at present. */
  readonly sorryActive: ReadonlySet<ServiceId>;
};

/** Same input, same output, in the same order, on every director. */
export function deriveDesired(input: DesiredInput): Desired {
  const overrides = new Map(
    input.overrides.map((entry) => [realServerKey(entry.service, entry.realServer), entry]),
  );
  const services = new Map<string, DesiredService>();
  const explanations = new Map<string, Explanation>();
  const sorryActive = new Set<ServiceId>();
  for (const service of input.spec.services)
    for (const key of service.keys) {
      const isDuplicate = services.has(formatServiceKey(key));
      const destinations = new Map<string, IpvsDestination>();
      const seen = new Set<string>();
      for (const server of service.realServers) {
        const id = realServerKey(service.id, server.id);
        const endpoint = formatEndpoint(server.address, portIn(key, server));
        const isTaken = isDuplicate || seen.has(endpoint);
        seen.add(endpoint);
        const check = input.checks.get(id);
        const status = check === undefined ? 'unchecked' : (input.statuses.get(check) ?? null);
        const override = overrides.get(id) ?? null;
        const explanation = explain(service.id, server, { status, override, isTaken });
        if (explanation.wantedWeight !== null)
          destinations.set(endpoint, toDestination(key, server, explanation.wantedWeight, server));
        // Two entries with one id are one real server: the first explains it.
        if (!explanations.has(id)) explanations.set(id, explanation);
      }
      if (isDuplicate) continue;
      if (addSorryServer(service, key, destinations)) sorryActive.add(service.id);
      services.set(formatServiceKey(key), {
        ...deriveServiceFields(service, key),
        destinations: [...destinations.values()],
      });
    }
  return { services: [...services.values()], explanations, sorryActive };
}

function deriveServiceFields(service: VirtualService, key: IpvsServiceKey): IpvsService {
  const { persistence } = service;
  return {
    key,
    scheduler: service.scheduler,
    flags:
      (persistence === null ? 0 : IP_VS_SVC_F_PERSISTENT) |
      (service.ops ? IP_VS_SVC_F_ONEPACKET : 0) |
      schedulerFlagBits(service.schedulerFlags),
    timeoutS: persistence?.timeoutS ?? 0,
    persistencePrefix: persistence?.prefix ?? (familyOfKey(key) === 4 ? 32 : 128),
    persistenceEngine: persistence?.engine ?? null,
  };
}

type Facts = {
  /** Null: checked, and nothing is known yet. */
  readonly status: CheckStatus | 'unchecked' | null;
  readonly override: RealServerOverride | null;
  /** Its address and port, or its whole service, stand earlier in the spec. */
  readonly isTaken: boolean;
};

function explain(service: ServiceId, server: RealServer, facts: Facts): Explanation {
  const { override, isTaken } = facts;
  const { health, basis } = deriveHealth(server, facts.status);
  const admin = override?.state ?? 'ready';
  const why = isTaken ? 'duplicate' : deriveReason(server, health, admin);
  const weight = override?.weight ?? server.weight;
  const wantedWeight = deriveWeight(why, weight);
  return { service, realServer: server.id, wantedWeight, why, health, basis, admin };
}

type Health = Pick<Explanation, 'health' | 'basis'>;

const UNCHECKED: Health = { health: 'unchecked', basis: 'unchecked' };

/** What a real server is taken for; status null: checked, and nothing is known yet. */
export function deriveHealth(
  server: Pick<RealServer, 'alpha'>,
  status: CheckStatus | 'unchecked' | null,
): Health {
  if (status === 'unchecked') return UNCHECKED;
  // Before the first vote each real server has its own view, also where two share the check.
  if (status === null || status.basis === 'initial')
    return { health: server.alpha ? 'down' : 'up', basis: 'initial' };
  return { health: status.isUp ? 'up' : 'down', basis: status.basis };
}

function deriveReason(
  server: RealServer,
  health: Explanation['health'],
  admin: AdminState,
): WeightReason {
  if (admin === 'maint') return 'admin-maint';
  if (health === 'down') return server.inhibitOnFailure ? 'down-inhibited' : 'down-removed';
  if (admin === 'drain') return 'admin-drain';
  return health === 'unchecked' ? 'unchecked' : 'up';
}

function deriveWeight(why: WeightReason, weight: number): number | null {
  switch (why) {
    case 'up':
    case 'unchecked':
      return weight;
    case 'down-inhibited':
    case 'admin-drain':
      return 0;
    case 'down-removed':
    case 'admin-maint':
    case 'duplicate':
      return null;
  }
}

/** Adds the sorry server where nothing else would get a new connection; true where it was added. */
function addSorryServer(
  service: VirtualService,
  key: IpvsServiceKey,
  destinations: Map<string, IpvsDestination>,
): boolean {
  const sorry = service.sorryServer;
  if (sorry === null) return false;
  for (const destination of destinations.values()) if (destination.weight > 0) return false;
  const endpoint = formatEndpoint(sorry.address, portIn(key, sorry));
  // The same address and port as a drained or inhibited real server: that stays as it is.
  if (destinations.has(endpoint)) return false;
  // With weight 0 it could not do the only thing it is there for.
  destinations.set(endpoint, toDestination(key, sorry, Math.max(1, sorry.weight), NO_THRESHOLDS));
  return true;
}

type Thresholds = Pick<RealServer, 'upperThreshold' | 'lowerThreshold'>;

const NO_THRESHOLDS: Thresholds = { upperThreshold: 0, lowerThreshold: 0 };

function toDestination(
  key: IpvsServiceKey,
  target: ForwardTarget,
  weight: number,
  { upperThreshold, lowerThreshold }: Thresholds,
): IpvsDestination {
  const { address, forward, tunnel } = target;
  const port = portIn(key, target);
  return { address, port, forward, tunnel, weight, upperThreshold, lowerThreshold };
}
