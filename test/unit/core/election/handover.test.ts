/** Design 4.12: transfer, mute, open, verify, leave; one owner by the record, one voice, nothing lost. */
import { describe, expect, it } from 'vitest';
import { epochOf, monoMs, type SessionId, sessionIdOf } from '../../../../src/model/ids.ts';
import { formatRecord, type OwnerRecord } from '../../../../src/model/records.ts';
import {
  D1,
  D2,
  D3,
  directorsOf,
  ElectionDriver,
  fit,
  G1,
  group,
  holder,
  isTxn,
  keys,
  live,
  operationOf,
  ownerOf,
  sessionOf,
  TIMING,
} from './election-driver.ts';

const owner = (driver: ElectionDriver): OwnerRecord =>
  JSON.parse(driver.store.read(keys.owner(G1)).value ?? 'null');
const modes = (driver: ElectionDriver): string[] =>
  driver.of('arm').flatMap((arm) => arm.groups.map(({ mode }) => mode));
const told = (driver: ElectionDriver): string[] =>
  driver.of('tell').map(({ to, message }) => `${message.kind} to ${to}`);
const sessionRev = (driver: ElectionDriver, name = D2): SessionId =>
  sessionIdOf(driver.store.read(keys.session(name)).modRevision);

/** d1 holds and was asked to give the group to d2, which lives and is ready. */
function leaving(): ElectionDriver {
  const driver = holder();
  driver.gateway = 'none';
  driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
  driver.settle();
  return driver;
}

/** d2 gave the group to d1, and may still answer for it. */
function succeeding(): ElectionDriver {
  const driver = new ElectionDriver();
  const session = live(driver.store);
  driver.begin();
  const epoch = driver.store.write(keys.owner(G1), formatRecord(ownerOf({ session })));
  const pending = [{ director: 'd2', session, epoch }];
  const mine = { director: 'd1', session: driver.sessionId, pending };
  driver.store.write(keys.owner(G1), formatRecord(ownerOf({ ...mine, reason: 'switchover' })));
  driver.forget();
  driver.settle();
  return driver;
}
const formerEpoch = (driver: ElectionDriver) =>
  epochOf((owner(driver).pending[0]?.epoch ?? 0) as never);

