/** What a former process of this kernel left speaking is taken or silenced, never forgotten (design 4.14). */
import { describe, expect, it } from 'vitest';
import { FREEZE_HOLD_MS } from '../../../../src/core/election/timing.ts';
import { groupId } from '../../../../src/model/ids.ts';
import { formatRecord, type SessionRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  ElectionDriver,
  G1,
  G2,
  group,
  keys,
  live,
  ownerOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

/** A former process of this director's kernel left its session open, and owned the group. */
function withFormer(longerMs = 0): { readonly driver: ElectionDriver; readonly session: number } {
  const driver = new ElectionDriver();
  const { boot, namespace, machine } = driver.config.identity;
  const record: SessionRecord = {
    v: 1,
    state: 'open',
    boot,
    namespace,
    machine,
    nonce: 'former',
    address: '',
    id: 0,
  };
  driver.store.write(keys.session(D1), formatRecord(record));
  const session: number = driver.store.read(keys.session(D1)).modRevision;
  const { holdMs, slackMs, driftMargin } = TIMING;
  driver.store.write(
    keys.scope(D1),
    formatRecord({ v: 1, holdMs: holdMs + longerMs, slackMs, driftMargin, session, peers: [] }),
  );
  driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session })));
  return { driver, session };
}

describe('what a new process keeps', () => {
  it('is what the former one owned, alone: not what is another’s, nor what waits for another', () => {
    const { driver, session } = withFormer();
    const other = live(driver.store, D2);
    const third = groupId('g3');
    const pending = [{ director: 'd2', session: other, epoch: 1 }];
    driver.config = { ...driver.config, groups: [group(G1), group(G2), group(third)] };
    driver.store.write(keys.owner(G2), formatRecord(ownerOf({ session: other })));
    const waiting = ownerOf({ director: 'd1', session, pending });
    driver.store.write(keys.owner(third), formatRecord(waiting));
    driver.begin();
    expect(driver.of('clear-gate')).toMatchObject([{ keep: [G1] }]);
    expect(driver.sessionId).toBe(session);
  });

  it.each([
    ['not asked for while the kernel still speaks', 100, 0],
    ['asked for when its kernel has fallen silent', 0.75 * TIMING.holdMs + 1, 1],
    ['asked for long after', 2 * WAIT_MS, 1],
  ])('is %s', (_, laterMs, probes) => {
    const { driver } = withFormer();
    driver.config = { ...driver.config, isolation: 'gateway' };
    driver.keep = (effect) => effect.kind === 'clear-gate';
    driver.begin();
    driver.advance(laterMs);
    driver.keep = () => false;
    driver.run();
    for (const { effect, at } of driver.kept.splice(0)) driver.carryOut(effect, at);
    driver.advance(2 * TIMING.roundMs);
    expect(driver.of('probe')).toHaveLength(probes);
    expect(driver.holding()).toBe('open');
  });

  it('is nothing of an earlier session than the one it goes on with', () => {
    const { driver, session } = withFormer();
    driver.store.write(
      keys.owner(G1),
      formatRecord(ownerOf({ director: 'd1', session: session - 1 })),
    );
    driver.begin();
    expect(driver.of('clear-gate')).toMatchObject([{ keep: [] }]);
  });

  it('counts as armed for the longest D where the former one’s scope was deleted', () => {
    const { driver } = withFormer();
    driver.store.remove(keys.scope(D1));
    driver.keep = (effect) => effect.kind === 'permit';
    driver.begin();
    expect(driver.state.armedHoldMs).toBe(FREEZE_HOLD_MS);
    expect(JSON.parse(driver.store.read(keys.scope(D1)).value ?? '{}')).toMatchObject({
      holdMs: FREEZE_HOLD_MS,
    });
  });
});

it('a group that was kept, and that somebody else has without a word of it, is silenced as lost', () => {
  const { driver } = withFormer();
  driver.keep = (effect) => effect.kind === 'clear-gate' || effect.kind === 'close';
  driver.begin();
  const session = live(driver.store, D2);
  driver.store.write(keys.owner(G1), formatRecord(ownerOf({ session })));
  driver.see();
  driver.feed({ kind: 'gate-cleared', speaking: new Map() });
  driver.settle();
  expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
  // Nothing is armed before the kernel has silenced what was lost.
  expect(driver.state.holdings.get(G1)).toMatchObject({ kind: 'closing', isLost: true });
});

describe('a group that was kept, and given away by what the former process had under way', () => {
  it('is silenced before its pending entry is resolved', () => {
    const { driver, session } = withFormer();
    const epoch = driver.store.read(keys.owner(G1)).modRevision;
    driver.keep = (effect) => effect.kind === 'clear-gate' || effect.kind === 'close';
    driver.begin();
    expect(driver.of('clear-gate')).toMatchObject([{ keep: [G1] }]);
    const pending = [{ director: 'd1', session, epoch }];
    driver.store.write(
      keys.owner(G1),
      formatRecord(ownerOf({ director: 'd2', session: 1, pending })),
    );
    driver.see();
    driver.feed({ kind: 'gate-cleared', speaking: new Map() });
    driver.settle();
    expect(driver.state.session.kind).toBe('open');
    expect(driver.of('close')).toMatchObject([{ groups: [G1] }]);
    expect(driver.txns('resolve-pending')).toEqual([]);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.txns('resolve-pending')).toHaveLength(1);
  });
});

describe('a D that a former process had raised', () => {
  it('stays what others wait for until the kernel has taken the shorter one', () => {
    const { driver } = withFormer(6000);
    driver.keep = (effect) => effect.kind === 'arm';
    driver.begin();
    expect(driver.state.session.kind).toBe('open');
    expect(driver.of('arm')).toHaveLength(1);
    expect(driver.txns('write-scope')).toEqual([]);
    expect(driver.state.view.scopes.get(D1)?.value?.holdMs).toBe(TIMING.holdMs + 6000);
  });
});
