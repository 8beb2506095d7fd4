/** The announcer's contract on the fake and on the real one in network namespaces, and what only Linux shows. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { Announcement } from '../../src/ports/announcer.ts';
import { decodeNeighborAdvertisement } from '../../src/wire/ndp.ts';
import { FakeAnnouncer } from '../fakes/fake-announcer.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { waitFor } from '../support/processes.ts';
import { announcerContract } from './announcer.contract.ts';
import { AnnouncerNamespaces, DEVICE } from './support/announcer-namespaces.ts';

const OLD_MAC = '02:00:00:00:00:99';
/** Longer than any pause of the machine. */
const PATIENCE = { timeoutMs: 10_000, intervalMs: 10 };

announcerContract('fake', async () => {
  const clock = new FakeClock();
  const announcer = new FakeAnnouncer({ clock });
  announcer.failDevice('nowhere0', 'no such device');
  return {
    device: DEVICE,
    announce: async (vips) => announcer.announce(vips),
    repeat: async (vips) => announcer.repeat(vips),
    stop: async (vips) => announcer.stop(vips),
    counters: async () => announcer.counters(),
    latenessMs: 50,
    frames: async () => announcer.frames,
    advance: (ms) => clock.advance(ms),
    close: async () => announcer.close(),
  };
});

announcerContract('AF_PACKET in a network namespace', async () => {
  const net = new AnnouncerNamespaces();
  await net.start();
  return {
    device: DEVICE,
    announce: async (vips) => {
      await net.command({ op: 'announce', vips });
    },
    repeat: async (vips) => {
      await net.command({ op: 'repeat', vips });
    },
    stop: async (vips) => {
      await net.command({ op: 'stop', vips });
    },
    counters: () => net.command({ op: 'counters' }),
    latenessMs: 2_000,
    frames: () => net.announcements(),
    advance: (ms) => sleep(ms),
    close: () => net.stop(),
  };
});

describe('announcements as a Linux neighbour takes them', () => {
  const net = new AnnouncerNamespaces();
  beforeAll(() => net.start());
  afterAll(() => net.stop());

  test('the neighbour table moves to the new holder at once, for IPv4 and IPv6', async () => {
    const vips = [vip('10.90.0.200'), vip('fd90::200')];
    net.bind('10.90.0.200/24');
    net.bind('fd90::200/64');
    for (const { address } of vips) net.setNeighbor(address, OLD_MAC);
    for (const { address } of vips) expect(net.neighborMac(address)).toBe(OLD_MAC);
    const calls = [await net.command({ op: 'announce', vips })];
    for (const { address } of vips)
      await waitFor(
        `the neighbour's entry of ${address} moves`,
        () => net.neighborMac(address) === net.mac(),
        PATIENCE,
      );
    // The shortest of some: the machine may pause in one of them.
    for (let i = 0; i < 4; i++) calls.push(await net.command({ op: 'announce', vips }));
    expect(Math.min(...calls.map(({ tookMs }) => tookMs))).toBeLessThan(20);
    await net.command({ op: 'stop', vips });
  });

  test('the advertisement comes from the VIP, not from the link-local address', async () => {
    const sources = async (): Promise<readonly IpAddress[]> => {
      await net.announcements();
      return net
        .captured()
        .map((frame) => decodeNeighborAdvertisement(frame.bytes))
        .flatMap((heard) => (heard.ok && heard.value.target === 'fd90::201' ? [heard] : []))
        .map((heard) => heard.value.source);
    };
    await net.command({ op: 'announce', vips: [vip('fd90::201')] });
    await waitFor('it is said five times', async () => (await sources()).length >= 5, PATIENCE);
    await net.command({ op: 'stop', vips: [vip('fd90::201')] });
    expect(await sources()).toEqual(Array(5).fill('fd90::201'));
  });

  test('while the device is down frames are counted as failed; after it is up they flow again', async () => {
    const before = await net.command({ op: 'counters' });
    net.setLink('down');
    const burst = async (kind: 'sent' | 'failed', from: number): Promise<void> => {
      await net.command({ op: 'announce', vips: [vip('10.90.0.202')] });
      const isOver = async () => (await net.command({ op: 'counters' }))[kind] >= from + 10;
      await waitFor(`ten frames are ${kind}`, isOver, PATIENCE);
    };
    await burst('failed', before.failed);
    const down = await net.command({ op: 'counters' });
    expect(down).toMatchObject({ sent: before.sent, failed: before.failed + 10 });
    net.setLink('up');
    await burst('sent', down.sent);
    const up = await net.command({ op: 'stop', vips: [vip('10.90.0.202')] });
    expect(up).toMatchObject({ sent: down.sent + 10, failed: down.failed });
  });
});

function vip(text: string): Announcement {
  return { device: DEVICE, address: ip(text) };
}

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}
