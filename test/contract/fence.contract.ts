/** What every Fence does; runs on the fake and, in a network namespace, on Linux. */
import assert from 'node:assert/strict';
import type { Result } from '../../src/lib/result.ts';
import { formatIp, formatMac, type IpAddress, type MacAddress } from '../../src/model/address.ts';
import type { KernelError } from '../../src/model/kernel.ts';
import type {
  Fence,
  FenceChange,
  FenceContents,
  FenceDevice,
  FenceSetChange,
} from '../../src/ports/fence.ts';
import type { ContractCase } from './contract-case.ts';

export type FenceWorld = {
  readonly fence: Fence;
  /** What a new process of this machine gets. */
  readonly successor: () => Fence;
  /** Up, with the VIPs and an address of its own bound to it. */
  readonly device: FenceDevice;
  readonly otherDevice: FenceDevice;
  readonly vips: readonly [IpAddress, IpAddress];
  readonly ownAddress: IpAddress;
  /** MAC of the neighbour that `speaks` and `answers` ask as. */
  readonly neighbour: MacAddress;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly advance: (ms: number) => Promise<void>;
  /** Does the address take and send IP for a neighbour that knows its MAC? */
  readonly speaks: (address: IpAddress) => Promise<boolean>;
  /** Does it answer ARP or ND? */
  readonly answers: (address: IpAddress) => Promise<boolean>;
  readonly flush: () => Promise<void>;
  /** Another device of the same name, with the same addresses. */
  readonly recreateDevice: () => Promise<FenceDevice>;
};

const NONE: FenceSetChange<never> = { add: [], remove: [] };
/** Room for elements that die one tick early or late. */
const LATENESS_MS = 10;
const LONG_MS = 60_000;

export const change = (more: Partial<FenceChange>): FenceChange => ({
  permit: null,
  alive: null,
  managed: NONE,
  enabled: NONE,
  muted: NONE,
  served: NONE,
  directors: NONE,
  ...more,
});

export const alive = (world: FenceWorld, timeoutMs: number): Partial<FenceChange> => ({
  alive: { linkIndexes: [world.device.index], timeoutMs },
});
export const adding = (...add: readonly IpAddress[]): FenceSetChange => ({ add, remove: [] });
export const removing = (...remove: readonly IpAddress[]): FenceSetChange => ({ add: [], remove });

export function succeeded<T>(result: Result<T, KernelError>): T {
  if (!result.ok) assert.fail(`${result.error.code}: ${result.error.message}`);
  return result.value;
}

export const codeOf = (result: Result<unknown, KernelError>): string | null =>
  result.ok ? null : result.error.code;

export async function contentsOf(fence: Fence): Promise<FenceContents> {
  const contents = succeeded(await fence.observe());
  return contents ?? assert.fail('nothing complete is installed');
}

const sorted = (addresses: ReadonlySet<IpAddress>): readonly IpAddress[] =>
  [...addresses].toSorted();

/** Installed on the device, both VIPs managed; further parts of a commit as given. */
export async function prepare(world: FenceWorld, more: Partial<FenceChange> = {}): Promise<void> {
  const { fence, device, vips } = world;
  succeeded(await fence.install([device]));
  succeeded(await fence.commit(change({ managed: adding(...vips), ...more })));
}

export async function voicesOf(world: FenceWorld): Promise<readonly boolean[]> {
  const voices: boolean[] = [];
  for (const vip of world.vips) voices.push(await world.speaks(vip), await world.answers(vip));
  return voices;
}

/** Of a director that is not there. */
const STRANGER = formatMac(Uint8Array.of(2, 0, 0, 0, 0, 99));
export const SILENT = [false, false, false, false];
export const OPEN = [true, true, true, true];
export const MUTED = [true, false, true, false];

