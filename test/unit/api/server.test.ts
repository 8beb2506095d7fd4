import { readFile } from 'node:fs/promises';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { OPENAPI_FILE, renderOpenApi } from '../../../scripts/openapi.ts';
import type { ApiToken } from '../../../src/api/context.ts';
import { revision } from '../../../src/model/ids.ts';
import { createEvent, createOperation, NO_SPEC } from '../../fakes/fake-agent-view.ts';
import { type Bench, call, createBench, type Json } from './bench.ts';

const open: Bench[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ api }) => api.close()));
});

const get = (bench: Bench, url: string, status = 200, headers: Record<string, string> = {}) =>
  call(bench, { method: 'GET', url, headers }, status);

describe('reads', () => {
  it.each(['status', 'groups', 'groups/web', 'directors', 'services', 'operations', 'events'])(
    '/api/v1/%s fits its schema',
    async (path) => {
      const bench = createBench();
      bench.view.emit(createEvent(1));
      bench.view.operationList = [createOperation('op1')];
      await get(bench, `/api/v1/${path}`);
    },
  );

  it('lists the real servers of all services, or of one', async () => {
    const bench = createBench();
    expect((await get(bench, '/api/v1/real-servers')).body.realServers).toHaveLength(4);
    const { body } = await get(bench, '/api/v1/real-servers?service=smtp');
    expect(body.realServers).toMatchObject([{ service: 'smtp', realServer: { admin: 'drain' } }]);
    const unknown = await get(bench, '/api/v1/real-servers?service=ftp', 404);
    expect(unknown.body.known).toEqual(['web-http', 'web6-http', 'smtp']);
  });

  it('gives the newest events, oldest first', async () => {
    const bench = createBench();
    for (const n of [1, 2, 3]) bench.view.emit(createEvent(n));
    const { body } = await get(bench, '/api/v1/events?limit=2');
    expect(body.events.map(({ revision }: Json) => revision)).toEqual([102, 103]);
    await get(bench, '/api/v1/events?limit=0', 400);
  });

  it('gives the newest operations, and all that are under way', async () => {
    const bench = createBench();
    const at = (hour: number) => `2026-01-01T0${hour}:00:00.000Z`;
    const operation = (id: string, hour: number, state: 'pending' | 'succeeded') => {
      const created = createOperation(id);
      return { ...created, record: { ...created.record, at: at(hour), state } };
    };
    bench.view.operationList = [
      operation('new', 5, 'succeeded'),
      operation('old', 1, 'succeeded'),
      operation('newest', 6, 'succeeded'),
      // On the clock of the bench it is midnight: this one is not over yet.
      operation('running', 0, 'pending'),
    ];
    const ids = async (query: string) =>
      (await get(bench, `/api/v1/operations${query}`)).body.operations.map(({ id }: Json) => id);
    expect(await ids('')).toEqual(['new', 'old', 'newest', 'running']);
    expect(await ids('?limit=2')).toEqual(['new', 'newest', 'running']);
    await get(bench, '/api/v1/operations?limit=0', 400);
  });

  it('answers unknown things with problem documents that help', async () => {
    const bench = createBench();
    expect((await get(bench, '/api/v1/groups/nope', 404)).body.known).toEqual(['web', 'mail']);
    expect((await get(bench, '/api/v2/status', 404)).body.code).toBe('not-found');
    expect((await get(bench, '/api/v1/operations/none', 404)).body.detail).toContain(
      'there are none',
    );
    bench.view.specView = NO_SPEC;
    const drain = { method: 'POST', url: '/api/v1/directors/d1/drain', payload: { reason: 'x' } };
    expect((await call(bench, drain, 404)).body.detail).toContain('no cluster document');
  });

  it('answers a path that no router takes with problem documents too', async () => {
    const bench = createBench();
    expect((await get(bench, '/api/v1/groups/%ZZ', 400)).body.code).toBe('bad-request');
    const long = `/api/v1/directors/${'d'.repeat(300)}/drain`;
    const { body } = await call(bench, { method: 'POST', url: long, payload: {} }, 414);
    expect(body.code).toBe('uri-too-long');
    expect(bench.logged).toEqual([]);
  });

  it('keeps stack traces in the log', async () => {
    const bench = createBench();
    bench.view.status = () => {
      throw new Error('secret of the inside');
    };
    const { body } = await get(bench, '/api/v1/status', 500);
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(bench.logged.join()).toContain('secret of the inside');
  });
});

