/** Rebalance over the API: the plan, one operation for each move, and bad days in between. */
import { describe, expect, it } from 'vitest';
import { groupId } from '../../../src/model/ids.ts';
import { createOperation, specViewOf, CLUSTER_DOCUMENT } from '../../fakes/fake-agent-view.ts';
import { type Bench, call, createBench, type Json, passing } from './bench.ts';
import { REFUSED_FOR_LONG } from './observed-store.ts';

const GROUPS = ['a', 'b', 'c', 'd'];

/** d1 holds all of four equal groups: two of them should move. */
function lopsided(): Bench {
  const bench = createBench();
  const groups = Object.fromEntries(
    GROUPS.map((name, i) => [name, { addresses: [`10.91.0.${i + 1}/24`], interface: 'public' }]),
  );
  bench.view.specView = specViewOf({ ...CLUSTER_DOCUMENT, groups, services: {} }, 40);
  const status = bench.view.statusDocument;
  const [pattern] = status.groups.filter(({ name }) => name === 'mail');
  if (pattern === undefined) throw new Error('the fake view has no group "mail"');
  status.groups = GROUPS.map((name) => ({ ...structuredClone(pattern), name, holder: 'd1' }));
  return bench;
}

const rebalance = (
  bench: Bench,
  status: number,
  { query = '', key = null }: { query?: string; key?: string | null } = {},
) =>
  call(
    bench,
    {
      method: 'POST',
      url: `/api/v1/rebalance${query}`,
      payload: { reason: 'd2 is back' },
      ...(key === null ? {} : { headers: { 'idempotency-key': key } }),
    },
    status,
  );

const records = (bench: Bench, prefix: string): Json[] =>
  bench.store
    .keys()
    .filter((name) => name.startsWith(prefix))
    .map((name) => bench.store.peek(name));

const operations = (bench: Bench): Json[] =>
  records(bench, bench.keys.operation('x').replace(/x$/, ''));

