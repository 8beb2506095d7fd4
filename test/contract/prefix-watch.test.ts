/** A watch at members whose revisions stay behind: a store that went back is told, a member that lags is not. */
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as rest } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';

import { watchPrefix } from '../../src/adapters/etcd/prefix-watch.ts';
import { ok } from '../../src/lib/result.ts';
import { revision } from '../../src/model/ids.ts';
import type { WatchEvent } from '../../src/ports/cluster-store.ts';
import { silentLog } from '../../src/ports/log.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { SeededRandom } from '../fakes/seeded-random.ts';

/** WatchResponse with revision 7: the creation, and a progress notification (watch -1). */
const CREATED = '0a0218071801';
const PROGRESS = '0a02180710ffffffffffffffffff01';
const PULSE_MS = 500;
/** Of real time: the member answers by then, also on a busy machine; one late answer in three pulses is none. */
const ANSWER_MS = 40;
/** Of virtual time; ten seconds and a half are needed. */
const PULSES_MAX = 120;

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function framed(hex: string): Buffer {
  const message = Buffer.from(hex, 'hex');
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The URL of a member that creates every watch and has nothing for it but its revision, when it is asked. */
async function member(): Promise<string> {
  const server: Http2Server = createServer();
  server.on('session', (session) => closers.push(() => session.destroy()));
  server.on('stream', (stream) => {
    let asked = 0;
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.on('data', () => stream.write(framed(asked++ === 0 ? CREATED : PROGRESS)));
  });
  closers.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a watch tells that was told revision 26 at first, when later listings have another one. */
async function watched(later: number): Promise<{ told: WatchEvent[]; listings: number }> {
  const clock = new FakeClock();
  const told: WatchEvent[] = [];
  let listings = 0;
  const ending = new AbortController();
  const events = watchPrefix('/p/', ending.signal, {
    options: { endpoints: [await member()] },
    ports: { clock, log: silentLog, random: new SeededRandom(1) },
    list: async () => ok({ revision: revision(listings++ === 0 ? 26 : later), entries: [] }),
    knownRevision: () => revision(26),
    noteRevision: () => {},
    noteAnswer: () => {},
  });
  const reading = (async () => {
    for await (const event of events) told.push(event);
  })();
  for (let pulses = 0; pulses < PULSES_MAX && listings < 2; pulses++) {
    await clock.advance(PULSE_MS);
    await rest(ANSWER_MS);
  }
  ending.abort();
  await clock.advance(0);
  await reading;
  return { told, listings };
}

const snapshotsIn = (told: readonly WatchEvent[]): readonly number[] =>
  told.flatMap((event) => (event.kind === 'snapshot' ? [event.revision] : []));

describe('watchPrefix', () => {
  it('tells of a store that was restored to an earlier revision', async () => {
    const { told } = await watched(7);
    expect(snapshotsIn(told)).toEqual([26, 7]);
    const losses = told.filter(({ kind }) => kind === 'interrupted');
    expect(losses.length).toBeGreaterThanOrEqual(4);
  });

  it('makes nothing of members that stay behind a store that goes on', async () => {
    const { told, listings } = await watched(30);
    expect(listings).toBe(2);
    expect(snapshotsIn(told)).toEqual([26]);
  });
});
