/**
 * Votes that contradict what is known and are too few to overrule it, because others are missing. These may be on their
 * way; but a director that cannot make a probe at all (no program, no descriptor, no such source) never votes, and a
 * real server that has died must not keep its traffic for that: who is silent for long enough is not awaited any more.
 */
import { patienceMs } from '../core/health/patience.ts';
import type { Check } from '../model/cluster.ts';
import type { CheckStatus } from '../model/health.ts';
import type { CheckId, MonoMs } from '../model/ids.ts';

export class LoneVotes {
  /** Since when they have stood alone. */
  readonly #since = new Map<CheckId, MonoMs>();
  #checks: readonly Check[] = [];
  /** Made when the first one waits: hardly ever. */
  #patience: ReadonlyMap<CheckId, number> | null = null;

  /** The checks that exist from now on. */
  retime(checks: readonly Check[]): void {
    this.#checks = checks;
    this.#patience = null;
    const ids = this.#since.size === 0 ? null : new Set(checks.map(({ id }) => id));
    for (const check of this.#since.keys())
      if (ids?.has(check) === false) this.#since.delete(check);
  }

  /** What the votes on the check have come to. */
  look(check: CheckId, status: CheckStatus | undefined, now: MonoMs): void {
    if (status === undefined || !isContradicted(status)) this.#since.delete(check);
    else if (!this.#since.has(check)) this.#since.set(check, now);
  }

  isOverdue(check: CheckId, now: MonoMs): boolean {
    const since = this.#since.get(check);
    return since !== undefined && now - since >= this.#patienceOf(check);
  }

  overdue(now: MonoMs): ReadonlySet<CheckId> {
    const due = new Set<CheckId>();
    for (const check of this.#since.keys()) if (this.isOverdue(check, now)) due.add(check);
    return due;
  }

  #patienceOf(check: CheckId): number {
    this.#patience ??= new Map(this.#checks.map(({ id, spec }) => [id, patienceMs(spec)]));
    return this.#patience.get(check) ?? Infinity;
  }
}

/** By more votes than confirm it. */
const isContradicted = ({ isUp, basis, votesUp, votesDown }: CheckStatus): boolean =>
  basis === 'kept' && votesUp !== votesDown && votesUp > votesDown !== isUp;
