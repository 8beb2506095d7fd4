/**
 * Runs inside a network namespace of its own: the network contract on Linux, and what only Linux shows.
 * Writes the results as JSON to standard output.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { openKernelSocket } from '../../../src/adapters/linux/kernel-socket.ts';
import { createNetworkKernel } from '../../../src/adapters/linux/network-kernel.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import type { KernelEvent, LinkState } from '../../../src/model/kernel.ts';
import { silentLog, type Log } from '../../../src/ports/log.ts';
import { RTNLGRP_IPV4_IFADDR } from '../../../src/wire/rtnetlink.ts';
import { runCases, type ContractCase, waitUntil } from '../contract-case.ts';
import { networkCases, type NetworkWorld } from '../network-kernel.contract.ts';

const ports = { log: silentLog, clock: createSystemClock() };
const clock = { advance: (ms: number) => sleep(ms) };
const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();

let made = 0;

async function createWorld(): Promise<{ world: NetworkWorld; end: () => Promise<void> }> {
  const device = `eth${made++}`;
  // No duplicate address detection: a link-local address that is tentative would disturb nobody's test.
  sh(`ip link add ${device} type veth peer name p-${device}`);
  sh(`ip link set ${device} up; ip link set p-${device} up`);
  const kernel = createNetworkKernel(ports);
  const own = async (): Promise<LinkState | undefined> => {
    const links = await kernel.links();
    return links.ok ? links.value.find((link) => link.name === device) : undefined;
  };
  // The kernel sees a carrier some time after it is there.
  await waitUntil(clock, async () => (await own())?.isRunning === true);
  const linkIndex = (await own())?.index ?? -1;
  const world: NetworkWorld = {
    kernel,
    device,
    linkIndex,
    advance: clock.advance,
    addForeign: async ({ address, prefix }) => {
      sh(`ip address add ${address}/${prefix} dev ${device}`);
    },
    setCarrier: async (isUp) => {
      sh(`ip link set p-${device} ${isUp ? 'up' : 'down'}`);
    },
    setAdminUp: async (isUp) => {
      sh(`ip link set ${device} ${isUp ? 'up' : 'down'}`);
    },
    removeLink: async () => {
      sh(`ip link del ${device}`);
    },
  };
  const end = async (): Promise<void> => {
    kernel.close();
    sh(`ip link del ${device} 2>/dev/null || true`);
  };
  return { world, end };
}

const NOTIFICATIONS = 20_000;
/** The address that stays when the others have come and gone. */
const LAST = '10.95.0.1';

const isOfLast = (event: KernelEvent): boolean =>
  event.kind === 'address' && event.address.address === LAST;

/** Blocks the event loop until Linux has told 20,000 changes: 10,000 addresses come and go. */
function flood(device: string): void {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-flood-'));
  const lines: string[] = [];
  for (let i = 0; i < NOTIFICATIONS / 2; i++) {
    const address = `10.94.${i >> 8}.${i & 255}/32`;
    lines.push(`address add ${address} dev ${device}`, `address del ${address} dev ${device}`);
  }
  lines.push(`address add ${LAST}/32 dev ${device}`);
  const batch = join(directory, 'batch');
  writeFileSync(batch, `${lines.join('\n')}\n`);
  execFileSync('ip', ['-batch', batch]);
  rmSync(directory, { recursive: true });
}

/** Until the watch has told what `isOver` waits for. */
async function watchFlood(
  world: NetworkWorld,
  buffer: number,
  isOver: (events: readonly KernelEvent[]) => boolean,
): Promise<readonly KernelEvent[]> {
  const kernel = createNetworkKernel(ports, { notificationBufferBytes: buffer });
  const controller = new AbortController();
  const events: KernelEvent[] = [];
  const reading = (async () => {
    for await (const event of kernel.watch(controller.signal)) events.push(event);
  })();
  await sleep(50);
  flood(world.device);
  await waitUntil(clock, () => isOver(events), { limitMs: 20_000 });
  controller.abort();
  await reading;
  const dumped = await kernel.addresses();
  kernel.close();
  const seen = dumped.ok ? dumped.value.filter((a) => a.linkIndex === world.linkIndex) : [];
  assert.deepEqual(
    seen.filter((a) => a.address.startsWith('10.')).map((a) => String(a.address)),
    [LAST],
  );
  return events;
}

