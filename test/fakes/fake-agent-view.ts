/** A scripted AgentView: two directors, two VIP groups, three virtual services, in a state worth looking at. */
import { parseClusterDocument } from '../../src/config/cluster-document.ts';
import { AsyncQueue } from '../../src/lib/async.ts';
import {
  ABSENT,
  directorId,
  type GroupId,
  type RealServerId,
  revision,
  type ServiceId,
} from '../../src/model/ids.ts';
import type { EventRecord, OperationRecord } from '../../src/model/records.ts';
import type {
  DirectorStatus,
  GroupStatus,
  RealServerStatus,
  StatusDocument,
} from '../../src/model/status.ts';
import type { CheckReports } from '../../src/model/status-checks.ts';
import type { AgentView, SpecView, Stored } from '../../src/ports/agent-view.ts';
import { FakeIpvsView } from './fake-ipvs-view.ts';

/** The document behind `createStatus`. */
export const CLUSTER_DOCUMENT = {
  apiVersion: 'leasehold/v1',
  timing: { profile: 'default' },
  directors: { d1: { address: '10.90.0.11' }, d2: { address: '10.90.0.12' } },
  groups: {
    web: {
      addresses: ['10.90.0.100/24', 'fd90::100/64'],
      interface: 'public',
      virtualRouterId: 51,
      priorities: { d1: 150, d2: 100 },
    },
    mail: { addresses: ['10.90.0.101/24'], interface: 'public', virtualRouterId: 52 },
  },
  services: {
    'web-http': {
      group: 'web',
      address: '10.90.0.100',
      port: 80,
      protocol: 'tcp',
      scheduler: 'wlc',
      forward: 'dr',
      check: { http: { path: '/', status: 200 }, interval: '2s', timeout: '1s', rise: 2, fall: 2 },
      realServers: [
        { address: '10.90.0.21', weight: 1 },
        { address: '10.90.0.22', weight: 3 },
      ],
      sorryServer: { address: '10.90.0.29', port: 80 },
    },
    'web6-http': {
      group: 'web',
      address: 'fd90::100',
      port: 80,
      protocol: 'tcp',
      scheduler: 'rr',
      forward: 'dr',
      realServers: [{ address: 'fd90::21', weight: 1 }],
    },
    smtp: {
      group: 'mail',
      address: '10.90.0.101',
      port: 25,
      protocol: 'tcp',
      scheduler: 'wrr',
      forward: 'dr',
      check: { tcp: {}, interval: '5s', timeout: '1s' },
      realServers: [{ address: '10.90.0.31', weight: 2 }],
    },
  },
} as const;

export class FakeAgentView implements AgentView {
  readonly cluster = 'lab';
  readonly director = directorId('d1');
  readonly ipvs = new FakeIpvsView();
  statusDocument: StatusDocument = createStatus();
  specView: SpecView = specViewOf(CLUSTER_DOCUMENT, 40);
  held = new Set<string>(['web']);
  live = true;
  checkReports: CheckReports | null = null;
  checkProblem: string | null = null;
  operationList: Stored<OperationRecord>[] = [];
  eventList: Stored<EventRecord>[] = [];
  readonly #watchers = new Set<AsyncQueue<Stored<EventRecord>>>();

  /** How often the services were asked to be made ready. */
  prepared = 0;

  status(): StatusDocument {
    return this.statusDocument;
  }

  async prepareStatus(): Promise<void> {
    this.prepared++;
  }

  spec(): SpecView {
    return this.specView;
  }

  *judgeChecksSteps(): Generator<undefined, string | null> {
    yield;
    return this.checkProblem;
  }

  checks(service: ServiceId, realServer: RealServerId): CheckReports {
    return this.checkReports ?? { service, realServer, director: 'd1', mode: null, checks: [] };
  }

  holdsNow(group: GroupId): boolean {
    return this.held.has(group);
  }

  isLive(): boolean {
    return this.live;
  }

  operations(): readonly Stored<OperationRecord>[] {
    return this.operationList;
  }

