/**
 * Plain TCP connects of thousands of targets, for a thread that does nothing else. What the engine knows of a check
 * stands in columns of numbers, not in objects: with one of each a second, making and collecting them would cost more
 * than the connects. As with all checks, targets that swallow packets have at most half of the slots.
 */
import { formatEndpoint } from '../../model/address.ts';
import type { Check, CheckSpec } from '../../model/cluster.ts';
import type { CheckId } from '../../model/ids.ts';
import { ANY_ORIGIN } from '../../model/check.ts';
import { AwakeTime } from './awake-time.ts';
import {
  CONNECTED,
  CONNECTING,
  type ConnectSockets,
  type ConnectTarget,
} from './connect-sockets.ts';
import type { PackedResults, ToWorker, WorkerOptions } from './probe-protocol.ts';
import { JITTER } from './probe-schedule.ts';
import { RESULT_FIELDS, UNABLE_MAX } from './probe-protocol.ts';
import { isLocalErrno, LATE, saidOf, SAID_UP } from './connect-words.ts';
import { seededRandom } from './seeded-random.ts';
import { TimingWheel } from './timing-wheel.ts';

/** Nothing is said, and nothing is heard but the answer to the connect. */
export const isPlainConnect = (spec: CheckSpec): boolean =>
  spec.kind === 'tcp' && (spec.send ?? null) === null && (spec.expect ?? null) === null;

/** How late a probe may start, and may be cut. What is due within the same tick starts together. */
const TICK_MS = 8;
/** So long after its beginning a connect is looked at; what takes longer is watched. */
const FIRST_LOOK_MS = 1;
/** Results that say what the last one said wait so long for others. */
const FLUSH_MS = 200;
const BATCH_MAX = 4_096;
/** Targets that never answer may have this share of the slots, where there are not enough for all. */
const SLOW_SHARE = 0.5;

/** States of a check. */
const WAITING = 0;
const QUEUED = 1;
const FRESH = 2;
const WATCHED = 3;

export type ConnectWorld = {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly sockets: ConnectSockets;
  readonly post: (packed: PackedResults) => void;
};

/** What does not change while a check is there. */
type Fixed = {
  readonly id: CheckId;
  readonly number: number;
  readonly target: ConnectTarget;
  readonly intervalMs: number;
  readonly jitter: number;
  readonly timeoutMs: number;
  /** So many results that say the same may decide: none of these waits for others. */
  readonly deciding: number;
};

export class ConnectEngine {
  readonly #world: ConnectWorld;
  readonly #awake: AwakeTime;
  /** When this thread was last known to be awake. */
  #awakeAt: number;
  readonly #random: () => number;
  #maxConcurrent: number;
  readonly #wheel: TimingWheel;
  readonly #slots = new Map<CheckId, number>();
  readonly #free: number[] = [];
  readonly #fixed: (Fixed | null)[] = [];
  #state = new Uint8Array(0);
  /** 1: it ran into its deadline the last time. */
  #isSlow = new Uint8Array(0);
  /** When the next probe is due; the rhythm counts from here. */
  #dueAt = new Float64Array(0);
  /** The next probe is wanted by then, whatever the rhythm says. */
  #wantedAt = new Float64Array(0);
  #startedAt = new Float64Array(0);
  #fd = new Int32Array(0);
  /** What the last result said; 0: there was none. */
  #said = new Int32Array(0);
  /** How often in a row, up to what decides. */
  #times = new Uint16Array(0);
  readonly #byFd = new Map<number, number>();
  #fresh: number[] = [];
  #looked: number[] = [];
  readonly #prompt = new Set<number>();
  readonly #slow = new Set<number>();
  #running = 0;
  #results = new Float64Array(RESULT_FIELDS * 64);
  #count = 0;
  #postAt = Infinity;
  #localFailure: string | null = null;
  #unable: (readonly [number: number, detail: string])[] = [];

