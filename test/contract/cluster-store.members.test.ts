/** Three etcd members of which one is stopped, killed or cut off, the raft leader too. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { createEtcdStore } from '../../src/adapters/etcd/etcd-store.ts';
import { ABSENT } from '../../src/model/ids.ts';
import type { ClusterStore, TxnAnswer } from '../../src/ports/cluster-store.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type Etcd, type EtcdMember, startEtcd } from '../support/etcd.ts';
import { RunningClock } from '../support/running-clock.ts';
import { TcpGate } from '../support/tcp-gate.ts';
import {
  answered,
  CALL,
  get,
  put,
  SILENCE_NOTICED_MS,
  WatchLog,
  write,
} from './cluster-store.contract.ts';

const clock = createSystemClock();
const ports = { clock, log: silentLog, random: createSystemRandom() };
const DEADLINE_MS = 500;
/** A few elections on a busy machine; a store that waits for the library's keepalive takes longer. */
const BACK_MS = 10_000;

describe('cluster store: etcd, three members', () => {
  let etcd: Etcd;
  let running: RunningClock;
  let tests = 0;

  beforeAll(async () => {
    running = await RunningClock.start();
    etcd = await startEtcd({ members: 3 });
  });
  afterAll(async () => {
    await etcd.close();
    await running.stop();
  });

  const memberAt = (index: number): EtcdMember => {
    const member = etcd.members[index];
    if (member === undefined) throw new Error(`no member ${index}`);
    return member;
  };
  /** A store whose first endpoint is the given member. */
  const connect = (first: number): ClusterStore =>
    createEtcdStore({ endpoints: [0, 1, 2].map((i) => memberAt((first + i) % 3).endpoint) }, ports);
  const attempt = (
    store: ClusterStore,
    key: string,
    deadlineMs: number = DEADLINE_MS,
  ): Promise<TxnAnswer> =>
    store.txn(
      { compares: [], success: [put(key, String(clock.now()))], failure: [] },
      { deadlineMs },
    );
  /** Writes until one is answered; how many failed and for how long, pauses of the machine not counted. */
  const outage = async (
    store: ClusterStore,
    key: string,
    deadlineOf: (failures: number) => number = () => DEADLINE_MS,
  ): Promise<{ failures: TxnAnswer[]; ms: number }> => {
    const start = running.now();
    const failures: TxnAnswer[] = [];
    while (running.now() - start < 20_000) {
      const answer = await attempt(store, key, deadlineOf(failures.length));
      if (answer.kind === 'answered') return { failures, ms: running.now() - start };
      failures.push(answer);
      await clock.sleep(20);
    }
    throw new Error(`no answer for 20 s: ${JSON.stringify(failures.at(-1))}`);
  };
  const follower = async (): Promise<number> => ((await etcd.leader()) + 1) % 3;
  /** On a busy machine it may have become the leader since: then it gives that up before it ends. */
  const asFollower = async (index: number): Promise<EtcdMember> => {
    if ((await etcd.leader()) === index) await etcd.lead((index + 1) % 3);
    return memberAt(index);
  };
  const fresh = (): string => `/members/${++tests}/`;

  it('pays one deadline for a stopped member, then stays with the next', async () => {
    const prefix = fresh();
    const index = await follower();
    const store = connect(index);
    await write(store, put(`${prefix}a`, '1'));
    (await asFollower(index)).stop();
    try {
      // The stopped member answers nobody; the next one has the time that a busy machine takes.
      const deadlineOf = (failed: number): number => (failed === 0 ? DEADLINE_MS : CALL.deadlineMs);
      const { failures } = await outage(store, `${prefix}b`, deadlineOf);
      expect(failures).toMatchObject([{ kind: 'ambiguous', error: { code: 'deadline' } }]);
      for (let i = 0; i < 5; i++)
        expect((await attempt(store, `${prefix}c`, CALL.deadlineMs)).kind).toBe('answered');
      // Reads share their deadline out, so one stopped member does not fail them.
      const other = connect(index);
      expect(await other.get(`${prefix}a`, CALL)).toMatchObject({
        value: { value: '1' },
      });
      other.close();
    } finally {
      memberAt(index).cont();
      store.close();
    }
  });

  it('leaves a transaction at a stopped member in doubt; a later write txn reads it back', async () => {
    const key = `${fresh()}a`;
    const index = await follower();
    const store = connect(index);
    await write(store, put(`${key}-warm`, ''));
    (await asFollower(index)).stop();
    const doubtful = await store.txn(
      { compares: [{ key, modRevision: ABSENT }], success: [put(key, 'mine')], failure: [] },
      { deadlineMs: DEADLINE_MS },
    );
    expect(doubtful.kind).toBe('ambiguous');
    const settled = answered(
      await store.txn(
        {
          compares: [{ key, modRevision: ABSENT }],
          success: [put(key, 'other')],
          failure: [get(key)],
        },
        CALL,
      ),
    );
    expect(settled.succeeded).toBe(true);
    // The member hands its old request on after all; its guard no longer holds.
    memberAt(index).cont();
    await etcd.healthy(index);
    await clock.sleep(200);
    expect(await store.get(key, CALL)).toMatchObject({ value: { value: 'other' } });
    store.close();
  });

  it('moves its watch away from a stopped member and loses nothing', async () => {
    const prefix = fresh();
    const index = await follower();
    const store = connect(index);
    const log = new WatchLog(store, prefix);
    await log.until(() => log.of('snapshot').length === 1);
    await write(store, put(`${prefix}a`, '1'));
    await log.until(() => log.changes().length === 1);
    const member = await asFollower(index);
    const stoppedAt = clock.now();
    member.stop();
    try {
      await attempt(store, `${prefix}lost`);
      await write(store, put(`${prefix}b`, '2'));
      await log.until(() => log.changes().includes(`${prefix}b=2`));
      expect(clock.now() - stoppedAt).toBeLessThan(SILENCE_NOTICED_MS);
      expect(log.of('snapshot')).toHaveLength(1);
      expect(log.of('interrupted')).toHaveLength(1);
    } finally {
      memberAt(index).cont();
      await log.stop();
      store.close();
    }
  });

  it('moves its watch away from a member that lost its peers', async () => {
    const prefix = fresh();
    const leader = await etcd.leader();
    const [isolated, a, b] = [leader, (leader + 1) % 3, (leader + 2) % 3];
    const store = connect(isolated);
    const log = new WatchLog(store, prefix);
    await log.until(() => log.of('snapshot').length === 1);
    // Both peers pause: the member is up but has no quorum, and must end the stream.
    memberAt(a).stop();
    memberAt(b).stop();
    try {
      await log.until(() => log.of('interrupted').length >= 1, SILENCE_NOTICED_MS);
    } finally {
      memberAt(a).cont();
      memberAt(b).cont();
    }
    const { ms } = await outage(store, `${prefix}a`);
    expect(ms).toBeLessThan(BACK_MS);
    await log.until(() => log.changes().length >= 1);
    await log.stop();
    store.close();
  });

  it('goes on at once when a member that is not the raft leader is killed', async () => {
    const prefix = fresh();
    const index = await follower();
    const store = connect(index);
    const log = new WatchLog(store, prefix);
    await log.until(() => log.of('snapshot').length === 1);
    await (await asFollower(index)).kill();
    const { failures } = await outage(store, `${prefix}a`, () => CALL.deadlineMs);
    // A refused connection says so at once: nothing was waited for.
    const codes = failures.map((each) => (each.kind === 'answered' ? null : each.error.code));
    expect(codes).not.toContain('deadline');
    await log.until(() => log.changes().length >= 1, SILENCE_NOTICED_MS);
    await log.stop();
    store.close();
    memberAt(index).restart();
    await etcd.healthy(index);
  });

  it('is back after an election when the raft leader is killed', async () => {
    const prefix = fresh();
    const index = await etcd.leader();
    const store = connect(index);
    const granted = await store.grantLease(60, CALL);
    if (!granted.ok) throw new Error(granted.error.message);
    await write(store, {
      op: 'put',
      key: `${prefix}leased`,
      value: '',
      lease: granted.value.lease,
    });
    const log = new WatchLog(store, prefix);
    await log.until(() => log.of('snapshot').length === 1);
    await memberAt(index).kill();
    const { ms } = await outage(store, `${prefix}a`);
    expect(ms).toBeLessThan(BACK_MS);
    await log.until(() => log.changes().length >= 1);
    expect(log.of('snapshot')).toHaveLength(1);
    expect((await store.keepLeaseAlive(granted.value.lease, CALL)).ok).toBe(true);
    await store.revokeLease(granted.value.lease, CALL);
    await log.stop();
    store.close();
    memberAt(index).restart();
    await etcd.healthy(index);
  });

  it('makes a new connection after a partition instead of waiting for the old one', async () => {
    const prefix = fresh();
    const gate = await TcpGate.open(memberAt(0).listen.clientPort);
    const store = createEtcdStore({ endpoints: [`http://127.0.0.1:${gate.port}`] }, ports);
    const log = new WatchLog(store, prefix);
    await log.until(() => log.of('snapshot').length === 1);
    gate.swallow();
    await log.until(() => log.of('interrupted').length === 1, SILENCE_NOTICED_MS);
    for (let i = 0; i < 4; i++) expect((await attempt(store, `${prefix}x`)).kind).toBe('ambiguous');
    // Bytes that were swallowed never arrive, so an old connection stays broken for ever.
    gate.admit();
    const { ms } = await outage(store, `${prefix}a`);
    expect(ms).toBeLessThan(BACK_MS);
    await log.until(() => log.changes().some((change) => change.startsWith(`${prefix}a=`)));
    await log.stop();
    store.close();
    gate.close();
  });

  it('grants a lease within its deadline where connections were refused a moment ago', async () => {
    const gate = await TcpGate.open(memberAt(0).listen.clientPort);
    const store = createEtcdStore({ endpoints: [`http://127.0.0.1:${gate.port}`] }, ports);
    gate.shut();
    // The connection rests longer after each of them.
    for (let i = 0; i < 3; i++)
      expect((await store.grantLease(10, { deadlineMs: 400 })).ok).toBe(false);
    const granted = store.grantLease(10, CALL);
    await clock.sleep(50);
    gate.admit();
    expect(await granted).toMatchObject({ ok: true });
    store.close();
    gate.close();
  });
});
