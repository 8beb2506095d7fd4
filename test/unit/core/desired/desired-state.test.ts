import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveDesired } from '../../../../src/core/desired/desired-state.ts';
import { deriveChecks, realServerKey } from '../../../../src/core/health/checks.ts';
import type { RealServer, VirtualService } from '../../../../src/model/cluster.ts';
import type { AdminState, CheckStatus, RealServerOverride } from '../../../../src/model/health.ts';
import { realServerId, serviceId } from '../../../../src/model/ids.ts';
import { anyService, anySpec, ip, server, sorryServer } from './spec-builders.ts';

const A = server('10.90.0.21', { weight: 3 });
const B = server('10.90.0.22', { weight: 5 });
const SORRY = sorryServer('10.90.0.29');

type Health = 'up' | 'down' | 'kept-down' | 'initial';

const statusOf = (health: Health): CheckStatus => ({
  isUp: health === 'up',
  basis: health === 'initial' ? 'initial' : health === 'kept-down' ? 'kept' : 'majority',
  votesUp: 0,
  votesDown: 0,
});

const override = (
  realServer: RealServer,
  state: AdminState,
  weight: number | null = null,
  service = 'web',
): RealServerOverride => ({
  service: serviceId(service),
  realServer: realServer.id,
  state,
  weight,
  by: 'op',
  reason: 'test',
});

function derive(
  services: readonly VirtualService[],
  health: Record<string, Health> = {},
  overrides: readonly RealServerOverride[] = [],
) {
  const spec = anySpec(services);
  const { checks, byRealServer } = deriveChecks(spec);
  const statuses = new Map(
    checks.flatMap((check) => {
      const known = health[check.address];
      return known === undefined ? [] : [[check.id, statusOf(known)] as const];
    }),
  );
  const desired = deriveDesired({ spec, checks: byRealServer, overrides, statuses });
  return {
    ...desired,
    weights: desired.services.map((service) =>
      service.destinations.map((entry) => [entry.address, entry.weight]),
    ),
    why: (realServer: RealServer, service = 'web') =>
      desired.explanations.get(realServerKey(serviceId(service), realServer.id)),
  };
}

const web = (fields: Parameters<typeof anyService>[0] = {}): VirtualService =>
  anyService({ realServers: [A, B], ...fields });

describe('deriveDesired: services', () => {
  it('projects a plain service', () => {
    expect(derive([web({ scheduler: 'sh' })], { [A.address]: 'up' }).services).toEqual([
      {
        key: { kind: 'address', protocol: 'tcp', address: '10.90.0.100', port: 80 },
        scheduler: 'sh',
        flags: 0,
        timeoutS: 0,
        persistencePrefix: 32,
        persistenceEngine: null,
        destinations: [A, B].map(({ address, port, weight }) => ({
          address,
          port,
          weight,
          forward: 'dr',
          tunnel: null,
          upperThreshold: 0,
          lowerThreshold: 0,
        })),
      },
    ]);
  });

  it('sets flag, timeout and host prefix of a persistent IPv6 service', () => {
    const service = web({
      address: 'fd90::100',
      persistence: { timeoutS: 50, prefix: 128, engine: null },
      realServers: [],
    });
    expect(derive([service]).services).toMatchObject([
      { flags: 1, timeoutS: 50, persistencePrefix: 128, destinations: [] },
    ]);
  });

  it('names a service key once, and says so of the real servers of the second', () => {
    const desired = derive([web(), web({ id: 'again', realServers: [A], sorryServer: SORRY })]);
    expect(desired.weights).toEqual([
      [
        [A.address, 3],
        [B.address, 5],
      ],
    ]);
    expect(desired.why(A, 'again')).toMatchObject({ wantedWeight: null, why: 'duplicate' });
    expect(desired.sorryActive.size).toBe(0);
  });
});