  constructor(options: WorkerOptions, world: ConnectWorld) {
    this.#world = world;
    this.#maxConcurrent = options.maxConcurrent;
    this.#random = seededRandom(options.seed);
    this.#awake = new AwakeTime(world.now);
    this.#awakeAt = this.#awake.now();
    this.#wheel = new TimingWheel(TICK_MS, this.#awakeAt);
  }

  get running(): number {
    return this.#running;
  }

  handle(message: Extract<ToWorker, { kind: 'change' | 'soon' | 'soons' }>): void {
    const now = this.#wake(0);
    if (message.kind === 'soon') {
      this.#soon(message.check, now + (message.afterMs ?? 0), now);
      return;
    }
    if (message.kind === 'soons') {
      for (const { check, afterMs } of message.wishes) this.#soon(check, now + afterMs, now);
      return;
    }
    this.#maxConcurrent = message.maxConcurrent;
    for (const id of message.gone) this.#remove(id);
    for (const [n, check] of message.added.entries())
      this.#add(check, message.numbers[n] ?? -1, now);
  }

  /** Hears what came of connects, for at most so long. */
  hear(timeoutMs: number): void {
    const { sockets } = this.#world;
    this.#wake(0);
    const tell = (fd: number): void => {
      this.#wake(timeoutMs);
      const slot = this.#byFd.get(fd);
      if (slot !== undefined) this.#look(slot, this.#awakeAt);
    };
    let left = timeoutMs;
    while (sockets.wait(left, tell)) left = 0;
    this.#wake(timeoutMs);
  }

