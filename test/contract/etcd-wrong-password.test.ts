/** What a wrong password costs a member: etcd compares it with bcrypt, and is late for everybody meanwhile. */
import { createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { EndpointClient } from '../../src/adapters/etcd/endpoint-client.ts';
import { silentLog } from '../../src/ports/log.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';

const INVALID_ARGUMENT = '3';
const AUTHENTICATE_DEADLINE_MS = 5000;

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A member that refuses every password, and how often it was given one. */
async function refusing(): Promise<{ readonly url: string; readonly asked: () => number }> {
  let asked = 0;
  const server = createServer();
  server.on('session', (session) => closers.push(() => session.destroy()));
  server.on('stream', (stream, headers) => {
    if (headers[':path'] === '/etcdserverpb.Auth/Authenticate') asked++;
    stream.respond(
      {
        ':status': 200,
        'content-type': 'application/grpc',
        'grpc-status': INVALID_ARGUMENT,
        'grpc-message': 'etcdserver: authentication failed, invalid user ID or password',
      },
      { endStream: true },
    );
  });
  closers.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked };
}

it('is given to a member once a second at most, however often the agent calls', async () => {
  const { url, asked } = await refusing();
  const clock = new FakeClock();
  const client = new EndpointClient(
    url,
    { endpoints: [url], user: 'leasehold', password: 'another' },
    { clock, log: silentLog, random: new SeededRandom(1) },
  );
  closers.push(() => client.close());
  const call = () => client.authenticate({ deadlineMs: AUTHENTICATE_DEADLINE_MS });
  for (let round = 0; round < 20; round++)
    expect(await call()).toMatchObject({ error: { code: 'denied' }, isSurelyNotApplied: true });
  expect(asked()).toBe(1);
  await clock.advance(999);
  await call();
  expect(asked()).toBe(1);
  await clock.advance(1);
  await call();
  expect(asked()).toBe(2);
});
