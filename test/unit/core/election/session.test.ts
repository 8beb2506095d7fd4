/** Design 4.2: one session per life, opened with the gate shut and guarded by what it replaces. */
import { describe, expect, it } from 'vitest';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  ElectionDriver,
  G1,
  hold,
  holder,
  isTxn,
  keys,
  sessionOf,
  TIMING,
  WAIT_MS,
  fit,
  ownerOf,
  reportOf,
} from './election-driver.ts';

const mine = { boot: 'boot', namespace: 'ns' };

function withEarlier(
  fields: Parameters<typeof sessionOf>[0],
  peers: readonly string[] = [],
  machine?: string,
): ElectionDriver {
  const driver = new ElectionDriver();
  const session = driver.store.write(keys.session(D1), formatRecord(sessionOf(fields)));
  const { holdMs, slackMs, driftMargin } = TIMING;
  driver.store.write(
    keys.scope(D1),
    formatRecord({
      v: 1,
      holdMs,
      slackMs,
      driftMargin,
      session,
      peers,
      ...(machine === undefined ? {} : { machine }),
    }),
  );
  return driver;
}

describe('opening a session (4.2)', () => {
  it('waits for the first snapshot', () => {
    const driver = new ElectionDriver();
    driver.feed({ kind: 'tick' });
    driver.feed({ kind: 'view', changes: [], isSynced: false });
    expect(driver.effects).toEqual([]);
  });

  it('waits until the kernel has acknowledged that the gate is shut', () => {
    const driver = new ElectionDriver();
    driver.keep = (effect) => effect.kind === 'clear-gate';
    driver.begin();
    driver.advance(60_000);
    expect(driver.of('clear-gate')).toHaveLength(1);
    expect(driver.txns('open-session')).toEqual([]);
    driver.feed({ kind: 'gate-cleared', speaking: new Map() });
    driver.settle();
    expect(driver.state.session.kind).toBe('open');
  });

  it('asks again when the kernel could not clear the gate', () => {
    const driver = new ElectionDriver();
    driver.keep = (effect) => effect.kind === 'clear-gate';
    driver.begin();
    driver.feed({ kind: 'gate-cleared', speaking: null });
    driver.advance(199);
    expect(driver.of('clear-gate')).toHaveLength(1);
    driver.advance(1);
    expect(driver.of('clear-gate')).toHaveLength(2);
    expect(driver.txns('open-session')).toEqual([]);
  });

  it.each([
    ['a session that was broken', { state: 'broken' as const }],
    ['a session that was closed', { state: 'closed' as const }],
  ])('supersedes %s at once, guarded by that very record', (_, fields) => {
    const driver = withEarlier(fields);
    const earlier = driver.store.read(keys.session(D1)).modRevision;
    const scope = driver.store.read(keys.scope(D1)).modRevision;
    driver.begin();
    const [open] = driver.txns('open-session');
    expect(open?.txn.compares).toEqual([
      { key: keys.session(D1), modRevision: earlier },
      { key: keys.scope(D1), modRevision: scope },
    ]);
    expect(driver.sessionId).toBeGreaterThan(earlier);
    expect(driver.now).toBe(1000);
  });

  it('goes on with the session of a former process of this kernel, and voids what that had under way', () => {
    const driver = withEarlier({ ...mine, state: 'open' as const });
    const earlier = driver.store.read(keys.session(D1)).modRevision;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd1', session: earlier })));
    const epoch = driver.store.read(keys.owner(G1)).modRevision;
    driver.begin();
    expect(driver.of('clear-gate')).toMatchObject([{ keep: [G1] }]);
    expect(driver.sessionId).toBe(earlier);
    expect(driver.store.read(keys.session(D1)).modRevision).toBeGreaterThan(earlier);
    expect(driver.holding()).toBe('open');
    expect(driver.store.read(keys.owner(G1)).modRevision).toBe(epoch);
    expect(driver.notices()).toContain('session.adopted');
  });

  it('writes its scope with its session', () => {
    const driver = new ElectionDriver().begin();
    const scope: unknown = JSON.parse(driver.store.read(keys.scope(D1)).value ?? '');
    expect(scope).toMatchObject({ holdMs: TIMING.holdMs, slackMs: TIMING.slackMs, machine: 'm1' });
    expect(driver.store.read(keys.scope(D1)).modRevision).toBe(driver.sessionId);
  });
});

