/** Which director should hold a group: advice computed alike by all; the record is the safety (design 6). */
import { rendezvousOrder } from '../../lib/hash.ts';
import type { VipGroup } from '../../model/cluster.ts';
import type { IneligibleReason } from '../../model/decision.ts';
import { type DirectorId, type GroupId, type MonoMs, revisionOf } from '../../model/ids.ts';
import type { ElectionConfig, ElectionState } from './state.ts';
import { openSession } from './view.ts';

export type Candidate = {
  readonly director: DirectorId;
  /** Null: could take the group now. */
  readonly obstacle: IneligibleReason | null;
};

/** All directors that may ever hold the group, best first. */
export function preferenceOrder(config: ElectionConfig, group: VipGroup): readonly DirectorId[] {
  const order = rendezvousOrder(group.id, config.directors);
  const priorities = group.priorities;
  if (priorities === null) return order;
  return order
    .filter((director) => priorities.has(director))
    .toSorted((a, b) => (priorities.get(b) ?? 0) - (priorities.get(a) ?? 0));
}

/** The same, with what keeps each of them from holding it now. */
export function rankCandidates(
  state: Readonly<ElectionState>,
  config: ElectionConfig,
  group: VipGroup,
  now: MonoMs,
): readonly Candidate[] {
  return preferenceOrder(config, group).map((director) => ({
    director,
    obstacle:
      director === config.me
        ? myObstacle(state, group, now, config.me)
        : obstacleOf(state, director, group, now - config.timing.suspectMs),
  }));
}

/** The best other director that could take the group now and was not offered it lately; null: none. */
export function bestSuccessor(
  state: Readonly<ElectionState>,
  group: VipGroup,
  candidates: readonly Candidate[],
  me: DirectorId,
): DirectorId | null {
  const able = candidates.find(
    ({ director, obstacle }) =>
      obstacle === null && director !== me && !state.offeredUntil.has(offerKey(group.id, director)),
  );
  return able?.director ?? null;
}

export const offerKey = (group: GroupId, director: DirectorId): string => `${group} ${director}`;

function myObstacle(
  state: Readonly<ElectionState>,
  group: VipGroup,
  now: MonoMs,
  me: DirectorId,
): IneligibleReason | null {
  if (state.isStopping) return 'stopping';
  if (state.view.drains.get(me)?.value === true) return 'draining';
  if ((state.refusedUntil.get(group.id) ?? now) > now) return 'cannot-bind';
  const local = state.eligibility.get(group.id);
  if (local === undefined) return 'starting';
  if (local !== null) return local;
  return state.session.kind === 'open' ? null : 'no-session';
}

function obstacleOf(
  state: Readonly<ElectionState>,
  director: DirectorId,
  group: VipGroup,
  heardSince: number,
): IneligibleReason | null {
  if (state.view.drains.get(director)?.value === true) return 'draining';
  const session = openSession(state.view, director);
  const report = state.view.reports.get(director);
  if (session === null) return 'no-session';
  if (report?.value === null || report?.value === undefined) return 'no-session';
  // A report of an earlier life says nothing about this one.
  if (report.value.session !== revisionOf(session)) return 'starting';
  // Its report outlives it by the lease: who is silent may be dead.
  if ((state.lastHeard.get(director) ?? -Infinity) < heardSince) return 'not-heard';
  if (report.value.eligible.includes(group.id)) return null;
  const told = report.value.ineligible[group.id];
  return REASONS.find((reason) => reason === told) ?? 'starting';
}

const REASONS: readonly IneligibleReason[] = [
  'draining',
  'interface-missing',
  'interface-down',
  'cannot-bind',
  'no-session',
  'starting',
  'stopping',
];
