/** Taking a group that a record proves free: released, orphaned, or vacant for the longest D' (design 4.6). */
import type { VipGroup } from '../../model/cluster.ts';
import type { HoldReason } from '../../model/decision.ts';
import { ABSENT, type GroupId, monoMs, type MonoMs, revisionOf } from '../../model/ids.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import { alarmOnce, type Draft, isBusy, learn, notice, request, written } from './draft.ts';
import { rankCandidates } from './placement.ts';
import { roundGuard } from './round.ts';
import type { Purpose, TxnReply } from './state.ts';
import {
  DRAINED_CLAIM_MS,
  GROUPS_PER_TXN,
  longestWaitMs,
  RANK_DELAY_MS,
  VACANT_RANK_DELAY_MS,
} from './timing.ts';
import { type OwnerStanding, ownerStanding, revOf } from './view.ts';

export function advanceClaims(draft: Draft): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open' || !state.isSynced) return;
  for (const group of config.groups) {
    if (state.holdings.has(group.id)) continue;
    const standing = ownerStanding(state.view, group.id);
    const dueAt = claimDueAt(draft, group, standing);
    if (dueAt === null || dueAt > draft.now || isBusy(draft, `claim/${group.id}`)) continue;
    if (standing.kind === 'absent') markVacant(draft, group.id);
    else if (standing.kind === 'unreadable') leaveAlone(draft, group.id);
    else claim(draft, group.id, standing);
  }
}

/** When this director should act on the group; null: not at all as things are. */
function claimDueAt(draft: Draft, group: VipGroup, standing: OwnerStanding): MonoMs | null {
  const { state, config, now } = draft;
  if (standing.kind === 'owned' || standing.kind === 'session-missing') {
    state.claimable.delete(group.id);
    return null;
  }
  const candidates = rankCandidates(state, config, group, now);
  const mine = candidates.find((candidate) => candidate.director === config.me);
  const able = candidates.filter((candidate) => candidate.obstacle === null);
  const rank = able.findIndex((candidate) => candidate.director === config.me);
  if (rank === -1 && mine?.obstacle !== 'draining') return null;
  const rev = revOf(state.view.owners, group.id);
  const since = claimableSince(draft, group.id, rev);
  const barrier = standing.kind === 'vacant' ? longestWaitMs(state.view, config.timing) : 0;
  const perRank = standing.kind === 'vacant' ? VACANT_RANK_DELAY_MS : RANK_DELAY_MS;
  const delay = rank === -1 ? DRAINED_CLAIM_MS : rank * perRank;
  return monoMs(since + barrier + delay);
}

function claimableSince(draft: Draft, group: GroupId, rev: ReturnType<typeof revOf>): MonoMs {
  const { state, now } = draft;
  const known = state.claimable.get(group);
  if (known !== undefined && known.rev === rev) return known.since;
  state.claimable.set(group, { rev, since: now });
  return now;
}

/**
 * Nobody's record: a new group, or one that was deleted by hand while somebody holds it. The marker
 * makes the rounds of such a holder fail, and after D' nobody can speak.
 */
function markVacant(draft: Draft, group: GroupId): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return;
  request(
    draft,
    `claim/${group}`,
    { kind: 'mark-vacant', group },
    {
      compares: [
        { key: config.keys.owner(group), modRevision: ABSENT },
        { key: config.keys.session(config.me), modRevision: revisionOf(state.session.id) },
      ],
      success: [{ op: 'put', key: config.keys.owner(group), value: formatRecord(VACANT) }],
      failure: [
        { op: 'get', key: config.keys.owner(group) },
        { op: 'get', key: config.keys.session(config.me) },
      ],
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

function claim(draft: Draft, group: GroupId, standing: OwnerStanding): void {
  const { state, config } = draft;
  const { keys, me } = config;
  const reason = claimReason(standing);
  const compares = [
    { key: keys.owner(group), modRevision: revOf(state.view.owners, group) },
    ...roundGuard(draft).slice(0, GROUPS_PER_TXN),
  ];
  const failure = [
    { op: 'get' as const, key: keys.owner(group) },
    { op: 'get' as const, key: keys.session(me) },
  ];
  if (standing.kind === 'orphaned') {
    compares.push({ key: keys.session(standing.director), modRevision: standing.sessionRev });
    failure.push({ op: 'get' as const, key: keys.session(standing.director) });
  }
  request(
    draft,
    `claim/${group}`,
    { kind: 'claim', group, reason },
    {
      compares: distinct(compares),
      success: [
        { op: 'put', key: keys.owner(group), value: formatRecord(ownRecord(draft, reason)) },
      ],
      failure,
    },
  );
}

/** My own former session is a guard and a proof at once; etcd needs the compare only once. */
function distinct<T extends { key: string }>(compares: readonly T[]): readonly T[] {
  return [...new Map(compares.map((compare) => [compare.key, compare])).values()];
}

function claimReason(standing: OwnerStanding): HoldReason {
  if (standing.kind === 'vacant') return 'vacant';
  if (standing.kind === 'orphaned')
    return standing.cause === 'broken' ? 'holder-dead' : 'holder-closed';
  return 'released';
}

const ownRecord = (draft: Draft, reason: HoldReason): OwnerRecord => ({
  v: 1,
  director: draft.config.me,
  session: draft.state.session.kind === 'open' ? revisionOf(draft.state.session.id) : 0,
  pending: [],
  vacant: false,
  reason,
});

export function onClaimReply(draft: Draft, purpose: Purpose, reply: TxnReply): void {
  if (purpose.kind !== 'mark-vacant' && purpose.kind !== 'claim') return;
  const { group } = purpose;
  if (reply.kind === 'answered' && reply.succeeded) {
    const value = purpose.kind === 'claim' ? ownRecord(draft, purpose.reason) : VACANT;
    learn(draft, [{ of: 'owner', name: group, known: written(reply.revision, value) }]);
    if (purpose.kind === 'mark-vacant')
      draft.state.claimable.set(group, { rev: reply.revision, since: draft.now });
  }
}

/** Moments at which this room may have something to do by time alone. */
export function* claimWakes(draft: Draft): Generator<number> {
  if (draft.state.session.kind !== 'open') return;
  for (const group of draft.config.groups) {
    if (draft.state.holdings.has(group.id)) continue;
    const dueAt = claimDueAt(draft, group, ownerStanding(draft.state.view, group.id));
    if (dueAt !== null) yield dueAt;
  }
}