describe('a namesake (4.2)', () => {
  it.each([
    ['another boot', { boot: 'other', namespace: 'ns' }],
    ['another namespace', { boot: 'boot', namespace: 'other' }],
  ])('with %s is challenged, and superseded only after its D′', (_, fields) => {
    const driver = withEarlier({ ...fields, state: 'open' });
    driver.begin();
    expect(driver.txns('challenge-namesake')).toHaveLength(1);
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('open-session')).toEqual([]);
    const challenge = driver.store.read(keys.challenge(D1)).modRevision;
    driver.advance(1);
    const [open] = driver.txns('open-session');
    expect(open?.txn.compares).toContainEqual({ key: keys.challenge(D1), modRevision: challenge });
    expect(driver.state.session.kind).toBe('open');
    expect(driver.store.read(keys.challenge(D1)).value).toBeNull();
  });

  it('that begins another session while it is waited for is waited for anew', () => {
    const driver = withEarlier({ state: 'open' });
    driver.begin();
    driver.advance(WAIT_MS - 1000);
    driver.store.write(keys.session(D1), formatRecord(sessionOf()));
    driver.store.remove(keys.challenge(D1));
    driver.advance(WAIT_MS - 1);
    expect(driver.txns('open-session')).toEqual([]);
    expect(driver.notices()).toEqual([]);
    driver.advance(1000);
    expect(driver.txns('open-session')).toHaveLength(1);
  });

  it('and an opening in doubt: it is tried again with the same guard', () => {
    const driver = withEarlier({ state: 'open' });
    driver.begin();
    driver.keep = isTxn('open-session');
    driver.advance(WAIT_MS);
    const first = driver.takeKept();
    driver.doubt(first);
    driver.advance(199);
    expect(driver.kept).toEqual([]);
    driver.advance(1);
    expect(driver.takeKept().txn.compares).toEqual(first.txn.compares);
  });

  it('that answers keeps this machine out, with one alarm for its session', () => {
    const driver = withEarlier({ state: 'open' });
    driver.begin();
    for (let i = 0; i < 10; i++) {
      driver.advance(700);
      driver.store.remove(keys.challenge(D1));
      driver.advance(700);
    }
    driver.store.remove(keys.challenge(D1));
    driver.advance(100);
    expect(driver.txns('open-session')).toEqual([]);
    expect(driver.notices()).toEqual(['session.refused']);
  });

  it('that is alive after all defeats an opening on its way', () => {
    const driver = withEarlier({ state: 'open' });
    driver.begin();
    driver.keep = isTxn('open-session');
    driver.advance(WAIT_MS);
    const open = driver.takeKept();
    driver.store.remove(keys.challenge(D1));
    driver.reply(open, driver.commit(open), driver.now);
    driver.settle();
    expect(driver.state.session.kind).not.toBe('open');
  });

  it('on another machine is declared dead by its peers alone: they may have promised', () => {
    const driver = withEarlier({ state: 'open' }, ['d2']);
    driver.begin();
    driver.advance(5 * WAIT_MS);
    expect(driver.txns('challenge-namesake', 'open-session')).toEqual([]);
    expect(driver.notices()).toEqual(['session.refused']);
    driver.store.write(keys.session(D1), formatRecord(sessionOf({ state: 'broken' })));
    driver.advance(1000);
    expect(driver.state.session.kind).toBe('open');
  });

  it('of an earlier boot of this machine is waited for, whatever its scope names', () => {
    const driver = withEarlier({ state: 'open', machine: 'm1' }, ['d2']);
    driver.begin();
    driver.advance(WAIT_MS);
    expect(driver.state.session.kind).toBe('open');
  });

  it('may hide behind a deleted record: the scope tells that there was one', () => {
    const driver = new ElectionDriver();
    const { holdMs, slackMs, driftMargin } = TIMING;
    driver.store.write(
      keys.scope(D1),
      formatRecord({ v: 1, holdMs, slackMs, driftMargin, session: 3, peers: [] }),
    );
    driver.begin();
    driver.advance(WAIT_MS - 1);
    expect(driver.state.session.kind).toBe('namesake');
    driver.advance(1);
    expect(driver.state.session.kind).toBe('open');
  });

  it.each([
    ['that is gone', (driver: ElectionDriver) => driver.store.remove(keys.session(D1))],
    [
      'that cannot be read',
      (driver: ElectionDriver) => driver.store.write(keys.session(D1), 'not JSON'),
    ],
  ])('of another machine is left to its peers behind a record %s, too', (_, tamper) => {
    const driver = withEarlier({ state: 'open' }, ['d2'], 'm2');
    tamper(driver);
    driver.begin();
    driver.advance(5 * WAIT_MS);
    expect(driver.txns('challenge-namesake', 'open-session')).toEqual([]);
    expect(driver.notices()).toEqual(['session.refused']);
    expect(driver.of('event')[0]?.event.message).toContain(keys.scope(D1));
    driver.store.write(keys.session(D1), formatRecord(sessionOf({ state: 'broken' })));
    driver.advance(1000);
    expect(driver.state.session.kind).toBe('open');
  });

  it('of this machine whose record is gone is waited for, whatever its scope names', () => {
    const driver = withEarlier({ state: 'open', machine: 'm1' }, ['d2'], 'm1');
    driver.store.remove(keys.session(D1));
    driver.begin();
    driver.advance(WAIT_MS);
    expect(driver.state.session.kind).toBe('open');
  });

  it('may hide behind an unreadable record, and a missing scope counts as the longest D', () => {
    const driver = new ElectionDriver();
    driver.store.write(keys.session(D1), 'not JSON');
    driver.begin();
    driver.advance(70_000);
    expect(driver.state.session.kind).toBe('namesake');
    driver.advance(7000);
    expect(driver.state.session.kind).toBe('open');
  });
});

