/**
 * Keeps on this machine what is known of each check, for a start after which nobody has a vote left: all agents
 * were away for longer than their leases. A real server that was down must not get traffic then until it is probed,
 * nor one with `alpha` that was up lose it.
 */
import type { CheckStatus } from '../model/health.ts';
import type { CheckId, MonoMs } from '../model/ids.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { KnownStatuses, StatusLedger } from '../ports/status-ledger.ts';

/** Not written more often: the votes in the store tell of what came last. */
export const SAVE_EVERY_MS = 5000;

export type StatusKeeperPorts = {
  readonly ledger: StatusLedger;
  readonly clock: Pick<Clock, 'now' | 'schedule'>;
  readonly log: Log;
};

/** What is known whenever it is asked: to tell it may cost something. */
type Statuses = () => ReadonlyMap<CheckId, CheckStatus>;

export class StatusKeeper {
  readonly #ports: StatusKeeperPorts;
  /** As on disk. */
  #saved: KnownStatuses = new Map();
  /** The last try to write failed. */
  #isBehind = false;
  #wanted: Statuses | null = null;
  #savedAt: MonoMs | null = null;
  #cancel: (() => void) | null = null;
  #saving: Promise<void> = Promise.resolve();
  #problem: string | null = null;

  constructor(ports: StatusKeeperPorts) {
    this.#ports = ports;
  }

  /** Once, at the start. */
  async load(): Promise<KnownStatuses> {
    const loaded = await this.#ports.ledger.load();
    if (loaded.ok) this.#saved = loaded.value;
    else this.#tell(loaded.error);
    return this.#saved;
  }

  /** Something of what is known may have changed. */
  look(statuses: Statuses): void {
    this.#wanted = statuses;
    if (this.#cancel !== null) return;
    const { clock } = this.#ports;
    const rest = this.#savedAt === null ? 0 : this.#savedAt + SAVE_EVERY_MS - clock.now();
    this.#cancel = clock.schedule(Math.max(rest, 0), () => void this.#save());
  }

  /** At the end: what is still to be written. */
  async end(): Promise<void> {
    this.#cancel?.();
    await this.#save();
  }

  #save(): Promise<void> {
    this.#cancel = null;
    const known = this.#wanted === null ? null : knownOf(this.#wanted());
    if (known === null || (!this.#isBehind && isSame(known, this.#saved))) return this.#saving;
    this.#saved = known;
    this.#savedAt = this.#ports.clock.now();
    this.#saving = this.#saving.then(() => this.#write(known));
    return this.#saving;
  }

  async #write(known: KnownStatuses): Promise<void> {
    const written = await this.#ports.ledger.save(known);
    this.#isBehind = !written.ok;
    this.#tell(written.ok ? null : written.error);
  }

  #tell(problem: string | null): void {
    if (problem !== null && problem !== this.#problem)
      this.#ports.log.warn({ problem }, 'statuses.unkept');
    this.#problem = problem;
  }
}

/** What was never known is not remembered either. */
function knownOf(statuses: ReadonlyMap<CheckId, CheckStatus>): KnownStatuses {
  const known = new Map<CheckId, boolean>();
  for (const [check, { isUp, basis }] of statuses) if (basis !== 'initial') known.set(check, isUp);
  return known;
}

const isSame = (a: KnownStatuses, b: KnownStatuses): boolean =>
  a.size === b.size && [...a].every(([check, isUp]) => b.get(check) === isUp);
