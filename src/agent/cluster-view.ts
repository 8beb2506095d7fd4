/**
 * Everything the store holds for this cluster, parsed, as the watch last told it. Watch events only
 * replace what is known here and wake the loops; nothing is decided here.
 */
import type { RealServerOverride, Vote } from '../model/health.ts';
import { ABSENT, type CheckId, type DirectorId, revision, type Revision } from '../model/ids.ts';
import type { Keys, ParsedKey } from '../model/keys.ts';
import {
  ChallengeRecord,
  ConfirmDeadRecord,
  DrainRecord,
  EventRecord,
  LeaseRecord,
  OperationRecord,
  OwnerRecord,
  parseRecord,
  RealOverrideRecord,
  type RecordOf,
  type RecordSchema,
  ReportRecord,
  ScopeRecord,
  SessionRecord,
  SpecRecord,
  VoteRecord,
} from '../model/records.ts';
import type { Known, ViewChange } from '../core/election/view.ts';
import type { Stored } from '../ports/agent-view.ts';
import type { StoreChange, StoreRead, WatchEvent } from '../ports/cluster-store.ts';
import type { Log } from '../ports/log.ts';

export type StoredSpec = {
  readonly revision: Revision;
  readonly record: SpecRecord;
  /** Characters of the record. */
  readonly size: number;
  readonly by: string;
  readonly at: string;
};

/** Which parts changed: each loop wakes for its own. */
export type Area = 'spec' | 'votes' | 'overrides' | 'operations' | 'events' | 'reports';

export type ViewUpdate = {
  readonly election: readonly ViewChange[];
  readonly areas: ReadonlySet<Area>;
  /** The checks that votes came or went of. */
  readonly voted: ReadonlySet<CheckId>;
  readonly newEvents: readonly Stored<EventRecord>[];
};

/** At most so many events are kept in memory. */
export const EVENT_LIMIT = 1000;

export class ClusterView {
  readonly #keys: Keys;
  readonly #log: Log;
  readonly #revisions = new Map<string, Revision>();
  #spec: StoredSpec | null = null;
  readonly #votes = new Map<CheckId, Map<DirectorId, Vote>>();
  readonly #overrides = new Map<string, RealServerOverride>();
  readonly #operations = new Map<string, Stored<OperationRecord>>();
  readonly #drains = new Map<DirectorId, DrainRecord>();
  readonly #reports = new Map<DirectorId, Stored<ReportRecord>>();
  #events: Stored<EventRecord>[] = [];
  #revision = ABSENT;

  constructor(keys: Keys, log: Log) {
    this.#keys = keys;
    this.#log = log;
  }