describe('an opening in doubt (4.1, 4.2)', () => {
  function doubted(): { driver: ElectionDriver; open: ReturnType<ElectionDriver['takeKept']> } {
    const driver = new ElectionDriver();
    driver.keep = isTxn('open-session');
    driver.begin();
    return { driver, open: driver.takeKept() };
  }

  it('that did not commit is tried again with the same guard', () => {
    const { driver, open } = doubted();
    driver.doubt(open);
    driver.advance(199);
    expect(driver.kept).toEqual([]);
    driver.advance(1);
    expect(driver.takeKept().txn.compares).toEqual(open.txn.compares);
  });

  it('that did commit is adopted by its nonce when the next try fails', () => {
    const { driver, open } = doubted();
    driver.isSeeing = false;
    driver.commit(open);
    const session = driver.store.revision;
    driver.doubt(open);
    driver.keep = () => false;
    driver.advance(200);
    expect(driver.sessionId).toBe(session);
  });

  it('never leaves two sessions, however late the first try commits', () => {
    const { driver, open } = doubted();
    driver.doubt(open);
    driver.keep = () => false;
    driver.advance(200);
    const session = driver.sessionId;
    expect(driver.commit(open).succeeded).toBe(false);
    driver.advance(1000);
    expect(driver.sessionId).toBe(session);
  });

  it('is not counted as the session of a stranger who was faster', () => {
    const { driver, open } = doubted();
    driver.store.write(keys.session(D1), formatRecord(sessionOf()));
    driver.reply(open, driver.commit(open), driver.now);
    driver.keep = () => false;
    driver.advance(300);
    expect(driver.state.session.kind).toBe('namesake');
  });
});

