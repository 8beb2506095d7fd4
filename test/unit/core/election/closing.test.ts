/** What the kernel will not silence on demand falls silent by its deadline, and blocks nobody (design 4.3, 4.7). */
import { describe, expect, it } from 'vitest';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D3,
  type ElectionDriver,
  fit,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  sessionOf,
  TIMING,
} from './election-driver.ts';

/** Ticks of the kernel's clock, and whole seconds of address lifetimes. */
const CLOSE_SLACK_MS = 1100;

/** The interface went away, and the kernel keeps refusing to close g1; g2 is fit. */
function stuck(fields: Parameters<typeof holder>[0] = {}) {
  const driver = holder(fields);
  driver.keep = (effect) => effect.kind === 'close';
  const silentAt = driver.state.armedUntil + CLOSE_SLACK_MS;
  driver.feed(fit([G1, 'interface-down'], [G2, null]));
  driver.settle();
  driver.feed({ kind: 'closed', groups: [G1], isOk: false });
  driver.settle();
  return { driver, silentAt };
}

const owner = (driver: ElectionDriver): unknown =>
  JSON.parse(driver.store.read(keys.owner(G1)).value ?? 'null');
const challenge = (driver: ElectionDriver): void => {
  const session = driver.store.read(keys.session(D1)).modRevision;
  driver.store.write(keys.challenge(D1), formatRecord({ v: 1, by: 'd2', session }));
  driver.settle();
};
const isChallenged = (driver: ElectionDriver): boolean =>
  driver.store.read(keys.challenge(D1)).value !== null;

describe('a group that is silent, and whose record is to be written away', () => {
  it('is nothing to arm, and so no failure to: challenges are answered, as long as that takes', () => {
    const driver = holder();
    driver.keep = isTxn('give-up');
    driver.feed(fit([G1, 'interface-down']));
    driver.settle();
    for (let i = 0; i < 5; i++) {
      challenge(driver);
      driver.advance(TIMING.roundMs);
      expect(driver.holding()).toBe('shut');
      expect(isChallenged(driver), `round ${i}`).toBe(false);
    }
  });

  it('ends what the kernel failed to do for it', () => {
    const { driver, silentAt } = stuck();
    driver.keep = (effect) => effect.kind === 'close' || isTxn('give-up')(effect);
    while (driver.now < silentAt) {
      challenge(driver);
      driver.advance(TIMING.roundMs);
    }
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('shut');
    expect(isChallenged(driver)).toBe(false);
  });
});

describe('a group that the kernel will not close', () => {
  it('counts as silent a moment after its deadline, not before, and its record is written away', () => {
    const { driver, silentAt } = stuck();
    driver.advance(silentAt - driver.now - 1);
    // Without any event it is looked at just then.
    expect(driver.wakeAt).toBe(silentAt);
    expect(driver.txns('give-up')).toEqual([]);
    expect(driver.holding()).toBe('closing');
    driver.advance(1);
    expect(driver.txns('give-up')).toHaveLength(1);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'interface-down' });
  });

  it('of a session that is lost lets the next session begin after that deadline', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    const silentAt = driver.state.armedUntil + CLOSE_SLACK_MS;
    const broken = sessionOf({ state: 'broken', id: driver.sessionId });
    driver.store.write(keys.session(D1), formatRecord(broken));
    driver.settle();
    driver.advance(silentAt - driver.now - 1);
    expect(driver.of('clear-gate')).toEqual([]);
    driver.advance(1);
    expect(driver.of('clear-gate')).toHaveLength(1);
    expect(driver.state.session.kind).toBe('open');
  });

  it('is all that is left: after three rounds challenges are answered no more', () => {
    const { driver } = stuck();
    for (let i = 0; i < 3; i++) {
      challenge(driver);
      driver.advance(TIMING.roundMs);
      expect(isChallenged(driver), `round ${i}`).toBe(false);
    }
    challenge(driver);
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('closing');
    expect(isChallenged(driver)).toBe(true);
    expect(driver.txns('round').at(-1)?.txn.compares).toContainEqual({
      key: keys.challenge(D1),
      modRevision: 0,
    });
  });

  it('beside another one leaves that one’s rounds, and the answers to challenges, as they were', () => {
    const { driver, silentAt } = stuck({ groups: [group(G1), group(G2)] });
    while (driver.now + TIMING.roundMs < silentAt) {
      challenge(driver);
      driver.advance(TIMING.roundMs);
      expect(isChallenged(driver)).toBe(false);
      expect(driver.holding(G2)).toBe('open');
    }
    expect(driver.holding()).toBe('closing');
  });

  it('and whose record changes in its pending entries alone is followed by the rounds of the others', () => {
    const { driver } = stuck({ groups: [group(G1), group(G2)] });
    const session = live(driver.store, D3);
    const pending = [{ director: 'd3', session, epoch: 1 }];
    const mine = { director: 'd1', session: driver.sessionId, pending };
    driver.store.write(keys.owner(G1), formatRecord(ownerOf(mine)));
    driver.settle();
    driver.forget();
    driver.advance(2 * TIMING.roundMs);
    expect(driver.of('arm').length).toBeGreaterThanOrEqual(2);
    for (const { groups } of driver.of('arm')) expect(groups.map((one) => one.group)).toEqual([G2]);
    expect(driver.holding()).toBe('closing');
  });

  it('is written away for whoever the record names by then: nothing is armed for it meanwhile', () => {
    const { driver, silentAt } = stuck();
    driver.forget();
    driver.keep = (effect) => effect.kind === 'close' || isTxn('give-up')(effect);
    driver.advance(silentAt - driver.now + 5000);
    expect(driver.of('arm')).toEqual([]);
    expect(driver.holding()).toBe('shut');
  });
});
