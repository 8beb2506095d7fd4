/** Votes counted in parts, and a document prepared beforehand, come to the same as all of it at once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createHealthDesk, type HealthDesk } from '../../../src/agent/health-desk.ts';
import { deriveChecks } from '../../../src/core/health/checks.ts';
import { runSteps } from '../../../src/lib/steps.ts';
import type { ClusterSpec } from '../../../src/model/cluster.ts';
import type { Vote } from '../../../src/model/health.ts';
import { type CheckId, type DirectorId, directorId, monoMs } from '../../../src/model/ids.ts';
import { anyService, anySpec, ip, server, TCP_CHECK } from '../core/desired/spec-builders.ts';

const DIRECTORS = ['d1', 'd2', 'd3'].map(directorId);
const ADDRESSES = [1, 2, 3, 4, 5].map((n) => `10.0.0.${n}`);

const specs = fc
  .record({
    addresses: fc.subarray(ADDRESSES),
    alpha: fc.boolean(),
    slowStartMs: fc.constantFrom(0, 60_000),
    fall: fc.constantFrom(2, 3),
    checkers: fc.constantFrom(null, 1, 2),
  })
  .map(({ addresses, alpha, slowStartMs, fall, checkers }): ClusterSpec => {
    const realServers = addresses.map((address) => ({ ...server(address), alpha }));
    const check = { ...TCP_CHECK, fall };
    return { ...anySpec([anyService({ realServers, slowStartMs, check })]), checkers };
  });

const steps = fc.oneof(
  fc.record({ kind: fc.constant('spec' as const), spec: specs }),
  fc.record({
    kind: fc.constant('vote' as const),
    check: fc.nat(9),
    director: fc.constantFrom(...DIRECTORS),
    isUp: fc.constantFrom(true, false, null),
    second: fc.nat(59),
  }),
  fc.record({ kind: fc.constant('living' as const), alive: fc.subarray(DIRECTORS) }),
);

const factsOf = (desk: HealthDesk): object => ({
  statuses: Object.fromEntries(desk.statuses()),
  upSince: Object.fromEntries(desk.upSince()),
});

describe('the health desk', () => {
  it('comes to the same in parts', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 30 }), (script) => {
        const whole = createHealthDesk();
        const parts = createHealthDesk();
        const votes = new Map<CheckId, Map<DirectorId, Vote>>();
        const known = new Set<CheckId>();
        let now = 0;
        const countAll = (): void => {
          whole.count(votes);
          parts.count(votes, new Set(parts.checks().alphaByCheck.keys()));
        };
        for (const step of script) {
          now += 1000;
          if (step.kind === 'spec') {
            runSteps(parts.prepareSteps(step.spec, votes));
            parts.setSpec(step.spec);
            whole.setSpec(step.spec);
            for (const { id } of whole.checks().checks) known.add(id);
            countAll();
          } else if (step.kind === 'living') {
            const living = { directors: DIRECTORS, alive: step.alive, now: monoMs(now) };
            const isOther = whole.setLiving(living);
            expect(parts.setLiving(living)).toBe(isOther);
            if (isOther) countAll();
          } else {
            const check = [...known][step.check % Math.max(known.size, 1)];
            if (check === undefined) continue;
            const { director, isUp } = step;
            const byDirector = votes.get(check) ?? new Map<DirectorId, Vote>();
            const since = `2026-01-01T00:00:${String(step.second).padStart(2, '0')}Z`;
            if (isUp === null) byDirector.delete(director);
            else byDirector.set(director, { director, isUp, since, detail: '' });
            votes.set(check, byDirector);
            const before = parts.statuses();
            expect(parts.count(votes, new Set([check]))).toEqual(whole.count(votes));
            if (!whole.checks().alphaByCheck.has(check)) expect(parts.statuses()).toBe(before);
          }
          expect(factsOf(parts)).toEqual(factsOf(whole));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('has a status for each new check when a prepared document comes into force', () => {
    const desk = createHealthDesk();
    desk.setLiving({ directors: DIRECTORS, alive: DIRECTORS, now: monoMs(0) });
    const spec = anySpec([anyService({ realServers: ADDRESSES.map((one) => server(one)) })]);
    runSteps(desk.prepareSteps(spec, new Map()));
    desk.setSpec(spec);
    const [check] = desk.checks().checks;
    if (check === undefined) throw new Error('a check');
    const down = (director: DirectorId): [DirectorId, Vote] => [
      director,
      { director, isUp: false, since: '', detail: '' },
    ];
    const votes = new Map([[check.id, new Map(DIRECTORS.map(down))]]);
    expect(desk.statuses().size).toBe(ADDRESSES.length);
    const next = {
      ...anySpec([anyService({ realServers: [server('10.0.0.9'), server('10.0.0.1')] })]),
      directors: DIRECTORS.map((id) => ({ id, address: ip('10.9.0.1'), zone: null })),
    };
    // At a start: nobody has counted yet, and it must not be taken for up meanwhile.
    const fresh = createHealthDesk();
    runSteps(fresh.prepareSteps(next, votes));
    fresh.setSpec(next);
    expect(fresh.statuses().get(check.id)?.isUp).toBe(false);
  });

  it('goes on from what was known before the start, where nobody votes, when a long document comes', () => {
    const directors = DIRECTORS.map((id) => ({ id, address: ip('10.9.0.1'), zone: null }));
    const spec = {
      ...anySpec([anyService({ realServers: ADDRESSES.map((one) => server(one)) })]),
      directors,
    };
    const [silent, voted, strange] = deriveChecks(spec).checks.map(({ id }) => id);
    if (silent === undefined || voted === undefined || strange === undefined) throw new Error('3');
    const by = (director: DirectorId): ReadonlyMap<DirectorId, Vote> =>
      new Map([[director, { director, isUp: true, since: '', detail: '' }]]);
    const votes = new Map([
      [voted, by(directorId('d1'))],
      [strange, by(directorId('gone'))],
    ]);
    const desk = createHealthDesk();
    desk.recall(new Map([silent, voted, strange].map((one) => [one, false])), votes);
    runSteps(desk.prepareSteps(spec, votes));
    desk.setSpec(spec);
    expect(desk.statuses().get(silent)).toMatchObject({ isUp: false, basis: 'kept' });
    expect(desk.statuses().get(voted)).toMatchObject({ isUp: true });
    expect(desk.statuses().get(strange)).toMatchObject({ isUp: false, basis: 'kept' });
  });
});