describe('deriveDesired: real servers', () => {
  it('removes what is down', () => {
    const desired = derive([web()], { [A.address]: 'down', [B.address]: 'up' });
    expect(desired.weights).toEqual([[[B.address, 5]]]);
    expect(desired.why(A)).toEqual({
      service: 'web',
      realServer: A.id,
      wantedWeight: null,
      why: 'down-removed',
      health: 'down',
      basis: 'majority',
      admin: 'ready',
      weight: { configured: 3, override: null, dynamic: null, full: 3, ramped: 3 },
      fullAtMs: null,
      drain: null,
    });
    expect(desired.why(B)).toMatchObject({ wantedWeight: 5, why: 'up', health: 'up' });
  });

  it('keeps what is down with weight 0 where the service inhibits on failure', () => {
    const desired = derive([web({ inhibitOnFailure: true })], { [A.address]: 'kept-down' });
    expect(desired.weights).toEqual([
      [
        [A.address, 0],
        [B.address, 5],
      ],
    ]);
    expect(desired.why(A)).toMatchObject({ why: 'down-inhibited', basis: 'kept' });
  });

  it('takes what has no check for up', () => {
    const desired = derive([web({ check: null })]);
    expect(desired.why(A)).toMatchObject({
      why: 'unchecked',
      health: 'unchecked',
      basis: 'unchecked',
      wantedWeight: 3,
    });
  });

  it('before the first vote counts as up, or as down with alpha, though both share a check', () => {
    for (const health of [{}, { [A.address]: 'initial' as const }]) {
      const first = web({ realServers: [A] });
      const second = web({ id: 'b', port: 81, realServers: [A], alpha: true });
      const desired = derive([first, second], health);
      expect(desired.why(A)).toMatchObject({ why: 'up', basis: 'initial' });
      expect(desired.why(A, 'b')).toMatchObject({ why: 'down-removed', basis: 'initial' });
    }
  });
});

describe('deriveDesired: overrides', () => {
  it('drains with weight 0 and takes out for maintenance', () => {
    const overrides = [override(A, 'drain', 9), override(B, 'maint')];
    const desired = derive([web()], {}, overrides);
    expect(desired.weights).toEqual([[[A.address, 0]]]);
    expect(desired.why(A)).toMatchObject({ why: 'admin-drain', admin: 'drain', wantedWeight: 0 });
    expect(desired.why(B)).toMatchObject({ why: 'admin-maint', wantedWeight: null });
  });

  it('overrides the weight, also with 0', () => {
    const overrides = [override(A, 'ready', 7), override(B, 'ready', 0)];
    const desired = derive([web()], {}, overrides);
    expect(desired.weights[0]).toEqual([
      [A.address, 7],
      [B.address, 0],
    ]);
  });

  it('removes a drained real server that is down, and one in maintenance though inhibited', () => {
    const health = { [A.address]: 'down', [B.address]: 'down' } as const;
    expect(derive([web()], health, [override(A, 'drain')]).weights).toEqual([[]]);
    const desired = derive([web({ inhibitOnFailure: true })], health, [override(A, 'maint')]);
    expect(desired.weights).toEqual([[[B.address, 0]]]);
  });

  it('ignores overrides for what the spec does not have', () => {
    const stray = { ...override(A, 'maint'), realServer: realServerId('10.9.9.9:1') };
    const desired = derive([web()], {}, [stray, override(A, 'maint', null, 'other')]);
    expect(desired.weights[0]).toHaveLength(2);
    expect(desired.explanations.size).toBe(2);
  });

  it('does not bring a duplicate back when its twin is overridden', () => {
    const twin = server(A.address, { weight: 99, id: realServerId('twin') });
    const desired = derive([web({ realServers: [A, twin, A] })]);
    expect(desired.weights).toEqual([[[A.address, 3]]]);
    expect(desired.why(twin)).toMatchObject({ why: 'duplicate', wantedWeight: null });
    expect(desired.why(A)).toMatchObject({ why: 'up', wantedWeight: 3 });
    const out = derive([web({ realServers: [A, twin] })], {}, [override(A, 'maint')]);
    expect(out.weights).toEqual([[]]);
  });
});

