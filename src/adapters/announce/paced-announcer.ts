/**
 * The Announcer port over any sender of single frames: runs the schedule in small slices, counts, and
 * logs a device's failure and recovery once each. The tests' fake records instead of sending.
 */
import type { Result } from '../../lib/result.ts';
import type { MonoMs } from '../../model/ids.ts';
import type { Announcement, Announcer } from '../../ports/announcer.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { AnnounceSchedule, type DueFrame } from './schedule.ts';

/** Frames sent before the event loop gets its turn: about 1 ms at 10 to 50 µs each. */
export const FRAMES_PER_SLICE = 32;
/** First frames sent in one go: of all VIPs of a takeover, before anything else is done. */
export const FIRST_FRAMES_PER_SLICE = 256;
/** Least time between two slices; shorter timers only cost wake-ups. */
const SLICE_SPACING_MS = 1;

export interface FrameSender {
  /** Hands one frame to the kernel; never blocks. The error is a text fit for a log. */
  send(frame: DueFrame): Result<void, string>;
  close(): void;
}

export class PacedAnnouncer implements Announcer {
  readonly #sender: FrameSender;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #schedule = new AnnounceSchedule();
  readonly #failing = new Map<string, string>();
  readonly #limits = new Map<string, MonoMs>();
  #cancelTimer: (() => void) | null = null;
  #sent = 0;
  #failed = 0;
  #isClosed = false;

  constructor(sender: FrameSender, ports: { readonly clock: Clock; readonly log: Log }) {
    this.#sender = sender;
    this.#clock = ports.clock;
    this.#log = ports.log;
  }

  announce(vips: readonly Announcement[]): void {
    if (this.#isClosed || vips.length === 0) return;
    this.#schedule.add(vips, this.#clock.now());
    this.#runSlice();
  }

  repeat(vips: readonly Announcement[]): void {
    if (this.#isClosed || vips.length === 0) return;
    this.#schedule.repeat(vips, this.#clock.now());
    this.#runSlice();
  }

  limit(vips: readonly Announcement[], until: MonoMs): void {
    for (const vip of vips) this.#limits.set(limitKey(vip), until);
  }

  stop(vips: readonly Announcement[]): void {
    for (const vip of vips) this.#limits.delete(limitKey(vip));
    this.#schedule.remove(vips);
    this.#arm();
  }

  counters(): { readonly sent: number; readonly failed: number } {
    return { sent: this.#sent, failed: this.#failed };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#sender.close();
  }

  #runSlice(): void {
    const now = this.#clock.now();
    const first = this.#schedule.takeFirst(now, FIRST_FRAMES_PER_SLICE);
    for (const frame of [...first, ...this.#schedule.takeDue(now, FRAMES_PER_SLICE)]) {
      // Asked per frame: a process that was stopped must not speak for a VIP it lost meanwhile.
      if (this.#clock.now() >= (this.#limits.get(limitKey(frame)) ?? Infinity)) continue;
      const sent = this.#sender.send(frame);
      if (sent.ok) this.#sent++;
      else this.#failed++;
      this.#noteTransition(frame.device, sent);
    }
    this.#arm();
  }

  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    const now = this.#clock.now();
    const next = this.#schedule.nextAt(now);
    if (this.#isClosed || next === null) return;
    this.#cancelTimer = this.#clock.schedule(Math.max(SLICE_SPACING_MS, next - now), () => {
      this.#cancelTimer = null;
      this.#runSlice();
    });
  }

  #noteTransition(device: string, sent: Result<void, string>): void {
    const before = this.#failing.get(device);
    if (sent.ok) {
      if (before === undefined) return;
      this.#failing.delete(device);
      this.#log.info({ device }, 'announcement.recovered');
    } else if (before !== sent.error) {
      this.#failing.set(device, sent.error);
      this.#log.warn({ device, error: sent.error }, 'announcement.failed');
    }
  }
}

const limitKey = (vip: Announcement): string => `${vip.device} ${vip.address}`;
