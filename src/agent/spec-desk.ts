/**
 * The cluster document in force here. One that cannot be used changes nothing: the last good one stays.
 */
import type { ElectionConfig, Identity } from '../core/election/state.ts';
import type { Result } from '../lib/result.ts';
import type { ClusterSpec, VipGroup } from '../model/cluster.ts';
import { ABSENT, type DirectorId, type GroupId, type Revision } from '../model/ids.ts';
import type { GateKind } from '../model/kernel.ts';
import type { Keys } from '../model/keys.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { StoredSpec } from './cluster-view.ts';
import { createHeirs } from '../core/placement/order.ts';
import { gateNeedsOf } from './fitness.ts';

export type SpecDesk = {
  /** True when another document is in force now. */
  take(stored: StoredSpec | null): boolean;
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
};

export function createSpecDesk(
  options: SpecDeskOptions,
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
): SpecDesk {
  let spec: ClusterSpec | null = null;
  let groups: ReadonlyMap<GroupId, VipGroup> = new Map();
  let config: ElectionConfig | null = null;
  let accepted: Revision = ABSENT;
  let problem: string | null = null;
  return {
    take: (stored) => {
      if (stored === null) return false;
      const parsed = options.parseSpec(stored.document);
      metrics.specRejected(!parsed.ok);
      if (!parsed.ok) {
        if (problem !== parsed.error)
          log.error({ revision: stored.revision, problem: parsed.error }, 'spec.rejected');
        problem = parsed.error;
        return false;
      }
      problem = null;
      spec = parsed.value;
      groups = new Map(spec.groups.map((group) => [group.id, group]));
      config = electionConfigOf(options, spec, stored.revision);
      accepted = stored.revision;
      metrics.specRevision(stored.revision);
      log.info({ revision: stored.revision, by: stored.by }, 'spec.enforced');
      return true;
    },
    see: (specRev) => {
      if (config !== null) config = { ...config, specRev };
    },
    spec: () => spec,
    accepted: () => accepted,
    problem: () => problem,
    group: (id) => groups.get(id),
    electionConfig: () => config,
  };
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
