/** Design 4.14: an agent that leaves everything to a new process says so only when the kernel holds long enough. */
import { describe, expect, it } from 'vitest';
import type { ElectionEffect, ElectionEvent } from '../../../../src/core/election/state.ts';
import { FREEZE_HOLD_MS } from '../../../../src/core/election/timing.ts';
import type { GroupId } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  type ElectionDriver,
  fit,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  operationOf,
  TIMING,
} from './election-driver.ts';

const TWO = { groups: [group(G1), group(G2)] };

const freeze = (driver: ElectionDriver): void => {
  driver.feed({ kind: 'freeze' });
  driver.settle();
};
const armedOf = (
  { round, groups, until }: ElectionEffect & { kind: 'arm' },
  fields: { readonly isOk?: boolean; readonly failed?: readonly GroupId[] },
): ElectionEvent => ({
  kind: 'armed',
  round,
  isOk: true,
  groups: groups.map((one) => one.group),
  opened: [],
  unsettled: [],
  failed: [],
  speaksUntil: until,
  ...fields,
});
/** Frozen is asked for, and the first arming with the long D waits for the kernel's answer. */
function inLongArming(fields: Parameters<typeof holder>[0] = {}) {
  const driver = holder(fields);
  driver.keep = (effect) => effect.kind === 'arm' && effect.aliveMs > TIMING.holdMs;
  freeze(driver);
  for (let i = 0; i < 10 && driver.kept.length === 0; i++)
    driver.advance(driver.wakeAt - driver.now);
  const arm = driver.of('arm').at(-1);
  if (arm === undefined || driver.kept.length === 0) throw new Error('no long arming');
  driver.keep = (effect) => effect.kind === 'permit';
  return { driver, arm };
}

describe('a freeze', () => {
  it('comes after the record tells of the long D and the kernel has acknowledged it', () => {
    const { driver, arm } = inLongArming();
    expect(arm.until - driver.now).toBeGreaterThan(FREEZE_HOLD_MS / 2);
    expect(driver.state.isFrozen).toBe(false);
    const scope = driver.store.read(keys.scope(driver.config.me)).value ?? '{}';
    expect(JSON.parse(scope)).toMatchObject({ holdMs: FREEZE_HOLD_MS });
    driver.feed(armedOf(arm, {}));
    expect(driver.state.isFrozen).toBe(true);
    expect(driver.notices()).toContain('session.frozen');
  });

  it('does not come from an arming that the kernel refused, or did not answer', () => {
    const { driver, arm } = inLongArming();
    driver.feed(armedOf(arm, { isOk: false }));
    expect(driver.state.armedHoldMs).toBe(FREEZE_HOLD_MS);
    expect(driver.state.isFrozen).toBe(false);
  });

  it('does not come from an arming that left one group out', () => {
    const { driver, arm } = inLongArming(TWO);
    driver.feed(armedOf(arm, { failed: [G2] }));
    expect(driver.state.isFrozen).toBe(false);
    driver.keep = () => false;
    driver.advance(TIMING.roundMs);
    expect(driver.state.isFrozen).toBe(true);
  });

  it('does not come while a group is on its way to another director', () => {
    const driver = holder(TWO);
    driver.keep = isTxn('transfer');
    driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    driver.settle();
    freeze(driver);
    driver.advance(3 * TIMING.roundMs);
    expect(driver.of('arm').at(-1)?.aliveMs).toBeGreaterThan(TIMING.holdMs);
    expect(driver.state.isFrozen).toBe(false);
    // It commits: what is left is left to the new process, once the other group has gone.
    const transfer = driver.takeKept();
    driver.reply(transfer, driver.commit(transfer), driver.now);
    driver.settle();
    expect(driver.holding()).toBe('leaving');
    expect(driver.state.isFrozen).toBe(false);
    driver.advance(4000);
    expect(driver.state.isFrozen).toBe(true);
    expect(driver.state.holdings.size).toBe(1);
  });

  it('that was in time is not declared when half of the long D has gone', () => {
    const { driver, arm } = inLongArming();
    // As after a stop of the process within the call.
    driver.now += FREEZE_HOLD_MS / 2;
    driver.feed(armedOf(arm, {}));
    // The round that is due already gets no permit.
    const round = driver.of('permit').at(-1)?.round ?? 0;
    driver.feed({ kind: 'permit-given', round, isOk: false });
    expect(driver.state.round.kind).toBe('idle');
    expect(driver.state.isFrozen).toBe(false);
  });

  it('of a director that holds nothing comes at once', () => {
    const driver = holder({ groups: [] });
    freeze(driver);
    expect(driver.state.isFrozen).toBe(true);
  });

  it('waits for what closes, and for what is only owned', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    driver.feed(fit([G1, 'interface-down']));
    freeze(driver);
    driver.advance(2 * TIMING.roundMs);
    expect(driver.state.isFrozen).toBe(false);
    driver.keep = () => false;
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.state.isFrozen).toBe(true);
  });

  it('gives nothing away, arms nothing after it, and ends when a stop is asked for', () => {
    const { driver, arm } = inLongArming();
    driver.feed(armedOf(arm, {}));
    driver.keep = () => false;
    driver.forget();
    driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    driver.advance(2 * TIMING.roundMs);
    expect(driver.txns('round', 'transfer', 'give-up')).toEqual([]);
    expect(driver.of('permit')).toEqual([]);
    driver.feed({ kind: 'stop' });
    driver.settle();
    expect(driver.txns('transfer')).toHaveLength(1);
  });
});
