/**
 * Carries the election's words for the kernel gate to it, one operation at a time, and tells back in
 * the election's words what came of each, whatever happens. It looks at the epoch last of all.
 */
import type { ElectionEffect, ElectionEvent } from '../core/election/state.ts';
import { messageOf, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import { type Epoch, type GroupId, monoMs, type MonoMs } from '../model/ids.ts';
import type { KernelError } from '../model/kernel.ts';
import type { ArmRequest, Gate, GateGroup, RefusedVip } from '../ports/gate.ts';
import type { Log } from '../ports/log.ts';
import type { EpochFence } from './epoch-fence.ts';
import { SerialQueue } from './serial-queue.ts';
import type { Voices } from './voices.ts';

export type GateWorkPorts = {
  readonly gate: Gate;
  readonly log: Log;
  readonly epochs: EpochFence;
  readonly voices: Pick<Voices, 'limit'>;
  /** Where a group's addresses are bound; null while an interface is missing. */
  readonly gateGroup: (group: GroupId) => GateGroup | null;
  /** What forwards for a group that comes here is being made in the kernel. Absent: of none. */
  readonly isAwaited?: (group: GroupId) => boolean;
  /** All of the group's addresses may still be another group's elsewhere. Absent: of none. */
  readonly isWithheld?: (group: GroupId) => boolean;
  /** Silences what an earlier life of this agent left, but for these groups; true when the kernel did. */
  readonly clearGate: (keep: readonly GroupId[]) => Promise<ReadonlyMap<GroupId, MonoMs> | null>;
};

export type GateEffect = Extract<
  ElectionEffect,
  { readonly kind: 'clear-gate' | 'permit' | 'arm' | 'open' | 'mute' | 'close' }
>;

/** The epoch of each group's holding when the operation was decided. */
export type Epochs = ReadonlyMap<GroupId, Epoch>;

const NEVER = monoMs(-Infinity);

/** Several groups that are closed at once: each for itself would wait for the kernel's work on those before. */
type Closing = {
  readonly groups: Set<GroupId>;
  readonly done: Promise<Result<void, KernelError>>;
};

export class GateWork {
  readonly #ports: GateWorkPorts;
  readonly #queue = new SerialQueue();
  /** What each group was last armed with: closing needs it after the spec dropped the group. */
  readonly #armed = new Map<GroupId, GateGroup>();
  readonly #refusals = new Map<GroupId, string>();
  /** What groups go on without, by address. */
  #refused: ReadonlyMap<IpAddress, RefusedVip> = new Map();
  #foreseen: readonly GroupId[] = [];
  /** The closing that is last in the queue and has not begun: what else is to be closed joins it. */
  #closing: Closing | null = null;

  constructor(ports: GateWorkPorts) {
    this.#ports = ports;
  }

  /** Groups of whose addresses the kernel refused one last, with its words. */
  refusals(): ReadonlyMap<GroupId, string> {
    if (this.#refused.size === 0) return this.#refusals;
    const words = new Map(this.#refusals);
    for (const one of this.#refused.values()) {
      const before = words.get(one.group);
      const own = `${one.error.message}${ONE_REFUSED}`;
      words.set(one.group, before === undefined ? own : `${before}; ${own}`);
    }
    return words;
  }

  /** In turn with the other operations; nothing comes of it but time won later. */
  async foresee(groups: readonly GroupId[]): Promise<void> {
    const { gate, gateGroup, log } = this.#ports;
    this.#foreseen = groups;
    try {
      // What is decided meanwhile goes first: each part takes its turn. What was foreseen anew ends this.
      for (let hasMore = true; hasMore && this.#foreseen === groups; )
        // oxlint-disable-next-line no-await-in-loop -- one part after the other is the point
        hasMore = await this.#inTurn(() =>
          gate.foresee(groups.flatMap((group) => gateGroup(group) ?? [])),
        );
    } catch (error) {
      log.error({ operation: 'foresee', problem: messageOf(error) }, 'kernel.failed');
    }
  }

  /** Runs the work in turn with the gate's operations, never beside one. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(work);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#closing = null;
    return this.#queue.run(work);
  }

  /** Never rejects. */
  async carryOut(effect: GateEffect, epochs: Epochs): Promise<ElectionEvent> {
    try {
      if (effect.kind === 'close') return await this.#close(effect);
      return await this.#inTurn(() => this.#do(effect, epochs));
    } catch (error) {
      this.#ports.log.error({ operation: effect.kind, problem: messageOf(error) }, 'kernel.failed');
      return failureOf(effect);
    }
  }

  async #do(
    effect: Exclude<GateEffect, { readonly kind: 'close' }>,
    epochs: Epochs,
  ): Promise<ElectionEvent> {
    const { gate, clearGate } = this.#ports;
    switch (effect.kind) {
      case 'clear-gate':
        return { kind: 'gate-cleared', speaking: await clearGate(effect.keep) };
      case 'permit': {
        const given = await gate.permit(effect.round, effect.timeoutMs);
        if (!given.ok) this.#ports.log.warn({ problem: given.error.message }, 'round.unpermitted');
        return { kind: 'permit-given', round: effect.round, isOk: given.ok };
      }
      case 'arm':
        return this.#arm(effect, epochs);
      case 'open':
        return this.#open(effect, epochs);
      case 'mute':
        return this.#mute(effect);
    }
  }

  async #arm(effect: GateEffect & { kind: 'arm' }, epochs: Epochs): Promise<ElectionEvent> {
    const { gate, log, voices, isAwaited, isWithheld } = this.#ports;
    const { round, until, aliveMs } = effect;
    const left: GroupId[] = [];
    const groups: ArmRequest['groups'][number][] = [];
    for (const { group, ...how } of effect.groups) {
      const gateGroup = this.#admitted('arm', group, epochs);
      if (gateGroup === null) left.push(group);
      else groups.push({ ...gateGroup, ...how });
    }
    const armed = await gate.arm({ round, groups, until, aliveMs });
    if (!armed.ok) {
      log.warn({ round, problem: armed.error.message }, 'round.unarmed');
      return failureOf(effect);
    }
    const { speaksUntil, opened, deferred } = armed.value;
    const failed = [...left, ...this.#noteRefusals(groups, armed.value.failed)];
    this.#noteRefused(groups, armed.value.refused);
    const isDeferred = new Set(deferred);
    for (const { group, mode } of groups)
      if (mode === 'open' && !isDeferred.has(group)) voices.limit(group, speaksUntil);
    const names = effect.groups.map((one) => one.group).filter((group) => !isDeferred.has(group));
    const unmade = groups.filter(({ group, mode }) => mode === 'prepared' && isAwaited?.(group));
    const unsettled = [...armed.value.unsettled, ...unmade.map(({ group }) => group)];
    const withheld = names.filter((group) => isWithheld?.(group));
    const told = { groups: names, opened, unsettled, withheld, failed, speaksUntil };
    return { kind: 'armed', round, isOk: true, ...told };
  }

  async #open(effect: GateEffect & { kind: 'open' }, epochs: Epochs): Promise<ElectionEvent> {
    const { gate, log, voices } = this.#ports;
    const left: GroupId[] = [];
    const groups: GateGroup[] = [];
    for (const group of effect.groups) {
      const gateGroup = this.#admitted('open', group, epochs);
      if (gateGroup === null) left.push(group);
      else groups.push(gateGroup);
    }
    const opened = await gate.open(groups, effect.until);
    if (!opened.ok) {
      log.warn({ groups: effect.groups, problem: opened.error.message }, 'group.unopened');
      return failureOf(effect);
    }
    const { speaksUntil } = opened.value;
    const failed = [...left, ...opened.value.failed.map(({ group }) => group)];
    for (const { group } of groups) voices.limit(group, speaksUntil);
    return { kind: 'opened', groups: effect.groups, isOk: true, failed, speaksUntil };
  }

  async #mute(effect: GateEffect & { kind: 'mute' }): Promise<ElectionEvent> {
    const { gate, log } = this.#ports;
    const { groups } = effect;
    const muted = await gate.mute(groups.map((group) => this.#known(group)));
    if (!muted.ok) log.warn({ groups, problem: muted.error.message }, 'group.unmuted');
    return { kind: 'muted', groups, isOk: muted.ok };
  }

  async #close(effect: GateEffect & { kind: 'close' }): Promise<ElectionEvent> {
    const { groups } = effect;
    const closing = (this.#closing ??= this.#beginClosing());
    for (const group of groups) closing.groups.add(group);
    let closed = await closing.done;
    // Whose fault it was the kernel does not say.
    if (!closed.ok && closing.groups.size > groups.length)
      closed = await this.#inTurn(() => this.#silence(groups));
    if (!closed.ok)
      this.#ports.log.error({ groups, problem: closed.error.message }, 'address.stuck');
    return { kind: 'closed', groups, isOk: closed.ok };
  }

  #beginClosing(): Closing {
    const groups = new Set<GroupId>();
    const done = this.#queue.run(() => {
      if (this.#closing?.groups === groups) this.#closing = null;
      return this.#silence([...groups]);
    });
    return { groups, done };
  }

  #silence(groups: readonly GroupId[]): Promise<Result<void, KernelError>> {
    const isClosed = ({ group }: RefusedVip): boolean => groups.includes(group);
    this.#refused = new Map([...this.#refused].filter(([, one]) => !isClosed(one)));
    return this.#ports.gate.close(groups.map((group) => this.#known(group)));
  }

  /**
   * A group that was adopted may have to be closed before it was ever armed, and while one of its
   * devices is missing: the gate knows by name what of it is bound.
   */
  #known(group: GroupId): GateGroup {
    return this.#armed.get(group) ?? this.#ports.gateGroup(group) ?? { group, addresses: [] };
  }

  #admitted(operation: 'arm' | 'open', group: GroupId, epochs: Epochs): GateGroup | null {
    if (!this.#ports.epochs.admit(group, epochs.get(group) ?? null, operation)) return null;
    const known =
      operation === 'arm' ? this.#ports.gateGroup(group) : (this.#armed.get(group) ?? null);
    if (known !== null) this.#armed.set(group, known);
    return known;
  }

  #noteRefusals(
    groups: readonly GateGroup[],
    failed: readonly { readonly group: GroupId; readonly error: { readonly message: string } }[],
  ): readonly GroupId[] {
    for (const { group } of groups) this.#refusals.delete(group);
    for (const { group, error } of failed) {
      this.#refusals.set(group, error.message);
      this.#ports.log.error({ vipGroup: group, problem: error.message }, 'address.refused');
    }
    return failed.map(({ group }) => group);
  }

  /** Told once of each, and of its end where it is bound at last. */
  #noteRefused(groups: readonly GateGroup[], refused: readonly RefusedVip[]): void {
    const before = this.#refused;
    if (before.size + refused.length === 0) return;
    this.#refused = new Map(refused.map((one) => [one.address, one]));
    for (const { group, address, error } of refused)
      if (before.get(address)?.error.message !== error.message)
        this.#ports.log.error({ vipGroup: group, address, problem: error.message }, 'vip.refused');
    for (const [address, { group }] of before) {
      if (this.#refused.has(address)) continue;
      const holder = groups.find((one) => one.group === group);
      if (holder?.addresses.some((one) => one.address === address) === true)
        this.#ports.log.info({ vipGroup: group, address }, 'vip.bound');
    }
  }
}

/** The kernel's words say which address and why. */
const ONE_REFUSED =
  '; the group goes on without this VIP, which is tried again; mend the cause or the cluster document';

function failureOf(effect: GateEffect): ElectionEvent {
  const nothing = { isOk: false, opened: [], failed: [], speaksUntil: NEVER } as const;
  switch (effect.kind) {
    case 'clear-gate':
      return { kind: 'gate-cleared', speaking: null };
    case 'permit':
      return { kind: 'permit-given', round: effect.round, isOk: false };
    case 'arm': {
      const groups = effect.groups.map((one) => one.group);
      return { kind: 'armed', round: effect.round, groups, unsettled: [], ...nothing };
    }
    case 'open': {
      const { groups } = effect;
      return { kind: 'opened', groups, isOk: false, failed: groups, speaksUntil: NEVER };
    }
    case 'mute':
      return { kind: 'muted', groups: effect.groups, isOk: false };
    case 'close':
      return { kind: 'closed', groups: effect.groups, isOk: false };
  }
}
