import { describe, expect, it } from 'vitest';
import { STORE_DEADLINE_MS } from '../../../src/api/commit.ts';
import { directorId, realServerId, serviceId } from '../../../src/model/ids.ts';
import { CLUSTER_DOCUMENT, createOperation } from '../../fakes/fake-agent-view.ts';
import { applyDocument, type Bench, call, createBench, type Json, passing } from './bench.ts';
import { LOST_ANSWER, LOST_REQUEST, REFUSED, REFUSED_FOR_LONG } from './observed-store.ts';

const drain = (bench: Bench, director: string, query = '', status = 200) =>
  call(
    bench,
    {
      method: 'POST',
      url: `/api/v1/directors/${director}/drain${query}`,
      payload: { reason: 'kernel update' },
    },
    status,
  );

const events = (bench: Bench): Json[] =>
  bench.store
    .keys()
    .filter((key) => key.startsWith(bench.keys.eventPrefix))
    .map((key) => bench.store.peek(key));

const drainKey = (bench: Bench): string => bench.keys.drain(directorId('d2'));

describe('drain of a director', () => {
  it('puts the record and the audit event in one guarded txn', async () => {
    const bench = createBench();
    const { body } = await drain(bench, 'd2');
    expect(body).toMatchObject({ changed: true, dryRun: false, warnings: [] });
    expect(bench.store.peek(drainKey(bench))).toMatchObject({ v: 1, by: 'local' });
    expect(events(bench)).toMatchObject([
      { kind: 'director.drained', subject: 'd2', reason: 'kernel update', by: 'local' },
    ]);
    expect(bench.store.txns).toHaveLength(1);
    expect(bench.store.txns[0]?.compares).toContainEqual({ key: drainKey(bench), modRevision: 0 });
    expect(bench.store.revisionOf(drainKey(bench))).toBe(body.revision);
  });

  it('is idempotent: the same again writes nothing', async () => {
    const bench = createBench();
    await drain(bench, 'd2');
    const { body } = await drain(bench, 'd2');
    expect(body).toMatchObject({ changed: false, revision: null, event: null });
    expect(bench.store.txns).toHaveLength(1);
  });

  it('changes nothing in a dry run', async () => {
    const bench = createBench();
    expect((await drain(bench, 'd2', '?dryRun=true')).body).toMatchObject({
      changed: true,
      dryRun: true,
    });
    expect(bench.store.txns).toEqual([]);
  });

  it('refuses a misspelt query instead of acting', async () => {
    const bench = createBench();
    const { body } = await drain(bench, 'd2', '?dryrun=true', 400);
    expect(body.problems).toEqual([
      { path: 'query.dryrun', message: 'is not known here', allowed: 'dryRun' },
    ]);
    expect(bench.store.txns).toEqual([]);
  });

  it('lists the known directors for an unknown one', async () => {
    const { body } = await drain(createBench(), 'd9', '', 404);
    expect(body).toMatchObject({ code: 'unknown-name', known: ['d1', 'd2'] });
    expect(body.detail).toBe('there is no director "d9"; known: d1, d2');
  });

  it('warns when nobody else could hold', async () => {
    const bench = createBench();
    for (const director of bench.view.statusDocument.directors)
      if (director.name === 'd1') director.isAlive = false;
    expect((await drain(bench, 'd2')).body.warnings).toHaveLength(1);
  });

  it('reads again and retries when another writer was faster', async () => {
    const bench = createBench();
    const other = { v: 1, by: 'bob', reason: 'other', at: '' };
    bench.store.intruder = () => bench.store.put(drainKey(bench), other);
    expect((await drain(bench, 'd2')).body).toMatchObject({ changed: true });
    expect(bench.store.txns).toHaveLength(2);
    expect(bench.store.peek(drainKey(bench))).toMatchObject({ reason: 'kernel update' });
  });

  it('answers 409 when others never stop changing it', async () => {
    const bench = createBench();
    const intrude = (): void => {
      bench.store.put(drainKey(bench), { v: 1, by: 'bob', reason: 'other', at: '' });
      queueMicrotask(() => {
        bench.store.intruder = intrude;
      });
    };
    bench.store.intruder = intrude;
    expect((await drain(bench, 'd2', '', 409)).body.code).toBe('conflict');
  });

  it('deletes the record at undrain', async () => {
    const bench = createBench();
    await drain(bench, 'd2');
    const undrain = {
      method: 'POST',
      url: '/api/v1/directors/d2/undrain',
      payload: { reason: 'done' },
    };
    expect((await call(bench, undrain, 200)).body.changed).toBe(true);
    expect(bench.store.peek(drainKey(bench))).toBeNull();
    expect((await call(bench, undrain, 200)).body.changed).toBe(false);
  });
});

