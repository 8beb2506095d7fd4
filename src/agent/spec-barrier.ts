/**
 * A VIP that moves from one group to another must not speak in both (design 4.13): it is opened in the
 * new group only when all others tell that they enforce the very spec that moved it. Who is further on
 * has not told what it allows meanwhile: the VIP may have moved back.
 */
import { isInScope } from '../core/election/scope.ts';
import { longestWaitMs } from '../core/election/timing.ts';
import type { ElectionView } from '../core/election/view.ts';
import { ownerStanding, pendingOf } from '../core/election/view.ts';
import type { IpAddress } from '../model/address.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import {
  ABSENT,
  type DirectorId,
  directorId,
  type GroupId,
  type MonoMs,
  monoMs,
  type Revision,
} from '../model/ids.ts';

export type SpecBarrier = {
  /** A newer spec is in force here. */
  setSpec(spec: ClusterSpec, revision: Revision): void;
  /** Looks whether all others enforce it by now; after each change, and again and again: time proves something, too. */
  look(view: ElectionView, me: DirectorId, now: MonoMs): void;
  /**
   * False after the start until every other holder enforces the spec: a move may be under way. False also while one
   * of them enforces a spec that was never in force here (this version cannot use it, or it is loading): a VIP that it
   * moved speaks there by that, and a group taken by an older one would let it speak here too.
   */
  isReady(): boolean;
  /** The addresses of the group that may speak now; its very own list where all may. */
  allowed(group: VipGroup): VipGroup['addresses'];
};

/** The groups of each address. */
type Places = ReadonlyMap<IpAddress, ReadonlySet<GroupId>>;

export function createSpecBarrier(): SpecBarrier {
  let current: { readonly spec: ClusterSpec; readonly revision: Revision } | null = null;
  /** By the last spec that all enforced, and by every one since. */
  let places: Places = new Map();
  /** The last spec that all enforced, and every one since. Who enforces none lets nothing speak by it. */
  let revisions = new Set<number>([ABSENT]);
  const nameless = new NamelessGroups();
  let isSettled = false;
  let wasSettled = false;
  let isKnown = true;
  return {
    setSpec: (spec, revision) => {
      if (current?.revision !== revision) isSettled = false;
      current = { spec, revision };
      revisions.add(revision);
      places = joined(places, placesIn(spec));
    },
    look: (view, me, now) => {
      if (current === null) return;
      nameless.look(view, places, now);
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
      if (!shownIn(view).every(isAt)) return;
      const untold = livingIn(view).filter((one) => !isAt(one));
      const after = placesIn(spec);
      const isHidden = (group: GroupId): boolean =>
        untold.length > 0 && nameless.mayBeHeld(group, now - provenAfterMs(view, me, spec, untold));
      const hidden = without(places, after, isHidden);
      places = joined(after, hidden);
      isSettled = hidden.size === 0;
      if (isSettled) revisions = new Set([ABSENT, revision]);
    },
    isReady: () => wasSettled && isKnown,
    allowed: (group) => {
      if (isSettled) return group.addresses;
      return group.addresses.filter(({ address }) => {
        const held = places.get(address);
        return wasSettled && (held === undefined || [...held].every((one) => one === group.id));
      });
    },
  };
}

/**
 * Groups of which no record tells who holds them, as somebody deleted it or it cannot be read. Whoever does may have
 * neither etcd nor a report. Its rounds fail without the record, and nobody who knows promises it anything any more.
 */
class NamelessGroups {
  #since: ReadonlyMap<GroupId, MonoMs> = new Map();

  look(view: ElectionView, places: Places, now: MonoMs): void {
    const before = this.#since;
    const since = new Map<GroupId, MonoMs>();
    for (const groups of places.values())
      for (const group of groups) {
        const { kind } = ownerStanding(view, group);
        // Under a record that is there rounds are confirmed on and on.
        if (kind === 'unreadable') since.set(group, NEVER);
        if (kind === 'absent' || kind === 'vacant') {
          const at = before.get(group) ?? NEVER;
          since.set(group, at === NEVER ? now : at);
        }
      }
    this.#since = since;
  }

  /** It has been nameless since a later moment than that, or its record cannot be read. */
  mayBeHeld(group: GroupId, than: number): boolean {
    return (this.#since.get(group) ?? Number.NEGATIVE_INFINITY) > than;
  }
}

const NEVER = monoMs(Number.POSITIVE_INFINITY);

/** D' of all, as before a vacant group is claimed; never where one of them need not ask this director for a promise. */
function provenAfterMs(
  view: ElectionView,
  me: DirectorId,
  { timing }: ClusterSpec,
  untold: readonly DirectorId[],
): number {
  const isAsked = untold.every((one) => isInScope(view, one, me));
  return isAsked ? longestWaitMs(view, timing) : Number.POSITIVE_INFINITY;
}

function placesIn({ groups }: ClusterSpec): Places {
  const places = new Map<IpAddress, Set<GroupId>>();
  for (const { id, addresses } of groups)
    for (const { address } of addresses)
      places.set(address, (places.get(address) ?? new Set()).add(id));
  return places;
}

function joined(one: Places, other: Places): Places {
  const both = new Map(one);
  for (const [address, groups] of other)
    both.set(address, new Set([...(one.get(address) ?? []), ...groups]));
  return both;
}

/** What is not in `after` and passes the test. */
function without(places: Places, after: Places, test: (group: GroupId) => boolean): Places {
  const rest = new Map<IpAddress, ReadonlySet<GroupId>>();
  for (const [address, groups] of places) {
    const left = [...groups].filter(
      (group) => after.get(address)?.has(group) !== true && test(group),
    );
    if (left.length > 0) rest.set(address, new Set(left));
  }
  return rest;
}

/** Whoever may speak, with a report or without: its session is not over by its record. */
function livingIn({ sessions, scopes }: ElectionView): readonly DirectorId[] {
  const known = new Set([...sessions.keys(), ...scopes.keys()]);
  return [...known].filter((director) => {
    const session = sessions.get(director)?.value ?? null;
    return session === null || session.state === 'open';
  });
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
