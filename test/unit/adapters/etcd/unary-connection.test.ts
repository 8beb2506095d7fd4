/** Unary gRPC calls against a server of Node's on loopback that does as it is told. */
import { readFile } from 'node:fs/promises';
import { createServer as createHttp2, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';

import { UnaryConnection } from '../../../../src/adapters/etcd/unary-connection.ts';
import { monoMs } from '../../../../src/model/ids.ts';

const PATH = '/test.Service/Method';
const random = { next: () => 1, hex: (bytes: number) => '00'.repeat(bytes) };
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

type Handler = (stream: ServerHttp2Stream, message: Buffer, call: number) => void;

/** A server, and a connection to it whose clock is set by hand. */
async function connected(handle: Handler, messageLimitBytes = 1000, address = '127.0.0.1') {
  const server = createHttp2();
  let calls = 0;
  let sessions = 0;
  const heard: Record<string, unknown>[] = [];
  server.on('session', (session) => {
    sessions++;
    closers.push(() => session.destroy());
  });
  server.on('stream', (stream, headers) => {
    heard.push(headers);
    stream.on('error', () => {});
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      if (!stream.destroyed) handle(stream, Buffer.concat(chunks), ++calls);
    });
  });
  const port = await listening(server, address);
  closers.push(() => server.close());
  const clock = { at: 1000, now: () => monoMs(clock.at) };
  const connection = open(port, clock, messageLimitBytes, address);
  return { connection, clock, port, heard, sessions: () => sessions };
}

function open(
  port: number,
  clock: { now: () => ReturnType<typeof monoMs> },
  limit = 1000,
  address = '127.0.0.1',
) {
  const host = address.includes(':') ? `[${address}]` : address;
  const connection = new UnaryConnection(
    { endpoint: `http://${host}:${port}`, tls: {}, messageLimitBytes: limit },
    { clock, random },
  );
  closers.push(() => connection.close());
  return connection;
}

const listening = (
  server: Http2Server | ReturnType<typeof createServer>,
  address = '127.0.0.1',
): Promise<number> =>
  new Promise((resolve) => {
    server.listen(0, address, () => resolve((server.address() as AddressInfo).port));
  });

function answer(stream: ServerHttp2Stream, parts: readonly string[], trailers: object): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers }));
  for (const part of parts) stream.write(Buffer.from(part, 'hex'));
  stream.end();
}

const status = (code: number, details: string | RegExp) => ({
  status: {
    code,
    details: typeof details === 'string' ? details : expect.stringMatching(details),
  },
});

