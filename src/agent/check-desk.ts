/** This director's part in checking real servers: who runs which check, and what the votes say. */
import type { DirectorId } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import { formatRecord, type VoteRecord } from '../model/records.ts';
import type { AgentParts, AgentPorts } from './agent-parts.ts';
import { livingOf, votesOf } from './health-desk.ts';
import { createProbeLoop, type ProbeLoop } from './probe-loop.ts';
import type { ReconcileInput } from './reconcile-loop.ts';
import { StatusKeeper } from './status-keeper.ts';
import type { KnownStatuses } from '../ports/status-ledger.ts';

type Ports = Pick<AgentPorts, 'prober' | 'clock' | 'log' | 'metrics' | 'statuses'>;

export class CheckDesk {
  readonly #me: DirectorId;
  readonly #ports: Ports;
  readonly #parts: AgentParts;
  readonly #probes: ProbeLoop;
  /** Null: nothing is kept on this machine. */
  readonly #keeper: StatusKeeper | null;
  /** Null: it has been said, or nothing is kept. */
  #known: KnownStatuses | null = null;
  #hasAdopted = false;

  constructor(
    options: { readonly me: DirectorId; readonly keys: Keys },
    ports: Ports,
    parts: AgentParts,
  ) {
    const { me, keys } = options;
    this.#me = me;
    this.#ports = ports;
    this.#parts = parts;
    const { statuses, clock, log } = ports;
    this.#keeper =
      statuses === undefined ? null : new StatusKeeper({ ledger: statuses, clock, log });
    this.#probes = createProbeLoop(
      { me },
      {
        prober: ports.prober,
        clock: ports.clock,
        log: ports.log,
        metrics: ports.metrics,
        publish: (check, vote) => {
          const key = keys.vote(check, me);
          if (vote === null) return parts.directorLease.publish(key, null);
          const { isUp, since, detail } = vote;
          const record: VoteRecord = { v: 1, up: isUp, since, detail };
          parts.directorLease.publish(key, formatRecord(record));
        },
      },
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#probes.run(signal);
    await this.#keeper?.end();
  }

  /** Before the store is looked at: what an earlier life knew. */
  async recall(): Promise<void> {
    if (this.#keeper !== null) this.#known = await this.#keeper.load();
  }

  /** What the first snapshot of the store says of checks that this director goes on with. */
  adopt(): void {
    if (this.#hasAdopted) return;
    this.#hasAdopted = true;
    this.#probes.adopt(votesOf(this.#me, this.#parts.records.votes));
  }

  /** Who is alive may have changed by the time alone; counts anew where it did, or where told to. */
  count({ isDue }: { readonly isDue: boolean }): void {
    const { desk, records, reconcile, specs } = this.#parts;
    if (this.#known !== null && specs.spec() !== null) {
      desk.recall(this.#known, records.votes);
      this.#known = null;
    }
    const isOther = desk.setLiving(this.#living());
    if (!isOther && !isDue) return;
    for (const { check, current } of desk.count(records.votes)) {
      this.#ports.log.info({ check, ...current }, 'check.decided');
      reconcile.wake();
    }
    // Without a document there are no checks, and what is known of them stays on disk.
    if (specs.spec() !== null) this.#keeper?.look(desk.statuses());
  }

  /** Those that are alive share the checks. */
  assign(): void {
    const { specs, desk } = this.#parts;
    if (specs.spec() === null) return;
    const checks = desk.assignmentsOf(this.#me, this.#living().alive);
    this.#probes.setAssignments(checks, desk.statuses());
  }

  #living(): ReturnType<typeof livingOf> {
    const { specs, records } = this.#parts;
    return livingOf(this.#me, specs.spec(), records, this.#ports.clock.now());
  }
}

/** What the IPVS table is derived from; null: no usable spec. */
export function desiredInput({
  specs,
  desk,
  records,
}: Pick<AgentParts, 'specs' | 'desk' | 'records'>): ReconcileInput | null {
  const spec = specs.spec();
  if (spec === null) return null;
  return {
    spec,
    checks: desk.checks().byRealServer,
    overrides: records.overrides,
    statuses: desk.statuses(),
  };
}
