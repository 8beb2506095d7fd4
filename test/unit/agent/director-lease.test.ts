/** What lives on the director's own lease: written on change only, and anew when the lease is lost. */
import { describe, expect, it } from 'vitest';
import { createDirectorLease } from '../../../src/agent/director-lease.ts';
import { storeBench } from './store-bench.ts';

function setUp(ttlS: () => number | null = () => 15) {
  const bench = storeBench();
  const { cluster, store, clock, log, end } = bench;
  const lease = createDirectorLease(
    {
      ttlS,
      revisionOf: (key) => cluster.read(key).modRevision,
      outlives: (key) => key.startsWith('stays'),
    },
    { store, clock, log },
  );
  const running = lease.run(end.signal);
  return { ...bench, lease, running };
}

describe('the director’s lease', () => {
  it('writes a value at once, and only when it changes', async () => {
    const { clock, cluster, lease, stored } = setUp();
    lease.publish('a', '1');
    await clock.advance(20);
    expect(stored('a')).toBe(1);
    const { revision } = cluster;
    lease.publish('a', '1');
    await clock.advance(60_000);
    expect(cluster.revision).toBe(revision);
    lease.publish('a', '2');
    await clock.advance(20);
    expect(stored('a')).toBe(2);
  });

  it('keeps what it wrote alive, and lets all of it go at the end', async () => {
    const { clock, lease, stored, end, running } = setUp();
    lease.publish('a', '1');
    await clock.advance(300_000);
    expect(stored('a')).toBe(1);
    end.abort();
    await clock.settle(running);
    expect(stored('a')).toBeNull();
  });

  it('leaves at its end what is to outlive it, for the rest of the lease', async () => {
    const { clock, lease, stored, end, running } = setUp();
    lease.publish('stays', '1');
    lease.publish('goes', '2');
    await clock.advance(20);
    end.abort();
    await clock.settle(running);
    expect([stored('stays'), stored('goes')]).toEqual([1, null]);
    await clock.advance(20_000);
    expect(stored('stays')).toBeNull();
  });

  it('removes at its end what it wrote in doubt, and nothing of others', async () => {
    const { clock, cluster, store, lease, stored, end, running } = setUp();
    lease.publish('stays', '1');
    lease.publish('theirs', '2');
    await clock.advance(20);
    cluster.write('theirs', '3');
    store.nextTxn({ kind: 'answer-lost' });
    lease.publish('goes', '4');
    await clock.advance(20);
    end.abort();
    await clock.settle(running);
    expect([stored('stays'), stored('theirs'), stored('goes')]).toEqual([1, 3, null]);
  });

  it('withdraws a value, also one of an earlier life', async () => {
    const { clock, cluster, lease, stored } = setUp();
    cluster.write('old', '7');
    lease.publish('old', null);
    lease.publish('a', '1');
    await clock.advance(20);
    expect([stored('old'), stored('a')]).toEqual([null, 1]);
    lease.publish('a', null);
    lease.publish('never', null);
    await clock.advance(20);
    expect(stored('a')).toBeNull();
  });

  it('writes everything anew when the store has lost the lease', async () => {
    const { clock, cluster, lease, stored, log } = setUp();
    lease.publish('a', '1');
    lease.publish('b', '2');
    await clock.advance(20);
    for (const one of cluster.leases()) cluster.revoke(one);
    expect(stored('a')).toBeNull();
    await clock.advance(6000);
    expect([stored('a'), stored('b')]).toEqual([1, 2]);
    expect(log.events()).toEqual(['director-lease.ended']);
  });

  it('waits until it is known for how long it is to be', async () => {
    let ttlS: number | null = null;
    const { clock, cluster, lease, stored, running, end } = setUp(() => ttlS);
    lease.publish('stays', '1');
    await clock.advance(5000);
    expect(cluster.leases()).toEqual([]);
    ttlS = 10;
    await clock.advance(600);
    expect(stored('stays')).toBe(1);
    end.abort();
    await clock.settle(running);
    await clock.advance(10_500);
    expect(stored('stays')).toBeNull();
  });

  it.each([
    [10, 600],
    [600, 10],
  ])('of %i s that is to be one of %i s takes along what is on it', async (before, after) => {
    let ttlS = before;
    const { clock, cluster, lease, stored, log, running, end } = setUp(() => ttlS);
    for (const key of ['stays', 'stays-too']) lease.publish(key, '1');
    lease.publish('gone', '2');
    await clock.advance(20);
    lease.publish('gone', null);
    await clock.advance(20);
    ttlS = after;
    lease.publish('report', '3');
    for (let waited = 0; waited < 700_000; waited += 1000) {
      await clock.advance(1000);
      expect([stored('stays'), stored('stays-too'), stored('gone')]).toEqual([1, 1, null]);
    }
    expect(cluster.leases()).toHaveLength(1);
    expect(log.events()).toEqual([]);
    end.abort();
    await clock.settle(running);
    await clock.advance(after * 1000 + 500);
    expect(stored('stays')).toBeNull();
  });

  it('replaces what somebody else wrote meanwhile', async () => {
    const { clock, cluster, store, lease, stored } = setUp();
    lease.publish('a', '1');
    await clock.advance(20);
    cluster.write('a', '9');
    store.nextTxn({ kind: 'answered' });
    lease.publish('a', '2');
    await clock.advance(600);
    expect(stored('a')).toBe(2);
  });

  it.each(['lost', 'answer-lost'] as const)('resolves a write that is %s', async (kind) => {
    const { clock, store, lease, stored } = setUp();
    store.nextTxn({ kind });
    lease.publish('a', '1');
    await clock.advance(5000);
    expect(stored('a')).toBe(1);
    lease.publish('a', '2');
    await clock.advance(20);
    expect(stored('a')).toBe(2);
  });

  it('withdraws a value whose write is in doubt', async () => {
    const { clock, store, lease, stored } = setUp();
    await clock.advance(20);
    store.nextTxn({ kind: 'answer-lost' });
    lease.publish('a', '1');
    await clock.advance(2000);
    expect(stored('a')).toBe(1);
    lease.publish('a', null);
    await clock.advance(3000);
    expect(stored('a')).toBeNull();
  });

  it('catches up after a cut, with the latest values only', async () => {
    const { clock, store, lease, stored } = setUp();
    lease.publish('a', '1');
    await clock.advance(20);
    store.cut();
    for (let i = 2; i < 9; i++) lease.publish('a', String(i));
    await clock.advance(30_000);
    expect(stored('a')).toBeNull();
    store.heal();
    await clock.advance(10_000);
    expect(stored('a')).toBe(8);
  });

  it('writes hundreds of values in batches that etcd takes', async () => {
    const { clock, cluster, lease } = setUp();
    for (let i = 0; i < 200; i++) lease.publish(`k${i}`, '1');
    await clock.advance(50);
    expect(cluster.entries('k')).toHaveLength(200);
  });
});