const linuxCases: readonly ContractCase<NetworkWorld>[] = [
  {
    name: 'an IPv6 VIP is never the source of own traffic, an IPv4 VIP only where nothing else is',
    run: async ({ kernel, device, linkIndex }) => {
      sh(
        `ip address add 10.90.0.5/24 dev ${device}; ip address add fd90::5/64 dev ${device} nodad`,
      );
      const rest = { linkIndex, scope: 'global', label: null, validLifetimeS: 60 } as const;
      await kernel.bind([
        { ...rest, address: '10.90.0.1' as IpAddress, prefix: 24 },
        { ...rest, address: 'fd90::1' as IpAddress, prefix: 64 },
      ]);
      assert.match(sh('ip route get 10.90.0.200'), /src 10\.90\.0\.5 /);
      assert.match(sh('ip -6 route get fd90::200'), /src fd90::5 /);
    },
  },
  {
    name: 'a VIP brings no route',
    run: async ({ kernel, device, linkIndex }) => {
      const routes = (): string =>
        sh(`ip route show dev ${device}; ip -6 route show dev ${device}`);
      // The one of the link-local address comes some time after the carrier.
      await waitUntil(clock, () => routes().includes('fe80::/64'));
      const before = routes();
      const rest = { linkIndex, scope: 'global', label: null, validLifetimeS: 60 } as const;
      await kernel.bind([
        { ...rest, address: '10.96.0.1' as IpAddress, prefix: 24 },
        { ...rest, address: 'fd96::1' as IpAddress, prefix: 64 },
      ]);
      assert.equal(routes(), before);
    },
  },
  {
    name: 'with promote_secondaries the kernel itself keeps the others of a subnet',
    run: async ({ kernel, device, linkIndex }) => {
      sh(`echo 1 >/proc/sys/net/ipv4/conf/${device}/promote_secondaries`);
      const rest = { linkIndex, scope: 'global', label: null, validLifetimeS: 60 } as const;
      const first = { ...rest, address: '10.90.0.100' as IpAddress, prefix: 24 };
      await kernel.bind([first, { ...first, address: '10.90.0.101' as IpAddress }]);
      await kernel.unbind([first]);
      assert.match(sh(`ip -4 address show dev ${device}`), /10\.90\.0\.101\/24/);
    },
  },
  {
    name: 'without privileges the answer is EPERM and names the capability',
    run: async ({ linkIndex }) => {
      process.seteuid?.(65_534);
      const kernel = createNetworkKernel(ports);
      const rest = { linkIndex, scope: 'global', label: null, validLifetimeS: 60 } as const;
      const request = { ...rest, address: '10.90.0.100' as IpAddress, prefix: 24 };
      const [result] = await kernel.bind([request]);
      process.seteuid?.(0);
      kernel.close();
      assert.equal(result?.ok === false ? result.error.code : 'ok', 'EPERM');
      assert.match(result?.ok === false ? result.error.message : '', /CAP_NET_ADMIN/);
    },
  },
  {
    name: 'the process survives 20,000 notifications while its event loop is blocked',
    run: async (world) => {
      const lossesOf = (events: readonly KernelEvent[]): number =>
        events.filter((event) => event.kind === 'resync').length - 1;
      const events = await watchFlood(
        world,
        32 << 20,
        (seen) => lossesOf(seen) > 0 || seen.some(isOfLast),
      );
      const told = events.filter((event) => event.kind === 'address').length;
      const losses = lossesOf(events);
      assert.ok(told > NOTIFICATIONS || losses > 0, `${told} told, ${losses} losses`);
    },
  },
  {
    name: 'notifications that do not fit the buffer are followed by a resync',
    run: async (world) => {
      const isLoss = (event: KernelEvent): boolean =>
        event.kind === 'resync' && /dropped \d+ notifications/.test(event.reason);
      const events = await watchFlood(world, 64 << 10, (seen) => seen.some(isLoss));
      const told = events.filter((event) => event.kind === 'address').length;
      assert.ok(told < NOTIFICATIONS, `${told} told: nothing was lost, so nothing is shown`);
      const last = events.findLast((event) => event.kind === 'resync');
      assert.ok(last !== undefined && isLoss(last), JSON.stringify(last));
    },
  },
  {
    name: 'a listener that throws is logged and does not end the process',
    run: async ({ device }) => {
      const failures: unknown[] = [];
      const log: Log = { ...silentLog, error: (fields) => failures.push(fields) };
      const opened = openKernelSocket(
        {
          protocol: 0,
          receiveBytes: 1 << 20,
          readBytes: null,
          timeoutMs: 1000,
          onNotification: () => {
            throw new Error('thrown on purpose');
          },
        },
        { ...ports, log },
      );
      assert.ok(opened.ok);
      opened.value.join(RTNLGRP_IPV4_IFADDR);
      sh(`ip address add 10.97.0.1/32 dev ${device}; ip address add 10.97.0.2/32 dev ${device}`);
      await waitUntil(clock, () => failures.length >= 2);
      opened.value.close();
      assert.deepEqual(failures, [{ error: 'thrown on purpose' }, { error: 'thrown on purpose' }]);
    },
  },
];

const results = await runCases([...networkCases, ...linuxCases], createWorld);
process.stdout.write(JSON.stringify(results));