describe('a store with bad days', () => {
  it('answers 503 with Retry-After when it is not there', async () => {
    const bench = createBench();
    bench.store.isDown = true;
    const { body, headers } = await drain(bench, 'd2', '', 503);
    expect(body.code).toBe('store-unavailable');
    expect(body.detail).toContain('nothing was changed');
    expect(headers['retry-after']).toBe('2');
  });

  it('finds out that a doubtful write was committed', async () => {
    const bench = createBench();
    bench.store.nextTxn(LOST_ANSWER);
    const { body } = await drain(bench, 'd2');
    expect(body.changed).toBe(true);
    expect(body.revision).toBe(bench.store.revisionOf(drainKey(bench)));
    expect(events(bench)).toMatchObject([{ kind: 'director.drained' }]);
  });

  it('makes a doubtful write impossible before it says that nothing happened', async () => {
    const bench = createBench();
    bench.store.nextTxn(LOST_REQUEST);
    const { body } = await drain(bench, 'd2', '', 503);
    expect(body.detail).toContain('nothing was changed');
    expect(events(bench)).toMatchObject([{ kind: 'request.abandoned' }]);
    const [late] = bench.store.txns;
    if (late === undefined) throw new Error('no txn was sent');
    expect(await bench.store.txn(late, { deadlineMs: 100 })).toMatchObject({ succeeded: false });
    expect(bench.store.peek(drainKey(bench))).toBeNull();
  });

  it('recognises its own abandonment when that answer is lost too', async () => {
    const bench = createBench();
    bench.store.nextTxn(LOST_REQUEST, LOST_ANSWER);
    expect((await drain(bench, 'd2', '', 503)).body.detail).toContain('nothing was changed');
  });

  it('answers 504 when it can not find out', async () => {
    const bench = createBench();
    bench.store.nextTxn(LOST_ANSWER, LOST_REQUEST, LOST_REQUEST);
    const { body } = await drain(bench, 'd2', '', 504);
    expect(body.code).toBe('outcome-unknown');
    expect(bench.store.peek(drainKey(bench))).not.toBeNull();
  });

  it('repeats a write that did not reach the store', async () => {
    const bench = createBench();
    bench.store.nextTxn(REFUSED, REFUSED);
    const drained = drain(bench, 'd2');
    await passing(bench, drained);
    expect((await drained).body.changed).toBe(true);
    expect(bench.store.txns).toHaveLength(3);
    expect(events(bench)).toMatchObject([{ kind: 'director.drained' }]);
  });

  it('says 503 for a write that never reached the store within its deadline', async () => {
    const bench = createBench();
    bench.store.nextTxn(...REFUSED_FOR_LONG);
    const startedAt = bench.clock.now();
    const drained = drain(bench, 'd2', '', 503);
    await passing(bench, drained);
    expect((await drained).body.detail).toContain('nothing was changed');
    expect(bench.clock.now() - startedAt).toBeLessThanOrEqual(STORE_DEADLINE_MS);
  });

  it('does not repeat a write when it wakes up after the deadline', async () => {
    const bench = createBench();
    bench.store.nextTxn(REFUSED);
    bench.clock.sleep = () => bench.clock.advance(STORE_DEADLINE_MS);
    const { body } = await drain(bench, 'd2', '', 503);
    expect(body.detail).toContain('nothing was changed');
    expect(bench.store.txns).toHaveLength(1);
    expect(events(bench)).toEqual([]);
  });

  it('does not repeat what the store refused for good', async () => {
    const bench = createBench();
    const error = { code: 'denied', message: 'permission denied', isRetryable: false } as const;
    bench.store.nextTxn({ kind: 'refused', error });
    await drain(bench, 'd2', '', 503);
    expect(bench.store.txns).toHaveLength(1);
  });
});

