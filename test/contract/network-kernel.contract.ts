/** What every NetworkKernel does; runs on the fake and, in a network namespace, on Linux. */
import assert from 'node:assert/strict';
import type { Result } from '../../src/lib/result.ts';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import {
  ADDRESS_PROTOCOL,
  type BindRequest,
  type BoundAddress,
  type KernelError,
  type KernelEvent,
  type LinkState,
} from '../../src/model/kernel.ts';
import type { NetworkKernel } from '../../src/ports/kernel.ts';
import { type ContractCase, waitUntil } from './contract-case.ts';

export type AddressKey = Pick<BoundAddress, 'linkIndex' | 'address' | 'prefix'>;

export type NetworkWorld = {
  readonly kernel: NetworkKernel;
  /** A link that is up and running, alone in its network. */
  readonly device: string;
  readonly linkIndex: number;
  readonly advance: (ms: number) => Promise<void>;
  /** What another program does. */
  readonly addForeign: (key: AddressKey) => Promise<void>;
  readonly setCarrier: (isUp: boolean) => Promise<void>;
  readonly setAdminUp: (isUp: boolean) => Promise<void>;
  readonly removeLink: () => Promise<void>;
};

const MISSING_LINK = 9999;

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const vip = (
  world: NetworkWorld,
  address: string,
  more: Partial<BindRequest> = {},
): BindRequest => ({
  linkIndex: world.linkIndex,
  address: ip(address),
  prefix: address.includes(':') ? 64 : 24,
  scope: 'global',
  label: null,
  validLifetimeS: null,
  ...more,
});

async function bound(world: NetworkWorld, ...requests: BindRequest[]): Promise<void> {
  const results = await world.kernel.bind(requests);
  assert.deepEqual(
    results.map((result) => (result.ok ? null : result.error.message)),
    requests.map(() => null),
  );
}

/** The link's addresses without those that Linux makes itself (fe80::). */
async function addressesOf(world: NetworkWorld): Promise<readonly BoundAddress[]> {
  const dumped = await world.kernel.addresses();
  if (!dumped.ok) throw new Error(dumped.error.message);
  return dumped.value.filter(
    (entry) => entry.linkIndex === world.linkIndex && !entry.address.startsWith('fe80:'),
  );
}

const textsOf = async (world: NetworkWorld): Promise<readonly string[]> =>
  (await addressesOf(world)).map((entry) => `${entry.address}/${entry.prefix}`).toSorted();

async function linkOf(world: NetworkWorld): Promise<LinkState | undefined> {
  const dumped = await world.kernel.links();
  if (!dumped.ok) throw new Error(dumped.error.message);
  return dumped.value.find((link) => link.index === world.linkIndex);
}

const codes = (results: readonly Result<void, KernelError>[]): readonly (string | null)[] =>
  results.map((result) => (result.ok ? null : result.error.code));

/** Linux tells a lost carrier up to a second late. */
async function eventually(
  world: NetworkWorld,
  holds: () => Promise<boolean> | boolean,
): Promise<void> {
  await waitUntil(world, holds, { stepMs: 50 });
  assert.ok(await holds(), 'does not come true');
}

/** Of the seconds that were given, some may have passed. */
const isLeftOf = (leftS: number | null | undefined, givenS: number): boolean =>
  typeof leftS === 'number' && leftS <= givenS && leftS > givenS - 8;

/** Collects events in the background until `stop`. */
function collect(kernel: NetworkKernel): { events: KernelEvent[]; stop: () => Promise<void> } {
  const controller = new AbortController();
  const events: KernelEvent[] = [];
  const reading = (async () => {
    for await (const event of kernel.watch(controller.signal)) events.push(event);
  })();
  const stop = async (): Promise<void> => {
    controller.abort();
    await reading;
  };
  return { events, stop };
}

const told = (events: readonly KernelEvent[], address: string, isGone: boolean): boolean =>
  events.some(
    (event) =>
      event.kind === 'address' && event.address.address === address && event.isGone === isGone,
  );

