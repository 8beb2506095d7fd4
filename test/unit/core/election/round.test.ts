/** Design 4.3: only the answer of a round, counted from its send, lets what its guard named speak. */
import { describe, expect, it } from 'vitest';
import type { ElectionEffect, ElectionEvent } from '../../../../src/core/election/state.ts';
import { type GroupId, groupId } from '../../../../src/model/ids.ts';
import { formatRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  directorsOf,
  ElectionDriver,
  G1,
  G2,
  group,
  holder,
  isTxn,
  keys,
  live,
  ownerOf,
  TIMING,
  type TxnEffect,
  WAIT_MS,
  fit,
} from './election-driver.ts';

/** A holder whose next round is on its way. */
function inRound(fields: Parameters<typeof holder>[0] = {}) {
  const driver = holder(fields);
  driver.keep = isTxn('round');
  while (driver.kept.length === 0) driver.advance(driver.wakeAt - driver.now);
  const round = driver.takeKept();
  driver.forget();
  return { driver, round, sentAt: driver.now };
}

const armedOf = (
  { round, groups, until }: ElectionEffect & { kind: 'arm' },
  fields: { readonly isOk: boolean; readonly opened?: readonly GroupId[] },
): ElectionEvent => ({
  kind: 'armed',
  round,
  groups: groups.map((one) => one.group),
  opened: [],
  unsettled: [],
  failed: [],
  speaksUntil: until,
  ...fields,
});

const challenge = (driver: ElectionDriver): number =>
  driver.store.write(
    keys.challenge(D1),
    formatRecord({ v: 1, by: 'd2', session: driver.sessionId }),
  );

