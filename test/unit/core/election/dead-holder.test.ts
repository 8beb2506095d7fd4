/** Design 4.6 at scale: all groups of a dead holder by one round; and who takes what nobody else can. */
import { describe, expect, it } from 'vitest';
import { type GroupId, groupId } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  ElectionDriver,
  fit,
  G1,
  G2,
  group,
  hold,
  isTxn,
  keys,
  live,
  ownerOf,
  reportOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

const MANY: readonly GroupId[] = Array.from({ length: 255 }, (_, i) => groupId(`n${i}`));

const rev = (driver: ElectionDriver, key: string) => ({
  key,
  modRevision: driver.store.read(key).modRevision,
});
const holdings = (driver: ElectionDriver): ReadonlySet<string> =>
  new Set([...driver.state.holdings.values()].map(({ kind }) => kind));

/** d2 held 255 groups and has been silent until a moment before it may be killed. */
function silentWithMany(): ElectionDriver {
  const driver = new ElectionDriver({ groups: MANY.map((id) => group(id)) });
  const session = live(driver.store);
  for (const id of MANY) driver.store.write(keys.owner(id), formatRecord(ownerOf({ session })));
  driver.begin();
  driver.advance(TIMING.suspectMs + WAIT_MS - 1);
  expect(driver.txns('challenge')).toHaveLength(1);
  driver.forget();
  return driver;
}

describe('255 groups of a dead holder', () => {
  it('are taken and opened by one round, at most 100 in a txn', () => {
    const driver = silentWithMany();
    driver.advance(1);
    expect(driver.txns('claim', 'kill').map(({ purpose }) => purpose.kind)).toEqual([
      'claim',
      'claim',
      'kill',
    ]);
    const [arm, ...more] = driver.of('arm');
    expect([arm?.groups.length, more]).toEqual([255, []]);
    expect(holdings(driver)).toEqual(new Set(['open']));
    expect(driver.state.holdings.size).toBe(255);
    for (const { txn } of driver.txns('claim', 'kill')) {
      expect(txn.compares.length).toBeLessThanOrEqual(105);
      expect(txn.success.length).toBeLessThanOrEqual(102);
    }
  });

  it('are each guarded by challenge, session, scope, my session, the spec and their own record', () => {
    const driver = silentWithMany();
    driver.keep = isTxn('kill');
    const [c, s, o] = [keys.challenge(D2), keys.session(D2), keys.scope(D2)];
    const proof = [c, s, o, keys.session(D1), keys.spec];
    const guards = [...proof, ...MANY.map((id) => keys.owner(id))].map((key) => rev(driver, key));
    driver.advance(1);
    expect(driver.kept).toHaveLength(1);
    expect(driver.txns('claim', 'kill')).toHaveLength(3);
    const owners: string[] = [];
    for (const { txn } of driver.txns('claim', 'kill')) {
      expect(txn.compares.slice(0, 5)).toEqual(guards.slice(0, 5));
      for (const compare of txn.compares) expect(guards).toContainEqual(compare);
      const named = txn.compares.slice(5).map(({ key }) => key);
      const written = txn.success.filter(({ op }) => op === 'put').map(({ key }) => key);
      const put = written.filter((key) => !proof.includes(key));
      expect(put).toEqual(named);
      owners.push(...named);
    }
    expect(new Set(owners)).toEqual(new Set(MANY.map((id) => keys.owner(id))));
    expect(owners).toHaveLength(255);
  });

  it('are taken before the kill is sent: it changes what the others compare', () => {
    const driver = silentWithMany();
    driver.keep = isTxn('claim');
    driver.advance(1);
    for (const txn of driver.txns('claim')) {
      expect(driver.txns('kill')).toEqual([]);
      driver.reply(txn, driver.commit(txn), driver.now);
      driver.settle();
    }
    expect(driver.txns('claim', 'kill').map(({ purpose }) => purpose.kind)).toEqual([
      'claim',
      'claim',
      'kill',
    ]);
    expect(driver.of('arm').map(({ groups }) => groups.length)).toEqual([255]);
  });

  it('that could not be taken are claimed by the next round, and stay bound until they are open', () => {
    const driver = silentWithMany();
    driver.keep = isTxn('claim');
    driver.advance(1);
    const [first, second] = driver.txns('claim');
    if (first === undefined || second === undefined) throw new Error('two txns were expected');
    driver.keep = () => false;
    // Its answer is lost, and it never comes to pass.
    driver.doubt(first);
    driver.reply(second, driver.commit(second), driver.now);
    driver.settle();
    expect(driver.txns('kill')).toHaveLength(1);
    driver.advance(100);
    expect(holdings(driver)).toEqual(new Set(['open']));
    expect(driver.state.holdings.size).toBe(255);
    const last = driver.txns('claim').slice(2);
    expect(last.length).toBeGreaterThan(0);
    for (const { txn } of last) expect(txn.compares).toContainEqual(rev(driver, keys.session(D2)));
    expect(driver.of('foresee').at(-1)?.groups).toEqual([]);
    const armed = new Set<GroupId>();
    for (const effect of driver.effects) {
      if (effect.kind === 'arm') for (const one of effect.groups) armed.add(one.group);
      if (effect.kind !== 'foresee') continue;
      const bound = new Set([...effect.groups, ...armed]);
      expect(MANY.filter((id) => !bound.has(id))).toEqual([]);
    }
  });

  it('wait with the kill for no longer than the permit lives', () => {
    const driver = silentWithMany();
    driver.keep = isTxn('claim');
    driver.advance(1);
    const txns = driver.txns('claim');
    driver.keep = () => false;
    const sentAt = driver.now;
    driver.advance(TIMING.permitMs + 1);
    for (const txn of txns) {
      driver.reply(txn, driver.commit(txn), sentAt);
      expect(driver.of('arm')).toEqual([]);
    }
    expect(driver.txns('kill')).toEqual([]);
    driver.settle();
    expect(driver.txns('kill').map(({ txn }) => txn.compares.length)).toEqual([60]);
    expect(driver.state.holdings.size).toBe(255);
  });

  it('stay the holder’s when it answers while the txns are on their way', () => {
    const driver = silentWithMany();
    driver.keep = isTxn('claim', 'kill');
    driver.advance(1);
    driver.store.remove(keys.challenge(D2));
    for (let i = 0; i < 3; i++) {
      const txn = driver.txns('claim', 'kill')[i];
      if (txn === undefined) throw new Error('three txns were expected');
      const answer = driver.commit(txn);
      expect(answer.succeeded).toBe(false);
      driver.reply(txn, answer, driver.now);
    }
    expect(driver.txns('kill')).toHaveLength(1);
  });
});

