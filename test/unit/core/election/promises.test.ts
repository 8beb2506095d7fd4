/** What this director promises to holders that the store does not answer, and when it does not (design 4.8). */
import { describe, expect, it } from 'vitest';
import { type DirectorId, epochOf, revision, sessionIdOf } from '../../../../src/model/ids.ts';
import type { PeerMessage } from '../../../../src/model/peer.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  G1,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  sessionOf,
  WAIT_MS,
} from './election-driver.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };

/** d2 holds g1 and names d1 in its scope; d1 has been up for longer than any promise of an earlier life. */
function peer(
  fields: Parameters<typeof candidate>[0] = {},
  upMs: number = WAIT_MS,
): ElectionDriver {
  const driver = candidate(fields);
  for (let passed = 0; passed < upMs; passed += 1000) {
    driver.advance(1000);
    driver.hear();
  }
  driver.forget();
  return driver;
}

function question(driver: ElectionDriver, from: DirectorId, fields: Partial<Hold> = {}): Hold {
  const { modRevision } = driver.store.read(keys.session(from));
  const epoch = driver.epochOf(G1);
  const ownerRev = driver.store.read(keys.owner(G1)).modRevision;
  return {
    kind: 'hold',
    session: sessionIdOf(modRevision),
    sessionRev: modRevision,
    round: 1,
    part: 0,
    basis: 'peers',
    forMs: WAIT_MS,
    groups: [{ group: G1, epoch, ownerRev }],
    ...fields,
  };
}

/** What d1 says at once. */
function ask(driver: ElectionDriver, message: Hold, from = D2): string {
  const told = driver.feed({ kind: 'peer', from, message });
  driver.run();
  for (const one of told)
    if (one.kind === 'tell' && one.to === from) {
      if (one.message.kind === 'promise') return 'promise';
      if (one.message.kind === 'refusal') return one.message.reason;
    }
  return 'nothing';
}

const askAnew = (driver: ElectionDriver, from = D2): string =>
  ask(driver, question(driver, from), from);

describe('a promise (4.8)', () => {
  it('names the round that it answers', () => {
    const driver = peer();
    const message = question(driver, D2, { round: 7, part: 2 });
    const told = driver.feed({ kind: 'peer', from: D2, message });
    const { session, sessionRev } = message;
    expect(told).toContainEqual({
      kind: 'tell',
      to: D2,
      message: { kind: 'promise', session, sessionRev, round: 7, part: 2, by: driver.sessionId },
    });
  });

  it('puts off the kill by D′ from the last one, however long the challenge stands', () => {
    const driver = peer();
    driver.keep = isTxn('relay');
    for (let second = 1; second <= 8; second++) {
      driver.advance(1000);
      expect(askAnew(driver)).toBe('promise');
    }
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('challenge')).toHaveLength(1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(200);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('binds as long as the holder says, where that is longer than what its scope says', () => {
    const driver = peer({}, 20_000);
    driver.keep = isTxn('relay');
    expect(ask(driver, question(driver, D2, { forMs: 20_000 }))).toBe('promise');
    driver.advance(1000);
    expect(askAnew(driver)).toBe('promise');
    driver.advance(18_900);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(400);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('is given for a record that was written anew for the same holder, which has not heard of it', () => {
    const driver = peer();
    const message = question(driver, D2);
    const { value } = driver.store.read(keys.owner(G1));
    driver.store.write(keys.owner(G1), value ?? '');
    driver.see();
    expect(ask(driver, message)).toBe('promise');
  });
});

describe('no promise is given', () => {
  it.each([
    ['its session is broken', sessionOf({ state: 'broken' })],
    ['its session is closed', sessionOf({ state: 'closed' })],
    ['it has a newer session', sessionOf()],
  ])('when %s by the records, and nothing is relayed', (_, record) => {
    const driver = peer();
    const message = question(driver, D2);
    driver.store.write(keys.session(D2), formatRecord(record));
    driver.see();
    driver.forget();
    expect(ask(driver, message)).toBe('superseded');
    expect(driver.txns('relay')).toEqual([]);
  });

  it('when a record names another owner, or was removed', () => {
    const driver = peer({ directors: directorsOf(D1, D2, D3) });
    const message = question(driver, D2);
    const session = live(driver.store, D3);
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd3', session })));
    driver.see();
    expect(ask(driver, message)).toBe('superseded');
    driver.store.remove(keys.owner(G1));
    driver.see();
    expect(ask(driver, message)).toBe('superseded');
  });

  it('when its scope does not name this director', () => {
    const driver = peer();
    const { value } = driver.store.read(keys.scope(D2));
    driver.store.write(keys.scope(D2), (value ?? '').replace('"d1"', '"d3"'));
    driver.see();
    expect(askAnew(driver)).toBe('not-in-scope');
  });

  it('within D′ after the start: an earlier life may have promised', () => {
    const driver = candidate();
    expect(askAnew(driver)).toBe('just-started');
    driver.advance(WAIT_MS - 1);
    expect(askAnew(driver)).toBe('just-started');
    driver.advance(1);
    driver.hear();
    expect(askAnew(driver)).toBe('promise');
  });

  it('without a session: what an earlier life wrote may be committed yet', () => {
    const driver = peer();
    driver.keep = isTxn('open-session');
    driver.store.write(keys.session(D1), formatRecord(sessionOf({ state: 'broken' })));
    driver.see();
    driver.settle();
    expect(driver.state.session.kind).toBe('none');
    expect(askAnew(driver)).toBe('just-started');
  });

  it('for what the own kernel may let speak', () => {
    const driver = holder();
    expect(driver.holding()).toBe('open');
    expect(askAnew(driver)).toBe('open-here');
  });

  it('to two directors for one group', () => {
    const driver = peer({ directors: directorsOf(D1, D2, D3) });
    live(driver.store, D3);
    driver.see();
    expect(askAnew(driver)).toBe('promise');
    expect(askAnew(driver, D3)).toBe('promised');
    driver.advance(WAIT_MS);
    driver.hear();
    expect(askAnew(driver, D3)).toBe('promise');
  });
});

describe('a relay (4.8)', () => {
  it('is the very txn of the holder, and its success is told', () => {
    const driver = peer();
    const message = question(driver, D2);
    ask(driver, message);
    const [relay] = driver.txns('relay');
    expect(relay?.txn.compares).toEqual([
      { key: keys.session(D2), modRevision: message.sessionRev },
      { key: keys.owner(G1), modRevision: message.groups[0]?.ownerRev },
    ]);
    expect(relay?.txn.success).toEqual([{ op: 'delete', key: keys.challenge(D2) }]);
    expect(driver.of('tell').map(({ message: { kind } }) => kind)).toEqual(['promise', 'relayed']);
  });

  it('that the store denies is told by nothing', () => {
    const driver = peer();
    const message = question(driver, D2);
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: null })));
    ask(driver, message);
    expect(driver.txns('relay')).toHaveLength(1);
    expect(driver.of('tell').map(({ message: { kind } }) => kind)).toEqual(['promise']);
  });

  it('is tried for who gets no promise', () => {
    const driver = candidate();
    expect(askAnew(driver)).toBe('just-started');
    expect(driver.of('tell').map(({ message: { kind } }) => kind)).toEqual(['refusal', 'relayed']);
  });

  it('is one at a time for each part', () => {
    const driver = peer();
    driver.keep = isTxn('relay');
    askAnew(driver);
    askAnew(driver);
    expect(driver.txns('relay')).toHaveLength(1);
    ask(driver, question(driver, D2, { part: 1 }));
    expect(driver.txns('relay')).toHaveLength(2);
  });
});

