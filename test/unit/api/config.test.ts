import { describe, expect, it } from 'vitest';
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
    expect((await put(bench, 'x'.repeat(1_500_000), 413)).body.code).toBe('too-large');
    const text = { method: 'PUT', url: URL, payload: '{"document":' } as const;
    const json = { 'content-type': 'application/json' };
    expect((await call(bench, { ...text, headers: json }, 400)).body.code).toBe('bad-request');
    const form = { 'content-type': 'text/plain' };
    await call(bench, { ...text, headers: form }, 415);
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
