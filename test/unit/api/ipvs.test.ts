/** The listings of a director's kernel and the zeroing of its counters, through the API. */
import { get as httpGet, type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { ConnectionLine, TableRow } from '../../../src/model/ipvs-listing.ts';
import type { IpvsConnection } from '../../../src/model/kernel.ts';
import { decodeConnection } from '../../../src/wire/ipvs-connections.ts';
import { checkAnswer } from '../../../src/api/schemas/check-answer.ts';
import type { ApiToken } from '../../../src/api/context.ts';
import { NO_IPVS } from '../../fakes/fake-ipvs-view.ts';
import { type Bench, call, createBench, type Json } from './bench.ts';

const open: Bench[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ api }) => api.close()));
});
const bench = (options: Parameters<typeof createBench>[0] = {}): Bench => {
  const made = createBench(options);
  open.push(made);
  return made;
};

const tokens: ApiToken[] = [
  { name: 'grafana', role: 'viewer', token: 'v-secret' },
  { name: 'alice', role: 'operator', token: 'o-secret' },
];

async function lines(
  at: Bench,
  url: string,
  headers: Record<string, string> = {},
): Promise<Json[]> {
  const answer = await at.api.app.inject({ url, headers: { host: '127.0.0.1', ...headers } });
  expect(answer.statusCode, answer.body).toBe(200);
  expect(answer.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
  expect(answer.body.endsWith('\n')).toBe(true);
  return answer.body
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** TCP connection `n`, to the service web-http. */
function connection(n: number, virtual = '0A5A0064 0050'): IpvsConnection {
  const from = (40_000 + (n % 10_000)).toString(16).toUpperCase();
  const line = `TCP 0A5A0001 ${from} ${virtual} 0A5A0015 0050 ESTABLISHED     899`;
  const decoded = decodeConnection(line);
  if (!decoded.ok) throw new Error(decoded.error);
  return decoded.value;
}

const template = (): IpvsConnection => ({
  ...connection(0),
  client: { ...connection(0).client, port: 0 },
  state: 'NONE',
});

describe('the table', () => {
  it('is told line by line, each as its schema says', async () => {
    const at = bench();
    const told = await lines(at, '/api/v1/ipvs/table');
    expect(told.map(({ kind }) => kind)).toEqual(['table', 'end']);
    for (const line of told) expect(checkAnswer(TableRow, line).ok).toBe(true);
  });

  it('is told of one virtual service, or of one IPVS service, and of no unknown one', async () => {
    const at = bench();
    await lines(at, '/api/v1/ipvs/table?service=smtp');
    await lines(at, '/api/v1/ipvs/table?service=tcp%2010.9.9.9:80');
    expect(at.view.ipvs.asked).toEqual(['smtp', 'tcp 10.9.9.9:80']);
    const request = { method: 'GET', url: '/api/v1/ipvs/table?service=ftp' };
    expect((await call(at, request, 404)).body.known).toEqual(['web-http', 'web6-http', 'smtp']);
  });

  it('is a problem with its remedy where the kernel has none', async () => {
    const at = bench();
    at.view.ipvs.failure = NO_IPVS;
    const { body } = await call(at, { method: 'GET', url: '/api/v1/ipvs/table' }, 503);
    expect(body).toMatchObject({ code: 'ipvs-unavailable' });
    expect(body.detail).toContain('modprobe ip_vs');
  });
});

describe('the connections', () => {
  it('come in the order of the kernel, with an end that says how it went', async () => {
    const at = bench();
    at.view.ipvs.connections = [connection(3), connection(1), template(), connection(2)];
    const told = await lines(at, '/api/v1/ipvs/connections');
    for (const line of told) expect(checkAnswer(ConnectionLine, line).ok).toBe(true);
    expect(told.slice(0, -1).map(({ client }) => client.port)).toEqual([40003, 40001, 0, 40002]);
    expect(told.map((one) => one.isTemplate)).toEqual([false, false, true, false, undefined]);
    expect(told.at(-1)).toEqual({ kind: 'end', shown: 4, read: 4, unreadable: 0, isWhole: true });
  });

  it('are as many as asked for, and the kernel is read no further', async () => {
    const at = bench();
    at.view.ipvs.connections = Array.from({ length: 100 }, (_, n) => connection(n));
    const told = await lines(at, '/api/v1/ipvs/connections?limit=4');
    expect(told).toHaveLength(5);
    expect(told.at(-1)).toMatchObject({ shown: 4, read: 6, isWhole: false });
    for (const limit of ['0', '-1', '99999999', 'x'])
      await call(at, { method: 'GET', url: `/api/v1/ipvs/connections?limit=${limit}` }, 400);
  });

  it('are those of one service, or templates alone', async () => {
    const at = bench();
    at.view.ipvs.connections = [connection(1), connection(2, '0A5A0065 0019'), template()];
    const ports = async (query: string): Promise<number[]> =>
      (await lines(at, `/api/v1/ipvs/connections?${query}`))
        .slice(0, -1)
        .map(({ virtual }) => virtual.port);
    expect(await ports('service=smtp')).toEqual([25]);
    expect(await ports('service=web-http')).toEqual([80, 80]);
    expect(await ports('templates=true')).toEqual([80]);
    expect(await ports('templates=true&service=smtp')).toEqual([]);
    await call(at, { method: 'GET', url: '/api/v1/ipvs/connections?service=ftp' }, 404);
  });

  it('end with what failed, and are a problem where all of it did', async () => {
    const at = bench();
    at.view.ipvs.connections = Array.from({ length: 10 }, (_, n) => connection(n));
    at.view.ipvs.failsAfter = 6;
    const told = await lines(at, '/api/v1/ipvs/connections');
    expect(told).toHaveLength(7);
    expect(told.at(-1)).toEqual({ kind: 'failure', detail: 'it broke in between' });
    at.view.ipvs.failure = NO_IPVS;
    await call(at, { method: 'GET', url: '/api/v1/ipvs/connections' }, 503);
  });

  it('name clients: a viewer may not see them', async () => {
    const at = bench({ tokens });
    const as = (token: string) => ({ authorization: `Bearer ${token}` });
    const url = '/api/v1/ipvs/connections';
    await call(at, { method: 'GET', url, headers: as('v-secret') }, 403);
    await lines(at, url, as('o-secret'));
    await lines(at, '/api/v1/ipvs/table', as('v-secret'));
  });
});

describe('a slow reader', () => {
  /** Opens a listing without an end and reads nothing of it. */
  async function openUnread(at: Bench): Promise<IncomingMessage> {
    at.view.ipvs.connections = (function* endless() {
      for (let n = 0; ; n++) yield connection(n);
    })();
    const bound = await at.api.start();
    if (!bound.ok) throw new Error(bound.error);
    const url = `http://127.0.0.1:${bound.value.port}/api/v1/ipvs/connections`;
    return await new Promise((resolve, reject) => {
      httpGet(url, { agent: false }, (response) => resolve(response.pause())).on('error', reject);
    });
  }

  /** The kernel is read no further. */
  async function stalled(at: Bench): Promise<number> {
    let before = -1;
    for (let i = 0; i < 200; i++) {
      if (at.view.ipvs.read === before && before > 0) return before;
      before = at.view.ipvs.read;
      for (let n = 0; n < 200; n++) await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error(`still reading after ${at.view.ipvs.read} connections`);
  }

  it('stops the reading of the kernel, and is cut off', async () => {
    const at = bench();
    const response = await openUnread(at);
    const gone = new Promise<void>((resolve) => {
      response.on('error', () => resolve()).on('close', () => resolve());
    });
    const read = await stalled(at);
    // What the sockets of both sides take, and not a table of any size.
    expect(read).toBeLessThan(200_000);
    await at.clock.advance(30_000);
    response.resume();
    await gone;
    expect(at.view.ipvs.read).toBe(read);
  });

  it('leaves room for no more than four such listings', async () => {
    const at = bench();
    const responses = [await openUnread(at)];
    const address = at.api.app.server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const url = `http://127.0.0.1:${port}/api/v1/ipvs/connections`;
    for (let i = 1; i < 4; i++)
      responses.push(
        await new Promise<IncomingMessage>((resolve) => {
          httpGet(url, { agent: false }, (response) => resolve(response.pause()));
        }),
      );
    await call(at, { method: 'GET', url: '/api/v1/ipvs/connections' }, 503);
    for (const response of responses) response.destroy();
  });
});

describe('counters to 0', () => {
  const zero = (payload: object, query = '') => ({
    method: 'POST',
    url: `/api/v1/ipvs/zero${query}`,
    payload,
  });

  it('are those of one service or of all, each with its audit event', async () => {
    const at = bench();
    const { body } = await call(at, zero({ service: 'smtp', reason: 'load test' }), 200);
    expect(body).toMatchObject({ director: 'd1', services: 1 });
    expect(at.view.ipvs.zeroed).toEqual(['smtp']);
    await call(at, zero({ reason: 'load test' }), 200);
    expect(at.view.ipvs.zeroed).toEqual(['smtp', 'web-http', 'web6-http', 'smtp']);
    const events = at.store
      .keys()
      .filter((key) => key.startsWith(at.keys.eventPrefix))
      .map((key) => at.store.peek(key));
    expect(events).toMatchObject([
      { kind: 'counters.zeroed', subject: 'smtp', by: 'local', reason: 'load test' },
      { kind: 'counters.zeroed', subject: 'd1' },
    ]);
  });

  it('stay as they are for a dry run, without an audit, and without a reason', async () => {
    const at = bench();
    await call(at, zero({ reason: 'x' }, '?dryRun=true'), 200);
    await call(at, zero({ service: 'ftp', reason: 'x' }), 404);
    await call(at, zero({}), 400);
    at.store.isDown = true;
    await call(at, zero({ reason: 'x' }), 503);
    expect(at.view.ipvs.zeroed).toEqual([]);
  });

  it('are an operator’s to set', async () => {
    const at = bench({ tokens });
    const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    await call(at, { ...zero({ reason: 'x' }), ...as('v-secret') }, 403);
    await call(at, { ...zero({ reason: 'x' }), ...as('o-secret') }, 200);
  });

  it('say what the kernel refused', async () => {
    const at = bench();
    at.view.ipvs.failure = NO_IPVS;
    const { body } = await call(at, zero({ reason: 'x' }), 503);
    expect(body.detail).toContain('modprobe');
    const events = at.store
      .keys()
      .filter((key) => key.startsWith(at.keys.eventPrefix))
      .map((key) => at.store.peek(key));
    expect(events).toMatchObject([
      { kind: 'counters.zeroed' },
      { kind: 'counters.kept', message: expect.stringContaining('not done: all services on d1') },
    ]);
  });

  it('say what the kernel refused also where that cannot be written down', async () => {
    const at = bench();
    at.view.ipvs.failure = NO_IPVS;
    const zeroKernel = at.view.ipvs.zero.bind(at.view.ipvs);
    at.view.ipvs.zero = async (services) => {
      at.store.isDown = true;
      return zeroKernel(services);
    };
    const { body } = await call(at, zero({ reason: 'x' }), 503);
    expect(body).toMatchObject({ code: 'ipvs-unavailable', detail: NO_IPVS.message });
  });

  it('are not even tried, nor audited, where the kernel is known to have none', async () => {
    const at = bench();
    at.view.statusDocument.ipvs.available = false;
    at.view.statusDocument.ipvs.detail = NO_IPVS.message;
    const { body } = await call(at, zero({ reason: 'x' }), 503);
    expect(body.detail).toBe(NO_IPVS.message);
    expect(at.store.keys()).toEqual([]);
    await call(at, { method: 'GET', url: '/api/v1/ipvs/connections' }, 503);
    expect(at.view.ipvs.read).toBe(0);
  });
});
