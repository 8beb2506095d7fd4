/**
 * One director's election under a test's hand: its effects are carried out on a store and a gate in
 * memory at once, unless the test keeps them back to answer them late, otherwise or never.
 */
import { isDeepStrictEqual } from 'node:util';
import { ClusterView } from '../../../../src/agent/cluster-view.ts';
import { initialState, NOTHING_WORKED_OUT } from '../../../../src/core/election/initial-state.ts';
import type {
  ElectionConfig,
  ElectionEffect,
  ElectionEvent,
  ElectionState,
  TxnReply,
} from '../../../../src/core/election/state.ts';
import { type Step, step } from '../../../../src/core/election/step.ts';
import type { VipGroup } from '../../../../src/model/cluster.ts';
import type { IneligibleReason } from '../../../../src/model/decision.ts';
import {
  ABSENT,
  type DirectorId,
  directorId,
  type Epoch,
  epochOf,
  type GroupId,
  groupId,
  type MonoMs,
  monoMs,
  revision,
  type SessionId,
  sessionIdOf,
} from '../../../../src/model/ids.ts';
import type { ArmMode } from '../../../../src/model/kernel.ts';
import { createHeirs } from '../../../../src/core/placement/order.ts';
import { createKeys } from '../../../../src/model/keys.ts';
import {
  formatRecord,
  type OperationRecord,
  type OwnerRecord,
  type ReportRecord,
  type SessionRecord,
} from '../../../../src/model/records.ts';
import { silentLog } from '../../../../src/ports/log.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { FakeStoreState } from '../../../fakes/fake-store-state.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

export const keys = createKeys('test');
export const D1 = directorId('d1');
export const D2 = directorId('d2');
export const D3 = directorId('d3');
export const G1 = groupId('g1');
export const G2 = groupId('g2');

/** Round numbers that are easy to add up: D' = 4000 × 1.25 + 1000 = 6000. */
export const TIMING = {
  profile: 'relaxed',
  heartbeatMs: 1000,
  suspectMs: 3000,
  roundMs: 800,
  holdMs: 4000,
  permitMs: 1000,
  slackMs: 1000,
  driftMargin: 0.25,
  leaseTtlS: 15,
} as const;
export const WAIT_MS = 6000;
/** Of a promise by whoever goes by that name. */
export const NEWEST: SessionId = sessionIdOf(revision(Number.MAX_SAFE_INTEGER));

export const group = (id: GroupId, fields: Partial<VipGroup> = {}): VipGroup => ({
  id,
  addresses: [],
  priorities: new Map([
    [D1, 150],
    [D2, 100],
  ]),
  preempt: { kind: 'never' },
  virtualRouterId: null,
  vrrp: null,
  weight: 1,
  antiAffinity: [],
  tracks: [],
  notify: null,
  connectionSync: null,
  ...fields,
});

export const directorsOf = (...ids: readonly DirectorId[]): ElectionConfig['directors'] =>
  ids.map((id) => ({ id, zone: null }));

/** What this director could hold, all of it at once and without tracks. */
export const fit = (
  ...groups: readonly (readonly [GroupId, IneligibleReason | null])[]
): ElectionEvent => ({
  kind: 'eligibility',
  groups: new Map(groups),
  ready: new Set(groups.filter(([, reason]) => reason === null).map(([id]) => id)),
  bonus: new Map(),
});

export type TxnEffect = ElectionEffect & { kind: 'txn' };
type Purpose = TxnEffect['purpose']['kind'];
type Kept = (effect: ElectionEffect) => boolean;

export const isTxn =
  (...purposes: readonly Purpose[]) =>
  (effect: ElectionEffect): effect is TxnEffect =>
    effect.kind === 'txn' && purposes.includes(effect.purpose.kind);

type ChosenConfig = Omit<ElectionConfig, 'heirs' | 'groupsById'>;

const configOf = (chosen: ChosenConfig): ElectionConfig => ({
  ...chosen,
  heirs: createHeirs(chosen.directors.map(({ id }) => id)),
  groupsById: new Map(chosen.groups.map((one) => [one.id, one])),
});

