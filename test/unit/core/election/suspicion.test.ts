/** Design 4.5 and 4.6: silence makes suspect, an unanswered challenge of D′ proves. */
import { describe, expect, it } from 'vitest';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  ElectionDriver,
  G1,
  G2,
  group,
  hold,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
  fit,
  directorsOf,
} from './election-driver.ts';

const challengeOf = (driver: ElectionDriver) => driver.store.read(keys.challenge(D2));
const sessionOfD2 = (driver: ElectionDriver): number =>
  driver.store.read(keys.session(D2)).modRevision;

/** d2 holds and has been silent: my challenge stands. */
function challenged(fields: Parameters<typeof candidate>[0] = {}): ElectionDriver {
  const driver = candidate(fields);
  driver.advance(TIMING.suspectMs);
  expect(challengeOf(driver).value).not.toBeNull();
  driver.forget();
  return driver;
}

describe('suspicion (4.5)', () => {
  it('comes after the suspect time without a heartbeat, not before', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs - 1);
    expect(driver.txns('challenge')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('challenge')).toHaveLength(1);
  });

  it('is put off by each heartbeat', () => {
    const driver = candidate();
    for (let i = 0; i < 20; i++) {
      driver.advance(TIMING.suspectMs - 1);
      driver.hear();
    }
    expect(driver.effects.filter(({ kind }) => kind === 'txn')).toEqual([]);
  });

  it.each([
    ['names another group', (one: ElectionDriver) => one.hear(D2, [G2])],
    ['names nothing', (one: ElectionDriver) => one.hear(D2, [])],
    ['is of another director', (one: ElectionDriver) => one.hear(D3)],
    ['is of an earlier session', (one: ElectionDriver) => one.hear(D2, [G1], sessionOfD2(one) - 1)],
  ])('is not put off by a heartbeat that %s', (_, hear) => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs - 1);
    hear(driver);
    driver.advance(1);
    expect(driver.txns('challenge')).toHaveLength(1);
  });

  it('comes sooner when the shown lease ended and the holder is not heard', () => {
    const driver = candidate();
    driver.store.write(keys.lease(G1), formatRecord({ v: 1, holder: 'd2', epoch: 5 }));
    driver.advance(100);
    driver.store.remove(keys.lease(G1));
    driver.advance(1.5 * TIMING.heartbeatMs - 101);
    expect(driver.txns('challenge')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('challenge')).toHaveLength(1);
  });

  it('does not come from the end of a lease while the holder is heard', () => {
    const driver = candidate();
    driver.store.write(keys.lease(G1), formatRecord({ v: 1, holder: 'd2', epoch: 5 }));
    driver.store.remove(keys.lease(G1));
    for (let i = 0; i < 20; i++) {
      driver.hear();
      driver.advance(TIMING.heartbeatMs - 1);
    }
    expect(driver.txns('challenge')).toEqual([]);
  });

  it('leaves a new holder the suspect time from when the change was seen', () => {
    const driver = candidate({ directors: directorsOf(D1, D2, D3) });
    driver.advance(2000);
    const session = live(driver.store, D3);
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd3', session })));
    driver.settle();
    driver.advance(TIMING.suspectMs - 1);
    expect(driver.txns('challenge')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('challenge').map(({ purpose }) => purpose)).toMatchObject([{ against: D3 }]);
  });

  it('is at once of an owner whose session record is gone', () => {
    const driver = candidate();
    driver.store.remove(keys.session(D2));
    driver.settle();
    expect(driver.txns('challenge').map(({ txn }) => txn.compares[0])).toEqual([
      { key: keys.session(D2), modRevision: 0 },
    ]);
  });

  it('is not for a director that the spec does not name', () => {
    const driver = candidate({ directors: directorsOf(D2, D3) });
    driver.advance(60_000);
    expect(driver.txns('challenge', 'kill')).toEqual([]);
  });
});

