/** A cluster of real agents on fakes, in virtual time, all of it from one seed. */
import type { IpAddress } from '../../src/model/address.ts';
import { waitMs } from '../../src/core/election/timing.ts';
import type { TimingProfile } from '../../src/model/cluster.ts';
import type { PeerMessage } from '../../src/model/peer.ts';
import {
  formatRecord,
  type OperationRecord,
  type ScopeRecord,
  type SpecRecord,
} from '../../src/model/records.ts';
import {
  type DirectorId,
  directorId,
  groupId,
  type Revision,
  revision,
} from '../../src/model/ids.ts';
import type { Log } from '../../src/ports/log.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import type { FakeTarget } from '../fakes/fake-prober.ts';
import { FakePeerNetwork } from '../fakes/fake-peer-link.ts';
import { FakeCluster, type FakeStore } from '../fakes/fake-store.ts';
import type { HistoryEntry } from '../fakes/fake-store-state.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';
import { Checkers } from './checkers.ts';
import { Machine } from './machine.ts';
import type { Mutation } from './mutations.ts';
import type { Party } from './overlaps.ts';
import { Segment } from './segment.ts';
import { addressOf, keys, mayCarry, type SimDocument, timingOf, vipsOf } from './spec.ts';

const ASK_EVERY_MS = 5;
/** A director's clock that is this much slower than the world's makes its waits as much longer, and more. */
const SLOWEST = 1.2;
const ANSWERS: FakeTarget = { kind: 'up', detail: 'up', latencyMs: 1 };
/** How often a voice that must not end is looked for. */
const LOOK_EVERY_MS = 5;

/** Reasons in records of groups that nobody gave to whom they name. */
const TAKEN = new Set(['vacant', 'released', 'holder-dead', 'holder-closed', 'stood-in']);

export type WorldOptions = {
  readonly seed: number;
  readonly directors: number;
  readonly groups: number;
  readonly profile?: TimingProfile;
  /** False: address lifetimes are all the kernels have. */
  readonly hasFence?: boolean;
  /** Rates of the machines' clocks are drawn from 1 ± this. */
  readonly rateSpread?: number;
  /** How late kernels drop an address, at most. */
  readonly expiryLagMs?: number;
  readonly preempt?: SimDocument['preempt'];
  readonly hasServices?: boolean;
  readonly ipvs?: SimDocument['ipvs'];
  readonly hasTracks?: boolean;
  /** What the first document says; default `release`. */
  readonly isolation?: SimDocument['isolation'];
  readonly trace?: boolean;
  /** Where a director's agent logs; default nowhere. */
  readonly logOf?: (director: string) => Log;
  /** This director cannot use the spec that moves a VIP: an older version. */
  readonly rejectsMove?: string;
  /** A rule left out, to see that the checkers notice. */
  readonly mutation?: Mutation;
};

