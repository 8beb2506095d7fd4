/**
 * Real servers on their way out: weight 0 until nobody is connected any more, or until the deadline.
 * On the way are those that an operator drains and those that the document no longer names. What is
 * left is read from the dumped table, each director from its own; a persistence template counts as a
 * connection, because its client may come back to the same real server.
 */
import { runSteps } from '../../lib/steps.ts';
import { formatEndpoint } from '../../model/address.ts';
import {
  type ClusterSpec,
  type ForwardTarget,
  portIn,
  type VirtualService,
} from '../../model/cluster.ts';
import type { RealServerOverride } from '../../model/health.ts';
import { type RealServerId, realServerId, type ServiceId } from '../../model/ids.ts';
import {
  formatServiceKey,
  type IpvsDestination,
  type IpvsTable,
  type ObservedDestination,
} from '../../model/kernel.ts';
import { realServerKey } from '../health/checks.ts';

export type DrainCause = 'admin' | 'leaving';

/** Why a drain is over; a closed list. */
export const DRAIN_ENDS = [
  'gone', // weight 0, and neither a connection nor a template is left
  'deadline', // whoever is still connected loses the connection
  'absent', // it was not in the table when the drain began: nothing to wait for
] as const;
export type DrainEnd = (typeof DRAIN_ENDS)[number];

export type Connections = {
  readonly active: number;
  readonly inactive: number;
  readonly persistent: number;
};

/** One destination of one IPVS service. */
export type Drain = {
  readonly service: ServiceId;
  readonly realServer: RealServerId;
  /** As `formatServiceKey` writes it. */
  readonly key: string;
  readonly cause: DrainCause;
  /** With weight 0. */
  readonly destination: IpvsDestination;
  /** Same clock as `nowMs` of the step that began it. */
  readonly sinceMs: number;
  /** Null: it may take as long as it takes. */
  readonly deadlineAtMs: number | null;
  /** Null: not seen in the table yet. */
  readonly first: Connections | null;
  readonly left: Connections | null;
  readonly end: DrainEnd | null;
};

/** By `drainKey`. Plain data: who keeps it over a restart keeps the deadlines. */
export type Drains = ReadonlyMap<string, Drain>;

export const NO_DRAINS: Drains = new Map();

export const drainKey = (key: string, endpoint: string): string => `${key} ${endpoint}`;

export type DrainInput = {
  readonly spec: ClusterSpec;
  /** The document before this one, as long as it is known: whom it named and this one does not. */
  readonly before: ClusterSpec | null;
  readonly overrides: readonly RealServerOverride[];
  /** Null: not dumped; nothing ends then but by its deadline. */
  readonly observed: IpvsTable | null;
  readonly nowMs: number;
  /**
   * This process has not looked before: what is there and not in the document was left out of it since, by
   * whatever looked last. Absent: it has.
   */
  readonly isFirst?: boolean;
};

/** What is on its way out now. The very same map where nothing changed. */
export const stepDrains = (drains: Drains, input: DrainInput): Drains =>
  runSteps(stepDrainsSteps(drains, input));

/** Real servers between two steps: about a millisecond. */
const REST_EVERY = 200;

/** The same, with a rest now and then: another document of tens of thousands takes its time. */
export function* stepDrainsSteps(drains: Drains, input: DrainInput): Generator<undefined, Drains> {
  if (isQuiet(drains, input)) return drains;
  const next = new Map<string, Drain>();
  const facts = yield* factsOf(drains, input);
  let sinceRest = 0;
  for (const service of input.spec.services) {
    for (const key of service.keys) {
      sinceRest += service.realServers.length + 1;
      if (sinceRest >= REST_EVERY) {
        sinceRest = 0;
        yield;
      }
      const name = formatServiceKey(key);
      const port: PortOf = (target) => portIn(key, target);
      const there = facts.there(name);
      const begun = [
        ...(facts.drainedServices.has(service.id) ? adminDrains(service, port, facts.drained) : []),
        ...leavingDrains(service, port, {
          former: facts.formers.get(name) ?? null,
          running: facts.running.get(name) ?? [],
          there: (there ?? []).filter(facts.isLeft),
        }),
      ];
      if (begun.length === 0) continue;
      const present = there === null ? null : new Map(there.map((one) => [endpointOf(one), one]));
      for (const begin of begun) {
        const id = drainKey(name, endpointOf(begin.destination));
        if (next.has(id)) continue;
        const known = drains.get(id) ?? null;
        const before = known?.cause === begin.cause ? known : null;
        const drain = stepOne(before, { ...begin, service, name, present, nowMs: input.nowMs });
        // What left and is gone is over: whoever adds it by hand later is no former real server.
        const isOver = drain.cause === 'leaving' && drain.end !== null && isAbsent(drain, present);
        if (!isOver) next.set(id, drain);
      }
    }
  }
  return isSameBook(drains, next) ? drains : next;
}

