/**
 * What this director knows of the keys that decide who holds: one revision-ordered view, fed by the
 * watch and by the reads of its own txns. Newer knowledge of a key replaces older, never the reverse.
 */
import type { DirectorId, GroupId, Revision, SessionId } from '../../model/ids.ts';
import { ABSENT, revision, sessionIdOf } from '../../model/ids.ts';
import type {
  ChallengeRecord,
  ConfirmDeadRecord,
  OperationRecord,
  OwnerRecord,
  ReportRecord,
  ScopeRecord,
  SessionRecord,
} from '../../model/records.ts';

/**
 * One key as last known. `rev` is its mod revision (ABSENT: not there), `asOf` the store's revision
 * at which that was true. `value: null` with `rev` > 0 is a record that could not be read.
 */
export type Known<T> = {
  readonly rev: Revision;
  readonly asOf: Revision;
  readonly value: T | null;
};

export type ElectionView = {
  readonly sessions: ReadonlyMap<DirectorId, Known<SessionRecord>>;
  readonly owners: ReadonlyMap<GroupId, Known<OwnerRecord>>;
  readonly scopes: ReadonlyMap<DirectorId, Known<ScopeRecord>>;
  readonly challenges: ReadonlyMap<DirectorId, Known<ChallengeRecord>>;
  /** Whether the group's lease key stands; its end makes the holder suspect, and proves nothing. */
  readonly leases: ReadonlyMap<GroupId, Known<true>>;
  readonly reports: ReadonlyMap<DirectorId, Known<ReportRecord>>;
  readonly drains: ReadonlyMap<DirectorId, Known<true>>;
  /** Whom an operator has confirmed dead. */
  readonly confirmedDead: ReadonlyMap<DirectorId, Known<ConfirmDeadRecord>>;
  readonly operations: ReadonlyMap<string, Known<OperationRecord>>;
};

export const EMPTY_VIEW: ElectionView = {
  sessions: new Map(),
  owners: new Map(),
  scopes: new Map(),
  challenges: new Map(),
  leases: new Map(),
  reports: new Map(),
  drains: new Map(),
  confirmedDead: new Map(),
  operations: new Map(),
};

/** New knowledge of one key, already taken apart and parsed. */
export type ViewChange =
  | { readonly of: 'session'; readonly name: DirectorId; readonly known: Known<SessionRecord> }
  | { readonly of: 'owner'; readonly name: GroupId; readonly known: Known<OwnerRecord> }
  | { readonly of: 'scope'; readonly name: DirectorId; readonly known: Known<ScopeRecord> }
  | { readonly of: 'challenge'; readonly name: DirectorId; readonly known: Known<ChallengeRecord> }
  | { readonly of: 'lease'; readonly name: GroupId; readonly known: Known<true> }
  | { readonly of: 'report'; readonly name: DirectorId; readonly known: Known<ReportRecord> }
  | { readonly of: 'drain'; readonly name: DirectorId; readonly known: Known<true> }
  | {
      readonly of: 'confirm-dead';
      readonly name: DirectorId;
      readonly known: Known<ConfirmDeadRecord>;
    }
  | { readonly of: 'operation'; readonly name: string; readonly known: Known<OperationRecord> };

/** Merges changes; a change older than what is known is dropped. Maps without news are shared. */
export function mergeView(view: ElectionView, changes: readonly ViewChange[]): ElectionView {
  if (changes.length === 0) return view;
  const merged = { ...view };
  for (const change of changes) put(merged, view, change);
  return isSame(merged, view) ? view : merged;
}

function put(
  merged: { -readonly [K in keyof ElectionView]: ElectionView[K] },
  shared: ElectionView,
  change: ViewChange,
): void {
  switch (change.of) {
    case 'session':
      merged.sessions = merge(merged.sessions, shared.sessions, change.name, change.known);
      return;
    case 'owner':
      merged.owners = merge(merged.owners, shared.owners, change.name, change.known);
      return;
    case 'scope':
      merged.scopes = merge(merged.scopes, shared.scopes, change.name, change.known);
      return;
    case 'challenge':
      merged.challenges = merge(merged.challenges, shared.challenges, change.name, change.known);
      return;
    case 'lease':
      merged.leases = merge(merged.leases, shared.leases, change.name, change.known);
      return;
    case 'report':
      merged.reports = merge(merged.reports, shared.reports, change.name, change.known);
      return;
    case 'drain':
      merged.drains = merge(merged.drains, shared.drains, change.name, change.known);
      return;
    case 'confirm-dead':
      merged.confirmedDead = merge(
        merged.confirmedDead,
        shared.confirmedDead,
        change.name,
        change.known,
      );
      return;
    case 'operation':
      merged.operations = merge(merged.operations, shared.operations, change.name, change.known);
      return;
  }
}

