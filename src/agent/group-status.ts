/** The VIP groups of the status document: who holds them, how far a handover is, who else could. */
import { createRanking } from '../core/election/placement.ts';
import type { ElectionConfig, ElectionState, Holding } from '../core/election/state.ts';
import { ownerStanding, pendingOf } from '../core/election/view.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import type { DirectorId, GroupId, MonoMs } from '../model/ids.ts';
import type { GroupStatus, TrackStatus, VrrpStatus } from '../model/status.ts';

export type GroupStatusInput = {
  readonly me: DirectorId;
  readonly now: MonoMs;
  readonly spec: ClusterSpec | null;
  readonly election: ElectionState;
  readonly config: ElectionConfig | null;
  /** Of the groups that have any. */
  readonly tracks: ReadonlyMap<GroupId, readonly TrackStatus[]>;
  readonly vrrp: (group: GroupId) => readonly VrrpStatus[];
};

/** In the order of the spec; everything that many groups share is computed once. */
export function groupStatuses(input: GroupStatusInput): GroupStatus[] {
  const { config, election, now } = input;
  const ranking = config === null ? null : createRanking(election, config, now);
  return (input.spec?.groups ?? []).map((group) => ({
    ...holdingStatus(input, group),
    candidates: (ranking?.of(group) ?? []).map(
      ({ director, obstacle, isReady, priority, bonus }) => ({
        director,
        eligible: obstacle === null,
        reason: obstacle,
        ready: isReady,
        priority,
        bonus,
      }),
    ),
    tracks: [...(input.tracks.get(group.id) ?? [])],
    ...(group.vrrp === null ? {} : { vrrp: [...input.vrrp(group.id)] }),
  }));
}

function holdingStatus(
  { election, now, me }: GroupStatusInput,
  group: VipGroup,
): Omit<GroupStatus, 'candidates' | 'tracks' | 'vrrp'> {
  const { view } = election;
  const standing = ownerStanding(view, group.id);
  const holding = election.holdings.get(group.id);
  const isOwned = standing.kind === 'owned' || standing.kind === 'session-missing';
  const record = view.owners.get(group.id);
  const seen = election.ownerSeenAt.get(group.id);
  const isMine = isOwned && standing.director === me;
  const until = holding?.kind === 'open' && holding.until > now ? holding.until : null;
  const isStoodFor = isBySegment(holding);
  const isStandIn = isStoodFor && until !== null;
  const handover = handoverOf(holding);
  const own = handover !== null ? 'leaving-here' : until !== null ? 'held-here' : 'opening-here';
  const isHere = holding !== undefined && (isMine || isStoodFor || holding.kind === 'leaving');
  return {
    name: group.id,
    addresses: group.addresses.map((entry) => `${entry.address}/${entry.prefix}`),
    // A stand-in speaks under the record of another director, which a candidate waits for.
    holder: isStandIn ? me : isOwned ? standing.director : null,
    epoch: isOwned || isStandIn ? (record?.rev ?? null) : null,
    ownedForMs:
      isOwned && !isStandIn && seen !== undefined && seen.rev === record?.rev
        ? Math.max(0, Math.round(now - seen.at))
        : null,
    state: isHere ? own : isOwned ? 'held-elsewhere' : 'vacant',
    handover: isHere ? handover : null,
    pending: pendingOf(view, group.id).map(({ director, epoch }) => ({ director, epoch })),
    basis: isStoodFor ? 'segment' : isOwned ? basisOf(election, isMine) : null,
    reason: isStandIn ? 'stood-in' : (record?.value?.reason ?? 'nobody has ever held it'),
    remainingMs: isMine || isStandIn ? remainingMs(until, now) : null,
  };
}

const isBySegment = (holding: Holding | undefined): boolean =>
  (holding?.kind === 'owned' || holding?.kind === 'open') && holding.right === 'segment';

/** Of other holders only the record is known here. */
const basisOf = ({ basis }: ElectionState, isMine: boolean): GroupStatus['basis'] =>
  (isMine ? basis : null) ?? 'consensus';

const remainingMs = (until: MonoMs | null, now: MonoMs): number | null =>
  until === null ? null : Math.max(0, Math.round(until - now));

/** How a holding that is being given up goes; null: it is not. */
function handoverOf(holding: Holding | undefined): GroupStatus['handover'] {
  if (holding?.kind === 'leaving') {
    const { to, reason, operation } = holding.giveUp;
    return { to, phase: holding.phase, reason, operation };
  }
  if (holding?.kind !== 'closing' && holding?.kind !== 'shut') return null;
  const { giveUp } = holding;
  return {
    to: giveUp?.to ?? null,
    phase: 'closing',
    reason: giveUp?.reason ?? null,
    operation: giveUp?.operation ?? null,
  };
}
