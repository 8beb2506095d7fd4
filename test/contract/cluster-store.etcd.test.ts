/** The contract on a real etcd of one member. */
import { expect, it, vi } from 'vitest';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createSystemRandom } from '../../src/adapters/clock/system-random.ts';
import { createEtcdStore } from '../../src/adapters/etcd/etcd-store.ts';
import { silentLog } from '../../src/ports/log.ts';
import { type EtcdMember, freePorts, startEtcd } from '../support/etcd.ts';
import { TcpGate } from '../support/tcp-gate.ts';
import { CALL, clusterStoreContract, put } from './cluster-store.contract.ts';

const ports = { clock: createSystemClock(), log: silentLog, random: createSystemRandom() };

clusterStoreContract('etcd, one member', async () => {
  const etcd = await startEtcd();
  const [member] = etcd.members as readonly [EtcdMember];
  const gate = await TcpGate.open(member.listen.clientPort);
  return {
    connect: () => createEtcdStore({ endpoints: [`http://127.0.0.1:${gate.port}`] }, ports),
    silence: () => member.stop(),
    speak: () => member.cont(),
    takeDown: async () => {
      gate.shut();
      await member.kill();
    },
    bringBack: async () => {
      member.restart();
      await etcd.healthy();
      gate.admit();
    },
    compactWhileDown: async (writes) => {
      member.restart();
      await etcd.healthy();
      for (const { key, value } of writes) await etcd.ctl('put', key, value);
      const [status] = JSON.parse(await etcd.ctl('endpoint', 'status', '-w', 'json')) as [
        { Status: { header: { revision: number } } },
      ];
      await etcd.ctl('compact', String(status.Status.header.revision));
      gate.admit();
    },
    close: async () => {
      gate.close();
      await etcd.close();
    },
  };
});

it('asks no proxy that the environment names for the web', async () => {
  const etcd = await startEtcd();
  const [member] = etcd.members as readonly [EtcdMember];
  const [nobody = 0] = await freePorts(1);
  for (const name of ['grpc_proxy', 'http_proxy', 'https_proxy'])
    vi.stubEnv(name, `http://127.0.0.1:${nobody}`);
  for (const name of ['no_grpc_proxy', 'no_proxy']) vi.stubEnv(name, '');
  const endpoints = [`http://127.0.0.1:${member.listen.clientPort}`];
  const store = createEtcdStore({ endpoints }, ports);
  const txn = { compares: [], success: [put('/a', 'x')], failure: [] };
  expect(await store.txn(txn, CALL)).toMatchObject({ kind: 'answered' });
  const granted = await store.grantLease(60, CALL);
  expect(granted.ok && (await store.keepLeaseAlive(granted.value.lease, CALL)).ok).toBe(true);
  const seen: string[] = [];
  for await (const { kind } of store.watch('/', AbortSignal.timeout(10_000))) {
    seen.push(kind);
    if (kind === 'changes') break;
    if (kind === 'snapshot') await store.txn(txn, CALL);
  }
  expect(seen).toEqual(['snapshot', 'changes']);
  vi.unstubAllEnvs();
  store.close();
  await etcd.close();
});

it('says that a value is too large, and nothing was written', async () => {
  const etcd = await startEtcd();
  const [member] = etcd.members as readonly [EtcdMember];
  const { clientPort } = member.listen;
  const store = createEtcdStore({ endpoints: [`http://127.0.0.1:${clientPort}`] }, ports);
  const answer = await store.txn(
    { compares: [], success: [put('/a', 'x'.repeat(1_600_000))], failure: [] },
    CALL,
  );
  expect(answer).toMatchObject({
    kind: 'refused',
    error: { code: 'bad-request', message: 'etcdserver: request is too large' },
  });
  expect(await store.get('/a', CALL)).toMatchObject({ ok: true, value: { value: null } });
  store.close();
  await etcd.close();
});

it('refuses at once, and surely unsent, where nobody listens', async () => {
  const [port] = await freePorts(1);
  const store = createEtcdStore({ endpoints: [`http://127.0.0.1:${port}`] }, ports);
  const answer = await store.txn(
    { compares: [], success: [{ op: 'put', key: '/a', value: '' }], failure: [] },
    CALL,
  );
  expect(answer).toMatchObject({ kind: 'refused', error: { code: 'unavailable' } });
  expect(answer.receivedAt - answer.sentAt).toBeLessThan(CALL.deadlineMs / 2);
  expect(store.health()).toMatchObject({ lastAnswerAt: null, lastError: { code: 'unavailable' } });
  // Its last try may begin too late to be refused.
  const listed = await store.list('/', { deadlineMs: 300 });
  const code = expect.stringMatching(/^(unavailable|deadline)$/);
  expect(listed).toMatchObject({ ok: false, error: { code, isRetryable: true } });
  expect(store.health()).toMatchObject({ lastAnswerAt: null, lastError: { code } });
  store.close();
});
