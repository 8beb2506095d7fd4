import { describe, expect, it } from 'vitest';
import { assignCheckers } from '../../../../src/core/health/assignment.ts';
import { deriveChecks, realServerKey } from '../../../../src/core/health/checks.ts';
import type { CheckSpec, VirtualService } from '../../../../src/model/cluster.ts';
import { checkId, directorId } from '../../../../src/model/ids.ts';
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
    expect(idOf(TCP_CHECK)).toBe('ac25c076f9b8ec56');
    expect(idOf(httpCheck({}))).toBe('d2a3e3aca4858cb3');
  });

  it('calls a check alpha where any of its services is', () => {
    const derived = deriveChecks(
      anySpec([anyService({ id: 'a', alpha: true }), anyService({ id: 'b', port: 81 })]),
    );
    expect([...derived.alphaByCheck.values()]).toEqual([true]);
  });
});

describe('assignCheckers', () => {
  const live = ['d1', 'd2', 'd3', 'd4', 'd5'].map(directorId);
  const checks = Array.from({ length: 200 }, (_, i) => checkId(`check-${i}`));

  it('assigns three by default, all where fewer live, and as many as asked', () => {
    const [check = checkId('x')] = checks;
    expect(assignCheckers(check, live, null)).toHaveLength(3);
    expect(assignCheckers(check, live.slice(0, 2), null)).toHaveLength(2);
    expect(assignCheckers(check, [], null)).toEqual([]);
    expect(assignCheckers(check, live, 5)).toHaveLength(5);
    expect(new Set(assignCheckers(check, live, null)).size).toBe(3);
  });

  it('does not depend on the order of the live directors', () => {
    for (const check of checks)
      expect(assignCheckers(check, live.toReversed(), 2)).toEqual(assignCheckers(check, live, 2));
  });

  it('moves only what a dead director had', () => {
    const left = live.filter((director) => director !== 'd3');
    for (const check of checks) {
      const before = assignCheckers(check, live, 3);
      const after = assignCheckers(check, left, 3);
      const kept = before.filter((director) => director !== 'd3');
      expect(after.slice(0, kept.length)).toEqual(kept);
    }
  });

  it('spreads the work: nobody has more than twice the fair share', () => {
    for (const director of live) {
      const share = checks.filter((check) => assignCheckers(check, live, 2).includes(director));
      expect(share.length).toBeGreaterThan(40);
      expect(share.length).toBeLessThan(160);
    }
  });
});
