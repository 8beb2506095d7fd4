/** Streams of directors that end without a word: a machine without power closes no connection. */
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiClient } from '../../src/cli/client.ts';

/** Longer than a busy machine pauses. */
const CONNECT_MS = 700;
const SILENT_MS = 1000;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Says `words` to who connects, and nothing more. */
async function speaker(words: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume();
    if (words !== '') socket.write(words);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

const clientOf = (...urls: readonly string[]): ApiClient =>
  new ApiClient({
    urls: urls.map((url) => new URL(url)),
    token: null,
    ca: null,
    timeoutMs: CONNECT_MS,
    signal: new AbortController().signal,
  });

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n';

async function linesOf(client: ApiClient, silentMs: number): Promise<readonly string[]> {
  const lines: string[] = [];
  const { signal } = new AbortController();
  for await (const line of client.stream({ path: '/events', silentMs }, signal)) lines.push(line);
  return lines;
}

describe('a stream', { timeout: 20_000 }, () => {
  it('ends when nothing comes any more', async () => {
    const url = `http://${await speaker(`${HEAD}data: 1\n`)}`;
    expect(await linesOf(clientOf(url), SILENT_MS)).toEqual(['data: 1']);
  });

  it('is asked of the next director when one does not even connect, or does not answer', async () => {
    const dead = `https://${await speaker('')}`;
    const frozen = `http://${await speaker('')}`;
    const ended = `http://${await speaker(`${HEAD}data: 2\n`)}`;
    expect((await linesOf(clientOf(dead, frozen, ended), SILENT_MS))[0]).toBe('data: 2');
    await expect(linesOf(clientOf(dead, frozen), SILENT_MS)).rejects.toThrow(
      /no answer in 700 ms\n.*nothing came for 1000 ms/,
    );
  });

  it('may be silent for long where nobody says otherwise', async () => {
    const url = `http://${await speaker(`${HEAD}data: 3\n`)}`;
    const controller = new AbortController();
    const stream = clientOf(url).stream({ path: '/list' }, controller.signal);
    expect(await stream.next()).toEqual({ done: false, value: 'data: 3' });
    const next = stream.next();
    expect(await Promise.race([next, sleep(2 * SILENT_MS, 'silent')])).toBe('silent');
    controller.abort();
    expect((await next).done).toBe(true);
  });
});
