/**
 * Which director should hold a group now: the order of `core/placement`, and what keeps each of them
 * from it. Advice computed alike by all; the record is the safety (design 6).
 */
import type { VipGroup } from '../../model/cluster.ts';
import { INELIGIBLE_REASONS, type IneligibleReason } from '../../model/decision.ts';
import { type DirectorId, type GroupId, type MonoMs, monoMs } from '../../model/ids.ts';
import { isFlapping } from '../placement/damping.ts';
import { createPlacement, effectivePriority, type Placement } from '../placement/order.ts';
import type { ElectionConfig, ElectionState } from './state.ts';
import { openSession, ownerStanding } from './view.ts';

export type Candidate = {
  readonly director: DirectorId;
  /** Null: could take the group now. */
  readonly obstacle: IneligibleReason | null;
  /** Could take it without a packet lost. */
  readonly isReady: boolean;
  /** Priority with what the tracks add; null where the group has no priorities. */
  readonly priority: number | null;
  readonly bonus: number;
};

/** The candidates of every group at one moment: computed when asked for, each group once. */
export type Ranking = { readonly of: (group: VipGroup) => readonly Candidate[] };

type KnownState = Readonly<
  Pick<
    ElectionState,
    | 'view'
    | 'holdings'
    | 'isStopping'
    | 'isFreezing'
    | 'refusedUntil'
    | 'eligibility'
    | 'ready'
    | 'bonus'
    | 'damping'
    | 'session'
    | 'lastHeard'
    | 'offeredUntil'
  >
>;

export function createRanking(state: KnownState, config: ElectionConfig, now: MonoMs): Ranking {
  let placement: Placement | null = null;
  const reports = new Map<DirectorId, ToldGroups>();
  const toldBy = (director: DirectorId): ToldGroups => {
    const old = reports.get(director);
    if (old !== undefined) return old;
    const report = state.view.reports.get(director)?.value;
    const told = { eligible: new Set(report?.eligible), ready: new Set(report?.ready) };
    reports.set(director, told);
    return told;
  };
  const known = new Map<GroupId, readonly Candidate[]>();
  return {
    of: (group) => {
      const old = known.get(group.id);
      if (old !== undefined) return old;
      placement ??= placementOf(state, config);
      const candidates = placement
        .order(group)
        .map(({ director }) => candidateOf({ state, config, now, toldBy }, group, director));
      known.set(group.id, candidates);
      return candidates;
    },
  };
}

/** The candidates of one group, best first; for many groups make one ranking and ask that. */
export const rankCandidates = (
  state: KnownState,
  config: ElectionConfig,
  group: VipGroup,
  now: MonoMs,
): readonly Candidate[] => createRanking(state, config, now).of(group);

function placementOf(state: KnownState, config: ElectionConfig): Placement {
  const owners = new Map<GroupId, DirectorId | null>();
  for (const { id } of config.groups) {
    const standing = ownerStanding(state.view, id);
    owners.set(id, standing.kind === 'owned' ? standing.director : null);
  }
  const able = new Set<DirectorId>();
  for (const { id } of config.directors)
    if (openSession(state.view, id) !== null && state.view.drains.get(id)?.value !== true)
      able.add(id);
  const situation = {
    directors: config.directors,
    groups: config.groups,
    owners,
    able,
    bonus: (director: DirectorId, group: GroupId) => bonusOf(state, config.me, director, group),
  };
  return createPlacement(situation, config.heirs);
}

function bonusOf(state: KnownState, me: DirectorId, director: DirectorId, group: GroupId): number {
  if (director === me) return state.bonus.get(group) ?? 0;
  return state.view.reports.get(director)?.value?.bonus[group] ?? 0;
}

/** The groups of a director's report, to be looked up many times. */
type ToldGroups = { readonly eligible: ReadonlySet<string>; readonly ready: ReadonlySet<string> };

type Scene = {
  readonly state: KnownState;
  readonly config: ElectionConfig;
  readonly now: MonoMs;
  readonly toldBy: (director: DirectorId) => ToldGroups;
};