describe('a challenge (4.5)', () => {
  it('is guarded by the session, by no standing one, by my own session and by the scope', () => {
    const driver = candidate();
    driver.keep = isTxn('challenge');
    driver.advance(TIMING.suspectMs);
    const { txn } = driver.takeKept();
    expect(txn.compares).toEqual([
      { key: keys.session(D2), modRevision: sessionOfD2(driver) },
      { key: keys.challenge(D2), modRevision: 0 },
      { key: keys.session(D1), modRevision: driver.sessionId },
      { key: keys.scope(D2), modRevision: driver.store.read(keys.scope(D2)).modRevision },
    ]);
    expect(txn.success).toEqual([
      {
        op: 'put',
        key: keys.challenge(D2),
        value: formatRecord({ v: 1, by: 'd1', session: sessionOfD2(driver) }),
      },
    ]);
  });

  it('adopts a standing one, with the full wait from when it was seen', () => {
    const driver = candidate();
    driver.store.write(
      keys.challenge(D2),
      formatRecord({ v: 1, by: 'd3', session: sessionOfD2(driver) }),
    );
    const { revision } = driver.store;
    driver.advance(TIMING.suspectMs);
    expect(driver.store.revision).toBe(revision);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')[0]?.txn.compares[0]).toEqual({
      key: keys.challenge(D2),
      modRevision: revision,
    });
  });

  it('removes exactly a stale one, against an earlier session, and puts its own', () => {
    const driver = candidate();
    driver.store.write(keys.challenge(D2), formatRecord({ v: 1, by: 'd3', session: 1 }));
    const stale = challengeOf(driver).modRevision;
    driver.advance(TIMING.suspectMs);
    expect(driver.txns('withdraw')[0]?.txn.compares).toEqual([
      { key: keys.challenge(D2), modRevision: stale },
    ]);
    driver.advance(300);
    expect(JSON.parse(challengeOf(driver).value ?? '')).toMatchObject({ by: 'd1' });
  });

  it('that is answered moves nothing, and rests a second', () => {
    const driver = challenged();
    driver.advance(400);
    driver.store.remove(keys.challenge(D2));
    driver.settle();
    expect(driver.notices()).toEqual(['challenge.answered']);
    driver.advance(999);
    expect(driver.txns('challenge')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('challenge')).toHaveLength(1);
    expect(driver.txns('kill')).toEqual([]);
  });

  it('says nothing about the session that follows: that one is asked anew, with the full wait', () => {
    const driver = challenged();
    driver.advance(WAIT_MS - 1000);
    const session = driver.store.write(keys.session(D2), formatRecord(sessionOf()));
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session })));
    driver.forget();
    driver.advance(TIMING.suspectMs + WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1000);
    expect(driver.txns('kill')[0]?.txn.compares).toContainEqual({
      key: keys.session(D2),
      modRevision: session,
    });
  });

  it('says nothing about a session that a new process goes on with: the wait is a new one', () => {
    const driver = challenged();
    const id = sessionOfD2(driver);
    driver.advance(WAIT_MS - 1000);
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ id })));
    const rewritten = sessionOfD2(driver);
    driver.settle();
    const since = driver.now;
    driver.advance(WAIT_MS);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(2000);
    expect(driver.txns('withdraw')).toHaveLength(1);
    expect(driver.now - since).toBeGreaterThan(WAIT_MS);
    expect(driver.txns('kill')[0]?.txn.compares).toContainEqual({
      key: keys.session(D2),
      modRevision: rewritten,
    });
  });

  it('is withdrawn when the holder is heard again', () => {
    const driver = challenged();
    const { modRevision } = challengeOf(driver);
    driver.hear();
    expect(driver.txns('withdraw').map(({ txn }) => txn)).toMatchObject([
      {
        compares: [{ key: keys.challenge(D2), modRevision }],
        success: [{ op: 'delete', key: keys.challenge(D2) }],
      },
    ]);
    expect(challengeOf(driver).value).toBeNull();
    expect(driver.notices()).toEqual(['challenge.withdrawn']);
  });

  it('of another is not withdrawn by me', () => {
    const driver = candidate();
    driver.store.write(
      keys.challenge(D2),
      formatRecord({ v: 1, by: 'd3', session: sessionOfD2(driver) }),
    );
    driver.advance(TIMING.suspectMs);
    driver.hear();
    expect(driver.txns('withdraw')).toEqual([]);
    expect(challengeOf(driver).value).not.toBeNull();
  });

  it('on its way when the holder is heard is withdrawn once it stands', () => {
    const driver = candidate();
    driver.keep = isTxn('challenge');
    driver.advance(TIMING.suspectMs);
    const challenge = driver.takeKept();
    driver.hear();
    driver.reply(challenge, driver.commit(challenge), driver.now);
    driver.settle();
    expect(challengeOf(driver).value).toBeNull();
  });

  it('in doubt is resolved by the next try, and the wait counts from there', () => {
    const driver = candidate();
    driver.keep = isTxn('challenge');
    driver.isSeeing = false;
    driver.advance(TIMING.suspectMs);
    const challenge = driver.takeKept();
    driver.commit(challenge);
    driver.now += TIMING.permitMs;
    driver.doubt(challenge);
    driver.keep = () => false;
    driver.advance(200);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(1);
  });
});

