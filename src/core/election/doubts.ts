/**
 * Txns of mine that may have been committed, or may be yet, and would take something from another
 * director: until the records tell, it gets no promise (design 4.8).
 */
import type { DirectorId, GroupId, Revision } from '../../model/ids.ts';
import type { Draft } from './draft.ts';
import type { Doubt, Purpose, TxnRequest } from './state.ts';
import type { Known } from './view.ts';

/** Whom the txn brings down, and which groups it takes; null where it takes nothing from anybody. */
function aimOf(purpose: Purpose): Pick<Doubt, 'against' | 'groups'> | null {
  switch (purpose.kind) {
    case 'kill':
      return { against: purpose.against, groups: new Set(purpose.claims.keys()) };
    case 'claim':
      return { against: null, groups: new Set(purpose.claims.keys()) };
    case 'transfer':
      return { against: null, groups: new Set(purpose.records.keys()) };
    case 'mark-vacant':
      return { against: null, groups: new Set(purpose.groups) };
    default:
      return null;
  }
}

export function noteDoubt(draft: Draft, purpose: Purpose, compares: TxnRequest['compares']): void {
  const aim = aimOf(purpose);
  if (aim === null) return;
  // Tried again and again with the same compares, in an outage of any length: it is one doubt.
  const doubt = { ...aim, compares, since: draft.now };
  const others = draft.state.doubts.filter((one) => !isSame(one, doubt));
  draft.state.doubts = [...others, doubt];
}

const isSame = (one: Doubt, other: Doubt): boolean =>
  one.against === other.against &&
  one.compares.length === other.compares.length &&
  one.compares.every(({ key, modRevision }, i) => {
    const another = other.compares[i];
    return another?.key === key && another.modRevision === modRevision;
  });

/** Under way, or in doubt: a kill of the director, or anything that takes one of the groups. */
export function isDoubtful(
  { state }: Draft,
  director: DirectorId,
  groups: readonly GroupId[],
): boolean {
  const concerns = (aim: Pick<Doubt, 'against' | 'groups'> | null): boolean =>
    aim !== null && (aim.against === director || groups.some((group) => aim.groups.has(group)));
  for (const { purpose } of state.inFlight.values()) if (concerns(aimOf(purpose))) return true;
  // Decided, and sent when the rest of its round is answered.
  const last = state.round.kind === 'sent' ? state.round.last : [];
  if (last.some(({ purpose }) => concerns(aimOf(purpose)))) return true;
  return state.doubts.some(concerns);
}

/** A txn whose compares do not hold any more can change nothing, now or later: revisions only grow. */
export function settleDoubts(draft: Draft): void {
  const { state } = draft;
  if (state.doubts.length === 0) return;
  const known = revisionsByKey(draft);
  const left = state.doubts.filter(
    ({ compares }) => !compares.some(({ key, modRevision }) => isPast(known.get(key), modRevision)),
  );
  if (left.length < state.doubts.length) state.doubts = left;
}

const isPast = (known: Known<unknown> | undefined, compared: Revision): boolean =>
  known !== undefined && known.rev !== compared && known.asOf > compared;

function revisionsByKey({ state, config }: Draft): ReadonlyMap<string, Known<unknown>> {
  const { keys } = config;
  const { sessions, scopes, challenges, owners, confirmedDead } = state.view;
  const known = new Map<string, Known<unknown>>();
  for (const [director, one] of sessions) known.set(keys.session(director), one);
  for (const [director, one] of scopes) known.set(keys.scope(director), one);
  for (const [director, one] of challenges) known.set(keys.challenge(director), one);
  for (const [director, one] of confirmedDead) known.set(keys.confirmDead(director), one);
  for (const [group, one] of owners) known.set(keys.owner(group), one);
  return known;
}
