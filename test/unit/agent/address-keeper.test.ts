/** VIPs that are not held do not stay here; what is not ours is not touched. */
import { describe, expect, it } from 'vitest';
import { createAddressKeeper } from '../../../src/agent/address-keeper.ts';
import type { VipGroup } from '../../../src/model/cluster.ts';
import { type GroupId, groupId } from '../../../src/model/ids.ts';
import type { BoundAddress } from '../../../src/model/kernel.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeNetworkKernel } from '../../fakes/fake-kernel.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog, recordingMetrics } from './reconcile-loop.fixture.ts';

const WEB = groupId('web');
const VIP = ip('10.90.0.100');
const FOREIGN = ip('10.90.0.50');

const web: VipGroup = {
  id: WEB,
  addresses: [{ address: VIP, prefix: 24, interface: 'public', label: null, scope: 'global' }],
  priorities: null,
  preempt: { kind: 'never' },
  virtualRouterId: null,
  vrrp: null,
  weight: 1,
  antiAffinity: [],
  tracks: [],
  notify: null,
  connectionSync: null,
};
const NONE: ReadonlySet<GroupId> = new Set();

function setUp() {
  const clock = new FakeClock();
  const kernel = new FakeNetworkKernel(clock);
  const eth0 = kernel.addLink('eth0');
  const eth1 = kernel.addLink('eth1');
  const log = new RecordingLog();
  const { metrics } = recordingMetrics();
  const held = new Set<GroupId>();
  const gone: string[] = [];
  const dumps: (readonly string[])[] = [];
  const world = { links: 0, groups: [web] as readonly VipGroup[], checks: 0 };
  const watched = new Set<string>();
  const keeper = createAddressKeeper({
    kernel,
    clock,
    log,
    metrics,
    groups: () => world.groups,
    devices: new Map([['public', 'eth0']]),
    watched: () => watched,
    exclusively: (work) => work(),
    checkGate: async () => void world.checks++,
    mayBeBound: (group) => held.has(group),
    linksChanged: () => world.links++,
    addressSeen: () => {},
    dumped: (addresses) => dumps.push(addresses.map(({ address }) => address)),
    addressGone: (_, address) => gone.push(address),
  });
  const end = new AbortController();
  /** As after a start: first it is cleared, then it is kept clear. */
  const run = async (): Promise<void> => {
    await keeper.clear(NONE);
    await keeper.run(end.signal);
  };
  const bindOurs = (address = VIP, linkIndex = eth0) =>
    kernel.bind([
      { linkIndex, address, prefix: 24, scope: 'global', label: null, validLifetimeS: 600 },
    ]);
  const bound = (): string[] => kernel.boundNow().map((one: BoundAddress) => one.address);
  return {
    clock,
    kernel,
    eth0,
    eth1,
    log,
    held,
    gone,
    keeper,
    end,
    run,
    bindOurs,
    bound,
    world,
    watched,
    dumps,
  };
}

describe('the address keeper', () => {
  it('removes a VIP of the spec that is not held, tagged or not, and tells so', async () => {
    const { clock, kernel, eth0, run, bound, log } = setUp();
    void run();
    await clock.advance(10);
    kernel.addForeignAddress({ linkIndex: eth0, address: VIP, prefix: 24 });
    await clock.advance(10);
    expect(bound()).toEqual([]);
    expect(log.of('address.removed')).toEqual([
      { address: VIP, linkIndex: eth0, why: 'not held here' },
    ]);
  });

  it('leaves a VIP that is held', async () => {
    const { clock, held, run, bindOurs, bound } = setUp();
    held.add(WEB);
    void run();
    await clock.advance(10);
    await bindOurs();
    await clock.advance(60_000);
    expect(bound()).toEqual([VIP]);
  });

  it('dumps anew when a VIP comes or goes on another device, not when it is renewed', async () => {
    const { clock, kernel, eth1, run, dumps } = setUp();
    void run();
    await clock.advance(10);
    const before = dumps.length;
    const served = { linkIndex: eth1, address: VIP, prefix: 32 };
    kernel.addForeignAddress(served);
    await clock.advance(10);
    expect(dumps.length).toBe(before + 1);
    expect(dumps.at(-1)).toEqual([VIP]);
    kernel.addForeignAddress(served);
    await clock.advance(10);
    expect(dumps.length).toBe(before + 1);
    await kernel.unbind([served]);
    await clock.advance(10);
    expect(dumps.at(-1)).toEqual([]);
    expect(dumps.length).toBe(before + 2);
  });

  it('has time for other addresses of the machine until its next sweep, however many come', async () => {
    const { clock, kernel, eth1, run, dumps } = setUp();
    void run();
    await clock.advance(10);
    const before = dumps.length;
    kernel.addForeignAddress({ linkIndex: eth1, address: FOREIGN, prefix: 24 });
    await clock.advance(10);
    expect(dumps.length).toBe(before);
    await clock.advance(2000);
    expect(dumps.at(-1)).toEqual([FOREIGN]);
  });

  it('looks at once when it is told to', async () => {
    const { clock, held, keeper, run, bindOurs, bound } = setUp();
    held.add(WEB);
    void run();
    await clock.advance(10);
    await bindOurs();
    await clock.advance(10);
    held.delete(WEB);
    keeper.look();
    await clock.advance(1);
    expect(bound()).toEqual([]);
  });

  it('removes what carries our tag and is in no group', async () => {
    const { clock, held, run, bindOurs, bound } = setUp();
    held.add(WEB);
    void run();
    await bindOurs(FOREIGN);
    await clock.advance(10);
    expect(bound()).toEqual([]);
  });

  it('never touches foreign addresses, nor a VIP’s number on another device', async () => {
    const { clock, kernel, eth0, eth1, run, bound, keeper } = setUp();
    kernel.addForeignAddress({ linkIndex: eth0, address: FOREIGN, prefix: 24 });
    kernel.addForeignAddress({ linkIndex: eth1, address: VIP, prefix: 24 });
    void run();
    await clock.advance(10_000);
    expect(await keeper.clear(NONE)).toBe(true);
    expect(bound()).toEqual([FOREIGN, VIP]);
  });

  it('sweeps on its timer: a kernel that told nothing is looked at', async () => {
    const { clock, held, run, bindOurs, bound } = setUp();
    held.add(WEB);
    void run();
    await clock.advance(10);
    await bindOurs();
    await clock.advance(10);
    held.clear();
    await clock.advance(1000);
    expect(bound()).toEqual([VIP]);
    await clock.advance(1000);
    expect(bound()).toEqual([]);
  });

  it('removes nothing before it was cleared: an earlier life may have left what is kept', async () => {
    const { clock, keeper, end, bindOurs, bound, world } = setUp();
    await bindOurs();
    void keeper.run(end.signal);
    await clock.advance(10_000);
    expect(bound()).toEqual([VIP]);
    expect(world.checks).toBe(0);
    expect(await keeper.enforce()).toBe(false);
    expect(await keeper.clear(NONE)).toBe(true);
    expect(bound()).toEqual([]);
    expect(await keeper.enforce()).toBe(true);
  });

  it('lets the gate look at itself with each sweep', async () => {
    const { clock, run, world } = setUp();
    void run();
    await clock.advance(10);
    const { checks } = world;
    await clock.advance(4000);
    expect(world.checks).toBe(checks + 2);
  });

  it('tells of every address that goes', async () => {
    const { clock, kernel, eth0, held, run, bindOurs, gone } = setUp();
    held.add(WEB);
    void run();
    await clock.advance(10);
    await bindOurs();
    await clock.advance(10);
    kernel.removeAddress({ linkIndex: eth0, address: VIP, prefix: 24 });
    await clock.advance(10);
    expect(gone).toEqual([VIP]);
  });

  it('follows its links: changes, names, and a new look after a loss', async () => {
    const { clock, kernel, eth0, eth1, run, keeper, world } = setUp();
    void run();
    await clock.advance(10);
    expect([...keeper.links().keys()]).toEqual(['eth0', 'eth1']);
    kernel.setCarrier(eth0, false);
    await clock.advance(10);
    expect(keeper.links().get('eth0')).toMatchObject({ isRunning: false });
    kernel.removeLink(eth1);
    await clock.advance(10);
    expect([...keeper.links().keys()]).toEqual(['eth0']);
    const { links } = world;
    kernel.resync('lost');
    await clock.advance(10);
    expect(world.links).toBe(links + 1);
  });
});

