/**
 * Connection sync of this director between passes: which daemons it shall run, since when they do, and which
 * groups had better stay where they are until their connections are known here.
 */
import {
  deriveSync,
  type DesiredSync,
  type SyncExplanation,
  type SyncInput,
} from '../core/desired/sync-daemons.ts';
import {
  decideSyncReady,
  type SeenDaemons,
  stepSeenDaemons,
  type SyncReady,
} from '../core/desired/sync-readiness.ts';
import type { GroupId, MonoMs } from '../model/ids.ts';
import type { IpvsDaemon } from '../model/kernel.ts';

/** A daemon that the kernel refuses, or tells nothing of, keeps a group away for no longer. */
export const NO_DAEMON_MS = 30_000;

const NOBODY: ReadonlySet<GroupId> = new Set();
const NO_SYNC: DesiredSync = { daemons: [], explanations: new Map() };

export class SyncDesk {
  #input: SyncInput | null = null;
  #desired = NO_SYNC;
  #seen: SeenDaemons = new Map();
  /** Since when the daemon that a group needs does not run. */
  readonly #missing = new Map<GroupId, MonoMs>();

  get explanations(): ReadonlyMap<GroupId, SyncExplanation> {
    return this.#desired.explanations;
  }

  /** The very same as long as nothing else came in. */
  derive(input: SyncInput): DesiredSync {
    const last = this.#input;
    if (last !== null && isSameInput(last, input)) return this.#desired;
    this.#input = input;
    this.#desired = deriveSync(input);
    return this.#desired;
  }

  /** What the kernel runs now; null: it did not tell. */
  observe(daemons: readonly IpvsDaemon[] | null, now: MonoMs): void {
    this.#seen = stepSeenDaemons(this.#seen, daemons, now);
    const wanted = new Set<GroupId>();
    for (const [group, { reason }] of this.ready(now)) {
      if (reason !== 'no-daemon') continue;
      wanted.add(group);
      if (!this.#missing.has(group)) this.#missing.set(group, now);
    }
    for (const group of this.#missing.keys()) if (!wanted.has(group)) this.#missing.delete(group);
  }

  /** Of the groups with connection sync: whether they may come here as far as their connections go. */
  ready(now: MonoMs): ReadonlyMap<GroupId, SyncReady> {
    const ready = new Map<GroupId, SyncReady>();
    for (const group of this.#input?.groups ?? []) {
      if (group.connectionSync === null) continue;
      const explanation = this.explanations.get(group.id) ?? null;
      ready.set(group.id, decideSyncReady({ group, explanation, seen: this.#seen, nowMs: now }));
    }
    return ready;
  }

  /** Those that wait, but for daemons that will hardly ever run. */
  awaited(ready: ReadonlyMap<GroupId, SyncReady>, now: MonoMs): ReadonlySet<GroupId> {
    const awaited = new Set<GroupId>();
    for (const [group, { value, reason }] of ready) {
      if (value) continue;
      const since = this.#missing.get(group) ?? now;
      if (reason !== 'no-daemon' || now - since < NO_DAEMON_MS) awaited.add(group);
    }
    return awaited;
  }

  /** When the first of those that wait is ready, if nothing happens. */
  nextInMs(now: MonoMs): number {
    let next = Infinity;
    for (const { remainingMs } of this.ready(now).values())
      if (remainingMs !== null && remainingMs < next) next = remainingMs;
    return next;
  }
}

const isSameInput = (a: SyncInput, b: SyncInput): boolean =>
  a.me === b.me &&
  a.groups === b.groups &&
  a.services === b.services &&
  a.devices === b.devices &&
  a.isBackupOnly === b.isBackupOnly &&
  isSameSet(a.held, b.held) &&
  isSameSet(a.serving ?? NOBODY, b.serving ?? NOBODY);

export const isSameSet = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean =>
  a === b || (a.size === b.size && [...a].every((one) => b.has(one)));
