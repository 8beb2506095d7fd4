/**
 * The VIP groups of the status document: who holds them by the record, who speaks for them, how far a handover
 * or a candidacy is, who else could.
 */
import { type Candidacies, type Candidacy, createCandidacies } from '../core/election/candidacy.ts';
import { createRanking } from '../core/election/placement.ts';
import type { ElectionConfig, ElectionState, Holding } from '../core/election/state.ts';
import { ownerStanding, pendingOf } from '../core/election/view.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import type { DirectorId, GroupId, MonoMs } from '../model/ids.ts';
import type { GroupStatus, IsolationStatus, TrackStatus, VrrpStatus } from '../model/status.ts';
import { REFUSAL_WORDS } from '../model/status-words.ts';
import type { StandInBook } from './stand-in-book.ts';

export type GroupStatusInput = {
  readonly me: DirectorId;
  readonly now: MonoMs;
  readonly spec: ClusterSpec | null;
  readonly election: ElectionState;
  readonly config: ElectionConfig | null;
  /** Of the groups that have any. */
  readonly tracks: ReadonlyMap<GroupId, readonly TrackStatus[]>;
  readonly vrrp: (group: GroupId) => readonly VrrpStatus[];
  readonly standIns: Pick<StandInBook, 'refusalOf' | 'sinceOf'>;
  readonly isolation: IsolationStatus | null;
};

/** In the order of the spec; everything that many groups share is computed once. */
export function groupStatuses(input: GroupStatusInput): GroupStatus[] {
  const { config, election, now } = input;
  const ranking = config === null ? null : createRanking(election, config, now);
  const candidacies = config === null ? NO_CANDIDACIES : createCandidacies(election, config, now);
  return (input.spec?.groups ?? []).map((group) => ({
    ...holdingStatus(input, group, candidacies),
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

const NO_CANDIDACIES: Candidacies = { of: () => null, standInOf: () => null };

function holdingStatus(
  input: GroupStatusInput,
  group: VipGroup,
  candidacies: Candidacies,
): Omit<GroupStatus, 'candidates' | 'tracks' | 'vrrp'> {
  const { election, now, me } = input;
  const { view } = election;
  const standing = ownerStanding(view, group.id);
  const holding = election.holdings.get(group.id);
  const standIn = candidacies.standInOf(group.id);
  const isOwned = standing.kind === 'owned' || standing.kind === 'session-missing';
  const record = view.owners.get(group.id);
  const seen = election.ownerSeenAt.get(group.id);
  const isMine = isOwned && standing.director === me;
  const isStoodFor = isBySegment(holding);
  const until = holding?.kind === 'open' && holding.until > now ? holding.until : null;
  const handover = handoverOf(holding);
  const own = handover !== null ? 'leaving-here' : until !== null ? 'held-here' : 'opening-here';
  const isHere = holding !== undefined && (isMine || isStoodFor || holding.kind === 'leaving');
  const isHeld = isOwned || standIn !== null;
  return {
    name: group.id,
    addresses: group.addresses.map((entry) => `${entry.address}/${entry.prefix}`),
    holder: standIn ?? (isOwned ? standing.director : null),
    epoch: isHeld ? (record?.rev ?? null) : null,
    ownedForMs:
      isOwned && standIn === null && seen !== undefined && seen.rev === record?.rev
        ? Math.max(0, Math.round(now - seen.at))
        : null,
    state: isHere ? own : isHeld ? 'held-elsewhere' : 'vacant',
    ...standInStatus(input, group.id, standIn),
    ...candidacyStatus(input, group.id, candidacies.of(group.id)),
    handover: isHere ? handover : null,
    pending: pendingOf(view, group.id).map(({ director, epoch }) => ({ director, epoch })),
    basis: isStoodFor || standIn !== null ? 'segment' : isOwned ? basisOf(election, isMine) : null,
    reason: standIn === null ? (record?.value?.reason ?? 'nobody has ever held it') : 'stood-in',
    remainingMs: isHere && until !== null ? Math.max(0, Math.round(until - now)) : null,
  };
}

const isBySegment = (holding: Holding | undefined): boolean =>
  (holding?.kind === 'owned' || holding?.kind === 'open') && holding.right === 'segment';

/** Of other holders only the record is known here. */
const basisOf = ({ basis }: ElectionState, isMine: boolean): GroupStatus['basis'] =>
  (isMine ? basis : null) ?? 'consensus';

function standInStatus(
  { election, standIns, now, me }: GroupStatusInput,
  group: GroupId,
  director: DirectorId | null,
): Pick<GroupStatus, 'standIn'> {
  if (director === null) return {};
  const holding = election.holdings.get(group);
  const openedAt = director === me && holding?.kind === 'open' ? holding.openedAt : null;
  const since = openedAt ?? standIns.sinceOf(group, director);
  const recordHolder = election.view.owners.get(group)?.value?.director ?? 'nobody';
  return { standIn: { recordHolder, forMs: since === null ? null : Math.round(now - since) } };
}

/** A refusal is the reason for so many hold times: it is repeated with every round. */
const REFUSAL_HOLDS = 2;

function candidacyStatus(
  { standIns, isolation, config, now, me }: GroupStatusInput,
  group: GroupId,
  candidacy: Candidacy | null,
): Pick<GroupStatus, 'candidacy'> {
  if (candidacy === null) return {};
  const { phase } = candidacy;
  const isAsking = candidacy.holder !== me && (phase === 'probing' || phase === 'asking');
  if (isAsking && isolation?.isReachable === false) return { candidacy: NO_GATEWAY };
  const refusal = standIns.refusalOf(group);
  const freshMs = REFUSAL_HOLDS * (config?.timing.holdMs ?? 0);
  if (isAsking && refusal !== null && now < refusal.at + freshMs) {
    const { by, reason } = refusal;
    const detail = `was refused by ${by}: ${REFUSAL_WORDS[reason]} (${reason})`;
    return { candidacy: { phase: 'refused', detail } };
  }
  return { candidacy: { phase, detail: detailOf(candidacy) } };
}

const NO_GATEWAY = {
  phase: 'gateway-silent',
  detail: 'may not speak for it: no gateway answers',
} as const;

function detailOf(candidacy: Candidacy): string {
  switch (candidacy.phase) {
    case 'waiting':
      return `waits: ${candidacy.holder} was not heard for ${candidacy.silentMs} of ${candidacy.neededMs} ms`;
    case 'promised':
      return `has promised to leave it to ${candidacy.to}`;
    case 'probing':
      return 'asks the network whether anybody has the VIPs';
    case 'answered':
      return candidacy.isTold
        ? `found somebody with the VIPs, told it to yield, and speaks in ${candidacy.inMs} ms`
        : `finds somebody with the VIPs, or cannot find out; asks again in ${candidacy.inMs} ms`;
    case 'stepped-back':
      return `lets others try for ${candidacy.inMs} ms: somebody had the VIPs, or the others did not agree`;
    case 'gateway-silent':
      return NO_GATEWAY.detail;
    case 'asking':
      return 'finds nobody with the VIPs, and asks the other directors';
  }
}

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
