/** A death that only an operator can tell: what his word opens, and what it does not (design 4.9). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DirectorId } from '../../../../src/model/ids.ts';
import { type ConfirmDeadRecord, formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  ElectionDriver,
  G1,
  hold,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

const THREE = { directors: directorsOf(D1, D2, D3) };
const LONG_MS = TIMING.suspectMs + 3 * WAIT_MS;

const revOf = (driver: ElectionDriver, key: string) => driver.store.read(key).modRevision;

/** The word of an operator; about the session that stands, unless told otherwise. */
function confirm(driver: ElectionDriver, name: DirectorId, session?: number): void {
  const record: ConfirmDeadRecord = {
    v: 1,
    session: session ?? revOf(driver, keys.session(name)),
    by: 'alice',
    reason: 'powered off',
    at: '2026-01-01T00:00:00.000Z',
  };
  driver.store.write(keys.confirmDead(name), formatRecord(record));
}

function scopeNames(driver: ElectionDriver, name: DirectorId, peers: readonly string[]): void {
  const record = JSON.parse(driver.store.read(keys.scope(name)).value ?? '{}') as object;
  driver.store.write(keys.scope(name), formatRecord({ ...record, peers }));
}

/** d2 held the group and named d3 alone; both died before d1 was taken in. */
function newcomer(): ElectionDriver {
  const driver = new ElectionDriver(THREE);
  driver.audible = [];
  hold(driver.store, D2);
  live(driver.store, D3);
  scopeNames(driver, D2, ['d3']);
  scopeNames(driver, D3, ['d2']);
  driver.begin();
  return driver;
}

/** The same, with an earlier death of d2 on record, confirmed and over. */
function saidBefore(): ElectionDriver {
  const driver = newcomer();
  confirm(driver, D2);
  driver.store.write(keys.session(D2), formatRecord(sessionOf({ nonce: 'later' })));
  return driver;
}

const killed = (driver: ElectionDriver): readonly string[] =>
  driver.txns('kill').map(({ purpose }) => ('against' in purpose ? String(purpose.against) : ''));

