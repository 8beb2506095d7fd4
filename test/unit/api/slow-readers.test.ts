/** Readers that take their answers slowly: what they hold, and for how long. */
import { EventEmitter } from 'node:events';
import { get as httpGet, type IncomingMessage, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import {
  LEAST_BYTES_PER_S,
  Patience,
  patienceMs,
  STALLED_MS,
  streamWriter,
  UNREAD_BYTES_MAX,
  UNREAD_MS_MAX,
  UNTAKEN_BYTES_MAX,
  WAIT_MS_MAX,
} from '../../../src/api/slow-readers.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { type Bench, call, createBench } from './bench.ts';

/** Takes what was written so many milliseconds later. */
class SlowResponse extends EventEmitter {
  destroyed = false;
  writableFinished = false;
  readonly #clock: FakeClock;
  readonly #takesMs: number;

  constructor(clock: FakeClock, takesMs: number) {
    super();
    this.#clock = clock;
    this.#takesMs = takesMs;
  }

  write(_text: string): boolean {
    this.#clock.schedule(this.#takesMs, () => this.emit('drain'));
    return false;
  }

  end(): void {
    this.#clock.schedule(this.#takesMs, () => this.emit('finish'));
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function newReader(takesMs: number) {
  const clock = new FakeClock();
  const raw = new SlowResponse(clock, takesMs);
  const cuts: number[] = [];
  const patience = new Patience(clock, raw as unknown as ServerResponse, () =>
    cuts.push(clock.now()),
  );
  /** So many writes of so many bytes, then the end; how many were taken. */
  const read = async (writes: number, bytes: number): Promise<number> => {
    let taken = 0;
    const work = (async () => {
      while (taken < writes && (await patience.write('x'.repeat(bytes)))) taken++;
      if (taken === writes) await patience.end();
    })();
    await clock.advance(2 * WAIT_MS_MAX);
    await work;
    return taken;
  };
  return { clock, raw, cuts, read };
}

describe('the patience with a reader', () => {
  it('is enough for one that takes enough', async () => {
    const second = newReader(1000);
    expect(await second.read(200, LEAST_BYTES_PER_S)).toBe(200);
    expect(second.cuts).toEqual([]);
    expect(second.raw.destroyed).toBe(false);
  });

  it('ends with one that takes a little now and then, before its slot is gone for good', async () => {
    const trickle = newReader(29_000);
    expect(await trickle.read(1000, 100)).toBe(1);
    expect(trickle.cuts).toHaveLength(1);
    expect(trickle.cuts[0]).toBeLessThanOrEqual(STALLED_MS + 1000);
    expect(trickle.raw.destroyed).toBe(true);
  });

  it('ends after a while in all, however much there is to take', async () => {
    const endless = newReader(10_000);
    const taken = await endless.read(1000, 1_000_000);
    expect(taken).toBe(WAIT_MS_MAX / 10_000);
    expect(endless.cuts[0]).toBeLessThanOrEqual(WAIT_MS_MAX + 10_000);
  });

  it('ends with one that takes nothing, also of the very end', async () => {
    const deaf = newReader(Infinity);
    expect(await deaf.read(5, 100)).toBe(0);
    expect(deaf.cuts).toEqual([STALLED_MS]);
    const last = newReader(Infinity);
    await last.read(0, 0);
    expect(last.cuts).toEqual([STALLED_MS]);
  });

  it('grows with what there is to take, up to a bound', () => {
    expect(patienceMs(0)).toBe(STALLED_MS);
    expect(patienceMs(10 * LEAST_BYTES_PER_S)).toBe(STALLED_MS + 10_000);
    expect(patienceMs(1e12)).toBe(WAIT_MS_MAX);
  });
});

describe('a stream', () => {
  function newStream() {
    const clock = new FakeClock();
    const raw = { writableLength: 0, isGone: false, texts: [] as string[] };
    const response = Object.assign(raw, {
      write: (text: string) => raw.texts.push(text),
      destroy: () => {
        raw.isGone = true;
      },
    });
    return { clock, raw, write: streamWriter(clock, response as unknown as ServerResponse) };
  }

  it('goes on for ever with a reader that reads', async () => {
    const { clock, raw, write } = newStream();
    for (let i = 0; i < 100; i++) {
      await clock.advance(UNREAD_MS_MAX);
      write('event');
      // It lags a little, and catches up.
      raw.writableLength = 5000;
      await clock.advance(UNREAD_MS_MAX / 2);
      write('beat');
      raw.writableLength = 0;
    }
    expect(raw).toMatchObject({ isGone: false, texts: { length: 200 } });
  });

  it('ends with one that leaves something unread for long, or much', async () => {
    const trickle = newStream();
    trickle.write('event');
    trickle.raw.writableLength = 10;
    await trickle.clock.advance(UNREAD_MS_MAX + 1);
    trickle.write('beat');
    expect(trickle.raw).toMatchObject({ isGone: true, texts: ['event'] });
    const flood = newStream();
    flood.raw.writableLength = UNREAD_BYTES_MAX + 1;
    flood.write('event');
    expect(flood.raw.isGone).toBe(true);
  });
});

describe('answers that are made at once', () => {
  const open: Bench[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map(({ api }) => api.close()));
  });

  async function started(): Promise<{ bench: Bench; url: string }> {
    const bench = createBench();
    open.push(bench);
    const bound = await bench.api.start();
    if (!bound.ok) throw new Error(bound.error);
    return { bench, url: `http://127.0.0.1:${bound.value.port}/metrics` };
  }

  const unread = (url: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      httpGet(url, { agent: false }, (response) => resolve(response.pause())).on('error', reject);
    });

  it('are bounded together while nobody takes them, and small ones go on', async () => {
    const { bench, url } = await started();
    bench.metrics.text = 'x'.repeat(UNTAKEN_BYTES_MAX / 2);
    const responses = [await unread(url), await unread(url)];
    const refused = await call(bench, { method: 'GET', url: '/metrics' }, 503);
    expect(refused.body).toMatchObject({ code: 'overloaded' });
    await call(bench, { method: 'GET', url: '/livez' }, 200);
    // Who takes nothing is cut off, and others get theirs.
    const gone = responses.map(
      (response) =>
        new Promise<void>((resolve) => {
          response.on('error', () => resolve()).on('close', () => resolve());
        }),
    );
    await bench.clock.advance(WAIT_MS_MAX);
    for (const response of responses) response.resume();
    await Promise.all(gone);
    expect(responses.map(({ complete }) => complete)).toEqual([false, false]);
    const given = await bench.api.app.inject({
      method: 'GET',
      url: '/metrics',
      headers: { host: 'localhost' },
    });
    expect(given.statusCode).toBe(200);
  });

  it('are forgotten when they are taken', async () => {
    const { bench, url } = await started();
    bench.metrics.text = 'x'.repeat(UNTAKEN_BYTES_MAX / 2);
    for (let i = 0; i < 4; i++) {
      const response = await unread(url);
      const ended = new Promise((resolve) => response.once('end', resolve));
      response.resume();
      await ended;
      expect(response.statusCode).toBe(200);
    }
  });
});
