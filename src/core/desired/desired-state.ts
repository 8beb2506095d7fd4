/** What this director's IPVS table shall contain: a pure projection of spec, overrides and statuses. */
import { runSteps } from '../../lib/steps.ts';
import { formatEndpoint, type IpAddress } from '../../model/address.ts';
import {
  type ClusterSpec,
  familyOfKey,
  type ForwardTarget,
  portIn,
  type RealServer,
  type VirtualService,
} from '../../model/cluster.ts';
import type { CheckStatus, DynamicWeight, RealServerOverride } from '../../model/health.ts';
import type { CheckId, GroupId, ServiceId } from '../../model/ids.ts';
import {
  type DesiredService,
  formatServiceKey,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  type IpvsDestination,
  type IpvsService,
  type IpvsServiceKey,
  type IpvsTable,
  schedulerFlagBits,
} from '../../model/kernel.ts';
import { realServerKey } from '../health/checks.ts';
import { decideService, type ServiceDecision } from '../service/decide-service.ts';
import { drainKey, type Drains, nextDeadlineOf, NO_DRAINS } from '../service/drain.ts';
import { deriveProgress, type Progress } from '../service/drain-progress.ts';
import type { Explanation, ServiceExplanation, SorryState } from '../service/explanation.ts';
import {
  decideStandby,
  isOwnTarget,
  type OwnServing,
  type OwnStandby,
} from '../service/own-standby.ts';

export { deriveHealth } from '../service/decide-service.ts';
export type { Explanation, ServiceExplanation, WeightReason } from '../service/explanation.ts';

export type DesiredInput = {
  readonly spec: ClusterSpec;
  /** `deriveChecks(spec).byRealServer`. */
  readonly checks: ReadonlyMap<string, CheckId>;
  readonly overrides: readonly RealServerOverride[];
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  /** Absent: nothing beside is known (`NO_FACTS`). */
  readonly facts?: DesiredFacts;
};

/** What changes more often than the document and the statuses. */
export type DesiredFacts = {
  /** Wall clock, ms: the votes of other directors tell since when, and each has a clock of its own. */
  readonly nowMs: number;
  /** Since when a check is up (`deriveUpSince`), on the same clock; none: no slow start. */
  readonly upSince: ReadonlyMap<CheckId, number>;
  readonly dynamicWeights: ReadonlyMap<CheckId, DynamicWeight>;
  readonly drains: Drains;
  /** What was decided before (`Desired.quorums`), or is read from the table (`recallQuorums`). */
  readonly quorums: ReadonlyMap<ServiceId, boolean>;
  /** Groups that this director holds or is about to open: all that a cold standby has. Null: every group. */
  readonly groupsHere: ReadonlySet<GroupId> | null;
  /** What this director has of services that it is a real server of; null: of none. */
  readonly own: OwnServing | null;
};

export const NO_FACTS: DesiredFacts = {
  nowMs: 0,
  upSince: new Map(),
  dynamicWeights: new Map(),
  drains: NO_DRAINS,
  quorums: new Map(),
  groupsHere: null,
  own: null,
};

export type Desired = {
  /** In the order of the spec, each service key once, each destination of a service once. */
  readonly services: readonly DesiredService[];
  /** By `realServerKey`: every real server of the spec. */
  readonly explanations: ReadonlyMap<string, Explanation>;
  readonly serviceExplanations: ReadonlyMap<ServiceId, ServiceExplanation>;
  /** Services that their sorry server answers at present. */
  readonly sorryActive: ReadonlySet<ServiceId>;
  /** For the next time. */
  readonly quorums: ReadonlyMap<ServiceId, boolean>;
  /** When time alone changes something of this, on the clock of `nowMs`; null: never. */
  readonly dueAtMs: number | null;
};

export const NOTHING_DESIRED: Desired = {
  services: [],
  explanations: new Map(),
  serviceExplanations: new Map(),
  sorryActive: new Set(),
  quorums: new Map(),
  dueAtMs: null,
};

/** Same input, same output, in the same order, on every director. */
export const deriveDesired = (input: DesiredInput): Desired => runSteps(deriveDesiredSteps(input));

/** Real servers and destinations between two steps: about a millisecond. */
const REST_EVERY = 200;