export const fenceCases: readonly ContractCase<FenceWorld>[] = [
  {
    name: 'before the installation there is nothing, and everything else is MISSING',
    run: async ({ fence }) => {
      assert.equal(succeeded(await fence.observe()), null);
      assert.equal(codeOf(await fence.permit(1, 100)), 'MISSING');
      assert.equal(codeOf(await fence.commit(change({ permit: 1 }))), 'MISSING');
      assert.equal(codeOf(await fence.commit(change({}))), 'MISSING');
      succeeded(await fence.uninstall());
    },
  },
  {
    name: 'a managed address is silent, others of the device are not',
    run: async (world) => {
      assert.deepEqual(await voicesOf(world), OPEN);
      await prepare(world);
      assert.deepEqual(await voicesOf(world), SILENT);
      assert.equal(await world.speaks(world.ownAddress), true);
      assert.equal(await world.answers(world.ownAddress), true);
      const seen = await contentsOf(world.fence);
      assert.deepEqual(sorted(seen.managed), world.vips.toSorted());
      assert.deepEqual([seen.devices, [...seen.enabled]], [[world.device], []]);
    },
  },
  {
    name: 'it speaks while it is enabled and its interface is alive, not with one of them',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(...vips) });
      assert.deepEqual(await voicesOf(world), SILENT);
      succeeded(await fence.commit(change({ ...alive(world, LONG_MS) })));
      assert.deepEqual(await voicesOf(world), OPEN);
      succeeded(await fence.commit(change({ enabled: removing(vips[0]) })));
      assert.deepEqual(await voicesOf(world), [false, false, true, true]);
      assert.deepEqual([...(await contentsOf(fence)).enabled], [vips[1]]);
    },
  },
  {
    name: 'a muted address speaks IP and answers neither ARP nor ND',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, LONG_MS) });
      succeeded(await fence.commit(change({ muted: adding(...vips) })));
      assert.deepEqual(await voicesOf(world), MUTED);
      assert.deepEqual(sorted((await contentsOf(fence)).muted), vips.toSorted());
      succeeded(await fence.commit(change({ muted: removing(...vips) })));
      assert.deepEqual(await voicesOf(world), OPEN);
    },
  },
  {
    name: 'a served address takes and sends IP for other directors alone while it is silent',
    run: async (world) => {
      const { fence, vips, neighbour } = world;
      const [first, second] = vips;
      await prepare(world, { served: adding(...vips) });
      assert.deepEqual(await voicesOf(world), SILENT);
      succeeded(await fence.commit(change({ directors: { add: [STRANGER], remove: [] } })));
      assert.deepEqual(await voicesOf(world), SILENT);
      succeeded(await fence.commit(change({ directors: { add: [neighbour], remove: [] } })));
      assert.deepEqual(await voicesOf(world), [true, false, true, false]);
      const seen = await contentsOf(fence);
      assert.deepEqual(sorted(seen.served), vips.toSorted());
      assert.deepEqual([...seen.directors].toSorted(), [STRANGER, neighbour].toSorted());
      succeeded(await fence.commit(change({ served: removing(first) })));
      assert.deepEqual(await voicesOf(world), [false, false, true, false]);
      succeeded(await fence.commit(change({ directors: { add: [], remove: [neighbour] } })));
      assert.deepEqual(await voicesOf(world), SILENT);
      assert.deepEqual([...(await contentsOf(fence)).served], [second]);
    },
  },
  {
    name: 'a served address speaks for everybody while it is held',
    run: async (world) => {
      const { fence, vips, neighbour } = world;
      const directors = { add: [STRANGER], remove: [] };
      await prepare(world, { served: adding(...vips), directors, enabled: adding(...vips) });
      assert.deepEqual(await voicesOf(world), SILENT);
      succeeded(await fence.commit(change(alive(world, LONG_MS))));
      assert.deepEqual(await voicesOf(world), OPEN);
      succeeded(await fence.commit(change({ muted: adding(...vips) })));
      assert.deepEqual(await voicesOf(world), MUTED);
      // Its life ends by itself: what is left is the real server.
      const renewal = { ...alive(world, 50), directors: { add: [neighbour], remove: [STRANGER] } };
      succeeded(await fence.commit(change({ ...renewal, muted: removing(...vips) })));
      await world.advance(100);
      assert.deepEqual(await voicesOf(world), MUTED);
    },
  },
  {
    name: 'without renewal it falls silent when its time is over',
    run: async (world) => {
      const { fence, vips } = world;
      // No pause is as long as that: it is heard at least once.
      const lifeMs = 600;
      await prepare(world, { enabled: adding(...vips) });
      const from = world.now();
      succeeded(await fence.commit(change(alive(world, lifeMs))));
      const until = world.now() + lifeMs;
      let heard = 0;
      for (let asked = from; asked < until + 50; ) {
        asked = world.now();
        const speaks = await world.speaks(vips[0]);
        const answered = world.now();
        // It may have been armed at any time of the call, and asked at any time of the question.
        const isInTime = speaks
          ? asked <= until + LATENESS_MS
          : answered >= from + lifeMs - LATENESS_MS;
        assert.ok(isInTime, `speaks: ${speaks}, ${asked - from} to ${answered - from} ms after`);
        if (speaks) heard++;
        await world.advance(2);
      }
      assert.ok(heard > 0, 'it never spoke');
      assert.deepEqual(await voicesOf(world), SILENT);
    },
  },
  {
    name: 'renewed in time it speaks without a gap, and renewed late it speaks again',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, 4000) });
      for (let i = 0; i < 2; i++) {
        // Seen before each renewal: adding alone would not prolong a life that has not ended.
        await world.advance(2050);
        assert.deepEqual(await voicesOf(world), OPEN);
        succeeded(await fence.commit(change(alive(world, 4000))));
      }
      succeeded(await fence.commit(change(alive(world, 50))));
      await world.advance(100);
      assert.deepEqual(await voicesOf(world), SILENT);
      succeeded(await fence.commit(change(alive(world, LONG_MS))));
      assert.deepEqual(await voicesOf(world), OPEN);
    },
  },
  {
    name: 'it tells how long its interfaces are alive yet',
    run: async (world) => {
      const { fence, device } = world;
      const leftMs = async (): Promise<number | undefined> => {
        const lifetimes = await fence.lifetimes();
        assert.ok(lifetimes.ok);
        return lifetimes.value.get(device.index);
      };
      await prepare(world, { enabled: adding(...world.vips) });
      assert.equal(await leftMs(), undefined);
      const before = world.now();
      succeeded(await fence.commit(change(alive(world, 4000))));
      await world.advance(300);
      const left = (await leftMs()) ?? 0;
      assert.ok(left > 0 && left <= 3700 + LATENESS_MS, `${left} ms`);
      assert.ok(left >= 4000 - (world.now() - before) - LATENESS_MS, `${left} ms`);
      succeeded(await fence.commit(change(alive(world, 50))));
      await world.advance(100);
      assert.equal(await leftMs(), undefined);
    },
  },
  {
    name: 'a renewal can shorten a life',
    run: async (world) => {
      await prepare(world, { enabled: adding(...world.vips), ...alive(world, LONG_MS) });
      succeeded(await world.fence.commit(change(alive(world, 50))));
      await world.advance(100);
      assert.deepEqual(await voicesOf(world), SILENT);
    },
  },
  {
    name: 'a permit is good for one batch, and each for its own round',
    run: async (world) => {
      const { fence } = world;
      await prepare(world);
      succeeded(await fence.permit(1, LONG_MS));
      succeeded(await fence.permit(2, LONG_MS));
      succeeded(await fence.commit(change({ permit: 1 })));
      assert.equal(codeOf(await fence.commit(change({ permit: 1 }))), 'LATE');
      assert.equal(codeOf(await fence.commit(change({ permit: 3 }))), 'LATE');
      succeeded(await fence.commit(change({ permit: 2 })));
      succeeded(await fence.permit(4_294_967_295, LONG_MS));
      succeeded(await fence.commit(change({ permit: 4_294_967_295 })));
    },
  },
  {
    name: 'with a permit that has died nothing changes',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(vips[1]) });
      succeeded(await fence.permit(5, 20));
      await world.advance(60);
      const late = change({
        permit: 5,
        ...alive(world, LONG_MS),
        managed: removing(vips[0]),
        enabled: { add: [vips[0]], remove: [vips[1]] },
        muted: adding(vips[0]),
      });
      assert.equal(codeOf(await fence.commit(late)), 'LATE');
      const seen = await contentsOf(fence);
      assert.deepEqual(sorted(seen.managed), vips.toSorted());
      assert.deepEqual([[...seen.enabled], [...seen.muted]], [[vips[1]], []]);
      assert.deepEqual(await voicesOf(world), SILENT);
    },
  },
  {
    name: 'a permit that is given again lives from then on',
    run: async (world) => {
      const { fence } = world;
      await prepare(world);
      succeeded(await fence.permit(6, 50));
      succeeded(await fence.permit(6, LONG_MS));
      await world.advance(100);
      succeeded(await fence.commit(change({ permit: 6 })));
    },
  },
  {
    name: 'times that kernels cannot count are LATE',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(...vips) });
      for (const timeoutMs of [9.9, 0, -50]) {
        assert.equal(codeOf(await fence.permit(7, timeoutMs)), 'LATE');
        assert.equal(codeOf(await fence.commit(change(alive(world, timeoutMs)))), 'LATE');
      }
      assert.deepEqual(await voicesOf(world), SILENT);
    },
  },
  {
    name: 'what is there may be added, what is not there may be removed',
    run: async (world) => {
      const { fence, vips } = world;
      const [first, second] = vips;
      await prepare(world, { enabled: adding(first), muted: adding(first) });
      for (let i = 0; i < 2; i++)
        succeeded(
          await fence.commit(
            change({
              managed: adding(...vips),
              enabled: { add: [second], remove: [first] },
              muted: removing(...vips),
            }),
          ),
        );
      const seen = await contentsOf(fence);
      assert.deepEqual([[...seen.enabled], [...seen.muted]], [[second], []]);
      succeeded(await fence.commit(change({ managed: removing(...vips) })));
      assert.deepEqual((await contentsOf(fence)).managed.size, 0);
      assert.deepEqual(await voicesOf(world), OPEN);
    },
  },
  {
    name: 'a second installation keeps what is there, and so does a new process',
    run: async (world) => {
      const { fence, device, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, LONG_MS) });
      succeeded(await fence.install([device]));
      assert.deepEqual(await voicesOf(world), OPEN);
      const successor = world.successor();
      const seen = await contentsOf(successor);
      assert.deepEqual(sorted(seen.enabled), vips.toSorted());
      succeeded(await successor.install([device]));
      assert.deepEqual(await voicesOf(world), OPEN);
      succeeded(await successor.commit(change({ ...alive(world, 50) })));
      await world.advance(100);
      assert.deepEqual(await voicesOf(world), SILENT);
      successor.close();
    },
  },
  {
    name: 'devices come and go, with all else kept; one that is missing changes nothing',
    run: async (world) => {
      const { fence, device, otherDevice, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, LONG_MS) });
      succeeded(await fence.install([device, otherDevice]));
      assert.deepEqual(await voicesOf(world), OPEN);
      const both = [device, otherDevice].toSorted((a, b) => a.index - b.index);
      assert.deepEqual((await contentsOf(fence)).devices, both);
      const refused = await fence.install([device, { index: 999, name: 'nowhere0' }]);
      assert.equal(codeOf(refused), 'ENODEV');
      assert.match(refused.ok ? '' : refused.error.message, /nowhere0/);
      assert.deepEqual((await contentsOf(fence)).devices, both);
      succeeded(await fence.install([device]));
      assert.deepEqual((await contentsOf(fence)).devices, [device]);
      assert.deepEqual(sorted((await contentsOf(fence)).enabled), vips.toSorted());
    },
  },
  {
    name: 'flushed by somebody else: MISSING, nothing is there, and it can be installed again',
    run: async (world) => {
      const { fence, device, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, LONG_MS) });
      succeeded(await fence.permit(1, LONG_MS));
      await world.flush();
      const armed = change({ permit: 1, ...alive(world, LONG_MS), enabled: adding(...vips) });
      assert.equal(codeOf(await fence.commit(armed)), 'MISSING');
      assert.equal(codeOf(await fence.commit(change({ permit: 1 }))), 'MISSING');
      assert.equal(codeOf(await fence.commit(change({ muted: removing(...vips) }))), 'MISSING');
      assert.equal(codeOf(await fence.permit(2, LONG_MS)), 'MISSING');
      assert.equal(succeeded(await fence.observe()), null);
      succeeded(await fence.install([device]));
      const seen = await contentsOf(fence);
      assert.deepEqual([seen.managed.size, seen.enabled.size, seen.muted.size], [0, 0, 0]);
    },
  },
  {
    name: 'is as it was left after changes of its own, and not after those of others',
    run: async (world) => {
      const { fence, device, vips } = world;
      assert.equal(fence.isAsLeft(), false);
      await prepare(world, {});
      succeeded(await fence.observe());
      assert.equal(fence.isAsLeft(), true);
      for (let round = 1; round <= 3; round++) {
        succeeded(await fence.permit(round, LONG_MS));
        const enabled = round === 2 ? removing(...vips) : adding(...vips);
        succeeded(await fence.commit(change({ permit: round, ...alive(world, LONG_MS), enabled })));
        assert.equal(fence.isAsLeft(), true);
      }
      await world.flush();
      assert.equal(fence.isAsLeft(), false);
      succeeded(await fence.install([device]));
      assert.equal(fence.isAsLeft(), false);
      succeeded(await fence.observe());
      assert.equal(fence.isAsLeft(), true);
    },
  },
  {
    name: 'a device that was made anew is not fenced until the next installation, and silent after',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world, { enabled: adding(...vips), ...alive(world, LONG_MS) });
      const device = await world.recreateDevice();
      assert.notEqual(device.index, world.device.index);
      assert.equal(succeeded(await fence.observe()), null);
      succeeded(await fence.install([device]));
      const seen = await contentsOf(fence);
      assert.deepEqual([seen.devices, sorted(seen.managed)], [[device], vips.toSorted()]);
      assert.deepEqual(await voicesOf(world), SILENT);
      const renewal = { linkIndexes: [device.index], timeoutMs: LONG_MS };
      succeeded(await fence.commit(change({ alive: renewal })));
      assert.deepEqual(await voicesOf(world), OPEN);
    },
  },
  {
    name: 'an observation beside a change shows all of it or nothing',
    run: async (world) => {
      const { fence, vips } = world;
      await prepare(world);
      for (let i = 0; i < 40; i++) {
        const enabled = i % 2 === 0 ? adding(...vips) : removing(...vips);
        const observing = contentsOf(fence);
        await world.advance(i % 4);
        succeeded(await fence.commit(change({ enabled })));
        const seen = await observing;
        assert.ok(seen.enabled.size === 0 || seen.enabled.size === 2);
      }
    },
  },
  {
    name: '500 VIPs change in one batch',
    run: async (world) => {
      const { fence } = world;
      await prepare(world);
      const many = Array.from({ length: 500 }, (_, i) =>
        i % 2 === 0
          ? formatIp(Uint8Array.of(10, 91, i >> 8, i & 255))
          : formatIp(
              Uint8Array.of(0xfd, 0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, i >> 8, i & 255),
            ),
      );
      succeeded(
        await fence.commit(
          change({ managed: adding(...many), enabled: adding(...many), muted: adding(...many) }),
        ),
      );
      const seen = await contentsOf(fence);
      assert.deepEqual([seen.managed.size, seen.enabled.size, seen.muted.size], [502, 500, 500]);
      succeeded(
        await fence.commit(change({ managed: removing(...many), enabled: removing(...many) })),
      );
      const left = await contentsOf(fence);
      assert.deepEqual([left.managed.size, left.enabled.size, left.muted.size], [2, 0, 500]);
    },
  },
  {
    name: 'after the removal everything speaks, and a second removal is a success',
    run: async (world) => {
      const { fence } = world;
      await prepare(world);
      succeeded(await fence.uninstall());
      succeeded(await fence.uninstall());
      assert.equal(succeeded(await fence.observe()), null);
      assert.deepEqual(await voicesOf(world), OPEN);
      assert.equal(codeOf(await fence.permit(1, LONG_MS)), 'MISSING');
    },
  },
];

/** Names of the cases that `support/nft-fence-child.ts` adds for every kind. */
export const LINUX_FENCE_CASES = [
  'a table that somebody made dormant, and a chain that drops, are seen and made anew',
  'an announcement by a packet socket leaves only while the VIP speaks and is not muted',
  'what a muted VIP would resolve itself stays unasked, and IP to known neighbours goes on',
  'a served VIP on lo is a real server: it resolves nothing in its own name, and no router to it',
  'whatever somebody changes in the rules is seen and repaired, with the elements kept',
  'a foreign set or chain in our table makes it anew: managed as before, nothing enabled',
  'tables of others are left alone',
  'detection takes the best fence that it may, leaves nothing behind, and says why',
  'the removal of all fences finds those of any family',
];
