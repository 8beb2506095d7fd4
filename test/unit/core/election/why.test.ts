/** Design 4.7 and 6: why a holder gives a group away, to whom, and when it would rather keep it. */
import { describe, expect, it } from 'vitest';
import { STOP_READY_WAIT_MS } from '../../../../src/core/election/timing.ts';
import type { VipGroup } from '../../../../src/model/cluster.ts';
import { formatRecord, type OperationRecord } from '../../../../src/model/records.ts';
import {
  candidate,
  D1,
  D2,
  D3,
  directorsOf,
  type ElectionDriver,
  fit,
  G1,
  group,
  holder,
  isTxn,
  keys,
  live,
  operationOf,
  ownerOf,
  reportOf,
  TIMING,
  WAIT_MS,
} from './election-driver.ts';

type Track = VipGroup['tracks'][number];
const track = (weight: number | null): Track => ({
  id: `link ${weight ?? 'forbids'}`,
  kind: 'interface',
  device: 'eth1',
  weight,
});
const owner = (driver: ElectionDriver): unknown =>
  JSON.parse(driver.store.read(keys.owner(G1)).value ?? 'null');
const moves = (driver: ElectionDriver): string[] =>
  driver.txns('transfer', 'give-up').map(({ purpose }) => purpose.kind);
const sessionRev = (driver: ElectionDriver, name = D2): number =>
  driver.store.read(keys.session(name)).modRevision;
/** What d2 tells of itself. */
const report = (driver: ElectionDriver, fields: Parameters<typeof reportOf>[0]): void => {
  const session = sessionRev(driver);
  driver.store.write(keys.report(D2), formatRecord(reportOf({ session, ...fields })));
  driver.settle();
};
/** What this director finds of itself: fit, and ready or not. */
const local = (driver: ElectionDriver, isReady: boolean, bonus = 0): void => {
  driver.feed({
    kind: 'eligibility',
    groups: new Map([[G1, null]]),
    ready: new Set(isReady ? [G1] : []),
    bonus: new Map([[G1, bonus]]),
  });
  driver.settle();
};
const drain = (driver: ElectionDriver): void => {
  driver.store.write(keys.drain(D1), formatRecord({ v: 1, by: '', reason: '', at: '' }));
  driver.settle();
};
const ask = (driver: ElectionDriver, fields: Partial<OperationRecord> = {}): void => {
  driver.store.write(keys.operation('op'), formatRecord(operationOf(fields)));
  driver.settle();
};
const told = (driver: ElectionDriver): string[] =>
  driver.of('operation').map(({ state, text }) => `${state}: ${text}`);
const NOT_READY = { eligible: ['g1'], ready: [] };

