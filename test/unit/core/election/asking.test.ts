/** A round that the store does not answer: whom a holder asks, and what confirms the round (design 4.8). */
import { describe, expect, it } from 'vitest';
import { type DirectorId, groupId, revision, sessionIdOf } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  live,
  NEWEST,
  ownerOf,
  TIMING,
} from './election-driver.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };

const holds = (driver: ElectionDriver): { readonly to: DirectorId; readonly message: Hold }[] =>
  driver
    .of('tell')
    .flatMap(({ to, message }) => (message.kind === 'hold' ? [{ to, message }] : []));

/** The store answers no round any more; until the first question to the peers. */
function untilAsked(driver: ElectionDriver): Hold {
  driver.keep = isTxn('round');
  for (let tries = 0; holds(driver).length === 0; tries++) {
    if (tries > 50) throw new Error('nobody was asked');
    driver.advance(Math.min(50, Math.max(1, driver.wakeAt - driver.now)));
    endRounds(driver);
  }
  const [first] = holds(driver);
  if (first === undefined) throw new Error('nobody was asked');
  return first.message;
}

/** Rounds end in doubt when their permit does. */
function endRounds(driver: ElectionDriver): void {
  const late = driver.kept.filter(({ at }) => driver.now - at >= TIMING.permitMs);
  driver.kept = driver.kept.filter((one) => !late.includes(one));
  for (const { effect } of late) if (effect.kind === 'txn') driver.doubt(effect);
}

function answer(
  driver: ElectionDriver,
  kind: 'promise' | 'relayed',
  { session, sessionRev, round, part }: Hold,
  from = D2,
  by = NEWEST,
): void {
  const asked = { session, sessionRev, round, part };
  const message = kind === 'relayed' ? { kind, ...asked } : { kind, ...asked, by };
  driver.feed({ kind: 'peer', from, message });
  driver.run();
}

/** d1 holds g1, and its scope names d2 and d3. */
function holderOfThree(): ElectionDriver {
  const driver = holder({ directors: directorsOf(D1, D2, D3) });
  live(driver.store, D3);
  driver.advance(2000);
  driver.forget();
  return driver;
}

describe('a question to the peers (4.8)', () => {
  it('comes a round after the first one that the store has not confirmed', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
    driver.advance(TIMING.roundMs - 1);
    expect(holds(driver)).toEqual([]);
    driver.advance(1);
    expect(holds(driver)).toHaveLength(1);
  });

  it('names the holding, the record that is compared, and how long it binds', () => {
    const driver = holder();
    const asked = untilAsked(driver);
    const epoch = driver.epochOf();
    expect(asked.groups).toEqual([{ group: G1, epoch, ownerRev: epoch }]);
    expect(asked.forMs).toBe(TIMING.holdMs * (1 + TIMING.driftMargin) + TIMING.slackMs);
  });

  it('is repeated within the permit, to who has not promised', () => {
    const driver = holderOfThree();
    const asked = untilAsked(driver);
    answer(driver, 'promise', asked, D2);
    driver.forget();
    driver.advance(TIMING.permitMs / 4);
    expect(holds(driver).map(({ to }) => to)).toEqual([D3]);
  });

  it('is not asked when the store has said no', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
    const round = driver.takeKept();
    driver.isSeeing = false;
    const session = driver.store.read(keys.session(D2)).modRevision;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session })));
    driver.reply(round, driver.commit(round), driver.now);
    driver.advance(TIMING.roundMs);
    expect(holds(driver)).toEqual([]);
  });

  it('leaves out what waits for a former holder: that would refuse for all', () => {
    const driver = holder();
    const session = driver.store.read(keys.session(D2)).modRevision;
    const pending = [{ director: 'd2', session, epoch: driver.epochOf() }];
    const mine = ownerOf({ director: 'd1', session: driver.sessionId, pending });
    driver.keep = isTxn('round');
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session })));
    driver.settle();
    driver.keep = () => false;
    driver.settle();
    driver.store.write(keys.owner(G1), formatRecord(mine));
    driver.see();
    driver.settle();
    expect(driver.holding()).toBe('owned');
    driver.keep = isTxn('round');
    driver.forget();
    for (let i = 0; i < 40; i++) {
      driver.advance(100);
      endRounds(driver);
    }
    expect(holds(driver)).toEqual([]);
  });

  it('takes parts where there are many groups, and each has to be promised', () => {
    const groups = Array.from({ length: 13 }, (_, i) => group(groupId(`g${i + 1}`)));
    const driver = holder({ groups });
    untilAsked(driver);
    const parts = holds(driver).map(({ message }) => message);
    expect(parts.map((one) => one.groups.length)).toEqual([12, 1]);
    const [first, second] = parts;
    if (first === undefined || second === undefined) throw new Error('two parts');
    driver.forget();
    answer(driver, 'promise', first);
    expect(driver.of('arm')).toEqual([]);
    answer(driver, 'promise', second);
    expect(driver.of('arm')).toHaveLength(1);
  });
});