export class World {
  readonly clock = new FakeClock();
  readonly random: SeededRandom;
  readonly cluster: FakeCluster;
  readonly peers: FakePeerNetwork;
  readonly segment: Segment;
  readonly checkers: Checkers;
  readonly directors: readonly Machine[];
  /** Machines that go by another's name. */
  readonly clones: Machine[] = [];
  readonly log: string[] = [];
  readonly options: WorldOptions;
  /** Kinds of messages that the network loses, and how often. */
  readonly lossOf = new Map<PeerMessage['kind'], number>();
  /** New connections to the store begin with these faults. */
  onConnect: (machine: Machine, store: FakeStore) => void = () => {};
  /** What a real server does with a director's probe. */
  targetOf: (machine: string, address: IpAddress) => FakeTarget = () => ANSWERS;
  /** An agent ended by itself, as it was told. */
  onEnd: (machine: Machine) => void = () => {};
  /** Until then a director may leave alone what its kernel would not bind. */
  refusedUntil = -Infinity;
  #document: SimDocument;
  #operations = 0;
  #askedAt = -Infinity;
  #lostAt = -Infinity;
  readonly #lostKindAt = new Map<PeerMessage['kind'], number>();
  /** D of any document so far. */
  #longestHoldMs = 0;
  readonly #awaited = new Map<string, { readonly words: string; readonly action: () => void }>();
  #seen: Revision;
  /** When each director's session record was written last. */
  readonly #sessionAt = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
    this.cluster = new FakeCluster({ clock: this.clock, random: this.random.fork() });
    this.peers = new FakePeerNetwork({ clock: this.clock, random: this.random.fork() });
    this.segment = new Segment({
      now: () => this.clock.now(),
      random: new SeededRandom(options.seed ^ 0x5e65),
      stations: () => this.machines(),
    });
    this.checkers = new Checkers({
      now: () => this.clock.now(),
      speakers: () => this.machines(),
      keys,
      read: (key) => this.cluster.read(key),
      mayHoldBySegment: () => options.isolation === 'gateway',
      network: {
        schedule: (ms, action) => void this.clock.schedule(ms, action),
        troubledAt: (a, b) => this.#lateAt('yield', a, b),
        unheardAt: (a, b) => this.#lateAt('heartbeat', a, b),
        connects: (a, b) => this.segment.connects(a, b),
        probedMs: (name, vip) => this.segment.probedMs(name, vip),
        isGiven: (vip) => this.#isGiven(vip),
        withoutGatewayMs: (name) => this.segment.withoutGatewayMs(name),
        hasWitness: (a, b, vip) => this.#hasWitness(a, b, vip),
        longestHoldMs: () => this.#longestHoldMs,
      },
    });
    this.#seen = revision(1);
    this.cluster.onChange(() => this.#look());
    this.#document = {
      profile: options.profile ?? 'relaxed',
      holdFactor: 1,
      directors: options.directors,
      groups: options.groups,
      isMoved: false,
      preempt: options.preempt ?? 'never',
      hasTracks: options.hasTracks ?? false,
      hasServices: options.hasServices ?? false,
      ...(options.ipvs === undefined ? {} : { ipvs: options.ipvs }),
      isolation: options.isolation ?? 'release',
    };
    this.directors = Array.from(
      { length: options.directors },
      (_, i) =>
        new Machine(this, {
          name: `d${i + 1}`,
          director: `d${i + 1}`,
          address: addressOf(11 + i),
          hasFence: options.hasFence ?? true,
        }),
    );
  }

  machines(): readonly Machine[] {
    return this.clones.length === 0 ? this.directors : [...this.directors, ...this.clones];
  }

  /** The VIPs' gateway answers whom it can. */
  set gatewayAnswers(isUp: boolean) {
    this.segment.isGatewayUp = isUp;
  }

  get violations(): Checkers['violations'] {
    return this.checkers.violations;
  }

  note(text: string): void {
    if (this.options.trace) this.log.push(`${(this.clock.now() / 1000).toFixed(3)} ${text}`);
  }

  /** The document in force, as the operator wrote it last. */
  get document(): SimDocument {
    return this.#document;
  }

  applySpec(change: Partial<SimDocument> = {}): void {
    this.#document = { ...this.#document, ...change };
    this.#longestHoldMs = Math.max(this.#longestHoldMs, timingOf(this.#document).holdMs);
    const at = this.clock.wallTime();
    const record: SpecRecord = { v: 1, document: this.#document, by: 'sim', at };
    this.cluster.write(keys.spec, formatRecord(record));
    this.options.mutation?.onSpec?.(this);
  }

  /** D of the longest document so far. */
  get longestHoldMs(): number {
    return this.#longestHoldMs;
  }

  /** A machine with the name of another, as a copied disk makes it. */
  clone(of: Machine): Machine {
    const machine = new Machine(this, {
      name: `${of.director}-clone${this.clones.length + 1}`,
      director: of.director,
      address: addressOf(91 + this.clones.length),
      hasFence: of.fence !== null,
    });
    this.clones.push(machine);
    return machine;
  }

  /** What the API writes when an operator asks; the answer is its id. */
  switchover(group: string, to: string | null): string {
    return this.#operate('switchover', { group, from: null, to });
  }

  /** One of the moves that a rebalance is made of. */
  rebalance(group: string, from: string, to: string): string {
    return this.#operate('rebalance', { group, from, to });
  }

  #operate(
    kind: OperationRecord['kind'],
    about: Pick<OperationRecord, 'group' | 'from' | 'to'>,
  ): string {
    const asked = { by: 'sim', reason: 'sim', at: this.clock.wallTime() };
    const begun = { steps: [], result: null };
    const record: OperationRecord = { v: 1, kind, ...about, ...asked, state: 'pending', ...begun };
    this.note(`${kind} of ${about.group} to ${about.to ?? 'any'}`);
    const id = `op${this.#operations++}`;
    this.cluster.write(keys.operation(id), formatRecord(record));
    return id;
  }

  /** Directors that the owner records name now. */
  ownersInStore(): ReadonlySet<string> {
    const owners = new Set<string>();
    for (const { value } of this.cluster.entries(`${keys.prefix}run/owner/`)) {
      const { director } = JSON.parse(value) as { director: string | null };
      if (director !== null) owners.add(director);
    }
    return owners;
  }

  /** Director that the owner record of the group names now. */
  ownerOf(group: string): string | null {
    const { value } = this.cluster.read(keys.owner(groupId(group)));
    return value === null ? null : (JSON.parse(value) as { director: string | null }).director;
  }

  groupNames(): readonly string[] {
    return Array.from({ length: this.#document.groups }, (_, i) => `g${i + 1}`);
  }

  /** Calls `action` once, as soon as the director's session is broken in the store. */
  whenBroken(director: string, action: () => void): void {
    this.whenWritten(keys.session(directorId(director)), '"state":"broken"', action);
  }

  /** Calls `action` once, as soon as a value with these words is written to the key. */
  whenWritten(key: string, words: string, action: () => void): void {
    this.#awaited.set(key, { words, action });
  }

  /** Nothing is awaited any more. */
  forgetAwaited(): void {
    this.#awaited.clear();
  }

  /** False: the network loses this message. */
  passes(message: PeerMessage): boolean {
    const loss = this.lossOf.get(message.kind) ?? 0;
    const isLost = loss > 0 && this.random.next() < loss;
    if (isLost) {
      this.#lostAt = this.clock.now();
      this.#lostKindAt.set(message.kind, this.#lostAt);
    }
    return !isLost;
  }

  /** When a message of that kind was lost or late last between the two, or could have been; now: one name for both. */
  #lateAt(kind: PeerMessage['kind'], a: DirectorId, b: DirectorId): number {
    if (a === b || this.lossOf.has(kind)) return this.clock.now();
    return Math.max(this.#lostKindAt.get(kind) ?? -Infinity, this.peers.troubledAt(a, b));
  }

  onFrame(by: Machine, vip: IpAddress): void {
    this.checkers.frame(by, vip);
    this.segment.announce(by, vip);
  }

  onStart(machine: Machine, store: FakeStore): void {
    this.onConnect(machine, store);
  }

  /** Machines whose kernel answers for the address now. */
  answering(vip: IpAddress): readonly string[] {
    return this.machines()
      .filter((one) => one.answers(vip))
      .map((one) => one.name);
  }

  /** Those that answer for the group's first VIP by the document in force. */
  holdersOf(group: string): readonly string[] {
    const [vip] = vipsOf(group, this.#document.isMoved);
    return vip === undefined ? [] : this.answering(vip);
  }

  /** As `isSettled`, but what costs most is not asked at every event. */
  seemsSettled(): boolean {
    const now = this.clock.now();
    if (now - this.#askedAt < ASK_EVERY_MS) return false;
    this.#askedAt = now;
    return this.isSettled();
  }

  /** I4: every group has exactly one voice, nobody else forwards, and all living directors' views agree. */
  isSettled(): boolean {
    return this.groupNames().every((group) => {
      const [holder, ...more] = this.holdersOf(group);
      if (holder === undefined || more.length > 0) return false;
      const isShared = this.machines().some(
        (one) =>
          one.name !== holder &&
          vipsOf(group, this.#document.isMoved).some((vip) => one.speaks(vip)),
      );
      if (isShared) return false;
      if (this.ownerOf(group) !== this.machines().find((one) => one.name === holder)?.director)
        return false;
      return this.directors
        .filter((one) => one.isRunning)
        .every(
          (one) =>
            one.agent?.view.status().groups.find((each) => each.name === group)?.holder === holder,
        );
    });
  }

  /**
   * All living directors have their sessions, and their scopes name the living others and nobody else; and
   * all have had them for D', before which a director promises nothing.
   */
  isMutual(): boolean {
    const alive = this.directors.filter((one) => one.isAlive);
    const living = alive.map(({ director }) => director);
    const newest = Math.max(...living.map((name) => this.#sessionAt.get(name) ?? 0));
    // That of a former life may still be open.
    if (!alive.every((one) => (this.#sessionAt.get(one.director) ?? 0) >= one.startedAt))
      return false;
    return living.every((name) => {
      const session = this.cluster.read(keys.session(directorId(name))).value ?? '';
      if (!session.includes('"open"') || !session.includes(`"machine":"${name}"`)) return false;
      const { value } = this.cluster.read(keys.scope(directorId(name)));
      if (value === null) return false;
      const scope = JSON.parse(value) as ScopeRecord;
      const bindsMs = SLOWEST * waitMs(scope, timingOf(this.#document));
      if (this.clock.now() < newest + bindsMs) return false;
      return scope.peers.join() === living.filter((other) => other !== name).join();
    });
  }

  /**
   * Whoever speaks goes on speaking while this happens: a voice that ends is told, once a group. One that takes a
   * group back by its priority, as soon as it may again, does so whatever else happens.
   */
  async keepsSpeaking(
    happens: () => Promise<void>,
    groups: readonly string[] = this.groupNames(),
  ): Promise<void> {
    const before = new Map(groups.map((group) => [group, this.holdersOf(group).join()]));
    const since = this.#seen;
    let isOver = false;
    const look = (): void => {
      for (const [group, holders] of before) {
        const now = this.holdersOf(group).join();
        if (now === holders) continue;
        const preempting = this.#preemptorSince(group, since);
        if (now === preempting) before.set(group, now);
        if (preempting !== null && (now === preempting || (now === '' && !isOver))) continue;
        before.delete(group);
        this.checkers.tell('outage', `${group} went from ${holders} to ${now || 'nobody'}`);
      }
    };
    const again = (): void => {
      if (isOver) return;
      look();
      this.clock.schedule(LOOK_EVERY_MS, again);
    };
    again();
    await happens();
    isOver = true;
    look();
  }

  /** Its record came from the director that held it. */
  #isGiven(vip: IpAddress): boolean {
    return this.groupNames()
      .filter((group) => mayCarry(group, vip))
      .some((group) => {
        const { value } = this.cluster.read(keys.owner(groupId(group)));
        return value !== null && !TAKEN.has((JSON.parse(value) as { reason: string }).reason);
      });
  }

  /** To whom the record gave the group after that revision because it is better; null: it did not. */
  #preemptorSince(group: string, since: Revision): string | null {
    const { value, modRevision } = this.cluster.read(keys.owner(groupId(group)));
    if (value === null || modRevision <= since) return null;
    const { reason, director } = JSON.parse(value) as { reason: string; director: string | null };
    return reason === 'preempt' ? director : null;
  }

  #hasWitness(a: Party, b: Party, vip: IpAddress): boolean {
    const owners = this.groupNames()
      .filter((group) => mayCarry(group, vip))
      .map((group) => this.ownerOf(group));
    if (owners.includes(a.id) || owners.includes(b.id) || this.lossOf.size > 0) return false;
    const since = this.clock.now() - 3 * this.#longestHoldMs;
    const isSteady = (one: Party): boolean => one.stoppedAt < since;
    const sees = (one: Party, other: Party): boolean =>
      this.peers.troubledAt(one.id, other.id) < since;
    // A process that has begun without etcd has no session, and promises nothing.
    const maySay = (one: Machine): boolean =>
      (this.#sessionAt.get(one.director) ?? Number.NEGATIVE_INFINITY) >= one.startedAt;
    const others = this.directors.filter((one) => one.id !== a.id && one.id !== b.id);
    const witnesses = others.filter(maySay);
    return (
      this.#lostAt < since &&
      [a, b].every(isSteady) &&
      witnesses.some((one) => isSteady(one) && sees(one, a) && sees(one, b))
    );
  }

  async close(): Promise<void> {
    for (const machine of this.machines()) machine.crash();
    this.cluster.close();
    await this.clock.drain();
  }

  #look(): void {
    for (;;) {
      const entry = this.cluster.changeAfter(this.#seen);
      if (entry === null) return;
      this.#seen = entry.revision;
      this.checkers.committed(entry);
      this.#noteSessions(entry);
      this.#noteScopes(entry);
      if (this.#awaited.size > 0) this.#tellWritten(entry);
    }
  }

  #noteSessions({ changes }: HistoryEntry): void {
    for (const { key, value } of changes) {
      const parsed = keys.parse(key);
      if (parsed?.kind !== 'session') continue;
      this.#sessionAt.set(parsed.director, this.clock.now());
      for (const one of this.machines())
        if (value?.includes(`"machine":"${one.name}"`) === true) one.joined();
    }
  }

  #noteScopes({ changes }: HistoryEntry): void {
    for (const { key, value } of changes) {
      const parsed = keys.parse(key);
      if (parsed?.kind !== 'scope') continue;
      const scope = value === null ? null : (JSON.parse(value) as ScopeRecord);
      for (const one of this.machines())
        if (one.director === parsed.director) one.scopeWritten(scope);
    }
  }

  #tellWritten({ changes }: HistoryEntry): void {
    for (const { key, value } of changes) {
      const awaited = this.#awaited.get(key);
      if (awaited === undefined || value?.includes(awaited.words) !== true) continue;
      this.#awaited.delete(key);
      awaited.action();
    }
  }
}
