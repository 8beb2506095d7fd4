/** Since when the real servers that start slowly have been up, by the votes: what their ramps begin with. */
import { deriveUpSince } from '../core/service/slow-start.ts';
import { realServerKey } from '../core/health/checks.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId } from '../model/ids.ts';

/** Milliseconds of the wall clocks that the votes were given by; `FROM_THE_BEGINNING`: it never came back. */
export type UpSince = ReadonlyMap<CheckId, number>;

/** It took connections before anybody had voted, and the first votes confirm that: no recovery. */
export const FROM_THE_BEGINNING = -Infinity;

/** The checks of services with a slow start: all others have none, however many there are. */
export function slowChecks(
  spec: ClusterSpec,
  byRealServer: ReadonlyMap<string, CheckId>,
): ReadonlySet<CheckId> {
  const slow = new Set<CheckId>();
  for (const service of spec.services) {
    if (service.slowStartMs <= 0) continue;
    for (const { id } of service.realServers) {
      const check = byRealServer.get(realServerKey(service.id, id));
      if (check !== undefined) slow.add(check);
    }
  }
  return slow;
}

export type UpSinceInput = {
  readonly slow: ReadonlySet<CheckId>;
  readonly statuses: ReadonlyMap<CheckId, CheckStatus>;
  /** Those that count. */
  readonly votes: ReadonlyMap<CheckId, readonly Pick<Vote, 'isUp' | 'since'>[]>;
  readonly checkers: number;
};

/**
 * The very same map where nothing changed. What stays up keeps its time: other voters, or none for a
 * while, are no recovery.
 */
export function stepUpSince(before: UpSince, input: UpSinceInput): UpSince {
  const { slow, statuses, votes, checkers } = input;
  const next = new Map<CheckId, number>();
  for (const check of slow) {
    const status = statuses.get(check);
    if (status?.isUp !== true) continue;
    if (status.basis === 'initial') {
      // Else those with votes would begin anew, and all would go to those without: to who is dead, too.
      next.set(check, FROM_THE_BEGINNING);
      continue;
    }
    const times = (votes.get(check) ?? [])
      .filter(({ isUp }) => isUp)
      .map(({ since }) => wallMsOf(since))
      .filter((at) => !Number.isNaN(at));
    // Known from before this start, and nobody has a vote: it was up all the time, as far as anybody knows.
    if (status.basis === 'kept' && times.length === 0 && !before.has(check)) {
      next.set(check, FROM_THE_BEGINNING);
      continue;
    }
    const voted = deriveUpSince(times, checkers);
    const known = before.get(check) ?? voted;
    if (known !== null) next.set(check, Math.min(known, voted ?? known));
  }
  const isSame =
    next.size === before.size && [...next].every(([check, at]) => before.get(check) === at);
  return isSame ? before : next;
}

// oxlint-disable-next-line no-restricted-globals -- parses a text, reads no clock
const wallMsOf = (text: string): number => Date.parse(text);