describe('rebalance', () => {
  it('shows the plan in a dry run, and writes nothing', async () => {
    const bench = lopsided();
    const { body } = await rebalance(bench, 200, { query: '?dryRun=true' });
    expect(body).toMatchObject({ dryRun: true, bound: 2, warnings: [] });
    expect(body.moves).toHaveLength(2);
    for (const move of body.moves)
      expect(move).toMatchObject({ from: 'd1', to: 'd2', reason: 'bound', operation: null });
    expect(body.load).toEqual([
      { director: 'd1', before: 4, after: 2 },
      { director: 'd2', before: 0, after: 2 },
    ]);
    expect(bench.store.txns).toEqual([]);
  });

  it('makes each move an operation with its audit event, and the newest of its group', async () => {
    const bench = lopsided();
    const { body, headers } = await rebalance(bench, 202);
    expect(headers.location).toBe('/api/v1/operations');
    expect(body.moves).toHaveLength(2);
    for (const { group, operation } of body.moves) {
      expect(bench.store.peek(bench.keys.operation(operation))).toMatchObject({
        kind: 'rebalance',
        group,
        from: 'd1',
        to: 'd2',
        by: 'local',
        reason: 'd2 is back',
        state: 'pending',
      });
      expect(bench.store.peek(bench.keys.switchover(groupId(group)))).toEqual({ v: 1, operation });
    }
    const events = records(bench, bench.keys.eventPrefix);
    expect(events.map(({ kind }) => kind)).toEqual(['rebalance.requested', 'rebalance.requested']);
  });

  it('has nothing to do where the load is even', async () => {
    const bench = createBench();
    const { body } = await rebalance(bench, 200);
    expect(body).toMatchObject({ summary: 'nothing to move', moves: [] });
    expect(bench.store.txns).toEqual([]);
  });

  it('gives nothing to a director that drains, is gone, or could not hold', async () => {
    const spoil: ((bench: Bench) => void)[] = [
      ({ view }) => {
        for (const director of view.statusDocument.directors)
          if (director.name === 'd2') director.isDraining = true;
      },
      ({ view }) => {
        for (const director of view.statusDocument.directors)
          if (director.name === 'd2') director.isAlive = false;
      },
      ({ view }) => {
        for (const { candidates } of view.statusDocument.groups)
          for (const candidate of candidates)
            if (candidate.director === 'd2')
              Object.assign(candidate, { eligible: false, reason: 'interface-down' });
      },
    ];
    for (const make of spoil) {
      const bench = lopsided();
      make(bench);
      expect((await rebalance(bench, 200)).body.moves).toEqual([]);
    }
  });

  it('does the same once for the same key, whatever director is asked', async () => {
    const bench = lopsided();
    const first = await rebalance(bench, 202, { key: 'k1' });
    const again = await rebalance(bench, 202, { key: 'k1' });
    expect(again.body.moves).toEqual(first.body.moves);
    expect(operations(bench)).toHaveLength(2);
  });

  it('tells of the earlier operations when their moves are done', async () => {
    const bench = lopsided();
    const { body } = await rebalance(bench, 202, { key: 'k1' });
    bench.view.operationList = body.moves.map(({ operation, group }: Json) =>
      createOperation(operation, { kind: 'rebalance', group, state: 'succeeded' }),
    );
    for (const group of bench.view.statusDocument.groups)
      if (body.moves.some((move: Json) => move.group === group.name)) group.holder = 'd2';
    const again = await rebalance(bench, 202, { key: 'k1' });
    expect(again.body.moves.map(({ operation }: Json) => operation).toSorted()).toEqual(
      body.moves.map(({ operation }: Json) => operation).toSorted(),
    );
    expect(operations(bench)).toHaveLength(2);
  });

  it('waits for a switchover that is under way', async () => {
    const bench = lopsided();
    const [move] = (await rebalance(bench, 200, { query: '?dryRun=true' })).body.moves;
    bench.view.operationList = [
      createOperation('op1', { group: move.group, at: bench.clock.wallTime() }),
    ];
    const { body } = await rebalance(bench, 409);
    expect(body).toMatchObject({ code: 'conflict', operation: 'op1' });
    expect(operations(bench)).toEqual([]);
  });

  it('leaves out a group that another director was just asked to move', async () => {
    const bench = lopsided();
    const [move] = (await rebalance(bench, 200, { query: '?dryRun=true' })).body.moves;
    const { record } = createOperation('op1', { group: move.group, at: bench.clock.wallTime() });
    bench.store.put(bench.keys.operation('op1'), record);
    bench.store.put(bench.keys.switchover(groupId(move.group)), { v: 1, operation: 'op1' });
    const { body } = await rebalance(bench, 202);
    expect(body.moves.filter(({ operation }: Json) => operation !== null)).toHaveLength(1);
    expect(body.warnings).toEqual([expect.stringContaining(`operation op1 is still moving`)]);
  });

  it('says what was accepted when the store goes away in between', async () => {
    const bench = lopsided();
    bench.store.intruder = () =>
      queueMicrotask(() => {
        bench.store.intruder = () => bench.store.nextTxn(...REFUSED_FOR_LONG);
      });
    const asked = rebalance(bench, 202);
    await passing(bench, asked);
    const { body } = await asked;
    expect(body.moves.map(({ operation }: Json) => operation !== null)).toEqual([true, false]);
    expect(body.warnings[0]).toContain('nothing was changed');
  });

  it('is for operators', async () => {
    const bench = createBench({
      tokens: [{ name: 'eve', role: 'viewer', token: 't'.repeat(32) }],
    });
    const request = {
      method: 'POST',
      url: '/api/v1/rebalance',
      payload: { reason: 'x' },
      headers: { authorization: `Bearer ${'t'.repeat(32)}` },
    };
    await call(bench, request, 403);
  });
});
