/** What a director tells the others about itself: advice for their candidates' list, evidence of nothing. */
import { rankCandidates } from '../core/election/placement.ts';
import type { ElectionConfig, ElectionState } from '../core/election/state.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import { type DirectorId, type GroupId, type MonoMs, revisionOf } from '../model/ids.ts';
import type { ReportRecord } from '../model/records.ts';
import { type InterfaceMap, judgeInterfaces, type Links } from './interfaces.ts';

export type ReportInput = {
  readonly config: ElectionConfig;
  readonly state: ElectionState;
  readonly now: MonoMs;
  readonly version: string;
  readonly startedAt: string;
  readonly specRevision: number;
  readonly gateKind: string;
  readonly ipvs: { readonly available: boolean; readonly detail: string };
  readonly problems: readonly string[];
};

/** Null before the session is open: a report of no session helps nobody. */
export function deriveReport(input: ReportInput): ReportRecord | null {
  const { config, state, now } = input;
  if (state.session.kind !== 'open') return null;
  const eligible: string[] = [];
  const ineligible: Record<string, string> = {};
  for (const group of config.groups) {
    const mine = rankCandidates(state, config, group, now).find(
      (candidate) => candidate.director === config.me,
    );
    if (mine?.obstacle === null) eligible.push(group.id);
    else ineligible[group.id] = mine?.obstacle ?? 'not-in-priorities';
  }
  return {
    v: 1,
    version: input.version,
    address: config.address,
    session: revisionOf(state.session.id),
    startedAt: input.startedAt,
    specRevision: input.specRevision,
    eligible,
    ineligible,
    gate: input.gateKind,
    ipvs: { available: input.ipvs.available, detail: input.ipvs.detail },
    problems: [...input.problems],
  };
}

/** What is wrong on this machine itself, in words. */
export function localProblems(input: {
  readonly me: DirectorId;
  readonly spec: ClusterSpec | null;
  readonly devices: InterfaceMap;
  readonly links: Links;
  readonly hostProblems: readonly string[];
  readonly kernelProblem: string | null;
  /** What the kernel said when it refused a group's addresses. */
  readonly refusals: ReadonlyMap<GroupId, string>;
}): readonly string[] {
  const problems: string[] = [...input.hostProblems];
  if (input.kernelProblem !== null)
    problems.push(`addresses cannot be managed: ${input.kernelProblem}`);
  for (const group of input.spec?.groups ?? []) {
    const { detail } = judgeInterfaces(group, input.devices, input.links);
    if (detail !== null) problems.push(`group ${group.id}: ${detail}`);
    const refusal = input.refusals.get(group.id);
    if (refusal !== undefined) problems.push(`group ${group.id}: ${refusal}`);
  }
  if (input.spec?.directors.every((director) => director.id !== input.me) === true)
    problems.push(`the cluster document names no director ${input.me}`);
  return problems;
}