export const networkCases: readonly ContractCase<NetworkWorld>[] = [
  {
    name: 'a running link is told with its name and size',
    run: async (world) => {
      const link = await linkOf(world);
      assert.deepEqual(
        [link?.name, link?.isAdminUp, link?.isRunning, link?.mtu],
        [world.device, true, true, 1500],
      );
    },
  },
  {
    name: 'addresses of both families are bound with our tag, scope and label',
    run: async (world) => {
      await bound(
        world,
        vip(world, '10.90.0.100', { label: `${world.device}:vip`, validLifetimeS: 60 }),
        vip(world, 'fd90::100', { validLifetimeS: 60 }),
        vip(world, '10.91.0.100', { prefix: 32, scope: 'link' }),
      );
      const seen = await addressesOf(world);
      const plain = seen.map(({ validLifetimeS: _lifetime, ...rest }) => rest);
      const common = { linkIndex: world.linkIndex, protocol: ADDRESS_PROTOCOL };
      const key = (entry: { address: string }): string => entry.address;
      assert.deepEqual(
        plain.toSorted((a, b) => key(a).localeCompare(key(b))),
        [
          {
            ...common,
            address: '10.90.0.100',
            prefix: 24,
            scope: 'global',
            label: `${world.device}:vip`,
          },
          { ...common, address: '10.91.0.100', prefix: 32, scope: 'link', label: world.device },
          { ...common, address: 'fd90::100', prefix: 64, scope: 'global', label: null },
        ],
      );
      const left = new Map(seen.map((entry) => [String(entry.address), entry.validLifetimeS]));
      assert.equal(left.get('10.91.0.100'), null);
      for (const address of ['10.90.0.100', 'fd90::100'])
        assert.ok(isLeftOf(left.get(address), 60), `${address} has ${left.get(address)} s`);
    },
  },
  {
    name: 'binding again gives the new lifetime and keeps the label',
    run: async (world) => {
      const label = `${world.device}:vip`;
      await bound(world, vip(world, '10.90.0.100', { label, validLifetimeS: 10 }));
      await bound(world, vip(world, '10.90.0.100', { validLifetimeS: 100 }));
      const [seen, ...others] = await addressesOf(world);
      assert.equal(seen?.label, label);
      assert.ok(isLeftOf(seen?.validLifetimeS, 100), `${seen?.validLifetimeS} s`);
      assert.deepEqual(others, []);
      await bound(world, vip(world, '10.90.0.100'));
      assert.equal((await addressesOf(world))[0]?.validLifetimeS, null);
    },
  },
  {
    name: 'an address that is not refreshed goes by itself, and a refreshed one stays',
    run: async (world) => {
      const watch = collect(world.kernel);
      const short = ['10.90.0.100', 'fd90::100'].map((a) => vip(world, a, { validLifetimeS: 1 }));
      // Long enough for a pause before it is refreshed.
      const kept = vip(world, '10.92.0.100', { validLifetimeS: 2 });
      await bound(world, ...short, kept);
      await world.advance(500);
      await bound(world, { ...kept, validLifetimeS: 30 });
      await world.advance(2500);
      await eventually(world, () =>
        short.every(({ address }) => told(watch.events, address, true)),
      );
      assert.deepEqual(await textsOf(world), ['10.92.0.100/24']);
      await watch.stop();
      assert.ok(!told(watch.events, '10.92.0.100', true));
    },
  },
  {
    name: 'unbinding what is not there is a success, also on a link that is not there',
    run: async (world) => {
      const key = vip(world, '10.90.0.100');
      assert.deepEqual(codes(await world.kernel.unbind([key, vip(world, 'fd90::100')])), [
        null,
        null,
      ]);
      await bound(world, key);
      const gone = await world.kernel.unbind([key, key, { ...key, linkIndex: MISSING_LINK }]);
      assert.deepEqual(codes(gone), [null, null, null]);
      assert.deepEqual(await textsOf(world), []);
    },
  },
  {
    name: 'every refusal has its own code, and the others of the batch are done',
    run: async (world) => {
      const results = await world.kernel.bind([
        vip(world, '10.90.0.100'),
        vip(world, '10.90.0.101', { linkIndex: MISSING_LINK }),
        vip(world, '10.90.0.102', { prefix: 33 }),
        vip(world, '10.90.0.103', { validLifetimeS: 0 }),
        vip(world, 'fd90::100'),
      ]);
      assert.deepEqual(codes(results), [null, 'ENODEV', 'EINVAL', 'EINVAL', null]);
      assert.deepEqual(await textsOf(world), ['10.90.0.100/24', 'fd90::100/64']);
    },
  },
  {
    name: 'unbinding the first address of a subnet leaves what is not ours',
    run: async (world) => {
      const [first, second] = [vip(world, '10.90.0.100'), vip(world, '10.90.0.101')];
      await bound(world, first);
      await world.addForeign(vip(world, '10.90.0.5'));
      await bound(world, second);
      assert.deepEqual(codes(await world.kernel.unbind([first])), [null]);
      const left = await textsOf(world);
      assert.ok(left.includes('10.90.0.5/24'));
      assert.ok(!left.includes('10.90.0.100/24'));
      // The kernel may have taken another VIP of ours along: only the gate binds it again.
      await bound(world, second);
      assert.deepEqual(await textsOf(world), ['10.90.0.101/24', '10.90.0.5/24']);
    },
  },
  {
    name: 'unbinding the first VIP never binds another one that was just unbound',
    run: async (world) => {
      const [first, second] = [vip(world, '10.90.0.100'), vip(world, '10.90.0.101')];
      await bound(world, first, second);
      await Promise.all([world.kernel.unbind([first]), world.kernel.unbind([second])]);
      assert.deepEqual(await textsOf(world), []);
    },
  },
  {
    name: "others' addresses are told without our tag and stay",
    run: async (world) => {
      await world.addForeign(vip(world, '10.90.0.5'));
      const key = vip(world, '10.90.0.100');
      await bound(world, key);
      await world.kernel.unbind([key]);
      const [seen] = await addressesOf(world);
      assert.deepEqual([seen?.address, seen?.protocol], ['10.90.0.5', null]);
    },
  },
  {
    name: 'hundreds of addresses in one call',
    run: async (world) => {
      const many = Array.from({ length: 500 }, (_, i) =>
        vip(world, `10.93.${i >> 8}.${i & 255}`, { prefix: 32, validLifetimeS: 60 }),
      );
      await bound(world, ...many);
      assert.equal((await addressesOf(world)).length, 500);
      await bound(world, ...many);
      assert.ok((await world.kernel.unbind(many)).every((result) => result.ok));
      assert.deepEqual(await textsOf(world), []);
    },
  },
  {
    name: 'a watch begins with a resync, tells what comes and goes, and ends with its signal',
    run: async (world) => {
      const watch = collect(world.kernel);
      const key = vip(world, '10.90.0.100');
      await world.advance(10);
      await bound(world, key);
      await world.kernel.unbind([key]);
      await eventually(world, async () => told(watch.events, '10.90.0.100', true));
      await watch.stop();
      assert.equal(watch.events[0]?.kind, 'resync');
      assert.ok(told(watch.events, '10.90.0.100', false));
      const count = watch.events.length;
      await bound(world, key);
      assert.equal(watch.events.length, count);
    },
  },
  {
    name: 'a lost carrier is told, and the addresses stay',
    run: async (world) => {
      const watch = collect(world.kernel);
      await bound(world, vip(world, '10.90.0.100'), vip(world, 'fd90::100'));
      await world.setCarrier(false);
      await eventually(world, async () => (await linkOf(world))?.isRunning === false);
      assert.deepEqual(await textsOf(world), ['10.90.0.100/24', 'fd90::100/64']);
      await eventually(world, async () =>
        watch.events.some(
          (event) =>
            event.kind === 'link' && event.link.index === world.linkIndex && !event.link.isRunning,
        ),
      );
      await world.setCarrier(true);
      await eventually(world, async () => (await linkOf(world))?.isRunning === true);
      await watch.stop();
    },
  },
  {
    name: 'a link that is set down loses its IPv6 addresses and keeps the others',
    run: async (world) => {
      await bound(world, vip(world, '10.90.0.100'), vip(world, 'fd90::100'));
      await world.setAdminUp(false);
      const link = await linkOf(world);
      assert.deepEqual([link?.isAdminUp, link?.isRunning], [false, false]);
      assert.deepEqual(await textsOf(world), ['10.90.0.100/24']);
    },
  },
  {
    name: 'a link that is removed takes its addresses along and is told as gone',
    run: async (world) => {
      const watch = collect(world.kernel);
      await bound(world, vip(world, '10.90.0.100'));
      await world.removeLink();
      await eventually(world, async () =>
        watch.events.some(
          (event) => event.kind === 'link' && event.isGone && event.link.index === world.linkIndex,
        ),
      );
      await watch.stop();
      assert.equal(await linkOf(world), undefined);
      assert.deepEqual(await textsOf(world), []);
      const results = await world.kernel.bind([vip(world, '10.90.0.100')]);
      assert.deepEqual(codes(results), ['ENODEV']);
    },
  },
];
