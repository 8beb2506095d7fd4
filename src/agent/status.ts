/** The status document: a pure projection of what the agent's parts know. It decides nothing. */
import type { ElectionConfig, ElectionState } from '../core/election/state.ts';
import { waitMs } from '../core/election/timing.ts';
import type { VotesOn } from '../core/health/compound.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, RealServerOverride } from '../model/health.ts';
import {
  type CheckId,
  type DirectorId,
  type GroupId,
  type MonoMs,
  type ServiceId,
  serviceId,
} from '../model/ids.ts';
import type { GateKind } from '../model/kernel.ts';
import type { DrainRecord, ReportRecord } from '../model/records.ts';
import type {
  DirectorStatus,
  GroupStatus,
  IsolationStatus,
  ServiceStatus,
  StatusDocument,
  TrackStatus,
  VrrpStatus,
} from '../model/status.ts';
import { GATE_WORDS, silenceWords, standInWords } from '../model/status-words.ts';
import type { Stored } from '../ports/agent-view.ts';
import type { StoreHealth } from '../ports/cluster-store.ts';
import type { StoredSpec } from './cluster-view.ts';
import { groupStatuses } from './group-status.ts';
import { ipvsProblems, ipvsStatus, syncProblem, syncStatus } from './ipvs-status.ts';
import type { MarkState } from './mark-loop.ts';
import type { ReconcileState } from './reconcile-state.ts';
import { serviceProblems, serviceStatuses } from './service-status.ts';
import { silenceOf } from './silence.ts';
import type { StandInBook } from './stand-in-book.ts';
import type { SysctlState } from './sysctl-keeper.ts';

export type StatusInput = {
  readonly cluster: string;
  readonly me: DirectorId;
  readonly version: string;
  readonly wallTime: string;
  readonly now: MonoMs;
  readonly store: StoreHealth;
  readonly isStoreConnected: boolean;
  readonly storedSpec: StoredSpec | null;
  readonly spec: ClusterSpec | null;
  readonly specProblem: string | null;
  readonly election: ElectionState;
  readonly config: ElectionConfig | null;
  readonly gateKind: GateKind;
  /** Of the groups that have any. */
  readonly tracks: ReadonlyMap<GroupId, readonly TrackStatus[]>;
  readonly vrrp: (group: GroupId) => readonly VrrpStatus[];
  readonly lagMs: number;
  readonly reconcile: ReconcileState;
  /** Null: marks cannot be written here. */
  readonly marks: MarkState | null;
  /** Null: kernel settings cannot be read here. */
  readonly sysctls: SysctlState | null;
  /** Since when it has its quorum or not; null: unknown. */
  readonly quorumForMs: (service: ServiceId) => number | null;
  /** Metrics of each real server are exported up to so many. */
  readonly realServerLimit: number;
  readonly checks: ReadonlyMap<string, CheckId>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  readonly votesOn: VotesOn;
  readonly overrides: readonly RealServerOverride[];
  readonly drains: ReadonlyMap<DirectorId, DrainRecord>;
  readonly reports: ReadonlyMap<DirectorId, Stored<ReportRecord>>;
  /** Null: there is no spec yet. */
  readonly isolation: IsolationStatus | null;
  readonly standIns: Pick<StandInBook, 'refusalOf' | 'sinceOf'>;
  /** What is wrong on this director: interfaces, capabilities. */
  readonly localProblems: readonly string[];
};

/** `services` as they were made of an input a moment ago; absent: they are made now. */
export function deriveStatus(
  input: StatusInput,
  services: ServiceStatus[] = serviceStatuses(input),
): StatusDocument {
  const groups = groupStatuses(input).map((group) => withSync(group, input));
  const directors = directorStatuses(input, groups);
  const problems = problemsOf(input, groups, services, directors);
  const isDown = input.spec !== null && groups.some(isSilent);
  return {
    cluster: input.cluster,
    director: input.me,
    version: input.version,
    observedAt: input.wallTime,
    health: isDown ? 'down' : problems.length > 0 ? 'degraded' : 'ok',
    problems,
    ready: isReady(input),
    store: {
      isConnected: input.isStoreConnected,
      lastAnswerMsAgo:
        input.store.lastAnswerAt === null ? null : Math.round(input.now - input.store.lastAnswerAt),
      lastError: input.isStoreConnected ? null : (input.store.lastError?.message ?? null),
      revision: input.store.revision,
    },
    spec: {
      revision: input.storedSpec?.revision ?? 0,
      by: input.storedSpec?.by ?? null,
      at: input.storedSpec?.at ?? null,
      problem: input.specProblem,
    },
    hold: holdStatus(input),
    ...(input.isolation === null ? {} : { isolation: input.isolation }),
    ipvs: ipvsStatus(input),
    groups,
    directors,
    services,
  };
}

function withSync(group: GroupStatus, { spec, reconcile }: StatusInput): GroupStatus {
  const wanted = spec?.groups.find(({ id }) => id === group.name);
  const sync = wanted === undefined ? null : syncStatus(wanted, reconcile);
  return sync === null ? group : { ...group, sync };
}

/** Nobody speaks for it, as far as can be heard here. */
const isSilent = ({ state, vrrp = [] }: GroupStatus): boolean =>
  state === 'vacant' && !vrrp.some(({ active }) => active !== null);

