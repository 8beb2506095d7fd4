/** What every ClusterStore must do, the fake as well as etcd. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { ABSENT, leaseId, type Revision, revision } from '../../src/model/ids.ts';
import type {
  ClusterStore,
  StoreOperation,
  TxnAnswer,
  WatchEvent,
} from '../../src/ports/cluster-store.ts';
import { RunningClock } from '../support/running-clock.ts';

export type StoreUnderTest = {
  connect(): ClusterStore;
  /** From now on no request is answered; what is sent may be carried out later. */
  silence(): void;
  speak(): void;
  /** Ends the connections and makes the store unreachable. */
  takeDown(): Promise<void>;
  bringBack(): Promise<void>;
  /** Writes and compacts behind the back of the connections that were taken down, through another way. */
  compactWhileDown(writes: readonly { key: string; value: string }[]): Promise<void>;
  close(): Promise<void>;
};

const clock = createSystemClock();
/** For a machine that is busy with other work. */
export const CALL = { deadlineMs: 10_000 } as const;
/** A silent store must be noticed before the library's own keepalive would notice it: after 13 s. */
export const SILENCE_NOTICED_MS = 8000;

/** As the codec of documents makes it. */
export const LONGEST_VALUE = 1_400_000;

export const put = (key: string, value: string): StoreOperation => ({ op: 'put', key, value });
export const get = (key: string): StoreOperation => ({ op: 'get', key });
export const remove = (key: string): StoreOperation => ({ op: 'delete', key });

/** An unguarded write; fails the test where it was not answered. */
export async function write(
  store: ClusterStore,
  ...operations: readonly StoreOperation[]
): Promise<Revision> {
  const answer = await store.txn({ compares: [], success: operations, failure: [] }, CALL);
  return answered(answer).revision;
}

export function answered(answer: TxnAnswer): TxnAnswer & { kind: 'answered' } {
  if (answer.kind !== 'answered') throw new Error(`not answered: ${JSON.stringify(answer)}`);
  return answer;
}

/** Everything a watch said so far. */
export class WatchLog {
  readonly events: WatchEvent[] = [];
  readonly ended: Promise<void>;
  readonly #abort = new AbortController();

  constructor(store: ClusterStore, prefix: string) {
    this.ended = this.#collect(store, prefix);
  }