describe('a round (4.3)', () => {
  it('asks the very same of the store and of the kernel as long as nothing changes', () => {
    const driver = holder({ groups: [group(G1), group(G2)] });
    driver.advance(5000);
    const txns = new Set(driver.txns('round').map(({ txn }) => txn));
    const armed = new Set(driver.of('arm').map(({ groups }) => groups));
    expect(driver.txns('round').length).toBeGreaterThan(3);
    expect([txns.size, armed.size]).toEqual([1, 1]);
    driver.config = { ...driver.config, groups: [group(G1)] };
    driver.advance(5000);
    const last = driver.txns('round').at(-1)?.txn;
    expect(last?.compares.map(({ key }) => key)).toEqual([keys.session(D1), keys.owner(G1)]);
    expect(driver.of('arm').at(-1)?.groups).toEqual([{ group: G1, mode: 'open' }]);
  });

  it('asks for a permit first, and sends only with it', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'permit';
    driver.advance(5000);
    expect(driver.of('permit')).toHaveLength(1);
    expect(driver.of('permit')[0]?.timeoutMs).toBe(TIMING.permitMs);
    expect(driver.txns('round')).toEqual([]);
  });

  it('without a permit rests until its time, and tries again', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'permit';
    driver.advance(TIMING.roundMs);
    const [permit] = driver.of('permit');
    driver.feed({ kind: 'permit-given', round: permit?.round ?? 0, isOk: false });
    driver.advance(TIMING.roundMs);
    expect(driver.of('permit')).toHaveLength(2);
    expect(driver.txns('round')).toEqual([]);
  });

  it('compares my session and every group, deletes my challenge, and reads all when it fails', () => {
    const { driver, round } = inRound({ groups: [group(G1), group(G2)] });
    const owner = (id: GroupId) => ({
      key: keys.owner(id),
      modRevision: driver.store.read(keys.owner(id)).modRevision,
    });
    expect(round.txn).toEqual({
      compares: [{ key: keys.session(D1), modRevision: driver.sessionId }, owner(G1), owner(G2)],
      success: [{ op: 'delete', key: keys.challenge(D1) }],
      failure: [keys.session(D1), keys.challenge(D1), keys.owner(G1), keys.owner(G2)].map(
        (key) => ({ op: 'get', key }),
      ),
    });
    expect(round.deadlineMs).toBe(TIMING.permitMs);
  });

  it('starts every R, and arms until its send plus D', () => {
    const driver = holder();
    const revision = driver.store.revision;
    driver.advance(10 * TIMING.roundMs);
    const rounds = driver.of('arm').length;
    expect(rounds).toBe(10);
    expect(driver.of('arm').at(-1)?.until).toBeLessThanOrEqual(driver.now + TIMING.holdMs);
    // Steady state neither grows the store nor wakes a watch.
    expect(driver.store.revision).toBe(revision);
  });

  it('counts from its send, not from its answer', () => {
    const { driver, round, sentAt } = inRound();
    driver.now += 900;
    driver.reply(round, driver.commit(round), sentAt);
    expect(driver.of('arm').map(({ until }) => until)).toEqual([sentAt + TIMING.holdMs]);
  });

  it.each([
    [TIMING.permitMs, 1],
    [TIMING.permitMs + 1, 0],
  ])('answered after %i ms arms %i times', (ms, times) => {
    const { driver, round, sentAt } = inRound();
    driver.now += ms;
    driver.reply(round, driver.commit(round), sentAt);
    expect(driver.of('arm')).toHaveLength(times);
  });

  it('in doubt arms nothing; the VIPs lapse at the old deadline', () => {
    const { driver, round } = inRound();
    driver.doubt(round);
    const holding = driver.state.holdings.get(G1);
    if (holding?.kind !== 'open') throw new Error(holding?.kind);
    driver.advance(holding.until - driver.now - 1);
    expect(driver.of('arm')).toEqual([]);
    expect(driver.holding()).toBe('open');
    driver.advance(1);
    expect(driver.holding()).toBe('owned');
    expect(driver.notices()).toContain('holder.lapsed');
  });

  it('whose guard fails shuts at once and learns why from its reads', () => {
    const { driver, round, sentAt } = inRound();
    driver.isSeeing = false;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session: 2 })));
    driver.reply(round, driver.commit(round), sentAt);
    expect(driver.of('close').map((one) => one.groups)).toEqual([[G1]]);
    expect(driver.of('arm')).toEqual([]);
    expect(driver.notices()).toEqual(['holder.lost']);
  });

  it('tells when somebody removed the owner record', () => {
    const { driver, round, sentAt } = inRound();
    driver.isSeeing = false;
    driver.store.remove(keys.owner(G1));
    driver.reply(round, driver.commit(round), sentAt);
    expect(driver.notices()).toEqual(['holder.lost', 'owner.missing']);
  });

  it('does not arm a group that was gained after its send', () => {
    const priorities = new Map([[D2, 100]]);
    const { driver, round, sentAt } = inRound({ groups: [group(G1), group(G2, { priorities })] });
    driver.config = { ...driver.config, groups: [group(G1), group(G2)] };
    driver.store.write(
      keys.owner(G2),
      formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
    );
    driver.see();
    const { revision } = driver.store;
    driver.forget();
    driver.reply(round, { kind: 'answered', succeeded: true, revision, reads: [] }, sentAt);
    expect(driver.of('arm').map((one) => one.groups)).toEqual([[{ group: G1, mode: 'open' }]]);
  });

  it('does not arm for a session that was opened after its send', () => {
    const { driver, round, sentAt } = inRound();
    const { session } = driver.state;
    if (session.kind !== 'open') throw new Error(session.kind);
    driver.state = { ...driver.state, session: { ...session, id: (session.id + 1000) as never } };
    driver.reply(
      round,
      { kind: 'answered', succeeded: true, revision: driver.store.revision, reads: [] },
      sentAt,
    );
    expect(driver.of('arm')).toEqual([]);
  });

  it('does not arm what is being given up', () => {
    const { driver, round, sentAt } = inRound({ groups: [group(G1), group(G2)] });
    driver.keep = (effect) => effect.kind === 'close';
    driver.feed(fit([G1, 'interface-down'], [G2, null]));
    driver.settle();
    driver.reply(round, driver.commit(round), sentAt);
    expect(driver.of('arm').map((one) => one.groups)).toEqual([[{ group: G2, mode: 'open' }]]);
    // Its record stays in the guards until the kernel has acknowledged the silence.
    driver.keep = (effect) => effect.kind === 'close' || isTxn('round')(effect);
    driver.advance(TIMING.roundMs);
    const next = driver.kept.find((one) => isTxn('round')(one.effect))?.effect as TxnEffect;
    expect(next.txn.compares.map(({ key }) => key)).toContain(keys.owner(G1));
  });

  it('is not held while the silence of a lost group is not acknowledged', () => {
    const driver = holder({ groups: [group(G1), group(G2)] });
    driver.keep = (effect) => effect.kind === 'close';
    driver.store.write(keys.owner(G1), formatRecord(ownerOf({ director: 'd2', session: 2 })));
    driver.settle();
    driver.forget();
    driver.advance(2000);
    expect(driver.txns('round')).toEqual([]);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(driver.txns('round')).toHaveLength(1);
  });

  it('follows at once when somebody removed an address that speaks here', () => {
    const driver = holder();
    driver.advance(100);
    driver.forget();
    driver.feed({ kind: 'address-lost', group: G1 });
    expect(driver.of('permit')).toHaveLength(1);
  });
});

