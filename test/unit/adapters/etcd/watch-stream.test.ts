/** One watch stream's pulse, age and end, on a scripted stream in virtual time. */
import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  Patience,
  type StreamMessage,
  WatchStream,
} from '../../../../src/adapters/etcd/watch-stream.ts';
import { type Revision, revision } from '../../../../src/model/ids.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';

class ScriptedStream extends EventEmitter {
  readonly written: unknown[] = [];
  isCancelled = false;

  write(message: unknown): void {
    this.written.push(message);
  }

  cancel(): void {
    this.isCancelled = true;
    this.emit('error', new Error('cancelled'));
  }

  say(fields: object, at = 10): void {
    this.emit('data', {
      header: { revision: String(at) },
      created: false,
      canceled: false,
      compact_revision: '0',
      cancel_reason: '',
      events: [],
      ...fields,
    });
  }

  progressRequests(): number {
    return this.written.filter((message) => 'progress_request' in (message as object)).length;
  }
}

describe('WatchStream', () => {
  let clock: FakeClock;
  let scripted: ScriptedStream;
  let known: Revision;
  let watch: WatchStream;
  let messages: StreamMessage[];
  let answers: number;

  beforeEach(async () => {
    clock = new FakeClock();
    scripted = new ScriptedStream();
    known = revision(0);
    messages = [];
    answers = 0;
    const etcd = { watchClient: { watch: async () => scripted } };
    watch = new WatchStream(
      { metadata: () => ({}), etcd: () => etcd as never },
      {
        prefix: '/p/',
        startRevision: revision(11),
        clock,
        knownRevision: () => known,
        noteAnswer: () => answers++,
        patience: new Patience(),
      },
    );
    void (async () => {
      for await (const message of watch.messages) messages.push(message);
    })();
    await clock.advance(0);
  });
  afterEach(async () => {
    watch.close();
    await clock.advance(0);
    expect(scripted.isCancelled).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it('asks for the prefix from its start revision', () => {
    expect(scripted.written).toEqual([
      {
        create_request: {
          key: Buffer.from('/p/'),
          range_end: Buffer.from('/p0'),
          start_revision: 11,
        },
      },
    ]);
  });

  it('lives while the member answers its pulse', async () => {
    scripted.say({ created: true });
    for (let i = 1; i <= 20; i++) {
      await clock.advance(500);
      expect(scripted.progressRequests()).toBe(i);
      scripted.say({});
    }
    await clock.advance(0);
    expect(messages).toEqual([{ kind: 'created' }]);
    expect(answers).toBe(21);
  });

  it('dies of silence within two seconds, before the creation and after', async () => {
    await clock.advance(1999);
    expect(messages).toEqual([]);
    await clock.advance(1);
    expect(messages).toMatchObject([{ kind: 'failed', error: { code: 'deadline' } }]);
  });

  it('takes events as signs of life', async () => {
    scripted.say({ created: true });
    for (let i = 0; i < 10; i++) {
      await clock.advance(1400);
      scripted.say({ events: [{}] });
    }
    await clock.advance(0);
    expect(messages.map(({ kind }) => kind)).toEqual(['created', ...Array(10).fill('events')]);
  });

  it('leaves a member that stays behind what others said', async () => {
    scripted.say({ created: true });
    known = revision(20);
    const pulse = async (at: number): Promise<void> => {
      await clock.advance(500);
      scripted.say({}, at);
    };
    for (const at of [19, 19, 19, 20]) await pulse(at);
    expect(messages).toEqual([{ kind: 'created' }]);
    for (let i = 0; i < 4; i++) await pulse(19);
    await clock.advance(0);
    expect(messages[1]).toMatchObject({
      kind: 'failed',
      error: { code: 'unavailable', message: 'the member is behind the store' },
    });
  });

  it('tells a compaction from other cancellations, also at the creation', async () => {
    scripted.say({ created: true, canceled: true, compact_revision: '99' });
    await clock.advance(0);
    expect(messages).toEqual([{ kind: 'compacted' }]);
  });

  it.each([
    ['etcdserver: permission denied', 'denied'],
    ['rpc error: code = InvalidArgument desc = etcdserver: user name is empty', 'denied'],
    ['', 'unavailable'],
  ])('ends when cancelled with "%s"', async (reason, code) => {
    scripted.say({ canceled: true, cancel_reason: reason });
    await clock.advance(0);
    expect(messages).toMatchObject([{ kind: 'failed', error: { code, isRetryable: true } }]);
  });

  it.each(['error', 'end'])('ends with the stream: %s', async (event) => {
    scripted.emit(event, new Error('read ECONNRESET'));
    await clock.advance(0);
    expect(messages).toMatchObject([{ kind: 'failed', error: { code: 'unavailable' } }]);
  });

  it('gives the stream up when its consumer does not keep up, after what was taken in', async () => {
    for (let i = 0; i < 10_001; i++) scripted.say({ events: [{}] });
    await clock.advance(0);
    expect(messages).toHaveLength(10_001);
    expect(messages.at(-1)).toMatchObject({ kind: 'failed', error: { code: 'unavailable' } });
    expect(watch.messages.dropped).toBe(0);
  });
});

describe('Patience', () => {
  it('lets a long message through a slow link, and is short again afterwards', async () => {
    const clock = new FakeClock();
    const patience = new Patience();
    const livesFor = async (messageAfterMs: number, isCreated = true): Promise<string[]> => {
      const scripted = new ScriptedStream();
      const etcd = { watchClient: { watch: async () => scripted } };
      const watch = new WatchStream(
        { metadata: () => ({}), etcd: () => etcd as never },
        {
          prefix: '/p/',
          startRevision: revision(11),
          clock,
          knownRevision: () => revision(0),
          noteAnswer: () => {},
          patience,
        },
      );
      const kinds: string[] = [];
      void (async () => {
        for await (const { kind } of watch.messages) kinds.push(kind);
      })();
      await clock.advance(0);
      if (isCreated) scripted.say({ created: true });
      await clock.advance(messageAfterMs);
      scripted.say({ events: [{}] });
      await clock.advance(0);
      watch.close();
      await clock.advance(0);
      return kinds;
    };
    // A member that says nothing at all is no slow link.
    for (let i = 0; i < 5; i++) expect(await livesFor(2000, false)).toEqual(['failed']);
    // Seven seconds a message: streams give up after 2, 3.5 and 6.5 s; the next one waits for 12.5 s.
    for (let i = 0; i < 3; i++) expect(await livesFor(7000)).toEqual(['created', 'failed']);
    expect(await livesFor(7000)).toEqual(['created', 'events']);
    expect(await livesFor(2000)).toEqual(['created', 'failed']);
  });

  it('has a limit', async () => {
    const patience = new Patience();
    const first = patience.pulses;
    for (let i = 0; i < 20; i++) patience.starved();
    expect(patience.pulses * 500).toBe(12_000);
    patience.heard();
    expect(patience.pulses).toBe(first);
  });
});
