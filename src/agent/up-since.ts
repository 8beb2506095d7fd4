/** Since when the real servers that start slowly have been up, by the votes: what their ramps begin with. */
import { deriveUpSince } from '../core/service/slow-start.ts';
import { type DerivedChecks, realServerKey } from '../core/health/checks.ts';
import { runSteps } from '../lib/steps.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId } from '../model/ids.ts';

/** Milliseconds of the wall clocks that the votes were given by; `FROM_THE_BEGINNING`: it never came back. */
export type UpSince = ReadonlyMap<CheckId, number>;

/** It took connections before anybody had voted, and the first votes confirm that: no recovery. */
export const FROM_THE_BEGINNING = -Infinity;

/** The checks of services with a slow start: all others have none, however many there are. */
export const slowChecks = (
  spec: ClusterSpec,
  derived: Pick<DerivedChecks, 'byRealServer' | 'compounds'>,
): ReadonlySet<CheckId> => runSteps(slowChecksSteps(spec, derived));

/** The same in pieces. */
export function* slowChecksSteps(
  spec: ClusterSpec,
  { byRealServer, compounds }: Pick<DerivedChecks, 'byRealServer' | 'compounds'>,
): Generator<undefined, ReadonlySet<CheckId>> {
  const leaves = new Map(compounds.map((compound) => [compound.id, compound.leaves]));
  const slow = new Set<CheckId>();
  for (const service of spec.services) {
    if (service.slowStartMs <= 0) continue;
    for (const { id } of service.realServers) {
      yield;
      const check = byRealServer.get(realServerKey(service.id, id));
      if (check === undefined) continue;
      for (const leaf of leaves.get(check) ?? [check]) slow.add(leaf);
    }
  }
  return slow;
}

export type UpSinceInput = {
  readonly slow: ReadonlySet<CheckId>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  /** Those that count. */
  readonly votes: ReadonlyMap<CheckId, readonly Pick<Vote, 'isUp' | 'since'>[]>;
  /** How many directors vote on a check. */
  readonly checkersOf: (check: CheckId) => number;
  /** Whose statuses or votes may have changed; absent: of all. */
  readonly only?: Iterable<CheckId>;
};

/**
 * The very same map where nothing changed. What stays up keeps its time: other voters, or none for a
 * while, are no recovery.
 */
export function stepUpSince(before: UpSince, input: UpSinceInput): UpSince {
  const { slow, only } = input;
  /** A copy as soon as one changes. */
  let next: Map<CheckId, number> | null = null;
  const set = (check: CheckId, at: number | null): void => {
    if ((before.get(check) ?? null) === at) return;
    next ??= new Map(before);
    if (at === null) next.delete(check);
    else next.set(check, at);
  };
  for (const check of only ?? slow)
    set(check, slow.has(check) ? upSinceOf(before.get(check) ?? null, check, input) : null);
  if (only === undefined) for (const check of before.keys()) if (!slow.has(check)) set(check, null);
  return next ?? before;
}

/** Null: it is not up, or nobody knows since when. */
function upSinceOf(
  before: number | null,
  check: CheckId,
  { statuses, votes, checkersOf }: UpSinceInput,
): number | null {
  const status = statuses.get(check);
  if (status?.isUp !== true) return null;
  // Else those with votes would begin anew, and all would go to those without: to who is dead, too.
  if (status.basis === 'initial') return FROM_THE_BEGINNING;
  const times = (votes.get(check) ?? [])
    .filter(({ isUp }) => isUp)
    .map(({ since }) => wallMsOf(since))
    .filter((at) => !Number.isNaN(at));
  // Known from before this start, and nobody has a vote: it was up all the time, as far as anybody knows.
  if (status.basis === 'kept' && times.length === 0 && before === null) return FROM_THE_BEGINNING;
  const voted = deriveUpSince(times, checkersOf(check));
  const known = before ?? voted;
  return known === null ? null : Math.min(known, voted ?? known);
}

// oxlint-disable-next-line no-restricted-globals -- parses a text, reads no clock
const wallMsOf = (text: string): number => Date.parse(text);
