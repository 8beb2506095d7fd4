/** The fence contract on the fake of the simulator; `nft-fence.test.ts` runs it on Linux. */
import { describe, expect, test } from 'vitest';
import { formatIp, formatMac } from '../../src/model/address.ts';
import type { FenceDevice } from '../../src/ports/fence.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeFence } from '../fakes/fake-fence.ts';
import { adding, change, fenceCases } from './fence.contract.ts';

const DEVICE: FenceDevice = { index: 2, name: 'eth0' };
const OTHER: FenceDevice = { index: 3, name: 'eth1' };
const VIP = formatIp(Uint8Array.of(10, 90, 0, 100));
const VIP6 = formatIp(Uint8Array.of(0xfd, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0));
const NEIGHBOUR = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 1));
const OWN = formatIp(Uint8Array.of(10, 90, 0, 11));

describe.each([0, 4])('fence contract: fake, elements die %i ms late', (latenessMs) => {
  for (const { name, run } of fenceCases)
    test(name, async () => {
      const clock = new FakeClock();
      const fence = new FakeFence(clock, {
        devices: [DEVICE, OTHER],
        latenessMs: () => latenessMs,
      });
      let device = DEVICE;
      await run({
        fence,
        successor: () => fence,
        device,
        otherDevice: OTHER,
        vips: [VIP, VIP6],
        ownAddress: OWN,
        neighbour: NEIGHBOUR,
        now: () => clock.now(),
        advance: (ms) => clock.advance(ms),
        speaks: async (address) => fence.takes(address, NEIGHBOUR, device.index),
        answers: async (address) => fence.answers(address, device.index),
        flush: async () => fence.flush(),
        recreateDevice: async () => {
          fence.removeDevice(device.index);
          device = { index: 9, name: device.name };
          fence.addDevice(device);
          return device;
        },
      });
    });
});

describe('what only the fake can do', () => {
  test('an injected failure hits one call and changes nothing', async () => {
    const fence = new FakeFence(new FakeClock());
    await fence.install([DEVICE]);
    fence.failNext({ code: 'TIMEOUT', message: 'no answer' });
    expect(await fence.commit(change({ managed: adding(VIP) }))).toMatchObject({
      error: { code: 'TIMEOUT' },
    });
    expect(await fence.observe()).toMatchObject({ value: { managed: new Set() } });
    expect(fence.counters.commits).toBe(0);
  });

  test('a machine with a clock of its own counts lives by that clock', async () => {
    const clock = new FakeClock();
    const fence = new FakeFence(clock.derive({ rate: 0.5 }));
    await fence.install([DEVICE]);
    await fence.commit(
      change({
        managed: adding(VIP),
        enabled: adding(VIP),
        alive: { linkIndexes: [DEVICE.index], timeoutMs: 100 },
      }),
    );
    await clock.advance(199);
    expect(fence.speaks(VIP, DEVICE.index)).toBe(true);
    await clock.advance(2);
    expect(fence.speaks(VIP, DEVICE.index)).toBe(false);
  });
});