describe('overrides of a real server', () => {
  const key = (bench: Bench): string =>
    bench.keys.real(serviceId('web-http'), realServerId('10.90.0.21:80'));
  const post = (bench: Bench, tail: string, payload: object, status = 200) =>
    call(
      bench,
      { method: 'POST', url: `/api/v1/services/web-http/real-servers/${tail}`, payload },
      status,
    );

  it('drain, weight and ready keep each other', async () => {
    const bench = createBench();
    await post(bench, '10.90.0.21:80/weight', { weight: 7, reason: 'warm' });
    await post(bench, '10.90.0.21:80/drain', { reason: 'disk' });
    expect(bench.store.peek(key(bench))).toMatchObject({
      state: 'drain',
      weight: 7,
      reason: 'disk',
    });
    await post(bench, '10.90.0.21:80/ready', { reason: 'disk changed' });
    expect(bench.store.peek(key(bench))).toMatchObject({ state: 'ready', weight: 7 });
    const { body } = await post(bench, '10.90.0.21:80/weight', { weight: null, reason: 'warm' });
    expect(body.summary).toBe('web-http/10.90.0.21:80: weight 1, as in the cluster document');
    expect(bench.store.peek(key(bench))).toBeNull();
  });

  it('does not take null, text or too much for a weight of 0', async () => {
    const bench = createBench();
    for (const weight of ['5', -1, 2_147_483_648, 1.5])
      await post(bench, '10.90.0.21:80/weight', { weight, reason: 'x' }, 400);
    await post(bench, '10.90.0.21:80/weight', { reason: 'x' }, 400);
    expect(bench.store.txns).toEqual([]);
  });

  it('takes an address alone where it is unique, and IPv6 in brackets', async () => {
    const bench = createBench();
    await post(bench, '10.90.0.21/drain', { reason: 'x' });
    expect(bench.store.peek(key(bench))).toMatchObject({ state: 'drain' });
    const url = `/api/v1/services/web6-http/real-servers/${encodeURIComponent('[fd90:0::21]')}/maint`;
    const { body } = await call(bench, { method: 'POST', url, payload: { reason: 'x' } }, 200);
    expect(body.summary).toBe('web6-http/[fd90::21]:80: maint');
  });

  it('warns when the last one that serves goes', async () => {
    const { body } = await post(createBench(), '10.90.0.21:80/drain', { reason: 'x' });
    expect(body.warnings).toEqual([
      'no other real server of "web-http" takes new connections: the sorry server takes over',
    ]);
  });

  it('lists the known real servers and services', async () => {
    const bench = createBench();
    const { body } = await post(bench, '10.9.9.9:80/drain', { reason: 'x' }, 404);
    expect(body.known).toEqual(['10.90.0.21:80', '10.90.0.22:80']);
    const url = '/api/v1/services/ftp/real-servers/10.9.9.9:80/drain';
    const other = await call(bench, { method: 'POST', url, payload: { reason: 'x' } }, 404);
    expect(other.body.known).toEqual(['web-http', 'web6-http', 'smtp']);
  });

  it('replaces a record that nobody can read, under guard', async () => {
    const bench = createBench();
    bench.store.put(key(bench), { nonsense: true });
    await post(bench, '10.90.0.21:80/drain', { reason: 'x' });
    expect(bench.store.peek(key(bench))).toMatchObject({ state: 'drain' });
  });
});

