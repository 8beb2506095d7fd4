/** The announcer's contract on the fake and on the real one in network namespaces, and what only Linux shows. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import type { Announcement } from '../../src/ports/announcer.ts';
import { decodeArpFrame } from '../../src/wire/arp.ts';
import { decodeNeighborAdvertisement } from '../../src/wire/ndp.ts';
import { FakeAnnouncer } from '../fakes/fake-announcer.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { announcerContract, type SeenFrame } from './announcer.contract.ts';
import { AnnouncerNamespaces, type CapturedFrame, DEVICE } from './support/announcer-namespaces.ts';

const OLD_MAC = '02:00:00:00:00:99';

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
    frames: async () => {
      await sleep(50); // The capture file lags behind the wire.
      const mac = net.mac();
      return net.captured().flatMap((frame) => seenFrame(frame, mac));
    },
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
    const answer = await net.command({ op: 'announce', vips });
    await sleep(50);
    for (const { address } of vips) expect(net.neighborMac(address)).toBe(net.mac());
    expect(answer.tookMs).toBeLessThan(20);
    await net.command({ op: 'stop', vips });
  });

  test('the advertisement comes from the VIP, not from the link-local address', async () => {
    await net.command({ op: 'announce', vips: [vip('fd90::201')] });
    await sleep(100);
    await net.command({ op: 'stop', vips: [vip('fd90::201')] });
    const sources = net
      .captured()
      .map((frame) => decodeNeighborAdvertisement(frame.bytes))
      .flatMap((decoded) => (decoded.ok && decoded.value.target === 'fd90::201' ? [decoded] : []))
      .map((decoded) => decoded.value.source);
    expect(sources).toEqual(Array(5).fill('fd90::201'));
  });

  test('while the device is down frames are counted as failed; after it is up they flow again', async () => {
    const before = await net.command({ op: 'counters' });
    net.setLink('down');
    await net.command({ op: 'announce', vips: [vip('10.90.0.202')] });
    await sleep(100);
    const down = await net.command({ op: 'counters' });
    expect(down.failed - before.failed).toBe(10);
    net.setLink('up');
    await net.command({ op: 'announce', vips: [vip('10.90.0.202')] });
    await sleep(100);
    expect((await net.command({ op: 'counters' })).sent - down.sent).toBe(10);
    await net.command({ op: 'stop', vips: [vip('10.90.0.202')] });
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

/** Announcements of ours only: gratuitous, and with the announcing device's MAC address. */
function seenFrame(frame: CapturedFrame, mac: string): SeenFrame[] {
  const arp = decodeArpFrame(frame.bytes);
  if (arp.ok && arp.value.senderMac === mac && arp.value.senderIp === arp.value.targetIp)
    return [
      {
        address: arp.value.senderIp,
        form: arp.value.operation === 'request' ? 'arp-request' : 'arp-reply',
        at: frame.at,
      },
    ];
  const advertisement = decodeNeighborAdvertisement(frame.bytes);
  if (advertisement.ok && advertisement.value.targetMac === mac && !advertisement.value.isSolicited)
    return [{ address: advertisement.value.target, form: 'neighbor-advertisement', at: frame.at }];
  return [];
}
