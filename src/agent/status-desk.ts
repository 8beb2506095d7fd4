/** What the API may see of the agent, gathered from its parts whenever it asks. */
import { withCompoundVotes } from '../core/health/compound.ts';
import { judgeCheckCountSteps } from '../core/health/duties.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { EventRecord } from '../model/records.ts';
import type { IsolationStatus, TrackStatus } from '../model/status.ts';
import type { AgentView, Stored } from '../ports/agent-view.ts';
import type { ClusterStore } from '../ports/cluster-store.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import { isolationProblems, isolationStatus } from './isolation-status.ts';
import { reportChecks } from './check-reports.ts';
import { localProblems } from './report.ts';
import { createIpvsDesk } from './ipvs-desk.ts';
import { ServiceBook } from './service-book.ts';
import { deriveStatus, type StatusInput } from './status.ts';

/** Real servers whose metrics a Prometheus keeps without anybody's thinking of it. */
export const REAL_SERVER_SERIES = 2000;

/** Without an answer for so long etcd counts as away, for people; the election has its own deadlines. */
const STORE_AWAY_MS = 3000;

type Ports = Pick<AgentPorts, 'clock' | 'store' | 'ipvs' | 'prober'>;

export function createAgentView(
  options: AgentOptions,
  ports: Ports,
  parts: AgentParts,
  watchEvents: (signal: AbortSignal) => AsyncIterable<Stored<EventRecord>>,
): AgentView {
  const { records, specs, hold } = parts;
  const book = new ServiceBook(ports.clock);
  return {
    cluster: options.cluster,
    director: options.me,
    ipvs: createIpvsDesk({ me: options.me, kernel: ports.ipvs, clock: ports.clock, parts }),
    status: () => {
      const input = statusInput(options, ports, parts);
      return deriveStatus(input, book.services(input));
    },
    prepareStatus: () => book.prepare(() => statusInput(options, ports, parts)),
    spec: () => ({
      revision: records.spec?.revision ?? records.revisionOf(options.keys.spec),
      record: records.spec?.record ?? null,
      spec: specs.spec(),
    }),
    judgeChecksSteps: (spec) => judgeCheckCountSteps(spec, ports.prober.limit ?? Infinity),
    checks: (service, realServer) =>
      reportChecks(service, realServer, {
        me: options.me,
        now: ports.clock.now(),
        desk: parts.desk,
        votes: records.votes,
        seen: (check) => parts.checks.seen(check),
      }),
    holdsNow: (group) => parts.gates.isSpeaking(group),
    isLive: () => hold.isLive(),
    operations: () => [...records.operations.values()],
    events: () => records.events,
    watchEvents,
  };
}

export function isStoreConnected(store: Pick<ClusterStore, 'health'>, now: MonoMs): boolean {
  const { lastAnswerAt } = store.health();
  return lastAnswerAt !== null && now - lastAnswerAt < STORE_AWAY_MS;
}

/** What is wrong on this machine itself, in words. */
export function problemsHere(
  options: AgentOptions,
  parts: AgentParts,
  now: MonoMs,
): readonly string[] {
  const { specs, keeper, gate, hold, tracks } = parts;
  const spec = specs.spec();
  const isolation = isolationOf(parts, now);
  const checkProblem = parts.checks.problem();
  return [
    ...localProblems({
      me: options.me,
      spec,
      devices: options.devices,
      links: keeper.links(),
      hostProblems: options.hostProblems,
      kernelProblem: keeper.problem(),
      gateKind: gate.kind,
      gateProblem: parts.gates.problem(),
      refusals: hold.refusals(),
    }),
    ...(spec?.groups ?? []).flatMap(({ id }) => {
      const detail = tracks.detail(id);
      return detail === null ? [] : [`group ${id}: ${detail}`];
    }),
    ...(isolation === null ? [] : isolationProblems(isolation)),
    ...(checkProblem === null ? [] : [checkProblem]),
    ...parts.served.problems(),
  ];
}

function isolationOf({ specs, gateway }: AgentParts, now: MonoMs): IsolationStatus | null {
  const spec = specs.spec();
  return spec === null ? null : isolationStatus(spec.isolation, gateway.seen(), now);
}

function statusInput(
  options: AgentOptions,
  { clock, store }: Ports,
  parts: AgentParts,
): StatusInput {
  const { records, specs, hold, gate, reconcile, desk } = parts;
  const now = clock.now();
  return {
    cluster: options.cluster,
    me: options.me,
    version: options.version,
    wallTime: clock.wallTime(),
    now,
    store: store.health(),
    isStoreConnected: isStoreConnected(store, now),
    storedSpec: records.spec,
    spec: specs.spec(),
    specProblem: specs.problem(),
    election: hold.state(),
    config: specs.electionConfig(),
    gateKind: gate.kind,
    tracks: trackStatuses(parts),
    vrrp: (group) => parts.vrrp?.status(group) ?? [],
    lagMs: hold.lagMs(),
    reconcile: reconcile.state(),
    marks: parts.plane.marks?.state() ?? null,
    sysctls: parts.plane.sysctls?.state() ?? null,
    quorumForMs: (service) => parts.plane.quorumTimes.forMs(service),
    realServerLimit: options.realServerSeries ?? REAL_SERVER_SERIES,
    checks: desk.checks().byRealServer,
    statuses: desk.statuses(),
    votesOn: withCompoundVotes(records.votes, desk.checks()),
    overrides: records.overrides,
    drains: records.drains,
    reports: records.reports,
    localProblems: problemsHere(options, parts, now),
    isolation: isolationOf(parts, now),
    standIns: parts.standIns,
  };
}

function trackStatuses({
  specs,
  tracks,
}: AgentParts): ReadonlyMap<GroupId, readonly TrackStatus[]> {
  const groups = (specs.spec()?.groups ?? []).filter((group) => group.tracks.length > 0);
  return new Map(
    groups.map((group) => {
      const weights = new Map(group.tracks.map(({ id, weight }) => [id, weight]));
      const statuses = tracks.explain(group.id).map(({ id, isPassing, detail, since }) => {
        return { id, isPassing, weight: weights.get(id) ?? null, detail, since };
      });
      return [group.id, statuses] as const;
    }),
  );
}
