/**
 * The hold loop: feeds the pure election with what happens and carries out what it decides. It waits
 * for nothing else: events are stepped in the order of their arrival, effects run beside it.
 */
import { Heard } from '../core/election/hearing.ts';
import { initialState } from '../core/election/initial-state.ts';
import type { ElectionConfig, ElectionEffect } from '../core/election/state.ts';
import type {
  ElectionEvent,
  ElectionState,
  ProbeOptions,
  TxnReply,
} from '../core/election/state.ts';
import type { ElectionNotice } from '../core/election/notices.ts';
import { step } from '../core/election/step.ts';
import { mergeView, type ViewChange } from '../core/election/view.ts';
import { messageOf } from '../lib/result.ts';
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
import { Aftermath } from './aftermath.ts';
import type { EpochFence } from './epoch-fence.ts';
import { type Epochs, type GateEffect, GateWork } from './gate-work.ts';
import type { Peer } from './peers.ts';
import { createVoices, type Voices } from './voices.ts';

export type HoldPorts = {
  readonly store: Pick<ClusterStore, 'txn'>;
  readonly gate: Gate;
  readonly announcer: Pick<Announcer, 'announce' | 'repeat' | 'limit' | 'stop'>;
  readonly peerLink: Pick<PeerLink, 'send'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly epochs: EpochFence;
  /** Reads of a txn in the election's words. */
  readonly parseReads: (reads: readonly StoreRead[], asOf: Revision) => readonly ViewChange[];
  /** Where a group's addresses are bound; null while an interface is missing. */
  readonly gateGroup: (group: GroupId) => GateGroup | null;
  /** What forwards for a group that comes here is being made in the kernel. Absent: of none. */
  readonly isAwaited?: (group: GroupId) => boolean;
  /** All of the group's addresses may still be another group's elsewhere. Absent: of none. */
  readonly isWithheld?: (group: GroupId) => boolean;
  readonly announcements: (group: GroupId) => readonly Announcement[];
  readonly peers: () => readonly Peer[];
  /** Silences what an earlier life of this agent left, but for these groups; true when the kernel did. */
  readonly clearGate: (keep: readonly GroupId[]) => Promise<ReadonlyMap<GroupId, MonoMs> | null>;
  /** Asks the gateways in the group's name whether they send here; null: there is none to ask. */
  readonly verify: (group: GroupId, timeoutMs: number) => Promise<boolean | null>;
  /** Whether the gateways of the spec answer this director's own address in time. Never rejects. */
  readonly askGateway: (timeoutMs: number) => Promise<boolean>;
  /** Of each group whether somebody has one of its VIPs; missing: ended before it was known. Never rejects. */
  readonly probe: (
    groups: readonly GroupId[],
    how: ProbeOptions,
  ) => Promise<ReadonlyMap<GroupId, boolean>>;
  readonly showLease: (group: GroupId, epoch: Epoch | null) => void;
  readonly reportOperation: (effect: ElectionEffect & { kind: 'operation' }) => void;
  /** In the very step. */
  readonly noted: (notice: ElectionNotice) => void;
  /** The same, in the same order; where there are many, after the round that is under way. */
  readonly tell: (notice: ElectionNotice) => void;
  /** What others read off the state may have changed; steady rounds and heartbeats change nothing. */
  readonly changed: () => void;
};