describe('switchover', () => {
  const switchover = (
    bench: Bench,
    payload: object,
    status: number,
    { key, query = '', group = 'web' }: { key?: string; query?: string; group?: string } = {},
  ) =>
    call(
      bench,
      {
        method: 'POST',
        url: `/api/v1/groups/${group}/switchover${query}`,
        payload: { reason: 'test', ...payload },
        ...(key === undefined ? {} : { headers: { 'idempotency-key': key } }),
      },
      status,
    );

  it('is accepted as an operation that can be asked for at once', async () => {
    const bench = createBench();
    const { body, headers } = await switchover(bench, { from: 'd1', to: 'd2' }, 202);
    expect(headers.location).toBe(`/api/v1/operations/${body.id}`);
    const found = await call(bench, { method: 'GET', url: String(headers.location) }, 200);
    expect(found.body.operation).toMatchObject({
      group: 'web',
      from: 'd1',
      to: 'd2',
      state: 'pending',
    });
    expect(events(bench)).toMatchObject([{ kind: 'switchover.requested', subject: 'web' }]);
  });

  it('gives the same operation for the same Idempotency-Key', async () => {
    const bench = createBench();
    const first = await switchover(bench, { to: 'd2' }, 202, { key: 'k1' });
    const again = await switchover(bench, { to: 'd2' }, 202, { key: 'k1' });
    expect(again.body.id).toBe(first.body.id);
    expect(bench.store.txns).toHaveLength(1);
    const other = await switchover(bench, { to: 'd1' }, 409, { key: 'k1', group: 'mail' });
    expect(other.body.operation).toBe(first.body.id);
  });

  it('gives one operation for one key to two requests at the same time', async () => {
    const bench = createBench();
    const [a, b] = await Promise.all([
      switchover(bench, { to: 'd2' }, 202, { key: 'k1' }),
      switchover(bench, { to: 'd2' }, 202, { key: 'k1' }),
    ]);
    expect(a.body.id).toBe(b.body.id);
  });

  it('answers a dry run without an operation', async () => {
    const bench = createBench();
    const { body } = await switchover(bench, {}, 200, { query: '?dryRun=true' });
    expect(body).toMatchObject({ id: null, dryRun: true });
    expect(bench.store.txns).toEqual([]);
  });

  it.each([
    ['from is not the holder', { from: 'd2' }, 412, 'held by d1, not by d2'],
    ['to holds it already', { to: 'd1' }, 409, 'd1 holds "web" already'],
    ['to is unknown', { to: 'd7' }, 404, 'known: d1, d2'],
  ])('refuses when %s', async (_name, payload, status, detail) => {
    const bench = createBench();
    expect((await switchover(bench, payload, status)).body.detail).toContain(detail);
    expect(bench.store.txns).toEqual([]);
  });

  it.each([
    ['dead', { isAlive: false }, 'd2 is not alive'],
    ['draining', { isDraining: true }, 'd2 is draining'],
    ['not in the spec', { inSpec: false }, 'd2 is not in the cluster document'],
  ])('refuses a director that is %s', async (_name, fields, detail) => {
    const bench = createBench();
    for (const director of bench.view.statusDocument.directors)
      if (director.name === 'd2') Object.assign(director, fields);
    for (const payload of [{ to: 'd2' }, {}])
      expect((await switchover(bench, payload, 409)).body.detail).toContain(detail);
  });

  it('refuses a candidate that is not eligible, with the reason', async () => {
    const bench = createBench();
    for (const group of bench.view.statusDocument.groups)
      for (const candidate of group.candidates)
        if (candidate.director === 'd2')
          Object.assign(candidate, { eligible: false, reason: 'interface-down' });
    const { body } = await switchover(bench, { to: 'd2' }, 409);
    expect(body.detail).toContain('d2 is not eligible (interface-down): an interface of the group');
    expect(body.detail).toContain('see cable, switch port');
  });

  it('refuses while another operation moves the group, and while nobody holds it', async () => {
    const bench = createBench();
    bench.view.operationList = [createOperation('op1')];
    expect((await switchover(bench, {}, 409)).body.operation).toBe('op1');
    bench.view.operationList = [createOperation('op1', { state: 'succeeded' })];
    await switchover(bench, {}, 202);
    for (const group of bench.view.statusDocument.groups) group.holder = null;
    expect((await switchover(bench, {}, 409)).body.detail).toContain('nobody holds');
  });

  it('is not in the way for ever when no agent ends it: neither its record nor its group', async () => {
    const bench = createBench();
    const { body } = await switchover(bench, {}, 202);
    bench.view.operationList = [createOperation('op1', { at: bench.clock.wallTime() })];
    await bench.clock.advance(9 * 60_000);
    await switchover(bench, {}, 409);
    await bench.clock.advance(2 * 60_000);
    await switchover(bench, {}, 202);
    await bench.clock.advance(25 * 3600_000);
    expect(bench.store.peek(bench.keys.operation(body.id))).toBeNull();
  });

  it('accepts one of two at the same moment, and none that the view has not seen yet', async () => {
    const bench = createBench();
    const post = (to: string) =>
      bench.api.app.inject({
        method: 'POST',
        url: '/api/v1/groups/web/switchover',
        headers: { host: '127.0.0.1' },
        payload: { reason: 'test', to },
      });
    const answers = await Promise.all([post('d2'), post('d2')]);
    expect(answers.map(({ statusCode }) => String(statusCode)).toSorted()).toEqual(['202', '409']);
    const accepted = answers.find(({ statusCode }) => statusCode === 202)?.json();
    expect(bench.view.operations()).toEqual([]);
    const late = await switchover(bench, { to: 'd2' }, 409);
    expect(late.body.operation).toBe(accepted.id);
  });
});

