import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  equalDesiredService,
  planIpvs,
  serviceKeyOf,
} from '../../../../src/core/plan/ipvs-plan.ts';
import {
  type DesiredService,
  formatServiceKey,
  type IpvsDestination,
  type IpvsTableOperation,
  type IpvsServiceKey,
} from '../../../../src/model/kernel.ts';
import { ip } from '../desired/spec-builders.ts';
import { IpvsModel } from './ipvs-model.ts';

const keyAt = (n: number): IpvsServiceKey => ({
  kind: 'address',
  protocol: 'tcp',
  address: ip(`10.90.0.${n}`),
  port: 80,
});
const nameAt = (n: number): string => formatServiceKey(keyAt(n));

const dest = (n: number, weight = 1, fields: Partial<IpvsDestination> = {}): IpvsDestination => ({
  address: ip(`10.91.${n >> 8}.${n & 255}`),
  port: 80,
  forward: 'dr',
  tunnel: null,
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...fields,
});

const service = (
  n: number,
  destinations: readonly IpvsDestination[] = [],
  fields: Partial<DesiredService> = {},
): DesiredService => ({
  key: keyAt(n),
  scheduler: 'wlc',
  flags: 0,
  timeoutS: 0,
  persistencePrefix: 32,
  persistenceEngine: null,
  destinations,
  ...fields,
});

const plan = (
  desired: readonly DesiredService[],
  present: readonly DesiredService[],
  owned: readonly string[] = present.map((entry) => formatServiceKey(entry.key)),
) => planIpvs({ desired, observed: IpvsModel.of(present).dump(), owned: new Set(owned) });

const brief = (operations: readonly IpvsTableOperation[]): string[] =>
  operations.map((operation) =>
    'destination' in operation
      ? `${operation.op} ${operation.destination.address}`
      : `${operation.op} ${formatServiceKey(serviceKeyOf(operation))}`,
  );

describe('planIpvs: what is ours and what is not', () => {
  it('finds nothing to do in whatever order the kernel tells destinations', () => {
    const wanted = [dest(1), dest(2, 5), dest(3), dest(4)];
    for (const order of [wanted, wanted.toReversed(), [dest(3), dest(1), dest(4), dest(2, 5)]])
      expect(plan([service(1, wanted)], [service(1, order)]).operations).toEqual([]);
    const other = [dest(4), dest(3), dest(2, 4), dest(1)];
    expect(plan([service(1, wanted)], [service(1, other)]).operations).toHaveLength(1);
  });

  it('builds an empty table up, each service before its destinations', () => {
    const { operations, drift, nextOwned } = plan([service(1, [dest(1)]), service(2)], []);
    expect(brief(operations)).toEqual([
      `add-service ${nameAt(1)}`,
      'add-destination 10.91.0.1',
      `add-service ${nameAt(2)}`,
    ]);
    expect(drift).toEqual({ services: 2, destinations: 1 });
    expect([...nextOwned]).toEqual([nameAt(1), nameAt(2)]);
  });

  it('adopts a wanted service that is there, and repairs it', () => {
    const result = plan([service(1, [dest(1)])], [service(1, [dest(2)])], []);
    expect(result.adopted).toEqual([nameAt(1)]);
    expect(result.foreign).toEqual([]);
    expect(brief(result.operations)).toEqual([
      'add-destination 10.91.0.1',
      'delete-destination 10.91.0.2',
    ]);
    expect([...result.nextOwned]).toEqual([nameAt(1)]);
  });

  it('deletes what is in the ledger and not wanted, and keeps it in the ledger until it is gone', () => {
    const result = plan([], [service(1, [dest(1)])]);
    expect(brief(result.operations)).toEqual([`delete-service ${nameAt(1)}`]);
    expect([...result.nextOwned]).toEqual([nameAt(1)]);
    expect([...plan([], [], [nameAt(1)]).nextOwned]).toEqual([]);
  });

  it('leaves foreign services alone, also by firewall mark', () => {
    const mark = { kind: 'fwmark', family: 6, mark: 7 } as const;
    const result = plan([], [service(9, [dest(1)]), service(0, [], { key: mark })], []);
    expect(result).toMatchObject({
      operations: [],
      foreign: [nameAt(9), 'fwmark 7 inet6'],
      drift: { services: 0, destinations: 0 },
    });
    expect(result.nextOwned.size).toBe(0);
  });

  it('takes the first of two wanted services or destinations of one key', () => {
    const twice = [service(1, [dest(1, 1), dest(1, 9)]), service(1, [], { scheduler: 'rr' })];
    expect(plan(twice, [service(1, [dest(1, 1)])]).operations).toEqual([]);
  });
});

