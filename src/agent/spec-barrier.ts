/**
 * A VIP that moves from one group to another must not speak in both (design 4.13): it is opened in the
 * new group only when all others tell that they enforce the very spec that moved it. Who is further on
 * has not told what it allows meanwhile: the VIP may have moved back.
 */
import type { ElectionView } from '../core/election/view.ts';
import { ownerStanding, pendingOf } from '../core/election/view.ts';
import type { IpAddress } from '../model/address.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import { ABSENT, type DirectorId, directorId, type GroupId, type Revision } from '../model/ids.ts';

export type SpecBarrier = {
  /** A newer spec is in force here. */
  setSpec(spec: ClusterSpec, revision: Revision): void;
  /** Looks whether all other holders enforce it by now. */
  look(view: ElectionView, me: DirectorId): void;
  /**
   * False after the start until every other holder enforces the spec: a move may be under way. False also while one
   * of them enforces a spec that was never in force here (this version cannot use it, or it is loading): a VIP that it
   * moved speaks there by that, and a group taken by an older one would let it speak here too.
   */
  isReady(): boolean;
  /** The addresses of the group that may speak now; its very own list where all may. */
  allowed(group: VipGroup): VipGroup['addresses'];
};

export function createSpecBarrier(): SpecBarrier {
  let current: { readonly spec: ClusterSpec; readonly revision: Revision } | null = null;
  /** The groups of each address in the last spec that all enforced, and in every one since. */
  let groups = new Map<IpAddress, Set<GroupId>>();
  /** The last spec that all enforced, and every one since. Who enforces none lets nothing speak by it. */
  let revisions = new Set<number>([ABSENT]);
  /** Those of which a record named somebody who may speak, and none has since that says who does. */
  const spokenFor = new Set<GroupId>();
  /** Whoever held it may have neither etcd nor a report: only who claims it, after D', proves that one silent. */
  const isHidden = (view: ElectionView, group: GroupId): boolean =>
    spokenFor.has(group) && isNameless(view, group);
  let isSettled = false;
  let wasSettled = false;
  let isKnown = true;
  return {
    setSpec: (spec, revision) => {
      if (current?.revision !== revision) isSettled = false;
      current = { spec, revision };
      revisions.add(revision);
      addGroups(groups, spec);
    },
    look: (view, me) => {
      if (current === null) return;
      for (const group of view.owners.keys()) noteSpeakers(spokenFor, view, group);
      isKnown = namedIn(view).every(
        (one) => one === me || revisions.has(view.reports.get(one)?.value?.specRevision ?? ABSENT),
      );
      if (isSettled) return;
      const { revision, spec } = current;
      const isAt = (director: DirectorId): boolean =>
        director === me || view.reports.get(director)?.value?.specRevision === revision;
      if (!namedIn(view).every(isAt)) return;
      // After the start there is nothing to compare with: the holders' word must do.
      wasSettled = true;
      isSettled =
        shownIn(view).every(isAt) &&
        (aliveIn(view, spec).every(isAt) ||
          !movedIn(groups, spec).some((one) => isHidden(view, one)));
      if (!isSettled) return;
      revisions = new Set([ABSENT, revision]);
      groups = new Map();
      addGroups(groups, current.spec);
    },
    isReady: () => wasSettled && isKnown,
    allowed: (group) => {
      if (isSettled) return group.addresses;
      return group.addresses.filter(({ address }) => {
        const held = groups.get(address);
        return wasSettled && (held === undefined || [...held].every((one) => one === group.id));
      });
    },
  };
}

function addGroups(groups: Map<IpAddress, Set<GroupId>>, spec: ClusterSpec): void {
  for (const { id, addresses } of spec.groups)
    for (const { address } of addresses) {
      const known = groups.get(address);
      if (known === undefined) groups.set(address, new Set([id]));
      else known.add(id);
    }
}

/** Groups that share an address by one spec or another. What the spec has not nobody claims: it would block for ever. */
function movedIn(
  groups: ReadonlyMap<IpAddress, ReadonlySet<GroupId>>,
  spec: ClusterSpec,
): readonly GroupId[] {
  const moved = new Set([...groups.values()].flatMap((ids) => (ids.size > 1 ? [...ids] : [])));
  return spec.groups.flatMap(({ id }) => (moved.has(id) ? [id] : []));
}

/** Whoever may speak, with a report or without. */
function aliveIn(view: ElectionView, { directors }: ClusterSpec): readonly DirectorId[] {
  const isOver = (director: DirectorId): boolean => {
    const session = view.sessions.get(director)?.value ?? null;
    return session !== null && session.state !== 'open';
  };
  const known = [...directors.map(({ id }) => id), ...view.sessions.keys()];
  return known.filter((director) => !isOver(director));
}

function noteSpeakers(spokenFor: Set<GroupId>, view: ElectionView, group: GroupId): void {
  if (speakersOf(view, group).length > 0) spokenFor.add(group);
  else if (!isNameless(view, group)) spokenFor.delete(group);
}

/** Somebody deleted the record, or it cannot be read. */
function isNameless(view: ElectionView, group: GroupId): boolean {
  const { kind } = ownerStanding(view, group);
  return kind === 'absent' || kind === 'vacant' || kind === 'unreadable';
}

/** Holders by the records: one that is dead is killed, and then holds nothing, so none blocks for ever. */
const namedIn = (view: ElectionView): readonly DirectorId[] =>
  [...view.owners.keys()].flatMap((group) => speakersOf(view, group));

/** A record that somebody deleted hides its holder, and who holds nothing may claim by the spec it has. */
const shownIn = (view: ElectionView): readonly DirectorId[] =>
  [...view.reports].flatMap(([director, { value }]) => (value === null ? [] : [director]));

/** The owner, and former holders that are not proven silent: these speak by the spec before. */
function speakersOf(view: ElectionView, group: GroupId): readonly DirectorId[] {
  const former = pendingOf(view, group).map((entry) => directorId(entry.director));
  const standing = ownerStanding(view, group);
  return standing.kind === 'owned' || standing.kind === 'session-missing'
    ? [standing.director, ...former]
    : former;
}
