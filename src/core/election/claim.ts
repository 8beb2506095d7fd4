/** Taking a group that a record proves free: released, orphaned, or vacant for the longest D' (design 4.6). */
import type { VipGroup } from '../../model/cluster.ts';
import type { HoldReason } from '../../model/decision.ts';
import { ABSENT, type GroupId, monoMs, type MonoMs, revisionOf } from '../../model/ids.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import {
  alarmOnce,
  type Draft,
  isBusy,
  learn,
  notice,
  own,
  rankingOf,
  remove,
  request,
  surveyed,
  written,
} from './draft.ts';
import { learnOwners } from './handover.ts';
import { carriedOf } from './pending.ts';
import { isLastResort } from './placement.ts';
import { promisedTo } from './promises.ts';
import { onRoundAcquisition } from './round.ts';
import { isInScope } from './scope.ts';
import { rosterOf } from './roster.ts';
import { isStandIn, standInOf } from './stand-in.ts';
import type { Purpose, TxnReply } from './state.ts';
import { standingIn } from './survey.ts';
import {
  DRAINED_CLAIM_MS,
  GROUPS_PER_TXN,
  longestWaitMs,
  RANK_DELAY_MS,
  VACANT_RANK_DELAY_MS,
} from './timing.ts';
import { type OwnerStanding, revOf } from './view.ts';
import type { Wake } from './wake.ts';

/** A stand-in that does not take the record for so long has no store: who has it takes the group. */
const STAND_IN_CLAIM_MS = 5000;

/** Each may need its owner and its former owner's session compared; etcd allows 128 a txn. */
const CLAIMS_PER_TXN = 60;

export function advanceClaims(draft: Draft): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open' || !state.isSynced || state.isFreezing) return;
  if (isNothingFree(draft)) return;
  const due = new Map<GroupId, OwnerStanding>();
  const absent: GroupId[] = [];
  let isAnyFree = false;
  for (const group of config.groups) {
    if (isHolding(draft, group.id)) continue;
    const standing = standingIn(surveyed(draft), group.id);
    if (isTaken(standing)) {
      remove(draft, 'claimable', group.id);
      continue;
    }
    isAnyFree = true;
    const dueAt = claimDueAt(draft, group, standing);
    if (dueAt === null) continue;
    seeClaimable(draft, group.id);
    if (dueAt > draft.now || isBusy(draft, `claim/${group.id}`)) continue;
    if (promisedTo(draft, group.id) !== null) continue;
    if (standing.kind === 'absent') absent.push(group.id);
    else if (standing.kind === 'unreadable') leaveAlone(draft, group.id);
    else due.set(group.id, standing);
  }
  markAllVacant(draft, absent);
  const groups = [...due];
  for (let i = 0; i < groups.length; i += CLAIMS_PER_TXN)
    claim(draft, i / CLAIMS_PER_TXN, groups.slice(i, i + CLAIMS_PER_TXN));
  const known = { survey: surveyed(draft), roster: rosterOf(draft), claimable: state.claimable };
  state.unclaimable = isAnyFree ? null : { ...known, groups: config.groups };
}

/** The last look found every group held or taken, and none of what it looked at has changed. */
function isNothingFree(draft: Draft): boolean {
  const { state, config } = draft;
  const { unclaimable } = state;
  return (
    unclaimable !== null &&
    unclaimable.survey === surveyed(draft) &&
    unclaimable.roster === rosterOf(draft) &&
    unclaimable.groups === config.groups &&
    unclaimable.claimable === state.claimable
  );
}

/** A record gives it to a director whose session is not proven over. */
const isTaken = ({ kind }: OwnerStanding): boolean =>
  kind === 'owned' || kind === 'session-missing';

/** A group that leaves is another's by the record, and may have to come back. */
const isHolding = (draft: Draft, group: GroupId): boolean => {
  const kind = draft.state.holdings.get(group)?.kind;
  return kind !== undefined && kind !== 'leaving' && !isStandIn(draft, group);
};