  events(): readonly Stored<EventRecord>[] {
    return this.eventList;
  }

  watchEvents(signal: AbortSignal): AsyncIterable<Stored<EventRecord>> {
    const queue = new AsyncQueue<Stored<EventRecord>>(1000);
    this.#watchers.add(queue);
    signal.addEventListener('abort', () => {
      this.#watchers.delete(queue);
      queue.end();
    });
    if (signal.aborted) queue.end();
    return queue;
  }

  /** Streams that are open. */
  get watcherCount(): number {
    return this.#watchers.size;
  }

  /** Appends to the list and wakes the streams. */
  emit(event: Stored<EventRecord>): void {
    this.eventList.push(event);
    for (const watcher of this.#watchers) watcher.push(event);
  }
}

/** As if this document had been applied at the revision. Throws for a document with problems. */
export function specViewOf(document: unknown, at: number): SpecView {
  const parsed = parseClusterDocument(document);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const record = { v: 1, document, by: 'alice', at: '2026-01-01T00:00:00.000Z' } as const;
  return { revision: revision(at), record, spec: parsed.value.spec };
}

export const NO_SPEC: SpecView = { revision: ABSENT, record: null, spec: null };

/** Event number `n`; ids sort by `n`. */
export function createEvent(n: number, fields: Partial<EventRecord> = {}): Stored<EventRecord> {
  const record: EventRecord = {
    v: 1,
    at: `2026-01-01T00:00:${String(n).padStart(2, '0')}.000Z`,
    director: 'd1',
    severity: 'info',
    kind: 'holder.gained',
    subject: 'web',
    message: 'd1 holds web',
    reason: 'vacant',
    epoch: 17,
    by: null,
    ...fields,
  };
  return { id: `01KDVE${String(n).padStart(20, '0')}`, revision: revision(100 + n), record };
}

export function createOperation(
  id: string,
  fields: Partial<OperationRecord> = {},
): Stored<OperationRecord> {
  const record: OperationRecord = {
    v: 1,
    kind: 'switchover',
    group: 'web',
    from: 'd1',
    to: 'd2',
    by: 'local',
    reason: 'test',
    at: '2026-01-01T00:00:00.000Z',
    state: 'running',
    steps: [{ at: '2026-01-01T00:00:00.100Z', text: 'd1 released web' }],
    result: null,
    ...fields,
  };
  return { id, revision: revision(200), record };
}

/** Both directors alive; web-http has one real server down. */
export function createStatus(): StatusDocument {
  return {
    cluster: 'lab',
    director: 'd1',
    version: '0.1.0',
    observedAt: '2026-01-01T00:00:00.000Z',
    health: 'degraded',
    problems: ['web-http: 10.90.0.22:80 is down (connection refused)'],
    ready: true,
    store: { isConnected: true, lastAnswerMsAgo: 12, lastError: null, revision: 57 },
    spec: { revision: 40, by: 'local', at: '2026-01-01T00:00:00.000Z', problem: null },
    hold: {
      session: 31,
      phase: 'running',
      gate: 'netdev',
      gateDetail: 'nftables rules at ingress and egress of the interfaces',
      profile: 'default',
      holdMs: 500,
      takeoverWaitMs: 645,
      lastRoundMs: 1.4,
      eventLoopLagMs: 0.6,
    },
    isolation: {
      policy: 'gateway',
      mode: 'any',
      isReachable: true,
      targets: [
        { address: '10.90.0.1', answeredMsAgo: 310 },
        { address: '192.0.2.1', answeredMsAgo: null },
      ],
    },
    ipvs: {
      available: true,
      detail: 'IPVS 1.2.1',
      foreignServices: [],
      lastReconcileMs: 3.2,
      driftRepaired: 0,
    },
    groups: [
      {
        name: 'web',
        addresses: ['10.90.0.100/24', 'fd90::100/64'],
        holder: 'd1',
        epoch: 35,
        state: 'held-here',
        basis: 'consensus',
        reason: 'vacant',
        remainingMs: 410,
        ownedForMs: 754_000,
        handover: null,
        pending: [],
        candidates: [createCandidate('d1', 150), createCandidate('d2', 100)],
        tracks: [],
      },
      {
        name: 'mail',
        addresses: ['10.90.0.101/24'],
        holder: 'd2',
        epoch: 36,
        state: 'held-elsewhere',
        basis: null,
        reason: 'switchover',
        remainingMs: null,
        ownedForMs: 90_061_000,
        handover: null,
        pending: [],
        candidates: [createCandidate('d1', null), createCandidate('d2', null)],
        tracks: [],
      },
    ],
    directors: [
      createDirector('d1', '10.90.0.11', ['web']),
      createDirector('d2', '10.90.0.12', ['mail']),
    ],
    services: createServices(),
  };
}

/** One that could take the group at once. */
export const createCandidate = (
  director: string,
  priority: number | null,
): GroupStatus['candidates'][number] => ({
  director,
  eligible: true,
  reason: null,
  ready: true,
  priority,
  bonus: 0,
});

function createDirector(name: string, address: string, groups: string[]): DirectorStatus {
  return {
    name,
    address,
    inSpec: true,
    session: 'open',
    isAlive: true,
    isDraining: false,
    drainReason: null,
    version: '0.1.0',
    groups,
    specRevision: 40,
    ipvs: { available: true, detail: 'IPVS 1.2.1' },
    gate: 'netdev',
    problems: [],
  };
}

export function createServices(): StatusDocument['services'] {
  const down: Partial<RealServerStatus> = {
    health: 'down',
    wantedWeight: null,
    kernelWeight: null,
    activeConnections: null,
    inactiveConnections: null,
    votes: [vote('d1', false), vote('d2', false)],
  };
  return [
    {
      name: 'web-http',
      group: 'web',
      protocol: 'tcp',
      address: '10.90.0.100',
      port: 80,
      keys: ['tcp 10.90.0.100:80'],
      scheduler: 'wlc',
      isProgrammed: true,
      problem: null,
      realServers: [
        createRealServer('10.90.0.21', 80, 1),
        { ...createRealServer('10.90.0.22', 80, 3), ...down },
      ],
      sorryServer: { id: '10.90.0.29:80', isActive: false },
    },
    {
      name: 'web6-http',
      group: 'web',
      protocol: 'tcp',
      address: 'fd90::100',
      port: 80,
      keys: ['tcp [fd90::100]:80'],
      scheduler: 'rr',
      isProgrammed: true,
      problem: null,
      realServers: [
        {
          ...createRealServer('fd90::21', 80, 1),
          health: 'unchecked',
          basis: 'unchecked',
          check: null,
          votes: [],
        },
      ],
      sorryServer: null,
    },
    {
      name: 'smtp',
      group: 'mail',
      protocol: 'tcp',
      address: '10.90.0.101',
      port: 25,
      keys: ['tcp 10.90.0.101:25'],
      scheduler: 'wrr',
      isProgrammed: true,
      problem: null,
      realServers: [
        {
          ...createRealServer('10.90.0.31', 25, 2),
          admin: 'drain',
          adminReason: 'disk full',
          wantedWeight: 0,
          kernelWeight: 0,
          activeConnections: 4,
          inactiveConnections: 1,
        },
      ],
      sorryServer: null,
    },
  ];
}

const vote = (director: string, isUp: boolean): RealServerStatus['votes'][number] => ({
  director,
  isUp,
  since: '2026-01-01T00:00:00.000Z',
  detail: isUp ? 'HTTP status 200' : 'connection refused',
});

function createRealServer(address: string, port: number, weight: number): RealServerStatus {
  return {
    id: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    address,
    port,
    weight,
    wantedWeight: weight,
    kernelWeight: weight,
    health: 'up',
    basis: 'majority',
    admin: 'ready',
    adminReason: null,
    check: 'c0ffee',
    votes: [vote('d1', true), vote('d2', true)],
    activeConnections: 120,
    inactiveConnections: 31,
  };
}
