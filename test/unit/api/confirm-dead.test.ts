/** An operator's word that a director is dead: what it is compared with, and what it is refused by. */
import { describe, expect, it } from 'vitest';
import { directorId } from '../../../src/model/ids.ts';
import type { DirectorStatus } from '../../../src/model/status.ts';
import { type Bench, call, createBench, type Json } from './bench.ts';
import { LOST_ANSWER, LOST_REQUEST } from './observed-store.ts';

const D2 = directorId('d2');
const SESSION = {
  v: 1,
  state: 'open',
  boot: 'b',
  namespace: 'n',
  machine: 'm',
  nonce: '0f',
  address: '10.90.0.12',
  id: 0,
};
type Silence = NonNullable<DirectorStatus['silence']>;

const statusOf = ({ view }: Bench, name: string): DirectorStatus => {
  const found = view.statusDocument.directors.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
};

/** d2 has an open session, is not heard, and nobody that is left may judge it. */
function silentBench(fields: Partial<Silence> = {}): { bench: Bench; session: number } {
  const bench = createBench();
  const session = bench.store.put(bench.keys.session(D2), SESSION);
  statusOf(bench, 'd2').silence = {
    forMs: 42_000,
    session,
    needsWord: true,
    confirmedDead: null,
    ...fields,
  };
  return { bench, session };
}

const confirm = async (
  bench: Bench,
  status: number,
  fields: object = {},
  query = '',
): Promise<Json> =>
  (
    await call(
      bench,
      {
        method: 'POST',
        url: `/api/v1/directors/d2/confirm-dead${query}`,
        payload: { reason: 'powered off', ...fields },
      },
      status,
    )
  ).body;

const wordIn = ({ store, keys }: Bench): unknown => store.peek(keys.confirmDead(D2));

describe('a confirmed death', () => {
  it('is a record about the very session, guarded by it, with an audit event', async () => {
    const { bench, session } = silentBench();
    const body = await confirm(bench, 200, { session });
    expect(body).toMatchObject({
      changed: true,
      summary: `confirm that d2 is dead (session ${session})`,
    });
    expect(wordIn(bench)).toEqual({
      v: 1,
      session,
      by: 'local',
      reason: 'powered off',
      at: bench.clock.wallTime(),
    });
    const { store, keys } = bench;
    expect(store.txns).toHaveLength(1);
    expect(store.txns[0]?.compares).toEqual(
      expect.arrayContaining([
        { key: keys.session(D2), modRevision: session },
        { key: keys.confirmDead(D2), modRevision: 0 },
      ]),
    );
    const event = store.keys().find((key) => key.startsWith(keys.eventPrefix)) ?? '';
    expect(store.peek(event)).toMatchObject({
      kind: 'death.confirmed',
      subject: 'd2',
      by: 'local',
    });
  });

  it('tells what the operator has to be sure of', async () => {
    const { bench } = silentBench();
    const { warnings } = await confirm(bench, 200, {}, '?dryRun=true');
    expect(warnings).toHaveLength(1);
    for (const risk of ['d2 must be off', 'promises', 'gateway', 'two directors would answer'])
      expect(warnings[0]).toContain(risk);
    expect(bench.store.txns).toEqual([]);
  });

  it('is said once: the same again writes nothing', async () => {
    const { bench } = silentBench();
    await confirm(bench, 200);
    expect(await confirm(bench, 200)).toMatchObject({
      changed: false,
      revision: null,
      warnings: [],
    });
    expect(bench.store.txns).toHaveLength(1);
  });

  it('replaces a word about an earlier session, which says nothing any more', async () => {
    const { bench, session } = silentBench();
    const { store, keys } = bench;
    const modRevision = store.put(keys.confirmDead(D2), {
      v: 1,
      session: 1,
      by: 'bob',
      reason: '',
      at: '',
    });
    expect(await confirm(bench, 200)).toMatchObject({ changed: true });
    expect(wordIn(bench)).toMatchObject({ session });
    expect(store.txns[0]?.compares).toContainEqual({ key: keys.confirmDead(D2), modRevision });
  });

  it('may be about another machine that has the name of the one that answers', async () => {
    const { bench } = silentBench();
    const d1 = directorId('d1');
    const session = bench.store.put(bench.keys.session(d1), SESSION);
    const silence = { forMs: 9000, session, needsWord: true, confirmedDead: null };
    statusOf(bench, 'd1').silence = silence;
    const url = '/api/v1/directors/d1/confirm-dead';
    await call(bench, { method: 'POST', url, payload: { reason: 'replaced' } }, 200);
    expect(bench.store.peek(bench.keys.confirmDead(d1))).toMatchObject({ session });
  });

  it('is learnt where the answer is lost, and impossible where the request was', async () => {
    const { bench } = silentBench();
    bench.store.nextTxn(LOST_REQUEST);
    expect((await confirm(bench, 503)).detail).toContain('nothing was changed');
    const [late] = bench.store.txns;
    if (late === undefined) throw new Error('no txn was sent');
    expect(await bench.store.txn(late, { deadlineMs: 100 })).toMatchObject({ succeeded: false });
    expect(wordIn(bench)).toBeNull();
    bench.store.nextTxn(LOST_ANSWER);
    expect(await confirm(bench, 200)).toMatchObject({ changed: true });
  });
});