describe('deriveDesired: sorry server', () => {
  const service = web({ sorryServer: SORRY });
  const bothDown = { [A.address]: 'down', [B.address]: 'down' } as const;

  it('answers when every real server is down, and goes when one is back', () => {
    const alone = derive([service], bothDown);
    expect(alone.weights).toEqual([[[SORRY.address, 1]]]);
    expect([...alone.sorryActive]).toEqual(['web']);
    const back = derive([service], { ...bothDown, [B.address]: 'up' });
    expect(back.weights).toEqual([[[B.address, 5]]]);
    expect(back.sorryActive.size).toBe(0);
  });

  it('answers beside real servers of weight 0, which keep their connections', () => {
    const overrides = [override(A, 'drain'), override(B, 'ready', 0)];
    expect(derive([service], {}, overrides).weights).toEqual([
      [
        [A.address, 0],
        [B.address, 0],
        [SORRY.address, 1],
      ],
    ]);
  });

  it('gets a weight even where the spec gives it none', () => {
    const idle = web({ sorryServer: sorryServer('10.90.0.29', { weight: 0 }), realServers: [] });
    expect(derive([idle]).weights).toEqual([[['10.90.0.29', 1]]]);
  });

  it('never appears twice: a drained real server at the same address stays drained', () => {
    const same = web({ sorryServer: sorryServer(A.address, { weight: 3 }), realServers: [A] });
    const desired = derive([same], {}, [override(A, 'drain')]);
    expect(desired.weights).toEqual([[[A.address, 0]]]);
    expect(desired.sorryActive.size).toBe(0);
    expect(derive([same], { [A.address]: 'down' }).weights).toEqual([[[A.address, 3]]]);
  });
});

describe('deriveDesired: properties', () => {
  const arbitrary = fc.record({
    servers: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
    health: fc.array(fc.constantFrom<Health>('up', 'down', 'kept-down', 'initial'), {
      minLength: 5,
      maxLength: 5,
    }),
    states: fc.array(
      fc.record({
        server: fc.integer({ min: 1, max: 4 }),
        state: fc.constantFrom<AdminState>('ready', 'drain', 'maint'),
        weight: fc.option(fc.integer({ min: 0, max: 3 })),
      }),
      { maxLength: 6 },
    ),
    sorry: fc.option(fc.integer({ min: 1, max: 5 })),
    inhibitOnFailure: fc.boolean(),
    alpha: fc.boolean(),
  });

  it('never names a destination twice, and is sorry only when nothing else takes connections', () => {
    fc.assert(
      fc.property(arbitrary, ({ servers, health, states, sorry, ...flags }) => {
        const at = (n: number) => server(`10.0.0.${n}`);
        const service = anyService({
          ...flags,
          realServers: servers.map(at),
          sorryServer: sorry === null ? null : sorryServer(`10.0.0.${sorry}`),
        });
        const byAddress = Object.fromEntries(health.map((h, i) => [`10.0.0.${i}`, h]));
        const overrides = states.map((e) => override(at(e.server), e.state, e.weight));
        const desired = derive([service], byAddress, overrides);
        const [only] = desired.services;
        const endpoints = only?.destinations.map((d) => `${d.address}:${d.port}`) ?? [];
        expect(new Set(endpoints).size).toBe(endpoints.length);
        const real = [...desired.explanations.values()];
        const isAnyAlive = real.some((e) => (e.wantedWeight ?? 0) > 0);
        if (isAnyAlive) expect(desired.sorryActive.size).toBe(0);
        const inTable = real.filter((e) => e.wantedWeight !== null).length;
        expect(endpoints.length).toBe(inTable + desired.sorryActive.size);
        expect(derive([service], byAddress, overrides).services).toEqual(desired.services);
      }),
    );
  });

  it('keeps the order of the spec', () => {
    const services = ['10.90.0.103', '10.90.0.101', '10.90.0.102'].map((address, i) =>
      anyService({ id: `s${i}`, address, realServers: [B, A] }),
    );
    const desired = derive(services);
    expect(desired.services.map((s) => s.key.kind === 'address' && s.key.address)).toEqual(
      ['10.90.0.103', '10.90.0.101', '10.90.0.102'].map(ip),
    );
    expect(desired.weights[0]?.map(([address]) => address)).toEqual([B.address, A.address]);
  });
});
