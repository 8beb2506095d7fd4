/** The scope record: whom a holder asks, and who may accuse it (design 4.9). */
import { describe, expect, it } from 'vitest';
import type { DirectorId } from '../../../../src/model/ids.ts';
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
  NEWEST,
  ownerOf,
  sessionOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

type Hold = PeerMessage & { readonly kind: 'hold' };

const THREE = { directors: directorsOf(D1, D2, D3) };

const peersOf = (driver: ElectionDriver, name: DirectorId = D1): unknown =>
  (JSON.parse(driver.store.read(keys.scope(name)).value ?? '{}') as { peers?: unknown }).peers;

/** Whom the next round without the store asks, and its questions. */
function asks(driver: ElectionDriver): ReadonlyMap<DirectorId, Hold> {
  const { keep } = driver;
  driver.keep = (effect) => keep(effect) || isTxn('round')(effect);
  driver.forget();
  driver.advance(2 * TIMING.roundMs);
  const asked = new Map<DirectorId, Hold>();
  for (const { to, message } of driver.of('tell'))
    if (message.kind === 'hold') asked.set(to, message);
  return asked;
}

function promise(driver: ElectionDriver, from: DirectorId, question: Hold | undefined): void {
  if (question === undefined) throw new Error(`${from} was not asked`);
  const { session, sessionRev, round, part } = question;
  driver.feed({
    kind: 'peer',
    from,
    message: { kind: 'promise', session, sessionRev, round, part, by: NEWEST },
  });
}

function rewriteScope(driver: ElectionDriver, peers: readonly string[]): void {
  const { value } = driver.store.read(keys.scope(D2));
  const record = JSON.parse(value ?? '{}') as object;
  driver.store.write(keys.scope(D2), formatRecord({ ...record, peers }));
  driver.settle();
}

describe('the scope (4.9)', () => {
  it('names every other director of the spec whose session is open', () => {
    const driver = holder(THREE);
    expect(peersOf(driver)).toEqual(['d2']);
    live(driver.store, D3);
    driver.settle();
    expect(peersOf(driver)).toEqual(['d2', 'd3']);
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'closed' })));
    driver.settle();
    expect(peersOf(driver)).toEqual(['d3']);
    driver.config = { ...driver.config, directors: directorsOf(D1, D2) };
    driver.settle();
    expect(peersOf(driver)).toEqual([]);
  });

  it('in doubt: all that any of its writes names are asked, and all are needed', () => {
    const driver = holder(THREE);
    driver.keep = isTxn('write-scope');
    live(driver.store, D3);
    driver.settle();
    driver.doubt(driver.takeKept());
    driver.audible = [];
    const asked = asks(driver);
    expect([...asked.keys()].toSorted()).toEqual(['d2', 'd3']);
    driver.forget();
    promise(driver, D2, asked.get(D2));
    expect(driver.of('arm')).toEqual([]);
    promise(driver, D3, asked.get(D3));
    expect(driver.of('arm')).toHaveLength(1);
  });

  it('that may name nobody makes all promises worthless: everybody may accuse by it', () => {
    const driver = holder(THREE);
    driver.keep = isTxn('write-scope');
    driver.store.write(keys.session(D2), formatRecord(sessionOf({ state: 'broken' })));
    driver.settle();
    expect(driver.takeKept().txn.success).toHaveLength(1);
    driver.audible = [D2];
    const asked = asks(driver);
    driver.forget();
    promise(driver, D2, asked.get(D2));
    expect(driver.of('arm')).toEqual([]);
    expect(driver.state.basis).toBe('consensus');
  });
});

describe('who may accuse (4.9)', () => {
  it('is only whom the scope names; the others say so once', () => {
    const driver = candidate();
    rewriteScope(driver, ['d3']);
    driver.forget();
    driver.advance(3 * WAIT_MS);
    expect(driver.txns('challenge', 'kill')).toEqual([]);
    expect(driver.notices().filter((kind) => kind === 'holder.unaccusable')).toHaveLength(1);
  });

  it('is everybody where the scope names nobody', () => {
    const driver = candidate();
    rewriteScope(driver, []);
    driver.advance(TIMING.suspectMs + WAIT_MS + 200);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('is who waits D′ from when it was named: before it was not asked', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs);
    expect(driver.txns('challenge')).toHaveLength(1);
    driver.advance(WAIT_MS - 1000);
    rewriteScope(driver, ['d3']);
    rewriteScope(driver, ['d1', 'd3']);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(200);
    expect(driver.txns('kill')).toHaveLength(1);
  });

  it('compares the scope with the kill', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs + WAIT_MS + 200);
    const [kill] = driver.txns('kill');
    const { modRevision } = driver.store.read(keys.scope(D2));
    expect(kill?.txn.compares).toContainEqual({ key: keys.scope(D2), modRevision });
    expect(driver.store.read(keys.owner(G1)).value).toContain('"d1"');
  });
});

describe('a director that holds nothing and is not heard', () => {
  it('is challenged and declared dead, so that nobody waits for its promises', () => {
    const driver = holder(THREE);
    live(driver.store, D3);
    driver.settle();
    driver.audible = [D2];
    driver.advance(6 * TIMING.suspectMs + WAIT_MS + 500);
    expect(driver.store.read(keys.session(D3)).value).toContain('"broken"');
    expect(peersOf(driver)).toEqual(['d2']);
  });

  it('is declared dead where its session record is gone, too: a machine in its place waits for that', () => {
    const driver = holder(THREE);
    live(driver.store, D3);
    driver.settle();
    driver.audible = [D2];
    driver.store.remove(keys.session(D3));
    driver.advance(6 * TIMING.suspectMs + WAIT_MS + 500);
    expect(driver.store.read(keys.session(D3)).value).toContain('"broken"');
  });

  it('is not looked for where it never had a session', () => {
    const driver = holder(THREE);
    driver.settle();
    driver.audible = [D2];
    driver.forget();
    driver.advance(10 * TIMING.suspectMs);
    expect(driver.txns('challenge')).toEqual([]);
  });

  it('is left alone when it answers, and asked seldom', () => {
    const driver = holder(THREE);
    live(driver.store, D3);
    driver.settle();
    driver.audible = [D2];
    driver.forget();
    for (let i = 0; i < 120; i++) {
      driver.advance(500);
      driver.store.remove(keys.challenge(D3));
    }
    expect(driver.txns('kill')).toEqual([]);
    expect(driver.txns('challenge').length).toBeLessThan(6);
  });

  it('is not left alone any longer when it has taken a group since, and is silent again', () => {
    const driver = holder(THREE);
    const session = live(driver.store, D3);
    driver.settle();
    driver.audible = [D2];
    while (driver.txns('challenge').length === 0) driver.advance(500);
    driver.store.remove(keys.challenge(D3));
    driver.settle();
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd3', session })));
    driver.see();
    driver.forget();
    driver.advance(TIMING.suspectMs + TIMING.roundMs);
    expect(driver.txns('challenge')).toMatchObject([{ purpose: { against: D3 } }]);
  });
});
