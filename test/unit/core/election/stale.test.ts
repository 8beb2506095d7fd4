/** Answers and knowledge that come too late, or of another time, change nothing (design 4.1, 4.3). */
import { describe, expect, it } from 'vitest';
import type { ElectionEffect, ElectionEvent } from '../../../../src/core/election/state.ts';
import { monoMs, revision } from '../../../../src/model/ids.ts';
import {
  candidate,
  D1,
  D2,
  type ElectionDriver,
  G1,
  holder,
  isTxn,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

const until = (driver: ElectionDriver): number => {
  const holding = driver.state.holdings.get(G1);
  return holding?.kind === 'open' ? holding.until : -1;
};
/** A holder with the next effect of that kind kept back. */
function holding(kind: ElectionEffect['kind']): ElectionDriver {
  const driver = holder();
  driver.keep = (effect) => effect.kind === kind;
  while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
  driver.forget();
  return driver;
}

describe('an answer of the kernel', () => {
  it('to the permit of an earlier round sends nothing', () => {
    const driver = holding('permit');
    const { roundNumber } = driver.state;
    driver.feed({ kind: 'permit-given', round: roundNumber - 1, isOk: true });
    expect(driver.txns('round')).toEqual([]);
    driver.feed({ kind: 'permit-given', round: roundNumber, isOk: true });
    expect(driver.txns('round')).toHaveLength(1);
    driver.feed({ kind: 'permit-given', round: roundNumber, isOk: true });
    expect(driver.txns('round')).toHaveLength(1);
  });

  it('to an earlier arming, or to none, puts no deadline off', () => {
    const driver = holding('arm');
    const before = until(driver);
    const round = driver.state.roundNumber;
    const armed = (number: number): ElectionEvent => ({
      kind: 'armed',
      round: number,
      isOk: true,
      groups: [G1],
      opened: [],
      unsettled: [],
      failed: [],
      speaksUntil: monoMs(before + 100),
    });
    driver.feed(armed(round - 1));
    expect(until(driver)).toBe(before);
    driver.feed(armed(round));
    expect(until(driver)).toBe(before + 100);
    driver.feed({ ...armed(round), speaksUntil: monoMs(before + 9000) } as ElectionEvent);
    expect(until(driver)).toBe(before + 100);
  });

  it('that something opened, is mute or is closed says nothing about what is held by now', () => {
    const driver = holder();
    const { holdings } = driver.state;
    const groups = [G1];
    driver.feed({
      kind: 'opened',
      groups,
      isOk: true,
      failed: [],
      speaksUntil: monoMs(driver.now + 60_000),
    });
    driver.feed({ kind: 'muted', groups, isOk: true });
    driver.feed({ kind: 'closed', groups, isOk: true });
    expect(driver.state.holdings).toEqual(holdings);
  });
});

describe('an answer of the store', () => {
  it('to a round that was given up arms nothing', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
    const first = driver.takeKept();
    const sentAt = driver.now;
    driver.doubt(first);
    driver.advance(TIMING.permitMs);
    const second = driver.takeKept();
    driver.forget();
    driver.reply(first, driver.commit(first), sentAt);
    expect(driver.of('arm')).toEqual([]);
    driver.reply(second, driver.commit(second), driver.now);
    expect(driver.of('arm')).toHaveLength(1);
    driver.reply(second, driver.commit(second), driver.now);
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('to a challenge that was dropped meanwhile begins no wait', () => {
    const driver = candidate();
    driver.keep = isTxn('challenge');
    driver.advance(TIMING.suspectMs);
    const challenge = driver.takeKept();
    const answer = driver.commit(challenge);
    driver.doubt(challenge);
    driver.reply(challenge, answer, driver.now);
    expect(driver.state.challenges.get(D2)?.kind).toBe('resting');
    driver.keep = () => false;
    driver.advance(200 + WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
  });
});

describe('knowledge older than what is known', () => {
  const old = { rev: revision(1), asOf: revision(1) };

  it('of the owner, or of its own session, takes nothing from the holder', () => {
    const driver = holder();
    const { view } = driver.state;
    const owner = ownerOf({ director: 'd2', session: 1 });
    const session = sessionOf({ state: 'broken' });
    driver.feed({
      kind: 'view',
      changes: [
        { of: 'owner', name: G1, known: { ...old, value: owner } },
        { of: 'session', name: D1, known: { ...old, value: session } },
      ],
      isSynced: true,
    });
    expect(driver.state.view).toEqual(view);
    expect(driver.of('close')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it('of the holder’s session frees nothing', () => {
    const driver = candidate();
    const value = sessionOf({ state: 'closed' });
    driver.feed({
      kind: 'view',
      changes: [{ of: 'session', name: D2, known: { ...old, value } }],
      isSynced: true,
    });
    driver.hear();
    driver.advance(1000);
    expect(driver.txns('claim', 'kill')).toEqual([]);
  });
});