  async #collect(store: ClusterStore, prefix: string): Promise<void> {
    for await (const event of store.watch(prefix, this.#abort.signal)) this.events.push(event);
  }

  of<K extends WatchEvent['kind']>(kind: K): readonly Extract<WatchEvent, { kind: K }>[] {
    return this.events.filter((event): event is Extract<WatchEvent, { kind: K }> => {
      return event.kind === kind;
    });
  }

  /** `key=value` of every change, deletions as `key=null`, in order. */
  changes(): readonly string[] {
    return this.of('changes').flatMap(({ changes }) =>
      changes.map(({ key, value }) => `${key}=${value}`),
    );
  }

  async until(condition: (log: this) => boolean, limitMs = 20_000): Promise<void> {
    const endsAt = clock.now() + limitMs;
    while (!condition(this)) {
      if (clock.now() > endsAt)
        throw new Error(`not seen within ${limitMs} ms: ${JSON.stringify(this.events)}`);
      await clock.sleep(10);
    }
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }
}

export function clusterStoreContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`cluster store: ${name}`, () => {
    let subject: StoreUnderTest;
    let store: ClusterStore;
    let running: RunningClock;
    const logs: WatchLog[] = [];
    let prefix = '';
    let tests = 0;

    beforeAll(async () => {
      running = await RunningClock.start();
      subject = await create();
      store = subject.connect();
    });
    afterEach(async () => {
      await Promise.all(logs.splice(0).map((log) => log.stop()));
    });
    afterAll(async () => {
      store.close();
      await subject.close();
      await running.stop();
    });
    const fresh = (): string => {
      prefix = `/contract/${++tests}/`;
      return prefix;
    };
    const watch = (): WatchLog => {
      const log = new WatchLog(store, prefix);
      logs.push(log);
      return log;
    };

    describe('transactions', () => {
      it('takes a value as long as that of the longest cluster document, and tells it whole', async () => {
        const key = `${fresh()}long`;
        const log = watch();
        await log.until(({ events }) => events.length > 0);
        const value = 'packed '.repeat(LONGEST_VALUE / 7);
        await write(store, put(key, value), put(`${key}-event`, 'x'.repeat(10_000)));
        expect(await store.get(key, CALL)).toMatchObject({ ok: true, value: { value } });
        const listed = await store.list(prefix, CALL);
        expect(listed.ok && listed.value.entries[0]?.value).toBe(value);
        await log.until(({ events }) => events.length > 1);
        expect(log.of('changes')[0]?.changes[0]?.value).toBe(value);
      });

      it('creates a key only where it is absent, and says at which revision', async () => {
        const key = `${fresh()}a`;
        const create = (value: string): Promise<TxnAnswer> =>
          store.txn(
            {
              compares: [{ key, modRevision: ABSENT }],
              success: [put(key, value)],
              failure: [get(key)],
            },
            CALL,
          );
        const first = answered(await create('one'));
        expect(first.succeeded).toBe(true);
        expect(first.reads).toEqual([]);
        expect(first.receivedAt).toBeGreaterThanOrEqual(first.sentAt);
        const second = answered(await create('two'));
        expect(second.succeeded).toBe(false);
        expect(second.reads).toEqual([{ key, value: 'one', modRevision: first.revision }]);
      });

      it('replaces a key only at the revision that was seen', async () => {
        const key = `${fresh()}a`;
        const seen = await write(store, put(key, 'one'));
        const replace = async (value: string): Promise<boolean> => {
          const answer = await store.txn(
            {
              compares: [{ key, modRevision: seen }],
              success: [put(key, value)],
              failure: [get(key)],
            },
            CALL,
          );
          return answered(answer).succeeded;
        };
        expect(await replace('two')).toBe(true);
        expect(await replace('three')).toBe(false);
        expect(await store.get(key, CALL)).toMatchObject({ ok: true, value: { value: 'two' } });
      });

      it('answers the reads of the branch that ran, in their order, absent keys too', async () => {
        fresh();
        const seen = await write(store, put(`${prefix}a`, '1'), put(`${prefix}c`, '3'));
        const answer = answered(
          await store.txn(
            {
              compares: [{ key: `${prefix}a`, modRevision: revision(seen + 1000) }],
              success: [put(`${prefix}a`, 'wrong')],
              failure: [
                get(`${prefix}c`),
                get(`${prefix}b`),
                put(`${prefix}d`, '4'),
                get(`${prefix}a`),
              ],
            },
            CALL,
          ),
        );
        expect(answer.succeeded).toBe(false);
        expect(answer.reads).toEqual([
          { key: `${prefix}c`, value: '3', modRevision: seen },
          { key: `${prefix}b`, value: null, modRevision: ABSENT },
          { key: `${prefix}a`, value: '1', modRevision: seen },
        ]);
        expect(answer.revision).toBe(seen + 1);
      });

      it('makes no revision by deleting what is not there', async () => {
        fresh();
        const before = await write(store, put(`${prefix}a`, '1'));
        expect(await write(store, remove(`${prefix}none`))).toBe(before);
        expect(await write(store, remove(`${prefix}a`))).toBe(before + 1);
      });

      it('guards and writes 100 groups at once, and refuses more than 128 operations', async () => {
        fresh();
        const keys = Array.from({ length: 100 }, (_, i) => `${prefix}owner/${i}`);
        const claim = answered(
          await store.txn(
            {
              compares: keys.map((key) => ({ key, modRevision: ABSENT })),
              success: keys.map((key) => put(key, 'd1')),
              failure: keys.map(get),
            },
            CALL,
          ),
        );
        expect(claim.succeeded).toBe(true);
        const again = answered(
          await store.txn(
            {
              compares: keys.map((key) => ({ key, modRevision: ABSENT })),
              success: [remove(`${prefix}challenge`)],
              failure: keys.map(get),
            },
            CALL,
          ),
        );
        expect(again.reads).toEqual(
          keys.map((key) => ({ key, value: 'd1', modRevision: claim.revision })),
        );
        const many = Array.from({ length: 129 }, (_, i) => put(`${prefix}many/${i}`, 'x'));
        const refused = await store.txn({ compares: [], success: many, failure: [] }, CALL);
        expect(refused).toMatchObject({ kind: 'refused', error: { code: 'bad-request' } });
        expect(await store.list(`${prefix}many/`, CALL)).toMatchObject({ value: { entries: [] } });
      });

      it('refuses the same key twice', async () => {
        const key = `${fresh()}a`;
        const answer = await store.txn(
          { compares: [], success: [put(key, '1'), put(key, '2')], failure: [] },
          CALL,
        );
        expect(answer).toMatchObject({ kind: 'refused', error: { code: 'bad-request' } });
      });

      it('leaves a transaction without an answer in doubt, and a later one learns of it', async () => {
        const key = `${fresh()}a`;
        subject.silence();
        const before = clock.now();
        const ranBefore = running.now();
        const doubtful = await store.txn(
          { compares: [{ key, modRevision: ABSENT }], success: [put(key, 'mine')], failure: [] },
          { deadlineMs: 200 },
        );
        const ranMs = running.now() - ranBefore;
        subject.speak();
        expect(doubtful).toMatchObject({ kind: 'ambiguous', error: { isRetryable: true } });
        expect(doubtful.sentAt).toBeGreaterThanOrEqual(before);
        expect(doubtful.receivedAt - doubtful.sentAt).toBeGreaterThanOrEqual(195);
        expect(ranMs).toBeLessThan(400);
        // A write closes the case: whatever was on its way comes before it or never.
        const settled = answered(
          await store.txn(
            {
              compares: [{ key, modRevision: ABSENT }],
              success: [put(key, 'again')],
              failure: [get(key)],
            },
            CALL,
          ),
        );
        const value = settled.succeeded ? 'again' : 'mine';
        expect(await store.get(key, CALL)).toMatchObject({ value: { value } });
        expect(store.health().lastAnswerAt).toBeGreaterThan(before);
      });

      it('ends at once with the signal, and sends nothing after it', async () => {
        const key = `${fresh()}a`;
        const txn = { compares: [], success: [put(key, '1')], failure: [] };
        const done = AbortSignal.abort();
        expect(await store.txn(txn, { ...CALL, signal: done })).toMatchObject({
          kind: 'refused',
          error: { code: 'aborted' },
        });
        subject.silence();
        const abort = new AbortController();
        const running = store.txn(txn, { deadlineMs: 5000, signal: abort.signal });
        await clock.sleep(50);
        abort.abort();
        expect(await running).toMatchObject({ kind: 'ambiguous', error: { code: 'aborted' } });
        subject.speak();
      });
    });

    describe('reads', () => {
      it('lists a prefix and nothing beside it', async () => {
        fresh();
        const seen = await write(store, put(`${prefix}a`, '1'), put(`${prefix}b/c`, 'ü'));
        const last = await write(store, put(`${prefix.slice(0, -1)}0`, 'the next sibling'));
        const listed = await store.list(prefix, CALL);
        // What was given up in the case before may be done at any time since.
        expect(listed.ok && listed.value.revision).toBeGreaterThanOrEqual(last);
        expect(listed).toMatchObject({
          ok: true,
          value: {
            entries: [
              { key: `${prefix}a`, value: '1', modRevision: seen },
              { key: `${prefix}b/c`, value: 'ü', modRevision: seen },
            ],
          },
        });
      });

      it('reads an absent key as null', async () => {
        const key = `${fresh()}none`;
        expect(await store.get(key, CALL)).toEqual({
          ok: true,
          value: { key, value: null, modRevision: ABSENT },
        });
      });

      it('ends at its deadline where nobody answers', async () => {
        fresh();
        subject.silence();
        const ranBefore = running.now();
        const listed = await store.list(prefix, { deadlineMs: 200 });
        const ranMs = running.now() - ranBefore;
        subject.speak();
        expect(listed).toMatchObject({ ok: false, error: { isRetryable: true } });
        expect(ranMs).toBeLessThan(500);
      });
    });

    describe('watch', () => {
      it('starts with everything, then tells changes; one revision is one event', async () => {
        fresh();
        const seen = await write(store, put(`${prefix}a`, '1'));
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        expect(log.events[0]).toMatchObject({
          kind: 'snapshot',
          entries: [{ key: `${prefix}a`, value: '1', modRevision: seen }],
        });
        const both = await write(store, put(`${prefix}b`, '2'), put(`${prefix}c`, '3'));
        await write(store, put('/contract-elsewhere', 'x'));
        const gone = await write(store, remove(`${prefix}a`), put(`${prefix}d`, '4'));
        await log.until(() => log.changes().length === 4);
        expect(log.of('changes')).toEqual([
          {
            kind: 'changes',
            revision: both,
            changes: [
              { key: `${prefix}b`, value: '2', modRevision: both },
              { key: `${prefix}c`, value: '3', modRevision: both },
            ],
          },
          {
            kind: 'changes',
            revision: gone,
            changes: [
              { key: `${prefix}a`, value: null, modRevision: gone },
              { key: `${prefix}d`, value: '4', modRevision: gone },
            ],
          },
        ]);
      });

      it('loses nothing and repeats nothing while 200 writers write', async () => {
        fresh();
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        const keys = Array.from({ length: 200 }, (_, i) => `${prefix}${i}`);
        await Promise.all(keys.map((key) => write(store, put(key, 'x'))));
        await log.until(() => log.changes().length >= 200);
        expect([...log.changes()].sort()).toEqual(keys.map((key) => `${key}=x`).sort());
        const revisions = log.of('changes').map((event) => event.revision);
        expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
      });

      it('notices silence, says so once, and loses nothing', async () => {
        fresh();
        await write(store, put(`${prefix}a`, '1'));
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        subject.silence();
        await log.until(() => log.of('interrupted').length === 1, SILENCE_NOTICED_MS);
        subject.speak();
        await write(store, put(`${prefix}b`, '2'));
        await write(store, put(`${prefix}c`, '3'));
        await log.until(() => log.changes().length === 2);
        expect(log.changes()).toEqual([`${prefix}b=2`, `${prefix}c=3`]);
        expect(log.of('snapshot')).toHaveLength(1);
        expect(log.of('interrupted')).toHaveLength(1);
      });

      it('resumes after the store was down, without a new snapshot', async () => {
        fresh();
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        await write(store, put(`${prefix}a`, '1'));
        await log.until(() => log.changes().length === 1);
        await subject.takeDown();
        await log.until(() => log.of('interrupted').length === 1, SILENCE_NOTICED_MS);
        await subject.bringBack();
        await write(store, put(`${prefix}b`, '2'));
        await log.until(() => log.changes().length === 2);
        expect(log.changes()).toEqual([`${prefix}a=1`, `${prefix}b=2`]);
        expect(log.of('snapshot')).toHaveLength(1);
      });

      it('lists anew where the history was compacted meanwhile', async () => {
        fresh();
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        await subject.takeDown();
        await log.until(() => log.of('interrupted').length === 1, SILENCE_NOTICED_MS);
        await subject.compactWhileDown([
          { key: `${prefix}a`, value: '1' },
          { key: `${prefix}a`, value: '2' },
          { key: `${prefix}b`, value: '3' },
        ]);
        await log.until(() => log.of('snapshot').length === 2);
        expect(log.of('snapshot')[1]?.entries.map(({ key, value }) => `${key}=${value}`)).toEqual([
          `${prefix}a=2`,
          `${prefix}b=3`,
        ]);
        await write(store, put(`${prefix}c`, '4'));
        await log.until(() => log.changes().includes(`${prefix}c=4`));
      });

      it('ends with its signal, and when its consumer leaves', async () => {
        fresh();
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        await log.stop();
        for await (const event of store.watch(prefix, new AbortController().signal)) {
          expect(event.kind).toBe('snapshot');
          break;
        }
      });
    });

    describe('leases', () => {
      it('counts validity from the send, and keeps a lease alive', async () => {
        const before = clock.now();
        const granted = await store.grantLease(5, CALL);
        const after = clock.now();
        if (!granted.ok) throw new Error(granted.error.message);
        const { lease, validUntil } = granted.value;
        expect(validUntil).toBeGreaterThanOrEqual(before + 5000);
        expect(validUntil).toBeLessThanOrEqual(after + 5000);
        await clock.sleep(30);
        const kept = await store.keepLeaseAlive(lease, CALL);
        expect(kept.ok && kept.value.validUntil).toBeGreaterThanOrEqual(validUntil + 25);
        expect(await store.revokeLease(lease, CALL)).toEqual({ ok: true, value: undefined });
      });

      it('deletes the keys of a revoked lease in one revision, and knows it no more', async () => {
        fresh();
        const granted = await store.grantLease(60, CALL);
        if (!granted.ok) throw new Error(granted.error.message);
        const { lease } = granted.value;
        await write(
          store,
          { op: 'put', key: `${prefix}a`, value: '1', lease },
          { op: 'put', key: `${prefix}b`, value: '2', lease },
          put(`${prefix}c`, '3'),
        );
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        expect((await store.revokeLease(lease, CALL)).ok).toBe(true);
        await log.until(() => log.changes().length === 2);
        expect(log.of('changes')).toHaveLength(1);
        expect([...log.changes()].sort()).toEqual([`${prefix}a=null`, `${prefix}b=null`]);
        expect((await store.revokeLease(lease, CALL)).ok).toBe(true);
        expect(await store.keepLeaseAlive(lease, CALL)).toMatchObject({
          ok: false,
          error: { code: 'lease-gone' },
        });
        const late = await store.txn(
          {
            compares: [],
            success: [
              put(`${prefix}c`, 'changed'),
              { op: 'put', key: `${prefix}d`, value: '', lease },
            ],
            failure: [],
          },
          CALL,
        );
        expect(late).toMatchObject({ kind: 'refused', error: { code: 'lease-gone' } });
        expect(await store.get(`${prefix}c`, CALL)).toMatchObject({ value: { value: '3' } });
      });

      it('deletes the keys when a lease ends', async () => {
        fresh();
        const log = watch();
        await log.until(() => log.of('snapshot').length === 1);
        // A pause between the grant and the write must not outlast it.
        const granted = await store.grantLease(2, CALL);
        if (!granted.ok) throw new Error(granted.error.message);
        const { lease, validUntil } = granted.value;
        await write(store, { op: 'put', key: `${prefix}a`, value: '1', lease });
        await log.until(() => log.changes().includes(`${prefix}a=null`));
        expect(clock.now()).toBeGreaterThanOrEqual(validUntil - 20);
        expect(await store.keepLeaseAlive(lease, CALL)).toMatchObject({ ok: false });
      });

      it('keeps many leases alive at once, and tells each its own answer', async () => {
        const ttls = [10, 20, 30, 40];
        const granted = await Promise.all(ttls.map((ttlS) => store.grantLease(ttlS, CALL)));
        const leases = granted.map((one) => {
          if (!one.ok) throw new Error(one.error.message);
          return one.value.lease;
        });
        const before = clock.now();
        const [gone, ...kept] = await Promise.all(
          [leaseId('424242'), ...leases, ...leases].map((one) => store.keepLeaseAlive(one, CALL)),
        );
        const tookMs = clock.now() - before;
        expect(gone).toMatchObject({ ok: false, error: { code: 'lease-gone' } });
        for (const [i, one] of kept.entries()) {
          const leftMs = one.ok ? one.value.validUntil - before : Number.NaN;
          const ttlMs = 1000 * (ttls[i % 4] ?? Number.NaN);
          expect(leftMs).toBeGreaterThanOrEqual(ttlMs);
          expect(leftMs).toBeLessThanOrEqual(ttlMs + tookMs);
        }
        await Promise.all(leases.map((lease) => store.revokeLease(lease, CALL)));
      });

      it('does not know a lease that never was', async () => {
        expect(await store.keepLeaseAlive(leaseId('424242'), CALL)).toMatchObject({
          ok: false,
          error: { code: 'lease-gone' },
        });
      });
    });

    it('ends its watches when closed, and refuses calls', async () => {
      fresh();
      const other = subject.connect();
      const log = new WatchLog(other, prefix);
      await log.until(() => log.of('snapshot').length === 1);
      other.close();
      await log.ended;
      const answer = await other.txn({ compares: [], success: [], failure: [] }, CALL);
      expect(answer).toMatchObject({ kind: 'refused', error: { code: 'aborted' } });
    });
  });
}