describe('a newcomer alone after the holder and all that its scope names', () => {
  it('raises the alarm, with the command that ends it, and takes nothing', () => {
    const driver = newcomer();
    driver.advance(10 * LONG_MS);
    expect(driver.txns('challenge', 'kill', 'claim')).toEqual([]);
    const alarms = driver.of('event').filter(({ event }) => event.kind.endsWith('unaccusable'));
    expect(alarms.map(({ event }) => [event.kind, event.director, event.severity])).toEqual([
      ['holder.unaccusable', 'd2', 'error'],
      ['director.unaccusable', 'd3', 'warn'],
    ]);
    for (const { event } of alarms)
      expect(event.message).toContain(`leasehold director confirm-dead ${event.director} --reason`);
  });

  it('takes its groups D′ after the challenge that the word of an operator allows', () => {
    const driver = newcomer();
    driver.advance(LONG_MS);
    confirm(driver, D2);
    driver.settle();
    expect(driver.txns('challenge')).toHaveLength(1);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(killed(driver)).toEqual(['d2']);
    expect(driver.holding()).toBe('open');
    expect(driver.store.read(keys.session(D2)).value).toContain('"broken"');
  });

  it('rests challenge and kill on the very word, and the kill takes it away', () => {
    const driver = newcomer();
    confirm(driver, D2);
    const modRevision = revOf(driver, keys.confirmDead(D2));
    driver.advance(LONG_MS);
    for (const { txn } of driver.txns('challenge', 'kill'))
      expect(txn.compares).toContainEqual({ key: keys.confirmDead(D2), modRevision });
    expect(driver.txns('challenge', 'kill')).toHaveLength(2);
    expect(driver.store.read(keys.confirmDead(D2)).value).toBeNull();
  });

  it('has no say by a word about an earlier session', () => {
    const driver = saidBefore();
    driver.advance(10 * LONG_MS);
    expect(driver.txns('challenge', 'kill')).toEqual([]);
  });

  it.each([
    ['a later session', (rev: number) => rev + 1],
    ['no session', () => 0],
  ])('has no say by a word about %s', (_, other) => {
    const driver = newcomer();
    confirm(driver, D2, other(revOf(driver, keys.session(D2))));
    driver.advance(10 * LONG_MS);
    expect(driver.txns('challenge', 'kill')).toEqual([]);
  });

  it('has no say by a word that cannot be read', () => {
    const driver = newcomer();
    driver.store.write(keys.confirmDead(D2), '{"v":2}');
    driver.advance(LONG_MS);
    expect(driver.txns('challenge', 'kill')).toEqual([]);
  });

  it('leaves a holder alone that answers its challenges, whatever was said', () => {
    const driver = newcomer();
    confirm(driver, D2);
    for (let i = 0; i < 200; i++) {
      driver.advance(500);
      driver.store.remove(keys.challenge(D2));
    }
    expect(driver.txns('challenge').length).toBeGreaterThan(10);
    expect(driver.txns('kill')).toEqual([]);
  });

  it('goes no further when the word is taken back, even where it has not heard of that', () => {
    const driver = newcomer();
    confirm(driver, D2);
    driver.advance(TIMING.suspectMs);
    expect(driver.txns('challenge')).toHaveLength(1);
    driver.isSeeing = false;
    driver.store.remove(keys.confirmDead(D2));
    driver.advance(WAIT_MS + 100);
    expect(killed(driver)).toEqual(['d2']);
    expect(driver.store.read(keys.session(D2)).value).toContain('"open"');
    expect(driver.holding()).toBe('none');
    driver.advance(LONG_MS);
    expect(killed(driver)).toEqual(['d2']);
  });

  it('removes in the same way who holds nothing and would be waited for', () => {
    const driver = newcomer();
    confirm(driver, D3);
    driver.advance(6 * TIMING.suspectMs + WAIT_MS + 500);
    expect(killed(driver)).toEqual(['d3']);
  });

  it('claims nothing without a record on the word alone: the kill comes first', () => {
    const driver = newcomer();
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: null, vacant: true })));
    confirm(driver, D2);
    confirm(driver, D3);
    driver.keep = isTxn('kill');
    driver.advance(6 * TIMING.suspectMs + 3 * WAIT_MS);
    expect(driver.txns('claim')).toEqual([]);
    const kills = driver.kept.splice(0);
    expect(kills.length).toBeGreaterThan(0);
    driver.keep = () => false;
    for (const { effect, at } of kills) driver.carryOut(effect, at);
    driver.advance(6 * TIMING.suspectMs + 3 * WAIT_MS);
    expect(driver.holding()).toBe('open');
  });
});

describe('whom the scope names', () => {
  it('needs no word, and waits for none', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs + WAIT_MS + 200);
    for (const { txn } of driver.txns('challenge', 'kill'))
      expect(txn.compares.map(({ key }) => key)).not.toContain(keys.confirmDead(D2));
    expect(killed(driver)).toEqual(['d2']);
  });
});

describe('a director that was confirmed dead, and lives', () => {
  it('takes the word back at once, and says so', () => {
    const driver = holder();
    driver.forget();
    confirm(driver, D1);
    driver.settle();
    expect(driver.txns('deny-death')).toHaveLength(1);
    expect(driver.store.read(keys.confirmDead(D1)).value).toBeNull();
    expect(driver.notices()).toEqual(['death.denied']);
    expect(driver.holding()).toBe('open');
  });

  it('removes a word about an earlier life too, and no other than it has seen', () => {
    const driver = holder();
    driver.keep = isTxn('deny-death');
    confirm(driver, D1, 1);
    driver.settle();
    const first = driver.takeKept();
    confirm(driver, D1);
    driver.reply(first, driver.commit(first), driver.now);
    expect(driver.store.read(keys.confirmDead(D1)).value).not.toBeNull();
    driver.keep = () => false;
    driver.advance(100);
    expect(driver.store.read(keys.confirmDead(D1)).value).toBeNull();
  });

  it.each(['open-session', 'close-session'] as const)(
    'and takes it away with its %s',
    (purpose) => {
      const driver = new ElectionDriver();
      if (purpose === 'close-session') driver.begin();
      driver.keep = isTxn(purpose, 'deny-death');
      if (purpose === 'close-session') driver.feed({ kind: 'stop' });
      else driver.begin();
      driver.settle();
      confirm(driver, D1, 1);
      driver.keep = () => false;
      for (const { effect, at } of driver.kept.splice(0)) driver.carryOut(effect, at);
      expect(driver.store.read(keys.confirmDead(D1)).value).toBeNull();
      expect(driver.txns('deny-death')).toEqual([]);
    },
  );
});