export class ElectionDriver {
  readonly store: FakeStoreState;
  #config: ElectionConfig;
  state: ElectionState;
  now = 1000;
  wakeAt: MonoMs = monoMs(0);
  /** Everything decided since the start or the last `forget`. */
  effects: ElectionEffect[] = [];
  steps = 0;
  /** Effects for which this is true are not carried out. */
  keep: Kept = () => false;
  kept: { readonly effect: ElectionEffect; readonly at: number }[] = [];
  /** What becomes of a question to the gateway. */
  gateway: 'answers' | 'silent' | 'none' = 'answers';
  /** Groups whose addresses the kernel refuses. */
  refusing: ReadonlySet<GroupId> = new Set();
  readonly #records = new ClusterView(keys, silentLog);
  readonly #bound = new Map<GroupId, ArmMode>();
  /** Whether somebody has the VIPs that are probed; told when the last probe has been waited for. */
  isProbeAnswered = false;
  #probes: { readonly at: number; readonly group: GroupId }[] = [];
  #waiting: { readonly effect: ElectionEffect; readonly at: number }[] = [];
  isSeeing = true;
  /** Directors whose heartbeats arrive, naming no group, as long as their session is open. */
  audible: readonly DirectorId[] = [D2, D3];

  constructor(fields: Partial<ChosenConfig> = {}, store?: FakeStoreState) {
    this.store =
      store ?? new FakeStoreState({ clock: new FakeClock(), random: new SeededRandom(1) });
    this.#config = configOf({
      me: D1,
      address: '10.90.0.11',
      identity: { boot: 'boot', namespace: 'ns', machine: 'm1', nonce: 'nonce-1' },
      keys,
      timing: TIMING,
      directors: directorsOf(D1, D2),
      gate: { minHoldMs: 0, slackMs: 0 },
      isolation: 'release',
      specRev: ABSENT,
      groups: [group(G1)],
      ...fields,
    });
    this.state = initialState(monoMs(this.now));
  }

  get config(): ElectionConfig {
    return this.#config;
  }
  set config(chosen: ChosenConfig) {
    this.#config = configOf(chosen);
  }

  /** One step; what it decided is carried out by `run`. */
  feed(event: ElectionEvent): readonly ElectionEffect[] {
    this.steps++;
    const result = step(this.state, event, monoMs(this.now), this.config);
    this.#compare(event, result);
    this.state = result.state;
    this.wakeAt = result.wakeAt;
    this.effects.push(...result.effects);
    this.#waiting.push(...result.effects.map((effect) => ({ effect, at: this.now })));
    return result.effects;
  }

  /** What was kept of earlier steps saves work, and changes nothing. */
  #compare(event: ElectionEvent, result: Step): void {
    const forgetful = { ...this.state, ...NOTHING_WORKED_OUT };
    const anew = step(forgetful, event, monoMs(this.now), this.config);
    const bare = (one: Step): Step => ({ ...one, state: { ...one.state, ...NOTHING_WORKED_OUT } });
    if (!isDeepStrictEqual(bare(result), bare(anew)))
      throw new Error(`a step from what was kept differs: ${JSON.stringify(event)}`);
  }

  /** Carries out what is decided, and what follows from it, without time passing. */
  run(): void {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (this.keep(next.effect)) this.kept.push(next);
      else this.carryOut(next.effect, next.at);
    }
  }

  /** Steps until nothing more is due now, with the watch up to date. */
  settle(): void {
    for (const from of this.audible) this.#listen(from);
    this.#answerProbes();
    this.feed({ kind: 'tick' });
    for (let seen = -1; seen !== this.store.revision; ) {
      this.run();
      seen = this.store.revision;
      if (this.isSeeing) this.see();
      this.run();
    }
  }

  #answerProbes(): void {
    const due = this.#probes.filter(({ at }) => at <= this.now);
    this.#probes = this.#probes.filter(({ at }) => at > this.now);
    if (due.length === 0) return;
    const answers = new Map(due.map(({ group: id }) => [id, this.isProbeAnswered]));
    this.feed({ kind: 'probed', answers });
  }

  #listen(from: DirectorId): void {
    const { modRevision, value } = this.store.read(keys.session(from));
    if (value === null || !value.includes('"open"')) return;
    this.#hears(from, [], sessionIdOf(modRevision));
  }

  advance(ms: number): void {
    const target = this.now + ms;
    this.settle();
    const nextAt = (): number => Math.min(this.wakeAt, ...this.#probes.map(({ at }) => at));
    while (nextAt() <= target) {
      this.now = Math.max(this.now, nextAt());
      this.settle();
    }
    this.now = target;
    this.settle();
  }

  /** The watch tells all that is stored now. */
  see(): void {
    const { store } = this;
    const update = this.#records.apply({
      kind: 'snapshot',
      revision: store.revision,
      entries: store.entries(),
    });
    this.feed({ kind: 'view', changes: update.election, isSynced: true });
  }

  /** From nothing to an open session: synced, gate cleared, groups judged fit. */
  begin(): this {
    this.feed(fit(...this.config.groups.map((one) => [one.id, null] as const)));
    this.see();
    this.settle();
    return this;
  }

  carryOut(effect: ElectionEffect, at = this.now): void {
    switch (effect.kind) {
      case 'clear-gate':
        // As if a former process had armed all of it just then.
        this.feed({
          kind: 'gate-cleared',
          speaking: new Map(
            effect.keep.map((group) => [group, monoMs(at + 0.75 * TIMING.holdMs)] as const),
          ),
        });
        return;
      case 'permit':
        this.feed({ kind: 'permit-given', round: effect.round, isOk: true });
        return;
      case 'arm':
        this.#arm(effect);
        return;
      case 'open':
        this.#open(effect);
        return;
      case 'mute':
        for (const id of effect.groups) this.#bound.set(id, 'muted');
        this.feed({ kind: 'muted', groups: effect.groups, isOk: true });
        return;
      case 'verify':
        if (this.gateway === 'none') return;
        this.feed({ ...effect, kind: 'verified', isOk: this.gateway === 'answers' });
        return;
      case 'probe':
        this.#probes.push({
          at: this.now + effect.count * effect.intervalMs,
          group: effect.group,
        });
        return;
      case 'close':
        for (const id of effect.groups) this.#bound.delete(id);
        this.feed({ kind: 'closed', groups: effect.groups, isOk: true });
        return;
      case 'txn':
        this.reply(effect, this.commit(effect), at);
        return;
      default:
        return;
    }
  }

  #arm(effect: ElectionEffect & { kind: 'arm' }): void {
    const groups = effect.groups.map((one) => one.group);
    const failed = groups.filter((id) => this.refusing.has(id));
    const opened: GroupId[] = [];
    for (const { group: id, mode } of effect.groups) {
      if (failed.includes(id)) continue;
      if (mode === 'open' && this.#bound.get(id) !== 'open') opened.push(id);
      this.#bound.set(id, mode);
    }
    const { round, until: speaksUntil } = effect;
    this.feed({
      kind: 'armed',
      round,
      isOk: true,
      groups,
      opened,
      unsettled: [],
      failed,
      speaksUntil,
    });
  }

  #open({ groups, until }: ElectionEffect & { kind: 'open' }): void {
    for (const id of groups) this.#bound.set(id, 'open');
    this.feed({ kind: 'opened', groups, isOk: true, failed: [], speaksUntil: until });
  }

  /** Puts the txn into the store and gives the answer it would get. */
  commit(effect: TxnEffect): Omit<TxnReply & { kind: 'answered' }, 'sentAt'> {
    const done = this.store.commit(effect.txn);
    if (!done.ok) throw new Error(done.error.message);
    const reads = this.#records.electionReads(done.value.reads, done.value.revision);
    const { succeeded, revision: at } = done.value;
    return { kind: 'answered', succeeded, revision: at, reads };
  }

  reply(
    effect: TxnEffect,
    reply: Omit<TxnReply & { kind: 'answered' }, 'sentAt'>,
    sentAt: number,
  ): void {
    const { id, slot } = effect;
    this.feed({ kind: 'txn-replied', id, slot, reply: { ...reply, sentAt: monoMs(sentAt) } });
  }

  /** No answer: it may have committed, or may yet. */
  doubt(effect: TxnEffect): void {
    const { id, slot } = effect;
    const sentAt = monoMs(this.now);
    this.feed({
      kind: 'txn-replied',
      id,
      slot,
      reply: { kind: 'ambiguous', message: 'deadline', sentAt },
    });
  }

  /** The one effect kept back, taken out of the list. */
  takeKept(): TxnEffect {
    const one = this.kept.shift();
    if (one?.effect.kind !== 'txn' || this.kept.length > 0)
      throw new Error(`kept: ${JSON.stringify([one, ...this.kept])}`);
    return one.effect;
  }

  forget(): void {
    this.effects = [];
    this.steps = 0;
  }

  of<K extends ElectionEffect['kind']>(kind: K): (ElectionEffect & { kind: K })[] {
    return this.effects.filter(
      (effect): effect is ElectionEffect & { kind: K } => effect.kind === kind,
    );
  }

  txns(...purposes: readonly Purpose[]): TxnEffect[] {
    return this.effects.filter(isTxn(...purposes));
  }

  notices(): string[] {
    return this.of('event').map(({ event }) => event.kind);
  }

  holding(id: GroupId = G1): string {
    return this.state.holdings.get(id)?.kind ?? 'none';
  }

  get sessionId(): number {
    if (this.state.session.kind !== 'open') throw new Error(this.state.session.kind);
    return this.state.session.id;
  }

  /** Is heard from another director, with its session as stored. */
  hear(from = D2, groups: readonly GroupId[] = [G1], session?: number): void {
    const id = session ?? this.store.read(keys.session(from)).modRevision;
    this.#hears(from, groups, sessionIdOf(revision(id)));
    this.settle();
  }

  #hears(from: DirectorId, groups: readonly GroupId[], session: SessionId): void {
    const armed = groups.map((one) => ({ group: one, epoch: this.epochOf(one) }));
    this.feed({ kind: 'peer', from, message: { kind: 'heartbeat', session, armed } });
  }

  epochOf(id: GroupId = G1): Epoch {
    return epochOf(this.store.read(keys.owner(id)).modRevision);
  }

  /** A word of a handover, of the other side's holding. */
  word(kind: 'prepared' | 'muted' | 'verified', from: DirectorId, epoch: Epoch): void {
    const session = sessionIdOf(this.store.read(keys.session(from)).modRevision);
    this.feed({ kind: 'peer', from, message: { kind, session, group: G1, epoch } });
    this.settle();
  }
}

