/** The kernel's table for people, on a kernel in memory: what is ours, what is special, and counters to 0. */
import { describe, expect, it } from 'vitest';
import { createIpvsDesk } from '../../../src/agent/ipvs-desk.ts';
import { NOTHING_RECONCILED, type ReconcileState } from '../../../src/agent/reconcile-state.ts';
import { parseClusterDocument } from '../../../src/config/cluster-document.ts';
import { deriveDesired } from '../../../src/core/desired/desired-state.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import type { CheckStatus } from '../../../src/model/health.ts';
import { directorId, type MonoMs, serviceId } from '../../../src/model/ids.ts';
import type { TableRow } from '../../../src/model/ipvs-listing.ts';
import { formatServiceKey } from '../../../src/model/kernel.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeIpvsKernel } from '../../fakes/fake-kernel.ts';

const SPEC = (() => {
  const parsed = parseClusterDocument({
    apiVersion: 'leasehold/v1',
    directors: { d1: { address: '10.90.0.11' } },
    groups: { web: { addresses: ['10.90.0.100/24', '10.90.0.101/24'], interface: 'public' } },
    services: {
      shop: {
        group: 'web',
        address: '10.90.0.100',
        ports: [80, 443],
        check: { tcp: {}, port: 80 },
        inhibitOnFailure: true,
        realServers: [{ address: '10.90.0.21' }, { address: '10.90.0.22', weight: 3 }],
      },
      mail: {
        group: 'web',
        address: '10.90.0.101',
        port: 25,
        check: { tcp: {} },
        realServers: [{ address: '10.90.0.31' }],
        sorryServer: { address: '10.90.0.39' },
      },
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.spec;
})();

/** 10.90.0.22 and all of mail are down; somebody else has a service, and a real server in ours. */
async function setUp() {
  const kernel = new FakeIpvsKernel();
  const { checks, byRealServer } = deriveChecks(SPEC);
  const down = ['10.90.0.22', '10.90.0.31'];
  const statuses = new Map(
    checks.map((check): [typeof check.id, CheckStatus] => [
      check.id,
      { isUp: !down.includes(check.address), basis: 'majority', votesUp: 1, votesDown: 0 },
    ]),
  );
  const made = deriveDesired({ spec: SPEC, checks: byRealServer, overrides: [], statuses });
  const [shop] = made.services;
  const [first] = shop?.destinations ?? [];
  if (shop === undefined || first === undefined) throw new Error('none');
  const foreign = { ...shop, key: { kind: 'fwmark' as const, family: 4 as const, mark: 9 } };
  const stranger = { ...first, address: '10.90.0.23' as typeof first.address };
  await kernel.apply([
    ...[...made.services, foreign].map((service) => ({ op: 'add-service' as const, service })),
    ...[...made.services, { ...foreign, destinations: [first] }].flatMap((service) =>
      service.destinations.map((destination) => ({
        op: 'add-destination' as const,
        service: service.key,
        destination,
      })),
    ),
    { op: 'add-destination', service: shop.key, destination: stranger },
    {
      op: 'add-destination',
      service: shop.key,
      destination: { ...stranger, address: '10.90.0.24' as typeof first.address, weight: 0 },
    },
  ]);
  const clock = new FakeClock();
  let state: ReconcileState = {
    ...NOTHING_RECONCILED,
    available: true,
    foreign: [formatServiceKey(foreign.key)],
    explanations: made.explanations,
    serviceExplanations: made.serviceExplanations,
  };
  let woken = 0;
  /** As the reconcile loop says it after a pass. */
  const reconciled = async (asOf?: MonoMs): Promise<void> => {
    const dumped = await kernel.dump();
    if (!dumped.ok) throw new Error(dumped.error.message);
    const table = { ...dumped.value, ...(asOf === undefined ? {} : { asOf }) };
    state = { ...state, table, lastReconcileAt: clock.now(), lastReconcileMs: 0 };
  };
  const desk = createIpvsDesk({
    me: directorId('d1'),
    kernel,
    clock,
    parts: {
      specs: { spec: () => SPEC } as never,
      reconcile: { state: () => state, wake: () => void woken++ } as never,
    },
  });
  const list = async (service: string | null = null): Promise<readonly TableRow[]> => {
    const listing = await desk.table(service);
    if (!listing.ok) throw new Error(listing.error.message);
    return [...listing.value.rows()];
  };
  return { kernel, clock, desk, list, reconciled, woken: () => woken };
}

const short = (row: TableRow): string => {
  if (row.kind === 'service') return `${row.service ?? '?'}${row.isForeign ? ' foreign' : ''}`;
  if (row.kind !== 'destination') return row.kind;
  return `  ${row.address} ${row.weight} ${row.role}${row.note === null ? '' : `: ${row.note}`}`;
};

describe('the table', () => {
  it('says whose each service is, and what is special about each destination', async () => {
    const { list } = await setUp();
    expect((await list()).map(short)).toEqual([
      'shop',
      '  10.90.0.21 1 real-server',
      '  10.90.0.22 0 real-server: down',
      '  10.90.0.23 1 unknown: not in the cluster document',
      '  10.90.0.24 0 leaving: leaving',
      'shop',
      '  10.90.0.21 1 real-server',
      '  10.90.0.22 0 real-server: down',
      'mail',
      '  10.90.0.39 1 sorry-server: sorry server',
      '? foreign',
      '  10.90.0.21 1 foreign',
      'end',
    ]);
  });

  it('is that of one virtual service, or of one of the kernel’s', async () => {
    const { list } = await setUp();
    expect((await list('mail')).map(short)[0]).toBe('mail');
    expect(await list('fwmark 9 inet')).toHaveLength(3);
    expect(await list('tcp 10.9.9.9:80')).toEqual([{ kind: 'end', services: 0, destinations: 0 }]);
  });

  it('is read anew, all of it, where part of what the last pass read is old', async () => {
    const { clock, kernel, desk, reconciled } = await setUp();
    const start = clock.now();
    const fresh: unknown[] = [];
    const dump = kernel.dump.bind(kernel);
    kernel.dump = (...args: unknown[]) => {
      fresh.push(...args);
      return dump();
    };
    await clock.advance(4000);
    await reconciled(start);
    expect(await desk.table(null)).toMatchObject({ value: { head: { dumpedMsAgo: 4000 } } });
    expect(fresh).toEqual([]);
    await clock.advance(2000);
    await reconciled(start);
    expect(await desk.table(null)).toMatchObject({ value: { head: { dumpedMsAgo: 0 } } });
    expect(fresh).toEqual(['all']);
  });

  it('is refused with the kernel’s reason', async () => {
    const { kernel, desk } = await setUp();
    kernel.setMissing('load it with "modprobe ip_vs"');
    const listing = await desk.table(null);
    expect(listing.ok ? '' : listing.error.message).toBe('load it with "modprobe ip_vs"');
  });
});

describe('counters to 0', () => {
  it('are those of our services, with all their keys, and of nobody else', async () => {
    const { kernel, desk, woken } = await setUp();
    kernel.takeControlled();
    const zeroed = await desk.zero([serviceId('shop'), serviceId('mail')]);
    expect(zeroed).toEqual({ ok: true, value: 3 });
    expect(woken()).toBe(1);
    const keys = kernel.takeControlled().map((one) => (one.op === 'zero' ? one.service : null));
    expect(keys.map((key) => (key === null ? 'ALL' : formatServiceKey(key)))).toEqual([
      'tcp 10.90.0.100:80',
      'tcp 10.90.0.100:443',
      'tcp 10.90.0.101:25',
    ]);
  });

  it('are 0 in the next listing, though the table was read a moment ago', async () => {
    const { kernel, clock, desk, list, reconciled } = await setUp();
    const [key] = SPEC.services.find(({ id }) => id === 'mail')?.keys ?? [];
    if (key === undefined) throw new Error('none');
    const counted = async (): Promise<readonly (number | undefined)[]> =>
      (await list('mail')).map((row) =>
        row.kind === 'service' ? Number(row.counters.connections) : undefined,
      );
    const once = { connections: 5, packetsIn: 9, packetsOut: 0, bytesIn: 99, bytesOut: 0 };
    kernel.setStatistics(key, null, { counters: once });
    await reconciled();
    expect((await counted())[0]).toBe(5);
    await clock.advance(100);
    await desk.zero([serviceId('mail')]);
    expect((await counted())[0]).toBe(0);
    // The table of a pass that began after that is as good as any.
    await clock.advance(100);
    await reconciled();
    kernel.setStatistics(key, null, { counters: once });
    expect((await counted())[0]).toBe(0);
  });

  it('are none of a service that is not in the table', async () => {
    const { kernel, desk } = await setUp();
    const [mail] = SPEC.services.filter(({ id }) => id === 'mail');
    const [key] = mail?.keys ?? [];
    if (key === undefined) throw new Error('none');
    await kernel.apply([{ op: 'delete-service', service: key }]);
    expect(await desk.zero([serviceId('mail')])).toEqual({ ok: true, value: 0 });
  });
});