describe('more than 100 groups (4.3)', () => {
  const many = Array.from({ length: 150 }, (_, i) => groupId(`g${i}`));

  function crowded() {
    const driver = new ElectionDriver({ groups: many.map((id) => group(id)) });
    live(driver.store);
    driver.begin();
    for (const id of many)
      driver.store.write(
        keys.owner(id),
        formatRecord(ownerOf({ director: 'd1', session: driver.sessionId })),
      );
    driver.advance(1000);
    driver.keep = isTxn('round');
    driver.advance(TIMING.roundMs);
    const rounds = driver.kept.map((one) => one.effect).filter(isTxn('round'));
    driver.kept = [];
    driver.forget();
    return { driver, rounds, sentAt: driver.now };
  }

  it('take several txns, each with the session, no more than 100 groups each', () => {
    const { driver, rounds } = crowded();
    expect(rounds.map(({ txn }) => txn.compares.length)).toEqual([101, 51]);
    for (const { txn } of rounds) expect(txn.compares[0]?.key).toBe(keys.session(driver.config.me));
  });

  it('are armed only when all have succeeded, timed from the first send', () => {
    const { driver, rounds, sentAt } = crowded();
    const [a, b] = rounds;
    if (a === undefined || b === undefined) throw new Error('two rounds');
    driver.now += 500;
    driver.reply(b, driver.commit(b), sentAt + 10);
    expect(driver.of('arm')).toEqual([]);
    driver.reply(a, driver.commit(a), sentAt);
    expect(driver.of('arm').map(({ until, groups }) => [until, groups.length])).toEqual([
      [sentAt + TIMING.holdMs, 150],
    ]);
  });

  it('arm nothing when one of them is in doubt', () => {
    const { driver, rounds, sentAt } = crowded();
    const [a, b] = rounds;
    if (a === undefined || b === undefined) throw new Error('two rounds');
    driver.doubt(a);
    driver.reply(b, driver.commit(b), sentAt);
    expect(driver.of('arm')).toEqual([]);
  });
});

describe('opening', () => {
  it('announces once, shows the lease and speaks up at once', () => {
    const driver = new ElectionDriver();
    live(driver.store);
    driver.begin();
    driver.advance(WAIT_MS + 2 * TIMING.roundMs);
    expect(driver.of('announce').map((one) => one.group)).toEqual([G1]);
    expect(driver.of('show-lease')).toEqual([
      { kind: 'show-lease', group: G1, epoch: driver.store.read(keys.owner(G1)).modRevision },
    ]);
    const named = driver.of('heartbeat').filter(({ armed }) => armed.length > 0);
    expect(named[0]?.armed.map((one) => one.group)).toEqual([G1]);
    expect(driver.notices()).toEqual([
      'session.opened',
      'holder.gained',
      'holder.opened',
      'handover.verified',
    ]);
  });

  it('again after an address had gone announces again', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'arm';
    driver.advance(TIMING.roundMs);
    const [arm] = driver.of('arm');
    if (arm === undefined) throw new Error('no arm');
    driver.feed(armedOf(arm, { isOk: true, opened: [G1] }));
    expect(driver.of('announce')).toHaveLength(1);
    expect(driver.notices()).toEqual([]);
  });
});

