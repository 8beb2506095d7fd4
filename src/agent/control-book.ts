/**
 * What the reconcile loop remembers of timeouts and sync daemons between passes: what was as wanted (to tell
 * drift from a change of mind), what is wrong, and when what the kernel refused is tried again.
 */
import { type BackoffConfig, deriveBackoffMs } from '../core/backoff.ts';
import type { IpvsTimeoutSpec } from '../model/cluster.ts';
import { type MonoMs, monoMs } from '../model/ids.ts';
import type { IpvsControlOperation, IpvsDaemon } from '../model/kernel.ts';
import { CONTROL_KEYS, type ControlKey } from './reconcile-state.ts';

/** What is wanted of each, as a text that is equal where the wish is. */
export type WantedControl = ReadonlyMap<ControlKey, string>;

export function wantedControl(
  daemons: readonly IpvsDaemon[],
  timeouts: IpvsTimeoutSpec,
): WantedControl {
  const wanted = new Map<ControlKey, string>();
  for (const daemon of daemons) wanted.set(keyOfDaemon(daemon.state), JSON.stringify(daemon));
  const { tcpS, tcpFinS, udpS } = timeouts;
  if (tcpS !== null || tcpFinS !== null || udpS !== null)
    wanted.set('timeouts', JSON.stringify([tcpS, tcpFinS, udpS]));
  return wanted;
}

/** Null: counters are nothing to be kept as wanted. */
export function controlKeyOf(operation: IpvsControlOperation): ControlKey | null {
  switch (operation.op) {
    case 'set-timeouts':
      return 'timeouts';
    case 'new-daemon':
    case 'delete-daemon':
      return keyOfDaemon(operation.daemon.state);
    case 'zero':
      return null;
  }
}

const keyOfDaemon = (state: IpvsDaemon['state']): ControlKey =>
  state === 'master' ? 'sync master' : 'sync backup';

type Retry = { readonly failures: number; readonly at: MonoMs; readonly wanted: string | null };

export type ControlOutcome = {
  readonly wanted: WantedControl;
  /** Why it is not as wanted. */
  readonly failed: ReadonlyMap<ControlKey, string>;
  /** Not tried in this pass. */
  readonly held: ReadonlySet<ControlKey>;
  /** What the kernel told nothing of. */
  readonly unseen: ReadonlyMap<ControlKey, string>;
  readonly now: MonoMs;
};

export class ControlBook {
  readonly #backoff: BackoffConfig;
  readonly #retries = new Map<ControlKey, Retry>();
  #converged: WantedControl = new Map();
  #problems: ReadonlyMap<ControlKey, string> = new Map();

  constructor(backoff: BackoffConfig) {
    this.#backoff = backoff;
  }

  get problems(): ReadonlyMap<ControlKey, string> {
    return this.#problems;
  }

  /** The kernel refused exactly this a short while ago. */
  isHeld(key: ControlKey, wanted: WantedControl, now: MonoMs): boolean {
    const retry = this.#retries.get(key);
    return retry !== undefined && now < retry.at && retry.wanted === (wanted.get(key) ?? null);
  }

  /** It was as it is wanted now: somebody else changed it. */
  isDrift(key: ControlKey, wanted: WantedControl): boolean {
    const before = this.#converged.get(key);
    return before !== undefined && before === wanted.get(key);
  }

  nextRetryAt(): MonoMs | null {
    let next: MonoMs | null = null;
    for (const { at } of this.#retries.values()) if (next === null || at < next) next = at;
    return next;
  }

  /** Takes the outcome of a pass; returns which problems are new, and which are gone. */
  settle(outcome: ControlOutcome): {
    readonly appeared: readonly (readonly [ControlKey, string])[];
    readonly cleared: readonly ControlKey[];
  } {
    const problems = new Map<ControlKey, string>();
    for (const key of CONTROL_KEYS) {
      const problem = this.#problemOf(key, outcome);
      if (problem !== null) problems.set(key, problem);
      if (outcome.failed.has(key)) this.#retryLater(key, outcome);
      else if (!outcome.held.has(key)) this.#retries.delete(key);
    }
    this.#converged = new Map([...outcome.wanted].filter(([key]) => !problems.has(key)));
    const before = this.#problems;
    this.#problems = problems;
    return {
      appeared: [...problems].filter(([key, problem]) => before.get(key) !== problem),
      cleared: [...before.keys()].filter((key) => !problems.has(key)),
    };
  }

  #problemOf(key: ControlKey, { wanted, failed, held, unseen }: ControlOutcome): string | null {
    const failure = failed.get(key);
    if (failure !== undefined) return failure;
    if (held.has(key)) return this.#problems.get(key) ?? null;
    // What nobody asked for need not be known.
    return wanted.has(key) ? (unseen.get(key) ?? null) : null;
  }

  #retryLater(key: ControlKey, { wanted, now }: ControlOutcome): void {
    const text = wanted.get(key) ?? null;
    const last = this.#retries.get(key);
    const failures = last !== undefined && last.wanted === text ? last.failures + 1 : 1;
    const at = monoMs(now + deriveBackoffMs(failures, this.#backoff, 1));
    this.#retries.set(key, { failures, at, wanted: text });
  }
}
