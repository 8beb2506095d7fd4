/** Results as numbers, and back. */
import { expect, it } from 'vitest';
import {
  CheckNumbers,
  type ProbeResult,
  SaidBook,
  unpackResults,
} from '../../../../src/adapters/probes/probe-protocol.ts';
import { checkId } from '../../../../src/model/ids.ts';
import { observationsOf } from '../../../../src/ports/prober.ts';
import { TCP_CHECK, ip } from '../../core/desired/spec-builders.ts';

const result = (check: string, fields: Partial<ProbeResult> = {}): ProbeResult => ({
  check: checkId(check),
  isUp: true,
  detail: 'connected',
  reason: null,
  weight: null,
  latencyMs: 1.5,
  ageMs: 20,
  ...fields,
});
const checks = ['a', 'b', 'c'].map((id) => ({
  id: checkId(id),
  address: ip('10.90.0.21'),
  port: 80,
  spec: TCP_CHECK,
}));

it('come back as they were, without those of checks that have left', () => {
  const numbers = new CheckNumbers();
  const change = { kind: 'change', gone: [], maxConcurrent: 1 } as const;
  numbers.take({ ...change, added: checks, numbers: [7, 8, 9] });
  const down = { isUp: false, detail: 'connection refused', reason: 'refused' } as const;
  const weighs = { weight: { kind: 'set', weight: 3 } } as const;
  const results = [result('a'), result('b', down), result('c', weighs), result('a', weighs)];
  const packed = numbers.pack({ results, localFailure: 'none left' });
  expect(packed.localFailure).toBe('none left');
  expect(packed.unable).toBeUndefined();
  const unable = new Map([[checkId('b'), 'no such file']]);
  expect(numbers.pack({ results: [], localFailure: 'one', unable }).unable).toEqual([
    [8, 'no such file'],
  ]);
  const ids = new Map([
    [7, checkId('a')],
    [8, checkId('b')],
  ]);
  const book = new SaidBook();
  const batch = unpackResults(packed, {
    now: 1000,
    checkOf: (number) => ids.get(number),
    same: (said) => book.same(said),
  });
  expect(observationsOf(batch)).toEqual([
    {
      check: 'a',
      isUp: true,
      detail: 'connected',
      reason: null,
      weight: null,
      latencyMs: 1.5,
      at: 980,
    },
    { check: 'b', ...down, weight: null, latencyMs: 1.5, at: 980 },
    {
      check: 'a',
      isUp: true,
      detail: 'connected',
      reason: null,
      ...weighs,
      latencyMs: 1.5,
      at: 980,
    },
  ]);
});

it('say the same with the same object, but for weights, and forget what is too much', () => {
  const book = new SaidBook();
  const up = () => ({ isUp: true, detail: 'connected', reason: null, weight: null });
  const first = book.same(up());
  expect(book.same(up())).toBe(first);
  const heavy = { ...up(), weight: { kind: 'set', weight: 3 } as const };
  expect(book.same(heavy)).toBe(heavy);
  for (let n = 0; n < 2000; n++) book.same({ ...up(), detail: `text ${n}` });
  expect(book.same(up())).toEqual(first);
});
