import { describe, expect, it } from 'vitest';
import { decideFailOpen } from '../../../../src/core/service/fail-open.ts';
import { deriveWeight, MAX_WEIGHT, type WeightInput } from '../../../../src/core/service/weight.ts';
import type { DynamicWeight } from '../../../../src/model/health.ts';

const weigh = (fields: Partial<WeightInput>) =>
  deriveWeight({
    configured: 10,
    override: null,
    source: 'check',
    dynamic: null,
    slowStartMs: 0,
    upForMs: null,
    ...fields,
  });

describe('deriveWeight', () => {
  it.each<[string, DynamicWeight, number]>([
    ['sets it', { kind: 'set', weight: 4 }, 4],
    ['sets it to 0', { kind: 'set', weight: 0 }, 0],
    ['adds to it', { kind: 'add', by: 5 }, 15],
    ['takes away no more than all', { kind: 'add', by: -99 }, 0],
    ['takes a share of it', { kind: 'percent', percent: 75 }, 7],
    ['takes a share that is no whole number', { kind: 'percent', percent: 1 }, 1],
    ['asks for more than the kernel takes', { kind: 'set', weight: 1e12 }, MAX_WEIGHT],
  ])('lets the check have its say: %s', (_, dynamic, full) => {
    expect(weigh({ dynamic })).toMatchObject({ configured: 10, dynamic: full, full, ramped: full });
  });

  it('heeds the check only where the service says so', () => {
    expect(weigh({ dynamic: { kind: 'set', weight: 4 }, source: 'fixed' })).toMatchObject({
      dynamic: null,
      full: 10,
    });
  });

  it('puts an operator above the check, also with 0', () => {
    const dynamic: DynamicWeight = { kind: 'set', weight: 4 };
    expect(weigh({ dynamic, override: 7 })).toMatchObject({ dynamic: 4, override: 7, full: 7 });
    expect(weigh({ dynamic, override: 0 })).toMatchObject({ full: 0, ramped: 0 });
  });

  it('ramps what came of it', () => {
    expect(weigh({ override: 55, slowStartMs: 1000, upForMs: 0 })).toEqual({
      configured: 10,
      override: 55,
      dynamic: null,
      full: 55,
      ramped: 5,
      nextInMs: 100,
    });
  });
});

describe('decideFailOpen', () => {
  it.each<[string, number | null, [number, number], boolean]>([
    ['never without a share', null, [0, 9], false],
    ['not at the share', 50, [5, 5], false],
    ['below the share', 50, [4, 5], true],
    ['with everything down', 1, [0, 3], true],
    ['not where nothing is down', 100, [3, 0], false],
    ['not where nothing counts', 50, [0, 0], false],
    ['at the first that is down, where 100 is asked for', 100, [9, 1], true],
  ])('%s', (_, percent, [up, down], isOpen) => {
    expect(decideFailOpen(percent, { up, down })).toEqual({ percent, up, down, isOpen });
  });
});