function candidateOf(scene: Scene, group: VipGroup, director: DirectorId): Candidate {
  const { state, config, now } = scene;
  const bonus = bonusOf(state, config.me, director, group.id);
  const priority = group.priorities?.get(director);
  const base = {
    director,
    bonus,
    priority: priority === undefined ? null : effectivePriority(priority, bonus),
  };
  if (director === config.me) {
    const obstacle = myObstacle(state, group, now, director);
    return { ...base, obstacle, isReady: obstacle === null && state.ready.has(group.id) };
  }
  const obstacle = obstacleOf(scene, director, group);
  const isReady = obstacle === null && scene.toldBy(director).ready.has(group.id);
  return { ...base, obstacle, isReady };
}

/** The best other director that could take the group now and was not offered it lately; null: none. */
export const bestSuccessor = (
  state: KnownState,
  group: VipGroup,
  candidates: readonly Candidate[],
  me: DirectorId,
): DirectorId | null =>
  candidates.find((candidate) => isOfferable(state, group, candidate, me))?.director ?? null;

/**
 * The same, of those that could take it without a packet lost: all is in their kernels. Where it is not
 * in this one either, and nobody else is ready, any will do (a kernel without ip_vs has no services to
 * lose).
 */
export function readySuccessor(
  state: KnownState,
  group: VipGroup,
  candidates: readonly Candidate[],
  me: DirectorId,
): Candidate | null {
  const able = candidates.filter((candidate) => isOfferable(state, group, candidate, me));
  const ready = able.find(({ isReady }) => isReady);
  return ready ?? (state.ready.has(group.id) ? null : (able[0] ?? null));
}

const isOfferable = (
  state: KnownState,
  group: VipGroup,
  { director, obstacle }: Candidate,
  me: DirectorId,
): boolean =>
  obstacle === null && director !== me && !state.offeredUntil.has(offerKey(group.id, director));

export const offerKey = (group: GroupId, director: DirectorId): string => `${group} ${director}`;

/** What keeps this director from holding the group; cheap enough for every step. */
export function myObstacle(
  state: KnownState,
  group: Pick<VipGroup, 'id'>,
  now: MonoMs,
  me: DirectorId,
): IneligibleReason | null {
  if (state.isStopping) return 'stopping';
  if (state.view.drains.get(me)?.value === true) return 'draining';
  if ((state.refusedUntil.get(group.id) ?? now) > now) return 'cannot-bind';
  const local = state.eligibility.get(group.id);
  if (local === undefined) return 'starting';
  if (local !== null && local !== 'sync-catching-up') return local;
  if (state.session.kind !== 'open') return 'no-session';
  if (local !== null && isOfAnother(state, group.id, me)) return local;
  const damping = state.damping.get(group.id);
  const isHeld = state.holdings.has(group.id);
  return damping !== undefined && !isHeld && isFlapping(damping, monoMs(now)) ? 'flapping' : null;
}

/** There are connections to wait for: another director's by the record, and none of this one's own. */
function isOfAnother(state: KnownState, group: GroupId, me: DirectorId): boolean {
  const director = state.view.owners.get(group)?.value?.director ?? null;
  return director !== null && director !== me && !state.holdings.has(group);
}

/** Such a director comes after all others, and takes what no other can: none of this ends traffic. */
export const isLastResort = (obstacle: string | null | undefined): boolean =>
  obstacle === 'draining' || obstacle === 'flapping' || obstacle === 'sync-catching-up';

function obstacleOf(
  { state, config, now, toldBy }: Scene,
  director: DirectorId,
  group: VipGroup,
): IneligibleReason | null {
  if (state.view.drains.get(director)?.value === true) return 'draining';
  const session = openSession(state.view, director);
  const report = state.view.reports.get(director)?.value;
  if (session === null || report === null || report === undefined) return 'no-session';
  // A report of an earlier life says nothing about this one.
  if (report.session !== (session.id as number)) return 'starting';
  // Its report outlives it by the lease: who is silent may be dead.
  const heardAt = state.lastHeard.get(director) ?? -Infinity;
  if (heardAt < now - config.timing.suspectMs) return 'not-heard';
  if (toldBy(director).eligible.has(group.id)) return null;
  const told = report.ineligible[group.id];
  return INELIGIBLE_REASONS.find((reason) => reason === told) ?? 'starting';
}