describe('a track without weight that fails', () => {
  const fails = (driver: ElectionDriver): void => {
    driver.feed(fit([G1, 'track-failed']));
    driver.settle();
  };

  it('hands over to who is ready: no packet is lost', () => {
    const driver = holder();
    fails(driver);
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it('hands over also where nobody is ready: silence first would lose more', () => {
    const driver = holder();
    report(driver, NOT_READY);
    fails(driver);
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it('of a group that does not speak shuts at once', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    driver.advance(TIMING.holdMs + 100);
    expect(driver.holding()).toBe('owned');
    driver.kept = [];
    fails(driver);
    expect(moves(driver)).toEqual(['give-up']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it('shuts where nobody can take the group at all', () => {
    const driver = holder();
    report(driver, { eligible: [] });
    fails(driver);
    expect(moves(driver)).toEqual(['give-up']);
    expect(owner(driver)).toMatchObject({ director: null, reason: 'track-failed' });
  });
});

describe('the gateway that is lost here', () => {
  it('gives way to a ready director that has it, where the group has no tracks at all', () => {
    const driver = holder();
    local(driver, true, -253);
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it.each([
    ['has lost it, too', { bonus: { g1: -253 } }],
    ['is not ready', NOT_READY],
    ['cannot hold the group', { eligible: [] }],
  ])('moves nothing where the other one %s', (_, fields) => {
    const driver = holder();
    report(driver, fields);
    local(driver, true, -253);
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
    expect(driver.holding()).toBe('open');
  });
});

describe('a track with a weight that fails', () => {
  const failing = (fields: Partial<VipGroup> = {}): ElectionDriver =>
    holder({ groups: [group(G1, { tracks: [track(100)], ...fields })] });

  it.each(['never', 'immediate'] as const)(
    'gives way to a ready better one, with preempt %s',
    (kind) => {
      const driver = failing({ preempt: { kind } });
      report(driver, { bonus: { g1: 100 } });
      expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
    },
  );

  it('does not wait for the delay of a preemption', () => {
    const driver = failing({ preempt: { kind: 'after', ms: 60_000 } });
    report(driver, { bonus: { g1: 100 } });
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it.each([
    ['is not ready', { ...NOT_READY, bonus: { g1: 100 } }],
    ['is not fit', { eligible: [], bonus: { g1: 100 } }],
    ['is as good', { bonus: { g1: 50 } }],
    ['is worse, failing too', { bonus: {} }],
  ])('keeps the group where the other one %s', (_, fields) => {
    const driver = failing();
    local(driver, true, 0);
    report(driver, fields);
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
    expect(driver.holding()).toBe('open');
  });

  it('keeps the group while it passes, however good the other one is', () => {
    const driver = failing();
    local(driver, true, 100);
    report(driver, { bonus: { g1: 254 } });
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
  });

  it('of negative weight that takes away moves the group too', () => {
    const driver = holder({ groups: [group(G1, { tracks: [track(-100)] })] });
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
    local(driver, true, -100);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it('moves a group without priorities by what the tracks add alone', () => {
    const driver = failing({ priorities: null });
    report(driver, { bonus: { g1: 1 } });
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'track-failed' });
  });

  it('that is a file adds what its number says: nothing is no failure', () => {
    const file: Track = { id: 'f', kind: 'file', path: '/f', initFail: false, weight: 10 };
    const driver = holder({ groups: [group(G1, { tracks: [file] })] });
    report(driver, { bonus: { g1: 200 } });
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
  });
});

describe('a preemption', () => {
  const preempting = { preempt: { kind: 'immediate' } } as const;

  it('counts what the tracks add', () => {
    const driver = holder({ groups: [group(G1, preempting)] });
    report(driver, { bonus: { g1: 50 } });
    driver.advance(1000);
    expect(moves(driver), 'as good is not better').toEqual([]);
    report(driver, { bonus: { g1: 51 } });
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'preempt' });
  });

  it('counts what the tracks add here', () => {
    const driver = holder({ groups: [group(G1, preempting)] });
    local(driver, true, 60);
    report(driver, { bonus: { g1: 100 } });
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
  });

  it('waits for a director that does not know the connections yet, and for no longer', () => {
    const driver = holder({ groups: [group(G1, preempting)] });
    const better = { bonus: { g1: 100 } };
    report(driver, { ...better, eligible: [], ineligible: { g1: 'sync-catching-up' } });
    driver.advance(60_000);
    expect(moves(driver)).toEqual([]);
    report(driver, better);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'preempt' });
  });

  it('is not for a director that is not ready, where this one is', () => {
    const driver = holder({ groups: [group(G1, preempting)] });
    report(driver, { ...NOT_READY, bonus: { g1: 100 } });
    driver.advance(1000);
    expect(moves(driver)).toEqual([]);
    report(driver, { bonus: { g1: 100 } });
    expect(moves(driver)).toEqual(['transfer']);
  });
});

describe('readiness', () => {
  it('of neither is no reason to shut: a drain hands over', () => {
    const driver = holder();
    local(driver, false);
    report(driver, NOT_READY);
    drain(driver);
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'drain' });
  });

  it('of neither is no reason to fail: an operation hands over', () => {
    const driver = holder();
    local(driver, false);
    report(driver, NOT_READY);
    ask(driver, { to: 'd2' });
    expect(moves(driver)).toEqual(['transfer']);
    expect(told(driver)).toEqual(['running: the owner record names d2; d1 still answers']);
  });

  it('here alone keeps a draining holder: it would end traffic', () => {
    const driver = holder();
    report(driver, NOT_READY);
    drain(driver);
    driver.advance(60_000);
    expect(moves(driver)).toEqual([]);
    report(driver, {});
    expect(moves(driver)).toEqual(['transfer']);
  });

  it('here alone makes a stop silence first: nothing is handed over to who would drop it', () => {
    const driver = holder();
    report(driver, NOT_READY);
    driver.feed({ kind: 'stop' });
    driver.advance(STOP_READY_WAIT_MS);
    expect(moves(driver)).toEqual(['give-up']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'shutdown', pending: [] });
  });

  it('here alone is waited for at a stop: who has just been started is ready in a moment', () => {
    const driver = holder();
    report(driver, NOT_READY);
    driver.feed({ kind: 'stop' });
    driver.advance(STOP_READY_WAIT_MS - 100);
    expect(moves(driver)).toEqual([]);
    report(driver, {});
    expect(moves(driver)).toEqual(['transfer']);
  });

  it('is waited for at a stop by who has not heard the other one for a moment', () => {
    const driver = holder();
    driver.audible = [];
    driver.advance(TIMING.suspectMs + 10);
    driver.feed({ kind: 'stop' });
    driver.settle();
    expect(moves(driver)).toEqual([]);
    driver.hear();
    driver.settle();
    expect(moves(driver)).toEqual(['transfer']);
  });

  it('of nobody is waited for at a stop: there is nobody', () => {
    const driver = holder();
    report(driver, { ...NOT_READY, eligible: [], ineligible: { g1: 'interface-down' } });
    driver.feed({ kind: 'stop' });
    driver.settle();
    expect(driver.holding()).not.toBe('open');
  });

  it('is preferred to a better rank', () => {
    const priorities = new Map([
      [D1, 200],
      [D2, 150],
      [D3, 100],
    ]);
    const directors = directorsOf(D1, D2, D3);
    const driver = holder({ directors, groups: [group(G1, { priorities })] });
    live(driver.store, D3);
    report(driver, NOT_READY);
    drain(driver);
    expect(owner(driver)).toMatchObject({ director: 'd3', reason: 'drain' });
  });

  it('is preferred to a better rank also where this one is not ready either, for a failing track', () => {
    const priorities = new Map([
      [D1, 200],
      [D2, 150],
      [D3, 100],
    ]);
    const directors = directorsOf(D1, D2, D3);
    const driver = holder({ directors, groups: [group(G1, { priorities })] });
    live(driver.store, D3);
    report(driver, NOT_READY);
    driver.feed(fit([G1, 'track-failed']));
    driver.settle();
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd3', reason: 'track-failed' });
  });

  it.each([
    ['named', { to: 'd2' }, 'd2 did not become ready for the group'],
    ['left open', {}, 'no other director can take the group now'],
  ])('is waited for by an operation whose target is %s, ten seconds at most', (_, fields, text) => {
    const driver = holder();
    report(driver, NOT_READY);
    // Apart from rounds and heartbeats.
    driver.advance(137);
    ask(driver, fields);
    driver.advance(9999);
    expect(driver.wakeAt, 'looked at without any event').toBe(driver.now + 1);
    expect(told(driver)).toEqual([]);
    driver.advance(1);
    expect(told(driver)).toEqual([`failed: ${text}`]);
    driver.advance(20_000);
    expect(told(driver)).toHaveLength(1);
    expect(moves(driver)).toEqual([]);
  });

  it.each([
    ['named', { to: 'd2' }],
    ['left open', {}],
  ])('that comes in time is used by an operation whose target is %s', (_, fields) => {
    const driver = holder();
    report(driver, NOT_READY);
    ask(driver, fields);
    driver.advance(9000);
    report(driver, {});
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'switchover' });
  });
});

describe('an operation that brought the group here', () => {
  /** d2 held, and wrote the record over to d1; its word of the operation is on its way. */
  function brought(fields: Partial<OperationRecord>, isEarlier = true): ElectionDriver {
    const driver = candidate();
    if (isEarlier) ask(driver, fields);
    const record = ownerOf({ director: 'd1', session: driver.sessionId, reason: 'switchover' });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.settle();
    if (!isEarlier) ask(driver, fields);
    return driver;
  }

  it.each([{ to: 'd1' }, { to: null }])(
    '%o is not answered again, and ended when no word comes',
    (fields) => {
      const driver = brought(fields);
      expect(driver.holding()).toBe('open');
      driver.advance(1999);
      expect(told(driver)).toEqual([]);
      for (let i = 0; i < 5; i++) driver.advance(1000);
      expect(told(driver)).toEqual([`succeeded: d1 holds the group, epoch ${driver.epochOf()}`]);
      expect(moves(driver)).toEqual([]);
    },
  );

  it('as a rebalance is treated alike', () => {
    const driver = brought({ kind: 'rebalance', from: 'd2', to: 'd1' });
    const record = ownerOf({ director: 'd1', session: driver.sessionId, reason: 'rebalance' });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.settle();
    driver.advance(3000);
    expect(told(driver)).toEqual([`succeeded: d1 holds the group, epoch ${driver.epochOf()}`]);
  });

  it('is not one that was asked for later', () => {
    const driver = brought({ to: 'd1' }, false);
    expect(told(driver)).toEqual(['failed: d1 holds the group already']);
  });

  it('is not one that asks for another', () => {
    const driver = brought({ to: 'd2' });
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2' });
  });
});

it('an operation that was removed is forgotten, with what was told of it', () => {
  const driver = holder();
  ask(driver, { to: 'd9' });
  expect(told(driver)).toEqual(['failed: d9 is no candidate for the group']);
  expect([...driver.state.alarms]).toContain('operation:op');
  driver.store.remove(keys.operation('op'));
  driver.settle();
  driver.feed({ kind: 'tick' });
  expect([...driver.state.alarms]).toEqual([]);
  expect(told(driver)).toHaveLength(1);
});

describe('a group that the kernel lets nobody arm', () => {
  it('is given up after D′, and not claimed again for a while', () => {
    const driver = candidate();
    driver.keep = (effect) => effect.kind === 'arm';
    const record = ownerOf({ director: null, session: 0 });
    driver.store.write(keys.owner(G1), formatRecord(record));
    driver.store.remove(keys.report(D2));
    driver.settle();
    expect(driver.holding()).toBe('owned');
    const since = driver.now;
    const failArms = (): void => {
      for (const { effect } of driver.kept.splice(0)) {
        if (effect.kind !== 'arm') continue;
        const groups = effect.groups.map((one) => one.group);
        const nothing = { opened: [], unsettled: [], failed: [], speaksUntil: effect.until };
        driver.feed({ kind: 'armed', round: effect.round, isOk: false, groups, ...nothing });
        driver.settle();
      }
    };
    while (driver.now < since + WAIT_MS - 10) {
      failArms();
      driver.advance(10);
    }
    expect(moves(driver)).toEqual([]);
    for (let i = 0; i < 100; i++) {
      failArms();
      driver.advance(10);
    }
    expect(moves(driver)).toEqual(['give-up']);
    expect(owner(driver)).toMatchObject({ director: null, reason: 'cannot-arm' });
    driver.forget();
    driver.keep = () => false;
    driver.advance(28_000);
    expect(driver.txns('claim')).toEqual([]);
    driver.advance(2000);
    expect(driver.holding()).toBe('open');
  });
});

it('a group that leaves this director goes silent where nobody is ready', () => {
  const driver = holder();
  report(driver, NOT_READY);
  driver.config = { ...driver.config, groups: [group(G1, { priorities: new Map([[D2, 1]]) })] };
  driver.feed({ kind: 'tick' });
  driver.settle();
  expect(moves(driver)).toEqual(['give-up']);
  expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'group-removed' });
});

