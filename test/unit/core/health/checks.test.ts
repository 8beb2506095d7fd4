import { describe, expect, it } from 'vitest';
import { deriveChecks, realServerKey } from '../../../../src/core/health/checks.ts';
import type { CheckSpec, VirtualService } from '../../../../src/model/cluster.ts';
import {
  anyService,
  anySpec,
  httpCheck,
  server,
  sorryServer,
  TCP_CHECK,
} from '../desired/spec-builders.ts';

const idsOf = (services: readonly VirtualService[]): string[] =>
  deriveChecks(anySpec(services)).checks.map((check) => check.id);

const idOf = (check: CheckSpec): string | undefined =>
  idsOf([anyService({ check, realServers: [server('10.0.0.1')] })])[0];

describe('deriveChecks', () => {
  it('makes one check of equal jobs in several services', () => {
    const derived = deriveChecks(
      anySpec([
        anyService({ id: 'a', realServers: [server('10.0.0.1'), server('10.0.0.2')] }),
        anyService({ id: 'b', port: 81, realServers: [server('10.0.0.1')] }),
      ]),
    );
    expect(derived.checks.map((check) => check.address)).toEqual(['10.0.0.1', '10.0.0.2']);
    const [first] = derived.checks;
    for (const service of ['a', 'b'] as const)
      expect(
        derived.byRealServer.get(
          realServerKey(anyService({ id: service }).id, server('10.0.0.1').id),
        ),
      ).toBe(first?.id);
    expect(derived.byRealServer.size).toBe(3);
  });

  it('resolves the port: the check’s own, else the real server’s', () => {
    const own = anyService({ check: { ...TCP_CHECK, port: 9000 } });
    const checks = deriveChecks(anySpec([own, anyService({ id: 'b', port: 81 })])).checks;
    expect(checks.map((check) => [check.port, check.spec.port])).toEqual([
      [9000, 9000],
      [80, 80],
    ]);
  });

  it('treats an explicit port equal to the real server’s as the same check', () => {
    expect(idOf({ ...TCP_CHECK, port: 80 })).toBe(idOf(TCP_CHECK));
  });

  it('leaves real servers of services without a check, and sorry servers, unchecked', () => {
    const derived = deriveChecks(
      anySpec([
        anyService({ check: null }),
        anyService({ id: 'b', realServers: [], sorryServer: sorryServer('10.0.0.9') }),
      ]),
    );
    expect(derived.checks).toEqual([]);
    expect(derived.byRealServer.size).toBe(0);
  });

  it('gives different ids to everything that probes differently', () => {
    const variants: CheckSpec[] = [
      TCP_CHECK,
      { ...TCP_CHECK, intervalMs: 2001 },
      { ...TCP_CHECK, timeoutMs: 999 },
      { ...TCP_CHECK, rise: 3 },
      { ...TCP_CHECK, fall: 3 },
      { ...TCP_CHECK, port: 81 },
      httpCheck({}),
      httpCheck({ kind: 'https' }),
      httpCheck({ kind: 'https', verify: true }),
      httpCheck({ method: 'HEAD' }),
      httpCheck({ path: '/x' }),
      httpCheck({ status: [[200, 204]] }),
      httpCheck({ host: 'www.example.org' }),
    ];
    expect(new Set(variants.map(idOf)).size).toBe(variants.length);
  });

  it('gives the same id where only what has no effect differs', () => {
    expect(idOf(httpCheck({ verify: true }))).toBe(idOf(httpCheck({ verify: false })));
    const ranges: [number, number][] = [
      [200, 200],
      [301, 302],
    ];
    const reversed = ranges.toReversed();
    expect(idOf(httpCheck({ status: reversed }))).toBe(idOf(httpCheck({ status: ranges })));
  });

  it('keeps its ids from release to release: directors of two versions must agree', () => {
    expect(idOf(TCP_CHECK)).toBe('a5cfd3a696b87884');
    expect(idOf(httpCheck({}))).toBe('4208766fcf13efe4');
  });

  it('calls a check alpha where any of its services is', () => {
    const derived = deriveChecks(
      anySpec([anyService({ id: 'a', alpha: true }), anyService({ id: 'b', port: 81 })]),
    );
    expect([...derived.alphaByCheck.values()]).toEqual([true]);
  });
});

describe('a look along a VIP’s path', () => {
  const VIP_CHECK: CheckSpec = {
    ...TCP_CHECK,
    kind: 'vip',
    vip: null,
    ask: null,
    arp: 'fail',
    tunnel: null,
  };
  const checksOf = (fields: Partial<Parameters<typeof anyService>[0]>) =>
    deriveChecks(
      anySpec([anyService({ check: VIP_CHECK, realServers: [server('10.0.0.1')], ...fields })]),
    ).checks.map(({ port, spec }) => ({ port, spec }));

  it('has the VIP and the protocol of its service, and the tunnel of its real server', () => {
    const dr = checksOf({});
    expect(dr).toMatchObject([{ port: 80, spec: { kind: 'vip', ask: 'tcp', tunnel: null } }]);
    expect(dr[0]?.spec).toMatchObject({
      vip: anyService({}).keys.flatMap((key) => (key.kind === 'address' ? key.address : []))[0],
    });
    const gue = { type: 'gue', port: 6080, checksum: 'csum' } as const;
    const realServers = [{ ...server('10.0.0.1'), forward: 'tun' as const, tunnel: gue }];
    expect(checksOf({ realServers })).toMatchObject([
      { spec: { tunnel: { type: 'gue', port: 6080 } } },
    ]);
  });

  it('is another one for another VIP, and the same for the same', () => {
    const [one, two] = ['a', 'b'].map((id) => anyService({ id, check: VIP_CHECK }));
    if (one === undefined || two === undefined) throw new Error('two services');
    expect(new Set(idsOf([one, two])).size).toBe(one.realServers.length);
  });
});