/** The same, with a rest now and then: tens of thousands take longer than the hold loop may wait. */
export function* deriveDesiredSteps(input: DesiredInput): Generator<undefined, Desired> {
  const facts = input.facts ?? NO_FACTS;
  const overrides = new Map(
    input.overrides.map((entry) => [realServerKey(entry.service, entry.realServer), entry]),
  );
  const progress = deriveProgress(facts.drains);
  const made = emptyDesired();
  let sinceRest = 0;
  for (const service of input.spec.services) {
    const keys = service.keys.filter((key) => !made.services.has(formatServiceKey(key)));
    const standby = decideStandby(service, facts.own);
    const decision = decideService(service, {
      checks: input.checks,
      statuses: input.statuses,
      overrides,
      dynamicWeights: facts.dynamicWeights,
      upSince: facts.upSince,
      nowMs: facts.nowMs,
      drains: progress.byRealServer,
      wasUp: facts.quorums.get(service.id) ?? null,
      isHere: standby !== null || isHere(input.spec, service, facts),
      standby,
      duplicates: findDuplicates(service, keys[0] ?? null),
    });
    sinceRest += service.realServers.length;
    let isAnswering = false;
    for (const key of decision.isHere ? keys : []) {
      const added = addService(made.services, {
        service,
        key,
        decision,
        standby,
        drains: progress,
      });
      isAnswering = added || isAnswering;
      sinceRest += service.realServers.length;
      if (sinceRest >= REST_EVERY) {
        sinceRest = 0;
        yield;
      }
    }
    explain(made, { service, decision, progress, isAnswering });
    if (decision.nextInMs !== null) made.dueAtMs.push(facts.nowMs + decision.nextInMs);
    if (sinceRest >= REST_EVERY) {
      sinceRest = 0;
      yield;
    }
  }
  const deadline = nextDeadlineOf(facts.drains);
  if (deadline !== null) made.dueAtMs.push(deadline);
  return {
    ...made,
    services: [...made.services.values()],
    dueAtMs: made.dueAtMs.length === 0 ? null : made.dueAtMs.reduce((a, b) => Math.min(a, b)),
  };
}

/**
 * Whether `deriveDesired(input)` would be `desired` again, which came of `last`: nothing else came in, and
 * time has not changed anything yet. What was decided of quorums decides the same again.
 */
export function isStillDesired(last: DesiredInput, desired: Desired, input: DesiredInput): boolean {
  const was = last.facts ?? NO_FACTS;
  const now = input.facts ?? NO_FACTS;
  return (
    last.spec === input.spec &&
    last.checks === input.checks &&
    last.statuses === input.statuses &&
    last.overrides.length === input.overrides.length &&
    last.overrides.every((override, i) => override === input.overrides[i]) &&
    was.upSince === now.upSince &&
    was.dynamicWeights === now.dynamicWeights &&
    was.drains === now.drains &&
    was.groupsHere === now.groupsHere &&
    was.own === now.own &&
    (now.quorums === was.quorums || now.quorums === desired.quorums) &&
    // A clock that was set back knows nothing of what is due.
    now.nowMs >= was.nowMs &&
    (desired.dueAtMs === null || now.nowMs < desired.dueAtMs)
  );
}

/**
 * What the table tells of quorums after a restart: a service that its sorry server answers had lost it,
 * and one whose real servers take connections beside a sorry server that does not had it. Where this
 * director alone takes them it may be that it did not hold the group: that tells nothing.
 */
export function recallQuorums(
  spec: ClusterSpec,
  table: IpvsTable,
  ownAddresses: ReadonlySet<IpAddress> = NOBODY,
): Map<ServiceId, boolean> {
  const present = new Map(table.services.map((one) => [formatServiceKey(one.key), one]));
  const quorums = new Map<ServiceId, boolean>();
  for (const service of spec.services) {
    const { sorryServer } = service;
    const [key] = service.keys;
    const observed = key === undefined ? undefined : present.get(formatServiceKey(key));
    if (sorryServer === null || key === undefined || observed === undefined) continue;
    const sorry = endpointIn(key, sorryServer);
    if (service.realServers.some((server) => endpointIn(key, server) === sorry)) continue;
    const busy = observed.destinations.filter(({ weight }) => weight > 0);
    if (busy.every((one) => isOwnTarget(one, ownAddresses))) continue;
    quorums.set(service.id, !busy.some((one) => formatEndpoint(one.address, one.port) === sorry));
  }
  return quorums;
}

const NOBODY: ReadonlySet<IpAddress> = new Set();

type Made = {
  readonly services: Map<string, DesiredService>;
  readonly explanations: Map<string, Explanation>;
  readonly serviceExplanations: Map<ServiceId, ServiceExplanation>;
  readonly sorryActive: Set<ServiceId>;
  readonly quorums: Map<ServiceId, boolean>;
  readonly dueAtMs: number[];
};

const emptyDesired = (): Made => ({
  services: new Map(),
  explanations: new Map(),
  serviceExplanations: new Map(),
  sorryActive: new Set(),
  quorums: new Map(),
  dueAtMs: [],
});

