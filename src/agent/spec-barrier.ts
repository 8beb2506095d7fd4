/**
 * A VIP that moves from one group to another must not speak in both (design 4.13): it is opened in the
 * new group only when every other holder has told that it enforces the spec that moved it.
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
  /** False after the start until every other holder enforces the spec: a move may be under way. */
  isReady(): boolean;
  /** The addresses of the group that may speak now. */
  allowed(group: VipGroup): VipGroup['addresses'];
};

export function createSpecBarrier(): SpecBarrier {
  let current: { readonly spec: ClusterSpec; readonly revision: Revision } | null = null;
  /** The group of each address in the last spec that all holders enforced. */
  let settled: ReadonlyMap<IpAddress, GroupId> | null = null;
  let isSettled = false;
  return {
    setSpec: (spec, revision) => {
      if (current?.revision !== revision) isSettled = false;
      current = { spec, revision };
    },
    look: (view, me) => {
      if (current === null || isSettled) return;
      isSettled = isEnforcedByOthers(view, me, current.revision);
      if (isSettled) settled = groupsByAddress(current.spec);
    },
    isReady: () => settled !== null,
    allowed: (group) =>
      group.addresses.filter(({ address }) => {
        if (isSettled) return true;
        const former = settled?.get(address);
        return settled !== null && (former === undefined || former === group.id);
      }),
  };
}

function groupsByAddress(spec: ClusterSpec): Map<IpAddress, GroupId> {
  return new Map(
    spec.groups.flatMap((group) =>
      group.addresses.map(({ address }) => [address, group.id] as const),
    ),
  );
}

/**
 * All that are shown alive, and all that the records name: a holder that is dead is killed, and then
 * holds nothing, so nobody blocks this for ever. A record that somebody deleted hides its holder, and a
 * former holder that is not proven silent may still speak by the spec before.
 */
function isEnforcedByOthers(view: ElectionView, me: DirectorId, revision: Revision): boolean {
  const named = [...view.owners.keys()].flatMap((group) => speakersOf(view, group));
  const shown = [...view.reports].flatMap(([director, { value }]) =>
    value === null ? [] : [director],
  );
  return [...named, ...shown].every((director) => {
    const report = view.reports.get(director)?.value;
    return director === me || (report?.specRevision ?? ABSENT) >= revision;
  });
}

function speakersOf(view: ElectionView, group: GroupId): readonly DirectorId[] {
  const former = pendingOf(view, group).map((entry) => directorId(entry.director));
  const standing = ownerStanding(view, group);
  return standing.kind === 'owned' || standing.kind === 'session-missing'
    ? [standing.director, ...former]
    : former;
}
