/** The virtual services of the status document: what is wanted of each, what the kernel has, and why. */
import { deriveHealth } from '../core/desired/desired-state.ts';
import { realServerKey } from '../core/health/checks.ts';
import type { VotesOn } from '../core/health/compound.ts';
import type {
  DrainProgress,
  Explanation,
  ServiceExplanation,
} from '../core/service/explanation.ts';
import { describeQuorum, explainRealServer, explainService } from '../core/service/words.ts';
import { runSteps } from '../lib/steps.ts';
import {
  type ClusterSpec,
  portIn,
  type RealServer,
  type VirtualService,
} from '../model/cluster.ts';
import type { CheckStatus, RealServerOverride } from '../model/health.ts';
import type { CheckId, ServiceId } from '../model/ids.ts';
import {
  formatServiceKey,
  type IpvsCounters,
  type ObservedDestination,
  type ObservedService,
} from '../model/kernel.ts';
import type { RealServerStatus, ServiceStatus } from '../model/status.ts';
import type { DrainStatus } from '../model/status-ipvs.ts';
import type { MarkState } from './mark-loop.ts';
import type { ReconcileState } from './reconcile-state.ts';

export type ServiceStatusInput = {
  readonly spec: ClusterSpec | null;
  readonly reconcile: ReconcileState;
  readonly marks: MarkState | null;
  /** Counters of each real server are told up to so many. */
  readonly realServerLimit: number;
  readonly quorumForMs: (service: ServiceId) => number | null;
  readonly checks: ReadonlyMap<string, CheckId>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  readonly votesOn: VotesOn;
  readonly overrides: readonly RealServerOverride[];
};

/** Real servers, or destinations that are looked up for them, between two rests of those who take their time. */
const REST_EVERY = 100;

/** All at once: for documents of some hundred real servers. */
export const serviceStatuses = (input: ServiceStatusInput): ServiceStatus[] =>
  runSteps(serviceStatusSteps(input));

/** The same, with a rest now and then: tens of thousands take longer than the hold loop may wait. */
export function* serviceStatusSteps(
  input: ServiceStatusInput,
): Generator<undefined, ServiceStatus[]> {
  const table = new Map(
    (input.reconcile.table?.services ?? []).map((one) => [formatServiceKey(one.key), one]),
  );
  const overrides = new Map(
    input.overrides.map((one) => [realServerKey(one.service, one.realServer), one]),
  );
  const services = input.spec?.services ?? [];
  const count = services.reduce((sum, { realServers }) => sum + realServers.length, 0);
  const lookup = { input, table, overrides, isEachCounted: count <= input.realServerLimit };
  const statuses: ServiceStatus[] = [];
  let sinceRest = 0;
  for (const service of services) {
    const destinations = yield* observedDestinationSteps(service, table);
    const realServers: RealServerStatus[] = [];
    for (const server of service.realServers) {
      realServers.push(realServerStatus(lookup, service, server, destinations));
      if (++sinceRest % REST_EVERY === 0) yield;
    }
    statuses.push(serviceStatus(lookup, service, realServers));
    if (++sinceRest % REST_EVERY === 0) yield;
  }
  return statuses;
}

/** What the services are looked up in, made once for all of them. */
type Lookup = {
  readonly input: ServiceStatusInput;
  readonly table: ReadonlyMap<string, ObservedService>;
  readonly overrides: ReadonlyMap<string, RealServerOverride>;
  /** Counters and rates of each real server are told: there are not too many of them. */
  readonly isEachCounted: boolean;
};

function serviceStatus(
  lookup: Lookup,
  service: VirtualService,
  realServers: RealServerStatus[],
): ServiceStatus {
  const { input, table } = lookup;
  const keys = service.keys.map(formatServiceKey);
  const { problems, serviceExplanations } = input.reconcile;
  const first = service.keys[0];
  const endpoint = first?.kind === 'address' ? first : null;
  const explanation = serviceExplanations.get(service.id) ?? null;
  const isHere = explanation?.isHere ?? true;
  return {
    name: service.id,
    group: service.group,
    protocol: endpoint?.protocol ?? null,
    address: endpoint?.address ?? null,
    port: endpoint?.port ?? null,
    keys,
    scheduler: service.scheduler,
    isProgrammed: isHere && keys.every((key) => table.has(key) && !problems.has(key)),
    problem: problemOf(service, keys, input),
    realServers,
    sorryServer: sorryStatus(service, input.reconcile, explanation),
    ...(explanation === null ? {} : explained(service, explanation, input)),
    ...sumTraffic(keys.flatMap((key) => table.get(key) ?? [])),
  };
}

