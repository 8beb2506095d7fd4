import { describe, expect, test } from 'vitest';
import {
  AnnounceSchedule,
  type DueFrame,
  FRAME_SPACING_MS,
  REFRESH_MS,
  SECOND_BURST_MS,
  SLICE_FRAMES,
} from '../../../../src/adapters/announce/schedule.ts';
import { formatIp } from '../../../../src/model/address.ts';
import type { Announcement } from '../../../../src/ports/announcer.ts';

type Sent = DueFrame & { readonly at: number };

const v4 = (n: number, device = 'eth0'): Announcement => ({
  device,
  address: formatIp(Uint8Array.of(10, 0, n >>> 8, n & 0xff)),
});
const v6 = (n: number, device = 'eth0'): Announcement => {
  const bytes = new Uint8Array(16);
  bytes[0] = 0xfd;
  bytes[15] = n;
  return { device, address: formatIp(bytes) };
};

/** Follows `nextAt` from `from` to `until`, as the announcer does. */
function run(schedule: AnnounceSchedule, from: number, until: number): Sent[] {
  const sent: Sent[] = [];
  let now = from;
  for (let turns = 0; turns < 100_000; turns++) {
    const frames = [...schedule.takeFirst(now, 256), ...schedule.takeDue(now, 32)];
    for (const frame of frames) sent.push({ ...frame, at: now });
    const next = schedule.nextAt(now);
    if (next === null || next > until) return sent;
    now = Math.max(now + 1, next);
  }
  throw new Error('the schedule does not come to rest');
}

describe('AnnounceSchedule', () => {
  test('sends 5 rounds at once, 5 more after 5 s, then one every 30 s', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v6(1)], 1_000);
    const times = run(schedule, 1_000, 100_000).map((frame) => frame.at - 1_000);
    expect(times.slice(0, 5).every((at) => at < 20)).toBe(true);
    expect(times.slice(5, 10).every((at) => at >= SECOND_BURST_MS && at < 5_020)).toBe(true);
    expect(times.slice(10).map((at) => Math.floor(at / 1000))).toEqual([35, 65, 95]);
  });

  test('says an announced VIP once more when told, and goes on as it was due', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v6(1)], 1_000);
    const times = run(schedule, 1_000, 3_000).map((frame) => frame.at - 1_000);
    for (const at of [4_000, 30_000]) {
      schedule.repeat([v6(1), v6(2)], at);
      schedule.repeat([v6(1)], at);
      times.push(...run(schedule, at, at + 20_000).map((frame) => frame.at - 1_000));
    }
    times.push(...run(schedule, 61_000, 70_000).map((frame) => frame.at - 1_000));
    expect(times.map((at) => Math.floor(at / 1000))).toEqual([
      ...Array(5).fill(0),
      3,
      ...Array(5).fill(5),
      29,
      35,
      65,
    ]);
  });

  test('an IPv4 round has both forms, the request of every VIP before the reply of any', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v4(1), v4(2)], 0);
    const first = run(schedule, 0, 100).slice(0, 4);
    expect(first.map((frame) => `${frame.address} ${frame.form}`)).toEqual([
      '10.0.0.1 arp-request',
      '10.0.0.2 arp-request',
      '10.0.0.1 arp-reply',
      '10.0.0.2 arp-reply',
    ]);
  });

  test('has every VIP heard at once, and then no more than one frame per ms and device beyond the slice', () => {
    const schedule = new AnnounceSchedule();
    const vips = Array.from({ length: 200 }, (_, n) => v4(n));
    schedule.add(vips, 0);
    const sent = run(schedule, 0, 4_900);
    expect(sent).toHaveLength(200 * 2 * 5);
    const [first, rest] = [sent.slice(0, 200), sent.slice(200)];
    expect(new Set(first.map((frame) => frame.address)).size).toBe(200);
    for (const frame of first) expect([frame.form, frame.at]).toEqual(['arp-request', 0]);
    for (const [i, frame] of rest.entries())
      expect(i + 1).toBeLessThanOrEqual(SLICE_FRAMES + frame.at / FRAME_SPACING_MS);
  });

  test('first frames beyond what fits at once go next, and none goes twice', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v4(1), v4(2), v4(3)], 0);
    expect(schedule.takeFirst(0, 2).map((frame) => frame.address)).toEqual([
      v4(1).address,
      v4(2).address,
    ]);
    expect(schedule.nextAt(0)).toBe(0);
    expect(schedule.takeFirst(1, 2)).toEqual([{ ...v4(3), form: 'arp-request' }]);
    expect(schedule.takeFirst(2, 2)).toEqual([]);
  });

  test('devices are paced independently', () => {
    const schedule = new AnnounceSchedule();
    const on = (device: string): Announcement[] =>
      Array.from({ length: 50 }, (_, n) => v6(n, device));
    schedule.add([...on('a'), ...on('b')], 0);
    const sent = run(schedule, 0, 4_000);
    for (const device of ['a', 'b']) {
      const last = sent.filter((frame) => frame.device === device).at(-1);
      expect(last?.at).toBeLessThanOrEqual(5 * 50);
    }
  });

  test('a VIP announced while another burst runs is not queued behind its later rounds', () => {
    const schedule = new AnnounceSchedule();
    schedule.add(
      Array.from({ length: 100 }, (_, n) => v6(n)),
      0,
    );
    run(schedule, 0, 200);
    schedule.add([v6(200)], 205);
    const sent = run(schedule, 205, 230);
    expect(sent.findIndex((frame) => frame.address === v6(200).address)).toBeLessThan(4);
  });

  test('announcing again starts the burst anew', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v6(1)], 0);
    run(schedule, 0, 20_000);
    schedule.add([v6(1)], 20_000);
    const times = run(schedule, 20_000, 40_000).map((frame) => frame.at);
    expect(times).toHaveLength(10);
    expect(times.filter((at) => at < 20_100)).toHaveLength(5);
  });

  test('removal cancels the rest, also in the middle of a round; unknown VIPs are ignored', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v4(1), v4(2)], 0);
    expect(schedule.takeDue(0, 1)).toHaveLength(1);
    schedule.remove([v4(1), v4(9), v4(1, 'other')]);
    expect(new Set(run(schedule, 0, 60_000).map((frame) => frame.address))).toEqual(
      new Set([v4(2).address]),
    );
    schedule.remove([v4(2)]);
    expect(schedule.nextAt(60_000)).toBeNull();
    expect(schedule.takeDue(1e9, 32)).toEqual([]);
  });

  test('after a long pause of the process one refresh is sent, not the backlog', () => {
    const schedule = new AnnounceSchedule();
    schedule.add([v6(1)], 0);
    run(schedule, 0, 6_000);
    const late = 6_000 + 10 * REFRESH_MS;
    expect(run(schedule, late, late + 1_000)).toHaveLength(1);
  });

  test('respects the limit of a slice', () => {
    const schedule = new AnnounceSchedule();
    for (let n = 0; n < 10; n++) schedule.add([v6(1, `eth${n}`)], 0);
    expect(schedule.takeDue(0, 32)).toHaveLength(32);
  });
});