describe('planIpvs: differences', () => {
  it.each<[string, Partial<DesiredService>]>([
    ['scheduler', { scheduler: 'rr' }],
    ['flags', { flags: 4 }],
    ['persistence', { flags: 1, timeoutS: 50 }],
  ])('sets a service whose %s differs, without touching its destinations', (_, fields) => {
    const { operations } = plan([service(1, [dest(1)], fields)], [service(1, [dest(1)])]);
    expect(operations).toMatchObject([{ op: 'set-service', service: fields }]);
    expect(operations[0]).not.toHaveProperty('service.destinations');
  });

  it('compares timeout and prefix of persistent services only', () => {
    const present = [service(1, [], { flags: 1, timeoutS: 50 })];
    expect(plan([service(1, [], { flags: 1, timeoutS: 60 })], present).operations).toHaveLength(1);
    const byNet = service(1, [], { flags: 1, timeoutS: 50, persistencePrefix: 24 });
    expect(plan([byNet], present).operations).toHaveLength(1);
    const idle = [service(1, [], { timeoutS: 300, persistencePrefix: 24 })];
    expect(plan([service(1)], idle).operations).toEqual([]);
  });

  it.each<[string, Partial<IpvsDestination>]>([
    ['weight', { weight: 2 }],
    ['forwarding method', { forward: 'nat' }],
    ['upper threshold', { upperThreshold: 5 }],
    ['lower threshold', { lowerThreshold: 5 }],
  ])('sets a destination whose %s differs', (_, fields) => {
    const { operations } = plan([service(1, [dest(1, 1, fields)])], [service(1, [dest(1)])]);
    expect(operations).toMatchObject([{ op: 'set-destination', destination: fields }]);
  });

  it('adds the sorry server before the last real server goes, and the reverse', () => {
    const real = service(1, [dest(1)]);
    const sorry = service(1, [dest(29)]);
    expect(brief(plan([sorry], [real]).operations)).toEqual([
      'add-destination 10.91.0.29',
      'delete-destination 10.91.0.1',
    ]);
    expect(brief(plan([real], [sorry]).operations)).toEqual([
      'add-destination 10.91.0.1',
      'delete-destination 10.91.0.29',
    ]);
  });

  it('raises weights before it lowers others', () => {
    const { operations } = plan(
      [service(1, [dest(1, 0), dest(2, 5), dest(3, 0)])],
      [service(1, [dest(1, 5), dest(2, 0)])],
    );
    expect(brief(operations)).toEqual([
      'set-destination 10.91.0.2',
      'set-destination 10.91.0.1',
      'add-destination 10.91.0.3',
    ]);
  });

  it.each<[string, Partial<Extract<IpvsServiceKey, { kind: 'address' }>> | { mark: number }]>([
    ['protocol', { protocol: 'udp' }],
    ['family', { address: ip('fd90::1') }],
    ['port', { port: 81 }],
    ['firewall mark', { mark: 7 }],
  ])('makes what has another %s complete before it deletes the old', (_, change) => {
    const key: IpvsServiceKey =
      'mark' in change
        ? { kind: 'fwmark', family: 4, mark: change.mark }
        : { kind: 'address', protocol: 'tcp', address: ip('10.90.0.1'), port: 80, ...change };
    const { operations } = plan([{ ...service(1, [dest(1)]), key }], [service(1, [dest(1)])]);
    expect(brief(operations)).toEqual([
      `add-service ${formatServiceKey(key)}`,
      'add-destination 10.91.0.1',
      `delete-service ${nameAt(1)}`,
    ]);
  });

  it('makes a real server of another family anew, and its tunnel in place', () => {
    const tunnel = { type: 'ipip', port: 0, checksum: 'nocsum' } as const;
    const tun = dest(1, 1, { forward: 'tun', tunnel });
    const v6 = { ...tun, address: ip('fd91::1') };
    expect(brief(plan([service(1, [v6])], [service(1, [tun])]).operations)).toEqual([
      'add-destination fd91::1',
      'delete-destination 10.91.0.1',
    ]);
    const gue = { ...tun, tunnel: { type: 'gue', port: 6080, checksum: 'csum' } as const };
    expect(brief(plan([service(1, [gue])], [service(1, [tun])]).operations)).toEqual([
      'set-destination 10.91.0.1',
    ]);
  });

  it('sets the persistence engine of persistent services only', () => {
    const sip = { flags: 1, timeoutS: 50, persistenceEngine: 'sip' };
    const present = [service(1, [], { ...sip, persistenceEngine: null })];
    expect(plan([service(1, [], sip)], present).operations).toHaveLength(1);
    expect(plan([service(1, [], { ...sip, flags: 0 })], [service(1)]).operations).toEqual([]);
  });

  it('deletes services after everything else', () => {
    const { operations } = plan([service(2)], [service(1)]);
    expect(brief(operations)).toEqual([`add-service ${nameAt(2)}`, `delete-service ${nameAt(1)}`]);
  });
});

