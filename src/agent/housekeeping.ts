/**
 * What follows from the election's state, beside it and never in its way: the report, notify programs,
 * conflicts to listen for, metrics. Woken by changes, else once a second.
 */
import { Wakeup } from '../lib/async.ts';
import type { HoldReason } from '../model/decision.ts';
import { ABSENT, epochOf, type GroupId, type Revision } from '../model/ids.ts';
import { formatRecord } from '../model/records.ts';
import { phaseOf } from '../core/notify/transitions.ts';
import { createCandidacies } from '../core/election/candidacy.ts';
import { myObstacle } from '../core/election/placement.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import type { ConflictWatch } from './conflict-watch.ts';
import type { EpochFence } from './epoch-fence.ts';
import type { Gauges } from './gauges.ts';
import type { NotifyLoop, ObservedGroup } from './notify-loop.ts';
import { deriveReport } from './report.ts';
import { isStoreConnected, problemsHere } from './status-desk.ts';
import { waitFor } from './wait-for.ts';

export type HousekeepingPorts = Pick<AgentPorts, 'clock' | 'store'> & {
  readonly gauges: Gauges;
  readonly notify: Pick<NotifyLoop, 'observe'>;
  readonly conflicts: Pick<ConflictWatch, 'look'>;
  readonly epochs: EpochFence;
  /** Tells the election what this director could hold now. */
  readonly judge: () => void;
  /** Who else enforces the document. */
  readonly lookAround: () => void;
  /**
   * Nobody tells that a director has been awaited for long enough, that etcd does not answer, or that a group has
   * been held from now on: who checks what, and whose word counts, may follow from it.
   */
  readonly lookAtChecks: () => void;
  /** Why the group was taken or given up last; null: neither yet. */
  readonly reasonOf: (group: GroupId) => HoldReason | null;
};

export type Housekeeping = {
  wake(): void;
  run(signal: AbortSignal): Promise<void>;
};

const PASS_MS = 1000;
const PASS_GAP_MS = 40;

export function createHousekeeping(
  options: AgentOptions,
  ports: HousekeepingPorts,
  parts: AgentParts,
): Housekeeping {
  const wakeup = new Wakeup();
  const keeper = new Keeper(options, ports, parts);
  return {
    wake: () => wakeup.wake(),
    run: async (signal) => {
      while (!signal.aborted) {
        await keeper.pass();
        // Rounds end many times a second; what follows from them need not follow each.
        await ports.clock.sleep(PASS_GAP_MS, signal);
        await waitFor(wakeup, PASS_MS, ports.clock, signal);
      }
    },
  };
}

class Keeper {
  readonly #options: AgentOptions;
  readonly #ports: HousekeepingPorts;
  readonly #parts: AgentParts;
  #lastMetricsAt = -Infinity;
  /** Revision of the spec that this director's kernel obeys; the others wait for it. */
  #enforced: Revision = ABSENT;

  constructor(options: AgentOptions, ports: HousekeepingPorts, parts: AgentParts) {
    this.#options = options;
    this.#ports = ports;
    this.#parts = parts;
  }

  async pass(): Promise<void> {
    const { clock, store, conflicts, notify, judge, lookAround, lookAtChecks } = this.#ports;
    conflicts.look();
    this.#lookForStandIns();
    notify.observe(this.#observed());
    await this.#enforce();
    // Time proves nothing about records that nobody sees change.
    if (isStoreConnected(store, clock.now())) lookAround();
    judge();
    this.#publishReport();
    lookAtChecks();
    if (clock.now() - this.#lastMetricsAt < PASS_MS) return;
    this.#lastMetricsAt = clock.now();
    this.#measure();
  }

  #lookForStandIns(): void {
    const { specs, hold, standIns } = this.#parts;
    const config = specs.electionConfig();
    if (config === null) return;
    const groups = config.groups.map(({ id }) => id);
    standIns.look(groups, createCandidacies(hold.state(), config, this.#ports.clock.now()));
  }

  /**
   * A spec counts as enforced when the kernel has nothing any more that it forbids, and nothing of one
   * group in the name of another: that would be muted and closed with the other.
   */
  async #enforce(): Promise<void> {
    const { specs, keeper, gate } = this.#parts;
    const accepted = specs.accepted();
    if (accepted === ABSENT || accepted === this.#enforced) return;
    if ((await keeper.enforce()) && gate.isPlaced()) this.#enforced = accepted;
  }

  #publishReport(): void {
    const { me, keys, version, startedAt } = this.#options;
    const { specs, hold, gate, reconcile, directorLease, vrrp, served } = this.#parts;
    const config = specs.electionConfig();
    if (config === null) return;
    const report = deriveReport({
      config,
      state: hold.state(),
      now: this.#ports.clock.now(),
      version,
      startedAt,
      specRevision: this.#enforced,
      gateKind: gate.kind,
      ipvs: reconcile.state(),
      problems: problemsHere(this.#options, this.#parts, this.#ports.clock.now()),
      vrrp: vrrp?.sources() ?? [],
      macs: served.macs(),
    });
    if (report !== null) directorLease.publish(keys.report(me), formatRecord(report));
  }

  /** Of an older epoch than something done already nobody is told. */
  #observed(): readonly ObservedGroup[] {
    const { clock, epochs, reasonOf } = this.#ports;
    const state = this.#parts.hold.state();
    const { me } = this.#options;
    return (this.#parts.specs.spec()?.groups ?? []).map((group): ObservedGroup => {
      const holding = state.holdings.get(group.id);
      const isOld = holding !== undefined && !epochs.admit(group.id, holding.epoch, 'notify');
      const owner = state.view.owners.get(group.id)?.rev ?? ABSENT;
      return {
        group,
        phase: isOld ? 'leaving' : phaseOf(holding),
        epoch: holding?.epoch ?? (owner === ABSENT ? null : epochOf(owner)),
        ineligible: myObstacle(state, group, clock.now(), me),
        reason: reasonOf(group.id),
        bonus: state.bonus.get(group.id) ?? 0,
      };
    });
  }

  #measure(): void {
    const { clock, store, gauges } = this.#ports;
    const { specs, hold, leases, reconcile, plane } = this.#parts;
    gauges.measure({
      isStoreConnected: isStoreConnected(store, clock.now()),
      lagMs: hold.lagMs(),
      state: hold.state(),
      timing: specs.spec()?.timing ?? null,
      groups: (specs.spec()?.groups ?? []).map(({ id }) => ({
        group: id,
        leaseMs: leases.remainingMs(id),
      })),
      plane: () => ({
        spec: specs.spec(),
        reconcile: reconcile.state(),
        marks: plane.marks?.state() ?? null,
        health: (realServer) => this.#parts.checks.health(realServer),
      }),
    });
  }
}