export type HoldLoop = {
  /** Null: no usable spec yet; nothing is decided without one. */
  setConfig(config: ElectionConfig | null): void;
  offer(event: ElectionEvent): void;
  state(): ElectionState;
  /** Talks over a foreign voice of a VIP that is announced here. */
  defend(vip: Announcement & { readonly group: GroupId }): void;
  /** How late the last timer fired, or how long the last step took: what holding waits for, milliseconds. */
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
/** After a stop of half of D it takes so long to read what was said meanwhile. */
const DEAF_MS = 20;
/** How long the gateway may take to answer, each of two times. */
const VERIFY_MS = 300;
const VERIFY_TRIES = 2;

export function createHoldLoop(ports: HoldPorts): HoldLoop {
  return new Loop(ports);
}

class Loop implements HoldLoop {
  readonly #ports: HoldPorts;
  readonly #voices: Voices;
  readonly #work: GateWork;
  readonly #aftermath: Aftermath<ElectionEffect>;
  #config: ElectionConfig | null = null;
  #state: ElectionState;
  readonly #events: ElectionEvent[] = [];
  #isStepping = false;
  #isEnded = false;
  #cancelTimer: () => void = () => {};
  #dueAt: MonoMs;
  #lagMs = 0;
  #deafUntil = Number.NEGATIVE_INFINITY;

  constructor(ports: HoldPorts) {
    this.#ports = ports;
    this.#voices = createVoices(ports);
    this.#work = new GateWork({ ...ports, voices: this.#voices });
    this.#aftermath = new Aftermath(ports.clock, (effect) => this.#carryOut(effect));
    this.#state = initialState(ports.clock.now());
    this.#dueAt = ports.clock.now();
  }

  setConfig(config: ElectionConfig | null): void {
    this.#config = config;
    // Another director may speak as them as soon as the kernel has them no more: before the next round here.
    this.#voices.limitRemoved(this.#ports.clock.now());
    this.offer({ kind: 'tick' });
  }

  defend(vip: Announcement & { readonly group: GroupId }): void {
    this.#voices.defend(vip);
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
    return this.#work.exclusively(work);
  }

  refusals(): ReadonlyMap<GroupId, string> {
    return this.#work.refusals();
  }

  end(): void {
    this.#isEnded = true;
    this.#cancelTimer();
    this.#aftermath.finish();
  }

  offer(event: ElectionEvent): void {
    if (this.#isEnded || this.#isStale(event)) return;
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    let hasChanged = false;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift())
        hasChanged = this.#step(next) || hasChanged;
    } finally {
      this.#isStepping = false;
    }
    if (hasChanged) this.#ports.changed();
  }

  /** Said while this process was stopped, perhaps by somebody who is dead by now; who lives says it again. */
  #isStale(event: ElectionEvent): boolean {
    if (event.kind !== 'peer' || event.message.kind === 'yield') return false;
    const now = this.#ports.clock.now();
    this.#noteStop(now);
    return now < this.#deafUntil;
  }

  #noteStop(now: MonoMs): void {
    const holdMs = this.#config?.timing.holdMs ?? Number.POSITIVE_INFINITY;
    if (now - this.#dueAt > holdMs / 2) this.#deafUntil = now + DEAF_MS;
  }

  /** True where others may want to look at the state anew. */
  #step(event: ElectionEvent): boolean {
    const { clock, metrics } = this.#ports;
    const config = this.#config;
    const now = clock.now();
    if (config === null) {
      // Knowledge is kept for the time when there is a spec.
      this.#state = keepKnowledge(this.#state, event, now);
      return true;
    }
    const result = step(this.#state, event, now, config);
    this.#state = result.state;
    this.#carryOutAll(result.effects);
    this.#scheduleNext(Math.min(result.wakeAt, now + IDLE_STEP_MS), now);
    const tookMs = clock.now() - now;
    if (tookMs > this.#lagMs) {
      this.#lagMs = tookMs;
      metrics.eventLoopLag(tookMs / 1000);
    }
    return isNews(event) || result.effects.some(isChange);
  }

  #scheduleNext(at: number, now: MonoMs): void {
    const { clock } = this.#ports;
    this.#cancelTimer();
    const ms = Math.max(TICK_MIN_MS, at - now);
    this.#dueAt = monoMs(now + ms);
    this.#cancelTimer = clock.schedule(ms, () => {
      this.#noteStop(clock.now());
      this.#lagMs = Math.max(0, clock.now() - this.#dueAt);
      this.#ports.metrics.eventLoopLag(this.#lagMs / 1000);
      this.offer({ kind: 'tick' });
    });
  }

  /** First what ends an outage, then all else in its order, then what only tells of it. */
  #carryOutAll(effects: readonly ElectionEffect[]): void {
    const heard = effects.flatMap((effect) =>
      effect.kind === 'announce' && this.#mayAnnounce(effect.group) ? [effect.group] : [],
    );
    if (heard.length > 0) this.#voices.announce(heard);
    for (const effect of effects) {
      if (effect.kind === 'event') this.#ports.noted(effect.event);
      if (!isTold(effect)) this.#carryOut(effect);
    }
    this.#probeAll(effects);
    const { kind } = this.#state.round;
    const isToWait = kind === 'sent' || kind === 'arming';
    this.#aftermath.add(effects.filter(isTold), { isToWait });
  }

  #mayAnnounce(group: GroupId): boolean {
    return this.#ports.epochs.admit(group, this.#epochOf(group), 'announce');
  }

  #carryOut(effect: ElectionEffect): void {
    const ports = this.#ports;
    switch (effect.kind) {
      case 'txn':
        void this.#runTxn(effect);
        return;
      case 'arm':
        for (const { group } of effect.groups) this.#voices.stopRemoved(group);
        this.#inKernel(effect);
        return;
      case 'mute':
      case 'close':
        for (const group of effect.groups) this.#voices.stop(group);
        this.#inKernel(effect);
        return;
      case 'foresee':
        void this.#work.foresee(effect.groups);
        return;
      case 'clear-gate':
      case 'permit':
      case 'open':
        this.#inKernel(effect);
        return;
      case 'announce':
        // Done before, with all the others of this step.
        return;
      case 'repeat':
        this.#voices.repeat(effect.groups.filter((group) => this.#mayAnnounce(group)));
        return;
      case 'stop-announcing':
        this.#voices.stop(effect.group);
        return;
      case 'verify':
        void this.#verify(effect.group, effect.epoch);
        return;
      case 'tell': {
        const peer = ports.peers().find(({ director }) => director === effect.to);
        if (peer !== undefined) ports.peerLink.send(peer, effect.message);
        return;
      }
      case 'heartbeat': {
        const { session, armed } = effect;
        for (const peer of ports.peers())
          if (peer.isNamed || this.#isHeard(peer.director))
            ports.peerLink.send(peer, { kind: 'heartbeat', session, armed });
        return;
      }
      case 'ask-gateway':
        void this.#askGateway(effect.round, effect.timeoutMs);
        return;
      case 'probe':
        // With all the others of this step.
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

  #isHeard(director: DirectorId): boolean {
    const heardAt = this.#state.lastHeard.get(director) ?? Number.NEGATIVE_INFINITY;
    return this.#ports.clock.now() < heardAt + (this.#config?.timing.suspectMs ?? 0);
  }

  #epochOf(group: GroupId): Epoch | null {
    return this.#state.holdings.get(group)?.epoch ?? null;
  }

  /** Its outcome comes back as an event, whatever happens. */
  #inKernel(effect: GateEffect): void {
    // As they are now: when the operation's turn comes, a newer holding may have begun.
    const isOpening = effect.kind === 'arm' || effect.kind === 'open';
    const holdings = isOpening ? [...this.#state.holdings] : [];
    const epochs: Epochs = new Map(holdings.map(([group, { epoch }]) => [group, epoch]));
    void this.#work.carryOut(effect, epochs).then((event) => this.offer(event));
  }

  async #askGateway(round: number, timeoutMs: number): Promise<void> {
    const isReachable = await this.#ports.askGateway(timeoutMs);
    this.offer({ kind: 'gateway-answered', round, isReachable });
  }

  /** Of many groups at once, where they are asked alike: a dead holder may have had hundreds. */
  #probeAll(effects: readonly ElectionEffect[]): void {
    const alike = new Map<string, { readonly how: ProbeOptions; readonly groups: GroupId[] }>();
    for (const effect of effects) {
      if (effect.kind !== 'probe') continue;
      const { length, count, intervalMs } = effect;
      const key = `${length} ${count} ${intervalMs}`;
      const known = alike.get(key) ?? { how: { length, count, intervalMs }, groups: [] };
      known.groups.push(effect.group);
      alike.set(key, known);
    }
    for (const { how, groups } of alike.values()) void this.#probe(groups, how);
  }

  async #probe(groups: readonly GroupId[], how: ProbeOptions): Promise<void> {
    const answers = await this.#ports.probe(groups, how);
    if (answers.size > 0) this.offer({ kind: 'probed', answers });
  }

  async #verify(group: GroupId, epoch: Epoch): Promise<void> {
    const isHeld = (): boolean => {
      const holding = this.#state.holdings.get(group);
      return !this.#isEnded && holding?.kind === 'open' && holding.epoch === epoch;
    };
    let isOk: boolean | null = false;
    for (let i = 0; i < VERIFY_TRIES && isOk === false && isHeld(); i++)
      try {
        isOk = await this.#ports.verify(group, VERIFY_MS);
      } catch (error) {
        this.#ports.log.warn({ vipGroup: group, problem: messageOf(error) }, 'takeover.unverified');
      }
    this.offer({ kind: 'verified', group, epoch, isOk });
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

