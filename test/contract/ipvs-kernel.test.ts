/** The IPVS contract on the fake; `test/rack/ipvs-kernel.test.ts` runs it on real kernels. */
import { describe, expect, test } from 'vitest';
import type { IpvsConnection } from '../../src/model/kernel.ts';
import { FakeIpvsKernel } from '../fakes/fake-kernel.ts';
import { ip, ipvsCases, real, service, tcp } from './ipvs-kernel.contract.ts';

describe('IPVS kernel contract: fake', () => {
  for (const { name, run } of ipvsCases)
    test(name, () =>
      run({
        kernel: new FakeIpvsKernel({ devices: ['eth0'] }),
        savedRules: async () => null,
        syncDevice: 'eth0',
      }),
    );
});

describe('what only the fake can do', () => {
  const key = tcp('10.90.0.100', 80);

  test('an injected refusal hits one operation and leaves the table alone', async () => {
    const kernel = new FakeIpvsKernel();
    kernel.failNext('ENOBUFS', (operation) => operation.op === 'add-service');
    const [first] = await kernel.apply([{ op: 'add-service', service: service(key) }]);
    expect(first).toMatchObject({ ok: false, error: { code: 'ENOBUFS' } });
    expect(kernel.table().services).toEqual([]);
    const [second] = await kernel.apply([{ op: 'add-service', service: service(key) }]);
    expect(second?.ok).toBe(true);
  });

  test('without IPVS everything says so, and it comes back empty', async () => {
    const kernel = new FakeIpvsKernel();
    kernel.drift({ op: 'add-service', service: service(key) });
    kernel.setMissing('no module');
    expect(await kernel.capability()).toEqual({ available: false, detail: 'no module' });
    expect(await kernel.dump()).toMatchObject({ ok: false, error: { code: 'UNAVAILABLE' } });
    kernel.setMissing(null);
    expect(kernel.table().services).toEqual([]);
  });

  test('an injected refusal of a sync daemon hits it alone', async () => {
    const kernel = new FakeIpvsKernel();
    kernel.failNextControl('ENOMEM', 'delete-daemon');
    const stop = { op: 'delete-daemon', daemon: { state: 'master' } } as const;
    const results = await kernel.apply([{ op: 'zero', service: null }, stop, stop]);
    expect(results.map((result) => result.ok)).toEqual([true, false, true]);
    expect(kernel.takeControlled().map(({ op }) => op)).toEqual([
      'zero',
      'delete-daemon',
      'delete-daemon',
    ]);
    expect(kernel.takeApplied()).toEqual([]);
  });

  test('statistics can be set, and are zeroed for one service or for all', async () => {
    const kernel = new FakeIpvsKernel();
    const other = tcp('10.90.0.101', 80);
    const counters = { connections: 1, packetsIn: 2, packetsOut: 3, bytesIn: 4, bytesOut: 5 };
    kernel.drift(
      { op: 'add-service', service: service(key) },
      { op: 'add-destination', service: key, destination: real('10.90.0.21', 80) },
      { op: 'add-service', service: service(other) },
    );
    kernel.setStatistics(key, null, { counters, rates: counters });
    kernel.setStatistics(key, real('10.90.0.21', 80), { counters });
    kernel.setStatistics(other, null, { counters });
    const connections = (): readonly (number | undefined)[] => {
      const [first, second] = kernel.table().services;
      return [
        first?.counters.connections,
        first?.rates.connections,
        first?.destinations[0]?.counters.connections,
        second?.counters.connections,
      ];
    };
    expect(connections()).toEqual([1, 1, 1, 1]);
    await kernel.apply([{ op: 'zero', service: key }]);
    expect(connections()).toEqual([0, 0, 0, 1]);
    await kernel.apply([{ op: 'zero', service: null }]);
    expect(connections()).toEqual([0, 0, 0, 0]);
  });

  test('connections are visited piece by piece until the visitor has enough', async () => {
    const kernel = new FakeIpvsKernel();
    const at = (port: number): IpvsConnection => ({
      protocol: 'TCP',
      client: { address: ip('10.90.0.1'), port },
      virtual: { address: ip('10.90.0.100'), port: 80 },
      realServer: { address: ip('10.90.0.21'), port: 80 },
      state: 'ESTABLISHED',
      expiresS: 900,
      persistenceEngine: null,
      persistenceData: null,
    });
    kernel.setConnectionTable(Array.from({ length: 250 }, (_, i) => at(i + 1)));
    const seen: number[] = [];
    const { signal } = new AbortController();
    const all = await kernel.visitConnections((some) => seen.push(some.length) > 0, signal);
    expect(all).toMatchObject({ ok: true, value: { connections: 250, isWhole: true } });
    expect(seen).toEqual([100, 100, 50]);
    const few = await kernel.visitConnections(() => false, signal);
    expect(few).toMatchObject({ ok: true, value: { connections: 100, isWhole: false } });
    const none = await kernel.visitConnections(() => true, AbortSignal.abort());
    expect(none).toMatchObject({ ok: true, value: { connections: 0, isWhole: false } });
  });

  test('connections can be set, as a drain waits for them', async () => {
    const kernel = new FakeIpvsKernel();
    kernel.drift(
      { op: 'add-service', service: service(key) },
      { op: 'add-destination', service: key, destination: real('10.90.0.21', 80) },
    );
    kernel.setConnections(key, real('10.90.0.21', 80), 3, 4);
    expect(kernel.table().services[0]?.destinations[0]).toMatchObject({
      activeConnections: 3,
      inactiveConnections: 4,
    });
  });
});