describe('the same name on another machine', () => {
  /** An open session of m2 under the name of d1, whose scope names d2 alone. */
  function replaced(): ElectionDriver {
    const driver = new ElectionDriver();
    live(driver.store, D1);
    scopeNames(driver, D1, ['d2']);
    driver.begin();
    return driver;
  }

  it('waits for the peers of the former one, and says what to do where they are gone', () => {
    const driver = replaced();
    driver.advance(5 * WAIT_MS);
    expect(driver.txns('challenge-namesake', 'open-session')).toEqual([]);
    const [alarm] = driver.of('event');
    expect(alarm?.event.message).toContain('leasehold director confirm-dead d1');
  });

  it('may challenge the former one by the word of an operator, and waits for its D′', () => {
    const driver = replaced();
    confirm(driver, D1);
    driver.advance(1000);
    expect(driver.txns('challenge-namesake')).toHaveLength(1);
    driver.advance(WAIT_MS - 1001);
    expect(driver.txns('open-session')).toEqual([]);
    driver.advance(1001);
    expect(driver.state.session.kind).toBe('open');
    expect(driver.store.read(keys.confirmDead(D1)).value).toBeNull();
  });

  it('stays out when the former one takes the word back', () => {
    const driver = replaced();
    confirm(driver, D1);
    driver.advance(1000);
    driver.keep = isTxn('open-session');
    driver.isSeeing = false;
    driver.store.remove(keys.confirmDead(D1));
    driver.advance(WAIT_MS);
    const open = driver.takeKept();
    driver.reply(open, driver.commit(open), driver.now);
    expect(driver.state.session.kind).not.toBe('open');
  });
});

describe('at random', () => {
  type Move = readonly [kind: 'wait' | 'confirm' | 'take-back' | 'scope' | 'live', n: number];
  const move: fc.Arbitrary<Move> = fc.tuple(
    fc.constantFrom('wait', 'wait', 'wait', 'confirm', 'take-back', 'scope', 'live'),
    fc.nat(12),
  );

  function play(driver: ElectionDriver, [kind, n]: Move): void {
    switch (kind) {
      case 'wait':
        driver.advance(n * 700);
        return;
      case 'confirm':
        // Mostly about the session that stands.
        confirm(driver, D2, n < 8 ? undefined : n);
        return;
      case 'take-back':
        driver.store.remove(keys.confirmDead(D2));
        return;
      case 'scope':
        scopeNames(driver, D2, [['d3'], ['d1', 'd3'], []][n % 3] ?? []);
        return;
      case 'live':
        driver.store.remove(keys.challenge(D2));
        if (n > 9) driver.store.write(keys.session(D2), formatRecord(sessionOf({ nonce: `${n}` })));
    }
  }

  /** Who may accuse d2, by what is stored at the moment of the commit. */
  function isAllowed({ store }: ElectionDriver): boolean {
    const scope = JSON.parse(store.read(keys.scope(D2)).value ?? '{}') as { peers: string[] };
    const word = JSON.parse(store.read(keys.confirmDead(D2)).value ?? '{}') as { session?: number };
    const isNamed = scope.peers.length === 0 || scope.peers.includes('d1');
    return isNamed || word.session === store.read(keys.session(D2)).modRevision;
  }

  it('no challenge and no kill commits that neither the scope nor a word about this session allows', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 25 }), (moves) => {
        const driver = newcomer();
        const commit = driver.commit.bind(driver);
        let [kills, challengedAt] = [0, Number.NaN];
        driver.commit = (effect) => {
          const isMay = isAllowed(driver);
          const answer = commit(effect);
          const { kind } = effect.purpose;
          if (!answer.succeeded || !('against' in effect.purpose)) return answer;
          if (effect.purpose.against !== D2 || kind === 'withdraw') return answer;
          expect(isMay, `${kind} at ${driver.now}`).toBe(true);
          if (kind === 'challenge') challengedAt = driver.now;
          else expect(driver.now - challengedAt).toBeGreaterThanOrEqual(WAIT_MS);
          if (kind === 'kill') kills += 1;
          return answer;
        };
        for (const one of moves) play(driver, one);
        expect(kills).toBeLessThanOrEqual(1 + moves.filter(([kind]) => kind === 'live').length);
      }),
      { numRuns: 300 },
    );
  });
});
