/** What every IpvsKernel does; runs on the fake and, in a guest, on the kernel's own IPVS. */
import assert from 'node:assert/strict';
import type { Result } from '../../src/lib/result.ts';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import { formatIpvsadm } from '../../src/config/ipvsadm-format.ts';
import { DEFAULT_TUNNEL, SCHEDULERS, type Tunnel } from '../../src/model/cluster.ts';
import {
  type DesiredService,
  formatServiceKey,
  type IpvsDaemon,
  type IpvsDestination,
  type IpvsOperation,
  type IpvsService,
  type IpvsServiceKey,
  type IpvsTable,
  type KernelError,
  type ObservedDestination,
  type ObservedService,
} from '../../src/model/kernel.ts';
import type { IpvsKernel } from '../../src/ports/kernel.ts';
import type { ContractCase } from './contract-case.ts';

export type IpvsWorld = {
  readonly kernel: IpvsKernel;
  /** Lines of `ipvsadm -Sn`, sorted; null where there is no such tool (the fake). */
  readonly savedRules: () => Promise<readonly string[] | null>;
  /** A device that a sync daemon may talk on. */
  readonly syncDevice: string;
};

export function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

export const tcp = (address: string, port: number): IpvsServiceKey => ({
  kind: 'address',
  protocol: 'tcp',
  address: ip(address),
  port,
});

export const service = (key: IpvsServiceKey, more: Partial<IpvsService> = {}): IpvsService => ({
  key,
  scheduler: 'wlc',
  flags: 0,
  timeoutS: 0,
  persistencePrefix: (key.kind === 'fwmark' ? key.family === 6 : key.address.includes(':'))
    ? 128
    : 32,
  persistenceEngine: null,
  ...more,
});

export const real = (
  address: string,
  port: number,
  more: Partial<IpvsDestination> = {},
): IpvsDestination => ({
  address: ip(address),
  port,
  forward: 'dr',
  tunnel: more.forward === 'tun' ? DEFAULT_TUNNEL : null,
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...more,
});

const plainService = (seen: ObservedService): IpvsService => ({
  key: seen.key,
  scheduler: seen.scheduler,
  flags: seen.flags,
  timeoutS: seen.timeoutS,
  persistencePrefix: seen.persistencePrefix,
  persistenceEngine: seen.persistenceEngine,
});

const plainDestination = (seen: ObservedDestination): IpvsDestination => ({
  address: seen.address,
  port: seen.port,
  forward: seen.forward,
  tunnel: seen.tunnel,
  weight: seen.weight,
  upperThreshold: seen.upperThreshold,
  lowerThreshold: seen.lowerThreshold,
});

const codes = (results: readonly Result<void, KernelError>[]): readonly (string | null)[] =>
  results.map((result) => (result.ok ? null : result.error.code));

async function applied(kernel: IpvsKernel, ...operations: IpvsOperation[]): Promise<void> {
  const results = await kernel.apply(operations);
  assert.deepEqual(
    results.map((result) => (result.ok ? null : result.error.message)),
    operations.map(() => null),
  );
}

async function tableOf(kernel: IpvsKernel): Promise<IpvsTable> {
  const dumped = await kernel.dump();
  if (!dumped.ok) throw new Error(dumped.error.message);
  return dumped.value;
}

async function savedAs(world: IpvsWorld, ...lines: string[]): Promise<void> {
  const saved = await world.savedRules();
  if (saved !== null) assert.deepEqual(saved, lines.toSorted());
}

const VIP = tcp('10.90.0.100', 80);

