/**
 * What forwards on this director and what goes with it: the IPVS table with its sync daemons, firewall marks
 * and kernel settings. It reads the election and the store's view; neither knows of it.
 */
import { BACKUP_ONLY } from '../core/sysctls/judge-sysctls.ts';
import { isOwnService, type OwnServing } from '../core/service/own-standby.ts';
import { ok } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import { type DirectorId, type GroupId, groupId, type MonoMs } from '../model/ids.ts';
import type { EventRecord } from '../model/records.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import { desiredInput } from './check-desk.ts';
import { DrainTeller } from './drain-teller.ts';
import { createMarkLoop, type MarkLoop } from './mark-loop.ts';
import { QuorumDesk } from './quorum-desk.ts';
import { QuorumTimes } from './quorum-times.ts';
import { createReconcileLoop, type ReconcileInput, type ReconcileLoop } from './reconcile-loop.ts';
import { isSameSet } from './sync-desk.ts';
import { createSysctlKeeper, type SysctlKeeper } from './sysctl-keeper.ts';

type Options = Pick<AgentOptions, 'me' | 'devices'>;
type Ports = Pick<
  AgentPorts,
  'ipvs' | 'ledger' | 'clock' | 'log' | 'metrics' | 'notifier' | 'marks' | 'sysctls'
>;
type Parts = Pick<AgentParts, 'specs' | 'desk' | 'records' | 'hold' | 'served'>;

export type DataPlaneHooks = {
  readonly parts: () => Parts;
  /** Whether the table is as wanted may have changed. */
  readonly passed: () => void;
  readonly record: (event: EventRecord) => void;
};

/** So long a planned move waits for what forwards here to be made; its holder waits little longer. */
const MAKE_MS = 250;
/**
 * After so long in silence a group is shared out no more: whoever has taken it, unheard here, may send this
 * director what it would send back.
 */
const SILENT_MS = 1000;

export class DataPlane {
  readonly reconcile: ReconcileLoop;
  /** Null: marks cannot be written here. */
  readonly marks: MarkLoop | null;
  /** Null: kernel settings can be neither read nor set here. */
  readonly sysctls: SysctlKeeper | null;
  readonly quorumTimes: QuorumTimes;
  readonly #me: DirectorId;
  readonly #ports: Ports;
  readonly #hooks: DataPlaneHooks;
  readonly #quorums: QuorumDesk;
  #wasAvailable = false;
  /** A setting waits for the end of a daemon that listens. */
  #awaitsSilence = false;
  /** The election has told once what is held. */
  #isKnown = false;
  #held: ReadonlySet<GroupId> = new Set();
  /** Those of them that nobody else speaks for at the same time, as a successor does. */
  #sharing: ReadonlySet<GroupId> = new Set();
  /** Held, about to be opened or taken, or not silenced yet; and what is sent here, once it has caught up. */
  #serving: ReadonlySet<GroupId> = new Set();
  /** All of them, and what an operator sends here. */
  #here: ReadonlySet<GroupId> = new Set();
  /** Since when each of those is. */
  readonly #hereSince = new Map<GroupId, MonoMs>();
  #own: OwnServing | null = null;
  #cancelLook: () => void = () => {};

  constructor({ me, devices }: Options, ports: Ports, hooks: DataPlaneHooks) {
    const { ipvs, ledger, clock, log, metrics, notifier } = ports;
    this.#me = me;
    this.#ports = ports;
    this.#hooks = hooks;
    const spec = () => hooks.parts().specs.spec();
    const { record } = hooks;
    const holds = (group: GroupId): boolean => this.#held.has(group);
    this.#quorums = new QuorumDesk(me, { notifier, clock, log, record, spec, holds });
    const drains = new DrainTeller(log);
    this.quorumTimes = new QuorumTimes(clock);
    this.reconcile = createReconcileLoop(
      {},
      {
        me,
        devices,
        kernel: ipvs,
        ledger,
        clock,
        log,
        metrics,
        input: () => this.#input(),
        decided: (decision) => {
          this.#quorums.decided(decision.before, decision.desired);
          this.quorumTimes.decided(decision.before, decision.desired.quorums);
          drains.look(decision.drains);
        },
        passed: () => this.#passed(),
      },
    );
    const { marks, sysctls } = ports;
    this.marks =
      marks === undefined ? null : createMarkLoop({}, { marks, clock, log, metrics, spec });
    this.sysctls =
      sysctls === undefined
        ? null
        : createSysctlKeeper(
            { me, devices },
            {
              ...sysctls,
              clock,
              log,
              spec,
              postponed: (name, to) => this.#postponed(name, to),
            },
          );
  }

