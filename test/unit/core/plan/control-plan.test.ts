import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type KernelPlanInput,
  planDaemons,
  planKernel,
  planTimeouts,
} from '../../../../src/core/plan/control-plan.ts';
import { familyOf } from '../../../../src/model/address.ts';
import { DEFAULT_TUNNEL, familyOfKey } from '../../../../src/model/cluster.ts';
import {
  type DesiredService,
  formatServiceKey,
  type IpvsDaemon,
  type IpvsDestination,
  type IpvsOperation,
  type IpvsServiceKey,
} from '../../../../src/model/kernel.ts';
import { ip } from '../desired/spec-builders.ts';
import { DEFAULT_TIMEOUTS, KernelModel } from './kernel-model.ts';

const daemon = (
  state: IpvsDaemon['state'],
  fields: Partial<Omit<IpvsDaemon, 'state'>> = {},
): IpvsDaemon => ({
  state,
  interface: 'eth1',
  syncId: 51,
  maxLength: null,
  group: ip('224.0.0.81'),
  port: 8848,
  ttl: 1,
  ...fields,
});

const OURS = new Set(['sync master', 'sync backup']);
const brief = (operations: readonly IpvsOperation[]): string[] =>
  operations.map((operation) => {
    if (operation.op === 'new-daemon' || operation.op === 'delete-daemon')
      return `${operation.op} ${operation.daemon.state}`;
    return operation.op;
  });

const plan = (
  desired: readonly IpvsDaemon[],
  observed: readonly IpvsDaemon[],
  owned: ReadonlySet<string> = OURS,
) => {
  const made = planDaemons({ desired, observed, owned });
  return { ...made, first: brief(made.first), last: brief(made.last) };
};

describe('planDaemons', () => {
  it('starts what is wanted, after the table', () => {
    const made = plan([daemon('master'), daemon('backup')], [], new Set());
    expect(made).toMatchObject({ first: [], last: ['new-daemon master', 'new-daemon backup'] });
    expect([...made.nextOwned]).toEqual(['sync master', 'sync backup']);
  });

  it('leaves alone what is as wanted, also where the kernel chose or does not tell the length', () => {
    const wanted = daemon('backup');
    expect(plan([wanted], [{ ...wanted, maxLength: 1472 }])).toMatchObject({ first: [], last: [] });
    const exact = daemon('backup', { maxLength: 1400 });
    expect(plan([exact], [{ ...exact, maxLength: null }])).toMatchObject({ first: [], last: [] });
  });

  it.each<[string, Partial<Omit<IpvsDaemon, 'state'>>]>([
    ['interface', { interface: 'eth2' }],
    ['sync id', { syncId: 0 }],
    ['multicast group', { group: ip('224.0.0.82') }],
    ['port', { port: 8849 }],
    ['ttl', { ttl: 2 }],
    ['length', { maxLength: 1400 }],
  ])('makes it anew where the %s differs', (_, fields) => {
    const made = plan([daemon('master', fields)], [daemon('master', { maxLength: 1472 })]);
    expect(made).toMatchObject({ first: [], last: ['delete-daemon master', 'new-daemon master'] });
  });

  it('stops what is ours and no longer wanted, before the table, and knows it until it is gone', () => {
    const made = plan([daemon('master')], [daemon('backup')]);
    expect(made).toMatchObject({ first: ['delete-daemon backup'], last: ['new-daemon master'] });
    expect([...made.nextOwned]).toEqual(['sync master', 'sync backup']);
    expect([...plan([daemon('master')], [daemon('master')]).nextOwned]).toEqual(['sync master']);
  });

  it('leaves those of others alone', () => {
    const foreign = [daemon('master'), daemon('backup')];
    expect(plan([], foreign, new Set())).toMatchObject({ first: [], last: [], foreign });
  });
});

describe('planTimeouts', () => {
  const none = { tcpS: null, tcpFinS: null, udpS: null };
  it('sets only what is configured and differs', () => {
    expect(planTimeouts(none, DEFAULT_TIMEOUTS)).toBeNull();
    expect(planTimeouts({ ...none, tcpS: 900 }, DEFAULT_TIMEOUTS)).toBeNull();
    expect(planTimeouts({ tcpS: 900, tcpFinS: 30, udpS: null }, DEFAULT_TIMEOUTS)).toEqual({
      op: 'set-timeouts',
      timeouts: { tcpS: 0, tcpFinS: 30, udpS: 0 },
    });
  });

  it('does nothing where the kernel did not tell', () => {
    expect(planTimeouts({ ...none, tcpS: 1 }, null)).toBeNull();
  });
});

const KEYS: readonly IpvsServiceKey[] = [
  { kind: 'address', protocol: 'tcp', address: ip('10.90.0.100'), port: 80 },
  { kind: 'address', protocol: 'udp', address: ip('10.90.0.100'), port: 80 },
  { kind: 'address', protocol: 'sctp', address: ip('fd90::100'), port: 0 },
  { kind: 'fwmark', family: 4, mark: 7 },
  { kind: 'fwmark', family: 6, mark: 7 },
];

