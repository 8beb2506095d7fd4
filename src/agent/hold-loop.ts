/**
 * The hold loop: feeds the pure election with what happens and carries out what it decides. It waits
 * for nothing else: events are stepped in the order of their arrival, effects run beside it.
 */
import { initialState, type ElectionConfig, type ElectionEffect } from '../core/election/state.ts';
import type {
  ElectionEvent,
  ElectionNotice,
  ElectionState,
  TxnReply,
} from '../core/election/state.ts';
import { step } from '../core/election/step.ts';
import { mergeView, type ViewChange } from '../core/election/view.ts';
import { messageOf } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import {
  type DirectorId,
  type Epoch,
  type GroupId,
  type MonoMs,
  monoMs,
  type Revision,
} from '../model/ids.ts';
import type { Announcement, Announcer } from '../ports/announcer.ts';
import type { Clock } from '../ports/clock.ts';
import type { ClusterStore, StoreRead, TxnAnswer } from '../ports/cluster-store.ts';
import type { Gate, GateGroup } from '../ports/gate.ts';
import type { Log } from '../ports/log.ts';
import type { Metrics } from '../ports/metrics.ts';
import type { PeerLink } from '../ports/peer-link.ts';

export type HoldPorts = {
  readonly store: Pick<ClusterStore, 'txn'>;
  readonly gate: Gate;
  readonly announcer: Pick<Announcer, 'announce' | 'limit' | 'stop'>;
  readonly peerLink: Pick<PeerLink, 'send'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Reads of a txn in the election's words. */
  readonly parseReads: (reads: readonly StoreRead[], asOf: Revision) => readonly ViewChange[];
  /** Where a group's addresses are bound; null while an interface is missing. */
  readonly gateGroup: (group: GroupId) => GateGroup | null;
  readonly announcements: (group: GroupId) => readonly Announcement[];
  readonly peers: () => readonly { readonly director: DirectorId; readonly address: IpAddress }[];
  /** Removes every address that an earlier life of this agent left; true when the kernel did. */
  readonly clearGate: () => Promise<boolean>;
  readonly showLease: (group: GroupId, epoch: Epoch | null) => void;
  readonly reportOperation: (effect: ElectionEffect & { kind: 'operation' }) => void;
  readonly tell: (notice: ElectionNotice) => void;
  /** The state changed: status, eligibility of others and the report may have too. */
  readonly changed: () => void;
};

export type HoldLoop = {
  /** Null: no usable spec yet; nothing is decided without one. */
  setConfig(config: ElectionConfig | null): void;
  offer(event: ElectionEvent): void;
  state(): ElectionState;
  /** How late the last timer fired: the event loop's lag as holding sees it, milliseconds. */
  lagMs(): number;
  /** Longest time without a step that was due, judged now: a stuck process shows here. */
  isLive(): boolean;
  /** Runs the work in turn with the gate's operations, never beside one. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
  /** Groups whose addresses the kernel refused last, with its words. */
  refusals(): ReadonlyMap<GroupId, string>;
  /** No more steps; what the kernel holds stays until its deadline. */
  end(): void;
};

/** A director whose next step is overdue by more than this is not live. */
const LIVE_LIMIT_MS = 2000;
/** The time between two steps at most: a wake-up that was computed wrong costs no more. */
const IDLE_STEP_MS = 1000;
/** Timers are no finer than this, and a step that asks for "now" again and again must not starve the rest. */
const TICK_MIN_MS = 1;

export function createHoldLoop(ports: HoldPorts): HoldLoop {
  return new Loop(ports);
}

class Loop implements HoldLoop {
  readonly #ports: HoldPorts;
  #config: ElectionConfig | null = null;
  #state: ElectionState;
  readonly #events: ElectionEvent[] = [];
  #isStepping = false;
  #isEnded = false;
  #cancelTimer: () => void = () => {};
  #dueAt: MonoMs;
  #lagMs = 0;
  /** Kernel operations run one after the other, in the order they were decided. */
  #kernelQueue: Promise<void> = Promise.resolve();
  /** What each group was last armed with: closing needs it after the spec dropped the group. */
  readonly #armed = new Map<GroupId, GateGroup>();
  readonly #refusals = new Map<GroupId, string>();
  /** What the announcer tells of each group: it must stop for what left the spec. */
  readonly #announced = new Map<GroupId, readonly Announcement[]>();