describe('a rebalance', () => {
  it('moves the group as asked, and says why', () => {
    const driver = holder({ groups: [group(G1, { priorities: null })] });
    ask(driver, { kind: 'rebalance', from: 'd1', to: 'd2' });
    expect(moves(driver)).toEqual(['transfer']);
    expect(owner(driver)).toMatchObject({ director: 'd2', reason: 'rebalance' });
  });

  it('that was planned for another holder fails: the plan is out of date', () => {
    const driver = holder({ groups: [group(G1, { priorities: null })] });
    ask(driver, { kind: 'rebalance', from: 'd3', to: 'd2' });
    driver.advance(1000);
    expect(told(driver)).toEqual(['failed: d1 holds the group, not d3']);
    expect(moves(driver)).toEqual([]);
  });
});

describe('a router of VRRP that goes before the holder', () => {
  it('silences it first, and frees the record for nobody in particular', () => {
    const driver = holder();
    live(driver.store);
    driver.settle();
    driver.effects = [];
    driver.feed(fit([G1, 'vrrp-active-elsewhere']));
    driver.settle();
    const kinds = driver.effects.map(({ kind }) => kind);
    expect(kinds).toContain('close');
    expect(moves(driver)).toEqual(['give-up']);
    expect(owner(driver)).toMatchObject({ director: null, reason: 'vrrp-yielded' });
    expect(kinds.indexOf('close')).toBeLessThan(driver.effects.findIndex(isTxn('give-up')));
  });

  it('is listened for before what the record gives is opened', () => {
    const driver = holder();
    driver.feed(fit([G1, 'vrrp-active-elsewhere']));
    driver.settle();
    driver.effects = [];
    driver.feed(fit([G1, 'vrrp-listening']));
    const session = driver.store.read(keys.session(D1)).modRevision;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: D1, session })));
    driver.advance(1000);
    const modes = driver.effects.flatMap((effect) =>
      effect.kind === 'arm' ? effect.groups.map(({ mode }) => mode) : [],
    );
    expect(new Set(modes)).toEqual(new Set(['prepared']));
    expect(driver.state.holdings.get(G1)?.kind).toBe('owned');
    driver.feed(fit([G1, null]));
    driver.advance(100);
    expect(driver.state.holdings.get(G1)?.kind).toBe('open');
  });
});
