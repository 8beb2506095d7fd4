import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CLUSTER_DOCUMENT } from '../../fakes/fake-agent-view.ts';
import { type Bench, createBench } from './bench.ts';

const WRITES = [
  ['POST', '/api/v1/directors/d1/drain'],
  ['POST', '/api/v1/directors/d1/undrain'],
  ['POST', '/api/v1/services/web-http/real-servers/10.90.0.21:80/weight'],
  ['POST', '/api/v1/groups/web/switchover'],
  ['PUT', '/api/v1/config'],
  ['POST', '/api/v1/config/validate'],
  ['POST', '/api/v1/config/diff'],
] as const;

async function send(
  { api }: Bench,
  method: 'POST' | 'PUT' | 'GET' | 'HEAD',
  url: string,
  body?: string,
): Promise<number> {
  const response = await api.app.inject({
    method,
    url,
    headers: { host: 'localhost', ...(body && { 'content-type': 'application/json' }) },
    ...(body && { payload: body }),
  });
  return response.statusCode;
}

describe('input by people and programs that mean harm, or do not care', () => {
  it('never makes a route crash', async () => {
    const word = fc.constantFrom('reason', 'weight', 'to', 'from', 'document', '__proto__', 'x');
    const body = fc.oneof(
      fc.json(),
      fc.dictionary(word, fc.jsonValue()).map((o) => JSON.stringify(o)),
    );
    const bench = createBench();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...WRITES), body, async ([method, url], text) => {
        expect(await send(bench, method, url, text)).toBeLessThan(500);
      }),
      { numRuns: 300 },
    );
    expect(bench.logged).toEqual([]);
  });

  it('never makes a document crash the judge, whatever is in it', async () => {
    const bench = createBench();
    const place = fc.constantFrom('directors', 'groups', 'services', 'timing', 'apiVersion');
    await fc.assert(
      fc.asyncProperty(place, fc.jsonValue({ maxDepth: 4 }), async (key, value) => {
        const document = { ...CLUSTER_DOCUMENT, [key]: value };
        const status = await send(
          bench,
          'POST',
          '/api/v1/config/diff',
          JSON.stringify({ document }),
        );
        // 400: the parser refuses names such as __proto__ before anybody judges.
        expect([200, 400, 422]).toContain(status);
      }),
      { numRuns: 200 },
    );
  });

  it('is refused when it is nested beyond reason', async () => {
    const bench = createBench();
    const deep = `{"document":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    for (const [method, url] of WRITES.slice(-3))
      expect(await send(bench, method, url, deep), url).toBeLessThan(500);
  });

  it('finds no way out of the names in a path', async () => {
    const bench = createBench();
    for (const name of ['..%2f..%2frun%2fowner%2fweb', '%00', 'a'.repeat(100), '%E0%A4%A', '-x'])
      expect(await send(bench, 'GET', `/api/v1/groups/${name}`)).toBeGreaterThanOrEqual(400);
    expect(bench.store.txns).toEqual([]);
  });

  it('opens no stream for a HEAD', async () => {
    expect(await send(createBench(), 'HEAD', '/api/v1/events/stream')).toBe(404);
  });
});
