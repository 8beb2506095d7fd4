/** Design 4.7: silence first, by the kernel's word, then the record; and what moves a group at all (I5). */
import { describe, expect, it } from 'vitest';
import { directorId } from '../../../../src/model/ids.ts';
import type { OperationRecord } from '../../../../src/model/records.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  type ElectionDriver,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  live,
  operationOf,
  ownerOf,
  reportOf,
  TIMING,
  fit,
  directorsOf,
} from './election-driver.ts';

const owner = (driver: ElectionDriver): unknown =>
  JSON.parse(driver.store.read(keys.owner(G1)).value ?? 'null');
const linkDown = (driver: ElectionDriver): void => {
  driver.feed(fit([G1, 'interface-down']));
  driver.settle();
};
const drain = (driver: ElectionDriver, name = D1): void => {
  driver.store.write(keys.drain(name), formatRecord({ v: 1, by: '', reason: '', at: '' }));
  driver.settle();
};
const unfit = (driver: ElectionDriver, reason: string): void => {
  const session = driver.store.read(keys.session(D2)).modRevision;
  const report = reportOf({ session, eligible: [], ineligible: { g1: reason } });
  driver.store.write(keys.report(D2), formatRecord(report));
  driver.settle();
};

describe('a release (4.7)', () => {
  it('writes the record only after the kernel has acknowledged the silence', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    linkDown(driver);
    expect(driver.effects.map(({ kind }) => kind)).toEqual(['close', 'show-lease']);
    driver.advance(3000);
    expect(driver.txns('give-up')).toEqual([]);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    expect(driver.txns('give-up')).toHaveLength(1);
  });

  it('names no former holder as one whose silence is waited for where it gets the group back', () => {
    const driver = holder();
    live(driver.store, D2);
    const session = driver.store.read(keys.session(D2)).modRevision;
    const others = { director: 'd3', session: 1, epoch: 2 };
    const pending = [{ director: 'd2', session, epoch: 3 }, others];
    const record = ownerOf({ director: 'd1', session: driver.sessionId, pending });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.settle();
    linkDown(driver);
    expect(owner(driver)).toMatchObject({ director: 'd2', session, pending: [others] });
  });

  it('asks the kernel again when it refused, and writes nothing until it obeys', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    linkDown(driver);
    for (let i = 0; i < 3; i++) {
      driver.feed({ kind: 'closed', groups: [G1], isOk: false });
      driver.advance(99);
      expect(driver.of('close')).toHaveLength(i + 1);
      driver.advance(1);
      expect(driver.of('close')).toHaveLength(i + 2);
    }
    expect(driver.txns('give-up')).toEqual([]);
  });

  it('ends before the group is taken up again for a newer record', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    linkDown(driver);
    driver.feed(fit([G1, null]));
    const record = ownerOf({ director: 'd1', session: driver.sessionId });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.forget();
    driver.advance(3000);
    expect(driver.of('arm')).toEqual([]);
    expect(driver.holding()).toBe('closing');
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.holding()).toBe('open');
    expect(owner(driver)).toEqual(record);
  });

  it('names a ready successor, guarded by its session and by mine', () => {
    const driver = holder();
    const epoch = driver.store.read(keys.owner(G1)).modRevision;
    linkDown(driver);
    const session = driver.store.read(keys.session(D2)).modRevision;
    expect(driver.txns('give-up')[0]?.txn.compares).toEqual([
      { key: keys.owner(G1), modRevision: epoch },
      { key: keys.session(D1), modRevision: driver.sessionId },
      { key: keys.session(D2), modRevision: session },
    ]);
    expect(owner(driver)).toMatchObject({ director: 'd2', session, reason: 'interface-down' });
    expect(driver.notices()).toEqual(['holder.released']);
    expect(driver.holding()).toBe('none');
  });

  it('names nobody where the ready one is not heard: it may be dead', () => {
    const driver = holder();
    driver.audible = [];
    driver.advance(TIMING.suspectMs + 1);
    linkDown(driver);
    expect(owner(driver)).toMatchObject({ director: null });
  });

  it('names nobody where nobody is ready', () => {
    const driver = holder();
    unfit(driver, 'interface-down');
    linkDown(driver);
    expect(owner(driver)).toMatchObject({ director: null, session: 0 });
  });

  it('chooses anew when the successor fails while the silence is awaited', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'close';
    linkDown(driver);
    unfit(driver, 'interface-down');
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(owner(driver)).toMatchObject({ director: null });
  });

  it('in doubt stays silent, however long, and is tried again', () => {
    const driver = holder();
    driver.keep = isTxn('give-up');
    linkDown(driver);
    driver.doubt(driver.takeKept());
    // Fit again: the record may name another yet, so this life must not speak for it.
    driver.feed(fit([G1, null]));
    driver.forget();
    driver.advance(199);
    expect(driver.txns('give-up')).toEqual([]);
    driver.keep = () => false;
    driver.advance(1000);
    expect(driver.of('arm')).toEqual([]);
    expect(owner(driver)).toMatchObject({ director: 'd2' });
  });

  it('in doubt that did commit is learnt by the failing next try', () => {
    const driver = holder();
    driver.isSeeing = false;
    driver.keep = isTxn('give-up');
    linkDown(driver);
    const giveUp = driver.takeKept();
    driver.commit(giveUp);
    driver.doubt(giveUp);
    driver.keep = () => false;
    driver.advance(300);
    expect(driver.holding()).toBe('none');
    expect(driver.notices()).toEqual(['holder.released']);
  });

  it.each([
    ['interface-missing', 'interface-down'],
    ['cannot-bind', 'cannot-bind'],
  ] as const)('because of %s says %s', (obstacle, reason) => {
    const driver = holder();
    driver.feed(fit([G1, obstacle]));
    driver.settle();
    expect(owner(driver)).toMatchObject({ reason });
  });

  it.each([
    ['the spec no longer names the group', { groups: [] }],
    [
      'its priorities no longer name me',
      { groups: [group(G1, { priorities: new Map([[D2, 1]]) })] },
    ],
    [
      'the spec no longer names me',
      { directors: directorsOf(D2), groups: [group(G1, { priorities: null })] },
    ],
  ])('follows when %s', (text, fields) => {
    // Where the spec still knows the group, somebody is ready for it.
    const leaves = text.endsWith('me');
    const driver = holder();
    driver.config = { ...driver.config, ...fields };
    driver.feed({ kind: 'tick' });
    driver.settle();
    expect(owner(driver)).toMatchObject({ reason: 'group-removed' });
    expect(driver.holding()).toBe(leaves ? 'leaving' : 'none');
  });

  it('of a group that an unheard eligibility does not name waits: not judged is not unfit', () => {
    const driver = holder();
    driver.feed(fit());
    driver.advance(5000);
    expect(driver.txns('give-up')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it('does not offer the group again to a director that just gave it back', () => {
    const driver = holder();
    linkDown(driver);
    driver.feed(fit([G1, null]));
    driver.store.write(
      keys.owner(G1),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.settle();
    driver.forget();
    linkDown(driver);
    expect(owner(driver)).toMatchObject({ director: null });
    driver.advance(5000);
    expect(driver.state.offeredUntil.size).toBe(0);
  });
});

describe('a drain', () => {
  it('moves the group to a ready successor', () => {
    const driver = holder();
    drain(driver);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'drain' });
  });

  it('moves traffic, it never ends it: without a successor the holder goes on', () => {
    const driver = holder();
    unfit(driver, 'interface-down');
    drain(driver);
    driver.advance(60_000);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
    expect(driver.holding()).toBe('open');
    unfit(driver, '');
    live(driver.store);
    driver.advance(10);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'drain' });
  });

  it('of everybody moves nothing', () => {
    const driver = holder();
    drain(driver, D2);
    drain(driver, D1);
    driver.advance(10_000);
    expect(driver.txns('give-up')).toEqual([]);
  });
});