describe('probes', () => {
  it('/livez follows the hold loop', async () => {
    const bench = createBench();
    expect((await get(bench, '/livez')).body).toEqual({ status: 'ok', reasons: [] });
    bench.view.live = false;
    expect((await get(bench, '/livez', 503)).body.reasons).toHaveLength(1);
  });

  it('/readyz says why not', async () => {
    const bench = createBench();
    await get(bench, '/readyz');
    bench.view.statusDocument.ready = false;
    bench.view.statusDocument.problems = ['etcd does not answer'];
    expect((await get(bench, '/readyz', 503)).body.reasons).toEqual(['etcd does not answer']);
  });

  it('/owner is 200 only inside the deadline', async () => {
    const bench = createBench();
    expect((await get(bench, '/owner?group=web')).body).toMatchObject({ holds: true });
    bench.view.held.clear();
    expect((await get(bench, '/owner?group=web', 503)).body).toMatchObject({ holds: false });
    await get(bench, '/owner?group=nope', 404);
    await get(bench, '/owner', 400);
  });

  it('/metrics is Prometheus text', async () => {
    const { app } = createBench().api;
    const response = await app.inject({ url: '/metrics', headers: { host: 'localhost' } });
    expect(response.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(response.body).toBe('leasehold_holder{group="web"} 1\n');
  });
});

describe('who may', () => {
  const tokens: ApiToken[] = [
    { name: 'grafana', role: 'viewer', token: 'v-secret' },
    { name: 'alice', role: 'operator', token: 'o-secret' },
    { name: 'root', role: 'admin', token: 'a-secret' },
  ];
  const drain = { method: 'POST', url: '/api/v1/directors/d2/drain', payload: { reason: 'x' } };
  const config = { method: 'PUT', url: '/api/v1/config', payload: { document: {} } };
  const bearer = (token: string): { headers: Record<string, string> } => ({
    headers: { authorization: `Bearer ${token}` },
  });

  it('needs a token for the API and the metrics, none for the probes', async () => {
    const bench = createBench({ tokens });
    for (const url of ['/api/v1/status', '/metrics', '/api/v1/events/stream']) {
      const { headers } = await get(bench, url, 401);
      expect(headers['www-authenticate']).toContain('Bearer');
      await get(bench, url, 401, { authorization: 'Bearer wrong' });
      await get(bench, url, 401, { authorization: 'Basic v-secret' });
    }
    for (const url of ['/livez', '/readyz', '/owner?group=web']) await get(bench, url);
    await get(bench, '/api/v1/status', 200, bearer('v-secret').headers);
  });

  it('tells the probes’ callers without a token yes or no, and no names', async () => {
    const bench = createBench({ tokens });
    bench.view.statusDocument.ready = false;
    bench.view.statusDocument.problems = ['etcd 10.90.0.31 does not answer'];
    const { body } = await get(bench, '/readyz', 503);
    expect(JSON.stringify(body)).not.toContain('10.90.0.31');
    const known = bearer('v-secret').headers;
    const told = await get(bench, '/readyz', 503, known);
    expect(told.body.reasons).toEqual(['etcd 10.90.0.31 does not answer']);
    expect((await get(bench, '/owner?group=web')).body).toEqual({ group: 'web', holds: true });
    expect((await get(bench, '/owner?group=nope', 503)).body).toEqual({
      group: 'nope',
      holds: false,
    });
    expect((await get(bench, '/owner?group=web', 200, known)).body.director).toBe('d1');
    await get(bench, '/owner?group=nope', 404, known);
  });

  it('gives each role what it may, and the audit the name', async () => {
    const bench = createBench({ tokens });
    await call(bench, { ...drain, ...bearer('v-secret') }, 403);
    await call(bench, { ...drain, ...bearer('o-secret') }, 200);
    const audit = bench.store.keys().filter((key) => key.startsWith(bench.keys.eventPrefix));
    expect(audit.map((key) => bench.store.peek(key))).toMatchObject([{ by: 'alice' }]);
    await call(bench, { ...config, ...bearer('o-secret') }, 403);
    await call(bench, { ...config, ...bearer('a-secret') }, 422);
  });

  it('without tokens, lets no web page of another origin write', async () => {
    const bench = createBench();
    const rebinding = { host: 'evil.example:7480' };
    await call(bench, { ...drain, headers: rebinding }, 403);
    for (const url of ['/owner?group=web', '/readyz', '/livez']) {
      const answer = await bench.api.app.inject({ url, headers: rebinding });
      expect(answer.statusCode).toBe(403);
    }
    const cross = { host: '127.0.0.1:7480', origin: 'http://evil.example' };
    await call(bench, { ...drain, headers: cross }, 403);
    const own = { host: '[::1]:7480', origin: 'http://[::1]:7480' };
    await call(bench, { ...drain, headers: own }, 200);
    for (const origin of ['http://127.0.0.1:8080', 'http://127.0.0.1', 'null'])
      await call(bench, { ...drain, headers: { host: '127.0.0.1:7480', origin } }, 403);
    const plain = { host: 'localhost', origin: 'http://localhost:80' };
    await call(bench, { ...drain, headers: plain }, 200);
  });
});

describe('listening', () => {
  const started = async (bench: Bench): Promise<number> => {
    open.push(bench);
    const bound = await bench.api.start();
    if (!bound.ok) throw new Error(bound.error);
    return bound.value.port;
  };

  it('refuses an address that others reach without TLS and tokens', async () => {
    for (const options of [
      { listen: { host: '0.0.0.0', port: 0 } },
      {
        listen: { host: '::', port: 0 },
        tokens: [{ name: 'a', role: 'admin', token: 'x' }] as const,
      },
    ]) {
      const refused = await createBench(options).api.start();
      expect(refused).toMatchObject({ ok: false });
      expect(JSON.stringify(refused)).toContain('needs tls and tokens');
    }
  });

  it('says which port is in use and what to do', async () => {
    const port = await started(createBench());
    const second = createBench({ listen: { host: '127.0.0.1', port } });
    open.push(second);
    const refused = await second.api.start();
    expect(JSON.stringify(refused)).toMatch(new RegExp(`${port}.*another program listens there`));
  });

  it('streams events, resumes after the last one seen, beats, and ends on close', async () => {
    const bench = createBench();
    const port = await started(bench);
    bench.view.emit(createEvent(1));
    bench.view.emit(createEvent(2));
    const stream = await connect(port, createEvent(1).id);
    expect(stream.response.headers['content-type']).toContain('text/event-stream');
    await stream.until(`id: ${createEvent(2).id}\nevent: holder.gained\ndata: {`);
    bench.view.emit(createEvent(3));
    await stream.until(`id: ${createEvent(3).id}\n`);
    expect(stream.text()).not.toContain(createEvent(1).id);
    const beats = stream.text().split(': still here').length;
    await bench.clock.advance(15_000);
    await stream.until(': still here', beats + 1);
    await bench.api.close();
    await stream.ended;
    expect(bench.view.watcherCount).toBe(0);
  });

  it('resumes with what was told late and has an older time than what was seen', async () => {
    const bench = createBench();
    const port = await started(bench);
    bench.view.emit(createEvent(5));
    bench.view.emit({ ...createEvent(3), revision: revision(106) });
    bench.view.emit({ ...createEvent(2), revision: revision(107) });
    const stream = await connect(port, createEvent(5).id);
    await stream.until(`id: ${createEvent(2).id}\n`);
    expect(stream.text().match(/^id: .*$/gm)).toEqual(
      [createEvent(3).id, createEvent(2).id].map((id) => `id: ${id}`),
    );
  });

  it('forgets a stream whose reader left', async () => {
    const bench = createBench();
    const stream = await connect(await started(bench), '');
    await stream.until(': still here');
    stream.response.destroy();
    await expect.poll(() => bench.view.watcherCount).toBe(0);
  });
});

describe('the OpenAPI document', () => {
  it('is what openapi/openapi.json holds (npm run openapi)', async () => {
    expect(await readFile(OPENAPI_FILE, 'utf8')).toBe(await renderOpenApi());
  });

  it('is served, and names every operation once', async () => {
    const { app } = createBench().api;
    const response = await app.inject({ url: '/openapi.json', headers: { host: 'localhost' } });
    const { paths } = response.json<Json>();
    const operations: Json[] = Object.values(paths).flatMap((path: Json) => Object.values(path));
    const ids = operations.map(({ operationId }) => operationId);
    expect(ids).not.toContain(undefined);
    expect(new Set(ids).size).toBe(ids.length);
    expect(operations.every(({ summary }) => summary !== undefined)).toBe(true);
    const refusals = operations.map(({ responses }) => Object.keys(responses.default.content));
    expect(new Set(refusals.flat())).toEqual(new Set(['application/problem+json']));
    expect(refusals).toHaveLength(ids.length);
  });
});

type Stream = {
  readonly response: IncomingMessage;
  readonly ended: Promise<void>;
  text(): string;
  /** Resolves when the text has come `count` times (split into that many parts plus one). */
  until(text: string, parts?: number): Promise<void>;
};

async function connect(port: number, lastId: string): Promise<Stream> {
  const options = {
    port,
    host: '127.0.0.1',
    path: '/api/v1/events/stream',
    headers: lastId === '' ? {} : { 'last-event-id': lastId },
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpGet(options, resolve).on('error', reject);
  });
  let all = '';
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    all += chunk;
  });
  const ended = new Promise<void>((resolve) => response.on('close', () => resolve()));
  return {
    response,
    ended,
    text: () => all,
    until: async (text, parts = 2) => {
      await expect.poll(() => all.split(text).length).toBeGreaterThanOrEqual(parts);
    },
  };
}
