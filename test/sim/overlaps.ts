/**
 * Two voices at once where the segment alone let one of them speak (design 4.10): the documented window.
 * There is one only where they cannot hear each other, or one of them does not run; and where the segment
 * connects them, and who holds by it runs, it is short.
 */
import type { IpAddress } from '../../src/model/address.ts';
import type { DirectorId } from '../../src/model/ids.ts';

/** One of the two. */
export type Party = {
  readonly name: string;
  readonly id: DirectorId;
  readonly isRunning: boolean;
  /** When its process did not run last: it was stopped, or not yet begun; now, where it does not run. */
  readonly stoppedAt: number;
  readonly startedAt: number;
  /** Since then its process knows that it has to listen to the other's words; now: it does not. */
  hearsSince(other: DirectorId): number;
  /** Between two of its heartbeats, by the document that its process goes by and its own clock. */
  readonly heartbeatMs: number;
  /** Until then its process may go on with what a former one has left speaking on purpose. */
  readonly goesOnUntil: number;
  /** That has the address, by the document that its process goes by. */
  groupOf(address: IpAddress): string | null;
  answers(address: IpAddress): boolean;
  /** The same, or it would if somebody had not just taken the address away: its process binds it again. */
  isOpen(address: IpAddress): boolean;
  /** It holds what the address belongs to by the segment, as it tells itself. */
  isBySegment(address: IpAddress): boolean;
  /**
   * Only the kernel speaks, by what a former process held by the segment: for the rest of F nobody there hears
   * anything, though a new process may run that has not learnt of it.
   */
  isLeft(address: IpAddress): boolean;
  /** So long etcd has answered nothing that its process asked. */
  withoutStoreMs(): number;
};

export type OverlapPorts = {
  readonly now: () => number;
  readonly schedule: (ms: number, action: () => void) => void;
  /** When words between the two were lost or late last. */
  readonly troubledAt: (a: DirectorId, b: DirectorId) => number;
  /** The same for heartbeats alone. */
  readonly unheardAt: (a: DirectorId, b: DirectorId) => number;
  /** Whether the segment connects the two. */
  readonly connects: (a: string, b: string) => boolean;
  /** So long ago it asked the network who has the address. */
  readonly probedMs: (name: string, vip: IpAddress) => number;
  /** By the record its former holder gave it: whoever has it now asked nobody, and so told nobody to yield. */
  readonly isGiven: (vip: IpAddress) => boolean;
  /** So long the gateway has not answered it. */
  readonly withoutGatewayMs: (name: string) => number;
  /** None of the two is named by the record, and a director has heard both for so long that it promised to one. */
  readonly hasWitness: (a: Party, b: Party, vip: IpAddress) => boolean;
  /** D, the longest so far: nothing speaks longer by an answer of the gateway. */
  readonly longestHoldMs: () => number;
  readonly tell: (text: string) => void;
};

/** At first; what has lasted for longer goes on until something mends. */
const LOOK_EVERY_MS = 1;
const BEGINNING_MS = 50;
const LOOK_LATER_EVERY_MS = 10;
const TOLD_AFTER_MS = 2;
/** What it takes to hear the other one: between the directors, told before one opens; on the segment, announced. */
export const HEARD_WITHIN_MS = 50;
export const WINDOW_MS = 100;
/** Where the segment was broken: who has better evidence listens every 200 ms, and announces itself then. */
export const LATE_WINDOW_MS = WINDOW_MS + 200;
/** Who holds by the segment announces itself so often, with the round that comes next. */
export const REPEATED_WITHIN_MS = 1000;
/** Clocks and kernels are as late as that. */
const LATENESS = 1.2;
const EXPIRY_MS = 1100;
/** D', times D, by the slowest clock. */
const LEFT_SPEAKING = 1.5;

/** From the last probe to an opening at most, beside D, by the slowest clock. */
const ASKED_WITHIN_MS = 1500;
const SLOWEST = 1 / 0.9;

