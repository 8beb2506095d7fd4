/** Which checks a director runs. */
import { describe, expect, it } from 'vitest';
import { CheckPlacement } from '../../../../src/core/health/assignment.ts';
import { deriveChecks } from '../../../../src/core/health/checks.ts';
import {
  deriveDuties,
  deriveUses,
  type DutyInput,
  judgeCheckCountSteps,
} from '../../../../src/core/health/duties.ts';
import { runSteps } from '../../../../src/lib/steps.ts';
import type { CheckTiming } from '../../../../src/model/cluster.ts';
import type { RealServerOverride } from '../../../../src/model/health.ts';
import { directorId, groupId, realServerId, serviceId } from '../../../../src/model/ids.ts';
import { anyService, anySpec, server, TCP_CHECK } from '../desired/spec-builders.ts';

const [d1, d2, d3] = ['d1', 'd2', 'd3'].map(directorId);
if (d1 === undefined || d2 === undefined || d3 === undefined) throw new Error('three');
const all = [d1, d2, d3];
const servers = Array.from({ length: 30 }, (_, n) => server(`10.90.1.${n + 1}`));

const specOf = (check: Partial<CheckTiming> = {}) =>
  anySpec([anyService({ check: { ...TCP_CHECK, ...check }, realServers: servers })]);
const spec = specOf();
const group = spec.services[0]?.group ?? groupId('web');

const dutiesOf = (of: typeof spec, fields: Partial<DutyInput>) =>
  deriveDuties(of, {
    me: d1,
    placement: new CheckPlacement(all, 1),
    held: new Set(),
    isAlone: false,
    overrides: [],
    ...fields,
  });

const override = (last: number, state: RealServerOverride['state']): RealServerOverride => ({
  service: serviceId(spec.services[0]?.id ?? ''),
  realServer: realServerId(`10.90.1.${last}:80`),
  state,
  weight: null,
  by: 'op',
  reason: 'r',
});

describe('the duties of a director', () => {
  it('are shared: each check is somebody’s, and nobody has all', () => {
    const shares = all.map((me) => dutiesOf(spec, { me }).checks.map(({ id }) => id));
    expect(shares.flat().toSorted()).toEqual(
      deriveChecks(spec)
        .checks.map(({ id }) => id)
        .toSorted(),
    );
    for (const share of shares) expect(share.length).toBeLessThan(30);
  });

  it('are all checks of what it holds while it is alone, and then those are its own', () => {
    const shared = dutiesOf(spec, { held: new Set([group]) });
    expect(shared.own.size).toBe(0);
    const alone = dutiesOf(spec, { held: new Set([group]), isAlone: true });
    expect(alone.checks).toHaveLength(30);
    expect(alone.own.size).toBe(30 - shared.checks.length);
    for (const { id } of shared.checks) expect(alone.own.has(id)).toBe(false);
    expect(dutiesOf(spec, { isAlone: true }).checks).toEqual(shared.checks);
  });

  it('are those of the holder only where it holds', () => {
    const holders = specOf({ runBy: 'holder' });
    expect(dutiesOf(holders, {}).checks).toEqual([]);
    const held = dutiesOf(holders, { held: new Set([group]) });
    expect(held.checks).toHaveLength(30);
    expect(held.own.size).toBe(0);
  });

  it('leave out who rests, where all that use the check do', () => {
    const resting = specOf({ whileDrained: false });
    const placement = new CheckPlacement([d1], 1);
    const of = (overrides: readonly RealServerOverride[]) =>
      dutiesOf(resting, { placement, overrides }).checks.length;
    expect(of([])).toBe(30);
    expect(of([override(1, 'drain'), override(2, 'maint'), override(3, 'ready')])).toBe(28);
    expect(dutiesOf(spec, { placement, overrides: [override(1, 'drain')] }).checks).toHaveLength(
      30,
    );
  });

  it('know every group and real server that a check is for', () => {
    const [service] = spec.services;
    if (service === undefined) throw new Error('a service');
    const twin = { ...service, id: serviceId('twin'), group: groupId('other') };
    const both = { ...spec, services: [service, twin] };
    const [check] = deriveChecks(both).checks;
    if (check === undefined) throw new Error('a check');
    const use = deriveUses(both).get(check.id);
    expect([...(use?.groups ?? [])]).toEqual([group, groupId('other')]);
    expect(use?.realServers).toHaveLength(2);
    const resting = { ...TCP_CHECK, whileDrained: false };
    const shared = {
      ...both,
      services: both.services.map((one) => ({ ...one, check: resting })),
    };
    const duties = dutiesOf(shared, {
      placement: new CheckPlacement([d1], 1),
      overrides: [override(1, 'drain')],
    });
    // The twin is not drained.
    expect(duties.checks).toHaveLength(30);
  });
});

describe('how many checks a director may have to run', () => {
  const judgeCheckCount = (of: typeof spec, limit: number) =>
    runSteps(judgeCheckCountSteps(of, limit));
  const directors = all.map((id) => ({ id, address: server('10.90.0.1').address, zone: null }));

  it('is its share when one of them is gone', () => {
    const two = { ...spec, directors, checkers: 1 };
    // 30 checks, one checker each, two directors left.
    expect(judgeCheckCount(two, 15)).toBeNull();
    expect(judgeCheckCount(two, 14)).toContain('30 checks, of which a director runs up to 15');
    expect(judgeCheckCount({ ...spec, directors: directors.slice(0, 1) }, 29)).toContain(
      'up to 30',
    );
    expect(judgeCheckCount({ ...two, services: [] }, 0)).toBeNull();
  });
});