  get revision(): Revision {
    return this.#revision;
  }
  get spec(): StoredSpec | null {
    return this.#spec;
  }
  get votes(): ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>> {
    return this.#votes;
  }
  get overrides(): readonly RealServerOverride[] {
    return [...this.#overrides.values()];
  }
  get operations(): ReadonlyMap<string, Stored<OperationRecord>> {
    return this.#operations;
  }
  get drains(): ReadonlyMap<DirectorId, DrainRecord> {
    return this.#drains;
  }
  get reports(): ReadonlyMap<DirectorId, Stored<ReportRecord>> {
    return this.#reports;
  }
  get events(): readonly Stored<EventRecord>[] {
    return this.#events;
  }
  /** Mod revision of a key as last seen, ABSENT where it is not there. */
  revisionOf(key: string): Revision {
    return this.#revisions.get(key) ?? ABSENT;
  }

  apply(event: WatchEvent): ViewUpdate {
    const areas = new Set<Area>();
    const election: ViewChange[] = [];
    const voted = new Set<CheckId>();
    const newEvents: Stored<EventRecord>[] = [];
    if (event.kind === 'interrupted') return { election, areas, voted, newEvents };
    const changes = event.kind === 'changes' ? event.changes : this.#fromSnapshot(event);
    for (const change of changes) {
      const key = this.#keys.parse(change.key);
      if (change.value === null) this.#revisions.delete(change.key);
      else this.#revisions.set(change.key, change.modRevision);
      if (key === null) continue;
      const asOf = event.kind === 'changes' ? change.modRevision : event.revision;
      const electionChange = this.#electionChange(key, change, asOf);
      if (electionChange !== null) election.push(electionChange);
      const area = this.#keep(key, change, newEvents);
      if (area !== null) areas.add(area);
      if (key.kind === 'vote') voted.add(key.check);
    }
    this.#revision = revision(Math.max(this.#revision, event.revision));
    return { election, areas, voted, newEvents: this.#addEvents(newEvents) };
  }

  /** Sorted and cut once for all that came together: a listing may hold very many. */
  #addEvents(found: readonly Stored<EventRecord>[]): readonly Stored<EventRecord>[] {
    if (found.length === 0) return found;
    const known = new Set(this.#events.map((event) => event.id));
    const added = found.filter((event) => !known.has(event.id));
    const all = [...this.#events, ...added].toSorted((a, b) => (a.id < b.id ? -1 : 1));
    this.#events = all.slice(-EVENT_LIMIT);
    return added;
  }

  /** The reads of a txn, in the election's words; they are not kept here, the watch brings them. */
  electionReads(reads: readonly StoreRead[], asOf: Revision): readonly ViewChange[] {
    return reads.flatMap((read) => {
      const key = this.#keys.parse(read.key);
      const change = key === null ? null : this.#electionChange(key, read, asOf);
      return change === null ? [] : [change];
    });
  }

  #fromSnapshot(event: WatchEvent & { kind: 'snapshot' }): readonly StoreChange[] {
    const present = new Set(event.entries.map((entry) => entry.key));
    const gone = [...this.#revisions.keys()].filter((key) => !present.has(key));
    return [
      ...gone.map((key) => ({ key, value: null, modRevision: event.revision })),
      ...event.entries,
    ];
  }

  #electionChange(key: ParsedKey, change: StoreRead, asOf: Revision): ViewChange | null {
    switch (key.kind) {
      case 'session':
        return {
          of: 'session',
          name: key.director,
          known: this.#known(SessionRecord, change, asOf),
        };
      case 'owner':
        return { of: 'owner', name: key.group, known: this.#known(OwnerRecord, change, asOf) };
      case 'scope':
        return { of: 'scope', name: key.director, known: this.#known(ScopeRecord, change, asOf) };
      case 'challenge':
        return {
          of: 'challenge',
          name: key.director,
          known: this.#known(ChallengeRecord, change, asOf),
        };
      case 'lease':
        return {
          of: 'lease',
          name: key.group,
          known: present(this.#known(LeaseRecord, change, asOf)),
        };
      case 'report':
        return { of: 'report', name: key.director, known: this.#known(ReportRecord, change, asOf) };
      case 'drain':
        return {
          of: 'drain',
          name: key.director,
          known: present(this.#known(DrainRecord, change, asOf)),
        };
      case 'confirm-dead':
        return {
          of: 'confirm-dead',
          name: key.director,
          known: this.#known(ConfirmDeadRecord, change, asOf),
        };
      case 'operation':
        return { of: 'operation', name: key.id, known: this.#known(OperationRecord, change, asOf) };
      default:
        return null;
    }
  }

  #known<S extends RecordSchema>(schema: S, change: StoreRead, asOf: Revision): Known<RecordOf<S>> {
    if (change.value === null) return { rev: ABSENT, asOf, value: null };
    return { rev: change.modRevision, asOf, value: this.#parse(schema, change) };
  }

  #parse<S extends RecordSchema>(schema: S, change: StoreRead): RecordOf<S> | null {
    if (change.value === null) return null;
    const parsed = parseRecord(schema, change.value);
    if (parsed.ok) return parsed.value;
    this.#log.error({ key: change.key, problem: parsed.error }, 'record.unreadable');
    return null;
  }

  #keep(key: ParsedKey, change: StoreChange, newEvents: Stored<EventRecord>[]): Area | null {
    switch (key.kind) {
      case 'spec':
        this.#keepSpec(change);
        return 'spec';
      case 'vote':
        this.#keepVote(key, change);
        return 'votes';
      case 'real':
        this.#keepOverride(key, change);
        return 'overrides';
      case 'operation':
        put(this.#operations, key.id, stored(key.id, change, this.#parse(OperationRecord, change)));
        return 'operations';
      case 'drain':
        put(this.#drains, key.director, this.#parse(DrainRecord, change));
        return 'reports';
      case 'report':
        put(
          this.#reports,
          key.director,
          stored(key.director, change, this.#parse(ReportRecord, change)),
        );
        return 'reports';
      case 'event':
        return this.#keepEvent(key.id, change, newEvents);
      default:
        return null;
    }
  }

  #keepSpec(change: StoreChange): void {
    const record = this.#parse(SpecRecord, change);
    // A spec that vanished or cannot be read is no instruction: the last one stays in force.
    if (record === null) return;
    const { by, at } = record;
    const size = change.value?.length ?? 0;
    this.#spec = { revision: change.modRevision, record, size, by, at };
  }

  #keepVote(key: ParsedKey & { kind: 'vote' }, change: StoreChange): void {
    const record = this.#parse(VoteRecord, change);
    const votes = this.#votes.get(key.check) ?? new Map<DirectorId, Vote>();
    if (record === null) votes.delete(key.director);
    else
      votes.set(key.director, {
        director: key.director,
        isUp: record.up,
        since: record.since,
        detail: record.detail,
        ...(record.weight === undefined ? {} : { weight: record.weight }),
        ...(record.seen === undefined ? {} : { seen: evidenceOf(record.seen) }),
      });
    if (votes.size === 0) this.#votes.delete(key.check);
    else this.#votes.set(key.check, votes);
  }

  #keepOverride(key: ParsedKey & { kind: 'real' }, change: StoreChange): void {
    const record = this.#parse(RealOverrideRecord, change);
    const { service, realServer } = key;
    put(
      this.#overrides,
      change.key,
      record === null ? null : { service, realServer, ...pickOverride(record) },
    );
  }

  #keepEvent(id: string, change: StoreChange, newEvents: Stored<EventRecord>[]): Area | null {
    const record = this.#parse(EventRecord, change);
    if (record === null) return null;
    newEvents.push({ id, revision: change.modRevision, record });
    return 'events';
  }
}

const evidenceOf = (seen: NonNullable<VoteRecord['seen']>): NonNullable<Vote['seen']> =>
  seen.map(({ up, detail, times, ms }) => ({ isUp: up, detail, times, latencyMs: ms }));

const pickOverride = (record: RealOverrideRecord) => ({
  state: record.state,
  weight: record.weight,
  ...(record.deadlineMs === undefined ? {} : { deadlineMs: record.deadlineMs }),
  by: record.by,
  reason: record.reason,
});

const present = <T>(known: Known<T>): Known<true> => ({
  ...known,
  value: known.value === null ? null : true,
});

const stored = <T>(id: string, change: StoreChange, record: T | null): Stored<T> | null =>
  record === null ? null : { id, revision: change.modRevision, record };

function put<K, T>(map: Map<K, T>, key: K, value: T | null): void {
  if (value === null) map.delete(key);
  else map.set(key, value);
}