describe('planIpvs: properties', () => {
  const anyDestination = fc
    .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 2 }), fc.boolean())
    .map(([n, weight, isNat]) => dest(n, weight, { forward: isNat ? 'nat' : 'dr' }));
  const anyServiceAt = (n: number) =>
    fc
      .tuple(
        fc.uniqueArray(anyDestination, { selector: (d) => d.address, maxLength: 5 }),
        fc.constantFrom('wlc', 'rr'),
        fc.constantFrom(0, 1),
        fc.constantFrom(30, 60),
      )
      .map(([destinations, scheduler, flags, timeoutS]) =>
        service(n, destinations, { scheduler, flags, timeoutS }),
      );
  const anyTable = fc
    .uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 5 })
    .chain((ns) => fc.tuple(...ns.map(anyServiceAt)));
  const anyLedger = fc
    .uniqueArray(fc.integer({ min: 1, max: 6 }))
    .map((ns) => new Set(ns.map(nameAt)));

  it('converges in one pass, with exactly one operation per difference, and touches nothing foreign', () => {
    fc.assert(
      fc.property(anyTable, anyTable, anyLedger, (desired, present, owned) => {
        const model = IpvsModel.of(present);
        const before = model.dump();
        const first = planIpvs({ desired, observed: before, owned });
        const differences = countByHand(desired, present, owned);
        expect(first.operations.length).toBe(differences);
        expect(first.drift.services + first.drift.destinations).toBe(differences);
        const touched = first.operations.map((o) => formatServiceKey(serviceKeyOf(o)));
        for (const key of first.foreign) expect(touched).not.toContain(key);
        for (const key of touched) expect(first.nextOwned.has(key)).toBe(true);
        for (const operation of first.operations) model.apply(operation);
        const after = model.dump();
        const second = planIpvs({ desired, observed: after, owned: first.nextOwned });
        expect(second.operations).toEqual([]);
        expect([...second.foreign].sort()).toEqual([...first.foreign].sort());
        for (const key of first.foreign) expect(find(after, key)).toEqual(find(before, key));
        expect(second.nextOwned).toEqual(
          new Set(desired.map((entry) => formatServiceKey(entry.key))),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('never leaves a service without weight that had some and shall have some', () => {
    fc.assert(
      fc.property(anyTable, anyTable, (desired, present) => {
        const model = IpvsModel.of(present);
        const served = desired
          .filter((entry) => entry.destinations.some(({ weight }) => weight > 0))
          .map((entry) => formatServiceKey(entry.key))
          .filter((key) => (model.weightOf(key) ?? 0) > 0);
        const owned = new Set(present.map((entry) => formatServiceKey(entry.key)));
        for (const operation of planIpvs({ desired, observed: model.dump(), owned }).operations) {
          model.apply(operation);
          for (const key of served) expect(model.weightOf(key)).toBeGreaterThan(0);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('planIpvs: work', () => {
  const SERVICES = 2300;
  const DESTINATIONS = 37_000;
  /** What is wanted, with a count of how often a weight was looked at. */
  const large = () => {
    const count = { looks: 0 };
    const services = Array.from({ length: SERVICES }, (_, s) => {
      const destinations = Array.from(
        { length: Math.ceil((DESTINATIONS - s) / SERVICES) },
        (__, d) => ({
          ...dest(d + 1),
          get weight() {
            count.looks++;
            return 1;
          },
        }),
      );
      return { ...service(0, destinations), key: { ...keyAt(s % 200), port: 1000 + s } };
    });
    return { count, services };
  };

  it('grows with the table alone: 37,000 destinations that are as wanted, and one changed weight', () => {
    const { count, services } = large();
    const total = services.reduce((sum, { destinations }) => sum + destinations.length, 0);
    expect(total).toBe(DESTINATIONS);
    const observed = IpvsModel.of(services).dump();
    const owned = new Set(services.map(({ key }) => formatServiceKey(key)));
    count.looks = 0;
    expect(planIpvs({ desired: services, observed, owned }).operations).toEqual([]);
    expect(count.looks).toBeLessThanOrEqual(2 * DESTINATIONS);
    const [first, ...rest] = services;
    if (first === undefined) throw new Error('no service');
    const [one, ...others] = first.destinations;
    if (one === undefined) throw new Error('no destination');
    const heavier = { ...first, destinations: [{ ...one, weight: 9 }, ...others] };
    const { operations } = planIpvs({ desired: [heavier, ...rest], observed, owned });
    expect(brief(operations)).toEqual(['set-destination 10.91.0.1']);
  });
});

describe('equalDesiredService', () => {
  const one = service(1, [dest(1), dest(2)]);
  it('sees every difference, and order is one', () => {
    expect(equalDesiredService(one, { ...one })).toBe(true);
    expect(equalDesiredService(one, one)).toBe(true);
    expect(equalDesiredService(one, service(1, [dest(2), dest(1)]))).toBe(false);
    expect(equalDesiredService(one, service(1, [dest(1)]))).toBe(false);
    expect(equalDesiredService(one, { ...one, scheduler: 'rr' })).toBe(false);
  });
});

const find = (table: ReturnType<IpvsModel['dump']>, key: string) =>
  table.services.find((entry) => formatServiceKey(entry.key) === key);

/** The dumb oracle: compares everything with everything. */
function countByHand(
  desired: readonly DesiredService[],
  present: readonly DesiredService[],
  owned: ReadonlySet<string>,
): number {
  const nameOf = (entry: DesiredService): string => formatServiceKey(entry.key);
  let count = present.filter(
    (p) => owned.has(nameOf(p)) && !desired.some((d) => nameOf(d) === nameOf(p)),
  ).length;
  for (const d of desired) {
    const p = present.find((entry) => nameOf(entry) === nameOf(d));
    const settings = (s: DesiredService) =>
      [s.scheduler, s.flags, s.flags === 1 ? s.timeoutS : 0].join();
    if (p === undefined || settings(p) !== settings(d)) count++;
    const now = p?.destinations ?? [];
    const endpoints = new Set([...d.destinations, ...now].map((entry) => entry.address));
    for (const address of endpoints) {
      const wanted = d.destinations.find((entry) => entry.address === address);
      const there = now.find((entry) => entry.address === address);
      if (JSON.stringify(wanted) !== JSON.stringify(there)) count++;
    }
  }
  return count;
}
