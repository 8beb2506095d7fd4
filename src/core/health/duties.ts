/** Which checks a director runs: by placement, as the holder of a group, and when it is alone with its groups. */
import { runSteps } from '../../lib/steps.ts';
import type { Check, ClusterSpec } from '../../model/cluster.ts';
import type { RealServerOverride } from '../../model/health.ts';
import type { CheckId, DirectorId, GroupId } from '../../model/ids.ts';
import { type CheckPlacement, countCheckers } from './assignment.ts';
import { type DerivedChecks, deriveChecksSteps, realServerKey } from './checks.ts';

/** Whom a check is for. */
export type CheckUse = {
  /** Groups of the services that use it. */
  readonly groups: ReadonlySet<GroupId>;
  /** Real servers that use it, by `realServerKey`. */
  readonly realServers: readonly string[];
};

const known = new WeakMap<ClusterSpec, ReadonlyMap<CheckId, CheckUse>>();

export const deriveUses = (spec: ClusterSpec): ReadonlyMap<CheckId, CheckUse> =>
  runSteps(deriveUsesSteps(spec));

/** The same in pieces. */
export function* deriveUsesSteps(
  spec: ClusterSpec,
): Generator<undefined, ReadonlyMap<CheckId, CheckUse>> {
  const uses = known.get(spec) ?? (yield* deriveAnew(spec, yield* deriveChecksSteps(spec)));
  known.set(spec, uses);
  return uses;
}

function* deriveAnew(
  spec: ClusterSpec,
  { byRealServer, compounds }: DerivedChecks,
): Generator<undefined, ReadonlyMap<CheckId, CheckUse>> {
  const leaves = new Map(compounds.map((compound) => [compound.id, compound.leaves]));
  const uses = new Map<CheckId, { groups: Set<GroupId>; realServers: string[] }>();
  for (const service of spec.services)
    for (const { id } of service.realServers) {
      const key = realServerKey(service.id, id);
      const root = byRealServer.get(key);
      if (root === undefined) continue;
      yield;
      for (const check of leaves.get(root) ?? [root]) {
        const use = uses.get(check) ?? { groups: new Set(), realServers: [] };
        uses.set(check, use);
        use.groups.add(service.group);
        use.realServers.push(key);
      }
    }
  return uses;
}

export type DutyInput = {
  readonly me: DirectorId;
  readonly placement: CheckPlacement;
  /** Groups that speak here. */
  readonly held: ReadonlySet<GroupId>;
  /** Nobody hears this director's votes, and it hears nobody's. */
  readonly isAlone: boolean;
  readonly overrides: readonly RealServerOverride[];
};

export type Duties = {
  /** In the order of the spec. */
  readonly checks: readonly Check[];
  /** Those that are nobody's but for `isAlone`: a vote on them is for this director only. */
  readonly own: ReadonlySet<CheckId>;
};

export const deriveDuties = (spec: ClusterSpec, input: DutyInput): Duties =>
  runSteps(deriveDutiesSteps(spec, input));

/** The same in pieces. */
export function* deriveDutiesSteps(
  spec: ClusterSpec,
  input: DutyInput,
): Generator<undefined, Duties> {
  const { me, placement, held, isAlone } = input;
  const uses = yield* deriveUsesSteps(spec);
  const isResting = restingChecks(input.overrides);
  const isHeld = (check: CheckId): boolean => {
    for (const group of uses.get(check)?.groups ?? []) if (held.has(group)) return true;
    return false;
  };
  const own = new Set<CheckId>();
  const isMine = ({ id, spec: wanted }: Check): boolean => {
    if (wanted.whileDrained === false && isResting(uses.get(id))) return false;
    if (wanted.runBy === 'holder') return isHeld(id);
    if (placement.isChecker(id, me)) return true;
    const isOwn = isAlone && isHeld(id);
    if (isOwn) own.add(id);
    return isOwn;
  };
  const checks: Check[] = [];
  for (const check of (yield* deriveChecksSteps(spec)).checks) {
    if (isMine(check)) checks.push(check);
    yield;
  }
  return { checks, own };
}

/**
 * What a document asks of a director that may have so many sockets at once, where that is too much; null: it is not.
 * Counted is its share when one director has died, with all targets silent. In pieces.
 */
export function* judgeCheckCountSteps(
  spec: ClusterSpec,
  limit: number,
): Generator<undefined, string | null> {
  const { checks } = yield* deriveChecksSteps(spec);
  const left = Math.max(1, spec.directors.length - 1);
  const share = Math.ceil((checks.length * countCheckers(left, spec.checkers)) / left);
  if (share <= limit) return null;
  return `ask for ${checks.length} checks, of which a director runs up to ${share}; this one may have ${limit} sockets for them at once`;
}

/** Whether all real servers of a check are drained or in maintenance. */
function restingChecks(
  overrides: readonly RealServerOverride[],
): (use: CheckUse | undefined) => boolean {
  const away = new Set(
    overrides
      .filter(({ state }) => state !== 'ready')
      .map(({ service, realServer }) => realServerKey(service, realServer)),
  );
  return (use) =>
    away.size > 0 && use !== undefined && use.realServers.every((key) => away.has(key));
}