export const ipvsCases: readonly ContractCase<IpvsWorld>[] = [
  {
    name: 'an empty table dumps as no services, and the kernel tells its version',
    run: async ({ kernel }) => {
      assert.deepEqual(await tableOf(kernel), { services: [] });
      const capability = await kernel.capability();
      assert.ok(capability.available, capability.detail);
      assert.match(capability.version, /^\d+\.\d+\.\d+$/);
    },
  },
  {
    name: 'nothing to apply is nothing done',
    run: async ({ kernel }) => assert.deepEqual(await kernel.apply([]), []),
  },
  {
    name: 'services of every protocol and family come back as they were given',
    run: async (world) => {
      const { kernel } = world;
      const services = [
        service(VIP),
        service({ kind: 'address', protocol: 'udp', address: ip('10.90.0.100'), port: 53 }),
        service({ kind: 'address', protocol: 'sctp', address: ip('10.90.0.100'), port: 3868 }),
        service(tcp('fd90::100', 443), { scheduler: 'rr' }),
        service({ kind: 'fwmark', family: 4, mark: 7 }),
        service({ kind: 'fwmark', family: 6, mark: 0x7000_0001 }),
      ];
      await applied(kernel, ...services.map((s) => ({ op: 'add-service', service: s }) as const));
      const seen = (await tableOf(kernel)).services;
      for (const wanted of services) {
        const found = seen.find((s) => JSON.stringify(s.key) === JSON.stringify(wanted.key));
        assert.ok(found, `missing: ${JSON.stringify(wanted.key)}`);
        const { counters, rates, destinations, ...plain } = found;
        assert.deepEqual(plain, wanted);
        assert.deepEqual(destinations, []);
        assert.deepEqual([counters.connections, rates.connections], [0, 0]);
      }
      assert.equal(seen.length, services.length);
      await savedAs(
        world,
        '-A -t 10.90.0.100:80 -s wlc',
        '-A -u 10.90.0.100:53 -s wlc',
        '-A --sctp-service 10.90.0.100:3868 -s wlc',
        '-A -t [fd90::100]:443 -s rr',
        '-A -f 7 -s wlc',
        '-A -f 1879048193 -6 -s wlc',
      );
    },
  },
  {
    name: 'persistence keeps its timeout and network, and goes away with its flag',
    run: async (world) => {
      const { kernel } = world;
      const v4 = service(VIP, { flags: 1, timeoutS: 50, persistencePrefix: 24 });
      const v6 = service(tcp('fd90::100', 80), { flags: 1, timeoutS: 360, persistencePrefix: 64 });
      await applied(kernel, { op: 'add-service', service: v4 }, { op: 'add-service', service: v6 });
      const seen = await tableOf(kernel);
      assert.deepEqual(
        new Set(seen.services.map((s) => `${s.flags} ${s.timeoutS} ${s.persistencePrefix}`)),
        new Set(['1 360 64', '1 50 24']),
      );
      await savedAs(
        world,
        '-A -t 10.90.0.100:80 -s wlc -p 50 -M 255.255.255.0',
        '-A -t [fd90::100]:80 -s wlc -p 360 -M 64',
      );
      await applied(kernel, { op: 'set-service', service: service(VIP) });
      const plain = (await tableOf(kernel)).services.find((s) => s.persistencePrefix === 32);
      assert.deepEqual([plain?.flags, plain?.timeoutS], [0, 0]);
    },
  },
  {
    name: 'destinations keep forwarding method, weight and thresholds',
    run: async (world) => {
      const { kernel } = world;
      const destinations = [
        real('10.90.0.21', 80, { weight: 5 }),
        real('10.90.0.22', 8080, { forward: 'nat', upperThreshold: 100, lowerThreshold: 10 }),
        real('10.90.0.23', 80, { forward: 'tun', weight: 0 }),
        real('fd90::24', 80, { forward: 'tun' }),
      ];
      await applied(
        kernel,
        { op: 'add-service', service: service(VIP) },
        ...destinations.map(
          (destination) => ({ op: 'add-destination', service: VIP, destination }) as const,
        ),
      );
      const [seen] = (await tableOf(kernel)).services;
      const plain = seen?.destinations
        .map(plainDestination)
        .toSorted((a, b) => (a.address < b.address ? -1 : 1));
      assert.deepEqual(plain, destinations);
      // ipvsadm saves no thresholds.
      await savedAs(
        world,
        '-A -t 10.90.0.100:80 -s wlc',
        '-a -t 10.90.0.100:80 -r 10.90.0.21:80 -g -w 5',
        '-a -t 10.90.0.100:80 -r 10.90.0.22:8080 -m -w 1',
        '-a -t 10.90.0.100:80 -r 10.90.0.23:80 -i -w 0 --tun-type ipip',
        '-a -t 10.90.0.100:80 -r [fd90::24]:80 -i -w 1 --tun-type ipip',
      );
    },
  },
  {
    name: 'a set changes a service and a destination in place',
    run: async (world) => {
      const { kernel } = world;
      const destination = real('10.90.0.21', 80);
      await applied(
        kernel,
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination },
        { op: 'set-service', service: service(VIP, { scheduler: 'rr' }) },
        {
          op: 'set-destination',
          service: VIP,
          destination: { ...destination, weight: 0, forward: 'nat' },
        },
      );
      await savedAs(
        world,
        '-A -t 10.90.0.100:80 -s rr',
        '-a -t 10.90.0.100:80 -r 10.90.0.21:80 -m -w 0',
      );
      const [seen] = (await tableOf(kernel)).services;
      assert.deepEqual([seen?.scheduler, seen?.destinations[0]?.weight], ['rr', 0]);
    },
  },
  {
    name: 'adding what is there and deleting what is not there are successes',
    run: async ({ kernel }) => {
      const destination = real('10.90.0.21', 80);
      const add: IpvsOperation[] = [
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination },
      ];
      await applied(kernel, ...add, ...add);
      const gone: IpvsOperation[] = [
        { op: 'delete-destination', service: VIP, destination },
        { op: 'delete-service', service: VIP },
      ];
      await applied(kernel, ...gone, ...gone.toReversed(), ...gone);
      assert.deepEqual(await tableOf(kernel), { services: [] });
    },
  },
  {
    name: 'adding again changes nothing of what is there',
    run: async ({ kernel }) => {
      await applied(
        kernel,
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.21', 80) },
        { op: 'add-service', service: service(VIP, { scheduler: 'rr' }) },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.21', 80, { weight: 9 }) },
      );
      const [seen] = (await tableOf(kernel)).services;
      assert.deepEqual([seen?.scheduler, seen?.destinations[0]?.weight], ['wlc', 1]);
    },
  },
  {
    name: 'every refusal has its own code, and the others of the batch are done',
    run: async ({ kernel }) => {
      const other = tcp('10.90.0.101', 80);
      const results = await kernel.apply([
        { op: 'add-service', service: service(VIP) },
        { op: 'add-service', service: service(other, { scheduler: 'nonesuch' }) },
        { op: 'set-service', service: service(other) },
        { op: 'add-destination', service: other, destination: real('10.90.0.21', 80) },
        { op: 'set-destination', service: VIP, destination: real('10.90.0.21', 80) },
        {
          op: 'add-destination',
          service: VIP,
          destination: real('10.90.0.21', 80, { upperThreshold: 1, lowerThreshold: 2 }),
        },
        { op: 'add-destination', service: VIP, destination: real('fd90::21', 80) },
        { op: 'add-service', service: service(tcp('fd90::1', 80), { persistencePrefix: 0 }) },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.22', 80) },
      ]);
      assert.deepEqual(codes(results), [
        null,
        'ENOENT',
        'ESRCH',
        'ESRCH',
        'ENOENT',
        'ERANGE',
        'EINVAL',
        'EINVAL',
        null,
      ]);
      const [seen] = (await tableOf(kernel)).services;
      assert.deepEqual(
        seen?.destinations.map((d) => d.address),
        ['10.90.0.22'],
      );
    },
  },
  {
    name: 'a refused last operation of a batch is reported as such',
    run: async ({ kernel }) => {
      const results = await kernel.apply([
        { op: 'add-service', service: service(VIP) },
        { op: 'set-destination', service: VIP, destination: real('10.90.0.21', 80) },
      ]);
      assert.deepEqual(codes(results), [null, 'ENOENT']);
    },
  },
  {
    name: 'deleting a service deletes its destinations',
    run: async ({ kernel }) => {
      await applied(
        kernel,
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.21', 80) },
        { op: 'delete-service', service: VIP },
        { op: 'add-service', service: service(VIP) },
      );
      assert.deepEqual((await tableOf(kernel)).services[0]?.destinations, []);
    },
  },
  {
    name: 'more operations than fit one datagram keep their order and their results',
    run: async ({ kernel }) => {
      const operations: IpvsOperation[] = [{ op: 'add-service', service: service(VIP) }];
      for (let i = 0; i < 700; i++) {
        const address = `10.91.${i >> 8}.${i & 255}`;
        // Every hundredth is refused: its lower threshold exceeds the upper one.
        const lowerThreshold = i % 100 === 99 ? 1 : 0;
        const destination = real(address, 80, { lowerThreshold });
        operations.push({ op: 'add-destination', service: VIP, destination });
      }
      const results = codes(await kernel.apply(operations));
      const refused = results.flatMap((code, i) => (code === null ? [] : [`${i} ${code}`]));
      assert.deepEqual(
        refused,
        [100, 200, 300, 400, 500, 600, 700].map((i) => `${i} ERANGE`),
      );
      assert.equal((await tableOf(kernel)).services[0]?.destinations.length, 693);
    },
  },
  {
    name: 'calls at the same time do not disturb each other',
    run: async ({ kernel }) => {
      await applied(kernel, { op: 'add-service', service: service(VIP) });
      const adds = Array.from({ length: 20 }, (_, i) =>
        kernel.apply([
          { op: 'add-destination', service: VIP, destination: real(`10.91.0.${i}`, 80) },
        ]),
      );
      const dumps = Array.from({ length: 5 }, () => kernel.dump());
      assert.ok((await Promise.all(adds)).flat().every((result) => result.ok));
      assert.ok((await Promise.all(dumps)).every((result) => result.ok));
      assert.equal((await tableOf(kernel)).services[0]?.destinations.length, 20);
    },
  },
  {
    name: 'every scheduler with every flag and every way of forwarding comes back as it was written',
    run: async (world) => {
      const { kernel } = world;
      const wanted = allServices();
      const added = await kernel.apply(
        wanted.map((one) => ({ op: 'add-service', service: one }) as const),
      );
      const taken = wanted.filter((_, i) => added[i]?.ok === true);
      // A kernel may lack one; then the error names its module.
      for (const [i, result] of added.entries())
        if (!result.ok) {
          assert.equal(result.error.code, 'ENOENT');
          const module = `modprobe ip_vs_${wanted[i]?.scheduler}"`;
          assert.ok(result.error.message.includes(module), result.error.message);
        }
      const schedulers = new Set(taken.map(({ scheduler }) => scheduler));
      assert.ok(schedulers.size >= SCHEDULERS.length - 1, [...schedulers].join(' '));
      await applied(
        kernel,
        ...taken.flatMap(({ key, destinations }) =>
          destinations.map(
            (destination) => ({ op: 'add-destination', service: key, destination }) as const,
          ),
        ),
      );
      const seen = await tableOf(kernel);
      const inOrder = (services: readonly DesiredService[]): readonly DesiredService[] =>
        services
          .map((one) => ({
            ...one,
            destinations: one.destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
          }))
          .toSorted((a, b) => (formatServiceKey(a.key) < formatServiceKey(b.key) ? -1 : 1));
      assert.deepEqual(
        inOrder(
          seen.services.map((one) => ({
            ...plainService(one),
            destinations: one.destinations.map(plainDestination),
          })),
        ),
        inOrder(taken),
      );
      await savedAs(world, ...formatIpvsadm(taken, 'save').trimEnd().split('\n'));
    },
  },
  {
    name: 'a set changes a tunnel and takes it away',
    run: async (world) => {
      const { kernel } = world;
      const gue: Tunnel = { type: 'gue', port: 6080, checksum: 'csum' };
      const destination = real('10.90.0.21', 80, { forward: 'tun', tunnel: gue });
      const set = (more: Partial<IpvsDestination>): IpvsOperation => ({
        op: 'set-destination',
        service: VIP,
        destination: { ...destination, ...more },
      });
      const tunnelNow = async (): Promise<Tunnel | null | undefined> =>
        (await tableOf(kernel)).services[0]?.destinations[0]?.tunnel;
      await applied(
        kernel,
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination },
      );
      assert.deepEqual(await tunnelNow(), gue);
      const gre: Tunnel = { type: 'gre', port: 0, checksum: 'nocsum' };
      await applied(kernel, set({ tunnel: gre }));
      assert.deepEqual(await tunnelNow(), gre);
      await applied(kernel, set({ forward: 'dr', tunnel: null }));
      assert.equal(await tunnelNow(), null);
      await savedAs(
        world,
        '-A -t 10.90.0.100:80 -s wlc',
        '-a -t 10.90.0.100:80 -r 10.90.0.21:80 -g -w 1',
      );
    },
  },
  {
    name: 'a persistence engine stays until a set without it',
    run: async (world) => {
      const { kernel } = world;
      const sip = service(
        { kind: 'address', protocol: 'udp', address: ip('10.90.0.100'), port: 5060 },
        { scheduler: 'rr', flags: 5, timeoutS: 60, persistenceEngine: 'sip' },
      );
      await applied(kernel, { op: 'add-service', service: sip });
      await savedAs(world, '-A -u 10.90.0.100:5060 -s rr -p 60 --pe sip -o');
      const engineNow = async (): Promise<string | null | undefined> =>
        (await tableOf(kernel)).services[0]?.persistenceEngine;
      assert.equal(await engineNow(), 'sip');
      await applied(kernel, { op: 'set-service', service: { ...sip, persistenceEngine: null } });
      assert.equal(await engineNow(), null);
      await savedAs(world, '-A -u 10.90.0.100:5060 -s rr -p 60 -o');
    },
  },
  {
    name: 'a missing engine or a gue tunnel without a port is refused, and the others are done',
    run: async ({ kernel }) => {
      const gue: Tunnel = { type: 'gue', port: 0, checksum: 'nocsum' };
      const results = await kernel.apply([
        { op: 'add-service', service: service(VIP, { persistenceEngine: 'nonesuch' }) },
        { op: 'add-service', service: service(VIP) },
        {
          op: 'add-destination',
          service: VIP,
          destination: real('10.90.0.21', 80, { forward: 'tun', tunnel: gue }),
        },
        { op: 'add-destination', service: VIP, destination: real('10.90.0.22', 80) },
      ]);
      assert.deepEqual(codes(results), ['ENOENT', null, 'EINVAL', null]);
    },
  },
  {
    name: 'timeouts are set one by one, and 0 leaves one as it is',
    run: async ({ kernel }) => {
      await applied(
        kernel,
        { op: 'set-timeouts', timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 } },
        { op: 'set-timeouts', timeouts: { tcpS: 0, tcpFinS: 60, udpS: 0 } },
      );
      const changed = { tcpS: 900, tcpFinS: 60, udpS: 300 };
      assert.deepEqual(await kernel.timeouts(), { ok: true, value: changed });
      const [refused] = await kernel.apply([
        { op: 'set-timeouts', timeouts: { tcpS: 0x7fff_ffff, tcpFinS: 1, udpS: 1 } },
      ]);
      assert.deepEqual(codes(refused === undefined ? [] : [refused]), ['EINVAL']);
      assert.deepEqual(await kernel.timeouts(), { ok: true, value: changed });
      await applied(kernel, {
        op: 'set-timeouts',
        timeouts: { tcpS: 900, tcpFinS: 120, udpS: 300 },
      });
    },
  },
  {
    name: 'counters are zeroed for one service or all, and a service that is not there is an error',
    run: async ({ kernel }) => {
      const results = await kernel.apply([
        { op: 'zero', service: null },
        { op: 'zero', service: VIP },
        { op: 'add-service', service: service(VIP) },
        { op: 'zero', service: VIP },
        { op: 'zero', service: null },
      ]);
      assert.deepEqual(codes(results), [null, 'ESRCH', null, null, null]);
    },
  },
  {
    name: 'sync daemons of both states start, tell what they are, and stop',
    run: async ({ kernel, syncDevice }) => {
      const master = daemon(syncDevice, { state: 'master', maxLength: 1400, ttl: 3 });
      const backup = daemon(syncDevice, { state: 'backup', syncId: 0, port: 8850 });
      assert.deepEqual(await kernel.daemons(), { ok: true, value: [] });
      await applied(
        kernel,
        { op: 'new-daemon', daemon: master },
        { op: 'new-daemon', daemon: backup },
      );
      const seen = await daemonsOf(kernel);
      assert.deepEqual(
        seen.find(({ state }) => state === 'master'),
        master,
      );
      const seenBackup = seen.find(({ state }) => state === 'backup');
      assert.ok(typeof seenBackup?.maxLength === 'number' && seenBackup.maxLength > 0);
      assert.deepEqual({ ...seenBackup, maxLength: null }, backup);
      // What runs stays as it is.
      await applied(kernel, { op: 'new-daemon', daemon: { ...master, syncId: 99 } });
      assert.deepEqual(
        new Set((await daemonsOf(kernel)).map(({ syncId }) => syncId)),
        new Set([0, 51]),
      );
      const stop: readonly IpvsOperation[] = [
        { op: 'delete-daemon', daemon: { state: 'master' } },
        { op: 'delete-daemon', daemon: { state: 'backup' } },
      ];
      await applied(kernel, ...stop, ...stop);
      assert.deepEqual(await daemonsOf(kernel), []);
    },
  },
  {
    name: 'a daemon on no device or with no multicast group is refused',
    run: async ({ kernel, syncDevice }) => {
      const results = await kernel.apply([
        { op: 'new-daemon', daemon: daemon('nonesuch0', { state: 'master' }) },
        { op: 'new-daemon', daemon: daemon(syncDevice, { group: ip('10.90.0.1') }) },
      ]);
      assert.deepEqual(codes(results), ['ENODEV', 'EINVAL']);
      assert.deepEqual(await daemonsOf(kernel), []);
    },
  },
  {
    name: 'a sync daemon and a real server of another family exclude each other',
    run: async ({ kernel, syncDevice }) => {
      const start: IpvsOperation = { op: 'new-daemon', daemon: daemon(syncDevice, {}) };
      const mixed: IpvsOperation = {
        op: 'add-destination',
        service: VIP,
        destination: real('fd90::21', 80, { forward: 'tun' }),
      };
      const results = await kernel.apply([
        { op: 'add-service', service: service(VIP) },
        start,
        mixed,
        { op: 'delete-daemon', daemon: { state: 'master' } },
        mixed,
        start,
      ]);
      assert.deepEqual(codes(results), [null, null, 'EINVAL', null, null, 'EINVAL']);
      await applied(kernel, { op: 'delete-daemon', daemon: { state: 'master' } });
    },
  },
  {
    name: 'a kernel that forwarded nothing has no connections',
    run: async ({ kernel }) => {
      await applied(kernel, { op: 'add-service', service: service(VIP) });
      const reading = await kernel.visitConnections(() => true, new AbortController().signal);
      assert.deepEqual(reading, {
        ok: true,
        value: { connections: 0, unreadable: 0, isWhole: true },
      });
    },
  },
];