/** Steady rounds are silent, and what they lead to is told by an effect. */
function isNews(event: ElectionEvent): boolean {
  return !QUIET_EVENTS.has(event.kind);
}

const QUIET_EVENTS: ReadonlySet<ElectionEvent['kind']> = new Set([
  'tick',
  'peer',
  'advert',
  'txn-replied',
  'permit-given',
  'armed',
]);

/** A takeover of many groups has many of them, and none may hold up what opens or announces. */
const isTold = ({ kind }: ElectionEffect): boolean =>
  kind === 'event' || kind === 'show-lease' || kind === 'verify';

const isChange = ({ kind }: ElectionEffect): boolean => CHANGES.has(kind);

/** An announcement too: a VIP that joined what speaks already is listened for from then on. */
const CHANGES: ReadonlySet<ElectionEffect['kind']> = new Set([
  'event',
  'announce',
  'show-lease',
  'operation',
  'foresee',
]);

/**
 * Before the first spec only the view and the heartbeats of others are worth keeping: the store may have been
 * away since this process began, and somebody may stand in for what its record names.
 */
function keepKnowledge(state: ElectionState, event: ElectionEvent, now: MonoMs): ElectionState {
  if (event.kind === 'view')
    return {
      ...state,
      view: mergeView(state.view, event.changes),
      isSynced: state.isSynced || event.isSynced,
    };
  if (event.kind === 'eligibility') {
    const { groups: eligibility, ready, bonus } = event;
    return { ...state, eligibility, ready, bonus };
  }
  if (event.kind === 'peer' && event.message.kind === 'heartbeat') {
    const { from, message } = event;
    const known = state.heard.get(from) ?? Heard.nothing;
    return {
      ...state,
      lastHeard: new Map(state.lastHeard).set(from, now),
      heard: new Map(state.heard).set(from, known.next(message.armed, now)),
    };
  }
  // Without a spec no session was ever opened: there is nothing to release, and nothing to leave.
  if (event.kind === 'stop') return { ...state, isStopping: true, session: { kind: 'closed' } };
  if (event.kind === 'freeze') return { ...state, isFreezing: true, isFrozen: true };
  return state;
}