describe('the end of a session (4.2, 4.7)', () => {
  it.each([
    [
      'broken by another',
      (one: ElectionDriver) =>
        sessionOf({ ...mine, state: 'broken', by: 'd2', nonce: one.config.identity.nonce }),
    ],
    ['superseded', () => sessionOf()],
  ])('%s silences every group and opens a new one only behind a cleared gate', (_, record) => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close' || effect.kind === 'clear-gate';
    driver.store.write(keys.session(D1), formatRecord(record(driver)));
    driver.settle();
    expect(driver.notices()).toEqual(['session.lost', 'holder.lost']);
    expect(driver.of('close').map((one) => one.groups)).toEqual([[G1]]);
    driver.advance(3000);
    expect(driver.of('clear-gate')).toEqual([]);
    expect(driver.txns('round', 'open-session')).toEqual([]);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.of('clear-gate')).toHaveLength(1);
  });

  it('ends also what it could not arm: the next session answers challenges', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'permit';
    for (let i = 0; i < 4; i++) {
      driver.advance(TIMING.roundMs);
      const round = driver.of('permit').at(-1)?.round ?? 0;
      driver.feed({ kind: 'permit-given', round, isOk: false });
    }
    expect(driver.state.unarmedRounds).toBeGreaterThanOrEqual(3);
    const broken = sessionOf({ state: 'broken', id: driver.sessionId });
    driver.store.write(keys.session(D1), formatRecord(broken));
    driver.keep = () => false;
    driver.settle();
    expect(driver.state.session.kind).toBe('open');
    const challenge = { v: 1, by: 'd2', session: driver.sessionId } as const;
    driver.store.write(keys.challenge(D1), formatRecord(challenge));
    driver.forget();
    driver.advance(TIMING.roundMs);
    expect(driver.store.read(keys.challenge(D1)).value).toBeNull();
    const [first] = driver.txns('round');
    expect(first?.txn.compares.map(({ key }) => key)).not.toContain(keys.challenge(D1));
  });

  it('of a director that holds nothing begins another one without any further event', () => {
    const driver = new ElectionDriver({ groups: [] }).begin();
    const broken = sessionOf({ state: 'broken', id: driver.sessionId });
    driver.store.write(keys.session(D1), formatRecord(broken));
    driver.forget();
    driver.see();
    expect(driver.of('clear-gate')).toHaveLength(1);
    driver.run();
    expect(driver.state.session.kind).toBe('open');
  });

  it('is noticed when somebody deletes the record', () => {
    const driver = holder();
    driver.store.remove(keys.session(D1));
    driver.settle();
    expect(driver.notices()).toContain('session.lost');
    driver.advance(WAIT_MS - 1);
    expect(driver.state.session.kind).toBe('namesake');
  });

  it('by shutdown comes last: silence, the owner record, then the session', () => {
    const driver = holder();
    const session = driver.store.read(keys.session(D2)).modRevision;
    const unfit = reportOf({ session, eligible: [], ineligible: { g1: 'interface-down' } });
    driver.store.write(keys.report(D2), formatRecord(unfit));
    driver.settle();
    driver.forget();
    driver.feed({ kind: 'stop' });
    driver.settle();
    const order = driver.effects.flatMap((effect) =>
      effect.kind === 'close' ? ['close'] : effect.kind === 'txn' ? [effect.purpose.kind] : [],
    );
    expect(order).toEqual(['close', 'give-up', 'close-session']);
    expect(driver.state.session.kind).toBe('closed');
    expect(JSON.parse(driver.store.read(keys.session(D1)).value ?? '')).toMatchObject({
      state: 'closed',
    });
    driver.forget();
    driver.advance(60_000);
    expect(driver.txns('open-session', 'claim', 'round', 'challenge')).toEqual([]);
  });

  it('by shutdown is tried until etcd has answered', () => {
    const driver = new ElectionDriver().begin();
    driver.keep = isTxn('close-session');
    driver.feed({ kind: 'stop' });
    driver.settle();
    driver.doubt(driver.takeKept());
    driver.keep = () => false;
    driver.advance(200);
    expect(driver.state.session.kind).toBe('closed');
  });

  it('by shutdown after a loss waits for the silence of what was lost', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    const broken = sessionOf({ state: 'broken', id: driver.sessionId });
    driver.store.write(keys.session(D1), formatRecord(broken));
    driver.settle();
    driver.feed({ kind: 'stop' });
    driver.advance(1000);
    expect(driver.state.session.kind).toBe('none');
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.state.session.kind).toBe('closed');
    expect(driver.txns('open-session')).toEqual([]);
  });

  it('by shutdown while it is being opened waits for the answer, and closes what was opened', () => {
    const driver = new ElectionDriver({ groups: [] });
    driver.keep = isTxn('open-session');
    driver.begin();
    const open = driver.takeKept();
    driver.feed({ kind: 'stop' });
    driver.settle();
    expect(driver.state.session.kind).toBe('none');
    driver.reply(open, driver.commit(open), driver.now);
    driver.settle();
    expect(driver.state.session.kind).toBe('closed');
    expect(JSON.parse(driver.store.read(keys.session(D1)).value ?? '')).toMatchObject({
      state: 'closed',
    });
  });

  it('by shutdown may be seen by the watch before its answer comes', () => {
    const driver = new ElectionDriver({ groups: [] }).begin();
    driver.keep = isTxn('close-session');
    driver.feed({ kind: 'stop' });
    driver.settle();
    driver.commit(driver.takeKept());
    driver.forget();
    driver.see();
    expect(driver.state.session.kind).toBe('closed');
    expect(driver.notices()).toEqual(['session.closed']);
  });

  it('by shutdown is not put off by a namesake that is waited for', () => {
    const driver = withEarlier({ state: 'open' });
    driver.begin();
    expect(driver.state.session.kind).toBe('namesake');
    driver.feed({ kind: 'stop' });
    driver.advance(2 * WAIT_MS);
    expect(driver.state.session.kind).toBe('closed');
    expect(driver.txns('open-session')).toEqual([]);
  });

  it('by shutdown is over at once where nothing was ever opened', () => {
    const driver = new ElectionDriver();
    driver.feed({ kind: 'stop' });
    expect(driver.state.session.kind).toBe('closed');
    expect(driver.effects).toEqual([]);
  });
});

