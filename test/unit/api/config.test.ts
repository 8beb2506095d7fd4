import { describe, expect, it } from 'vitest';
import { err, ok } from '../../../src/lib/result.ts';
import { revision } from '../../../src/model/ids.ts';
import type { DocumentCodec } from '../../../src/ports/document-codec.ts';
import { CLUSTER_DOCUMENT, NO_SPEC } from '../../fakes/fake-agent-view.ts';
import { applyDocument, type Bench, call, createBench, type Json } from './bench.ts';

const URL = '/api/v1/config';
const get = (bench: Bench, status = 200) => call(bench, { method: 'GET', url: URL }, status);
const put = (
  bench: Bench,
  document: unknown,
  status: number,
  {
    headers = {},
    query = '',
    confirmShrink,
  }: { headers?: object; query?: string; confirmShrink?: boolean } = {},
) =>
  call(
    bench,
    {
      method: 'PUT',
      url: URL + query,
      headers: { ...headers },
      payload: { document, ...(confirmShrink === undefined ? {} : { confirmShrink }) },
    },
    status,
  );
const stored = (bench: Bench): Json => bench.store.peek(bench.keys.spec);

const withoutServices = (...names: string[]): object => ({
  ...CLUSTER_DOCUMENT,
  services: Object.fromEntries(
    Object.entries(CLUSTER_DOCUMENT.services).filter(([name]) => !names.includes(name)),
  ),
});

describe('reading the document', () => {
  it('gives what was applied, with its revision as ETag', async () => {
    const bench = createBench();
    const revision = applyDocument(bench);
    const { body, headers } = await get(bench);
    expect(headers.etag).toBe(`"${revision}"`);
    expect(body).toMatchObject({ revision, by: 'alice', isStale: false });
    expect(body.document).toEqual(CLUSTER_DOCUMENT);
  });

  it('says that nothing was applied yet', async () => {
    expect((await get(createBench(), 404)).body.detail).toContain('no cluster document');
  });

  it('shows what the director saw last while the store is away, and says so', async () => {
    const bench = createBench();
    bench.store.isDown = true;
    expect((await get(bench)).body).toMatchObject({ revision: 40, isStale: true });
    bench.view.specView = NO_SPEC;
    await get(bench, 503);
  });
});

describe('a stored document that nobody can read', () => {
  it('is said, and replaced under guard', async () => {
    const bench = createBench();
    const revision = bench.store.put(bench.keys.spec, { v: 9 });
    expect((await get(bench, 409)).body.revision).toBe(revision);
    const headers = { 'if-match': `"${revision}"` };
    await put(bench, CLUSTER_DOCUMENT, 200, { headers, confirmShrink: true });
    expect((await get(bench)).body.document).toEqual(CLUSTER_DOCUMENT);
  });

  it.each([
    ['is no record', { v: 9 }],
    ['is no longer valid', { v: 1, document: { groups: 7 }, by: 'alice', at: '' }],
  ])('does not switch the shrink guard off when it %s', async (_name, record) => {
    const bench = createBench();
    const headers = { 'if-match': `"${bench.store.put(bench.keys.spec, record)}"` };
    const { body } = await put(bench, CLUSTER_DOCUMENT, 409, { headers });
    expect(body).toMatchObject({ code: 'shrink-refused', removed: [] });
    expect(body.detail).toContain('cannot be read');
    const payload = { document: CLUSTER_DOCUMENT };
    const diff = await call(bench, { method: 'POST', url: `${URL}/diff`, payload }, 200);
    expect(diff.body.shrink.message).toContain('cannot be read');
  });
});

