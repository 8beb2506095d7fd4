/**
 * Runs inside a network namespace of its own, or a guest: the fence contract on Linux for the kind that
 * is named, and what only Linux shows. Writes the results as JSON to standard output.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { detectFence, uninstallFences } from '../../../src/adapters/linux/nft-fence-detect.ts';
import { createNftFence } from '../../../src/adapters/linux/nft-fence.ts';
import { bindLibc } from '../../../src/adapters/raw-sockets/libc.ts';
import { PacketSender } from '../../../src/adapters/raw-sockets/packet-sender.ts';
import { formatMac, macToBytes } from '../../../src/model/address.ts';
import { GATE_KINDS } from '../../../src/model/kernel.ts';
import type { FenceKind } from '../../../src/ports/fence.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { encodeGratuitousArpReply } from '../../../src/wire/arp.ts';
import { runCases, type ContractCase } from '../contract-case.ts';
import {
  adding,
  alive,
  change,
  contentsOf,
  fenceCases,
  type FenceWorld,
  OPEN,
  prepare,
  removing,
  SILENT,
  succeeded,
  voicesOf,
} from '../fence.contract.ts';
import {
  ELSEWHERE4,
  ELSEWHERE6,
  FenceNetwork,
  isArpFrom,
  isSolicitationFrom,
  isTo,
  OWN4,
  sh,
  VIP4,
  VIP6,
} from './fence-network.ts';

const ports = { log: silentLog, clock: createSystemClock() };
const kind = GATE_KINDS.find((each) => each === process.argv[2]);
if (kind === undefined || kind === 'address-lifetime') throw new Error('name a kind of fence');
/** What this kernel should choose for itself. */
const best = process.argv[3] ?? 'netdev';
const family = kind === 'arp-inet-ip6' ? 'inet' : kind;

type LinuxWorld = FenceWorld & { readonly network: FenceNetwork };

let made = 0;

async function createWorld(): Promise<{ world: LinuxWorld; end: () => Promise<void> }> {
  const shape = kind === 'bridge' ? 'bridge' : 'plain';
  const network = new FenceNetwork(made++, shape);
  const other = new FenceNetwork(made++, shape);
  const fence = createNftFence(named(), ports);
  const otherDevice = await other.up();
  sh(`ip address flush dev ${otherDevice.name}`);
  const device = await network.up();
  const world: LinuxWorld = {
    fence,
    network,
    successor: () => createNftFence(named(), ports),
    device,
    neighbour: formatMac(network.neighbourMac()),
    otherDevice,
    vips: [VIP4, VIP6],
    ownAddress: OWN4,
    now: () => ports.clock.now(),
    advance: (ms) => sleep(ms),
    speaks: (address) => network.speaks(address),
    answers: (address) => network.answers(address),
    flush: async () => void sh('nft flush ruleset'),
    recreateDevice: async () => {
      network.down();
      return network.up();
    },
  };
  return {
    world,
    end: async () => {
      fence.close();
      network.down();
      other.down();
      sh('nft flush ruleset');
    },
  };
}

function named(): FenceKind {
  if (kind === undefined || kind === 'address-lifetime') throw new Error('no fence');
  return kind;
}