describe('devices that carry no VIP', () => {
  it('are told of where a track watches them', async () => {
    const { clock, kernel, eth1, run, world, watched } = setUp();
    void run();
    await clock.advance(10);
    const { links } = world;
    kernel.setCarrier(eth1, false);
    await clock.advance(10);
    expect(world.links).toBe(links);
    watched.add('eth1');
    kernel.setCarrier(eth1, true);
    await clock.advance(10);
    expect(world.links).toBe(links + 1);
  });
});

describe('clearing the gate', () => {
  it('keeps the groups of an earlier life that it is told to, as the spec has them', async () => {
    const { keeper, kernel, eth0, bindOurs, bound } = setUp();
    await bindOurs();
    await bindOurs(FOREIGN);
    expect(await keeper.clear(new Set([WEB]))).toBe(true);
    expect(bound()).toEqual([VIP]);
    // For ever: it would outlive every deadline.
    kernel.removeAddress({ linkIndex: eth0, address: VIP, prefix: 24 });
    kernel.addForeignAddress({ linkIndex: eth0, address: VIP, prefix: 24 });
    expect(await keeper.clear(new Set([WEB]))).toBe(true);
    expect(bound()).toEqual([]);
  });

  it('removes all of an earlier life, held or not', async () => {
    const { held, keeper, bindOurs, bound } = setUp();
    held.add(WEB);
    await bindOurs();
    await bindOurs(FOREIGN);
    expect(await keeper.clear(NONE)).toBe(true);
    expect(bound()).toEqual([]);
  });

  it('looks for the links first: a kernel without tags shows a VIP only by its device', async () => {
    const { kernel, eth0, keeper, bound } = setUp();
    kernel.addForeignAddress({ linkIndex: eth0, address: VIP, prefix: 24 });
    expect(await keeper.clear(NONE)).toBe(true);
    expect(bound()).toEqual([]);
  });

  it.each(['links', 'addresses', 'unbind'] as const)(
    'fails when the kernel refuses %s',
    async (call) => {
      const { kernel, keeper, bindOurs } = setUp();
      await bindOurs();
      kernel.failNext(call, 'EPERM');
      expect(await keeper.clear(NONE)).toBe(false);
      expect(keeper.problem()).toContain('EPERM');
      expect(await keeper.clear(NONE)).toBe(true);
    },
  );
});

describe('a problem with the kernel', () => {
  it.each(['links', 'addresses', 'unbind'] as const)(
    'of %s is told while it lasts, and no longer',
    async (call) => {
      const { clock, kernel, run, keeper, bindOurs } = setUp();
      void run();
      await clock.advance(100);
      kernel.failNext(call, 'EPERM');
      if (call === 'unbind') await bindOurs();
      else kernel.resync('lost');
      await clock.advance(10);
      expect(keeper.problem()).toContain('EPERM');
      await clock.advance(4000);
      expect(keeper.problem()).toBeNull();
    },
  );
});