type Overlap = {
  readonly a: Party;
  readonly b: Party;
  readonly vip: IpAddress;
  readonly since: number;
  lastAt: number;
  /** Whether the segment connected the two when it began, or one has announced itself to the other since. */
  readonly isConnected: boolean;
  readonly isGiven: boolean;
  isAnnounced: boolean;
  /** So long the segment connected the two, who holds by it ran, and there was something to hear. */
  heardMs: number;
  /** The same, whether there was anything to hear or not. */
  reachedMs: number;
  isBySegment: boolean;
  /** Who began to answer beside the other one does so by the segment: it told nobody to yield. */
  isUntold: boolean;
  isApart: boolean;
  isTold: boolean;
};

export class Overlaps {
  readonly #ports: OverlapPorts;
  readonly #current = new Map<string, Overlap>();
  /** Windows that are over, and the longest that the two could have heard of each other. */
  windows = 0;
  longestMs = 0;

  constructor(ports: OverlapPorts) {
    this.#ports = ports;
  }

  /** The first begins to answer for the address now, as the other does. */
  begin(a: Party, b: Party, vip: IpAddress): void {
    this.note(a, b, vip);
    const { now, probedMs, isGiven, longestHoldMs } = this.#ports;
    // A new process goes on with what its kernel was left.
    if (now() < Math.max(a.goesOnUntil, a.startedAt + LEFT_SPEAKING * longestHoldMs())) return;
    if (isGiven(vip)) return;
    const overlap = this.#current.get(keyOf(a, b, vip));
    const validMs = SLOWEST * (ASKED_WITHIN_MS + longestHoldMs());
    if (overlap?.isConnected === true && probedMs(a.name, vip) > validMs)
      this.#tell(overlap, 'and the first one had not asked the network');
  }

