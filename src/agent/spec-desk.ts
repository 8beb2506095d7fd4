/**
 * The cluster document in force here. One that cannot be used changes nothing: the last good one stays.
 */
import type { ElectionConfig, Identity } from '../core/election/state.ts';
import { createHeirs } from '../core/placement/order.ts';
import { err, messageOf, type Result } from '../lib/result.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import { ABSENT, type DirectorId, type GroupId, type Revision } from '../model/ids.ts';
import type { GateKind } from '../model/kernel.ts';
import type { Keys } from '../model/keys.ts';
import type { SpecRecord } from '../model/records.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { StoredSpec } from './cluster-view.ts';
import { gateNeedsOf } from './fitness.ts';

/**
 * What became of a stored document: it is in force now; nothing changed; or it is long, and `loaded` is
 * called when that is known.
 */
export type Taking = 'taken' | 'kept' | 'loading';

export type SpecDesk = {
  take(stored: StoredSpec | null): Taking;
  spec(): ClusterSpec | null;
  /** Revision of the spec in force: the last one that could be used, not the last one stored. */
  accepted(): Revision;
  /** Why the stored document cannot be used; null where it can. */
  problem(): string | null;
  group(id: GroupId): VipGroup | undefined;
  /** Null before there is a spec. */
  electionConfig(): ElectionConfig | null;
  /** The revision of what is stored now, usable or not; 0: somebody removed it. */
  see(specRev: Revision): void;
};

export type SpecDeskOptions = {
  readonly me: DirectorId;
  readonly identity: Identity;
  readonly keys: Keys;
  readonly gateKind: GateKind;
  /** The stored document as a spec; the error is a sentence. */
  readonly parseSpec: (document: unknown) => Result<ClusterSpec, string>;
  /** The same of a record, with rests; absent: there are no long ones. */
  readonly loadSpec?: (record: SpecRecord) => Promise<Result<ClusterSpec, string>>;
  /** A long document was judged, and no newer one has come meanwhile. */
  readonly loaded?: (taking: Exclude<Taking, 'loading'>) => void;
};

/** What takes longer to judge than the hold loop may wait: with ranges so much can mean tens of thousands. */
const LONG_CHARS = 8192;

export const createSpecDesk = (
  options: SpecDeskOptions,
  ports: { readonly log: Log; readonly metrics: Metrics },
): SpecDesk => new Desk(options, ports);

class Desk implements SpecDesk {
  readonly #options: SpecDeskOptions;
  readonly #ports: { readonly log: Log; readonly metrics: Metrics };
  #spec: ClusterSpec | null = null;
  #groups: ReadonlyMap<GroupId, VipGroup> = new Map();
  #config: ElectionConfig | null = null;
  #accepted: Revision = ABSENT;
  #problem: string | null = null;
  /** The newest document, where it is long and not judged yet. */
  #waiting: StoredSpec | null = null;
  #isLoading = false;
  /** The document that was judged last, where it was long. */
  #judged: StoredSpec | null = null;

  constructor(options: SpecDeskOptions, ports: { readonly log: Log; readonly metrics: Metrics }) {
    this.#options = options;
    this.#ports = ports;
  }

  take(stored: StoredSpec | null): Taking {
    if (stored === null) return 'kept';
    const { parseSpec, loadSpec } = this.#options;
    const { record } = stored;
    if (loadSpec !== undefined && (record.v === 2 || stored.size > LONG_CHARS)) {
      // A listing brings it again.
      if (this.#judged?.revision === stored.revision) return 'kept';
      if (this.#waiting?.revision === stored.revision) return 'loading';
      this.#waiting = stored;
      if (!this.#isLoading) void this.#load(loadSpec);
      return 'loading';
    }
    this.#waiting = null;
    this.#judged = null;
    const parsed = record.v === 1 ? parseSpec(record.document) : err('it is packed');
    return this.#judge(stored, parsed);
  }

  /** One after the other; what a newer one has overtaken has no effect. */
  async #load(loadSpec: NonNullable<SpecDeskOptions['loadSpec']>): Promise<void> {
    this.#isLoading = true;
    for (let stored = this.#waiting; stored !== null; stored = this.#waiting) {
      // oxlint-disable-next-line no-await-in-loop -- see above
      const parsed = await loadSpec(stored.record).catch((error: unknown) => err(messageOf(error)));
      if (this.#waiting !== stored) continue;
      this.#waiting = null;
      this.#judged = stored;
      this.#options.loaded?.(this.#judge(stored, parsed));
    }
    this.#isLoading = false;
  }

  #judge(stored: StoredSpec, parsed: Result<ClusterSpec, string>): 'taken' | 'kept' {
    const { log, metrics } = this.#ports;
    const { revision } = stored;
    metrics.specRejected(!parsed.ok);
    if (!parsed.ok) {
      if (this.#problem !== parsed.error)
        log.error({ revision, problem: parsed.error }, 'spec.rejected');
      this.#problem = parsed.error;
      return 'kept';
    }
    const spec = parsed.value;
    this.#problem = null;
    this.#spec = spec;
    this.#groups = new Map(spec.groups.map((group) => [group.id, group]));
    this.#config = electionConfigOf(this.#options, spec, revision);
    this.#accepted = revision;
    metrics.specRevision(revision);
    log.info({ revision, by: stored.by }, 'spec.enforced');
    return 'taken';
  }

  see(specRev: Revision): void {
    if (this.#config !== null) this.#config = { ...this.#config, specRev };
  }

  spec(): ClusterSpec | null {
    return this.#spec;
  }

  accepted(): Revision {
    return this.#accepted;
  }

  problem(): string | null {
    return this.#problem;
  }

  group(id: GroupId): VipGroup | undefined {
    return this.#groups.get(id);
  }

  electionConfig(): ElectionConfig | null {
    return this.#config;
  }
}

function electionConfigOf(
  options: SpecDeskOptions,
  spec: ClusterSpec,
  specRev: Revision,
): ElectionConfig {
  const { me, identity, keys, gateKind } = options;
  return {
    me,
    address: spec.directors.find((director) => director.id === me)?.address ?? '',
    identity,
    keys,
    timing: spec.timing,
    directors: spec.directors,
    isolation: spec.isolation.policy,
    specRev,
    groups: spec.groups,
    groupsById: new Map(spec.groups.map((group) => [group.id, group])),
    gate: gateNeedsOf(gateKind),
    heirs: createHeirs(spec.directors.map(({ id }) => id)),
  };
}