/** The next deadline; null where none is waited for. */
export function nextDeadlineOf(drains: Drains): number | null {
  let next: number | null = null;
  for (const { end, deadlineAtMs } of drains.values())
    if (end === null && deadlineAtMs !== null && (next === null || deadlineAtMs < next))
      next = deadlineAtMs;
  return next;
}

export const sumConnections = (list: readonly (Connections | null)[]): Connections | null =>
  list.reduce<Connections | null>((sum, one) => {
    if (one === null || sum === null) return sum ?? one;
    return {
      active: sum.active + one.active,
      inactive: sum.inactive + one.inactive,
      persistent: sum.persistent + one.persistent,
    };
  }, null);

/** Nothing is or can be on its way out: so it is nearly always, and the table may be large. */
const isQuiet = (drains: Drains, input: DrainInput): boolean =>
  drains.size === 0 &&
  input.before === null &&
  !input.overrides.some(({ state }) => state === 'drain') &&
  !(input.observed?.services ?? []).some(({ destinations }) => destinations.some(isLeftBy(input)));

type IsLeft = (one: ObservedDestination) => boolean;

/** Somebody is still connected, and nobody new comes, or nobody has looked yet. */
const isLeftBy =
  ({ isFirst = false }: DrainInput): IsLeft =>
  (one) =>
    (isFirst || one.weight === 0) && countOf(connectionsOf(one)) > 0;

/** By endpoint. */
type Present = ReadonlyMap<string, ObservedDestination>;

/** To the deadline that was asked for; null: the service's. */
type Drained = ReadonlyMap<string, number | null>;

type StepFacts = {
  /** What an operator drains, by `realServerKey`. */
  readonly drained: Drained;
  /** Services that have any of them. */
  readonly drainedServices: ReadonlySet<ServiceId>;
  /** By service key: what is leaving already. */
  readonly running: ReadonlyMap<string, readonly Drain[]>;
  /** By service key: the service of the document before. */
  readonly formers: ReadonlyMap<string, VirtualService>;
  /** Destinations of a service in the table; null where it was not dumped. */
  readonly there: (name: string) => readonly ObservedDestination[] | null;
  /** Of what is there and nobody names: it is on its way out. */
  readonly isLeft: IsLeft;
};

function* factsOf(drains: Drains, input: DrainInput): Generator<undefined, StepFacts> {
  const { overrides, before, observed } = input;
  const running = new Map<string, Drain[]>();
  for (const drain of drains.values())
    if (drain.cause === 'leaving') append(running, drain.key, drain);
  yield;
  const table =
    observed === null
      ? null
      : new Map(observed.services.map((one) => [formatServiceKey(one.key), one.destinations]));
  yield;
  const formers = before === null ? new Map<string, VirtualService>() : formerServices(before);
  yield;
  const drained = overrides.filter(({ state }) => state === 'drain');
  return {
    drained: new Map(
      drained.map((entry) => [
        realServerKey(entry.service, entry.realServer),
        entry.deadlineMs ?? null,
      ]),
    ),
    drainedServices: new Set(drained.map(({ service }) => service)),
    running,
    formers,
    isLeft: isLeftBy(input),
    there: (name) => (table === null ? null : (table.get(name) ?? [])),
  };
}

type Begin = {
  readonly cause: DrainCause;
  readonly realServer: RealServerId;
  readonly destination: IpvsDestination;
  /** Null: the service's. */
  readonly deadlineMs: number | null;
};

type PortOf = (target: Pick<ForwardTarget, 'port'>) => number;

const endpointOf = ({ address, port }: Pick<IpvsDestination, 'address' | 'port'>): string =>
  formatEndpoint(address, port);

function adminDrains(service: VirtualService, port: PortOf, drained: Drained): readonly Begin[] {
  return service.realServers
    .filter(({ id }) => drained.has(realServerKey(service.id, id)))
    .map((server) => ({
      cause: 'admin',
      realServer: server.id,
      deadlineMs: drained.get(realServerKey(service.id, server.id)) ?? null,
      destination: toIdle({ ...server, port: port(server) }),
    }));
}

type Leaving = {
  readonly former: VirtualService | null;
  readonly running: readonly Drain[];
  /** That are on their way out, if nobody names them. */
  readonly there: readonly ObservedDestination[];
};

/**
 * Named by the document before, on the way already, or, after a restart, in the table with connections:
 * so a former process left it, or the document has dropped it since.
 */