  loops(): readonly ((signal: AbortSignal) => Promise<void>)[] {
    const { reconcile, marks, sysctls } = this;
    return [reconcile, marks, sysctls].flatMap((loop) =>
      loop === null ? [] : [(end: AbortSignal) => loop.run(end)],
    );
  }

  #passed(): void {
    const { available } = this.reconcile.state();
    // It brings settings of its own.
    if ((available && !this.#wasAvailable) || this.#awaitsSilence) this.sysctls?.wake();
    this.#awaitsSilence = false;
    this.#wasAvailable = available;
    this.#hooks.passed();
  }

  /** A kernel that listens would forward nothing from the moment on in which it is set. */
  #postponed(name: string, to: string): string | null {
    if (name !== BACKUP_ONLY || to === '0' || this.#serving.size === 0) return null;
    const { daemons, available, lastReconcileAt } = this.reconcile.state();
    this.#awaitsSilence =
      daemons?.some(({ state }) => state === 'backup') ?? (available && lastReconcileAt === null);
    return this.#awaitsSilence
      ? 'this director serves a group, and would forward nothing while its sync daemon listens: it is set when that has ended'
      : null;
  }

  /** The document may be another one. */
  specChanged(): void {
    for (const loop of [this.reconcile, this.marks, this.sysctls]) loop?.wake();
  }

  /** What is held may have changed. Cheap where it did not. */
  look(): void {
    const { holdings, foreseen, session, view } = this.#hooks.parts().hold.state();
    if (!this.#isKnown && session.kind !== 'open') return;
    const held = new Set<GroupId>();
    const sharing = new Set<GroupId>();
    const serving = new Set<GroupId>(foreseen);
    const now = this.#ports.clock.now();
    let nextMs = Infinity;
    for (const [group, holding] of holdings) {
      const { kind } = holding;
      if (kind === 'shut') continue;
      // Until the kernel has silenced it a client would be told that nobody is there.
      serving.add(group);
      if (kind === 'closing') continue;
      // What an earlier process held, or what fell silent for a moment, goes on telling its connections.
      const isBack = kind === 'owned' && (this.#held.has(group) || !this.#isKnown);
      if (kind === 'owned' && !isBack) continue;
      held.add(group);
      const leftMs = kind === 'owned' ? holding.since + SILENT_MS - now : Infinity;
      if (kind === 'leaving' || leftMs <= 0) continue;
      sharing.add(group);
      nextMs = Math.min(nextMs, leftMs);
    }
    this.#lookAgain(nextMs);
    const here = new Set(serving);
    // An operator sends it here: its holder is about to hand it over.
    for (const { value } of view.operations.values()) {
      if (value?.state !== 'pending' || value.to !== this.#me) continue;
      const group = groupId(value.group);
      here.add(group);
      if (!this.reconcile.state().syncAwaited.has(group)) serving.add(group);
    }
    const isSame =
      isSameSet(held, this.#held) &&
      isSameSet(sharing, this.#sharing) &&
      isSameSet(serving, this.#serving) &&
      isSameSet(here, this.#here);
    if (this.#isKnown && isSame) return;
    this.#isKnown = true;
    if (!isSameSet(serving, this.#serving)) this.#serving = serving;
    if (!isSameSet(held, this.#held)) this.#held = held;
    if (!isSameSet(sharing, this.#sharing)) this.#sharing = sharing;
    if (!isSameSet(here, this.#here)) this.#here = here;
    for (const group of here) if (!this.#hereSince.has(group)) this.#hereSince.set(group, now);
    for (const group of this.#hereSince.keys()) if (!here.has(group)) this.#hereSince.delete(group);
    this.reconcile.wake();
  }

  /** Nothing tells of time that has passed. */
  #lookAgain(ms: number): void {
    this.#cancelLook();
    this.#cancelLook =
      ms === Infinity ? () => {} : this.#ports.clock.schedule(ms, () => this.look());
  }

  /**
   * The group comes here by plan, and no pass has been made since that knows of it: before it speaks it needs
   * what a standby has not, or the kernel must stop to listen.
   */
  isAwaited(group: GroupId): boolean {
    const spec = this.#hooks.parts().specs.spec();
    const since = this.#hereSince.get(group);
    const now = this.#ports.clock.now();
    if (spec === null || since === undefined || now - since >= MAKE_MS) return false;
    const hasAll = spec.ipvs.standby === 'warm' && this.#own === null && !this.#isBackupOnly(spec);
    const { available, lastReconcileAt, lastReconcileMs } = this.reconcile.state();
    if (hasAll || !available) return false;
    return lastReconcileAt === null || lastReconcileAt - (lastReconcileMs ?? 0) < since;
  }

  /** No program is started any more. */
  end(): void {
    this.#cancelLook();
    this.#quorums.end();
  }

  /**
   * At the very end, when nothing answers for a VIP here and no loop runs: takes away what is ours, if the
   * document says so, and tells what is gone and what stays.
   */
  async release(): Promise<void> {
    const { log } = this.#ports;
    const onExit = this.#hooks.parts().specs.spec()?.ipvs.onExit;
    if (onExit === undefined) return this.keep('there is no cluster document that says otherwise');
    if (onExit === 'freeze') return this.keep('the cluster document says onExit: freeze');
    const hadMarks = (this.marks?.state().entries.length ?? 0) > 0;
    const table = await this.reconcile.release();
    const marks = (await this.marks?.remove()) ?? ok(undefined);
    const problems = [table, marks].flatMap((one) => (one.ok ? [] : [one.error]));
    const { services, daemons } = table.ok ? table.value : { services: 0, daemons: [] };
    const gone = {
      services,
      daemons,
      marks: marks.ok && hadMarks,
      stays: this.#settingsLeft(),
    };
    if (problems.length === 0) log.info(gone, 'ipvs.released');
    else log.warn({ ...gone, problem: problems.join('; ') }, 'ipvs.left');
  }

  /** At an end that takes nothing away: tells what stays, and why. Silent where there is nothing. */
  keep(why: string): void {
    const { table, daemons, foreign, foreignDaemons } = this.reconcile.state();
    const own = (table?.services.length ?? 0) - foreign.length;
    const states = (daemons ?? [])
      .map(({ state }) => state)
      .filter((state) => !foreignDaemons.some((one) => one.state === state));
    const marks = this.marks?.state().entries.length ?? 0;
    const stays = this.#settingsLeft();
    if (own <= 0 && states.length === 0 && marks === 0 && stays.length === 0) return;
    this.#ports.log.info({ why, services: own, daemons: states, marks, stays }, 'ipvs.kept');
  }

  /** No end gives kernel settings back: connections and other programs may live by them. */
  #settingsLeft(): readonly string[] {
    const { timeouts } = this.#hooks.parts().specs.spec()?.ipvs ?? {};
    const isSet = timeouts !== undefined && Object.values(timeouts).some((one) => one !== null);
    return [
      ...[...(this.sysctls?.state().changed ?? [])].map(
        ([name, { was, set }]) => `${name} = ${set} (${was} before)`,
      ),
      ...(isSet ? ['the IPVS timeouts of the document'] : []),
    ];
  }

  #input(): ReconcileInput | null {
    const parts = this.#hooks.parts();
    const input = desiredInput(parts);
    if (input === null) return null;
    const isCold = input.spec.ipvs.standby === 'cold';
    const own = this.#deriveOwn(input.spec, parts.served.addresses());
    // It would take away what an earlier process of a holder left, or share out beside the holder.
    if ((isCold || own !== null) && !this.#isKnown) return null;
    const groupsHere = isCold ? this.#here : null;
    return {
      ...input,
      around: {
        upSince: parts.desk.upSince(),
        dynamicWeights: parts.desk.dynamicWeights(),
        groupsHere,
        own,
      },
      held: this.#isKnown ? this.#held : null,
      serving: this.#serving,
      isBackupOnly: this.#isBackupOnly(input.spec),
    };
  }

  /** Null: it is a real server of nothing. The very same while nothing changed. */
  #deriveOwn({ services }: ClusterSpec, addresses: ReadonlySet<IpAddress>): OwnServing | null {
    if (!services.some((service) => isOwnService(service, addresses))) {
      this.#own = null;
      return null;
    }
    const last = this.#own;
    const isSame =
      last?.addresses === addresses && last.held === this.#sharing && last.here === this.#here;
    if (!isSame) this.#own = { addresses, held: this.#sharing, here: this.#here };
    return this.#own;
  }

  /** As the kernel has it, or is about to. */
  #isBackupOnly({ ipvs }: ClusterSpec): boolean {
    const value = this.sysctls?.state().values.get(BACKUP_ONLY) ?? '0';
    return (
      value !== '0' || ipvs.sysctls.some((one) => one.name === BACKUP_ONLY && one.value !== '0')
    );
  }
}