describe('a director that makes way for others', () => {
  const suppressed = (driver: ElectionDriver): void => {
    const damping = { penalty: 4, at: driver.state.startedAt, isSuppressed: true };
    driver.state = { ...driver.state, damping: new Map([[G1, damping]]) };
  };
  const drained = (driver: ElectionDriver): void => {
    driver.store.write(keys.drain(D1), formatRecord({ v: 1, by: '', reason: '', at: '' }));
    driver.settle();
  };

  const behind = (driver: ElectionDriver): void => {
    driver.feed(fit([G1, 'sync-catching-up']));
    driver.settle();
  };

  it.each([
    ['flaps', suppressed],
    ['drains', drained],
    ['does not know its connections yet', behind],
  ])('and %s takes at once from a dead holder what nobody else can take', (_, makeWay) => {
    const driver = candidate();
    makeWay(driver);
    driver.advance(TIMING.suspectMs + WAIT_MS);
    expect(driver.txns('kill').map(({ purpose }) => purpose)).toMatchObject([
      { claims: new Map([[G1, { director: 'd1', reason: 'holder-dead' }]]) },
    ]);
    expect(driver.holding()).toBe('open');
  });

  it.each([
    ['flaps', suppressed],
    ['drains', drained],
    ['does not know its connections yet', behind],
  ])('and %s leaves to another what that one can take', (_, makeWay) => {
    const priorities = new Map([
      [D2, 200],
      [D1, 150],
      [D3, 100],
    ]);
    const driver = new ElectionDriver({
      directors: directorsOf(D1, D2, D3),
      groups: [group(G1, { priorities })],
    });
    hold(driver.store);
    live(driver.store, D3);
    driver.audible = [D3];
    driver.begin();
    makeWay(driver);
    for (let i = 0; i < 10; i++) driver.advance(TIMING.heartbeatMs);
    expect(driver.txns('kill').map(({ purpose }) => purpose)).toMatchObject([
      { claims: new Map() },
    ]);
    expect(driver.holding()).toBe('none');
  });

  it('for a fault of its own takes nothing', () => {
    const driver = candidate();
    driver.feed(fit([G1, 'track-failed']));
    driver.advance(TIMING.suspectMs + WAIT_MS + 5000);
    expect(driver.txns('kill')).toHaveLength(1);
    expect(driver.holding()).toBe('none');
  });
});

describe('what cannot wait for the rhythm of the rounds', () => {
  it('breathes after each permit that the kernel refuses', () => {
    const driver = candidate();
    driver.advance(TIMING.suspectMs + WAIT_MS - 1);
    driver.keep = (effect) => effect.kind === 'permit';
    driver.forget();
    driver.advance(1);
    for (let i = 1; i <= 3; i++) {
      const round = driver.of('permit').at(-1)?.round ?? 0;
      driver.feed({ kind: 'permit-given', round, isOk: false });
      driver.advance(19);
      expect(driver.of('permit')).toHaveLength(i);
      driver.advance(1);
      expect(driver.of('permit')).toHaveLength(i + 1);
    }
    driver.keep = () => false;
    const round = driver.of('permit').at(-1)?.round ?? 0;
    driver.feed({ kind: 'permit-given', round, isOk: true });
    driver.settle();
    expect(driver.holding()).toBe('open');
  });

  it('goes on with a permit at once: a claim in the midst of a quiet round does not wait', () => {
    const driver = candidate({ groups: [group(G1), group(G2)] });
    driver.store.write(
      keys.owner(G2),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.hear();
    driver.advance(10);
    expect(driver.holding(G2)).toBe('open');
    const session = driver.store.read(keys.session(D2)).modRevision;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: null, session: 0 })));
    driver.store.write(keys.report(D2), formatRecord(reportOf({ session, eligible: [] })));
    driver.settle();
    expect(driver.holding(G1)).toBe('open');
  });
});
