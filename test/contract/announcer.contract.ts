/** What every Announcer does, the fake of the simulator included. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FrameForm } from '../../src/adapters/announce/schedule.ts';
import { formatIp, type IpAddress } from '../../src/model/address.ts';
import type { Announcement } from '../../src/ports/announcer.ts';
import { waitUntil } from './contract-case.ts';

export type SeenFrame = {
  readonly address: IpAddress;
  readonly form: FrameForm;
  /** Milliseconds, any zero. */
  readonly at: number;
};

export interface AnnouncerHarness {
  readonly device: string;
  announce(vips: readonly Announcement[]): Promise<void>;
  repeat(vips: readonly Announcement[]): Promise<void>;
  stop(vips: readonly Announcement[]): Promise<void>;
  counters(): Promise<{ readonly sent: number; readonly failed: number }>;
  /** How far from its time a frame may leave and be seen: of a machine that pauses, no fault of the announcer. */
  readonly latenessMs: number;
  /** What a neighbour has seen since the start: all that was sent until the call. */
  frames(): Promise<readonly SeenFrame[]>;
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

export function announcerContract(name: string, create: () => Promise<AnnouncerHarness>): void {
  describe(`announcer contract: ${name}`, () => {
    let harness: AnnouncerHarness;
    beforeAll(async () => {
      harness = await create();
    });
    afterAll(() => harness.close());

    const v4 = (n: number): Announcement => ({
      device: harness.device,
      address: formatIp(Uint8Array.of(10, 90, n >>> 8, n & 0xff)),
    });
    const v6 = (n: number): Announcement => {
      const bytes = new Uint8Array(16);
      bytes.set([0xfd, 0x90, n >>> 8, n & 0xff]);
      return { device: harness.device, address: formatIp(bytes) };
    };
    const framesOf = async (vip: Announcement): Promise<readonly SeenFrame[]> =>
      (await harness.frames()).filter((frame) => frame.address === vip.address);
    /** Until so many were seen of each VIP, and then some time for one too many. */
    const waitForFrames = async (
      counts: readonly (readonly [vip: Announcement, count: number])[],
    ): Promise<void> => {
      await waitUntil(harness, async () => {
        for (const [vip, count] of counts) if ((await framesOf(vip)).length < count) return false;
        return true;
      });
      await harness.advance(100);
    };

    test('5 rounds at once, 5 more after 5 s, and stop cancels the refresh', async () => {
      const vips = [v4(100), v6(100)];
      await harness.announce(vips);
      await waitForFrames([
        [v4(100), 10],
        [v6(100), 5],
      ]);
      expect(await framesOf(v4(100))).toHaveLength(10);
      expect((await framesOf(v6(100))).map((frame) => frame.form)).toEqual(
        Array(5).fill('neighbor-advertisement'),
      );
      await waitForFrames([
        [v4(100), 20],
        [v6(100), 10],
      ]);
      await harness.stop(vips);
      const seen = await framesOf(v4(100));
      expect(seen.filter((frame) => frame.form === 'arp-request')).toHaveLength(10);
      expect(seen.filter((frame) => frame.form === 'arp-reply')).toHaveLength(10);
      const gap = (seen[10]?.at ?? 0) - (seen[0]?.at ?? 0);
      expect(Math.abs(gap - 5_000)).toBeLessThan(harness.latenessMs);
      expect(await framesOf(v6(100))).toHaveLength(10);
    });

    test('what is announced already is said once more, and what is not stays unsaid', async () => {
      const vips = [v4(105), v6(105)];
      await harness.announce(vips);
      await waitForFrames([
        [v4(105), 10],
        [v6(105), 5],
      ]);
      await harness.repeat([...vips, v4(106)]);
      await waitForFrames([
        [v4(105), 12],
        [v6(105), 6],
      ]);
      await harness.stop(vips);
      expect((await framesOf(v4(105))).slice(10).map((frame) => frame.form)).toEqual([
        'arp-request',
        'arp-reply',
      ]);
      expect(await framesOf(v6(105))).toHaveLength(6);
      expect(await framesOf(v4(106))).toEqual([]);
    });

    test('100 VIPs are paced, and each is heard once before any is heard five times', async () => {
      const vips = Array.from({ length: 100 }, (_, n) => v4(0x100 + n));
      const wanted = new Set(vips.map((vip) => vip.address));
      const seenNow = async (): Promise<readonly SeenFrame[]> =>
        (await harness.frames()).filter((frame) => wanted.has(frame.address));
      await harness.announce(vips);
      await waitUntil(harness, async () => (await seenNow()).length >= 1_000);
      await harness.advance(100);
      await harness.stop(vips);
      const seen = await seenNow();
      expect(seen).toHaveLength(1_000);
      expect(new Set(seen.slice(0, 100).map((frame) => frame.address)).size).toBe(100);
      // The first of each leave at once, the other nine hundred one a millisecond.
      expect((seen.at(-1)?.at ?? 0) - (seen[0]?.at ?? 0)).toBeGreaterThan(850);
    });

    test('nothing leaves for a VIP that was stopped', async () => {
      await harness.announce([v4(101), v4(102)]);
      await harness.stop([v4(101), v4(102), v4(103)]);
      await harness.advance(50);
      const before = (await framesOf(v4(101))).length;
      await harness.advance(300);
      expect(await framesOf(v4(101))).toHaveLength(before);
    });

    test('a device that does not exist is counted, never thrown', async () => {
      const before = await harness.counters();
      const vip = { device: 'nowhere0', address: v4(104).address };
      await harness.announce([vip]);
      await waitUntil(harness, async () => (await harness.counters()).failed >= before.failed + 10);
      await harness.advance(100);
      await harness.stop([vip]);
      const after = await harness.counters();
      expect(after.failed - before.failed).toBe(10);
      expect(after.sent).toBe(before.sent);
    });
  });
}