describe('records of what left the cluster document', () => {
  const record = { v: 1, by: 'bob', reason: 'old', at: '' };
  const withLeftovers = (): Bench => {
    const bench = createBench();
    bench.store.put(bench.keys.drain(directorId('d9')), record);
    const old = bench.keys.real(serviceId('web-http'), realServerId('10.9.9.9:80'));
    bench.store.put(old, { ...record, state: 'drain', weight: 3 });
    return bench;
  };
  const clear = (bench: Bench, url: string, status: number) =>
    call(bench, { method: 'POST', url: `/api/v1/${url}`, payload: { reason: 'gone' } }, status);

  it('are named by diff and apply, also when they come back', async () => {
    const bench = withLeftovers();
    const back = bench.keys.real(serviceId('smtp'), realServerId('10.90.0.31:25'));
    bench.store.put(back, { ...record, state: 'maint', weight: null });
    const { smtp: _smtp, ...services } = CLUSTER_DOCUMENT.services;
    applyDocument(bench, { ...CLUSTER_DOCUMENT, services });
    const payload = { document: CLUSTER_DOCUMENT };
    const diff = { method: 'POST', url: '/api/v1/config/diff', payload };
    const { warnings } = (await call(bench, diff, 200)).body;
    expect(warnings.join('\n')).toContain('director d9, real server web-http/10.9.9.9:80;');
    expect(warnings.join('\n')).toContain(
      'still drained or overridden from before: real server smtp/10.90.0.31:25',
    );
    const headers = { 'if-match': '*' };
    const put = { method: 'PUT', url: '/api/v1/config?dryRun=true', headers, payload };
    expect((await call(bench, put, 200)).body.warnings).toEqual(warnings);
  });

  it('are cleared by undrain and ready, and nothing else', async () => {
    const bench = withLeftovers();
    await clear(bench, 'services/web-http/real-servers/10.9.9.9:80/drain', 404);
    await clear(bench, 'services/web-http/real-servers/10.9.9.9:80/ready', 200);
    await clear(bench, 'directors/d9/undrain', 200);
    expect(bench.store.keys().filter((key) => key.startsWith(bench.keys.adminPrefix))).toEqual([]);
    await clear(bench, 'services/web-http/real-servers/10.9.9.9:80/ready', 404);
    await clear(bench, 'directors/d9/undrain', 404);
  });
});
