/** Design 4.6: who may claim which group, and when. */
import { describe, expect, it } from 'vitest';
import { groupId } from '../../../../src/model/ids.ts';
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
  isTxn,
  keys,
  live,
  ownerOf,
  reportOf,
  sessionOf,
  TIMING,
  WAIT_MS,
  fit,
  directorsOf,
} from './election-driver.ts';

const released = ownerOf({ director: null });
const own = (driver: ElectionDriver, record: unknown): number =>
  driver.store.write(keys.owner(G1), formatRecord(record));

describe('a released group', () => {
  it('is claimed at once by the best candidate, guarded by the record and the round', () => {
    const driver = candidate({ groups: [group(G1), group(G2)] });
    driver.store.write(
      keys.owner(G2),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.settle();
    driver.forget();
    const at = driver.now;
    const rev = own(driver, released);
    driver.settle();
    expect(driver.now).toBe(at);
    const [claim] = driver.txns('claim');
    expect(claim?.txn.compares).toEqual([
      { key: keys.session(D1), modRevision: driver.sessionId },
      { key: keys.spec, modRevision: driver.config.specRev },
      { key: keys.owner(G1), modRevision: rev },
    ]);
    // What speaks already is guarded by the round that the claim rides on.
    const guards = driver.txns('round').at(-1)?.txn.compares;
    expect(guards).toContainEqual({
      key: keys.owner(G2),
      modRevision: driver.store.read(keys.owner(G2)).modRevision,
    });
    expect(driver.notices()).toContain('holder.gained');
  });

  it.each([
    ['second of two', [D1, D2], 30],
    ['third of three', [D1, D2, D3], 60],
  ])('is claimed later by the %s', (_, directors, delayMs) => {
    const priorities = new Map(directors.map((id, i) => [id, i * 10]));
    const driver = new ElectionDriver({
      directors: directorsOf(...directors),
      groups: [group(G1, { priorities })],
    });
    for (const id of directors.filter((one) => one !== D1)) live(driver.store, id);
    own(driver, released);
    driver.begin();
    driver.advance(delayMs - 1);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('is not claimed by who cannot hold it', () => {
    const driver = candidate();
    driver.feed(fit([G1, 'interface-down']));
    own(driver, released);
    driver.advance(60_000);
    expect(driver.txns('claim')).toEqual([]);
    driver.feed(fit([G1, null]));
    driver.advance(100);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('is not claimed by a director that its priorities do not name', () => {
    const driver = candidate({ groups: [group(G1, { priorities: new Map([[D2, 1]]) })] });
    own(driver, released);
    driver.advance(60_000);
    expect(driver.txns('claim')).toEqual([]);
  });

  it('is claimed by a draining director only when nobody else has for a second', () => {
    const driver = candidate();
    driver.store.write(keys.drain(D1), formatRecord({ v: 1, by: '', reason: '', at: '' }));
    own(driver, released);
    driver.settle();
    driver.advance(999);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('that nobody holds is nothing to catch up on', () => {
    const driver = candidate();
    driver.feed(fit([G1, 'sync-catching-up']));
    own(driver, released);
    driver.advance(100);
    expect(driver.txns('claim')).toHaveLength(1);
    expect(driver.holding()).toBe('open');
    // What it holds it keeps, whatever its sync daemons do.
    driver.feed(fit([G1, 'sync-catching-up']));
    driver.advance(5000);
    expect(driver.holding()).toBe('open');
    expect(driver.txns('give-up')).toEqual([]);
  });

  it('is not left to a better candidate that is silent', () => {
    const priorities = new Map([
      [D2, 9],
      [D1, 1],
    ]);
    const driver = new ElectionDriver({ groups: [group(G1, { priorities })] });
    driver.audible = [];
    live(driver.store);
    own(driver, released);
    driver.begin();
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('is judged for others by the report of their current session', () => {
    const driver = new ElectionDriver({
      groups: [
        group(G1, {
          priorities: new Map([
            [D2, 9],
            [D1, 1],
          ]),
        }),
      ],
    });
    const session = live(driver.store);
    driver.store.write(keys.report(D2), formatRecord(reportOf({ session: session - 1 })));
    own(driver, released);
    driver.begin();
    // d2's report is of an earlier life: this director is the best that is known to be able.
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('lost to a faster director is left alone', () => {
    const driver = candidate();
    driver.keep = isTxn('claim');
    own(driver, released);
    driver.settle();
    const claim = driver.takeKept();
    own(driver, ownerOf({ session: driver.store.read(keys.session(D2)).modRevision }));
    driver.reply(claim, driver.commit(claim), driver.now);
    driver.advance(1000);
    expect(driver.holding()).toBe('none');
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('claimed in doubt is mine as soon as the record says so', () => {
    const driver = candidate();
    driver.keep = isTxn('claim');
    own(driver, released);
    driver.settle();
    const claim = driver.takeKept();
    driver.doubt(claim);
    driver.commit(claim);
    driver.advance(100);
    expect(driver.holding()).toBe('open');
  });
});

describe('a newer spec than the one in sight', () => {
  it('keeps a director from taking anything: a VIP may have moved', () => {
    const driver = new ElectionDriver();
    driver.store.write(keys.spec, '{}');
    own(driver, released);
    driver.begin();
    driver.advance(1000);
    expect(driver.txns('claim').length).toBeGreaterThan(0);
    expect(driver.holding()).toBe('none');
    const specRev = driver.store.read(keys.spec).modRevision;
    driver.config = { ...driver.config, specRev };
    driver.advance(300);
    expect(driver.holding()).toBe('open');
  });
});

describe('an orphaned group', () => {
  it.each([
    ['broken', { state: 'broken' as const }, 'holder-dead'],
    ['closed', { state: 'closed' as const }, 'holder-closed'],
    ['superseded', { id: 0 }, 'holder-closed'],
  ])('of a %s session is claimed, guarded by that session record', (_, fields, reason) => {
    const driver = candidate();
    const id = driver.store.read(keys.session(D2)).modRevision;
    const rev = driver.store.write(keys.session(D2), formatRecord(sessionOf({ id, ...fields })));
    driver.advance(100);
    const [claim] = driver.txns('claim');
    expect(claim?.txn.compares).toContainEqual({ key: keys.session(D2), modRevision: rev });
    expect(claim?.purpose).toMatchObject({ claims: new Map([[G1, { reason }]]) });
    expect(driver.holding()).toBe('open');
  });

  it('is not what an owner with a missing session record has: that one is challenged', () => {
    const driver = candidate();
    driver.store.remove(keys.session(D2));
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('claim', 'mark-vacant')).toEqual([]);
  });
});

describe('a group without a usable record', () => {
  const absent = (driver: ElectionDriver): void => driver.store.remove(keys.owner(G1));

  it('that is absent gets a vacant marker, and is claimed D′ after it was seen', () => {
    const driver = candidate();
    absent(driver);
    const { modRevision } = driver.store.read(keys.owner(G1));
    driver.settle();
    const [mark] = driver.txns('mark-vacant');
    expect(mark?.txn.compares[0]).toEqual({ key: keys.owner(G1), modRevision });
    const marker = driver.store.read(keys.owner(G1));
    expect(JSON.parse(marker.value ?? '')).toMatchObject({ vacant: true, director: null });
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(1);
    const [claim] = driver.txns('claim');
    expect(claim?.txn.compares).toContainEqual({
      key: keys.owner(G1),
      modRevision: marker.modRevision,
    });
    expect(claim?.purpose).toMatchObject({ claims: new Map([[G1, { reason: 'vacant' }]]) });
  });

  it('is marked together with all others like it: a document with hundreds of new ones is a few txns', () => {
    const names = Array.from({ length: 250 }, (_, i) => groupId(`new${i}`));
    const driver = new ElectionDriver({ groups: names.map((name) => group(name)) });
    driver.keep = isTxn('mark-vacant');
    driver.begin();
    driver.settle();
    const marks = driver.txns('mark-vacant');
    expect(marks.map(({ txn }) => txn.success.length)).toEqual([100, 100, 50]);
    expect(new Set(marks.flatMap(({ txn }) => txn.success.map(({ key }) => key))).size).toBe(250);
    driver.keep = () => false;
    for (const { effect, at } of driver.kept) driver.carryOut(effect, at);
    driver.settle();
    expect(driver.txns('mark-vacant')).toHaveLength(3);
    driver.advance(WAIT_MS + 1200);
    expect(driver.txns('mark-vacant')).toHaveLength(3);
    for (const name of names) expect(driver.holding(name)).toBe('open');
  });

  it('that cannot be read is left alone and told once: a newer version may have written it', () => {
    const driver = candidate();
    driver.store.write(keys.owner(G1), '{"v":2}');
    driver.advance(60_000);
    driver.store.write(keys.owner(G1), '{"v":3}');
    driver.advance(60_000);
    expect(driver.effects.filter(({ kind }) => kind === 'txn')).toEqual([]);
    expect(driver.notices()).toEqual(['record.unreadable']);
  });

  it('waits for the longest D of anybody', () => {
    const driver = candidate();
    driver.store.write(
      keys.scope(D3),
      formatRecord({ v: 1, holdMs: 20_000, slackMs: 0, driftMargin: 0, session: 1, peers: [] }),
    );
    absent(driver);
    driver.settle();
    driver.advance(25_999);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it.each([
    ['does not name this director: it may hold by the promises of those it names', ['d2'], 0],
    ['names it', ['d1', 'd2'], 1],
  ])('with the session record of a director whose scope %s', (_, peers, claims) => {
    const driver = candidate({ directors: directorsOf(D1, D2, D3) });
    live(driver.store, D3);
    const { holdMs, slackMs, driftMargin } = TIMING;
    const scope = { v: 1, holdMs, slackMs, driftMargin, session: 1, peers };
    driver.store.write(keys.scope(D3), formatRecord(scope));
    driver.store.remove(keys.session(D3));
    absent(driver);
    driver.advance(3 * WAIT_MS);
    expect(driver.txns('claim')).toHaveLength(claims);
  });

  it('starts the wait anew when the marker is written again', () => {
    const driver = candidate();
    absent(driver);
    driver.advance(WAIT_MS - 100);
    own(driver, ownerOf({ director: null, vacant: true }));
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('claim')).toHaveLength(1);
  });

  it('marked in doubt counts from when the marker was seen', () => {
    const driver = candidate();
    driver.keep = isTxn('mark-vacant');
    driver.isSeeing = false;
    driver.store.remove(keys.owner(G1));
    driver.see();
    driver.run();
    const mark = driver.takeKept();
    driver.commit(mark);
    driver.doubt(mark);
    driver.keep = () => false;
    driver.advance(500);
    driver.see();
    driver.advance(WAIT_MS - 500);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(500);
    expect(driver.txns('claim')).toHaveLength(1);
  });
});

describe('a holder and a deleted owner record', () => {
  it('goes on as somebody’s owner when a director without groups starts', () => {
    const driver = new ElectionDriver();
    hold(driver.store);
    driver.begin();
    driver.hear();
    driver.advance(TIMING.suspectMs - 1);
    expect(driver.txns('claim', 'mark-vacant', 'challenge')).toEqual([]);
  });
});