describe('applying a document', () => {
  it('takes the first one without a guard, and audits it', async () => {
    const bench = createBench();
    const { body, headers } = await put(bench, CLUSTER_DOCUMENT, 200);
    expect(stored(bench)).toMatchObject({ v: 1, by: 'local', document: CLUSTER_DOCUMENT });
    expect(headers.etag).toBe(`"${body.revision}"`);
    expect(bench.store.peek(bench.keys.event(body.event))).toMatchObject({ kind: 'spec.applied' });
  });

  it('wants If-Match where a document is there', async () => {
    const bench = createBench();
    const revision = applyDocument(bench);
    expect((await put(bench, withoutServices('smtp'), 428)).body.revision).toBe(revision);
    expect(
      (await put(bench, withoutServices('smtp'), 412, { headers: { 'if-match': '"1"' } })).body,
    ).toMatchObject({ revision, code: 'precondition-failed' });
    await put(bench, withoutServices('smtp'), 412, { headers: { 'if-none-match': '*' } });
    expect(stored(bench).by).toBe('alice');
    await put(bench, withoutServices('smtp'), 200, { headers: { 'if-match': `"${revision}"` } });
    expect(stored(bench).document.services).not.toHaveProperty('smtp');
  });

  it('refuses If-Match where nothing is there', async () => {
    await put(createBench(), CLUSTER_DOCUMENT, 412, { headers: { 'if-match': '"7"' } });
  });

  it('answers 412 when somebody else was faster than the txn', async () => {
    const bench = createBench();
    const revision = applyDocument(bench);
    bench.store.intruder = () => applyDocument(bench, withoutServices('web6-http'));
    const { body } = await put(bench, withoutServices('smtp'), 412, {
      headers: { 'if-match': `"${revision}"` },
    });
    expect(body.revision).toBeGreaterThan(revision);
    expect(stored(bench).document.services).toHaveProperty('smtp');
  });

  it('lists every problem with path and remedy, and writes nothing', async () => {
    const bench = createBench();
    const bad = {
      ...CLUSTER_DOCUMENT,
      groups: { web: { addresses: ['10.90.0.300/24'], interface: 'public' } },
      services: { s: { group: 'nope', address: '10.90.0.100', port: 'http' } },
    };
    const { body } = await put(bench, bad, 422);
    expect(body.problems.length).toBeGreaterThan(2);
    for (const problem of body.problems) expect(problem.message).not.toBe('');
    expect(body.problems.map(({ path }: { path: string }) => path)).toContain(
      'groups.web.addresses[0]',
    );
    expect(bench.store.txns).toEqual([]);
  });

  it('changes nothing in a dry run, and nothing for the same document', async () => {
    const bench = createBench();
    const headers = { 'if-match': `"${applyDocument(bench)}"` };
    const dry = await put(bench, withoutServices('smtp'), 200, { headers, query: '?dryRun=true' });
    expect(dry.body).toMatchObject({ changed: true, dryRun: true, revision: null });
    expect(dry.body.changes).toMatchObject([{ op: 'removed', path: 'services.smtp' }]);
    const same = await put(bench, CLUSTER_DOCUMENT, 200, { headers });
    expect(same.body).toMatchObject({ changed: false, changes: [] });
    expect(same.headers.etag).toBe(headers['if-match']);
    expect(bench.store.txns).toEqual([]);
  });

  it('refuses to remove most of it unless that is confirmed', async () => {
    const bench = createBench();
    const headers = { 'if-match': `"${applyDocument(bench)}"` };
    const less = withoutServices('smtp', 'web-http');
    const { body } = await put(bench, less, 409, { headers });
    expect(body.code).toBe('shrink-refused');
    expect(body.removed).toContain('virtual service smtp');
    expect(body.confirm).toContain('--confirm-shrink');
    expect(bench.store.txns).toEqual([]);
    const confirmed = await put(bench, less, 200, { headers, confirmShrink: true });
    expect(confirmed.body.changed).toBe(true);
  });

  it('refuses a body that is too large, no JSON, or of another type', async () => {
    const bench = createBench();
    const tooLong = (await put(bench, 'x'.repeat(8_000_000), 413)).body;
    expect(tooLong).toMatchObject({
      code: 'too-large',
      detail: 'the body has more than 8000000 bytes; nothing was changed',
    });
    const text = { method: 'PUT', url: URL, payload: '{"document":' } as const;
    const json = { 'content-type': 'application/json' };
    expect((await call(bench, { ...text, headers: json }, 400)).body.code).toBe('bad-request');
    const form = { 'content-type': 'text/plain' };
    await call(bench, { ...text, headers: form }, 415);
  });
});

