/** Keeps the holdings in step with the owner records: what the records give, and what they take. */
import { ABSENT, epochOf, type GroupId } from '../../model/ids.ts';
import { HOLD_REASONS } from '../../model/decision.ts';
import { alarmOnce, type Draft, notice } from './draft.ts';
import { hurryRound } from './round.ts';
import { silence } from './silence.ts';
import type { Holding } from './state.ts';
import { ownerStanding } from './view.ts';

export function advanceOwnership(draft: Draft): void {
  const { state, config, now } = draft;
  if (!state.isSynced) return;
  const groups = new Set<GroupId>([
    ...config.groups.map((group) => group.id),
    ...state.holdings.keys(),
    ...state.view.owners.keys(),
  ]);
  for (const group of groups) {
    const rev = state.view.owners.get(group)?.rev ?? ABSENT;
    if (state.ownerSeenAt.get(group)?.rev !== rev) state.ownerSeenAt.set(group, { rev, at: now });
    if (isMine(draft, group)) adopt(draft, group);
    else drop(draft, group);
  }
}

function isMine(draft: Draft, group: GroupId): boolean {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return false;
  const standing = ownerStanding(state.view, group);
  return (
    standing.kind === 'owned' &&
    standing.director === config.me &&
    standing.session === state.session.id
  );
}

function adopt(draft: Draft, group: GroupId): void {
  const { state, now } = draft;
  const known = state.view.owners.get(group);
  if (known === undefined) return;
  const epoch = epochOf(known.rev);
  const holding = state.holdings.get(group);
  if (holding?.epoch === epoch) return;
  // A new epoch starts silent: what still closes for the old one finishes first.
  if (holding?.kind === 'closing') return;
  state.holdings.set(group, { kind: 'owned', epoch, since: now, failures: 0 });
  hurryRound(draft);
  const told = known.value?.reason;
  const reason = HOLD_REASONS.find((one) => one === told);
  notice(draft, 'holder.gained', 'info', `the owner record names this director: ${told ?? ''}`, {
    group,
    epoch,
    ...(reason === undefined ? {} : { reason }),
  });
}

function drop(draft: Draft, group: GroupId): void {
  const { state } = draft;
  const holding = state.holdings.get(group);
  if (holding === undefined) return;
  switch (holding.kind) {
    case 'shut':
      state.holdings.delete(group);
      notice(draft, 'holder.released', 'info', releaseText(holding), {
        group,
        epoch: holding.epoch,
        reason: holding.giveUp.reason,
      });
      if (holding.giveUp.operation !== null && holding.giveUp.to !== null)
        draft.effects.push({
          kind: 'operation',
          id: holding.giveUp.operation,
          state: 'running',
          text: `silent here; the owner record names ${holding.giveUp.to}`,
        });
      return;
    case 'closing':
      if (holding.giveUp !== null) state.holdings.set(group, { ...holding, giveUp: null });
      return;
    case 'owned':
    case 'open':
      silence(draft, group, holding, null);
      notice(draft, 'holder.lost', 'warn', 'the owner record no longer names this life', {
        group,
        epoch: holding.epoch,
        reason: 'ownership-lost',
      });
      if (ownerStanding(state.view, group).kind === 'absent' && alarmOnce(draft, `absent:${group}`))
        notice(draft, 'owner.missing', 'error', 'somebody removed the owner record', { group });
  }
}

const releaseText = (holding: Holding & { kind: 'shut' }): string =>
  holding.giveUp.to === null ? 'to nobody' : `to ${holding.giveUp.to}`;