/** The records of other directors, written by hand. */
export const sessionOf = (fields: Partial<SessionRecord> = {}): SessionRecord => ({
  v: 1,
  state: 'open',
  boot: 'other boot',
  namespace: 'other ns',
  machine: 'm2',
  nonce: 'nonce-2',
  address: '10.90.0.12',
  id: 0,
  ...fields,
});

export const ownerOf = (fields: Partial<OwnerRecord> = {}): OwnerRecord => ({
  v: 1,
  director: 'd2',
  session: 0,
  pending: [],
  vacant: false,
  reason: 'released',
  ...fields,
});

export const reportOf = (fields: Partial<ReportRecord> = {}): ReportRecord => ({
  v: 1,
  version: 'test',
  address: '10.90.0.12',
  session: 0,
  startedAt: '',
  specRevision: 1,
  eligible: ['g1', 'g2'],
  ready: fields.eligible ?? ['g1', 'g2'],
  bonus: {},
  ineligible: {},
  gate: 'test',
  ipvs: { available: true, detail: '' },
  problems: [],
  ...fields,
});

export const operationOf = (fields: Partial<OperationRecord> = {}): OperationRecord => ({
  v: 1,
  kind: 'switchover',
  group: 'g1',
  from: null,
  to: null,
  by: 'test',
  reason: 'test',
  at: '',
  state: 'pending',
  steps: [],
  result: null,
  ...fields,
});