/** When this director should act on the group; null: not at all as things are. */
function claimDueAt(draft: Draft, group: VipGroup, standing: OwnerStanding): MonoMs | null {
  const { state, config } = draft;
  if (isTaken(standing)) return null;
  const candidates = rankingOf(draft).of(group);
  const mine = candidates.find((candidate) => candidate.director === config.me);
  const able = candidates.filter((candidate) => candidate.obstacle === null);
  const rank = able.findIndex((candidate) => candidate.director === config.me);
  if (rank === -1 && !isLastResort(mine?.obstacle)) return null;
  if (standing.kind === 'vacant' && !isKnownToAll(draft)) return null;
  const since = claimableSince(draft, group.id);
  if (isStandIn(draft, group.id)) return since;
  // It goes on without a gap, and takes the record as soon as it has the store.
  if (standInOf(draft, group.id) !== null) return monoMs(since + STAND_IN_CLAIM_MS);
  const barrier = standing.kind === 'vacant' ? longestWaitMs(state.view, config.timing) : 0;
  const perRank = standing.kind === 'vacant' ? VACANT_RANK_DELAY_MS : RANK_DELAY_MS;
  // Where all are last resorts, the best of them goes first.
  const delay =
    rank === -1
      ? DRAINED_CLAIM_MS + perRank * candidates.findIndex((one) => one.director === config.me)
      : rank * perRank;
  return monoMs(since + barrier + delay);
}

/**
 * Somebody may hold what has lost its record, by the promises of its peers: whoever claims it after D' must
 * have been asked.
 */
function isKnownToAll({ state, config }: Draft): boolean {
  for (const { id } of config.directors) {
    const session = state.view.sessions.get(id)?.value ?? null;
    // That its session record is gone, too, proves nothing.
    const isOverByRecord = session !== null && session.state !== 'open';
    if (id === config.me || isOverByRecord) continue;
    if (!isInScope(state.view, id, config.me)) return false;
  }
  return true;
}

function claimableSince({ state, now }: Draft, group: GroupId): MonoMs {
  const known = state.claimable.get(group);
  return known?.rev === revOf(state.view.owners, group) ? known.since : now;
}

function seeClaimable(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  const rev = revOf(state.view.owners, group);
  if (state.claimable.get(group)?.rev !== rev)
    own(draft, 'claimable').set(group, { rev, since: now });
}

/**
 * Nobody's records: new groups, or ones that were deleted by hand while somebody holds them. The markers
 * make the rounds of such a holder fail, and after D' nobody can speak. Many groups share a txn: a document
 * with hundreds of new ones must not keep the rounds waiting.
 */
function markAllVacant(draft: Draft, absent: readonly GroupId[]): void {
  if (absent.length === 0) return;
  const marking = new Set<GroupId>();
  for (const { purpose } of draft.state.inFlight.values())
    if (purpose.kind === 'mark-vacant') for (const group of purpose.groups) marking.add(group);
  const groups = absent.filter((group) => !marking.has(group));
  for (let i = 0; i < groups.length; i += GROUPS_PER_TXN)
    markVacant(draft, i / GROUPS_PER_TXN, groups.slice(i, i + GROUPS_PER_TXN));
}

function markVacant(draft: Draft, chunk: number, groups: readonly GroupId[]): void {
  const { state, config } = draft;
  const slot = `vacant/${chunk}`;
  if (state.session.kind !== 'open' || isBusy(draft, slot)) return;
  const { keys, me } = config;
  const owners = groups.map((group) => keys.owner(group));
  const value = formatRecord(VACANT);
  request(
    draft,
    slot,
    { kind: 'mark-vacant', groups },
    {
      compares: [
        ...owners.map((key) => ({ key, modRevision: ABSENT })),
        { key: keys.session(me), modRevision: state.session.rev },
      ],
      success: owners.map((key) => ({ op: 'put', key, value })),
      failure: [...owners, keys.session(me)].map((key) => ({ op: 'get', key })),
    },
  );
}

