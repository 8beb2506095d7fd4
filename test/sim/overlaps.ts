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
  answers(address: IpAddress): boolean;
  /** It holds what the address belongs to by the segment, as it tells itself. */
  isBySegment(address: IpAddress): boolean;
};

export type OverlapPorts = {
  readonly now: () => number;
  readonly schedule: (ms: number, action: () => void) => void;
  /** When words between the two were lost or late last. */
  readonly troubledAt: (a: DirectorId, b: DirectorId) => number;
  /** Whether the segment connects the two. */
  readonly connects: (a: string, b: string) => boolean;
  readonly tell: (text: string) => void;
};

const LOOK_EVERY_MS = 1;
/** What it takes to hear the other one: between the directors, told before one opens; on the segment, announced. */
export const HEARD_WITHIN_MS = 150;
export const WINDOW_MS = 100;

type Overlap = {
  readonly a: Party;
  readonly b: Party;
  readonly vip: IpAddress;
  readonly since: number;
  lastAt: number;
  /** So long the segment connected the two, and who holds by it ran. */
  heardMs: number;
  isBySegment: boolean;
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

  /** Both answer for the address now. */
  note(a: Party, b: Party, vip: IpAddress): void {
    const key = [vip, ...[a.name, b.name].toSorted()].join(' ');
    if (this.#current.has(key)) return;
    const now = this.#ports.now();
    const begun = { since: now, lastAt: now, heardMs: 0, isBySegment: false };
    const overlap: Overlap = { a, b, vip, ...begun, isApart: false, isTold: false };
    this.#current.set(key, overlap);
    this.#look(key, overlap);
  }

  #look(key: string, overlap: Overlap): void {
    const { now, schedule, connects } = this.#ports;
    const { a, b, vip, lastAt } = overlap;
    const passedMs = now() - lastAt;
    overlap.lastAt = now();
    const segmental = [a, b].filter((one) => one.isBySegment(vip));
    overlap.isBySegment ||= segmental.length > 0;
    overlap.isApart ||= this.#isApart(a, b);
    const canHear = connects(a.name, b.name) && segmental.some(({ isRunning }) => isRunning);
    if (canHear) overlap.heardMs += passedMs;
    if (!overlap.isApart) this.#tell(overlap, 'though both run and hear each other');
    if (overlap.heardMs > WINDOW_MS) this.#tell(overlap, 'longer than it takes to hear it');
    if (a.answers(vip) && b.answers(vip)) schedule(LOOK_EVERY_MS, () => this.#look(key, overlap));
    else this.#end(key, overlap);
  }

  #isApart(a: Party, b: Party): boolean {
    const { now, troubledAt } = this.#ports;
    const at = Math.max(troubledAt(a.id, b.id), a.stoppedAt, b.stoppedAt);
    return now() - at < HEARD_WITHIN_MS;
  }

  #end(key: string, overlap: Overlap): void {
    this.#current.delete(key);
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
