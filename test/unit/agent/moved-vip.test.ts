/** Whole agents on fakes: a VIP that moves to another group while somebody lives who tells nothing (design 4.13). */
import { afterEach, expect, it } from 'vitest';
import type { IpAddress } from '../../../src/model/address.ts';
import { directorId, groupId } from '../../../src/model/ids.ts';
import { formatRecord } from '../../../src/model/records.ts';
import { override } from '../../sim/rewriting.ts';
import { keys, timingOf, vipOf } from '../../sim/spec.ts';
import { World } from '../../sim/world.ts';

let world: World;
afterEach(() => world.close());

const { driftMargin, slackMs } = timingOf({ profile: 'relaxed', holdFactor: 1 });
const HOLD_MS = 6000;
const SILENT_MS = HOLD_MS * (1 + driftMargin) + slackMs;
const PASS_MS = 1200;

const D9 = directorId('d9');
const G1 = keys.owner(groupId('g1'));

/** A director with etcd's word that it lives, and no report. */
function letLive(): void {
  const session = { v: 1, state: 'open', boot: '', namespace: '', machine: '', nonce: '' } as const;
  world.cluster.write(keys.session(D9), formatRecord({ ...session, address: '', id: 0 }));
  const scope = { v: 1, holdMs: HOLD_MS, slackMs: 0, driftMargin: 0, session: 0 } as const;
  world.cluster.write(keys.scope(D9), formatRecord({ ...scope, peers: [] }));
}

/** Both groups are held; then the record of g1 goes, which nobody can claim, and its VIP moves to g2. */
async function moved(): Promise<IpAddress> {
  let isClaimable = true;
  world = new World({
    seed: 3,
    directors: 2,
    groups: 2,
    rateSpread: 0,
    expiryLagMs: 0,
    mutation: {
      name: 'claims-of-g1-refused',
      store: (store, { clock }) =>
        override(store, {
          txn: (txn, options) => {
            const isClaim = txn.success.some((one) => one.op === 'put' && one.key === G1);
            if (isClaimable || !isClaim) return store.txn(txn, options);
            const error = { code: 'unavailable', message: 'not now', isRetryable: true } as const;
            const at = clock.now();
            return Promise.resolve({ kind: 'refused', error, sentAt: at, receivedAt: at });
          },
        }),
    },
  });
  world.applySpec();
  letLive();
  for (const director of world.directors) director.start();
  await world.clock.advance(20_000);
  expect(world.holdersOf('g1')).toHaveLength(1);
  expect(world.holdersOf('g2')).toHaveLength(1);

  isClaimable = false;
  world.cluster.remove(G1);
  world.applySpec({ isMoved: true });
  await world.clock.advance(1000);
  expect(world.answering(vipOf('g1'))).toEqual([]);
  return vipOf('g1');
}

it('is opened by time alone, though nobody claims the group that it came from', async () => {
  const vip = await moved();
  await world.clock.advance(SILENT_MS - 1500);
  expect(world.answering(vip)).toEqual([]);
  await world.clock.advance(500 + PASS_MS);
  expect(world.answering(vip)).toEqual(world.holdersOf('g2'));
  expect(world.holdersOf('g2')).toHaveLength(1);
  expect(world.violations).toEqual([]);
});

it('is not opened by the time in which etcd told nothing', async () => {
  const vip = await moved();
  world.cluster.halt('lose');
  await world.clock.advance(SILENT_MS + 2 * PASS_MS);
  expect(world.answering(vip)).toEqual([]);
  expect(world.holdersOf('g2')).toHaveLength(1);
  world.cluster.resume();
  await world.clock.advance(5 * PASS_MS);
  expect(world.answering(vip)).toEqual(world.holdersOf('g2'));
  expect(world.violations).toEqual([]);
});