function leavingDrains(service: VirtualService, port: PortOf, leaving: Leaving): readonly Begin[] {
  if (service.drain.deadlineMs <= 0) return [];
  const { former, running, there } = leaving;
  const found: Begin[] = running.map((one) => ({ ...one, deadlineMs: null }));
  if (former !== null && !isSameList(former, service))
    for (const server of former.realServers)
      found.push({
        cause: 'leaving',
        realServer: server.id,
        deadlineMs: null,
        destination: toIdle({ ...server, port: port(server) }),
      });
  for (const one of there)
    found.push({
      cause: 'leaving',
      realServer: realServerId(endpointOf(one)),
      deadlineMs: null,
      destination: toIdle(one),
    });
  if (found.length === 0) return found;
  const named = namedEndpoints(service, port);
  return found.filter(({ destination }) => !named.has(endpointOf(destination)));
}

const isSameList = (a: VirtualService, b: VirtualService): boolean =>
  a.realServers.length === b.realServers.length &&
  a.realServers.every(({ id }, i) => id === b.realServers[i]?.id);

function namedEndpoints(service: VirtualService, port: PortOf): ReadonlySet<string> {
  const named = new Set<string>();
  for (const one of service.realServers) named.add(formatEndpoint(one.address, port(one)));
  const sorry = service.sorryServer;
  if (sorry !== null) named.add(formatEndpoint(sorry.address, port(sorry)));
  return named;
}

type Facts = Begin & {
  readonly service: VirtualService;
  readonly name: string;
  readonly present: Present | null;
  readonly nowMs: number;
};

function stepOne(before: Drain | null, facts: Facts): Drain {
  const { cause, realServer, destination, service, name, present, nowMs } = facts;
  const sinceMs = before?.sinceMs ?? nowMs;
  const deadlineMs = facts.deadlineMs ?? service.drain.deadlineMs;
  const deadlineAtMs = deadlineMs > 0 ? sinceMs + deadlineMs : null;
  const seen = present?.get(endpointOf(destination)) ?? null;
  const left = seen === null ? (before?.left ?? null) : connectionsOf(seen);
  const drain = {
    service: service.id,
    realServer,
    key: name,
    cause,
    destination,
    sinceMs,
    deadlineAtMs,
    first: before?.first ?? left,
    left,
    end: before?.end ?? null,
  };
  if (drain.end !== null) return drain;
  if (deadlineAtMs !== null && nowMs >= deadlineAtMs) return { ...drain, end: 'deadline' };
  if (present === null) return drain;
  // Taken out by somebody else while it was drained: it goes back in, its connections may live.
  if (seen === null) return left === null ? { ...drain, end: 'absent' } : drain;
  // With a weight it may get a connection any moment.
  const isGone = seen.weight === 0 && countOf(connectionsOf(seen)) === 0;
  return isGone ? { ...drain, end: 'gone' } : drain;
}

const isAbsent = ({ destination }: Drain, present: Present | null): boolean =>
  present !== null && !present.has(endpointOf(destination));

const connectionsOf = (destination: ObservedDestination): Connections => ({
  active: destination.activeConnections,
  inactive: destination.inactiveConnections,
  persistent: destination.persistentConnections,
});

const countOf = ({ active, inactive, persistent }: Connections): number =>
  active + inactive + persistent;

const toIdle = (one: Omit<IpvsDestination, 'weight'>): IpvsDestination => ({
  address: one.address,
  port: one.port,
  forward: one.forward,
  tunnel: one.tunnel,
  weight: 0,
  upperThreshold: one.upperThreshold,
  lowerThreshold: one.lowerThreshold,
});

function formerServices(spec: ClusterSpec): Map<string, VirtualService> {
  const services = new Map<string, VirtualService>();
  for (const service of spec.services)
    for (const key of service.keys) {
      const name = formatServiceKey(key);
      if (!services.has(name)) services.set(name, service);
    }
  return services;
}

function append(lists: Map<string, Drain[]>, key: string, drain: Drain): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [drain]);
  else list.push(drain);
}

function isSameBook(a: Drains, b: Drains): boolean {
  if (a.size !== b.size) return false;
  for (const [id, drain] of a) {
    const other = b.get(id);
    if (other === undefined || !isSameDrain(drain, other)) return false;
  }
  return true;
}

const isSameDrain = (a: Drain, b: Drain): boolean =>
  a.end === b.end &&
  a.cause === b.cause &&
  a.deadlineAtMs === b.deadlineAtMs &&
  isSameCount(a.left, b.left);

const isSameCount = (a: Connections | null, b: Connections | null): boolean =>
  a === null || b === null
    ? a === b
    : a.active === b.active && a.inactive === b.inactive && a.persistent === b.persistent;