const linuxCases: ContractCase<LinuxWorld>[] = [
  {
    name: 'a table that somebody made dormant, and a chain that drops, are seen and made anew',
    run: async (world) => {
      const { fence, device, vips } = world;
      const [vip] = vips;
      const chainsOf = (table: string): readonly string[] =>
        [...sh(`nft list table ${table}`).matchAll(/chain (\S+) \{\s+type /g)].map(
          ([, name = '']) => name,
        );
      const tables = (): readonly string[] =>
        sh('nft list tables')
          .split('\n')
          .flatMap((line) => (line.startsWith('table ') ? [line.slice('table '.length)] : []));
      await prepare(world, { managed: adding(...vips) });
      const harms = tables().flatMap((table) => [
        `nft 'add table ${table} { flags dormant; }'`,
        ...chainsOf(table).map((chain) => `nft 'chain ${table} ${chain} { policy drop; }'`),
      ]);
      assert.ok(harms.length > 1, harms.join());
      for (const harm of harms) {
        sh(harm);
        assert.deepEqual(await fence.observe(), { ok: true, value: null }, harm);
        succeeded(await fence.install([device]));
        const seen = await fence.observe();
        assert.ok(seen.ok && seen.value !== null, harm);
        assert.equal(await world.speaks(vip), false, harm);
      }
    },
  },
  {
    name: 'an announcement by a packet socket leaves only while the VIP speaks and is not muted',
    run: async (world) => {
      const { fence, network, device, vips } = world;
      const sender = new PacketSender(bindLibc());
      const announces = async (): Promise<boolean> => {
        const at = sender.device(device.name);
        assert.ok(at.ok);
        const frame = encodeGratuitousArpReply(at.value.mac, VIP4);
        const seen = await network.overhear(() => void sender.send(at.value.index, frame));
        const own = Buffer.from(macToBytes(at.value.mac));
        return seen.some((each) => isArpFrom(each, VIP4) && each.subarray(6, 12).equals(own));
      };
      // The arp family sees no frames of packet sockets: the gate does not announce what is silent.
      const escapes = kind === 'arp-inet-ip6';
      await prepare(world);
      assert.equal(await announces(), escapes);
      succeeded(await fence.commit(change({ ...alive(world, 60_000), enabled: adding(...vips) })));
      assert.equal(await announces(), true);
      succeeded(await fence.commit(change({ muted: adding(...vips) })));
      assert.equal(await announces(), escapes);
      sender.close();
    },
  },
  {
    name: 'what a muted VIP would resolve itself stays unasked, and IP to known neighbours goes on',
    run: async (world) => {
      const { fence, network, device, vips } = world;
      await prepare(world, { ...alive(world, 60_000), enabled: adding(...vips) });
      succeeded(await fence.commit(change({ muted: adding(...vips) })));
      const ask = (source: string, target: string) => (): void => {
        sh(`ping -c 1 -W 0.01 -I ${source} ${target} >/dev/null 2>&1 || true`);
      };
      const asked = await network.overhear(ask(VIP4, '10.9.0.77'));
      assert.ok(!asked.some((frame) => isArpFrom(frame, VIP4)));
      succeeded(await fence.commit(change({ muted: removing(...vips) })));
      const unmuted = await network.overhear(ask(VIP4, '10.9.0.78'));
      assert.ok(
        unmuted.some((frame) => isArpFrom(frame, VIP4)),
        device.name,
      );
    },
  },
  {
    name: 'a served VIP on lo is a real server: it resolves nothing in its own name, and no router to it',
    run: async (world) => {
      const { fence, network, vips, neighbour } = world;
      await prepare(world, {
        managed: adding(...vips, ELSEWHERE4, ELSEWHERE6),
        served: adding(...vips, ELSEWHERE4, ELSEWHERE6),
        directors: { add: [neighbour], remove: [] },
      });
      await network.moveToLo();
      assert.deepEqual(await voicesOf(world), [true, false, true, false]);
      const ping = (source: string, target: string) => (): void => {
        sh(`ping -c 1 -W 0.01 -I ${source} ${target} >/dev/null 2>&1 || true`);
      };
      const asked = await network.overhear(ping(VIP4, '10.9.0.77'));
      assert.ok(!asked.some((frame) => isArpFrom(frame, VIP4)), 'it asks as the VIP');
      // As where it is bound ahead: the kernel solicits with the source of what it has to send.
      await network.bindAhead();
      const solicited = await network.overhear(ping(VIP6, 'fd09::77'));
      assert.ok(
        !solicited.some((frame) => isSolicitationFrom(frame, VIP6)),
        'it solicits as the VIP',
      );
      // What its own table would share out once more is not sent back.
      for (const target of [ELSEWHERE4, ELSEWHERE6]) {
        network.know(target);
        const source = target === ELSEWHERE4 ? OWN4 : 'fd09::11';
        const back = await network.overhear(ping(source, target));
        assert.ok(!back.some((frame) => isTo(frame, target)), `${target} while silent`);
        const open = { ...alive(world, 60_000), enabled: adding(target) };
        succeeded(await fence.commit(change(open)));
        const sent = await network.overhear(ping(source, target));
        assert.ok(
          sent.some((frame) => isTo(frame, target)),
          `${target} while held`,
        );
        succeeded(await fence.commit(change({ enabled: removing(target) })));
      }
    },
  },
  {
    name: 'whatever somebody changes in the rules is seen and repaired, with the elements kept',
    run: async (world) => {
      const { fence, device, vips } = world;
      await prepare(world, { ...alive(world, 60_000), enabled: adding(...vips) });
      const base = kind === 'netdev' ? `in-${device.index}` : 'in';
      const harms = [
        `nft flush chain ${family} leasehold to4`,
        `nft insert rule ${family} leasehold arrive counter accept`,
        `nft add rule ${family} leasehold to4 drop`,
        `nft flush chain ${family} leasehold ${base}`,
        `nft delete chain ${family} leasehold ${base}`,
      ];
      for (const harm of harms) {
        sh(harm);
        assert.equal(succeeded(await fence.observe()), null, harm);
        succeeded(await fence.install([device]));
        assert.deepEqual((await contentsOf(fence)).enabled, new Set(vips));
        assert.deepEqual(await voicesOf(world), OPEN);
      }
    },
  },
  {
    name: 'a foreign set or chain in our table makes it anew: managed as before, nothing enabled',
    run: async (world) => {
      const { fence, device, vips } = world;
      for (const harm of ['set', 'chain']) {
        await prepare(world, { ...alive(world, 60_000), enabled: adding(...vips) });
        const body = harm === 'set' ? "'{ type ipv4_addr; }'" : '';
        sh(`nft add ${harm} ${family} leasehold strange ${body}`);
        assert.equal(succeeded(await fence.observe()), null);
        succeeded(await fence.install([device]));
        const seen = await contentsOf(fence);
        assert.deepEqual([seen.managed, seen.enabled], [new Set(vips), new Set()]);
        assert.deepEqual(await voicesOf(world), SILENT);
      }
    },
  },
  {
    name: 'tables of others are left alone',
    run: async (world) => {
      sh('nft add table bridge other; nft add chain bridge other to4');
      await prepare(world);
      await contentsOf(world.fence);
      succeeded(await world.fence.uninstall());
      assert.equal(sh('nft list tables').trim(), 'table bridge other');
    },
  },
  {
    name: 'detection takes the best fence that it may, leaves nothing behind, and says why',
    run: async ({ device }) => {
      const only = await detectFence(ports, { devices: [device.name], kinds: [named()] });
      assert.equal(only.fence?.kind, kind);
      const chosen = await detectFence(ports, { devices: [device.name] });
      assert.equal(chosen.fence?.kind, best);
      assert.match(chosen.detail, new RegExp(best));
      assert.equal(sh('nft list tables'), '');
      const unfit = await detectFence(ports, { devices: ['lo'], kinds: ['bridge'] });
      assert.equal(unfit.fence, null);
      assert.match(unfit.detail, /lo is no bridge/);
      only.fence?.close();
      chosen.fence?.close();
    },
  },
  {
    name: 'the removal of all fences finds those of any family',
    run: async (world) => {
      await prepare(world);
      assert.deepEqual(succeeded(await uninstallFences(ports)), [kind]);
      assert.deepEqual(succeeded(await uninstallFences(ports)), []);
      assert.equal(sh('nft list tables'), '');
    },
  },
  ...(kind === 'arp-inet-ip6'
    ? [
        {
          name: 'one of two tables gone: MISSING, then managed as before and nothing enabled',
          run: async (world: LinuxWorld) => {
            const { fence, device, vips } = world;
            for (const lost of ['arp', 'inet']) {
              await prepare(world, { ...alive(world, 60_000), enabled: adding(...vips) });
              succeeded(await fence.permit(1, 60_000));
              sh(`nft delete table ${lost} leasehold`);
              const commit = await fence.commit(change({ permit: 1, ...alive(world, 60_000) }));
              assert.equal(commit.ok ? null : commit.error.code, 'MISSING');
              succeeded(await fence.install([device]));
              const seen = await contentsOf(fence);
              // The arp table knows no IPv6 address.
              const known = lost === 'inet' ? [vips[0]] : vips;
              assert.deepEqual([seen.managed, seen.enabled], [new Set(known), new Set()]);
              assert.equal(await world.speaks(vips[0]), false);
              succeeded(await fence.uninstall());
            }
          },
        },
      ]
    : []),
];

/** A VLAN's frames pass the same hooks; but not every kernel here has VLANs. */
const stackedCase: ContractCase<LinuxWorld> = {
  name: 'a VIP on a link above another fenced one is heard while it may speak, and that one says nothing more',
  run: async (world) => {
    const { fence, network, device } = world;
    const upper = network.stack();
    succeeded(await fence.install([device, upper]));
    succeeded(await fence.commit(change({ managed: adding(...world.vips) })));
    const answers = async (wanted: boolean): Promise<void> => {
      let isAnswered = !wanted;
      // The kernel hands broadcasts to macvlans beside all else.
      for (let tries = 0; tries < 100 && isAnswered !== wanted; tries++)
        isAnswered = await world.answers(VIP4); // oxlint-disable-line no-await-in-loop -- one after the other
      assert.equal(isAnswered, wanted);
    };
    const speaking = { alive: { linkIndexes: [upper.index], timeoutMs: 60_000 } };
    assert.equal(await world.answers(VIP4), false);
    succeeded(await fence.commit(change({ ...speaking, enabled: adding(VIP4) })));
    await answers(true);
    assert.equal(await world.answers(VIP6), false);
    // A new process knows it from what it finds.
    const next = world.successor();
    await contentsOf(next);
    const short = { linkIndexes: [upper.index], timeoutMs: 20 };
    succeeded(await next.commit(change({ alive: short })));
    await world.advance(60);
    assert.equal(await world.answers(VIP4), false);
    succeeded(await next.commit(change(speaking)));
    await answers(true);
    next.close();
  },
};
if (kind === 'netdev') linuxCases.push(stackedCase);

const results = await runCases<LinuxWorld>([...fenceCases, ...linuxCases], createWorld);
process.stdout.write(JSON.stringify(results));
