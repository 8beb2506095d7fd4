/** What a member refuses for reasons of its own, or of a moment, must not keep the store from working. */
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';

import { createSystemClock } from '../../../../src/adapters/clock/system-clock.ts';
import { createEtcdStore } from '../../../../src/adapters/etcd/etcd-store.ts';
import type { EtcdOptions } from '../../../../src/adapters/etcd/endpoint-client.ts';
import type { ClusterStore } from '../../../../src/ports/cluster-store.ts';
import { silentLog } from '../../../../src/ports/log.ts';
import { SeededRandom } from '../../../fakes/seeded-random.ts';

const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';
const FAILED_PRECONDITION = 9;
const INVALID_ARGUMENT = 3;
/** For a machine that is busy with other work. */
const CALL = { deadlineMs: 20_000 };
const NOTHING = { compares: [], success: [], failure: [] };
/** TxnResponse: header with revision 5; succeeded. */
const SUCCEEDED = '0a0218051001';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

type Call = { readonly path: string; readonly token: string | null };
/** Hexadecimal digits of a message, or a status with its text. */
type Answer = string | readonly [number, string];

/** The URL of a member that answers as it is told. */
async function member(answer: (call: Call) => Answer): Promise<string> {
  const server: Http2Server = createServer();
  server.on('session', (session) => closers.push(() => session.destroy()));
  server.on('stream', (stream, headers) => {
    const token = headers['token'] === undefined ? null : String(headers['token']);
    stream.on('error', () => {});
    stream.resume();
    stream.on('end', () => reply(stream, answer({ path: String(headers[':path']), token })));
  });
  closers.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function reply(stream: ServerHttp2Stream, answer: Answer): void {
  const [code, text] = typeof answer === 'string' ? [0, ''] : answer;
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () =>
    stream.sendTrailers({ 'grpc-status': String(code), 'grpc-message': encodeURIComponent(text) }),
  );
  if (typeof answer === 'string') {
    const message = Buffer.from(answer, 'hex');
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.write(Buffer.concat([head, message]));
  }
  stream.end();
}

function open(options: EtcdOptions): ClusterStore {
  const ports = { clock: createSystemClock(), log: silentLog, random: new SeededRandom(1) };
  const store = createEtcdStore(options, ports);
  closers.push(() => store.close());
  return store;
}

describe('etcd store', () => {
  it('goes on with a token when authentication is switched on', async () => {
    let isOn = false;
    const endpoint = await member(({ path, token }) => {
      // AuthenticateResponse: token "t".
      if (path === AUTHENTICATE)
        return isOn ? '120174' : [FAILED_PRECONDITION, 'etcdserver: authentication is not enabled'];
      return isOn && token !== 't'
        ? [INVALID_ARGUMENT, 'etcdserver: user name is empty']
        : SUCCEEDED;
    });
    const store = open({ endpoints: [endpoint], user: 'leasehold', password: 'a-password' });
    expect(await store.txn(NOTHING, CALL)).toMatchObject({ kind: 'answered' });
    isOn = true;
    expect(await store.txn(NOTHING, CALL)).toMatchObject({ kind: 'refused' });
    expect(await store.txn(NOTHING, CALL)).toMatchObject({ kind: 'answered', succeeded: true });
  });

  it('turns to the next member from one that is a learner', async () => {
    const learner = await member(() => [
      FAILED_PRECONDITION,
      'etcdserver: rpc not supported for learner',
    ]);
    const voter = await member(() => SUCCEEDED);
    const store = open({ endpoints: [learner, voter] });
    expect(await store.txn(NOTHING, CALL)).toMatchObject({ kind: 'ambiguous' });
    expect(await store.txn(NOTHING, CALL)).toMatchObject({ kind: 'answered', succeeded: true });
  });
});