describe('the scope record (4.9)', () => {
  const scopeHold = (driver: ElectionDriver): unknown =>
    (JSON.parse(driver.store.read(keys.scope(D1)).value ?? '{}') as { holdMs?: number }).holdMs;
  const armed = (driver: ElectionDriver): number | null =>
    driver.of('arm').length === 0 ? null : driver.state.armedHoldMs;

  it('D up: is written first, then used', () => {
    const driver = holder();
    driver.keep = isTxn('write-scope');
    driver.config = { ...driver.config, timing: { ...TIMING, holdMs: 8000 } };
    driver.advance(800);
    expect(armed(driver)).toBe(4000);
    const write = driver.takeKept();
    driver.reply(write, driver.commit(write), driver.now);
    driver.forget();
    driver.advance(800);
    expect(armed(driver)).toBe(8000);
  });

  it('D down: is used first, then written', () => {
    const driver = holder();
    driver.config = { ...driver.config, timing: { ...TIMING, holdMs: 3000, permitMs: 750 } };
    driver.feed({ kind: 'tick' });
    expect(driver.txns('write-scope')).toEqual([]);
    driver.advance(800);
    expect(armed(driver)).toBe(3000);
    expect(scopeHold(driver)).toBe(3000);
  });

  it('D down, the write in doubt, and up again: no more than the doubt allows is used', () => {
    const driver = holder();
    driver.isSeeing = false;
    driver.keep = isTxn('write-scope');
    driver.config = { ...driver.config, timing: { ...TIMING, holdMs: 3000, permitMs: 750 } };
    driver.advance(800);
    const write = driver.takeKept();
    driver.forget();
    driver.config = { ...driver.config, timing: TIMING };
    driver.advance(800);
    expect(armed(driver), 'while it is on its way').toBe(3000);
    driver.doubt(write);
    driver.forget();
    driver.advance(800);
    expect(armed(driver), 'while it may commit yet').toBe(3000);
    // The next write, guarded by the same record, ends the doubt either way.
    expect(driver.takeKept().txn.compares).toEqual(write.txn.compares);
  });

  it('D down after a lapse: is not written before the end of what the kernel may have armed', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'arm';
    while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
    const [arm] = driver.of('arm');
    if (arm === undefined) throw new Error('no arm');
    // In doubt: the kernel may have done it. Nothing is armed any more after that.
    driver.keep = (effect) => effect.kind === 'permit';
    const { round, groups } = arm;
    const names = groups.map((one) => one.group);
    const nothing = { opened: [], unsettled: [], failed: [], speaksUntil: arm.until };
    driver.feed({ kind: 'armed', round, isOk: false, groups: names, ...nothing });
    driver.advance(arm.until - driver.now - 100);
    expect(driver.holding()).toBe('owned');
    driver.config = { ...driver.config, timing: { ...TIMING, holdMs: 3000, permitMs: 750 } };
    driver.advance(99);
    expect(driver.txns('write-scope')).toEqual([]);
    driver.advance(1);
    driver.settle();
    expect(scopeHold(driver)).toBe(3000);
  });

  it.each([{ driftMargin: 0.5 }, { slackMs: 2000 }])('follows %o of the spec', (fields) => {
    const driver = holder();
    driver.config = { ...driver.config, timing: { ...TIMING, ...fields } };
    driver.advance(100);
    expect(JSON.parse(driver.store.read(keys.scope(D1)).value ?? '{}')).toMatchObject(fields);
    driver.forget();
    driver.advance(5000);
    expect(driver.txns('write-scope')).toEqual([]);
  });

  it('D down while nothing is held: is written at once', () => {
    const driver = holder();
    driver.store.write(
      keys.owner(G1),
      '{"v":1,"director":null,"session":0,"pending":[],"vacant":false,"reason":"released"}',
    );
    driver.feed(fit([G1, 'interface-down']));
    driver.settle();
    expect(driver.holding()).toBe('none');
    driver.config = { ...driver.config, timing: { ...TIMING, holdMs: 3000, permitMs: 750 } };
    driver.advance(100);
    expect(scopeHold(driver)).toBe(3000);
  });

  it('of somebody else may be older than the groups it gave: the wait follows the record', () => {
    const driver = new ElectionDriver();
    hold(driver.store, D2);
    driver.store.write(
      keys.scope(D2),
      formatRecord({ v: 1, holdMs: 10_000, slackMs: 0, driftMargin: 0.5, session: 2, peers: [] }),
    );
    driver.begin();
    driver.advance(TIMING.suspectMs);
    driver.forget();
    // The greater of the two margins counts: 10 s × 1.5 + 1 s.
    driver.advance(15_999);
    expect(driver.txns('kill')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('kill')).toHaveLength(1);
  });
});