const daemon = (device: string, more: Partial<IpvsDaemon>): IpvsDaemon => ({
  state: 'master',
  interface: device,
  syncId: 51,
  maxLength: null,
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  ...more,
});

async function daemonsOf(kernel: IpvsKernel): Promise<readonly IpvsDaemon[]> {
  const daemons = await kernel.daemons();
  if (!daemons.ok) throw new Error(daemons.error.message);
  return daemons.value;
}

/** Each scheduler with each set of its flags, and a real server for each way of forwarding. */
function allServices(): readonly DesiredService[] {
  const tunnels: readonly Tunnel[] = [
    DEFAULT_TUNNEL,
    { type: 'gue', port: 6080, checksum: 'nocsum' },
    { type: 'gue', port: 6080, checksum: 'csum' },
    { type: 'gue', port: 6081, checksum: 'remcsum' },
    { type: 'gre', port: 0, checksum: 'nocsum' },
    { type: 'gre', port: 0, checksum: 'csum' },
  ];
  let port = 1000;
  return SCHEDULERS.flatMap((scheduler) => {
    const hasNames = scheduler === 'sh' || scheduler === 'mh';
    // `ipvsadm -S` does not print the third bit of sh and mh.
    const bits = hasNames ? [0, 0x08, 0x10, 0x18] : [0, 0x08, 0x10, 0x20, 0x38];
    return bits.map((flags) => {
      const at = ++port;
      const key = tcp('10.90.0.100', at);
      return {
        ...service(key, { scheduler, flags }),
        destinations: [
          real('10.90.0.20', at, { weight: 0 }),
          real('10.90.0.21', 8080, { forward: 'nat', weight: 2_147_483_647 }),
          real('fd90::22', at, { forward: 'tun' }),
          ...tunnels.map((tunnel, i) =>
            real(`10.90.0.3${i}`, at, { forward: 'tun', tunnel, weight: i + 1 }),
          ),
        ],
      };
    });
  });
}
