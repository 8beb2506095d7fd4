/**
 * When which announcement frame is due: 5 rounds at once, 5 more after 5 s, then one every 30 s, paced
 * per device but for the first frame of each VIP: until a neighbour hears it, that VIP is out. Pure:
 * time is an argument, nothing is sent here. The numbers are keepalived's defaults
 * (`vrrp_garp_master_repeat`, `vrrp_garp_master_delay`), plus refresh and pacing, which it leaves off.
 */
import { familyOf } from '../../model/address.ts';
import type { Announcement } from '../../ports/announcer.ts';

export const ROUNDS_PER_BURST = 5;
export const SECOND_BURST_MS = 5_000;
export const REFRESH_MS = 30_000;
/** Least time between two frames of one device, on average; first frames are not counted. */
export const FRAME_SPACING_MS = 1;
/** Frames that one device may send back to back after a pause. */
export const SLICE_FRAMES = 8;

/** IPv4: both ARP forms, request first because it always overrides; IPv6: one advertisement. */
export type FrameForm = 'arp-request' | 'arp-reply' | 'neighbor-advertisement';
export type DueFrame = Announcement & { readonly form: FrameForm };

type Entry = {
  readonly vip: Announcement;
  readonly forms: readonly FrameForm[];
  readonly startedAt: number;
  round: number;
  formIndex: number;
  dueAt: number;
  /** When it goes on, while it is said once more in between; null: it is not. */
  resumesAt: number | null;
};

type Device = {
  readonly entries: Map<string, Entry>;
  /** Token bucket: one token per FRAME_SPACING_MS, at most SLICE_FRAMES. */
  tokens: number;
  filledAt: number;
};

export class AnnounceSchedule {
  readonly #devices = new Map<string, Device>();

  /** Starts the burst of these VIPs, anew where one is running. */
  add(vips: readonly Announcement[], now: number): void {
    for (const vip of vips) {
      const device = this.#device(vip.device, now);
      device.entries.set(vip.address, {
        vip,
        forms:
          familyOf(vip.address) === 4 ? ['arp-request', 'arp-reply'] : ['neighbor-advertisement'],
        startedAt: now,
        round: 0,
        formIndex: 0,
        dueAt: now,
        resumesAt: null,
      });
    }
  }

  /** Each that is known, and not due anyway, once in between. */
  repeat(vips: readonly Announcement[], now: number): void {
    for (const { device, address } of vips) {
      const entry = this.#devices.get(device)?.entries.get(address);
      if (entry === undefined || entry.dueAt <= now) continue;
      entry.resumesAt = entry.dueAt;
      entry.dueAt = now;
    }
  }

  remove(vips: readonly Announcement[]): void {
    for (const vip of vips) this.#devices.get(vip.device)?.entries.delete(vip.address);
  }

  /** The first frame of each VIP that was not heard of yet, at most `limit`, whatever the pace. */
  takeFirst(now: number, limit: number): DueFrame[] {
    const frames: DueFrame[] = [];
    for (const { entries } of this.#devices.values())
      for (const entry of entries.values()) {
        if (rank(entry) > 0) continue;
        if (frames.length === limit) return frames;
        frames.push(frameOf(entry));
        advance(entry, now);
      }
    return frames;
  }

  /** At most `limit` frames to send now, in order, and no more per device than the pace allows. */
  takeDue(now: number, limit: number): DueFrame[] {
    const frames: DueFrame[] = [];
    for (const device of this.#devices.values()) {
      refill(device, now);
      while (frames.length < limit && device.tokens >= 1) {
        const entry = firstDue(device, now);
        if (entry === null) break;
        device.tokens--;
        frames.push(frameOf(entry));
        advance(entry, now);
      }
    }
    return frames;
  }

  /** When the two are to be called next; null when there is nothing to announce. */
  nextAt(now: number): number | null {
    let next: number | null = null;
    for (const device of this.#devices.values()) {
      const at = nextOfDevice(device, now);
      if (at !== null && (next === null || at < next)) next = at;
    }
    return next;
  }

  #device(name: string, now: number): Device {
    const known = this.#devices.get(name);
    if (known !== undefined) return known;
    const device: Device = { entries: new Map(), tokens: SLICE_FRAMES, filledAt: now };
    this.#devices.set(name, device);
    return device;
  }
}

function refill(device: Device, now: number): void {
  const earned = Math.max(0, now - device.filledAt) / FRAME_SPACING_MS;
  device.tokens = Math.min(SLICE_FRAMES, device.tokens + earned);
  device.filledAt = Math.max(now, device.filledAt);
}

/**
 * Lower rounds first, so that every VIP has been heard once before any is heard twice; within a round
 * the first form of all before the second form.
 */
function firstDue(device: Device, now: number): Entry | null {
  let best: Entry | null = null;
  for (const entry of device.entries.values()) {
    if (entry.dueAt > now) continue;
    if (best === null || rank(entry) < rank(best)) best = entry;
  }
  return best;
}

const rank = (entry: Entry): number => entry.round * 2 + entry.formIndex;

const frameOf = ({ vip, forms, formIndex }: Entry): DueFrame => ({
  ...vip,
  form: forms[formIndex] ?? 'arp-request',
});

function advance(entry: Entry, now: number): void {
  if (entry.formIndex + 1 < entry.forms.length) {
    entry.formIndex++;
    return;
  }
  entry.formIndex = 0;
  if (entry.resumesAt !== null) {
    entry.dueAt = entry.resumesAt;
    entry.resumesAt = null;
    return;
  }
  entry.round++;
  if (entry.round === ROUNDS_PER_BURST) entry.dueAt = entry.startedAt + SECOND_BURST_MS;
  // From now, not from the last due time: after a long pause one refresh is enough.
  else if (entry.round >= 2 * ROUNDS_PER_BURST) entry.dueAt = now + REFRESH_MS;
}

function nextOfDevice(device: Device, now: number): number | null {
  let dueAt: number | null = null;
  for (const entry of device.entries.values())
    if (dueAt === null || entry.dueAt < dueAt) dueAt = entry.dueAt;
  if (dueAt === null) return null;
  // Half a slice of tokens at a time: few wake-ups, and the pace is kept.
  const missing = Math.max(0, SLICE_FRAMES / 2 - device.tokens);
  const tokensAt = device.tokens >= 1 ? now : device.filledAt + missing * FRAME_SPACING_MS;
  return Math.max(dueAt, tokensAt);
}