describe('a holder that cannot arm must not block others (4.3)', () => {
  it('stops answering challenges after three rounds that the kernel refused as a whole', () => {
    const driver = holder();
    driver.keep = (effect) => effect.kind === 'arm';
    for (let i = 0; i < 3; i++) {
      driver.advance(TIMING.roundMs);
      const arm = driver.of('arm').at(-1);
      if (arm === undefined) throw new Error('no arm');
      driver.feed(armedOf(arm, { isOk: false }));
    }
    challenge(driver);
    driver.forget();
    driver.advance(WAIT_MS);
    expect(driver.txns('round').length).toBeGreaterThan(3);
    for (const { txn } of driver.txns('round'))
      expect(txn.compares).toContainEqual({ key: keys.challenge(D1), modRevision: 0 });
    expect(driver.store.read(keys.challenge(D1)).value).not.toBeNull();
    const named = driver.of('heartbeat').filter(({ armed }) => armed.length > 0);
    expect(named.length).toBeLessThanOrEqual(TIMING.holdMs / TIMING.heartbeatMs);
    expect(driver.holding()).toBe('owned');
  });

  it('stops answering when its rounds commit and their answers never come in time', () => {
    const driver = holder();
    driver.isSeeing = false;
    driver.keep = isTxn('round');
    for (let i = 0; i < 3; i++) {
      driver.advance(TIMING.permitMs);
      const round = driver.takeKept();
      driver.commit(round);
      driver.doubt(round);
    }
    challenge(driver);
    driver.advance(TIMING.permitMs);
    const round = driver.takeKept();
    expect(driver.commit(round).succeeded).toBe(false);
    expect(driver.store.read(keys.challenge(D1)).value).not.toBeNull();
  });

  it('answers again, and arms, once an answer came in time', () => {
    const driver = holder();
    driver.keep = isTxn('round');
    for (let i = 0; i < 6; i++) {
      driver.advance(TIMING.permitMs);
      driver.doubt(driver.takeKept());
    }
    expect(driver.holding()).toBe('owned');
    challenge(driver);
    driver.keep = () => false;
    driver.forget();
    driver.advance(2 * TIMING.roundMs);
    expect(driver.txns('round').length).toBeGreaterThanOrEqual(2);
    expect(driver.store.read(keys.challenge(D1)).value).toBeNull();
    expect(driver.holding()).toBe('open');
  });

  it('gives up a group whose addresses the kernel refuses three times, and rests before it claims again', () => {
    const driver = holder({ groups: [group(G1), group(G2)] });
    driver.refusing = new Set([G1]);
    driver.advance(3 * TIMING.roundMs + 10);
    expect(driver.txns('give-up').map(({ purpose }) => purpose)).toMatchObject([
      { group: G1, record: { director: 'd2', reason: 'cannot-bind' } },
    ]);
    expect(driver.holding(G2)).toBe('open');
  });
});

describe('a group whose addresses the kernel refuses, and that no other director could take', () => {
  it('may speak without what is refused, and is given up where that does not help either', () => {
    const driver = new ElectionDriver({
      groups: [group(G1), group(G2)],
      directors: directorsOf(D1),
    });
    driver.refusing = new Set([G1]);
    driver.begin();
    driver.advance(WAIT_MS + 1200 + 6 * TIMING.roundMs);
    const armed = driver
      .of('arm')
      .flatMap(({ groups }) => groups.filter((one) => one.group === G1));
    expect(armed.map(({ isPartial }) => isPartial === true)).toEqual(
      [0, 1, 2, 3, 4, 5].map((n) => n >= 3),
    );
    expect(driver.txns('give-up').map(({ purpose }) => purpose)).toMatchObject([{ group: G1 }]);
    expect(driver.holding(G2)).toBe('open');
  });
});

describe('heartbeats', () => {
  it('name what speaks, with session and epoch, every interval', () => {
    const driver = holder();
    driver.advance(3 * TIMING.heartbeatMs);
    const armed = [{ group: G1, epoch: driver.store.read(keys.owner(G1)).modRevision }];
    expect(driver.of('heartbeat').length).toBeGreaterThanOrEqual(3);
    for (const one of driver.of('heartbeat'))
      expect(one).toMatchObject({ session: driver.sessionId, armed });
  });

  it('that would be due before the next round go with the beginning of this one', () => {
    const driver = holder();
    driver.advance(5 * TIMING.heartbeatMs);
    const kinds = driver.effects.map(({ kind }) => kind);
    const before = kinds.flatMap((kind, i) => (kind === 'heartbeat' ? [kinds[i - 1]] : []));
    expect(before.length).toBeGreaterThanOrEqual(5);
    expect(new Set(before.slice(1))).toEqual(new Set(['permit']));
  });

  it('of who holds nothing name nothing: they only say that it can be heard', () => {
    const driver = new ElectionDriver();
    live(driver.store, D2);
    driver.begin();
    driver.advance(WAIT_MS - 100);
    expect(driver.of('heartbeat').length).toBeGreaterThanOrEqual(5);
    for (const { armed } of driver.of('heartbeat')) expect(armed).toEqual([]);
  });
});

describe('a challenge against me', () => {
  it('is answered by a director that holds nothing, too', () => {
    const driver = new ElectionDriver({ groups: [] });
    driver.begin();
    challenge(driver);
    driver.advance(10);
    expect(driver.txns('round')).toHaveLength(1);
    expect(driver.store.read(keys.challenge(D1)).value).toBeNull();
    driver.forget();
    driver.advance(5000);
    expect(driver.txns('round')).toEqual([]);
  });

  it('against an earlier session is none of mine', () => {
    const driver = new ElectionDriver({ groups: [] });
    driver.begin();
    driver.store.write(keys.challenge(D1), formatRecord({ v: 1, by: 'd2', session: 1 }));
    driver.advance(5000);
    expect(driver.txns('round')).toEqual([]);
  });
});
