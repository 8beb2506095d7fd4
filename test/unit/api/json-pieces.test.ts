/** Large answers in pieces: the same JSON, never much of it at once. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { jsonPieces } from '../../../src/lib/json-pieces.ts';
import { createServices } from '../../fakes/fake-agent-view.ts';
import { type Bench, call, createBench } from './bench.ts';

const whole = (value: unknown): string => [...jsonPieces(value)].join('');

describe('jsonPieces', () => {
  it('is what JSON.stringify makes', () => {
    const long = fc.array(fc.jsonValue(), { minLength: 0, maxLength: 120 });
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.oneof(fc.jsonValue(), long)), (value) => {
        expect(JSON.parse(whole(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
      { numRuns: 100 },
    );
    expect(whole({ a: undefined, b: Array.from({ length: 60 }, () => 1), c: undefined })).toBe(
      `{"b":[${Array.from({ length: 60 }, () => 1).join(',')}]}`,
    );
    expect(whole(null)).toBe('null');
    expect(whole([])).toBe('[]');
  });

  it('comes in pieces of one entry', () => {
    const servers = Array.from({ length: 1000 }, (_, n) => ({ id: `10.0.0.${n}`, weight: n }));
    const pieces = [...jsonPieces({ services: [{ name: 'a', realServers: servers }] })];
    const nested = [...jsonPieces({ realServers: servers })];
    expect(nested.length).toBeGreaterThan(1000);
    expect(Math.max(...nested.map((piece) => piece.length))).toBeLessThan(50);
    // Few services with many real servers are as large.
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThan(50);
    expect(pieces.join('')).toBe(
      JSON.stringify({ services: [{ name: 'a', realServers: servers }] }),
    );
  });
});

describe('the status of very many services', () => {
  const open: Bench[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map(({ api }) => api.close()));
  });
  function large(): Bench {
    const bench = createBench();
    open.push(bench);
    const [service] = createServices();
    const [server] = service?.realServers ?? [];
    if (service === undefined || server === undefined) throw new Error('none');
    bench.view.statusDocument.services = Array.from({ length: 100 }, (_, n) => ({
      ...service,
      name: `s${n}`,
      realServers: Array.from({ length: 10 }, (__, i) => ({ ...server, id: `10.0.${n}.${i}:80` })),
    }));
    return bench;
  }

  it.each(['status', 'services', 'real-servers'])(
    '/%s is whole and fits its schema',
    async (path) => {
      const bench = large();
      const { body, headers } = await call(bench, { method: 'GET', url: `/api/v1/${path}` }, 200);
      expect(headers['content-type']).toBe('application/json; charset=utf-8');
      const count = path === 'real-servers' ? body.realServers.length : body.services.length;
      expect(count).toBe(path === 'real-servers' ? 1000 : 100);
      expect(bench.view.prepared).toBe(1);
      if (path === 'status') expect(body).toEqual(bench.view.statusDocument);
    },
  );

  it('is asked for by those alone who look at services', async () => {
    const bench = large();
    for (const url of ['/readyz', '/api/v1/groups', '/api/v1/directors', '/owner?group=web'])
      await bench.api.app.inject({ url, headers: { host: 'localhost' } });
    expect(bench.view.prepared).toBe(0);
    const one = { method: 'GET', url: '/api/v1/real-servers?service=s7' };
    expect((await call(bench, one, 200)).body.realServers).toHaveLength(10);
    await call(bench, { method: 'GET', url: '/api/v1/real-servers?service=none' }, 404);
  });
});
