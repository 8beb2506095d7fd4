/**
 * What the owner and session records say together, group by group: looked up by several rooms in every
 * step, and computed anew only when one of these records has changed.
 */
import type { DirectorId, GroupId } from '../../model/ids.ts';
import { type ElectionView, type OwnerStanding, ownerStanding } from './view.ts';

export type Survey = {
  /** The records that it was made from. */
  readonly owners: ElectionView['owners'];
  readonly sessions: ElectionView['sessions'];
  /** Of every group with a record that was ever seen. */
  readonly standings: ReadonlyMap<GroupId, OwnerStanding>;
  /** Groups that a record gives to a director whose session is not proven over. */
  readonly owned: ReadonlyMap<DirectorId, readonly GroupId[]>;
  /** Groups whose record names former holders. */
  readonly pending: readonly GroupId[];
};

const NO_RECORD: OwnerStanding = { kind: 'absent' };

/** What a director has by the records: groups that it owns, and groups that it may still answer for. */
export type Held = { readonly owned: readonly GroupId[]; readonly pending: readonly GroupId[] };

/** The survey of the view as it is now; `known` where it still is that. */
export function surveyOf(view: ElectionView, known: Survey | null): Survey {
  const { owners, sessions } = view;
  if (known?.owners === owners && known.sessions === sessions) return known;
  const standings = new Map<GroupId, OwnerStanding>();
  const owned = new Map<DirectorId, GroupId[]>();
  const pending: GroupId[] = [];
  for (const [group, { value }] of owners) {
    if (value !== null && value.pending.length > 0) pending.push(group);
    const standing = ownerStanding(view, group);
    standings.set(group, standing);
    if (standing.kind !== 'owned' && standing.kind !== 'session-missing') continue;
    const groups = owned.get(standing.director) ?? [];
    groups.push(group);
    owned.set(standing.director, groups);
  }
  return { owners, sessions, standings, owned, pending };
}

export const standingIn = ({ standings }: Survey, group: GroupId): OwnerStanding =>
  standings.get(group) ?? NO_RECORD;