/** A director lives: open session, scope and report. Returns its session id. */
export function live(
  store: FakeStoreState,
  name = D2,
  fields: Partial<ReportRecord> = {},
  holdMs = TIMING.holdMs,
): number {
  const session = store.write(keys.session(name), formatRecord(sessionOf()));
  const { slackMs, driftMargin } = TIMING;
  store.write(
    keys.scope(name),
    formatRecord({ v: 1, holdMs, slackMs, driftMargin, session, peers: ['d1'] }),
  );
  store.write(keys.report(name), formatRecord(reportOf({ session, ...fields })));
  return session;
}

/** The same, and it owns the group. */
export function hold(store: FakeStoreState, name = D2, id: GroupId = G1): number {
  const session = live(store, name);
  store.write(keys.owner(id), formatRecord(ownerOf({ director: name, session })));
  return session;
}

/** An election in which this director holds its groups, and d2 lives. */
export function holder(fields: Partial<ChosenConfig> = {}): ElectionDriver {
  const driver = new ElectionDriver(fields);
  live(driver.store);
  driver.begin();
  driver.advance(WAIT_MS + 1200);
  driver.forget();
  return driver;
}

/** An election in which d2 holds g1 and has been heard until now. */
export function candidate(fields: Partial<ChosenConfig> = {}): ElectionDriver {
  const driver = new ElectionDriver(fields);
  hold(driver.store);
  driver.begin();
  driver.hear();
  driver.forget();
  return driver;
}