describe('the former holder', () => {
  it('hands over once for an operation, though the group comes back before its record tells so', () => {
    const driver = holder();
    driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    driver.settle();
    expect(driver.holding()).toBe('leaving');
    const mine = { director: 'd1', session: driver.sessionId, reason: 'failback' } as const;
    driver.store.write(keys.owner(G1), formatRecord(ownerOf(mine)));
    driver.settle();
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('open');
    expect(driver.txns('transfer')).toHaveLength(1);
  });

  it('writes the record over, guarded by both sessions and its own record, and names itself pending', () => {
    const driver = holder();
    const epoch = driver.epochOf();
    driver.keep = isTxn('transfer');
    driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    driver.settle();
    const { txn } = driver.takeKept();
    expect(txn.compares).toEqual([
      { key: keys.session(D1), modRevision: driver.sessionId },
      { key: keys.session(D2), modRevision: sessionRev(driver) },
      { key: keys.owner(G1), modRevision: epoch },
    ]);
    const [put] = txn.success;
    expect(put?.op === 'put' && JSON.parse(put.value)).toMatchObject({
      director: 'd2',
      session: sessionRev(driver),
      pending: [{ director: 'd1', session: driver.sessionId, epoch }],
    });
  });

  it('answers on until the successor is prepared, then goes mute and forwards on', () => {
    const driver = leaving();
    expect(driver.of('mute')).toEqual([]);
    driver.forget();
    driver.word('prepared', D2, driver.epochOf());
    expect(driver.of('mute')).toEqual([{ kind: 'mute', groups: [G1] }]);
    expect(told(driver)).toContain('muted to d2');
    driver.advance(TIMING.roundMs);
    expect(new Set(modes(driver))).toEqual(new Set(['muted']));
    expect(driver.of('close')).toEqual([]);
  });

  it('goes mute without that word after a while: the successor may have been heard by nobody', () => {
    const driver = leaving();
    driver.advance(299);
    expect(driver.of('mute')).toEqual([]);
    driver.advance(1);
    expect(driver.of('mute')).toHaveLength(1);
  });

  it('takes its entry out of the record only when the kernel has made it mute', () => {
    const driver = leaving();
    driver.keep = (effect) => effect.kind === 'mute';
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(2000);
    expect(owner(driver).pending).toHaveLength(1);
    expect(told(driver)).toEqual([]);
    driver.feed({ kind: 'muted', groups: [G1], isOk: true });
    driver.settle();
    expect(owner(driver)).toMatchObject({ director: 'd2', pending: [] });
  });

  it('closes where the kernel cannot mute, and takes its entry out after that', () => {
    const driver = leaving();
    driver.keep = (effect) => effect.kind === 'mute' || effect.kind === 'close';
    driver.word('prepared', D2, driver.epochOf());
    driver.feed({ kind: 'muted', groups: [G1], isOk: false });
    driver.settle();
    expect(driver.of('close')).toHaveLength(1);
    expect(owner(driver).pending).toHaveLength(1);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(owner(driver).pending).toEqual([]);
    expect(driver.holding()).toBe('none');
  });

  it('leaves a moment after the successor has verified', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    driver.word('verified', D2, driver.epochOf());
    driver.advance(99);
    expect(driver.of('close')).toEqual([]);
    driver.advance(1);
    expect(driver.of('close')).toHaveLength(1);
    expect(driver.notices()).toContain('handover.completed');
  });

  it('leaves one second after the successor was heard to speak, without its proof', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(10);
    driver.hear(D2, [G1]);
    driver.advance(999);
    driver.hear(D2, [G1]);
    expect(driver.of('close')).toEqual([]);
    driver.advance(1);
    expect(driver.of('close')).toHaveLength(1);
  });

  it('leaves after three seconds without any word', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(2999);
    expect(driver.of('close')).toEqual([]);
    driver.advance(1);
    expect(driver.of('close')).toHaveLength(1);
  });

  it('takes no word of anybody but the successor, nor of another life of it', () => {
    const driver = leaving();
    const session = sessionIdOf((sessionRev(driver) - 1) as never);
    const message = { kind: 'prepared' as const, session, group: G1, epoch: driver.epochOf() };
    driver.feed({ kind: 'peer', from: D2, message });
    driver.feed({ kind: 'peer', from: D3, message: { ...message, session: sessionRev(driver) } });
    driver.settle();
    expect(driver.of('mute')).toEqual([]);
  });

  it('takes no word of the successor about an earlier handover of the group to it', () => {
    const driver = leaving();
    const earlier = epochOf((driver.epochOf() - 1) as never);
    driver.word('prepared', D2, earlier);
    expect(driver.of('mute')).toEqual([]);
    driver.word('prepared', D2, driver.epochOf());
    expect(driver.of('mute')).toHaveLength(1);
    driver.word('verified', D2, earlier);
    driver.advance(200);
    expect(driver.of('close')).toEqual([]);
    driver.word('verified', D2, driver.epochOf());
    driver.advance(100);
    expect(driver.of('close')).toHaveLength(1);
  });

  it('learns from the record what became of a transfer in doubt', () => {
    const driver = holder();
    driver.keep = isTxn('transfer');
    driver.store.write(keys.operation('op'), formatRecord(operationOf({ to: 'd2' })));
    driver.settle();
    const effect = driver.takeKept();
    driver.doubt(effect);
    driver.settle();
    expect(driver.holding()).toBe('open');
    driver.commit(effect);
    driver.advance(TIMING.roundMs);
    expect(driver.holding()).toBe('leaving');
  });

  it('takes it again, as any other would, where its successor gave it to nobody meanwhile', () => {
    const driver = holder();
    const epoch = driver.epochOf();
    const pending = [{ director: 'd1', session: driver.sessionId, epoch }];
    driver.keep = (effect) => effect.kind === 'close';
    driver.forget();
    const nobodys = { director: null, session: 0, pending, reason: 'interface-down' };
    driver.store.write(keys.owner(G1), formatRecord(ownerOf(nobodys)));
    driver.settle();
    expect(driver.of('close')).toHaveLength(1);
    expect(driver.notices()).toContain('holder.released');
    expect(owner(driver).pending).toHaveLength(1);
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.advance(TIMING.roundMs);
    expect(owner(driver)).toMatchObject({ director: 'd1', pending: [] });
    expect(driver.holding()).toBe('open');
  });

  it('gets the group back when the successor dies, and speaks again', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    const broken = sessionOf({ state: 'broken', id: sessionRev(driver) });
    driver.store.write(keys.session(D2), formatRecord(broken));
    driver.forget();
    driver.advance(TIMING.roundMs);
    expect(owner(driver)).toMatchObject({ director: 'd1', pending: [], reason: 'failback' });
    expect(driver.holding()).toBe('open');
    expect(modes(driver).at(-1)).toBe('open');
    expect(driver.of('announce')).toHaveLength(1);
  });

  it('says again and again that it is mute, until its entry has left the record', () => {
    const driver = leaving();
    driver.keep = isTxn('resolve-pending');
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(2 * TIMING.heartbeatMs);
    expect(told(driver)).toEqual(['muted to d2', 'muted to d2', 'muted to d2']);
  });

  it('says so once where its entry leaves the record at once', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(2 * TIMING.heartbeatMs);
    expect(told(driver)).toEqual(['muted to d2']);
    expect(driver.holding()).toBe('leaving');
  });

  it('does not stay longer because the kernel says twice that it is mute', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    driver.advance(2000);
    driver.feed({ kind: 'muted', groups: [G1], isOk: true });
    driver.advance(999);
    expect(driver.of('close')).toEqual([]);
    expect(driver.notices().filter((one) => one === 'handover.muted')).toHaveLength(1);
    driver.advance(1);
    expect(driver.of('close')).toHaveLength(1);
  });

  it('closes at once where a record without its entry takes it out of the handover', () => {
    const driver = leaving();
    const pending = owner(driver).pending.map((entry) => ({ ...entry, director: 'd3' }));
    driver.store.write(keys.owner(G1), formatRecord({ ...owner(driver), pending }));
    driver.settle();
    expect(driver.of('close')).toHaveLength(1);
    expect(driver.notices()).toContain('holder.lost');
  });

  it('that gets the group back tells that the operation has failed', () => {
    const driver = leaving();
    driver.word('prepared', D2, driver.epochOf());
    const running = operationOf({ from: 'd1', state: 'running' });
    driver.store.write(keys.operation('op'), formatRecord(running));
    const broken = sessionOf({ state: 'broken', id: sessionRev(driver) });
    driver.store.write(keys.session(D2), formatRecord(broken));
    driver.advance(TIMING.roundMs);
    expect(driver.of('operation').at(-1)).toMatchObject({
      state: 'failed',
      text: 'd1 holds the group instead of a successor',
    });
  });

  it('closes at once where its session is lost on the way', () => {
    const driver = leaving();
    driver.store.write(
      keys.session(D1),
      formatRecord(sessionOf({ state: 'broken', id: driver.sessionId })),
    );
    driver.settle();
    expect(driver.of('close')).toHaveLength(1);
  });
});

