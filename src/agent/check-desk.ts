/** This director's part in checking real servers: who runs which check, and what the votes say. */
import { createPace, runPaced, runSteps } from '../lib/steps.ts';
import type { Check } from '../model/cluster.ts';
import type { CheckId, DirectorId } from '../model/ids.ts';
import type { Keys } from '../model/keys.ts';
import { formatRecord, type VoteRecord } from '../model/records.ts';
import type { AgentParts, AgentPorts } from './agent-parts.ts';
import { livingOf, votesOf } from './health-desk.ts';
import { createProbeLoop, type ProbeLoop } from './probe-loop.ts';
import type { ReconcileInput } from './reconcile-loop.ts';
import { StatusKeeper } from './status-keeper.ts';
import type { StatusChange } from './vote-book.ts';
import type { KnownStatuses } from '../ports/status-ledger.ts';

type Ports = Pick<AgentPorts, 'prober' | 'clock' | 'log' | 'metrics' | 'statuses'>;

/** So many are counted, or given out, in a few milliseconds; where there are more, one lot after the other. */
const AT_ONCE = 4000;
/** Of more that changed together the log has one line. */
const TOLD_MAX = 50;

/** What the checks were given out by last. */
type Shared = { readonly checks: readonly Check[]; readonly alive: readonly DirectorId[] };

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
  /** Still to be counted. */
  readonly #due = new Set<CheckId>();
  #isCounting = false;
  #shared: Shared | null = null;

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

  /** Before the checks of the first document are looked at: once. */
  sayKnown(): void {
    if (this.#known === null) return;
    this.#parts.desk.recall(this.#known, this.#parts.records.votes);
    this.#known = null;
  }

  /** What the first snapshot of the store says of checks that this director goes on with. */
  adopt(): void {
    if (this.#hasAdopted) return;
    this.#hasAdopted = true;
    this.#probes.adopt(votesOf(this.#me, this.#parts.records.votes));
  }

  /**
   * Counts the votes on some checks, or on all; on all, too, where others are alive than before, which may
   * change by the time alone.
   */
  count(due: ReadonlySet<CheckId> | 'all'): void {
    const { desk, specs } = this.#parts;
    if (specs.spec() !== null) this.sayKnown();
    const isOther = desk.setLiving(this.#living());
    for (const check of isOther || due === 'all' ? desk.checks().alphaByCheck.keys() : due)
      this.#due.add(check);
    if (!this.#isCounting) this.#countSome();
  }

  #countSome(): void {
    const { desk, records, specs } = this.#parts;
    const lot = new Set<CheckId>();
    for (const check of this.#due) {
      if (lot.size === AT_ONCE) break;
      lot.add(check);
    }
    if (lot.size === 0) return;
    for (const check of lot) this.#due.delete(check);
    this.#tell(desk.count(records.votes, lot));
    this.#isCounting = this.#due.size > 0;
    if (this.#isCounting)
      this.#ports.clock.schedule(0, () => {
        this.#isCounting = false;
        this.#countSome();
      });
    // Without a document there are no checks, and what is known of them stays on disk.
    else if (specs.spec() !== null) this.#keeper?.look(desk.statuses());
  }

  #tell(changes: readonly StatusChange[]): void {
    if (changes.length === 0) return;
    const { log } = this.#ports;
    const isMany = changes.length > TOLD_MAX;
    for (const { check, current } of changes)
      log[isMany ? 'debug' : 'info']({ check, ...current }, 'check.decided');
    const up = changes.filter(({ current }) => current.isUp).length;
    if (isMany) log.info({ up, down: changes.length - up }, 'checks.decided');
    this.#parts.reconcile.wake();
  }

  /** Those that are alive share the checks. */
  assign(): void {
    const { specs, desk } = this.#parts;
    if (specs.spec() === null) return;
    const { alive } = this.#living();
    const { checks } = desk.checks();
    const last = this.#shared;
    if (last !== null && last.checks === checks && isSameList(last.alive, alive)) return;
    const shared = { checks, alive };
    this.#shared = shared;
    const steps = desk.assignmentSteps(this.#me, alive);
    if (checks.length <= AT_ONCE) {
      this.#probes.setAssignments(runSteps(steps), desk.statuses());
      return;
    }
    void runPaced(steps, createPace(this.#ports.clock)).then((mine) => {
      if (this.#shared === shared) this.#probes.setAssignments(mine, desk.statuses());
    });
  }

  #living(): ReturnType<typeof livingOf> {
    const { specs, records } = this.#parts;
    return livingOf(this.#me, specs.spec(), records, this.#ports.clock.now());
  }
}

const isSameList = (a: readonly DirectorId[], b: readonly DirectorId[]): boolean =>
  a.length === b.length && a.every((one, i) => one === b[i]);

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