const isHere = (spec: ClusterSpec, { group }: VirtualService, facts: DesiredFacts): boolean =>
  spec.ipvs.standby === 'warm' || facts.groupsHere === null || facts.groupsHere.has(group);

const endpointIn = (key: IpvsServiceKey, target: ForwardTarget): string =>
  formatEndpoint(target.address, portIn(key, target));

/** Indices of real servers that have no entry of their own; key null: the whole service has none. */
function findDuplicates(service: VirtualService, key: IpvsServiceKey | null): ReadonlySet<number> {
  if (key === null) return new Set(service.realServers.keys());
  const duplicates = new Set<number>();
  const seen = new Set<string>();
  for (const [i, server] of service.realServers.entries()) {
    const endpoint = endpointIn(key, server);
    if (seen.has(endpoint)) duplicates.add(i);
    seen.add(endpoint);
  }
  return duplicates;
}

type Additions = {
  readonly service: VirtualService;
  readonly key: IpvsServiceKey;
  readonly decision: ServiceDecision;
  readonly standby: OwnStandby | null;
  readonly drains: Progress;
};

/** Adds the IPVS service of one key; true where the sorry server answers in it. */
function addService(
  services: Map<string, DesiredService>,
  { service, key, decision, standby, drains }: Additions,
): boolean {
  const name = formatServiceKey(key);
  const destinations = new Map<string, IpvsDestination>();
  if (standby !== null) addOwnSorryServer(service, key, standby, destinations);
  for (const [i, server] of service.realServers.entries()) {
    const weight = decision.explanations[i]?.wantedWeight ?? null;
    const endpoint = endpointIn(key, server);
    // One real server drains in each IPVS service on its own.
    const isDrained =
      decision.explanations[i]?.why === 'admin-drain' && drains.isOver(drainKey(name, endpoint));
    if (weight !== null && !isDrained && !destinations.has(endpoint))
      destinations.set(endpoint, toDestination(key, server, weight, server));
  }
  for (const { destination } of standby?.stage === 'own' ? [] : drains.leaving(name)) {
    const endpoint = formatEndpoint(destination.address, destination.port);
    if (!destinations.has(endpoint)) destinations.set(endpoint, destination);
  }
  const isAnswering = addSorryServer(service, key, decision.sorry, destinations);
  services.set(name, {
    ...deriveServiceFields(service, key),
    destinations: [...destinations.values()],
  });
  return isAnswering;
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

/** Where this director is the sorry server, the holder sends here what no real server is there for. */
function addOwnSorryServer(
  { sorryServer }: VirtualService,
  key: IpvsServiceKey,
  { addresses }: OwnStandby,
  destinations: Map<string, IpvsDestination>,
): void {
  if (sorryServer === null || !isOwnTarget(sorryServer, addresses)) return;
  const destination = toDestination(key, sorryServer, 1, NO_THRESHOLDS);
  destinations.set(endpointIn(key, sorryServer), destination);
}

/** True where it answers. */
function addSorryServer(
  service: VirtualService,
  key: IpvsServiceKey,
  state: SorryState,
  destinations: Map<string, IpvsDestination>,
): boolean {
  const sorry = service.sorryServer;
  if (sorry === null || (state !== 'answering' && state !== 'inhibited')) return false;
  const endpoint = endpointIn(key, sorry);
  // The same address and port as a real server that stays: that one stays as it is.
  if (destinations.has(endpoint)) return false;
  const isAnswering = state === 'answering';
  // With weight 0 it could not do the only thing it is there for.
  const weight = isAnswering ? Math.max(1, sorry.weight) : 0;
  destinations.set(endpoint, toDestination(key, sorry, weight, NO_THRESHOLDS));
  return isAnswering;
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

type Explained = {
  readonly service: VirtualService;
  readonly decision: ServiceDecision;
  readonly progress: Progress;
  readonly isAnswering: boolean;
};

function explain(made: Made, { service, decision, progress, isAnswering }: Explained): void {
  for (const explanation of decision.explanations) {
    const id = realServerKey(service.id, explanation.realServer);
    // Two entries with one id are one real server: the first explains it.
    if (!made.explanations.has(id)) made.explanations.set(id, explanation);
  }
  if (isAnswering) made.sorryActive.add(service.id);
  made.quorums.set(service.id, decision.quorum.isUp);
  const { isHere: isServedHere, standby, quorum, failOpen, sorry } = decision;
  made.serviceExplanations.set(service.id, {
    service: service.id,
    isHere: isServedHere,
    standby,
    quorum,
    failOpen,
    sorry,
    leaving: progress.leavingOf(service.id),
  });
}
