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
    expect(cluster.leases()).not.toEqual([]);
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
    await clock.advance(500);
    expect(texts()).toEqual(['theirs', 'mine']);
  });

  it('tries for as long as it takes, says once that it waits, and writes all in order', async () => {
    const { clock, report, store, log, texts, cluster } = setUp();
    store.cut();
    report('running', 'one');
    await clock.advance(3600 * 1000);
    expect(log.of('operation.unreported')).toEqual([{ operation: 'op', state: 'running' }]);
    report('succeeded', 'two');
    store.heal();
    await clock.advance(10_000);
    expect(texts()).toEqual(['one', 'two']);
    expect(cluster.leases().length).toBeLessThanOrEqual(2);
  });

  it('lets no operation wait for another', async () => {
    const { clock, report, store, cluster, texts, stored } = setUp();
    cluster.write(keys.operation('other'), formatRecord(operationOf({})));
    store.nextTxn({ kind: 'lost' });
    report('running', 'one');
    report('failed', 'x', 'other');
    await clock.advance(2500);
    expect(stored(keys.operation('other'))).toMatchObject({ state: 'failed' });
    await clock.advance(5000);
    expect(texts()).toEqual(['one']);
  });

  it('keeps the record on a lease while the operation runs', async () => {
    const { clock, report, stored } = setUp();
    report('running', 'one');
    await clock.advance(10);
    expect(stored(KEY)).toMatchObject({ state: 'running' });
    await clock.advance(25 * 3600 * 1000);
    expect(stored(KEY)).toBeNull();
  });

  it('drops the oldest beyond its bounds, and says so', async () => {
    const { clock, report, store, log, texts } = setUp();
    store.cut();
    for (let i = 0; i < 20; i++) report('running', `step ${i}`);
    for (let i = 0; i < 1023; i++) report('running', 'x', `gone${i}`);
    store.heal();
    await clock.advance(10_000);
    expect(texts().at(-1)).toBe('step 19');
    expect(texts()).toHaveLength(16);
    expect(log.of('operation.report-dropped')).toHaveLength(4);
  });

  it('keeps up with a rebalance of 255 groups, and writes steps that wait in one go', async () => {
    const { clock, report, cluster, stored } = setUp();
    const names = Array.from({ length: 255 }, (_, i) => `move${i}`);
    for (const name of names) cluster.write(keys.operation(name), formatRecord(operationOf({})));
    const { revision } = cluster;
    for (const text of ['one', 'two', 'three'])
      for (const name of names) report(text === 'three' ? 'succeeded' : 'running', text, name);
    await clock.advance(5000);
    for (const name of names)
      expect(stored(keys.operation(name))).toMatchObject({
        state: 'succeeded',
        steps: [{ text: 'one' }, { text: 'two' }, { text: 'three' }],
      });
    // The very first report was on its way before there were others.
    expect(cluster.revision - revision).toBeLessThan(300);
  });

  it('takes no step after the end', async () => {
    const { clock, report, texts, stored } = setUp();
    report('succeeded', 'done');
    report('running', 'late');
    await clock.advance(1000);
    expect(texts()).toEqual(['done']);
    expect(stored(KEY)).toMatchObject({ state: 'succeeded', result: 'done' });
  });

  it('ends with the store', async () => {
    const { clock, report, store, cluster } = setUp();
    store.close();
    report('running', 'one');
    const { fired } = clock;
    await clock.advance(60_000);
    expect(clock.fired - fired).toBeLessThan(5);
    expect(cluster.leases()).toEqual([]);
  });
});
