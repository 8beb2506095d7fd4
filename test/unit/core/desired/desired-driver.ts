/** Plays a director's IPVS over a spec: each change gives the operations and the quorum events it causes. */
import {
  deriveDesired,
  type Desired,
  type DesiredFacts,
  NO_FACTS,
} from '../../../../src/core/desired/desired-state.ts';
import { deriveChecks, realServerKey } from '../../../../src/core/health/checks.ts';
import { planIpvs, serviceKeyOf } from '../../../../src/core/plan/ipvs-plan.ts';
import { type Drains, NO_DRAINS, stepDrains } from '../../../../src/core/service/drain.ts';
import { deriveQuorumEvents } from '../../../../src/core/service/quorum.ts';
import type { ClusterSpec, VirtualService } from '../../../../src/model/cluster.ts';
import type { AdminState, CheckStatus, RealServerOverride } from '../../../../src/model/health.ts';
import type { CheckId, ServiceId } from '../../../../src/model/ids.ts';
import { formatServiceKey, type IpvsTableOperation } from '../../../../src/model/kernel.ts';
import { IpvsModel } from '../plan/ipvs-model.ts';
import { anySpec } from './spec-builders.ts';

export type Health = 'up' | 'down';

export type Played = {
  /** `add-destination 10.0.0.1 3`: of destinations with the weight, of services with the key. */
  readonly operations: readonly string[];
  readonly events: readonly string[];
  readonly desired: Desired;
};

/** One director: a table, what it knows, and a clock that the test turns. */
export class DesiredDriver {
  readonly model = new IpvsModel();
  spec: ClusterSpec;
  nowMs = 1_000_000;
  drains: Drains = NO_DRAINS;
  before: ClusterSpec | null = null;
  isFirst = false;
  facts: Partial<DesiredFacts> = {};
  readonly #statuses = new Map<CheckId, CheckStatus>();
  #overrides: readonly RealServerOverride[] = [];
  #quorums: ReadonlyMap<ServiceId, boolean> = new Map();
  #owned: ReadonlySet<string> = new Set();

  constructor(services: readonly VirtualService[], fields: Partial<ClusterSpec> = {}) {
    this.spec = { ...anySpec(services), ...fields };
  }

  /** The votes of all on a real server, in every service that has it. */
  vote(address: string, health: Health): void {
    const isUp = health === 'up';
    for (const check of deriveChecks(this.spec).checks)
      if (check.address === address)
        this.#statuses.set(check.id, { isUp, basis: 'majority', votesUp: 0, votesDown: 0 });
  }

  override(
    address: string,
    state: AdminState | null,
    weight: number | null = null,
    deadlineMs: number | null = null,
  ): void {
    const service = this.spec.services[0];
    const realServer = service?.realServers.find((one) => one.address === address);
    if (service === undefined || realServer === undefined) throw new Error(`no ${address}`);
    const others = this.#overrides.filter((one) => one.realServer !== realServer.id);
    const added = { service: service.id, realServer: realServer.id, by: 'op', reason: 'test' };
    this.#overrides =
      state === null
        ? others
        : [...others, { ...added, state, weight, ...(deadlineMs === null ? {} : { deadlineMs }) }];
  }

  apply(services: readonly VirtualService[]): void {
    this.before = this.spec;
    this.spec = { ...this.spec, services };
  }

  /** As a new process of the agent: the kernel stays, and what statuses and overrides say. */
  restart(): void {
    this.drains = NO_DRAINS;
    this.before = null;
    this.isFirst = true;
    this.#quorums = new Map();
  }

  /** One pass of reconcile. */
  pass(): Played {
    const observed = this.model.dump();
    const { spec, nowMs, before, isFirst } = this;
    const overrides = this.#overrides;
    this.drains = stepDrains(this.drains, { spec, before, overrides, observed, nowMs, isFirst });
    this.isFirst = false;
    const quorums = this.#quorums;
    const desired = deriveDesired({
      spec,
      checks: deriveChecks(spec).byRealServer,
      overrides,
      statuses: this.#statuses,
      facts: { ...NO_FACTS, nowMs, drains: this.drains, quorums, ...this.facts },
    });
    const decisions = new Map(
      [...desired.serviceExplanations].map(([id, one]) => [id, one.quorum]),
    );
    const events = deriveQuorumEvents(quorums, decisions);
    this.#quorums = desired.quorums;
    const plan = planIpvs({ desired: desired.services, observed, owned: this.#owned });
    for (const operation of plan.operations) this.model.apply(operation);
    this.#owned = plan.nextOwned;
    return {
      operations: plan.operations.map(brief),
      events: events.map(({ kind }) => kind),
      desired,
    };
  }

  /** `address: weight` of the first service, as the kernel has it. */
  weights(): Record<string, number> {
    const destinations = this.model.dump().services[0]?.destinations ?? [];
    return Object.fromEntries(destinations.map((one) => [one.address, one.weight]));
  }

  why(desired: Desired, address: string) {
    const service = this.spec.services[0];
    const server = service?.realServers.find((one) => one.address === address);
    if (service === undefined || server === undefined) throw new Error(`no ${address}`);
    return desired.explanations.get(realServerKey(service.id, server.id));
  }
}

function brief(operation: IpvsTableOperation): string {
  if (!('destination' in operation))
    return `${operation.op} ${formatServiceKey(serviceKeyOf(operation))}`;
  const { destination } = operation;
  const weight = 'weight' in destination ? ` ${destination.weight}` : '';
  return `${operation.op} ${destination.address}${weight}`;
}