function problemOf(
  { id }: VirtualService,
  keys: readonly string[],
  { reconcile, marks }: ServiceStatusInput,
): string | null {
  const inTable = keys.map((key) => reconcile.problems.get(key)).find((text) => text !== undefined);
  return inTable ?? marks?.problems.get(id) ?? null;
}

function sorryStatus(
  { id, sorryServer }: VirtualService,
  { sorryActive }: ReconcileState,
  explanation: ServiceExplanation | null,
): ServiceStatus['sorryServer'] {
  if (sorryServer === null) return null;
  const state = explanation === null ? {} : { state: explanation.sorry };
  return { id: sorryServer.id, isActive: sorryActive.has(id), ...state };
}

function explained(
  { id }: VirtualService,
  explanation: ServiceExplanation,
  { reconcile, quorumForMs }: ServiceStatusInput,
): Pick<ServiceStatus, 'isHere' | 'explanation' | 'quorum' | 'failOpen' | 'leaving'> {
  const { isHere, quorum, failOpen, leaving } = explanation;
  const { percent, isOpen, up, down } = failOpen;
  const { drainNowMs } = reconcile;
  return {
    isHere,
    explanation: [...explainService(explanation)],
    quorum: {
      isUp: quorum.isUp,
      reason: quorum.reason,
      live: quorum.live,
      total: quorum.total,
      upAt: quorum.upAt,
      downBelow: quorum.downBelow,
      isLowered: quorum.isLowered,
      forMs: quorumForMs(id),
    },
    failOpen: percent === null ? null : { isOpen, percent, up, down },
    leaving: leaving.map(({ realServer, ...one }) => ({
      id: realServer,
      ...drainStatus(one, drainNowMs),
    })),
  };
}

export function drainStatus(
  { cause, sinceMs, deadlineAtMs, first, left, end }: DrainProgress,
  nowMs: number,
): DrainStatus {
  return {
    cause,
    forMs: Math.max(0, Math.round(nowMs - sinceMs)),
    deadlineInMs: deadlineAtMs === null ? null : Math.max(0, Math.round(deadlineAtMs - nowMs)),
    first: first === null ? null : { ...first },
    left: left === null ? null : { ...left },
    end,
  };
}

const NONE: IpvsCounters = {
  connections: 0,
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
};

const addTraffic = (a: IpvsCounters, b: IpvsCounters): IpvsCounters => ({
  connections: a.connections + b.connections,
  packetsIn: a.packetsIn + b.packetsIn,
  packetsOut: a.packetsOut + b.packetsOut,
  bytesIn: a.bytesIn + b.bytesIn,
  bytesOut: a.bytesOut + b.bytesOut,
});

type TrafficSum = Required<Pick<ServiceStatus, 'connections' | 'counters' | 'rates'>>;

/** Of all IPVS services of one virtual service; null: none is in the table. */
export function sumTraffic(services: readonly ObservedService[]): TrafficSum | null {
  if (services.length === 0) return null;
  const connections = { active: 0, inactive: 0, persistent: 0 };
  let counters = NONE;
  let rates = NONE;
  for (const service of services) {
    counters = addTraffic(counters, service.counters);
    rates = addTraffic(rates, service.rates);
    for (const one of service.destinations) {
      connections.active += one.activeConnections;
      connections.inactive += one.inactiveConnections;
      connections.persistent += one.persistentConnections;
    }
  }
  return { connections, counters, rates };
}

type Observed = Omit<ObservedDestination, keyof Pick<ObservedDestination, 'address' | 'port'>>;

/** By id of the real server: summed over the keys of the service, but the weight is the first one's. */
export const observedDestinations = (
  service: VirtualService,
  table: ReadonlyMap<string, ObservedService>,
): ReadonlyMap<string, Observed> => runSteps(observedDestinationSteps(service, table));

function* observedDestinationSteps(
  service: VirtualService,
  table: ReadonlyMap<string, ObservedService>,
): Generator<undefined, ReadonlyMap<string, Observed>> {
  const found = new Map<string, Observed>();
  let sinceRest = 0;
  for (const key of service.keys) {
    sinceRest += service.realServers.length;
    if (sinceRest >= REST_EVERY) {
      sinceRest = 0;
      yield;
    }
    const byEndpoint = new Map(
      table.get(formatServiceKey(key))?.destinations.map((one) => [endpointText(one), one]),
    );
    for (const server of service.realServers) {
      const one = byEndpoint.get(endpointText({ ...server, port: portIn(key, server) }));
      if (one === undefined) continue;
      const sum = found.get(server.id);
      found.set(server.id, sum === undefined ? one : addObserved(sum, one));
    }
  }
  return found;
}

