/** The IPVS contract on the fake; `test/rack/ipvs-kernel.test.ts` runs it on real kernels. */
import { describe, expect, test } from 'vitest';
import { FakeIpvsKernel } from '../fakes/fake-kernel.ts';
import { ipvsCases, real, service, tcp } from './ipvs-kernel.contract.ts';

describe('IPVS kernel contract: fake', () => {
  for (const { name, run } of ipvsCases)
    test(name, () => run({ kernel: new FakeIpvsKernel(), savedRules: async () => null }));
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