function holdStatus({
  election,
  gateKind,
  spec,
  config,
  me,
  lagMs,
}: StatusInput): StatusDocument['hold'] {
  const { isStopping, isFreezing, session, armedHoldMs, lastRoundMs } = election;
  const scope = election.view.scopes.get(me)?.value ?? null;
  return {
    session: session.kind === 'open' ? session.id : null,
    phase: isStopping ? 'stopping' : isFreezing ? 'freezing' : 'running',
    gate: gateKind,
    gateDetail: GATE_WORDS[gateKind].what,
    profile: spec?.timing.profile ?? null,
    holdMs: armedHoldMs ?? config?.timing.holdMs ?? null,
    takeoverWaitMs:
      config === null || scope === null ? null : Math.ceil(waitMs(scope, config.timing)),
    lastRoundMs,
    eventLoopLagMs: lagMs,
  };
}

/** Ready to take its part: etcd answers, the session is open, a spec is in force. */
export function isReady(input: StatusInput): boolean {
  return input.isStoreConnected && input.spec !== null && input.election.session.kind === 'open';
}

function directorStatuses(input: StatusInput, groups: readonly GroupStatus[]): DirectorStatus[] {
  const inSpec = new Map((input.spec?.directors ?? []).map((one) => [one.id, one.address]));
  const held = new Map<string, string[]>();
  for (const { holder, name } of groups) {
    if (holder === null) continue;
    const list = held.get(holder);
    if (list === undefined) held.set(holder, [name]);
    else list.push(name);
  }
  const names = new Set<DirectorId>([
    ...inSpec.keys(),
    ...input.election.view.sessions.keys(),
    input.me,
  ]);
  return [...names].toSorted().map((name) => {
    const session = input.election.view.sessions.get(name)?.value;
    const report = input.reports.get(name)?.record;
    const drain = input.drains.get(name);
    const silence = silenceOf(input, name);
    return {
      name,
      address: inSpec.get(name) ?? null,
      inSpec: inSpec.has(name),
      session: session?.state ?? 'none',
      isAlive: report !== undefined,
      isDraining: drain !== undefined,
      drainReason: drain?.reason ?? null,
      version: report?.version ?? null,
      groups: held.get(name) ?? [],
      specRevision: report?.specRevision ?? null,
      ipvs: report === undefined ? null : { ...report.ipvs },
      gate: report?.gate ?? null,
      problems: [...(report?.problems ?? [])],
      ...(silence === undefined ? {} : { silence }),
    };
  });
}

function problemsOf(
  input: StatusInput,
  groups: readonly GroupStatus[],
  services: readonly ServiceStatus[],
  directors: readonly DirectorStatus[],
): string[] {
  const problems = [...input.localProblems];
  if (!input.isStoreConnected)
    problems.push(`etcd does not answer: ${input.store.lastError?.message ?? 'no answer yet'}`);
  if (input.specProblem !== null)
    problems.push(`the stored cluster document cannot be used: ${input.specProblem}`);
  if (input.isStoreConnected && input.storedSpec === null)
    problems.push('no cluster document was applied yet: leasehold apply -f cluster.yaml');
  if (services.length > 0 && !input.reconcile.available)
    problems.push(`IPVS cannot be programmed here: ${input.reconcile.detail}`);
  if (input.reconcile.problem !== null) problems.push(`IPVS: ${input.reconcile.problem}`);
  problems.push(...ipvsProblems(input));
  for (const group of groups)
    problems.push(...groupProblems(group, input, directors), ...syncProblem(group));
  for (const service of services) {
    const explanation = input.reconcile.serviceExplanations.get(serviceId(service.name));
    problems.push(...serviceProblems(service, explanation ?? null));
  }
  for (const director of directors) problems.push(...directorProblems(director, input.me));
  return problems;
}

function groupProblems(
  group: GroupStatus,
  { me, isStoreConnected }: StatusInput,
  directors: readonly DirectorStatus[],
): string[] {
  const { name, state, candidates, candidacy, holder } = group;
  const standIn = standInWords(group);
  if (standIn !== null) return [`group ${name}: ${standIn.what}`];
  const next = candidacy === undefined ? null : `${me} ${candidacy.detail}`;
  if (holder === null) {
    const reasons = candidates.map((one) => `${one.director}: ${one.reason ?? 'ready'}`);
    const end = next === null ? '' : `; ${next}`;
    return [`group ${name} has no holder (${reasons.join(', ')})${end}`];
  }
  if (state === 'opening-here' && holder === me) {
    const formers = group.pending.map(({ director }) => director).join(', ');
    const waits = formers === '' ? null : `waits until ${formers} is proven silent`;
    const why = waits ?? candidacy?.detail ?? null;
    return [`group ${name} is owned here and does not speak yet${why === null ? '' : `: ${why}`}`];
  }
  const isLost = directors.some((one) => one.name === holder && one.silence !== undefined);
  if (next !== null || (isLost && !isStoreConnected && state === 'held-elsewhere'))
    return [
      `group ${name}: its holder ${holder} is not heard, nor is etcd; ${next ?? 'nobody may take it'}`,
    ];
  const able = candidates.filter((candidate) => candidate.eligible);
  return able.length === 1 && candidates.length > 1
    ? [`group ${name}: only ${able[0]?.director ?? ''} could hold it now`]
    : [];
}

function directorProblems(director: DirectorStatus, me: DirectorId): string[] {
  const silence = silenceWords(director);
  if (silence !== null) return [`director ${silence}`];
  if (director.name === me) return [];
  if (director.inSpec && !director.isAlive) return [`director ${director.name} is not alive`];
  return director.problems.map((problem) => `director ${director.name}: ${problem}`);
}