describe('UnaryConnection', () => {
  it('sends one framed message with its metadata, and gives the one that comes back', async () => {
    const told: string[] = [];
    const { connection, heard } = await connected((stream, message) => {
      told.push(message.toString('hex'));
      answer(stream, ['00000000', '02abcd'], { 'grpc-status': '0' });
    });
    const { result } = connection.call(PATH, Uint8Array.of(1, 2, 3), { token: 't' });
    expect(Buffer.from(await result).toString('hex')).toBe('abcd');
    expect(told).toEqual(['0000000003010203']);
    expect(heard[0]).toMatchObject({
      ':method': 'POST',
      ':path': PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
      token: 't',
    });
  });

  it('makes one connection for many calls, and takes an empty message', async () => {
    const { connection, sessions } = await connected((stream) =>
      answer(stream, ['0000000000'], { 'grpc-status': '0' }),
    );
    const calls = Array.from({ length: 20 }, () => connection.call(PATH, new Uint8Array()).result);
    for (const result of await Promise.all(calls)) expect(result).toHaveLength(0);
    expect(sessions()).toBe(1);
  });

  it('tells the status of the server, with its text decoded', async () => {
    const { connection } = await connected((stream, _message, call) => {
      const failed = { 'grpc-status': '7', 'grpc-message': 'etcdserver: 100%25 d%C3%A9nied' };
      if (call === 1) answer(stream, [], failed);
      else if (call === 2)
        stream.respond({ ':status': 200, ...failed, 'grpc-message': '%zz' }, { endStream: true });
      else stream.respond({ ':status': 502 }, { endStream: true });
    });
    const call = () => connection.call(PATH, new Uint8Array()).result;
    await expect(call()).rejects.toMatchObject(status(7, 'etcdserver: 100% dénied'));
    await expect(call()).rejects.toMatchObject(status(7, '%zz'));
    await expect(call()).rejects.toMatchObject(status(2, /HTTP status 502/));
  });

  it('takes nothing but one whole message for an answer', async () => {
    const broken = [
      '',
      '00',
      '0100000000',
      '0000000002ab',
      '0000000001abcd',
      '00000000000000000000',
    ];
    const { connection } = await connected((stream, _message, call) =>
      answer(stream, [broken[call - 1] ?? ''], { 'grpc-status': '0' }),
    );
    for (const _ of broken)
      await expect(connection.call(PATH, new Uint8Array()).result).rejects.toMatchObject(
        status(13, /one whole message/),
      );
  });

  it('gives up an answer that is too long', async () => {
    const { connection } = await connected(
      (stream) => answer(stream, [`0000000100${'00'.repeat(0x100)}`], { 'grpc-status': '0' }),
      100,
    );
    await expect(connection.call(PATH, new Uint8Array()).result).rejects.toMatchObject(
      status(8, /too long/),
    );
  });

  it('says that nothing was done where the server turned a call away', async () => {
    const { connection } = await connected((stream, _message, call) =>
      stream.close(call === 1 ? 7 : 2),
    );
    const call = () => connection.call(PATH, new Uint8Array()).result;
    await expect(call()).rejects.toMatchObject(status(14, /^No connection established/));
    // Any other end leaves open what was done.
    await expect(call()).rejects.toMatchObject(status(14, /^(?!No connection)/));
  });

  it('leaves open what became of a call whose connection broke, and makes another one', async () => {
    const { connection, sessions } = await connected((stream, _message, call) => {
      if (call === 2) stream.session?.destroy();
      else answer(stream, ['0000000000'], { 'grpc-status': '0' });
    });
    const call = () => connection.call(PATH, new Uint8Array()).result;
    expect(await call()).toHaveLength(0);
    await expect(call()).rejects.toMatchObject(status(14, /^(?!No connection)/));
    expect(await call()).toHaveLength(0);
    expect(sessions()).toBe(2);
  });

  it('rests after a connection that ended without any answer, longer each time', async () => {
    let isRefusing = true;
    const { connection, clock, sessions } = await connected((stream) => {
      if (isRefusing) stream.session?.destroy();
      else answer(stream, ['0000000000'], { 'grpc-status': '0' });
    });
    const call = () => connection.call(PATH, new Uint8Array()).result;
    for (const restMs of [100, 200, 400]) {
      await expect(call()).rejects.toMatchObject(status(14, /^(?!No connection)/));
      clock.at += restMs - 1;
      await expect(call()).rejects.toMatchObject(status(14, /^No connection established/));
      clock.at += 1;
    }
    isRefusing = false;
    expect(await call()).toHaveLength(0);
    expect(sessions()).toBe(4);
  });

  it('finishes what is under way when the server ends the connection, on a new one goes the rest', async () => {
    const waiting: ServerHttp2Stream[] = [];
    const { connection, sessions } = await connected((stream, _message, call) => {
      if (call !== 2) return answer(stream, ['0000000000'], { 'grpc-status': '0' });
      waiting.push(stream);
      stream.session?.goaway();
    });
    await connection.call(PATH, new Uint8Array()).result;
    const first = connection.call(PATH, new Uint8Array()).result;
    await expect.poll(() => waiting.length).toBe(1);
    await expect
      .poll(async () => {
        await connection.call(PATH, new Uint8Array()).result;
        return sessions();
      })
      .toBe(2);
    for (const stream of waiting) answer(stream, ['0000000000'], { 'grpc-status': '0' });
    expect(await first).toHaveLength(0);
  });

  it('says that nothing was sent where nobody listens, and does not try again at once', async () => {
    const server = createServer();
    const port = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    const clock = { at: 1000, now: () => monoMs(clock.at) };
    const connection = open(port, clock);
    const call = () => connection.call(PATH, new Uint8Array()).result;
    await expect(call()).rejects.toMatchObject(
      status(14, /^No connection established.*ECONNREFUSED/),
    );
    clock.at += 99;
    let isListening = false;
    const later = createHttp2();
    later.on('stream', (stream) => answer(stream, ['0000000000'], { 'grpc-status': '0' }));
    closers.push(() => later.close());
    later.listen(port, '127.0.0.1', () => {
      isListening = true;
    });
    await expect.poll(() => isListening).toBe(true);
    await expect(call()).rejects.toMatchObject(status(14, /^No connection established/));
    clock.at += 1;
    expect(await call()).toHaveLength(0);
  });

  it('takes a connection for dead on which nothing is answered for three seconds', async () => {
    let isSilent = true;
    const { connection, clock, sessions } = await connected((stream) => {
      if (!isSilent) answer(stream, ['0000000000'], { 'grpc-status': '0' });
    });
    const giveUp = async (): Promise<void> => {
      const { result, cancel } = connection.call(PATH, new Uint8Array());
      const ended = expect(result).rejects.toMatchObject(status(1, 'cancelled'));
      await expect.poll(() => sessions()).toBe(1);
      cancel();
      cancel();
      await ended;
    };
    await giveUp();
    clock.at += 2999;
    await giveUp();
    clock.at += 1;
    await giveUp();
    isSilent = false;
    expect(await connection.call(PATH, new Uint8Array()).result).toHaveLength(0);
    expect(sessions()).toBe(2);
  });

  it('has the kernel ask an idle connection whether its peer is there', async () => {
    const { connection, port } = await connected((stream) =>
      answer(stream, ['0000000000'], { 'grpc-status': '0' }),
    );
    await connection.call(PATH, new Uint8Array()).result;
    const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const timer = async (): Promise<string | undefined> => {
      const sockets = (await readFile('/proc/net/tcp', 'utf8')).split('\n');
      const columns = sockets.map((line) => line.trim().split(/\s+/));
      return columns.find((column) => column[2] === remote && column[3] === '01')?.[5];
    };
    // 02: a keepalive; 00: nothing would ever be sent.
    await expect.poll(timer).toMatch(/^02:0000[0-9A-F]{4}$/);
  });

  it('names an IPv6 host in brackets', async () => {
    const { connection, heard, port } = await connected(
      (stream) => answer(stream, ['0000000000'], { 'grpc-status': '0' }),
      1000,
      '::1',
    );
    await connection.call(PATH, new Uint8Array()).result;
    expect(heard[0]).toMatchObject({ ':authority': `[::1]:${port}` });
  });

  it('is over after close', async () => {
    const { connection } = await connected(() => {});
    const under = connection.call(PATH, new Uint8Array()).result;
    const ended = expect(under).rejects.toMatchObject({ status: { code: expect.any(Number) } });
    connection.close();
    await ended;
    await expect(connection.call(PATH, new Uint8Array()).result).rejects.toMatchObject(
      status(14, 'No connection established: closed'),
    );
  });
});