describe('the successor', () => {
  it('prepares the group, says so, and stays silent while the former holder may answer', () => {
    const driver = succeeding();
    driver.audible = [D2];
    for (let i = 0; i < 5; i++) driver.advance(TIMING.roundMs);
    expect(new Set(modes(driver))).toEqual(new Set(['prepared']));
    expect(told(driver)).toContain('prepared to d2');
    expect(driver.of('open')).toEqual([]);
    expect(driver.holding()).toBe('owned');
  });

  it('opens at the word of the former holder, by one kernel operation', () => {
    const driver = succeeding();
    driver.forget();
    driver.word('muted', D2, formerEpoch(driver));
    expect(driver.of('open')).toHaveLength(1);
    expect(driver.txns('round')).toEqual([]);
    expect(driver.holding()).toBe('open');
    expect(driver.of('announce')).toHaveLength(1);
  });

  it('takes no word about another holding of it', () => {
    const driver = succeeding();
    driver.word('muted', D2, epochOf((formerEpoch(driver) - 1) as never));
    driver.word('muted', D3, formerEpoch(driver));
    expect(driver.holding()).toBe('owned');
  });

  it('opens when the entry left the record: the word may be lost', () => {
    const driver = succeeding();
    driver.store.write(keys.owner(G1), formatRecord({ ...owner(driver), pending: [] }));
    driver.settle();
    expect(driver.holding()).toBe('open');
  });

  it('opens when the former holder is dead by record', () => {
    const driver = succeeding();
    const state = { state: 'broken' as const, id: sessionRev(driver) };
    driver.store.write(keys.session(D2), formatRecord(sessionOf(state)));
    driver.settle();
    expect(driver.holding()).toBe('open');
  });

  it('suspects a former holder that says nothing, and kills it after D′', () => {
    const driver = succeeding();
    // It is heard all the time, and may never have learnt that it is to go mute.
    driver.audible = [D2];
    for (let i = 0; i < 10; i++) driver.advance(TIMING.heartbeatMs);
    expect(driver.notices()).toContain('holder.killed');
    expect(driver.holding()).toBe('open');
  });

  it('that the kernel did not open is opened by the next round', () => {
    const driver = succeeding();
    driver.keep = (effect) => effect.kind === 'open';
    driver.word('muted', D2, formerEpoch(driver));
    const speaksUntil = monoMs(driver.now);
    driver.feed({ kind: 'opened', groups: [G1], isOk: false, failed: [G1], speaksUntil });
    expect(driver.holding()).toBe('owned');
    expect(driver.of('open'), 'not asked again and again').toHaveLength(1);
    driver.keep = () => false;
    driver.forget();
    driver.advance(TIMING.roundMs);
    expect(modes(driver)).toContain('open');
    expect(driver.holding()).toBe('open');
  });

  /** The kernel has answered the arming, and something of the group is not ready. */
  const answered = (what: 'unsettled' | 'withheld'): ElectionDriver => {
    const driver = succeeding();
    driver.keep = (effect) => effect.kind === 'arm';
    driver.advance(TIMING.roundMs);
    const [arm] = driver.of('arm').slice(-1);
    if (arm === undefined) throw new Error('no arm');
    driver.forget();
    const { round, until: speaksUntil } = arm;
    const nothing = { opened: [], unsettled: [], failed: [], speaksUntil };
    const told = { ...nothing, groups: [G1], [what]: [G1] };
    driver.feed({ kind: 'armed', round, isOk: true, ...told });
    driver.keep = () => false;
    return driver;
  };

  it('whose addresses are not in force yet says nothing, and looks again soon', () => {
    const driver = answered('unsettled');
    driver.settle();
    expect(told(driver)).toEqual([]);
    driver.advance(25);
    expect(told(driver)).toEqual(['prepared to d2']);
  });

  it('whose addresses may all be another group’s yet says nothing, and looks again in its rhythm', () => {
    const driver = answered('withheld');
    driver.advance(TIMING.roundMs / 2);
    expect(driver.of('arm')).toEqual([]);
    expect(told(driver)).toEqual([]);
    driver.advance(TIMING.roundMs / 2);
    expect(told(driver)).toEqual(['prepared to d2']);
  });

  it('does not open what it prepared too long ago', () => {
    const driver = succeeding();
    driver.keep = isTxn('round');
    driver.advance(TIMING.holdMs + 1);
    driver.kept = [];
    driver.forget();
    driver.word('muted', D2, formerEpoch(driver));
    expect(driver.of('open')).toEqual([]);
  });

  it('tells the former holder when the gateway has answered', () => {
    const driver = succeeding();
    driver.forget();
    driver.word('muted', D2, formerEpoch(driver));
    expect(driver.of('verify')).toHaveLength(1);
    expect(told(driver)).toEqual(['verified to d2']);
  });

  it('says nothing, and does not warn, where there is no gateway to ask', () => {
    const driver = succeeding();
    driver.gateway = 'none';
    driver.forget();
    driver.word('muted', D2, formerEpoch(driver));
    const [verify] = driver.of('verify');
    if (verify === undefined) throw new Error('no question');
    driver.feed({ ...verify, kind: 'verified', isOk: null });
    driver.settle();
    expect(told(driver)).toEqual([]);
    expect(driver.notices().filter((one) => one.startsWith('handover.'))).toEqual([]);
  });

  it('forgets words that no record asks for, and keeps those that one does', () => {
    const driver = succeeding();
    driver.keep = (effect) => effect.kind === 'open';
    driver.word('muted', D2, formerEpoch(driver));
    for (let i = 0; i < 2000; i++) driver.word('muted', D2, epochOf((100_000 + i) as never));
    expect(driver.state.muted.size).toBeLessThanOrEqual(1001);
    driver.feed({ kind: 'muted', groups: [], isOk: true });
    expect([...driver.state.muted].join()).toContain(` ${formerEpoch(driver)}`);
  });

  it('says nothing, and warns, when the gateway is silent', () => {
    const driver = succeeding();
    driver.gateway = 'silent';
    driver.forget();
    driver.word('muted', D2, formerEpoch(driver));
    expect(told(driver)).toEqual([]);
    expect(driver.notices()).toContain('handover.unverified');
  });

  it('leaves no entry of the former holder when it gives the group back to that one', () => {
    const driver = succeeding();
    driver.keep = (effect) => effect.kind === 'close';
    driver.feed(fit([G1, 'interface-down']));
    driver.settle();
    driver.feed({ kind: 'closed', groups: [G1], isOk: true });
    driver.settle();
    expect(owner(driver)).toMatchObject({ director: 'd2', pending: [] });
  });
});

it('a kill carries pending entries on: a third director waits for the former holder too', () => {
  const driver = new ElectionDriver({ directors: directorsOf(D1, D2, D3), groups: [group(G1)] });
  const former = live(driver.store, D3);
  const session = live(driver.store, D2);
  const pending = [{ director: 'd3', session: former, epoch: 1 }];
  driver.store.write(keys.owner(G1), formatRecord(ownerOf({ session, pending })));
  driver.audible = [D3];
  driver.begin();
  for (let i = 0; i < 12; i++) driver.advance(TIMING.heartbeatMs);
  expect(owner(driver)).toMatchObject({ director: 'd1', pending });
  expect(driver.holding()).toBe('owned');
});
