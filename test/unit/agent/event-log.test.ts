/** Events in etcd: in order, each once, kept on a lease, bounded while etcd is away. */
import { describe, expect, it } from 'vitest';
import { createEventLog, recordOf } from '../../../src/agent/event-log.ts';
import { directorId, epochOf, groupId, revision } from '../../../src/model/ids.ts';
import { EventRecord, parseRecord } from '../../../src/model/records.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { keys, storeBench } from './store-bench.ts';

const event = (message: string): EventRecord => ({
  v: 1,
  at: '2026-01-01T00:00:00.000Z',
  director: 'd1',
  severity: 'info',
  kind: 'holder.gained',
  subject: 'web',
  message,
  reason: null,
  epoch: 7,
  by: null,
});

function setUp() {
  const bench = storeBench();
  const { store, clock, random, log, end, cluster } = bench;
  const events = createEventLog({ keys }, { store, clock, random, log });
  const running = events.run(end.signal);
  const messages = (): string[] =>
    cluster.entries(keys.eventPrefix).map(({ value }) => {
      const parsed = parseRecord(EventRecord, value);
      return parsed.ok ? parsed.value.message : parsed.error;
    });
  return { ...bench, events, running, messages };
}

describe('the event log', () => {
  it('writes events in the order of their keys, all on one lease', async () => {
    const { clock, events, messages, cluster } = setUp();
    for (const text of ['a', 'b', 'c']) {
      events.record(event(text));
      await clock.advance(5);
    }
    expect(messages()).toEqual(['a', 'b', 'c']);
    expect(cluster.leases()).toHaveLength(1);
  });

  it('keeps the order of events of one millisecond', async () => {
    const { clock, events, messages } = setUp();
    const texts = Array.from({ length: 20 }, (_, i) => String(i));
    for (const text of texts) events.record(event(text));
    await clock.advance(100);
    expect(messages()).toEqual(texts);
  });

  it('takes a new lease every hour, so that none grows for ever', async () => {
    const { clock, events, cluster, messages } = setUp();
    events.record(event('a'));
    await clock.advance(3_600_001);
    events.record(event('b'));
    await clock.advance(10);
    expect(cluster.leases()).toHaveLength(2);
    expect(messages()).toEqual(['a', 'b']);
  });

  it.each(['lost', 'answer-lost'] as const)(
    'writes an event once when the write is %s',
    async (kind) => {
      const { clock, events, store, messages } = setUp();
      store.nextTxn({ kind });
      events.record(event('a'));
      await clock.advance(5000);
      expect(messages()).toEqual(['a']);
    },
  );

  it('goes on with a new lease when the store has lost the old one', async () => {
    const { clock, events, cluster, messages } = setUp();
    events.record(event('a'));
    await clock.advance(10);
    for (const one of cluster.leases()) cluster.revoke(one);
    events.record(event('b'));
    await clock.advance(3000);
    expect(messages()).toEqual(['b']);
  });

  it('drops the oldest when too many wait, and says how many', async () => {
    const { clock, events, store, end, running, log, messages } = setUp();
    store.cut();
    await clock.advance(10);
    for (let i = 0; i < 510; i++) events.record(event(String(i)));
    store.heal();
    await clock.advance(10_000);
    expect(messages().length).toBeLessThan(510);
    expect(messages().at(-1)).toBe('509');
    end.abort();
    await clock.settle(running);
    expect(log.events()).toEqual(['events.dropped']);
  });

  it('writes what still waits when it ends, and then ends', async () => {
    const { clock, events, end, running, messages } = setUp();
    events.record(event('last'));
    end.abort();
    await clock.settle(running, 10_000);
    expect(messages()).toEqual(['last']);
  });

  it('ends also when etcd is away', async () => {
    const { clock, events, store, end, running } = setUp();
    store.cut();
    for (let i = 0; i < 3; i++) events.record(event('x'));
    end.abort();
    await clock.settle(running, 10_000);
  });
});

describe('an election notice as a record', () => {
  const notice = {
    severity: 'warn',
    kind: 'holder.lost',
    group: groupId('web'),
    director: directorId('d2'),
    epoch: epochOf(revision(9)),
    reason: 'session-lost',
    message: 'gone',
  } as const;

  it.each([
    ['its group', {}, 'web'],
    ['else its director', { group: null }, 'd2'],
    ['else this director', { group: null, director: null }, 'd1'],
  ])('is about %s', (_, fields, subject) => {
    const record = recordOf({ ...notice, ...fields }, directorId('d1'), new FakeClock());
    expect(record).toMatchObject({ subject, director: 'd1', epoch: 9, reason: 'session-lost' });
    expect(parseRecord(EventRecord, JSON.stringify(record)).ok).toBe(true);
  });
});