/** Many services with few real servers each, all of them listed. */
const longDocument = (services: number, name = 's'): object => ({
  ...CLUSTER_DOCUMENT,
  services: Object.fromEntries(
    Array.from({ length: services }, (_, s) => [
      `${name}${s}`,
      {
        group: 'web',
        address: '10.90.0.100',
        port: 1 + s,
        realServers: Array.from({ length: 16 }, (_unused, d) => ({
          address: `10.91.${s % 250}.${d + 1}`,
          weight: 1 + ((s * d) % 100),
        })),
      },
    ]),
  ),
});

describe('a long document', () => {
  it('is packed into one key, and read, compared and replaced as any other', async () => {
    const bench = createBench();
    const document = longDocument(2313);
    const { body } = await put(bench, document, 200);
    expect(stored(bench)).toMatchObject({ v: 2, by: 'local' });
    expect(JSON.stringify(stored(bench)).length).toBeLessThan(400_000);
    const headers = { 'if-match': `"${body.revision}"` };
    expect((await get(bench)).body.document).toEqual(document);
    expect((await put(bench, document, 200, { headers })).body.changed).toBe(false);
    const diff = { method: 'POST', url: `${URL}/diff`, payload: { document: longDocument(2312) } };
    expect((await call(bench, diff, 200)).body.changes).toMatchObject([
      { op: 'removed', path: 'services.s2312' },
    ]);
    await put(bench, longDocument(1000), 409, { headers });
    expect(stored(bench).v).toBe(2);
    await put(bench, CLUSTER_DOCUMENT, 200, { headers, confirmShrink: true });
    expect(stored(bench)).toMatchObject({ v: 1, document: CLUSTER_DOCUMENT });
  });

  it('is shown from what the director saw last while the store is away', async () => {
    const bench = createBench();
    const document = longDocument(500);
    await put(bench, document, 200);
    bench.view.specView = { ...NO_SPEC, revision: revision(41), record: stored(bench) };
    bench.store.isDown = true;
    expect((await get(bench)).body).toMatchObject({ revision: 41, document, isStale: true });
  });

  it('is unpacked for one reader after the other, and not for more than may wait', async () => {
    let running = 0;
    let most = 0;
    const counting: DocumentCodec = {
      format: async () => err('not asked'),
      read: async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        return ok(CLUSTER_DOCUMENT);
      },
    };
    const bench = createBench({}, { codec: counting });
    bench.store.put(bench.keys.spec, { v: 2, packed: 'AAAA', bytes: 3, by: '', at: '' });
    const answers = await Promise.all(
      Array.from({ length: 40 }, () =>
        bench.api.app.inject({ url: URL, headers: { host: '127.0.0.1:7480' } }),
      ),
    );
    const codes = answers.map(({ statusCode }) => statusCode);
    expect(most).toBe(1);
    expect(codes.filter((code) => code === 200)).toHaveLength(16);
    expect(codes.filter((code) => code === 503)).toHaveLength(24);
    expect(answers.at(-1)?.body).toContain('try again');
  });

  it('that cannot be unpacked is one that nobody can read', async () => {
    const bench = createBench();
    const at = bench.store.put(bench.keys.spec, { v: 2, packed: 'AAAA', bytes: 3, by: '', at: '' });
    expect((await get(bench, 409)).body.detail).toContain('cannot be read');
    await put(bench, CLUSTER_DOCUMENT, 200, {
      headers: { 'if-match': `"${at}"` },
      confirmShrink: true,
    });
  });

  it('is refused with a remedy where it is too long even when it is packed', async () => {
    const bench = createBench();
    const tooLong: DocumentCodec = {
      format: async () => err('the document is too long; use ranges'),
      read: async () => err('none'),
    };
    const refusing = createBench({}, { codec: tooLong });
    await put(bench, CLUSTER_DOCUMENT, 200);
    for (const query of ['', '?dryRun=true'])
      expect((await put(refusing, CLUSTER_DOCUMENT, 413, { query })).body).toMatchObject({
        code: 'too-large',
        detail: 'the document is too long; use ranges; nothing was applied',
      });
    expect(refusing.store.txns).toEqual([]);
  });

  it.each(['{"document":[__],"x":1', '{"document":[__,]}', '{"document":"__'])(
    'is refused where it is no JSON: %s',
    async (text) => {
      const payload = text.replace('__', `"${'x'.repeat(100_000)}"`);
      const headers = { 'content-type': 'application/json' };
      const request = { method: 'PUT', url: URL, payload, headers };
      const { body } = await call(createBench(), request, 400);
      expect(body.detail).toMatch(/JSON/);
    },
  );

  it('changes no prototype', async () => {
    const text = JSON.stringify({ document: { pad: 'x'.repeat(100_000) } });
    const payload = text.replace('"pad"', '"__proto__":{"a":1},"pad"');
    const headers = { 'content-type': 'application/json' };
    await call(createBench(), { method: 'PUT', url: URL, payload, headers }, 400);
  });
});