describe('planKernel', () => {
  const anyDestination = fc
    .record({
      n: fc.integer({ min: 1, max: 4 }),
      isV6: fc.boolean(),
      weight: fc.integer({ min: 0, max: 2 }),
      upperThreshold: fc.constantFrom(0, 9),
      tunnel: fc.constantFrom(DEFAULT_TUNNEL, {
        type: 'gue' as const,
        port: 6080,
        checksum: 'csum' as const,
      }),
      method: fc.constantFrom('dr' as const, 'nat' as const, 'tun' as const),
    })
    .map(({ n, isV6, tunnel, method, ...rest }): IpvsDestination => {
      const address = ip(isV6 ? `fd91::${n}` : `10.91.0.${n}`);
      const isTunnel = method === 'tun';
      const own = { address, port: 80, lowerThreshold: 0, forward: method };
      return { ...own, tunnel: isTunnel ? tunnel : null, ...rest };
    });
  const anyServiceAt = (key: IpvsServiceKey) =>
    fc
      .record({
        destinations: fc.uniqueArray(anyDestination, { selector: (d) => d.address, maxLength: 5 }),
        scheduler: fc.constantFrom('wlc', 'mh'),
        flags: fc.constantFrom(0, 1, 4, 0x18),
        timeoutS: fc.constantFrom(30, 60),
        persistenceEngine: fc.constantFrom(null, 'sip'),
      })
      .map((fields): DesiredService => ({ key, persistencePrefix: 32, ...fields }));
  const anyServices = fc
    .subarray([...KEYS])
    .chain((keys) => fc.tuple(...keys.map((key) => anyServiceAt(key))));
  const anyDaemons = fc
    .uniqueArray(
      fc.record({
        state: fc.constantFrom('master' as const, 'backup' as const),
        syncId: fc.constantFrom(0, 51),
      }),
      { selector: ({ state }) => state },
    )
    .map((list) => list.map(({ state, syncId }) => daemon(state, { syncId })));
  const isMixed = (services: readonly DesiredService[]): boolean =>
    services.some(({ key, destinations }) =>
      destinations.some(({ address }) => familyOf(address) !== familyOfKey(key)),
    );
  /** A kernel that may be so: no daemon runs beside mixed families. */
  const anyState = fc
    .record({ services: anyServices, daemons: anyDaemons })
    .map(({ services, daemons }) => ({ services, daemons: isMixed(services) ? [] : daemons }));

  const inputOf = (
    desired: { services: readonly DesiredService[]; daemons: readonly IpvsDaemon[] },
    model: KernelModel,
    owned: ReadonlySet<string>,
  ): KernelPlanInput => ({
    desired: desired.services,
    observed: model.table.dump(),
    owned,
    daemons: { desired: desired.daemons, observed: model.daemons },
    timeouts: {
      desired: { tcpS: 600, tcpFinS: null, udpS: null },
      observed: model.timeouts,
    },
  });
  const ledgerOf = (state: { services: readonly DesiredService[] }): Set<string> =>
    new Set([...state.services.map(({ key }) => formatServiceKey(key)), ...OURS]);
  const byKey = (services: readonly DesiredService[]) =>
    new Map(
      services.map(({ destinations, ...service }) => [
        formatServiceKey(service.key),
        {
          scheduler: service.scheduler,
          flags: service.flags & ~2,
          timeoutS: (service.flags & 1) === 0 ? 0 : service.timeoutS,
          engine: (service.flags & 1) === 0 ? null : service.persistenceEngine,
          destinations: new Map(
            destinations.map(({ address, port, forward, tunnel, weight, upperThreshold }) => [
              address,
              { port, forward, tunnel, weight, upperThreshold },
            ]),
          ),
        },
      ]),
    );

  it('makes any table the wanted one, in an order that the kernel takes, and then has nothing to do', () => {
    fc.assert(
      fc.property(anyState, anyState, (desired, present) => {
        const model = new KernelModel(present.services, present.daemons);
        const owned = ledgerOf(present);
        const made = planKernel(inputOf(desired, model, owned));
        for (const operation of made.operations) model.apply(operation);
        expect(byKey(model.table.dump().services)).toEqual(byKey(desired.services));
        const running = new Map(model.daemons.map((one) => [one.state, one.syncId]));
        expect(running).toEqual(new Map(desired.daemons.map((one) => [one.state, one.syncId])));
        expect(model.timeouts).toEqual({ ...DEFAULT_TIMEOUTS, tcpS: 600 });
        expect(planKernel(inputOf(desired, model, made.nextOwned)).operations).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it('plans nothing against itself', () => {
    fc.assert(
      fc.property(anyState, (state) => {
        const model = new KernelModel(state.services, state.daemons);
        model.timeouts = { ...DEFAULT_TIMEOUTS, tcpS: 600 };
        const made = planKernel(inputOf(state, model, ledgerOf(state)));
        expect(made.operations).toEqual([]);
        expect(made.adopted).toEqual([]);
        expect(made.foreign).toEqual([]);
      }),
    );
  });

  it('touches nothing that is not in the ledger and not wanted', () => {
    fc.assert(
      fc.property(anyState, (present) => {
        const model = new KernelModel(present.services, present.daemons);
        const nothing = { services: [], daemons: [] };
        const made = planKernel(inputOf(nothing, model, new Set()));
        expect(made.operations.map(({ op }) => op)).toEqual(['set-timeouts']);
        expect(made.foreignDaemons).toEqual(model.daemons);
        expect(made.foreign).toHaveLength(present.services.length);
      }),
    );
  });

  it('keeps what the ledger says of daemons where they were not asked for', () => {
    const model = new KernelModel();
    const input = inputOf({ services: [], daemons: [] }, model, new Set(['sync backup']));
    const made = planKernel({
      ...input,
      daemons: { desired: [daemon('master')], observed: null },
      timeouts: { ...input.timeouts, observed: null },
    });
    expect(made.operations).toEqual([]);
    expect([...made.nextOwned]).toEqual(['sync backup']);
  });
});