  /** Looks at what has begun, cuts what is late, starts what is due, and posts. To be called after `hear`. */
  turn(): void {
    const now = this.#wake(0);
    this.#lookAtFresh(now);
    this.#wheel.turn(now, (slot) => this.#onTime(slot, now));
    this.#startAll(this.#prompt, this.#maxConcurrent, now);
    const hasSlotsForAll = this.#maxConcurrent >= this.#slots.size;
    const slowMost = this.#maxConcurrent * (hasSlotsForAll ? 1 : SLOW_SHARE);
    this.#startAll(this.#slow, Math.max(1, slowMost), now);
    if (now >= this.#postAt || this.#count >= BATCH_MAX) this.#post(now);
  }

  /** How long the thread may wait for connects before the next turn; null: until a message comes. */
  waitMs(): number | null {
    const now = this.#awake.now();
    const lookAt = this.#fresh.length > 0 ? now + FIRST_LOOK_MS : Infinity;
    const next = Math.min(lookAt, this.#wheel.nextAt() ?? Infinity, this.#postAt);
    return next === Infinity ? null : Math.max(0, Math.ceil(next - now));
  }

  /** Ends every connect, in silence. */
  stop(): void {
    for (const id of this.#slots.keys()) this.#remove(id);
  }

  /** What time it is; not later than it was, if this thread was to be here after so long and comes far too late. */
  #wake(meantMs: number): number {
    this.#awake.resume(this.#awakeAt, meantMs);
    this.#awakeAt = this.#awake.now();
    return this.#awakeAt;
  }

  #add(check: Check, number: number, now: number): void {
    if (this.#slots.has(check.id)) return;
    const { address, port, spec } = check;
    const { source, sourcePort, interface: device, mark } = spec.origin ?? ANY_ORIGIN;
    const slot = this.#free.pop() ?? this.#fixed.length;
    this.#fixed[slot] = {
      id: check.id,
      number,
      target: { address, port, source, sourcePort, device, mark },
      intervalMs: spec.intervalMs,
      jitter: spec.jitter ?? JITTER,
      timeoutMs: spec.timeoutMs,
      deciding: Math.max(spec.rise, spec.fall),
    };
    if (slot >= this.#state.length) this.#grow(slot + 1);
    this.#slots.set(check.id, slot);
    this.#isSlow[slot] = 0;
    this.#said[slot] = 0;
    this.#wantedAt[slot] = Infinity;
    this.#wait(slot, now + this.#random() * (spec.warmupMs ?? spec.intervalMs), now);
  }

  #remove(id: CheckId): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#slots.delete(id);
    this.#wheel.cancel(slot);
    this.#prompt.delete(slot);
    this.#slow.delete(slot);
    if (this.#isRunning(slot)) this.#end(slot, false);
    this.#state[slot] = WAITING;
    this.#fixed[slot] = null;
    this.#free.push(slot);
  }

  #soon(id: CheckId, at: number, now: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined || this.#state[slot] === QUEUED) return;
    if (this.#isRunning(slot))
      this.#wantedAt[slot] = Math.min(this.#wantedAt[slot] ?? Infinity, at);
    else if (at < (this.#dueAt[slot] ?? 0)) this.#wait(slot, at, now);
  }

  #isRunning(slot: number): boolean {
    return this.#state[slot] === FRESH || this.#state[slot] === WATCHED;
  }

  #wait(slot: number, at: number, now: number): void {
    this.#dueAt[slot] = at;
    if (at <= now) this.#enqueue(slot);
    else {
      this.#state[slot] = WAITING;
      this.#wheel.set(slot, at);
    }
  }

  #enqueue(slot: number): void {
    this.#wheel.cancel(slot);
    this.#state[slot] = QUEUED;
    (this.#isSlow[slot] === 1 ? this.#slow : this.#prompt).add(slot);
  }

  #onTime(slot: number, now: number): void {
    if (this.#state[slot] === WAITING) this.#enqueue(slot);
    else if (this.#isRunning(slot))
      this.#finish(slot, LATE - (this.#fixed[slot]?.timeoutMs ?? 0), -1, now);
  }

  #startAll(queue: Set<number>, most: number, now: number): void {
    for (const slot of queue) {
      if (this.#running >= most) return;
      queue.delete(slot);
      this.#start(slot, now);
    }
  }

  #start(slot: number, now: number): void {
    const fixed = this.#fixed[slot];
    if (fixed === null || fixed === undefined) return;
    this.#running++;
    this.#startedAt[slot] = now;
    const fd = this.#world.sockets.open(fixed.target);
    this.#fd[slot] = fd;
    this.#state[slot] = FRESH;
    if (fd < 0) {
      this.#finish(slot, -fd, -1, now);
      return;
    }
    this.#byFd.set(fd, slot);
    this.#fresh.push(slot);
    this.#wheel.set(slot, now + fixed.timeoutMs);
  }

  #lookAtFresh(now: number): void {
    const fresh = this.#fresh;
    if (fresh.length === 0) return;
    this.#fresh = this.#looked;
    this.#looked = fresh;
    for (const slot of fresh) if (this.#state[slot] === FRESH) this.#look(slot, now);
    fresh.length = 0;
  }

  #look(slot: number, now: number): void {
    const { sockets } = this.#world;
    const fd = this.#fd[slot] ?? -1;
    const found = sockets.look(fd);
    if (found === CONNECTED) this.#finish(slot, SAID_UP, sockets.roundTripMs, now);
    else if (found !== CONNECTING) this.#finish(slot, found, -1, now);
    else if (this.#state[slot] === FRESH) {
      const isEarly = now - (this.#startedAt[slot] ?? 0) < FIRST_LOOK_MS;
      if (!isEarly && sockets.watch(fd)) this.#state[slot] = WATCHED;
      else this.#fresh.push(slot);
    }
  }

  /** `said`: as in `connect-words.ts`; `tookMs` negative: as the clock says. */
  #finish(slot: number, said: number, tookMs: number, now: number): void {
    const fixed = this.#fixed[slot];
    if (fixed === null || fixed === undefined) return;
    this.#wheel.cancel(slot);
    this.#end(slot, said === SAID_UP);
    this.#isSlow[slot] = said <= LATE ? 1 : 0;
    if (isLocalErrno(said)) {
      const { detail } = saidOf(said);
      const { address, port } = fixed.target;
      this.#localFailure = `tcp check of ${formatEndpoint(address, port)}: ${detail}`;
      if (this.#unable.length < UNABLE_MAX) this.#unable.push([fixed.number, detail]);
      this.#postAt = Math.min(this.#postAt, now + FLUSH_MS);
    } else {
      const elapsedMs = now - (this.#startedAt[slot] ?? now);
      // A round trip that the kernel has not seen, or that includes a lost packet, is what the clock says.
      const isSeen = tookMs > 0 && tookMs < elapsedMs;
      this.#result(fixed.number, isSeen ? tookMs : elapsedMs, said, now);
      // What may decide goes out with this turn.
      const times = this.#said[slot] === said ? (this.#times[slot] ?? 0) : 0;
      const isDeciding = times < fixed.deciding;
      this.#said[slot] = said;
      this.#times[slot] = isDeciding ? times + 1 : times;
      this.#postAt = isDeciding ? now : Math.min(this.#postAt, now + FLUSH_MS);
    }
    const factor = 1 + fixed.jitter * (2 * this.#random() - 1);
    const rhythm = (this.#dueAt[slot] ?? now) + fixed.intervalMs * factor;
    const at = Math.max(now, Math.min(rhythm, this.#wantedAt[slot] ?? Infinity));
    this.#wantedAt[slot] = Infinity;
    this.#wait(slot, at, now);
  }

  #end(slot: number, wasConnected: boolean): void {
    this.#running--;
    const fd = this.#fd[slot] ?? -1;
    this.#fd[slot] = -1;
    if (fd < 0) return;
    this.#byFd.delete(fd);
    this.#world.sockets.close(fd, wasConnected);
  }

  #result(number: number, latencyMs: number, said: number, now: number): void {
    const at = this.#count * RESULT_FIELDS;
    if (at + RESULT_FIELDS > this.#results.length) {
      const longer = new Float64Array(2 * this.#results.length);
      longer.set(this.#results);
      this.#results = longer;
    }
    this.#results[at] = number;
    this.#results[at + 1] = latencyMs;
    // When, until it is posted; how long ago from then on.
    this.#results[at + 2] = now;
    this.#results[at + 3] = said;
    this.#count++;
  }

  #post(now: number): void {
    const numbers = this.#results.slice(0, this.#count * RESULT_FIELDS);
    const places = new Map<number, number>();
    const words: PackedResults['said'][number][] = [];
    for (let at = 0; at < numbers.length; at += RESULT_FIELDS) {
      const said = numbers[at + 3] ?? 0;
      let place = places.get(said);
      if (place === undefined) {
        place = words.push(saidOf(said)) - 1;
        places.set(said, place);
      }
      numbers[at + 2] = now - (numbers[at + 2] ?? now);
      numbers[at + 3] = place;
    }
    this.#count = 0;
    this.#postAt = Infinity;
    const [localFailure, unable] = [this.#localFailure, this.#unable];
    this.#localFailure = null;
    this.#unable = [];
    const failed = unable.length === 0 ? {} : { unable };
    this.#world.post({ numbers, said: words, localFailure, ...failed });
  }

  #grow(least: number): void {
    const capacity = Math.max(64, least, 2 * this.#state.length);
    const grown = <A extends Uint8Array | Uint16Array | Int32Array | Float64Array>(
      of: A,
      empty: A,
    ): A => {
      empty.set(of);
      return empty;
    };
    this.#state = grown(this.#state, new Uint8Array(capacity));
    this.#isSlow = grown(this.#isSlow, new Uint8Array(capacity));
    this.#dueAt = grown(this.#dueAt, new Float64Array(capacity));
    this.#wantedAt = grown(this.#wantedAt, new Float64Array(capacity));
    this.#startedAt = grown(this.#startedAt, new Float64Array(capacity));
    this.#fd = grown(this.#fd, new Int32Array(capacity));
    this.#said = grown(this.#said, new Int32Array(capacity));
    this.#times = grown(this.#times, new Uint16Array(capacity));
  }
}