  constructor(ports: HoldPorts) {
    this.#ports = ports;
    this.#state = initialState(ports.clock.now());
    this.#dueAt = ports.clock.now();
  }

  setConfig(config: ElectionConfig | null): void {
    this.#config = config;
    this.offer({ kind: 'tick' });
  }

  state(): ElectionState {
    return this.#state;
  }

  lagMs(): number {
    return this.#lagMs;
  }

  isLive(): boolean {
    return this.#config === null || this.#ports.clock.now() - this.#dueAt < LIVE_LIMIT_MS;
  }

  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#kernelQueue.then(work);
    this.#kernelQueue = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  refusals(): ReadonlyMap<GroupId, string> {
    return this.#refusals;
  }

  end(): void {
    this.#isEnded = true;
    this.#cancelTimer();
  }

  offer(event: ElectionEvent): void {
    if (this.#isEnded) return;
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift())
        this.#step(next);
    } finally {
      this.#isStepping = false;
    }
    this.#ports.changed();
  }

  #step(event: ElectionEvent): void {
    const { clock } = this.#ports;
    const config = this.#config;
    const now = clock.now();
    if (config === null) {
      // Knowledge is kept for the time when there is a spec.
      this.#state = keepKnowledge(this.#state, event);
      return;
    }
    const result = step(this.#state, event, now, config);
    this.#state = result.state;
    for (const effect of result.effects) this.#carryOut(effect);
    this.#scheduleNext(Math.min(result.wakeAt, now + IDLE_STEP_MS), now);
  }

  #scheduleNext(at: number, now: MonoMs): void {
    const { clock } = this.#ports;
    this.#cancelTimer();
    const ms = Math.max(TICK_MIN_MS, at - now);
    this.#dueAt = monoMs(now + ms);
    this.#cancelTimer = clock.schedule(ms, () => {
      this.#lagMs = Math.max(0, clock.now() - this.#dueAt);
      this.#ports.metrics.eventLoopLag(this.#lagMs / 1000);
      this.offer({ kind: 'tick' });
    });
  }

  #carryOut(effect: ElectionEffect): void {
    const ports = this.#ports;
    switch (effect.kind) {
      case 'txn':
        void this.#runTxn(effect);
        return;
      case 'clear-gate':
        this.#inKernel(
          async () => {
            const isOk = await ports.clearGate();
            return { kind: 'gate-cleared', isOk };
          },
          { kind: 'gate-cleared', isOk: false },
        );
        return;
      case 'permit':
        this.#inKernel(
          async () => {
            const given = await ports.gate.permit(effect.round, effect.timeoutMs);
            return { kind: 'permit-given', round: effect.round, isOk: given.ok };
          },
          { kind: 'permit-given', round: effect.round, isOk: false },
        );
        return;
      case 'arm':
        this.#arm(effect);
        return;
      case 'close':
        this.#close(effect.groups);
        return;
      case 'announce':
        this.#announced.set(effect.group, ports.announcements(effect.group));
        ports.announcer.announce(ports.announcements(effect.group));
        return;
      case 'heartbeat':
        for (const peer of ports.peers())
          ports.peerLink.send(peer, {
            kind: 'heartbeat',
            session: effect.session,
            armed: effect.armed,
          });
        return;
      case 'show-lease':
        ports.showLease(effect.group, effect.epoch);
        return;
      case 'operation':
        ports.reportOperation(effect);
        return;
      case 'event':
        ports.tell(effect.event);
        return;
    }
  }

  /** One kernel operation at a time; its outcome comes back as an event, whatever happens. */
  #inKernel(work: () => Promise<ElectionEvent>, onThrow: ElectionEvent): void {
    this.#kernelQueue = this.#kernelQueue.then(async () => {
      let event = onThrow;
      try {
        event = await work();
      } catch (error) {
        this.#ports.log.error({ problem: messageOf(error) }, 'kernel.failed');
      }
      this.offer(event);
    });
  }

  #arm(effect: ElectionEffect & { kind: 'arm' }): void {
    const ports = this.#ports;
    const { round, groups, until } = effect;
    for (const group of groups) this.#stopRemoved(group);
    const failedAll: ElectionEvent = {
      kind: 'armed',
      round,
      isOk: false,
      groups,
      opened: [],
      failed: [],
    };
    this.#inKernel(async () => {
      const missing: GroupId[] = [];
      const gateGroups: GateGroup[] = [];
      for (const group of groups) {
        const gateGroup = ports.gateGroup(group);
        if (gateGroup === null) missing.push(group);
        else {
          gateGroups.push(gateGroup);
          this.#armed.set(group, gateGroup);
        }
      }
      const armed = await ports.gate.arm(round, gateGroups, until);
      if (!armed.ok) {
        ports.log.warn({ round, problem: armed.error.message }, 'round.unarmed');
        return failedAll;
      }
      for (const group of groups) this.#refusals.delete(group);
      for (const { group, error } of armed.value.failed) {
        this.#refusals.set(group, error.message);
        ports.log.error({ vipGroup: group, problem: error.message }, 'address.refused');
      }
      // No frame leaves after the deadline, also when this process is stopped until then.
      for (const group of groups)
        ports.announcer.limit(ports.announcements(group), armed.value.speaksUntil);
      return {
        kind: 'armed',
        round,
        isOk: true,
        groups,
        opened: armed.value.opened,
        failed: [...missing, ...armed.value.failed.map((one) => one.group)],
      };
    }, failedAll);
  }

  /** The spec may have taken addresses from a group that goes on speaking. */
  #stopRemoved(group: GroupId): void {
    const { announcer, announcements } = this.#ports;
    const told = this.#announced.get(group);
    if (told === undefined) return;
    const now = announcements(group);
    const isStill = (one: Announcement): boolean =>
      now.some((other) => other.device === one.device && other.address === one.address);
    const removed = told.filter((one) => !isStill(one));
    if (removed.length === 0) return;
    announcer.stop(removed);
    this.#announced.set(group, told.filter(isStill));
  }

  #close(groups: readonly GroupId[]): void {
    const ports = this.#ports;
    for (const group of groups) {
      ports.announcer.stop(this.#announced.get(group) ?? []);
      this.#announced.delete(group);
    }
    this.#inKernel(
      async () => {
        const gateGroups = groups.flatMap((group) => this.#armed.get(group) ?? []);
        const closed = await ports.gate.close(gateGroups);
        if (!closed.ok) ports.log.error({ groups, problem: closed.error.message }, 'address.stuck');
        return { kind: 'closed', groups, isOk: closed.ok };
      },
      { kind: 'closed', groups, isOk: false },
    );
  }

  async #runTxn(effect: ElectionEffect & { kind: 'txn' }): Promise<void> {
    const { store, clock, metrics } = this.#ports;
    const startedAt = clock.now();
    let reply: TxnReply;
    try {
      const answer = await store.txn(effect.txn, { deadlineMs: effect.deadlineMs });
      reply = this.#replyOf(answer);
    } catch (error) {
      reply = { kind: 'ambiguous', message: messageOf(error), sentAt: startedAt };
    }
    if (effect.purpose.kind === 'round') {
      const result =
        reply.kind === 'answered' ? (reply.succeeded ? 'confirmed' : 'lost') : reply.kind;
      metrics.roundFinished((clock.now() - reply.sentAt) / 1000, result);
    }
    this.offer({ kind: 'txn-replied', id: effect.id, slot: effect.slot, reply });
  }

  #replyOf(answer: TxnAnswer): TxnReply {
    if (answer.kind !== 'answered')
      return { kind: answer.kind, message: answer.error.message, sentAt: answer.sentAt };
    return {
      kind: 'answered',
      succeeded: answer.succeeded,
      revision: answer.revision,
      reads: this.#ports.parseReads(answer.reads, answer.revision),
      sentAt: answer.sentAt,
    };
  }
}

/** Before the first spec only the view and the heartbeats of others are worth keeping. */
function keepKnowledge(state: ElectionState, event: ElectionEvent): ElectionState {
  if (event.kind === 'view')
    return {
      ...state,
      view: mergeView(state.view, event.changes),
      isSynced: state.isSynced || event.isSynced,
    };
  if (event.kind === 'eligibility') return { ...state, eligibility: event.groups };
  // Without a spec no session was ever opened: there is nothing to release.
  if (event.kind === 'stop') return { ...state, isStopping: true, session: { kind: 'closed' } };
  return state;
}
