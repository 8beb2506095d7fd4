/** The faults of the fake store, in virtual time. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { ABSENT } from '../../../src/model/ids.ts';
import type { Txn, WatchEvent } from '../../../src/ports/cluster-store.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { FakeCluster, type FakeStore } from '../../fakes/fake-store.ts';
import { SeededRandom } from '../../fakes/seeded-random.ts';

const DEADLINE = { deadlineMs: 100 } as const;

function setUp(seed = 1): { clock: FakeClock; cluster: FakeCluster; store: FakeStore } {
  const clock = new FakeClock();
  const cluster = new FakeCluster({ clock, random: new SeededRandom(seed) });
  return { clock, cluster, store: cluster.connect('d1') };
}

const create = (key: string, value = '1'): Txn => ({
  compares: [{ key, modRevision: ABSENT }],
  success: [{ op: 'put', key, value }],
  failure: [{ op: 'get', key }],
});

describe('a transaction', () => {
  it('takes the request delay to commit and the answer delay to return', async () => {
    const { clock, cluster, store } = setUp();
    store.faults.requestDelayMs = 10;
    store.faults.answerDelayMs = 5;
    const running = store.txn(create('/a'), DEADLINE);
    await clock.advance(9.9);
    expect(cluster.read('/a').value).toBeNull();
    await clock.advance(0.2);
    expect(cluster.read('/a').value).toBe('1');
    const answer = await clock.settle(running);
    expect(answer).toMatchObject({ kind: 'answered', succeeded: true, sentAt: 0, receivedAt: 15 });
  });

  it.each([
    { fate: { kind: 'lost' }, atDeadline: null, later: null },
    { fate: { kind: 'answer-lost' }, atDeadline: '1', later: '1' },
    { fate: { kind: 'late', byMs: 150 }, atDeadline: null, later: '1' },
  ] as const)(
    'is in doubt at its deadline when $fate.kind',
    async ({ fate, atDeadline, later }) => {
      const { clock, cluster, store } = setUp();
      store.nextTxn(fate);
      const answer = await clock.settle(store.txn(create('/a'), DEADLINE));
      expect(answer).toMatchObject({
        kind: 'ambiguous',
        error: { code: 'deadline' },
        receivedAt: 100,
      });
      expect(cluster.read('/a').value).toBe(atDeadline);
      await clock.advance(100);
      expect(cluster.read('/a').value).toBe(later);
      expect((await store.txn(create('/b'), DEADLINE)).kind).toBe('answered');
    },
  );

  it.each([true, false])('is in doubt at once at an election, committed: %s', async (didCommit) => {
    const { cluster, store } = setUp();
    store.nextTxn({ kind: 'unavailable', didCommit });
    expect(await store.txn(create('/a'), DEADLINE)).toMatchObject({
      kind: 'ambiguous',
      error: { code: 'unavailable' },
    });
    expect(cluster.read('/a').value).toBe(didCommit ? '1' : null);
  });

  it('is refused without being applied', async () => {
    const { cluster, store } = setUp();
    const error = { code: 'denied', message: 'no', isRetryable: false } as const;
    store.nextTxn({ kind: 'refused', error });
    expect(await store.txn(create('/a'), DEADLINE)).toMatchObject({ kind: 'refused', error });
    expect(cluster.read('/a').value).toBeNull();
  });

  it.each([
    { way: 'requests', committed: null },
    { way: 'answers', committed: '1' },
    { way: 'both', committed: null },
  ] as const)('meets a cut of $way', async ({ way, committed }) => {
    const { clock, cluster, store } = setUp();
    store.cut(way);
    const answer = await clock.settle(store.txn(create('/a'), DEADLINE));
    expect(answer.kind).toBe('ambiguous');
    expect(cluster.read('/a').value).toBe(committed);
    store.heal();
    expect((await store.txn(create('/b'), DEADLINE)).kind).toBe('answered');
  });

  it('waits for an election past its deadline, or is lost in it', async () => {
    const { clock, cluster, store } = setUp();
    cluster.halt('queue');
    const queued = await clock.settle(store.txn(create('/a'), DEADLINE));
    cluster.halt('lose');
    const lost = await clock.settle(store.txn(create('/b'), DEADLINE));
    expect([queued.kind, lost.kind]).toEqual(['ambiguous', 'ambiguous']);
    cluster.resume();
    expect(cluster.read('/a').value).toBe('1');
    expect(cluster.read('/b').value).toBeNull();
  });

  it('has its deadline by the clock of its director', async () => {
    const { clock, cluster } = setUp();
    const store = cluster.connect('d2', clock.derive({ rate: 2, offset: 1000 }));
    store.cut();
    const answer = await clock.settle(store.txn(create('/a'), DEADLINE));
    expect(answer).toMatchObject({ sentAt: 1000, receivedAt: 1100 });
    expect(clock.now()).toBe(50);
  });

  it('has an outcome that agrees with the store, whatever chance does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const { clock, cluster, store } = setUp(seed);
        Object.assign(store.faults, {
          requestDelayMs: [0, 80],
          answerDelayMs: [0, 80],
          requestLoss: 0.2,
          answerLoss: 0.2,
          lateCommit: 0.2,
          lateMs: [50, 300],
        });
        const keys = Array.from({ length: 20 }, (_, i) => `/${i}`);
        const answers = await clock.settle(
          Promise.all(keys.map((key) => store.txn(create(key), DEADLINE))),
        );
        for (const [i, answer] of answers.entries()) {
          const isThere = cluster.read(`/${i}`).value !== null;
          if (answer.kind === 'answered') expect(isThere).toBe(answer.succeeded);
          expect(answer.kind).not.toBe('refused');
        }
        await clock.advance(1000);
        expect(clock.pending).toBe(0);
      }),
      { numRuns: 20 },
    );
  });
});

describe('a lease', () => {
  it('ends late, never early, and its keys with it', async () => {
    const { clock, cluster, store } = setUp();
    const granted = await store.grantLease(2, DEADLINE);
    if (!granted.ok) throw new Error(granted.error.message);
    const { lease, validUntil } = granted.value;
    await store.txn(
      { compares: [], success: [{ op: 'put', key: '/a', value: '1', lease }], failure: [] },
      DEADLINE,
    );
    await clock.advance(1500);
    expect((await store.keepLeaseAlive(lease, DEADLINE)).ok).toBe(true);
    await clock.advance(validUntil - clock.now() + 1490);
    expect(cluster.read('/a').value).toBe('1');
    await clock.advance(600);
    expect(cluster.read('/a').value).toBeNull();
    expect(cluster.leases()).toEqual([]);
  });

  it('has its full time again after an election', async () => {
    const { clock, cluster } = setUp();
    cluster.grant(2);
    await clock.advance(1900);
    cluster.halt('lose');
    await clock.advance(60_000);
    cluster.resume();
    await clock.advance(1990);
    expect(cluster.leases()).toHaveLength(1);
    await clock.advance(600);
    expect(cluster.leases()).toHaveLength(0);
  });
});

describe('a watch', () => {
  const collect = (store: FakeStore): { events: WatchEvent[]; abort: AbortController } => {
    const events: WatchEvent[] = [];
    const abort = new AbortController();
    void (async () => {
      for await (const event of store.watch('/w/', abort.signal)) events.push(event);
    })();
    return { events, abort };
  };

  it('lags as told, in order', async () => {
    const { clock, cluster, store } = setUp();
    store.faults.watchLagMs = [10, 40];
    const { events, abort } = collect(store);
    await clock.advance(1);
    for (let i = 0; i < 10; i++) cluster.write(`/w/${i}`, 'x');
    await clock.advance(5);
    expect(events).toHaveLength(1);
    await clock.advance(100);
    expect(events.slice(1).map((event) => event.kind === 'changes' && event.revision)).toEqual([
      2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    ]);
    abort.abort();
    await clock.advance(1);
    expect(clock.pending).toBe(0);
  });

  it('tells a cut after its silence, resumes without loss, and lists anew after a compaction', async () => {
    const { clock, cluster, store } = setUp();
    const { events, abort } = collect(store);
    await clock.advance(1);
    const kinds = (): string => events.map((event) => event.kind).join(' ');
    store.cut();
    cluster.write('/w/a', '1');
    await clock.advance(1900);
    expect(kinds()).toBe('snapshot');
    await clock.advance(200);
    expect(kinds()).toBe('snapshot interrupted');
    store.heal();
    await clock.advance(1);
    expect(kinds()).toBe('snapshot interrupted changes');
    store.cut();
    await clock.advance(3000);
    cluster.write('/w/a', '2');
    cluster.write('/w/a', '3');
    cluster.compact();
    store.heal();
    await clock.advance(1);
    expect(kinds()).toBe('snapshot interrupted changes interrupted snapshot');
    expect(events.at(-1)).toMatchObject({ entries: [{ key: '/w/a', value: '3' }] });
    abort.abort();
  });
});