describe('MUTED', () => {
  it('ends the promise for its group, and for nobody’s life', () => {
    const driver = peer();
    driver.keep = isTxn('relay');
    askAnew(driver);
    driver.word('muted', D2, driver.epochOf());
    const promised = driver.state.promises.get(D2);
    expect(promised?.groups.size).toBe(0);
    expect(promised?.until).toBe(driver.now + WAIT_MS);
  });

  it('that was long under way is about an earlier holding, and ends no promise of this one', () => {
    const driver = peer();
    driver.keep = isTxn('relay');
    askAnew(driver);
    driver.word('muted', D2, epochOf(revision(1)));
    expect(driver.state.promises.get(D2)?.groups.has(G1)).toBe(true);
  });

  it('is remembered: what only forwards on is asked for in vain, and nothing else refused for it', () => {
    const driver = holder();
    const session = driver.store.read(keys.session(D2)).modRevision;
    const epoch = driver.epochOf();
    driver.feed({
      kind: 'peer',
      from: D2,
      message: { kind: 'muted', session: sessionIdOf(session), group: G1, epoch },
    });
    expect(askAnew(driver)).toBe('promise');
    expect(driver.state.promises.get(D2)?.groups.size).toBe(0);
  });
});

describe('a question of long ago', () => {
  it('of an earlier record of the session is refused', () => {
    const driver = peer();
    const message = question(driver, D2, { sessionRev: revision(1) });
    expect(ask(driver, message)).toBe('superseded');
  });
});

describe('a holder that does not see the newest record', () => {
  /** d1 has written itself in, by consent, and d2 has not learnt of it yet. */
  const succeeded = (fields: { readonly epoch?: number } = {}) => {
    const driver = peer();
    const message = question(driver, D2);
    const session = Number(message.session);
    const epoch = fields.epoch ?? Number(message.groups[0]?.epoch);
    const pending = [{ director: 'd2', session, epoch }];
    const mine = { director: 'd1', session: driver.sessionId, pending };
    driver.store.write(keys.owner(G1), formatRecord(ownerOf(mine)));
    driver.settle();
    driver.forget();
    return { driver, message };
  };

  it('is promised and relayed what names it as pending: it speaks until its successor is prepared', () => {
    const { driver, message } = succeeded();
    expect(ask(driver, message)).toBe('promise');
    const [relay] = driver.txns('relay');
    const { modRevision } = driver.store.read(keys.owner(G1));
    expect(relay?.txn.compares).toContainEqual({ key: keys.owner(G1), modRevision });
    expect(driver.holding()).toBe('owned');
  });

  /** d3 had the group since and gave it back; its entry is as old as that, or older than what d2 knows. */
  const returned = (fields: { readonly epoch?: number } = {}) => {
    const driver = peer();
    const message = question(driver, D2);
    const session = Number(message.session);
    const between = live(driver.store, D3);
    const taken = driver.store.write(
      keys.owner(G1),
      formatRecord(ownerOf({ director: 'd3', session: between })),
    );
    const pending = [{ director: 'd3', session: between, epoch: fields.epoch ?? taken }];
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session, pending })));
    driver.settle();
    driver.forget();
    return { driver, message };
  };

  it('is refused where another held the group in between and may still answer: it would not wait', () => {
    const { driver, message } = returned();
    expect(ask(driver, message)).toBe('superseded');
    expect(driver.txns('relay')).toEqual([]);
  });

  it('is promised where it knows of all that may still answer', () => {
    const { driver, message } = returned({ epoch: 1 });
    expect(ask(driver, message)).toBe('promise');
    expect(driver.txns('relay')).toHaveLength(1);
  });

  it('is refused where the record names another holding of its', () => {
    const { driver, message } = succeeded({ epoch: 1 });
    expect(ask(driver, message)).toBe('superseded');
    expect(driver.txns('relay')).toEqual([]);
  });
});