describe('a shutdown', () => {
  it('gives every group up, to whoever is ready', () => {
    const driver = holder({ groups: [group(G1), group(G2)] });
    driver.feed({ kind: 'stop' });
    driver.settle();
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'shutdown' });
    driver.advance(3300);
    expect(driver.state.holdings.size).toBe(0);
    expect(driver.state.session.kind).toBe('closed');
  });
});

describe('preempt', () => {
  /** d2 is better by its priority, and this director holds. */
  const worse = (
    preempt: ReturnType<typeof group>['preempt'],
    priorities = new Map([
      [D2, 150],
      [D1, 100],
    ]),
  ) => {
    const driver = holder({ groups: [group(G1, { priorities: new Map([[D1, 1]]) })] });
    driver.config = { ...driver.config, groups: [group(G1, { priorities, preempt })] };
    driver.feed({ kind: 'tick' });
    driver.settle();
    return driver;
  };

  it('never: a better director does not move the group', () => {
    const driver = worse({ kind: 'never' });
    driver.advance(600_000);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
  });

  it('immediate: the group moves at once', () => {
    const driver = worse({ kind: 'immediate' });
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'preempt' });
  });

  it('after: the group moves when the better director has been ready for so long', () => {
    const driver = worse({ kind: 'after', ms: 30_000 });
    driver.advance(29_999);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
    driver.advance(1);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'preempt' });
  });

  it('after: counts anew when the better director was away', () => {
    const driver = worse({ kind: 'after', ms: 30_000 });
    driver.advance(20_000);
    unfit(driver, 'interface-down');
    live(driver.store);
    driver.advance(29_999);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
    driver.advance(1);
    expect(driver.txns('give-up', 'transfer')).toHaveLength(1);
  });

  it('after: counts anew when the group was away and came back', () => {
    const driver = worse({ kind: 'after', ms: 30_000 });
    driver.advance(30_000);
    expect(driver.holding()).toBe('leaving');
    for (let i = 0; i < 4; i++) {
      driver.advance(2000);
      driver.hear();
    }
    driver.store.write(
      keys.owner(G1),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.forget();
    driver.advance(29_000);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it.each([
    [
      'equal priorities',
      new Map([
        [D2, 100],
        [D1, 100],
      ]),
    ],
    [
      'a worse director',
      new Map([
        [D2, 50],
        [D1, 100],
      ]),
    ],
  ])('does not move for %s', (_, priorities) => {
    const driver = worse({ kind: 'immediate' }, priorities);
    driver.advance(10_000);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
  });

  it('does not move a group without priorities: rendezvous order is no reason', () => {
    const driver = holder({
      groups: [group(G1, { priorities: null, preempt: { kind: 'immediate' } })],
    });
    driver.advance(60_000);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
  });
});

describe('a switchover', () => {
  const ask = (driver: ElectionDriver, fields: Partial<OperationRecord> = {}): void => {
    driver.store.write(keys.operation('op1'), formatRecord(operationOf(fields)));
    driver.settle();
  };
  const told = (driver: ElectionDriver): string[] =>
    driver.of('operation').map(({ state, text }) => `${state}: ${text}`);

  it.each([
    ['named', { from: 'd1', to: 'd2' }],
    ['left open', {}],
  ])('to a director that is %s moves the group and tells each step', (_, fields) => {
    const driver = holder();
    ask(driver, fields);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'switchover' });
    expect(told(driver)).toEqual(['running: the owner record names d2; d1 still answers']);
    driver.advance(300);
    expect(told(driver)).toContain('running: mute here, forwarding on');
  });

  it.each<[string, Partial<OperationRecord>, string]>([
    ['from another than the holder', { from: 'd2', to: 'd2' }, 'd1 holds the group, not d2'],
    ['to the holder itself', { to: 'd1' }, 'd1 holds the group already'],
    ['to a stranger', { to: 'd9' }, 'd9 is no candidate for the group'],
    ['to a draining director', { to: 'd3' }, 'd3 cannot take the group: draining'],
    ['to a director without a session', { to: 'd4' }, 'd4 cannot take the group: no-session'],
    ['to a director that is not fit', { to: 'd2' }, 'd2 cannot take the group: interface-down'],
    ['to anybody, where nobody is ready', {}, 'no other director can take the group now'],
  ])('%s fails, once, with the reason', (_, fields, text) => {
    const directors = directorsOf(D1, D2, D3, directorId('d4'));
    const driver = holder({ directors, groups: [group(G1, { priorities: null })] });
    live(driver.store, D3);
    drain(driver, D3);
    unfit(driver, 'interface-down');
    ask(driver, fields);
    driver.advance(5000);
    expect(told(driver)).toEqual([`failed: ${text}`]);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
  });

  it('is ended by the director that opens the group', () => {
    const driver = holder();
    ask(driver, { from: 'd2', to: 'd1', state: 'running' });
    expect(told(driver)).toEqual([
      `succeeded: d1 holds the group, epoch ${driver.store.read(keys.owner(G1)).modRevision}`,
    ]);
    driver.advance(5000);
    expect(driver.of('operation')).toHaveLength(1);
  });

  it.each([
    ['another than asked for', { from: 'd3', to: 'd2' }, 'd1 holds the group instead of d2'],
    ['the one that gave it', { from: 'd1', to: null }, 'd1 holds the group instead of a successor'],
  ] as const)('fails where the director that opens is %s', (_, fields, text) => {
    const driver = holder();
    ask(driver, { ...fields, state: 'running' });
    expect(told(driver)).toEqual([`failed: ${text}`]);
  });

  it('that is over already is left alone', () => {
    const driver = holder();
    ask(driver, { state: 'succeeded' });
    ask(driver, { state: 'failed' });
    driver.advance(5000);
    expect(told(driver)).toEqual([]);
    expect(driver.txns('give-up', 'transfer')).toEqual([]);
  });

  it('waits for a group that does not speak yet', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    driver.advance(TIMING.holdMs + 100);
    driver.kept = [];
    expect(driver.holding()).toBe('owned');
    ask(driver, { to: 'd2' });
    expect(told(driver)).toEqual([]);
  });
});
