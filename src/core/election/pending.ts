/**
 * Former holders of a group: until each of them is proven mute, its new owner stays silent (design
 * 4.12). A proof is its own word (`muted`), the entry gone from the record, or its session's end.
 */
import type { DirectorId, Epoch, GroupId } from '../../model/ids.ts';
import type { HoldingName } from '../../model/peer.ts';
import { formatRecord, type OwnerRecord } from '../../model/records.ts';
import { type Draft, isBusy, own, remove, request } from './draft.ts';
import { type PendingEntry, pendingOf, revOf } from './view.ts';

/** Names one former holding for good: epochs never come back. */
const entryKey = (group: GroupId, director: string, session: number, epoch: number): string =>
  `${group} ${director} ${session} ${epoch}`;

/** Its director told that it is mute: it answers nobody, though its entry stands. */
export const isMutedEntry = ({ state }: Draft, group: GroupId, entry: PendingEntry): boolean =>
  state.muted.has(entryKey(group, entry.director, entry.session, entry.epoch));

/** Former holders other than this life that may still answer for the group. */
export function unresolvedOf(draft: Draft, group: GroupId): readonly PendingEntry[] {
  return pendingOf(draft.state.view, group).filter(
    (entry) => !isMyEntry(draft, entry) && !isMutedEntry(draft, group, entry),
  );
}

export const isUnresolved = (draft: Draft, group: GroupId): boolean =>
  unresolvedOf(draft, group).length > 0;

/** True for a holding of this very life. */
export function isMyEntry(draft: Draft, entry: PendingEntry): boolean {
  const { state, config } = draft;
  return (
    state.session.kind === 'open' &&
    entry.director === config.me &&
    entry.session === (state.session.id as number)
  );
}

/** This life's entry in the group's record, if it has one. */
export const myEntry = (draft: Draft, group: GroupId): PendingEntry | undefined =>
  pendingOf(draft.state.view, group).find((entry) => isMyEntry(draft, entry));

/** What a new owner record must carry on: all but who is proven silent, and this life itself. */
export const carriedOf = (draft: Draft, group: GroupId): OwnerRecord['pending'] =>
  pendingOf(draft.state.view, group).filter((entry) => !isMyEntry(draft, entry));

export function onMutedWord(draft: Draft, from: DirectorId, name: HoldingName): void {
  own(draft, 'muted').add(entryKey(name.group, from, name.session, name.epoch));
}

/**
 * Forgets words about entries that no record names. A word may come before the record that it is
 * about, so it is kept as long as there are few.
 */
export function forgetMuted(draft: Draft): void {
  const { state } = draft;
  if (state.muted.size <= MUTED_MAX) return;
  const named = new Set<string>();
  for (const [group, known] of state.view.owners)
    for (const { director, session, epoch } of known.value?.pending ?? [])
      named.add(entryKey(group, director, session, epoch));
  for (const key of state.muted) if (!named.has(key)) remove(draft, 'muted', key);
}

const MUTED_MAX = 1000;

/** One kernel operation away from speaking: the former holders may go mute now. */
export function tellPrepared(draft: Draft, group: GroupId, epoch: Epoch): void {
  const { state } = draft;
  if (state.session.kind !== 'open') return;
  const session = state.session.id;
  for (const entry of unresolvedOf(draft, group))
    draft.effects.push({
      kind: 'tell',
      to: entry.director as DirectorId,
      message: { kind: 'prepared', session, group, epoch },
    });
}

const slotOf = (group: GroupId): string => `pending/${group}`;

/** The group's record is being written anew by this director, or rests after a failure. */
export const isRewriting = (draft: Draft, group: GroupId): boolean => isBusy(draft, slotOf(group));

/** Writes another record for the same owner, while the one in sight and this session are unchanged. */
export function rewriteOwner(draft: Draft, group: GroupId, record: OwnerRecord): void {
  const { state, config } = draft;
  if (state.session.kind !== 'open') return;
  const { keys, me } = config;
  request(
    draft,
    slotOf(group),
    { kind: 'resolve-pending', group, record },
    {
      compares: [
        { key: keys.owner(group), modRevision: revOf(state.view.owners, group) },
        { key: keys.session(me), modRevision: state.session.rev },
      ],
      success: [{ op: 'put', key: keys.owner(group), value: formatRecord(record) }],
      failure: [
        { op: 'get', key: keys.owner(group) },
        { op: 'get', key: keys.session(me) },
      ],
    },
  );
}
