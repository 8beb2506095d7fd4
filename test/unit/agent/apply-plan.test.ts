/** A long plan goes to the kernel in lots: in its order, and each answer is that of its operation. */
import { describe, expect, it } from 'vitest';
import { applyPlan } from '../../../src/agent/apply-plan.ts';
import { err, ok } from '../../../src/lib/result.ts';
import { formatServiceKey, type IpvsOperation } from '../../../src/model/kernel.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { real, tcp } from '../../contract/ipvs-kernel.contract.ts';

const COUNT = 2500;
const REFUSED = 1007;
const keyOf = (index: number) => tcp('10.90.0.100', 1 + index);
const operations = Array.from(
  { length: COUNT },
  (_, index): IpvsOperation => ({
    op: 'add-destination',
    service: keyOf(index),
    destination: real('10.91.0.1', 80),
  }),
);

describe('a long plan', () => {
  it('is applied in lots, in order', async () => {
    const lots: (readonly IpvsOperation[])[] = [];
    const counted: [string, string, number][] = [];
    const applied = await applyPlan(
      {
        kernel: {
          apply: async (lot) => {
            lots.push(lot);
            return lot.map((operation) =>
              operation === operations[REFUSED]
                ? err({ code: 'EINVAL', message: 'not this one' })
                : ok(undefined),
            );
          },
        },
        metrics: { operationApplied: (op, result, count) => counted.push([op, result, count]) },
        log: silentLog,
      },
      operations,
    );
    expect(lots.flat()).toEqual(operations);
    expect(Math.max(...lots.map((lot) => lot.length))).toBeLessThanOrEqual(1000);
    expect([...applied.failed.keys()]).toEqual([formatServiceKey(keyOf(REFUSED))]);
    expect(applied.done).toEqual(operations.filter((_, index) => index !== REFUSED));
    expect(new Set(counted)).toEqual(
      new Set([
        ['add-destination', 'ok', COUNT - 1],
        ['add-destination', 'failed', 1],
      ]),
    );
  });
});