describe('what is foreseen', () => {
  it('is the groups of a holder that has not answered for two rounds, until they are open', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs);
    expect(driver.txns('challenge')).toHaveLength(1);
    driver.advance(2 * TIMING.roundMs - 1);
    expect(driver.of('foresee')).toEqual([]);
    driver.advance(1);
    expect(driver.of('foresee')).toEqual([{ kind: 'foresee', groups: [G1] }]);
    driver.forget();
    driver.keep = (effect) => effect.kind === 'arm';
    driver.advance(WAIT_MS - 2 * TIMING.roundMs);
    expect(driver.holding()).toBe('owned');
    expect(driver.of('foresee')).toEqual([]);
    for (const { effect, at } of driver.kept.splice(0)) driver.carryOut(effect, at);
    driver.settle();
    expect(driver.holding()).toBe('open');
    expect(driver.of('foresee').at(-1)).toEqual({ kind: 'foresee', groups: [] });
  });

  it('is nothing any more when the holder is heard again', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs + 2 * TIMING.roundMs);
    driver.hear();
    expect(driver.of('foresee').at(-1)).toEqual({ kind: 'foresee', groups: [] });
  });

  it('is nothing for who would not be first', () => {
    const priorities = new Map([
      [D1, 50],
      [D3, 100],
      [D2, 150],
    ]);
    const directors = directorsOf(D1, D2, D3);
    const driver = candidate({ directors, groups: [group(G1, { priorities })] });
    live(driver.store, D3);
    driver.advance(TIMING.suspectMs + 3 * TIMING.roundMs);
    expect(driver.of('foresee')).toEqual([]);
  });
});

