/** The contract of the table of marks on the fake; `nft-marks.test.ts` runs it on Linux. */
import { describe, expect, test } from 'vitest';
import { FakeMarks } from '../fakes/fake-marks.ts';
import { marksCases, SHOP } from './marks.contract.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('marks contract: fake', () => {
  for (const { name, run } of marksCases)
    test(name, async () => {
      const marks = new FakeMarks();
      await run({
        marks,
        successor: () => marks,
        flush: async () => marks.disturb(null),
        alter: async () =>
          marks.disturb({ isIntact: false, entries: marks.contents?.entries ?? [] }),
        advance: () => turn(),
        settle: () => turn(),
      });
    });
});

describe('what only the fake can do', () => {
  test('an injected failure hits calls of its kind until it is healed, and changes nothing', async () => {
    const marks = new FakeMarks();
    marks.fail('replace', { code: 'EPERM', message: 'no' });
    expect(await marks.replace(SHOP)).toMatchObject({ error: { code: 'EPERM' } });
    expect(await marks.observe()).toEqual({ ok: true, value: null });
    marks.heal();
    expect((await marks.replace(SHOP)).ok).toBe(true);
  });
});