describe('a round without the store', () => {
  it('counts by a promise, from when it was asked for', () => {
    const driver = holder();
    const asked = untilAsked(driver);
    const askedAt = driver.now;
    driver.advance(TIMING.permitMs / 8);
    driver.forget();
    answer(driver, 'promise', asked);
    expect(driver.of('arm')).toMatchObject([{ until: askedAt + TIMING.holdMs }]);
    expect(driver.state.basis).toBe('peers');
  });

  it('needs the promises of all whom the scope names', () => {
    const driver = holderOfThree();
    const asked = untilAsked(driver);
    driver.forget();
    answer(driver, 'promise', asked, D2);
    answer(driver, 'promise', asked, D2);
    expect(driver.of('arm')).toEqual([]);
    answer(driver, 'promise', asked, D3);
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('counts by no promise of a former life, or of a machine whose name another one has by now', () => {
    const driver = holder();
    const asked = untilAsked(driver);
    const id = driver.store.read(keys.session(D2)).modRevision;
    driver.forget();
    answer(driver, 'promise', asked, D2, sessionIdOf(revision(id - 1)));
    expect(driver.of('arm')).toEqual([]);
    answer(driver, 'promise', asked, D2, sessionIdOf(id));
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('counts by no promise of a machine when another one was heard that has its name by now', () => {
    const driver = holder();
    const { modRevision } = driver.store.read(keys.session(D2));
    const [older, newer] = [modRevision, revision(modRevision + 1)].map(sessionIdOf);
    if (older === undefined || newer === undefined) throw new Error('two sessions');
    for (const session of [newer, older])
      driver.feed({ kind: 'peer', from: D2, message: { kind: 'heartbeat', session, armed: [] } });
    driver.advance(6000);
    const asked = untilAsked(driver);
    driver.forget();
    answer(driver, 'promise', asked, D2, older);
    expect(driver.of('arm')).toEqual([]);
    answer(driver, 'promise', asked, D2, newer);
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('counts by one relay', () => {
    const driver = holderOfThree();
    const asked = untilAsked(driver);
    driver.forget();
    answer(driver, 'relayed', asked, D3);
    expect(driver.of('arm')).toHaveLength(1);
    expect(driver.state.basis).toBe('relay');
  });

  it('counts by no promise of an earlier round, of another record or after the permit', () => {
    const driver = holder();
    const asked = untilAsked(driver);
    driver.forget();
    answer(driver, 'promise', { ...asked, round: asked.round - 1 });
    const { modRevision } = driver.store.read(keys.session(D2));
    answer(driver, 'promise', { ...asked, sessionRev: modRevision });
    expect(driver.of('arm')).toEqual([]);
    driver.now += TIMING.permitMs + 1;
    answer(driver, 'promise', asked);
    expect(driver.of('arm')).toEqual([]);
  });

  it('has the time of its permit where the store refuses at once', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    for (let i = 0; holds(driver).length === 0 && i < 100; i++) {
      driver.advance(20);
      for (const { effect } of driver.kept.splice(0))
        if (effect.kind === 'txn') driver.doubt(effect);
    }
    const asked = holds(driver).at(-1);
    if (asked === undefined) throw new Error('nobody was asked');
    driver.forget();
    answer(driver, 'promise', asked.message);
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('ends without promises when its permit does, and another begins', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
    driver.doubt(driver.takeKept());
    const { roundNumber } = driver.state;
    driver.advance(TIMING.permitMs - 1);
    expect(driver.state.roundNumber).toBe(roundNumber);
    driver.advance(1);
    expect(driver.state.roundNumber).toBe(roundNumber + 1);
  });
});

it('asks the network before it opens what has lapsed: a document that it has not seen may let others stand in', () => {
  const driver = holder({ isolation: 'release' });
  untilAsked(driver);
  for (let passed = 0; passed < 2 * TIMING.holdMs; passed += 50) {
    driver.advance(50);
    endRounds(driver);
  }
  expect(driver.holding()).toBe('owned');
  driver.forget();
  for (let passed = 0; driver.holding() !== 'open' && passed < 4 * TIMING.roundMs; passed += 50) {
    const [last] = holds(driver).slice(-1);
    if (last !== undefined) answer(driver, 'relayed', last.message);
    driver.advance(50);
    endRounds(driver);
  }
  expect(driver.holding()).toBe('open');
  const told = driver.effects.map(({ kind }) => kind);
  expect(told).toContain('probe');
  expect(told.indexOf('announce')).toBeGreaterThan(told.indexOf('probe'));
});

describe('an arming by the peers', () => {
  it('silences nothing that a handover has opened since the question', () => {
    const driver = holder({ groups: [group(G1), group(G2)] });
    const session = driver.store.read(keys.session(D2)).modRevision;
    driver.store.write(keys.owner(G2), formatRecord(ownerOf({ director: 'd2', session })));
    driver.settle();
    const former = { director: 'd2', session, epoch: driver.epochOf(G2) };
    const mine = ownerOf({ director: 'd1', session: driver.sessionId, pending: [former] });
    driver.store.write(keys.owner(G2), formatRecord(mine));
    driver.advance(TIMING.roundMs);
    const asked = untilAsked(driver);
    expect(asked.groups.map((one) => one.group)).toEqual([G1]);
    expect(driver.holding(G2)).toBe('owned');
    const words = { session: sessionIdOf(revision(session)), group: G2, epoch: former.epoch };
    driver.feed({ kind: 'peer', from: D2, message: { kind: 'muted', ...words } });
    driver.run();
    expect(driver.holding(G2)).toBe('open');
    driver.forget();
    answer(driver, 'promise', asked);
    for (let passed = 0; passed < 2 * TIMING.roundMs; passed += 50) {
      driver.advance(50);
      endRounds(driver);
      for (const { message } of holds(driver)) answer(driver, 'promise', message);
    }
    const armed = driver.of('arm').map(({ groups }) => groups.map((one) => one.group).toSorted());
    expect(armed.length).toBeGreaterThan(0);
    expect(new Set(armed.map(String))).toEqual(new Set(['g1,g2']));
    expect(driver.notices()).not.toContain('holder.lapsed');
  });
});

describe('the store’s word', () => {
  it('ends the asking also where the peers were faster', () => {
    const driver = holder();
    answer(driver, 'promise', untilAsked(driver));
    // The next round has begun: the first one took longer than R.
    driver.kept = driver.kept.slice(-1);
    driver.forget();
    answer(driver, 'promise', untilAsked(driver));
    expect(driver.state.basis).toBe('peers');
    const slow = driver.kept.at(-1);
    if (slow?.effect.kind !== 'txn') throw new Error('a round is on its way');
    driver.reply(slow.effect, driver.commit(slow.effect), slow.at);
    driver.forget();
    driver.keep = () => false;
    driver.advance(3 * TIMING.roundMs);
    expect(holds(driver)).toEqual([]);
    expect(driver.state.basis).toBe('consensus');
  });
});