describe('a kill (4.6)', () => {
  it('comes D′ of the scope record after the challenge was acknowledged', () => {
    const driver = candidate();
    driver.keep = isTxn('challenge');
    driver.advance(TIMING.suspectMs);
    const challenge = driver.takeKept();
    const answer = driver.commit(challenge);
    driver.advance(900);
    driver.reply(challenge, answer, driver.now - 900);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('waits for the longer D when the scope grew meanwhile', () => {
    const driver = challenged();
    driver.store.write(
      keys.scope(D2),
      formatRecord({ v: 1, holdMs: 8000, slackMs: 1000, driftMargin: 0.25, session: 1, peers: [] }),
    );
    driver.advance(10_999);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('is guarded by challenge, session, scope, my session and the groups it takes, and rides on a round', () => {
    const driver = candidate({ groups: [group(G1), group(G2)] });
    driver.store.write(
      keys.owner(G2),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.keep = isTxn('kill');
    driver.advance(TIMING.suspectMs + WAIT_MS);
    const { txn } = driver.takeKept();
    const rev = (key: string) => ({ key, modRevision: driver.store.read(key).modRevision });
    expect(txn.compares).toEqual(
      [
        keys.challenge(D2),
        keys.session(D2),
        keys.scope(D2),
        keys.session(D1),
        keys.spec,
        keys.owner(G1),
      ].map(rev),
    );
    const guards = driver.txns('round').at(-1)?.txn.compares;
    expect(guards).toEqual([keys.session(D1), keys.owner(G2)].map(rev));
    expect(txn.success.map(({ op, key }) => [op, key])).toEqual([
      ['put', keys.session(D2)],
      ['delete', keys.challenge(D2)],
      ['delete', keys.confirmDead(D2)],
      ['put', keys.owner(G1)],
    ]);
  });

  it('breaks the session, takes its groups and opens them by a round of their own', () => {
    const driver = challenged();
    driver.advance(WAIT_MS);
    expect(JSON.parse(driver.store.read(keys.session(D2)).value ?? '')).toMatchObject({
      state: 'broken',
      by: 'd1',
      boot: 'other boot',
    });
    expect(JSON.parse(driver.store.read(keys.owner(G1)).value ?? '')).toMatchObject({
      director: 'd1',
      session: driver.sessionId,
      reason: 'holder-dead',
    });
    expect(challengeOf(driver).value).toBeNull();
    expect(driver.notices()).toEqual([
      'holder.killed',
      'holder.gained',
      'holder.opened',
      'handover.verified',
    ]);
  });

  it.each([
    ['the challenge was answered', (one: ElectionDriver) => one.store.remove(keys.challenge(D2))],
    [
      'the session was replaced',
      (one: ElectionDriver) => void one.store.write(keys.session(D2), formatRecord(sessionOf())),
    ],
    [
      'the scope was written',
      (one: ElectionDriver) =>
        void one.store.write(
          keys.scope(D2),
          formatRecord({ v: 1, holdMs: 4000, slackMs: 0, driftMargin: 0, session: 1, peers: [] }),
        ),
    ],
    [
      'my own session is over',
      (one: ElectionDriver) => void one.store.write(keys.session(D1), formatRecord(sessionOf())),
    ],
  ])('on its way fails when %s', (_, change) => {
    const driver = challenged();
    driver.keep = isTxn('kill');
    driver.advance(WAIT_MS);
    const kill = driver.takeKept();
    change(driver);
    const owner = driver.store.read(keys.owner(G1));
    driver.reply(kill, driver.commit(kill), driver.now);
    expect(driver.store.read(keys.owner(G1))).toEqual(owner);
    expect(driver.notices()).not.toContain('holder.killed');
  });

  it('in doubt that did commit is learnt, not repeated', () => {
    const driver = challenged();
    driver.keep = isTxn('kill');
    driver.advance(WAIT_MS);
    const kill = driver.takeKept();
    driver.commit(kill);
    driver.doubt(kill);
    driver.keep = () => false;
    driver.advance(2000);
    expect(driver.txns('kill')).toHaveLength(1);
    expect(driver.holding()).toBe('open');
    expect(driver.notices()).not.toContain('challenge.answered');
  });

  it('in doubt that did not commit is repeated after a pause', () => {
    const driver = challenged();
    driver.keep = isTxn('kill');
    driver.advance(WAIT_MS);
    driver.doubt(driver.takeKept());
    driver.keep = () => false;
    driver.advance(199);
    expect(driver.txns('kill')).toHaveLength(1);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(2);
    expect(driver.holding()).toBe('open');
  });

  it('leaves groups to their heirs, and waits for the better candidate', () => {
    const priorities = new Map([
      [D2, 200],
      [D3, 150],
      [D1, 100],
    ]);
    const driver = new ElectionDriver({
      directors: directorsOf(D1, D2, D3),
      groups: [group(G1, { priorities })],
    });
    hold(driver.store);
    live(driver.store, D3);
    driver.begin();
    driver.advance(TIMING.suspectMs + WAIT_MS + 29);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill').map(({ purpose }) => purpose)).toMatchObject([
      { claims: new Map() },
    ]);
    // The heir does not come: whoever is next takes it.
    driver.advance(60);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('of a director without a scope record waits for the longest D', () => {
    const driver = challenged();
    driver.store.remove(keys.scope(D2));
    driver.advance(75_999);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('of an owner without a session record puts a broken one', () => {
    const driver = candidate();
    driver.store.remove(keys.session(D2));
    driver.advance(WAIT_MS + 10);
    // Another machine of this one's name may have promised, until this one's heartbeats were heard.
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(TIMING.suspectMs);
    expect(JSON.parse(driver.store.read(keys.session(D2)).value ?? '')).toMatchObject({
      state: 'broken',
    });
  });

  it('is done by a director that cannot hold, too', () => {
    const driver = challenged();
    driver.feed(fit([G1, 'interface-down']));
    driver.advance(WAIT_MS + 90);
    expect(driver.txns('kill').map(({ purpose }) => purpose)).toMatchObject([
      { claims: new Map() },
    ]);
    expect(driver.holding()).toBe('none');
  });
});

describe('what is no evidence (4.1)', () => {
  it('a missing report, lease and owner key of a director that is heard', () => {
    const driver = candidate();
    driver.store.remove(keys.report(D2));
    for (let i = 0; i < 10; i++) {
      driver.hear();
      driver.advance(TIMING.suspectMs - 1);
    }
    expect(driver.txns('challenge', 'kill', 'claim')).toEqual([]);
  });

  it('my own deafness: while I am not the holder I may ask, again every second, and never take', () => {
    const driver = candidate();
    for (let i = 0; i < 200; i++) {
      driver.advance(500);
      driver.store.remove(keys.challenge(D2));
    }
    expect(driver.txns('challenge').length).toBeGreaterThan(50);
    expect(driver.txns('challenge').length).toBeLessThanOrEqual(100);
    expect(driver.txns('kill', 'claim')).toEqual([]);
  });

  it('a holder does not suspect itself', () => {
    const driver = holder();
    driver.advance(60_000);
    expect(driver.txns('challenge', 'kill', 'give-up', 'claim')).toEqual([]);
  });
});
