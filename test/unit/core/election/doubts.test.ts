/** What may have been committed, or may be yet, and takes something from another director (design 4.8). */
import { describe, expect, it } from 'vitest';
import { sessionIdOf } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import {
  candidate,
  D2,
  type ElectionDriver,
  G1,
  isTxn,
  keys,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };

function question(driver: ElectionDriver): Hold {
  const { modRevision } = driver.store.read(keys.session(D2));
  const ownerRev = driver.store.read(keys.owner(G1)).modRevision;
  return {
    kind: 'hold',
    session: sessionIdOf(modRevision),
    sessionRev: modRevision,
    round: 1,
    part: 0,
    basis: 'peers',
    forMs: WAIT_MS,
    groups: [{ group: G1, epoch: driver.epochOf(), ownerRev }],
  };
}

function ask(driver: ElectionDriver, message = question(driver)): string {
  const told = driver.feed({ kind: 'peer', from: D2, message });
  driver.run();
  const [one] = told.flatMap((effect) => (effect.kind === 'tell' ? [effect.message] : []));
  return one?.kind === 'refusal' ? one.reason : (one?.kind ?? 'nothing');
}

/** d1 has sent a kill of d2, and its answer is kept back. */
function killing(): ElectionDriver {
  const driver = candidate();
  driver.keep = isTxn('kill', 'relay');
  for (let i = 0; i < 200 && driver.kept.length === 0; i++) driver.advance(100);
  expect(driver.kept).toHaveLength(1);
  return driver;
}

describe('a kill', () => {
  it('that is under way is no time for a promise', () => {
    expect(ask(killing())).toBe('in-doubt');
  });

  it('in doubt stays one until a record tells', () => {
    const driver = killing();
    const kill = driver.takeKept();
    driver.doubt(kill);
    driver.keep = isTxn('kill', 'relay', 'challenge', 'withdraw');
    driver.hear();
    const asked = question(driver);
    expect(ask(driver, asked)).toBe('in-doubt');
    driver.commit(kill);
    driver.see();
    expect(ask(driver, asked)).toBe('superseded');
    expect(driver.state.doubts).toEqual([]);
  });

  it('that can commit no more, as its challenge was answered, is none', () => {
    const driver = killing();
    driver.doubt(driver.takeKept());
    driver.keep = isTxn('kill', 'relay', 'challenge');
    driver.store.remove(keys.challenge(D2));
    driver.hear();
    expect(driver.state.doubts).toEqual([]);
    expect(ask(driver)).toBe('promise');
  });

  it('that is tried again and again is one doubt', () => {
    const driver = killing();
    for (let i = 0; i < 5; i++) {
      for (const { effect } of driver.kept.splice(0))
        if (effect.kind === 'txn') driver.doubt(effect);
      driver.advance(TIMING.roundMs + 200);
    }
    expect(driver.txns('kill').length).toBeGreaterThan(2);
    expect(driver.state.doubts).toHaveLength(1);
  });
});

describe('a transfer by consent that was lost', () => {
  it('is made void when the holder does not ask for it any more', () => {
    const driver = candidate();
    for (let i = 0; i < 6; i++) {
      driver.advance(1000);
      driver.hear();
    }
    const { modRevision } = driver.store.read(keys.session(D2));
    const session = sessionIdOf(modRevision);
    const epoch = driver.epochOf();
    driver.keep = isTxn('transfer', 'relay');
    driver.feed({
      kind: 'peer',
      from: D2,
      message: { kind: 'consent', session, group: G1, epoch },
    });
    driver.run();
    driver.doubt(driver.takeKept());
    expect(ask(driver)).toBe('in-doubt');
    const { value } = driver.store.read(keys.owner(G1));
    for (let i = 0; i < 6; i++) {
      driver.advance(1000);
      driver.hear();
    }
    const after = driver.store.read(keys.owner(G1));
    expect(after.value).toBe(value);
    expect(after.modRevision).toBeGreaterThan(epoch);
    expect(ask(driver)).toBe('promise');
  });
});
