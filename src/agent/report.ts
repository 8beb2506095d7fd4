/** What a director tells the others about itself: advice for their candidates' list, evidence of nothing. */
import { myObstacle } from '../core/election/placement.ts';
import type { ElectionConfig, ElectionState } from '../core/election/state.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import { type DirectorId, type GroupId, type MonoMs, revisionOf } from '../model/ids.ts';
import type { GateKind } from '../model/kernel.ts';
import type { ReportRecord } from '../model/records.ts';
import { isGateTooCoarse } from './fitness.ts';
import { type InterfaceMap, judgeInterfaces, type Links } from './interfaces.ts';
import { LIFETIME_GATE_NEEDS } from './lifetime-gate.ts';

export type ReportInput = {
  readonly config: ElectionConfig;
  readonly state: ElectionState;
  readonly now: MonoMs;
  readonly version: string;
  readonly startedAt: string;
  readonly specRevision: number;
  readonly gateKind: GateKind;
  readonly ipvs: { readonly available: boolean; readonly detail: string };
  readonly problems: readonly string[];
  /** Addresses that it advertises from by VRRP. */
  readonly vrrp: readonly string[];
  /** MAC addresses that it may forward from. */
  readonly macs: readonly string[];
};

/** Null before the session is open: a report of no session helps nobody. */
export function deriveReport(input: ReportInput): ReportRecord | null {
  const { config, state, now } = input;
  if (state.session.kind !== 'open') return null;
  const eligible: string[] = [];
  const ready: string[] = [];
  const ineligible: Record<string, string> = {};
  const isNamed = config.directors.some(({ id }) => id === config.me);
  for (const group of config.groups) {
    const isCandidate = isNamed && (group.priorities?.has(config.me) ?? true);
    const obstacle = isCandidate ? myObstacle(state, group, now, config.me) : 'not-in-priorities';
    if (obstacle !== null) ineligible[group.id] = obstacle;
    else {
      eligible.push(group.id);
      if (state.ready.has(group.id)) ready.push(group.id);
    }
  }
  return {
    v: 1,
    version: input.version,
    address: config.address,
    session: revisionOf(state.session.id),
    startedAt: input.startedAt,
    specRevision: input.specRevision,
    eligible,
    ready,
    bonus: Object.fromEntries(state.bonus),
    ineligible,
    gate: input.gateKind,
    ipvs: { available: input.ipvs.available, detail: input.ipvs.detail },
    problems: [...input.problems],
    ...(input.vrrp.length === 0 ? {} : { vrrp: [...input.vrrp] }),
    ...(input.macs.length === 0 ? {} : { macs: [...input.macs] }),
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
  readonly gateKind: GateKind;
  /** What the kernel said when the gate was last looked at; null where it is whole. */
  readonly gateProblem: string | null;
  /** What the kernel said when it refused a group's addresses. */
  readonly refusals: ReadonlyMap<GroupId, string>;
}): readonly string[] {
  const problems: string[] = [...input.hostProblems];
  if (input.kernelProblem !== null)
    problems.push(`addresses cannot be managed: ${input.kernelProblem}`);
  if (input.gateProblem !== null) problems.push(`the gate is not whole: ${input.gateProblem}`);
  if (isGateTooCoarse(input))
    problems.push(
      `this kernel has no nftables for the gate, so a hold time under ${LIFETIME_GATE_NEEDS.minHoldMs / 1000} s cannot be kept and no group is held here: load nf_tables, or apply timing: { profile: relaxed }`,
    );
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