const addObserved = (sum: Observed, one: Observed): Observed => ({
  ...sum,
  activeConnections: sum.activeConnections + one.activeConnections,
  inactiveConnections: sum.inactiveConnections + one.inactiveConnections,
  persistentConnections: sum.persistentConnections + one.persistentConnections,
  counters: addTraffic(sum.counters, one.counters),
  rates: addTraffic(sum.rates, one.rates),
});

const endpointText = ({ address, port }: Pick<ObservedDestination, 'address' | 'port'>): string =>
  `${address} ${port}`;

function realServerStatus(
  { input, overrides, isEachCounted }: Lookup,
  service: VirtualService,
  server: RealServer,
  destinations: ReadonlyMap<string, Observed>,
): RealServerStatus {
  const key = realServerKey(service.id, server.id);
  const explanation = input.reconcile.explanations.get(key);
  const check = input.checks.get(key) ?? null;
  const status = check === null ? 'unchecked' : (input.statuses.get(check) ?? null);
  const assumed = deriveHealth(server, status);
  const observed = destinations.get(server.id);
  const override = overrides.get(key);
  const votes = check === null ? [] : [...(input.votesOn(check)?.values() ?? [])];
  return {
    id: server.id,
    address: server.address,
    port: server.port,
    weight: server.weight,
    wantedWeight: explanation?.wantedWeight ?? null,
    kernelWeight: observed?.weight ?? null,
    // What the table follows: before the first vote its own alpha decides, not the check's.
    health: explanation?.health ?? assumed.health,
    basis: explanation?.basis ?? assumed.basis,
    admin: override?.state ?? 'ready',
    adminReason: override?.reason ?? null,
    check,
    votes: votes
      .map(({ director, isUp, since, detail }) => ({ director, isUp, since, detail }))
      .toSorted((a, b) => (a.director < b.director ? -1 : 1)),
    activeConnections: observed?.activeConnections ?? null,
    inactiveConnections: observed?.inactiveConnections ?? null,
    persistentConnections: observed?.persistentConnections ?? null,
    forward: server.forward,
    ...(explanation === undefined ? {} : why(explanation, input.reconcile.drainNowMs)),
    ...(observed === undefined || !isEachCounted
      ? {}
      : { counters: observed.counters, rates: observed.rates }),
  };
}

function why(
  explanation: Explanation,
  nowMs: number,
): Pick<RealServerStatus, 'why' | 'explanation' | 'ramp' | 'drain'> {
  const { why: reason, weight, fullAtMs, drain } = explanation;
  const isPlain = (reason === 'up' || reason === 'unchecked') && weight.configured === weight.full;
  return {
    why: reason,
    explanation: isPlain ? null : explainRealServer(explanation),
    ...(reason === 'slow-start'
      ? {
          ramp: {
            weight: weight.ramped,
            of: weight.full,
            remainingMs: fullAtMs === null ? null : Math.max(0, Math.round(fullAtMs - nowMs)),
          },
        }
      : {}),
    ...(drain === null ? {} : { drain: drainStatus(drain, nowMs) }),
  };
}

/** What is wrong with a service, in words; one line for each thing. */
export function serviceProblems(
  service: ServiceStatus,
  explanation: ServiceExplanation | null,
): string[] {
  const { name, realServers, sorryServer, problem } = service;
  const tell = (text: string): string => `service ${name}: ${text}`;
  const problems = problem === null ? [] : [tell(problem)];
  if (service.isHere === false) return problems;
  const down = realServers.filter((server) => server.health === 'down');
  const isAll = down.length > 0 && down.length === realServers.length;
  const isSorry = sorryServer?.isActive === true;
  if (isAll)
    problems.push(tell(`all real servers are down${isSorry ? ', the sorry server answers' : ''}`));
  else {
    if (explanation !== null && !explanation.quorum.isUp)
      problems.push(
        tell(`${describeQuorum(explanation.quorum)}${isSorry ? '; the sorry server answers' : ''}`),
      );
    for (const server of down) problems.push(tell(`real server ${server.id} is down`));
  }
  if (explanation?.failOpen.isOpen === true)
    problems.push(
      tell('more real servers are down at once than is believed: fail-open keeps all in'),
    );
  return problems;
}
