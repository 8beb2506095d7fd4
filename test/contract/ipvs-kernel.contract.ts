/** What every IpvsKernel does; runs on the fake and, in a guest, on the kernel's own IPVS. */
import assert from 'node:assert/strict';
import type { Result } from '../../src/lib/result.ts';
import { type IpAddress, parseIp } from '../../src/model/address.ts';
import { DEFAULT_TUNNEL } from '../../src/model/cluster.ts';
import type {
  IpvsDestination,
  IpvsTableOperation,
  IpvsService,
  IpvsServiceKey,
  IpvsTable,
  KernelError,
} from '../../src/model/kernel.ts';
import type { IpvsKernel } from '../../src/ports/kernel.ts';
import type { ContractCase } from './contract-case.ts';

export type IpvsWorld = {
  readonly kernel: IpvsKernel;
  /** Lines of `ipvsadm -Sn`, sorted; null where there is no such tool (the fake). */
  readonly savedRules: () => Promise<readonly string[] | null>;
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

const codes = (results: readonly Result<void, KernelError>[]): readonly (string | null)[] =>
  results.map((result) => (result.ok ? null : result.error.code));

async function applied(kernel: IpvsKernel, ...operations: IpvsTableOperation[]): Promise<void> {
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
        const { counters, destinations, ...plain } = found;
        assert.deepEqual(plain, wanted);
        assert.deepEqual(destinations, []);
        assert.equal(counters.connections, 0);
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
        .map(({ activeConnections: _a, inactiveConnections: _i, counters: _c, ...rest }) => rest)
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
      const add: IpvsTableOperation[] = [
        { op: 'add-service', service: service(VIP) },
        { op: 'add-destination', service: VIP, destination },
      ];
      await applied(kernel, ...add, ...add);
      const gone: IpvsTableOperation[] = [
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
      const operations: IpvsTableOperation[] = [{ op: 'add-service', service: service(VIP) }];
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
];
