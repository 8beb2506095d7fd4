/** What became of an operator's request, written into its record step by step. */
import { describe, expect, it } from 'vitest';
import { createOperationWriter } from '../../../src/agent/operations.ts';
import { formatRecord, type OperationRecord } from '../../../src/model/records.ts';
import { operationOf } from '../core/election/election-driver.ts';
import { keys, storeBench } from './store-bench.ts';

const KEY = keys.operation('op');

function setUp(fields: Partial<OperationRecord> = {}) {
  const bench = storeBench();
  const { store, clock, log, cluster } = bench;
  cluster.write(KEY, formatRecord(operationOf(fields)));
  const write = createOperationWriter({ keys }, { store, clock, log });
  const report = (state: 'running' | 'succeeded' | 'failed', text: string, id = 'op'): void =>
    write({ kind: 'operation', id, state, text });
  const texts = (): string[] =>
    (bench.stored(KEY) as OperationRecord).steps.map((step) => step.text);
  return { ...bench, report, texts };
}

describe('the operation writer', () => {
  it('appends each step in order and sets state and result at the end, on a lease', async () => {
    const { clock, report, stored, cluster } = setUp();
    report('running', 'one');
    report('succeeded', 'two');
    await clock.advance(10);
    expect(stored(KEY)).toMatchObject({
      state: 'succeeded',
      result: 'two',
      steps: [{ text: 'one' }, { text: 'two' }],
    });
    expect(cluster.leases()).toHaveLength(1);
    await clock.advance(25 * 3600 * 1000);
    expect(stored(KEY)).toBeNull();
  });

  it('changes nothing about an operation that is over', async () => {
    const { clock, report, cluster } = setUp({ state: 'failed', result: 'before' });
    const { revision } = cluster;
    report('running', 'late');
    await clock.advance(10_000);
    expect(cluster.revision).toBe(revision);
  });

  it('leaves a deleted and an unreadable record alone, at once', async () => {
    const { clock, report, cluster, log } = setUp();
    cluster.write(keys.operation('bad'), 'no');
    report('running', 'x', 'gone');
    report('running', 'x', 'bad');
    await clock.advance(10_000);
    expect(cluster.read(keys.operation('gone')).value).toBeNull();
    expect(cluster.read(keys.operation('bad')).value).toBe('no');
    expect(log.events()).toEqual([]);
  });

  it.each(['lost', 'answer-lost'] as const)(
    'writes a step once when the write is %s',
    async (kind) => {
      const { clock, report, store, texts } = setUp();
      store.nextTxn({ kind });
      report('running', 'one');
      await clock.advance(10_000);
      expect(texts()).toEqual(['one']);
    },
  );

  it('joins its step to what another director wrote meanwhile', async () => {
    const { clock, report, store, cluster, texts } = setUp();
    store.nextTxn({ kind: 'late', byMs: 50 });
    report('running', 'mine');
    await clock.advance(10);
    const steps = [{ at: '', text: 'theirs' }];
    cluster.write(KEY, formatRecord(operationOf({ state: 'running', steps })));
    await clock.advance(5000);
    expect(texts()).toEqual(['theirs', 'mine']);
  });

  it('gives up after a while, says so, and goes on with the next', async () => {
    const { clock, report, store, log, texts } = setUp();
    store.cut();
    report('running', 'one');
    await clock.advance(60_000);
    expect(log.of('operation.unreported')).toEqual([{ operation: 'op', state: 'running' }]);
    store.heal();
    report('running', 'two');
    await clock.advance(10);
    expect(texts()).toEqual(['two']);
  });
});