describe('is refused with a remedy', () => {
  it('where the director is heard', async () => {
    const { bench } = silentBench();
    delete statusOf(bench, 'd2').silence;
    const body = await confirm(bench, 409);
    expect(body.code).toBe('conflict');
    expect(body.detail).toContain('d1 hears d2');
    expect(body.detail).toContain('leasehold director drain d2');
  });

  it('where it is the one that answers', async () => {
    const { bench } = silentBench();
    bench.store.put(bench.keys.session(directorId('d1')), SESSION);
    const request = {
      method: 'POST',
      url: '/api/v1/directors/d1/confirm-dead',
      payload: { reason: 'x' },
    };
    expect((await call(bench, request, 409)).body.detail).toContain('ask another director');
  });

  it.each(['closed', 'broken'])('where its session is %s: nobody waits for it', async (state) => {
    const { bench } = silentBench();
    bench.store.put(bench.keys.session(D2), { ...SESSION, state });
    expect((await confirm(bench, 409)).detail).toContain('nothing to confirm');
  });

  it('where it never had a session', async () => {
    expect((await confirm(createBench(), 409)).detail).toContain('no open session');
  });

  it('where its record cannot be read', async () => {
    const { bench } = silentBench();
    bench.store.put(bench.keys.session(D2), { v: 2 });
    expect((await confirm(bench, 409)).detail).toContain('a newer version');
  });

  it('where another session is meant than it has by now', async () => {
    const { bench, session } = silentBench();
    const { detail } = await confirm(bench, 409, { session: session + 1 });
    expect(detail).toContain(`is ${session} by now, not ${session + 1}`);
    expect(detail).toContain('leasehold director list');
  });

  it('where it has just begun another session, which this director has not seen yet', async () => {
    const { bench } = silentBench();
    bench.store.put(bench.keys.session(D2), { ...SESSION, nonce: '10' });
    expect((await confirm(bench, 409)).detail).toContain('it lives');
  });

  it('where it begins another session at this very moment', async () => {
    const { bench } = silentBench();
    const { store, keys } = bench;
    store.intruder = () => store.put(keys.session(D2), { ...SESSION, nonce: '10' });
    expect((await confirm(bench, 409)).detail).toContain('it lives');
    expect(wordIn(bench)).toBeNull();
  });

  it('where somebody that is left may judge it', async () => {
    const { bench } = silentBench({ needsWord: false });
    expect((await confirm(bench, 409)).detail).toContain('no word is needed');
  });

  it('for a name that nobody knows, and for a body that is not understood', async () => {
    const { bench } = silentBench();
    const url = '/api/v1/directors/d9/confirm-dead';
    const { body } = await call(bench, { method: 'POST', url, payload: { reason: 'x' } }, 404);
    expect(body.known).toEqual(['d1', 'd2']);
    await confirm(bench, 400, { sesion: 3 });
    await confirm(bench, 400, { reason: '' });
    await confirm(bench, 400, {}, '?dryrun=true');
    expect(bench.store.txns).toEqual([]);
  });

  it('where etcd does not answer', async () => {
    const { bench } = silentBench();
    bench.store.isDown = true;
    expect((await confirm(bench, 503)).code).toBe('store-unavailable');
  });

  it('without the role of an operator', async () => {
    const tokens = [{ name: 'eve', role: 'viewer', token: 'eve-token-0123456789' }] as const;
    const bench = createBench({ tokens });
    const headers = { authorization: 'Bearer eve-token-0123456789' };
    const url = '/api/v1/directors/d2/confirm-dead';
    const request = { method: 'POST', url, headers, payload: { reason: 'x' } };
    expect((await call(bench, request, 403)).body.code).toBe('forbidden');
  });
});