  /** Both answer for the address now, or one of them says so and would. */
  note(a: Party, b: Party, vip: IpAddress): void {
    const key = keyOf(a, b, vip);
    if (this.#current.has(key)) return;
    const now = this.#ports.now();
    const begun = { since: now, lastAt: now, heardMs: 0, reachedMs: 0, isBySegment: false };
    const isConnected = this.#ports.connects(a.name, b.name);
    const isGiven = this.#ports.isGiven(vip);
    const told = { isConnected, isGiven, isAnnounced: isConnected, isTold: false };
    const unknown = { isUntold: false, isApart: false };
    const overlap: Overlap = { a, b, vip, ...begun, ...told, ...unknown };
    this.#current.set(key, overlap);
    this.#look(key, overlap);
  }

  /** A frame of one of the two that speaks as the address reaches whoever the segment connects it with. */
  announced(by: Party, vip: IpAddress): void {
    for (const overlap of this.#current.values()) {
      const { a, b } = overlap;
      if (overlap.vip === vip && (a === by || b === by))
        overlap.isAnnounced ||= this.#ports.connects(a.name, b.name);
    }
  }

  #look(key: string, overlap: Overlap): void {
    const { now, schedule, connects } = this.#ports;
    const { a, b, vip, lastAt } = overlap;
    const passedMs = now() - lastAt;
    overlap.lastAt = now();
    const segmental = [a, b].filter((one) => one.isBySegment(vip));
    overlap.isBySegment ||= segmental.length > 0;
    const isEitherLeft = a.isLeft(vip) || b.isLeft(vip);
    // By what it was opened it says a moment later.
    const isClear = now() >= overlap.since + TOLD_AFTER_MS;
    if (!isClear) overlap.isUntold ||= a.isBySegment(vip);
    overlap.isApart ||= isEitherLeft || this.#isApart(overlap);
    const canHear = connects(a.name, b.name) && a.isRunning && b.isRunning && !isEitherLeft;
    if (canHear) overlap.reachedMs += passedMs;
    if (canHear && overlap.isAnnounced) overlap.heardMs += passedMs;
    if (isClear) this.#expectApart(overlap);
    const isOver = !a.isOpen(vip) || !b.isOpen(vip);
    if (!isOver && this.#haveHeard(overlap))
      this.#tell(overlap, 'though each was heard to hold it');
    if (segmental.length > 1 && this.#ports.hasWitness(a, b, vip))
      this.#tell(overlap, 'though another director hears both, and neither is the owner');
    // What a process has left, for its successor or by its end, asks no gateway any more.
    const askers = segmental.filter((one) => !one.isLeft(vip) && (isClear || one !== a));
    if (askers.some((one) => this.#isWithoutGateway(one)))
      this.#tell(overlap, 'though no gateway answers the one that the segment lets speak');
    // Who began by the segment had not heard the other one begin a moment before; that one listens every 200 ms.
    const isLate = !overlap.isConnected || overlap.isUntold;
    const limitMs = isLate ? LATE_WINDOW_MS : WINDOW_MS;
    if (overlap.heardMs > limitMs) this.#tell(overlap, 'longer than it takes to hear it');
    const repeatedMs = LATENESS * (REPEATED_WITHIN_MS + this.#ports.longestHoldMs());
    if (overlap.reachedMs > repeatedMs + LATE_WINDOW_MS)
      this.#tell(overlap, 'longer than until it is announced again');
    if (isOver) this.#end(key, overlap);
    else {
      const isBeginning = now() < overlap.since + BEGINNING_MS;
      schedule(isBeginning ? LOOK_EVERY_MS : LOOK_LATER_EVERY_MS, () => this.#look(key, overlap));
    }
  }

  #expectApart(overlap: Overlap): void {
    if (!overlap.isApart) this.#tell(overlap, 'though both run and hear each other');
  }

  #isApart({ a, b, vip, isUntold, isConnected, isGiven }: Overlap): boolean {
    const { now, troubledAt } = this.#ports;
    if (!isOfOneGroup(a, b, vip)) return true;
    const at = Math.max(troubledAt(a.id, b.id), a.stoppedAt, b.stoppedAt);
    // Where nobody is told to yield, also as no probe arrives, and who has just started, hears by the next heartbeats.
    const heardMs = HEARD_WITHIN_MS + heartbeatMs(a, b);
    const bornMs = now() - hearSince(a, b);
    const toldMs = isUntold || isGiven || !isConnected ? heardMs : HEARD_WITHIN_MS;
    return now() - at < toldMs || bornMs < heardMs;
  }

  /** Whatever became of the segment: heartbeats name who holds what, and one of the two yields to them. */
  #haveHeard({ a, b, vip, since }: Overlap): boolean {
    const { now, unheardAt } = this.#ports;
    if (a.isLeft(vip) || b.isLeft(vip) || !isOfOneGroup(a, b, vip)) return false;
    const runAt = Math.max(a.stoppedAt, b.stoppedAt, hearSince(a, b));
    const heardAt = Math.max(since, unheardAt(a.id, b.id), runAt) + heartbeatMs(a, b);
    return now() > heardAt + HEARD_WITHIN_MS;
  }

  /** A stand-in that etcd answers again asks no gateway: the record is unchanged, and a dead holder is killed by it. */
  #isWithoutGateway(one: Party): boolean {
    const { withoutGatewayMs, longestHoldMs } = this.#ports;
    const withoutMs = Math.min(withoutGatewayMs(one.name), one.withoutStoreMs());
    return withoutMs > LATENESS * longestHoldMs() + EXPIRY_MS;
  }

  #end(key: string, overlap: Overlap): void {
    this.#current.delete(key);
    this.#expectApart(overlap);
    this.windows++;
    this.longestMs = Math.max(this.longestMs, overlap.heardMs);
    if (!overlap.isBySegment) this.#tell(overlap, 'though neither holds it by the segment');
  }

  /** Once a window. */
  #tell(overlap: Overlap, why: string): void {
    if (overlap.isTold) return;
    overlap.isTold = true;
    const { a, b, vip, since } = overlap;
    const ms = Math.round(this.#ports.now() - since);
    this.#ports.tell(`${a.name} and ${b.name} answer for ${vip} since ${ms} ms, ${why}`);
  }
}

/** Words between directors go by the group: one with an older document hears of its VIP by the other voice alone. */
const isOfOneGroup = (a: Party, b: Party, vip: IpAddress): boolean =>
  a.groupOf(vip) === b.groupOf(vip);

const hearSince = (a: Party, b: Party): number => Math.max(a.hearsSince(b.id), b.hearsSince(a.id));

/** Until both have named what they hold, by the slowest clock. */
const heartbeatMs = (a: Party, b: Party): number =>
  LATENESS * Math.max(a.heartbeatMs, b.heartbeatMs);

const keyOf = (a: Party, b: Party, vip: IpAddress): string =>
  [vip, ...[a.name, b.name].toSorted()].join(' ');