/** Perhaps a newer version wrote it: it is not for this one to replace. */
function leaveAlone(draft: Draft, group: GroupId): void {
  if (!alarmOnce(draft, `unreadable:${group}`)) return;
  const key = draft.config.keys.owner(group);
  notice(
    draft,
    'record.unreadable',
    'error',
    `the owner record cannot be read; if no director of a newer version runs, delete it: etcdctl del ${key}`,
    { group },
  );
}

const VACANT: OwnerRecord = {
  v: 1,
  director: null,
  session: 0,
  pending: [],
  vacant: true,
  reason: 'vacant',
};

/** Rides on the next round; several groups share a txn, each with its own proof that it is free. */
function claim(
  draft: Draft,
  chunk: number,
  groups: readonly (readonly [GroupId, OwnerStanding])[],
): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return;
  const { keys, me } = config;
  // With an older spec in sight a VIP could be taken that has moved to another group since.
  const compares = new Map([
    [keys.session(me), state.session.rev],
    [keys.spec, config.specRev],
  ]);
  const reads = new Set([keys.session(me)]);
  const claims = new Map<GroupId, OwnerRecord>();
  for (const [group, standing] of groups) {
    compares.set(keys.owner(group), revOf(state.view.owners, group));
    reads.add(keys.owner(group));
    const isReturning = state.holdings.get(group)?.kind === 'leaving';
    const reason = isReturning ? 'failback' : claimReason(standing);
    claims.set(group, ownRecord(draft, group, reason));
    if (standing.kind !== 'orphaned') continue;
    compares.set(keys.session(standing.director), standing.sessionRev);
    reads.add(keys.session(standing.director));
  }
  const slot = `claim/${groups.length === 1 ? groups[0]?.[0] : `chunk ${chunk}`}`;
  if (isBusy(draft, slot)) return;
  draft.acquisitions.push({
    slot,
    // The round compares the records that it stands under.
    isLast: groups.some(([group]) => isStandIn(draft, group)),
    purposeOf: (round) => ({ kind: 'claim', round, claims }),
    txn: {
      compares: [...compares].map(([key, modRevision]) => ({ key, modRevision })),
      success: [...claims].map(([group, record]) => ({
        op: 'put',
        key: keys.owner(group),
        value: formatRecord(record),
      })),
      failure: [...reads].map((key) => ({ op: 'get', key })),
    },
  });
}

function claimReason(standing: OwnerStanding): HoldReason {
  if (standing.kind === 'vacant') return 'vacant';
  if (standing.kind === 'orphaned')
    return standing.cause === 'broken' ? 'holder-dead' : 'holder-closed';
  return 'released';
}

export const ownRecord = (draft: Draft, group: GroupId, reason: HoldReason): OwnerRecord => ({
  v: 1,
  director: draft.config.me,
  session: draft.state.session.kind === 'open' ? revisionOf(draft.state.session.id) : 0,
  pending: [...carriedOf(draft, group)],
  vacant: false,
  reason,
});

export function onVacantReply(
  draft: Draft,
  { groups }: Purpose & { kind: 'mark-vacant' },
  reply: TxnReply,
): void {
  if (reply.kind !== 'answered' || !reply.succeeded) return;
  const known = written(reply.revision, VACANT);
  learn(
    draft,
    groups.map((name) => ({ of: 'owner', name, known })),
  );
  for (const group of groups)
    own(draft, 'claimable').set(group, { rev: reply.revision, since: draft.now });
}

export function onClaimReply(
  draft: Draft,
  purpose: Purpose & { kind: 'claim' },
  reply: TxnReply,
): void {
  if (reply.kind === 'answered' && reply.succeeded) learnOwners(draft, purpose.claims, reply);
  onRoundAcquisition(draft, purpose.round, reply, purpose.claims.keys());
}

/** Moments at which this room may have something to do by time alone. */
export function claimWakes(draft: Draft, wake: Wake): void {
  if (draft.state.session.kind !== 'open' || isNothingFree(draft)) return;
  for (const group of draft.config.groups) {
    if (isHolding(draft, group.id)) continue;
    const dueAt = claimDueAt(draft, group, standingIn(surveyed(draft), group.id));
    if (dueAt !== null) wake.by(dueAt);
  }
}