describe('judging without applying', () => {
  it('validates', async () => {
    const bench = createBench();
    const url = `${URL}/validate`;
    const good = await call(
      bench,
      { method: 'POST', url, payload: { document: CLUSTER_DOCUMENT } },
      200,
    );
    expect(good.body).toMatchObject({ valid: true, problems: [] });
    const bad = await call(bench, { method: 'POST', url, payload: { document: {} } }, 200);
    expect(bad.body.valid).toBe(false);
    expect(bad.body.problems.length).toBeGreaterThan(0);
    await call(bench, { method: 'POST', url, payload: {} }, 400);
    const tables = Object.fromEntries(
      Array.from({ length: 3000 }, (_, n) => [`s${n}`, { group: 'none' }]),
    );
    const { body } = await call(
      bench,
      {
        method: 'POST',
        url: '/api/v1/config/validate',
        payload: { document: { services: tables } },
      },
      200,
    );
    expect(body.problems).toHaveLength(1001);
    expect(body.problems.at(-1).message).toMatch(/^\d+ more$/);
  });

  it('compares with what is applied', async () => {
    const bench = createBench();
    const revision = applyDocument(bench);
    const payload = { document: withoutServices('smtp', 'web6-http') };
    const { body } = await call(bench, { method: 'POST', url: `${URL}/diff`, payload }, 200);
    expect(body.revision).toBe(revision);
    expect(body.changes.map((change: Json) => `${change.op} ${change.path}`).toSorted()).toEqual([
      'removed services.smtp',
      'removed services.web6-http',
    ]);
    expect(body.shrink.removed).toHaveLength(2);
  });
});

describe('a document whose checks need more than this director has', () => {
  it('is refused, with what is needed, wherever it is judged', async () => {
    const bench = createBench();
    bench.view.checkProblem =
      'ask for 30000 checks; this one may have 512 sockets for them at once';
    const refused = await put(bench, CLUSTER_DOCUMENT, 422);
    expect(refused.body.problems).toEqual([
      {
        path: 'services',
        message: bench.view.checkProblem,
        allowed: expect.stringContaining('LimitNOFILE'),
      },
    ]);
    expect(stored(bench)).toBeNull();
    const payload = { document: CLUSTER_DOCUMENT };
    const judged = await call(bench, { method: 'POST', url: `${URL}/validate`, payload }, 200);
    expect(judged.body).toMatchObject({ valid: false, problems: [{ path: 'services' }] });
  });
});
