/** `run/lease/<group>` shows who holds: guarded by the owner record, gone with the holder. */
import { describe, expect, it } from 'vitest';
import { createGroupLeases } from '../../../src/agent/group-leases.ts';
import { directorId, epochOf, groupId } from '../../../src/model/ids.ts';
import { keys, storeBench } from './store-bench.ts';

const G = groupId('web');
const KEY = keys.lease(G);

function setUp(ttlS: () => number = () => 15) {
  const bench = storeBench();
  const { store, clock, log, end } = bench;
  const leases = createGroupLeases(
    { director: directorId('d1'), keys, ttlS },
    { store, clock, log },
  );
  const running = leases.run(end.signal);
  const own = () => epochOf(bench.cluster.write(keys.owner(G), '{}'));
  return { ...bench, leases, running, own };
}

describe('the lease of a group', () => {
  it('shows holder and epoch while held, for as long as it is held', async () => {
    const { clock, leases, own, stored, cluster } = setUp();
    const epoch = own();
    leases.show(G, epoch);
    await clock.advance(20);
    expect(stored(KEY)).toEqual({ v: 1, holder: 'd1', epoch });
    const { revision } = cluster;
    await clock.advance(120_000);
    expect(cluster.revision).toBe(revision);
    expect(leases.remainingMs(G)).toBeGreaterThan(9000);
    leases.show(G, null);
    await clock.advance(20);
    expect(stored(KEY)).toBeNull();
    expect(leases.remainingMs(G)).toBeNull();
  });

  it('follows a new epoch', async () => {
    const { clock, leases, own, stored } = setUp();
    leases.show(G, own());
    await clock.advance(20);
    const epoch = own();
    leases.show(G, epoch);
    await clock.advance(20);
    expect(stored(KEY)).toMatchObject({ epoch });
  });

  it('shows nothing for an epoch that is over, and leaves no lease behind', async () => {
    const { clock, leases, own, stored, cluster } = setUp();
    const epoch = own();
    own();
    leases.show(G, epoch);
    await clock.advance(1200);
    expect(stored(KEY)).toBeNull();
    expect(cluster.leases()).toEqual([]);
  });

  it('is renewed with others that are due soon: for each of many one would look at all', async () => {
    const { clock, leases, cluster, store } = setUp();
    const times: number[] = [];
    const keep = store.keepLeaseAlive.bind(store);
    store.keepLeaseAlive = (lease, options) => {
      times.push(clock.now());
      return keep(lease, options);
    };
    const groups = Array.from({ length: 30 }, (_, i) => groupId(`g${i}`));
    for (const group of groups) {
      leases.show(group, epochOf(cluster.write(keys.owner(group), '{}')));
      await clock.advance(150);
    }
    await clock.advance(10_000);
    times.length = 0;
    await clock.advance(15_000);
    // Of 15 s, each after 4 to 5 s.
    expect(times.length).toBeGreaterThanOrEqual(3 * groups.length);
    expect(times.length).toBeLessThanOrEqual(4 * groups.length);
    const apart = times.filter((at, i) => at > (times[i - 1] ?? 0) + 100);
    expect(apart.length).toBeLessThan(times.length / 3);
    for (const group of groups) expect(leases.remainingMs(group)).toBeGreaterThan(9000);
  });

  it('comes back after the store has lost it', async () => {
    const { clock, leases, own, stored, cluster, log } = setUp();
    leases.show(G, own());
    await clock.advance(20);
    for (const one of cluster.leases()) cluster.revoke(one);
    await clock.advance(6000);
    expect(stored(KEY)).not.toBeNull();
    expect(log.events()).toEqual(['lease.ended']);
  });

  it.each([
    [10, 600],
    [600, 10],
  ])('of %i s that is to be one of %i s is shown all the while', async (before, after) => {
    let ttlS = before;
    const { clock, leases, own, stored, cluster, log } = setUp(() => ttlS);
    leases.show(G, own());
    await clock.advance(20);
    ttlS = after;
    for (let waited = 0; waited < 700_000; waited += 1000) {
      await clock.advance(1000);
      expect(stored(KEY)).not.toBeNull();
    }
    expect(cluster.leases()).toHaveLength(1);
    expect(log.events()).toEqual([]);
    expect(leases.remainingMs(G)).toBeGreaterThan((after * 1000) / 2);
    expect(leases.remainingMs(G)).toBeLessThanOrEqual(after * 1000);
  });

  it.each(['lost', 'answer-lost'] as const)('is shown after a write that is %s', async (kind) => {
    const { clock, leases, own, stored, store, cluster } = setUp();
    store.nextTxn({ kind });
    leases.show(G, own());
    await clock.advance(5000);
    expect(stored(KEY)).not.toBeNull();
    expect(cluster.leases()).toHaveLength(1);
  });

  it('that cannot be taken back is told, and ends by itself', async () => {
    const { clock, leases, own, stored, store, log } = setUp();
    leases.show(G, own());
    await clock.advance(20);
    store.cut();
    leases.show(G, null);
    await clock.advance(3000);
    expect(log.events()).toEqual(['lease.left']);
    await clock.advance(15_000);
    expect(stored(KEY)).toBeNull();
  });

  it('ends with the agent', async () => {
    const { clock, leases, own, stored, end, running } = setUp();
    leases.show(G, own());
    await clock.advance(20);
    end.abort();
    await clock.settle(running);
    expect(stored(KEY)).toBeNull();
  });
});
