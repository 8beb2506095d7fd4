/** TLS with client certificates, and password authentication, against real etcd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { createEtcdStore } from '../../src/adapters/etcd/etcd-store.ts';
import type { ClusterStore } from '../../src/ports/cluster-store.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type Etcd, startEtcd } from '../support/etcd.ts';
import { pass } from '../support/running-clock.ts';
import { answered, CALL, get, put, WatchLog, write } from './cluster-store.contract.ts';

const clock = createSystemClock();
const ports = { clock, log: silentLog, random: createSystemRandom() };
const putOnly = (key: string) => ({ compares: [], success: [put(key, '1')], failure: [] });

describe('cluster store: TLS', () => {
  let etcd: Etcd;
  beforeAll(async () => {
    etcd = await startEtcd({
      tls: { clientNames: ['root', 'leasehold', 'stranger'] },
      auth: {
        rootPassword: 'a-root-password',
        users: [{ name: 'leasehold', prefix: '/leasehold/' }],
      },
    });
  });
  afterAll(() => etcd.close());

  it('is the user that its certificate names, without any token', async () => {
    const store = createEtcdStore(
      { endpoints: etcd.endpoints, tls: etcd.keys('leasehold') },
      ports,
    );
    await write(store, put('/leasehold/a', '1'));
    const log = new WatchLog(store, '/leasehold/');
    await log.until(() => log.of('snapshot').length === 1);
    await write(store, put('/leasehold/b', '2'));
    await log.until(() => log.changes().length === 1);
    await log.stop();
    const denied = await store.txn(putOnly('/other'), CALL);
    expect(denied).toMatchObject({
      kind: 'refused',
      error: { code: 'denied', isRetryable: false },
    });
    store.close();
  });

  it('is denied with a certificate that names no user, and with none', async () => {
    const tls = etcd.keys('stranger');
    const stranger = createEtcdStore({ endpoints: etcd.endpoints, tls }, ports);
    expect(await stranger.txn(putOnly('/leasehold/a'), CALL)).toMatchObject({
      kind: 'refused',
      error: { code: 'denied' },
    });
    stranger.close();
    const bare = createEtcdStore({ endpoints: etcd.endpoints, tls: { ca: tls.ca } }, ports);
    const answer = await bare.txn(putOnly('/leasehold/a'), CALL);
    expect(answer.kind).not.toBe('answered');
    bare.close();
  });

  it('does not talk to a server of another authority', async () => {
    const { cert, key } = etcd.keys('leasehold');
    const store = createEtcdStore({ endpoints: etcd.endpoints, tls: { cert, key } }, ports);
    expect(await store.txn(putOnly('/leasehold/a'), CALL)).toMatchObject({
      kind: 'refused',
      error: { code: 'unavailable' },
    });
    store.close();
  });
});

describe('cluster store: password', () => {
  let etcd: Etcd;
  const open = (password = 'a-password'): ClusterStore =>
    createEtcdStore({ endpoints: etcd.endpoints, user: 'leasehold', password }, ports);
  beforeAll(async () => {
    etcd = await startEtcd({
      auth: {
        rootPassword: 'a-root-password',
        users: [{ name: 'leasehold', password: 'a-password', prefix: '/leasehold/' }],
      },
    });
  });
  afterAll(() => etcd.close());

  it('works inside the granted prefix and is denied outside', async () => {
    const store = open();
    await write(store, put('/leasehold/a', '1'));
    expect(await store.get('/leasehold/a', CALL)).toMatchObject({ value: { value: '1' } });
    expect(await store.txn(putOnly('/other'), CALL)).toMatchObject({
      kind: 'refused',
      error: { code: 'denied' },
    });
    expect(await store.list('/other', CALL)).toMatchObject({
      ok: false,
      error: { code: 'denied' },
    });
    const granted = await store.grantLease(5, CALL);
    if (!granted.ok) throw new Error(granted.error.message);
    expect((await store.keepLeaseAlive(granted.value.lease, CALL)).ok).toBe(true);
    store.close();
  });

  it('refuses a wrong password before anything is sent, and no user at all', async () => {
    const wrong = open('another-password');
    expect(await wrong.txn(putOnly('/leasehold/a'), CALL)).toMatchObject({
      kind: 'refused',
      error: { code: 'denied' },
    });
    wrong.close();
    const nobody = createEtcdStore({ endpoints: etcd.endpoints }, ports);
    expect((await nobody.txn(putOnly('/leasehold/a'), CALL)).kind).not.toBe('answered');
    nobody.close();
  });

  it('gets a new token when the old one is refused: reads at once, a transaction at the next call', async () => {
    const store = open();
    const log = new WatchLog(store, '/leasehold/');
    await write(store, put('/leasehold/b', '1'));
    await log.until(() => log.of('snapshot').length === 1);
    // Tokens live in the member's memory: a restart forgets them all, but for those that are made again from its log:
    // they were asked for after what the database has. A write brings it up to date, within a tenth of a second.
    const [member] = etcd.members;
    const restart = async (): Promise<void> => {
      await etcd.ctl('put', 'up-to-date', '');
      await pass(500);
      await member?.kill();
      member?.restart();
      await etcd.healthy();
    };
    await restart();
    expect(await store.get('/leasehold/b', CALL)).toMatchObject({
      value: { value: '1' },
    });
    await restart();
    const doomed = await store.txn(putOnly('/leasehold/c'), CALL);
    expect(doomed.kind).toBe('refused');
    let next = await store.txn(putOnly('/leasehold/c'), CALL);
    for (let i = 0; i < 25 && next.kind !== 'answered'; i++) {
      await clock.sleep(200);
      next = await store.txn(putOnly('/leasehold/c'), CALL);
    }
    expect(answered(next).succeeded).toBe(true);
    await log.until(() => log.changes().includes('/leasehold/c=1'));
    await log.stop();
    expect(
      answered(await store.txn({ compares: [], success: [get('/leasehold/c')], failure: [] }, CALL))
        .reads,
    ).toMatchObject([{ value: '1' }]);
    store.close();
  });
});
