import { describe, expect, test } from 'vitest';
import { formatIp } from '../../../../src/model/address.ts';
import type { Announcement } from '../../../../src/ports/announcer.ts';
import type { Log } from '../../../../src/ports/log.ts';
import { FakeAnnouncer } from '../../../fakes/fake-announcer.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

const VIP: Announcement = { device: 'eth0', address: formatIp(Uint8Array.of(10, 0, 0, 1)) };

function recordingLog(): { lines: string[]; log: Log } {
  const lines: string[] = [];
  const note =
    (level: string) =>
    (fields: object, event: string): void => {
      lines.push(`${level} ${event} ${JSON.stringify(fields)}`);
    };
  const log: Log = {
    error: note('error'),
    warn: note('warn'),
    info: note('info'),
    debug: note('debug'),
    child: () => log,
  };
  return { lines, log };
}

describe('PacedAnnouncer', () => {
  test('the first frames leave before announce returns', () => {
    const announcer = new FakeAnnouncer({ clock: new FakeClock() });
    announcer.announce([VIP]);
    expect(announcer.frames[0]).toMatchObject({ ...VIP, form: 'arp-request', at: 0 });
  });

  test('the first frame of every VIP leaves before announce returns, before the second of any', () => {
    const announcer = new FakeAnnouncer({ clock: new FakeClock() });
    const vips = Array.from({ length: 255 }, (_, n) => ({
      ...VIP,
      address: formatIp(Uint8Array.of(10, 0, 1, n)),
    }));
    announcer.announce(vips);
    expect(announcer.frames.slice(0, 255).map((frame) => frame.address)).toEqual(
      vips.map((vip) => vip.address),
    );
    for (const { form, at } of announcer.frames.slice(0, 255))
      expect([form, at]).toEqual(['arp-request', 0]);
  });

  test('counts what was sent and what was refused, and logs only transitions', async () => {
    const clock = new FakeClock();
    const { lines, log } = recordingLog();
    const announcer = new FakeAnnouncer({ clock, log });
    announcer.failDevice('eth0', 'the device is down (ENETDOWN)');
    announcer.announce([VIP]);
    await clock.advance(1_000);
    expect(announcer.counters()).toEqual({ sent: 0, failed: 10 });
    announcer.failDevice('eth0', null);
    await clock.advance(5_000);
    expect(announcer.counters()).toEqual({ sent: 10, failed: 10 });
    expect(lines).toEqual([
      'warn announcement.failed {"device":"eth0","error":"the device is down (ENETDOWN)"}',
      'info announcement.recovered {"device":"eth0"}',
    ]);
  });

  test('a device that fails does not hold up the others', async () => {
    const clock = new FakeClock();
    const announcer = new FakeAnnouncer({ clock });
    announcer.failDevice('eth0', 'the device is down (ENETDOWN)');
    announcer.announce([VIP, { ...VIP, device: 'eth1' }]);
    await clock.advance(100);
    expect(announcer.frames.map((frame) => frame.device)).toEqual(Array(10).fill('eth1'));
  });

  test('stop and close leave no timer behind', async () => {
    const clock = new FakeClock();
    const announcer = new FakeAnnouncer({ clock });
    announcer.announce([VIP]);
    announcer.stop([VIP]);
    expect(clock.pending).toBe(0);
    announcer.announce([VIP]);
    announcer.close();
    announcer.announce([VIP]);
    expect(clock.pending).toBe(0);
  });
});
