/** HTTP answers in any pieces: what is read, and what is wrong with each bad one. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  HTTP_HEAD_MAX,
  type HttpProgress,
  HttpResponseReader,
} from '../../../src/wire/http-response.ts';

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

type Reading = {
  readonly progress: HttpProgress;
  readonly status: number | null;
  readonly body: string;
};

function read(
  pieces: readonly string[],
  options: { isBodiless?: boolean; bodyMax?: number; isEnded?: boolean } = {},
): Reading {
  let body = '';
  const reader = new HttpResponseReader({
    isBodiless: options.isBodiless ?? false,
    bodyMax: options.bodyMax ?? 1_000,
    onBody: (part) => {
      body += String.fromCharCode(...part);
    },
  });
  for (const piece of pieces) reader.feed(bytesOf(piece));
  if (options.isEnded === true) reader.end();
  return { progress: reader.progress, status: reader.head?.status ?? null, body };
}

const complete = (status: number, body: string): Reading => ({
  progress: { kind: 'complete' },
  status,
  body,
});

describe('whole answers', () => {
  it.each<[string, string, number, string]>([
    ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 200, 'hello'],
    ['with bare line feeds', 'HTTP/1.0 200\nContent-Length: 2\n\nhi', 200, 'hi'],
    ['without a body', 'HTTP/1.1 204 No Content\r\n\r\n', 204, ''],
    ['of length 0', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', 200, ''],
    ['not modified', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n', 304, ''],
    [
      'in chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n',
      200,
      'hello!',
    ],
    [
      'in chunks, whatever its length says',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n2\r\nab\r\n0\r\n\r\n',
      200,
      'ab',
    ],
    [
      'after interim answers',
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
      200,
      'ok',
    ],
    ['with equal lengths twice', 'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok', 200, 'ok'],
    ['with more behind it', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP', 200, 'ok'],
    [
      'with a continued header',
      'HTTP/1.1 500 No\r\nA: b\r\n  c\r\nContent-Length: 0\r\n\r\n',
      500,
      '',
    ],
  ])('%s, in one piece and byte by byte', (_, text, status, body) => {
    expect(read([text])).toEqual(complete(status, body));
    expect(read(Array.from(text))).toEqual(complete(status, body));
  });

  it('in a buffer that is used for every piece', () => {
    const bodies: string[] = [];
    const onBody = (part: Uint8Array): void => void bodies.push(String.fromCharCode(...part));
    const reader = new HttpResponseReader({ isBodiless: false, bodyMax: 1_000, onBody });
    const buffer = Buffer.alloc(1);
    const text = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n';
    for (const byte of bytesOf(text)) {
      buffer[0] = byte;
      reader.feed(buffer);
    }
    expect(reader.progress).toEqual({ kind: 'complete' });
    expect(bodies.join('')).toBe('ok');
  });

  it('without any length ends with the connection', () => {
    const text = 'HTTP/1.0 200 OK\r\n\r\nhello';
    expect(read([text])).toMatchObject({ progress: { kind: 'body' }, body: 'hello' });
    expect(read([text], { isEnded: true })).toEqual(complete(200, 'hello'));
  });

  it('to HEAD has no body, whatever it says', () =>
    expect(read(['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n'], { isBodiless: true })).toEqual(
      complete(200, ''),
    ));

  it('beyond the bound gives the beginning and says so', () => {
    const text = `HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n${'x'.repeat(20)}`;
    for (const pieces of [[text], Array.from(text)])
      expect(read(pieces, { bodyMax: 7 })).toEqual({
        progress: { kind: 'full' },
        status: 200,
        body: 'xxxxxxx',
      });
    expect(read([text], { bodyMax: 20 })).toMatchObject({ progress: { kind: 'complete' } });
  });
});

describe('bad answers', () => {
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  it.each<[string, string, string, RegExp]>([
    ['another protocol', 'SSH-2.0-OpenSSH\r\n', 'not-this-protocol', /not an HTTP answer: "S/],
    ['another protocol at its first byte', '2', 'not-this-protocol', /not an HTTP answer: "2"/],
    [
      'a header without a colon',
      'HTTP/1.1 200 OK\r\nA: b\r\nhello\r\n\r\n',
      'not-this-protocol',
      /^a broken HTTP header: "hello"$/,
    ],
    [
      'too many headers',
      `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(257)}\r\n`,
      'too-large',
      /^more than 256 HTTP headers$/,
    ],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'not-this-protocol', /not an HTTP answer/],
    [
      'a length that is none',
      'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
      'wrong-length',
      /no number: "-1"/,
    ],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'wrong-length',
      /two Content-Length/,
    ],
    ['a chunk without a length', `${chunked}zz\r\n`, 'wrong-length', /no length/],
    [
      'a chunk longer than it says',
      `${chunked}2\r\nabcd\r\n`,
      'wrong-length',
      /longer than it says/,
    ],
    [
      'a chunk line without an end',
      `${chunked}${'1'.repeat(2_000)}`,
      'wrong-length',
      /without an end/,
    ],
    [
      'endless headers',
      `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(HTTP_HEAD_MAX)}`,
      'too-large',
      /headers longer than 32768/,
    ],
    ['endless interim answers', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(9), 'too-large', /interim/],
    ['endless trailers', `${chunked}0\r\n${'A: b\r\n'.repeat(300)}`, 'too-large', /trailers/],
  ])('%s', (_, text, reason, detail) => {
    for (const pieces of [[text], Array.from(text)])
      expect(read(pieces).progress).toMatchObject({
        kind: 'failed',
        reason,
        detail: expect.stringMatching(detail) as string,
      });
  });

  it.each<[string, string, RegExp]>([
    ['nothing', '', /without an answer/],
    ['half a header', 'HTTP/1.1 200 OK\r\nA:', /within the HTTP header, after 19 bytes/],
    ['half a body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', /after 3 of 9 bytes/],
    ['half a chunk', `${chunked}9\r\nabc`, /within the body, after 3 bytes/],
    ['no last chunk', `${chunked}3\r\nabc\r\n`, /within the body/],
  ])('the connection ends after %s', (_, text, detail) =>
    expect(read(text === '' ? [] : [text], { isEnded: true }).progress).toMatchObject({
      kind: 'failed',
      reason: 'closed-early',
      detail: expect.stringMatching(detail) as string,
    }),
  );
});

describe('any bytes', () => {
  const anyAnswer = fc
    .tuple(
      fc.constantFrom('HTTP/1.1 200 OK', 'HTTP/1.0 503 No', 'HTTP/1.1 100 C', 'HTTP/2 200'),
      fc.array(
        fc.constantFrom(
          'Content-Length: 3',
          'Content-Length: 9',
          'Transfer-Encoding: chunked',
          'A: b',
          ' c',
          '',
        ),
        { maxLength: 4 },
      ),
      fc.string({ maxLength: 30 }),
    )
    .map(([status, headers, body]) => [status, ...headers, '', body].join('\r\n'));

  it('are read alike in any pieces, within the bound', () => {
    fc.assert(
      fc.property(
        fc.oneof(anyAnswer, fc.string()),
        fc.array(fc.nat(60), { maxLength: 6 }),
        (text, cuts) => {
          const places = [0, ...cuts.toSorted((a, b) => a - b), text.length];
          const pieces = places.slice(1).map((to, i) => text.slice(places[i], to));
          const whole = read([text], { bodyMax: 10, isEnded: true });
          const cut = read(pieces, { bodyMax: 10, isEnded: true });
          // What is quoted of a strange answer is what had come by then.
          const bare = (one: Reading): unknown => ({
            ...one,
            progress: { ...one.progress, detail: '' },
          });
          expect(bare(cut)).toEqual(bare(whole));
          expect(whole.body.length).toBeLessThanOrEqual(10);
        },
      ),
    );
  });
});
