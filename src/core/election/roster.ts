/**
 * What the holdings are together, but for their deadlines: looked up by several rooms in every step, and
 * worked out anew only when a holding has become another one. Rounds that only renew leave it as it is.
 */
import {
  type DirectorId,
  type Epoch,
  type GroupId,
  type MonoMs,
  monoMs,
  type Revision,
  revisionOf,
} from '../../model/ids.ts';
import { type Draft, own, remove } from './draft.ts';
import type { Holding } from './state.ts';

export type Roster = {
  /** The owner records that a round has to prove: of all that may speak until the kernel has silenced it. */
  readonly guarded: ReadonlyMap<GroupId, Revision>;
  /** What speaks here, as heartbeats tell it. */
  readonly armed: readonly { readonly group: GroupId; readonly epoch: Epoch }[];
  readonly count: Readonly<Record<Holding['kind'], number>>;
  /** Something whose record is lost must be silent before anything is armed again. */
  readonly isLosing: boolean;
  /** Something speaks here that the record gives to another director. */
  readonly isStandingIn: boolean;
};

/** The owner record that a round must prove unchanged for this holding. */
export const ownerRevOf = (holding: Holding): Revision =>
  holding.kind === 'leaving' || holding.kind === 'closing'
    ? holding.ownerRev
    : revisionOf(holding.epoch);

/** Of the holdings as they are now: the very same as long as none of them has become another. */
export function rosterOf({ state }: Draft): Roster {
  state.roster ??= makeRoster(state.holdings);
  return state.roster;
}

function makeRoster(holdings: ReadonlyMap<GroupId, Holding>): Roster {
  const guarded = new Map<GroupId, Revision>();
  const armed: { group: GroupId; epoch: Epoch }[] = [];
  const count = { owned: 0, open: 0, leaving: 0, closing: 0, shut: 0 };
  let isLosing = false;
  let isStandingIn = false;
  for (const [group, holding] of holdings) {
    count[holding.kind]++;
    if (holding.kind !== 'shut' && !isCandidate(holding)) guarded.set(group, ownerRevOf(holding));
    if (holding.kind === 'open') armed.push({ group, epoch: holding.epoch });
    isLosing ||= holding.kind === 'closing' && holding.isLost;
    isStandingIn ||= holding.kind === 'open' && holding.right === 'segment';
  }
  return { guarded, armed, count, isLosing, isStandingIn };
}

/** Stands for a group of another's record, and is silent: no round has to prove anything of it. */
const isCandidate = (holding: Holding): boolean =>
  holding.kind === 'owned' && holding.right === 'segment';

/** A holding as it begins: silent. */
export const ownedHolding = (
  epoch: Epoch,
  since: MonoMs,
  formers: readonly DirectorId[],
  { right, mustProbe }: Pick<Holding & { kind: 'owned' }, 'right' | 'mustProbe'>,
): Holding & { kind: 'owned' } => ({
  kind: 'owned',
  right,
  epoch,
  since,
  failures: 0,
  mustProbe,
  preparedUntil: null,
  isOpening: false,
  formers,
});

/** The group is held like this from now on. */
export function hold(draft: Draft, group: GroupId, holding: Holding): void {
  own(draft, 'holdings').set(group, holding);
  draft.state.roster = null;
  draft.state.lapseAt = null;
}

/** The group is not held any more in any way. */
export function unhold(draft: Draft, group: GroupId): void {
  remove(draft, 'holdings', group);
  draft.state.roster = null;
  draft.state.lapseAt = null;
}

/** What speaks goes on for longer: nothing else of it may differ but the count of its failures. */
export function renew(draft: Draft, group: GroupId, holding: Holding & { kind: 'open' }): void {
  own(draft, 'holdings').set(group, holding);
  draft.state.lapseAt = null;
}

/** When the first of the groups that speak here falls silent, if nothing renews it; Infinity: none speaks. */
export function lapseAt({ state }: Draft): MonoMs {
  if (state.lapseAt !== null) return state.lapseAt;
  let soonest = Number.POSITIVE_INFINITY;
  for (const holding of state.holdings.values())
    if (holding.kind === 'open' && holding.until < soonest) soonest = holding.until;
  state.lapseAt = monoMs(soonest);
  return state.lapseAt;
}