/** The map with the entry where it is news; copied while it is still the shared one. */
function merge<K, T>(
  map: ReadonlyMap<K, Known<T>>,
  shared: ReadonlyMap<K, Known<T>>,
  name: K,
  known: Known<T>,
): ReadonlyMap<K, Known<T>> {
  const before = map.get(name);
  if (before !== undefined && !isNews(before, known)) return map;
  if (map === shared) return new Map(map).set(name, known);
  // Whatever is not shared was made by this very merge.
  return (map as Map<K, Known<T>>).set(name, known);
}

const isNews = <T>(before: Known<T>, known: Known<T>): boolean =>
  known.asOf > before.asOf ||
  (known.asOf === before.asOf && (known.rev !== before.rev || known.value !== before.value));

const isSame = (one: ElectionView, other: ElectionView): boolean =>
  one.sessions === other.sessions &&
  one.owners === other.owners &&
  one.scopes === other.scopes &&
  one.challenges === other.challenges &&
  one.leases === other.leases &&
  one.reports === other.reports &&
  one.drains === other.drains &&
  one.confirmedDead === other.confirmedDead &&
  one.operations === other.operations;

export const revOf = <K, T>(map: ReadonlyMap<K, Known<T>>, name: K): Revision =>
  map.get(name)?.rev ?? ABSENT;

/** The session that a record tells of: its own revision, or the one that a new process goes on with. */
export function sessionOf(known: Known<SessionRecord>): SessionId {
  const id = known.value?.id ?? 0;
  return sessionIdOf(id === 0 ? known.rev : revision(id));
}

/** A director's open session and the revision of its record, or null where it has none that is known. */
export function openSession(
  view: ElectionView,
  director: DirectorId,
): { readonly id: SessionId; readonly rev: Revision } | null {
  const known = view.sessions.get(director);
  return known?.value?.state === 'open' ? { id: sessionOf(known), rev: known.rev } : null;
}

/** An operator has said that this very session is dead; of an earlier or later record his word says nothing. */
export function isConfirmedDead(view: ElectionView, director: DirectorId): boolean {
  const session = openSession(view, director);
  const word = view.confirmedDead.get(director)?.value;
  return session !== null && word?.session === session.rev;
}

/** True when a present record proves that this session of the director is over; absence proves nothing. */
export function isOver(view: ElectionView, director: string, session: number): boolean {
  const known = view.sessions.get(director as DirectorId);
  if (known === undefined || known.rev === ABSENT || known.value === null) return false;
  const id = sessionOf(known);
  return id > session || (id === session && known.value.state !== 'open');
}

export type PendingEntry = OwnerRecord['pending'][number];

/** Former holders of a group that no record proves silent. */
export function pendingOf(view: ElectionView, group: GroupId): readonly PendingEntry[] {
  const entries = view.owners.get(group)?.value?.pending ?? [];
  if (entries.length === 0) return entries;
  return entries.filter((entry) => !isOver(view, entry.director, entry.session));
}

/**
 * How the owner record stands to its director's session. Only a *present record* that is broken,
 * closed or newer proves that a session holds nothing (design 4.2); absence proves nothing.
 */
export type OwnerStanding =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'vacant' }
  | { readonly kind: 'released' }
  | { readonly kind: 'owned'; readonly director: DirectorId; readonly session: SessionId }
  | {
      readonly kind: 'orphaned';
      readonly director: DirectorId;
      readonly cause: 'broken' | 'closed' | 'superseded';
      readonly sessionRev: Revision;
    }
  /** The owner's session record is gone or unreadable: somebody tampered with it. */
  | {
      readonly kind: 'session-missing';
      readonly director: DirectorId;
      readonly session: SessionId;
    };

export function ownerStanding(view: ElectionView, group: GroupId): OwnerStanding {
  const known = view.owners.get(group);
  if (known === undefined || known.rev === ABSENT) return { kind: 'absent' };
  const owner = known.value;
  if (owner === null) return { kind: 'unreadable' };
  if (owner.vacant) return { kind: 'vacant' };
  if (owner.director === null) return { kind: 'released' };
  const director = owner.director as DirectorId;
  const session = owner.session as number as SessionId;
  const record = view.sessions.get(director);
  if (record === undefined || record.rev === ABSENT || record.value === null)
    return { kind: 'session-missing', director, session };
  // Knowledge of the session that is older than the owner record says nothing about that session.
  if (!isOver(view, director, session)) return { kind: 'owned', director, session };
  const { state } = record.value;
  const cause = state === 'open' || sessionOf(record) > session ? 'superseded' : state;
  return { kind: 'orphaned', director, cause, sessionRev: record.rev };
}
