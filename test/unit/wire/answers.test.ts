/** What checks say and hear: HTTP requests, SMTP replies, expected bytes, datagram patterns. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../src/lib/bytes.ts';
import { compileMatcher, quoteBytes } from '../../../src/wire/answer-scan.ts';
import { matchesPattern, parseBytePattern } from '../../../src/lib/byte-pattern.ts';
import { encodeHttpRequest } from '../../../src/wire/http-request.ts';
import { SmtpReplyReader, type SmtpProgress } from '../../../src/wire/smtp-reply.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('HTTP requests', () => {
  const get = { method: 'GET', path: '/x?y=1', headers: [], body: null };

  it('say where they go, and that the connection ends', () => {
    expect(new TextDecoder().decode(encodeHttpRequest(get, '1.1', 'www.example.org'))).toBe(
      'GET /x?y=1 HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: leasehold\r\nAccept: */*\r\nConnection: close\r\n\r\n',
    );
  });

  it('carry headers, which replace ours, and a body with its length', () => {
    const post = {
      method: 'POST',
      path: '/',
      headers: [
        ['user-agent', 'me'],
        ['X-A', 'b'],
      ] as const,
      body: toHex(bytesOf('{"a":1}')),
    };
    expect(new TextDecoder().decode(encodeHttpRequest(post, '1.0', 'h'))).toBe(
      'POST / HTTP/1.0\r\nHost: h\r\nAccept: */*\r\nConnection: close\r\nContent-Length: 7\r\nuser-agent: me\r\nX-A: b\r\n\r\n{"a":1}',
    );
  });
});

it('HTTP requests that should have content say that they have none', () => {
  const request = { method: 'POST', path: '/', headers: [], body: null };
  expect(new TextDecoder().decode(encodeHttpRequest(request, '1.1', 'h'))).toContain(
    'Connection: close\r\nContent-Length: 0\r\n\r\n',
  );
});

describe('SMTP replies', () => {
  const readAll = (pieces: readonly string[]): SmtpProgress[] => {
    const reader = new SmtpReplyReader();
    const seen: SmtpProgress[] = [];
    for (const piece of pieces) {
      reader.feed(bytesOf(piece));
      for (let next = reader.next(); next.kind === 'reply'; next = reader.next()) seen.push(next);
    }
    const last = reader.next();
    return last.kind === 'broken' ? [...seen, last] : seen;
  };

  it.each<[string, readonly unknown[]]>([
    ['220 mx ready\r\n', [{ code: 220, lines: ['mx ready'] }]],
    [
      '250-a\r\n250-STARTTLS\r\n250 SIZE 1\r\n',
      [{ code: 250, lines: ['a', 'STARTTLS', 'SIZE 1'] }],
    ],
    [
      '250\r\n221 bye\n',
      [
        { code: 250, lines: [''] },
        { code: 221, lines: ['bye'] },
      ],
    ],
  ])('%j, in one piece and byte by byte', (text, wanted) => {
    for (const pieces of [[text], Array.from(text)])
      expect(readAll(pieces)).toEqual(wanted.map((reply) => ({ kind: 'reply', reply })));
  });

  it.each<[string, string, RegExp, boolean]>([
    ['another protocol', 'SSH-2.0\r\n', /"SSH-2\.0/, false],
    ['another protocol without an end of line', '\u0000\u0001', /\\x00/, false],
    ['codes that differ', '250-a\r\n220 b\r\n', /"220 b/, false],
    ['a code out of range', '150 a\r\n', /"150 a/, false],
    ['an endless line', `220 ${'x'.repeat(3_000)}`, /longer than 2048/, true],
    ['an endless line with its end', `220 ${'x'.repeat(3_000)}\r\n`, /longer than 2048/, true],
    ['endless lines', '250-x\r\n'.repeat(200), /more than 128 lines/, true],
  ])('%s', (_, text, detail, isTooLarge) => {
    expect(readAll([text]).at(-1)).toEqual({
      kind: 'broken',
      isTooLarge,
      detail: expect.stringMatching(detail) as string,
    });
  });

  it('tell what waits behind them', () => {
    const reader = new SmtpReplyReader();
    reader.feed(bytesOf('220 go ahead\r\n250 injected\r\n'));
    expect(reader.next()).toMatchObject({ kind: 'reply' });
    expect(reader.hasLeftovers).toBe(true);
    reader.next();
    expect(reader.hasLeftovers).toBe(false);
  });

  it('are read alike in any pieces', () => {
    const anyLine = fc.constantFrom(
      '250-a\r\n',
      '250 b\r\n',
      '220 c\n',
      'x\r\n',
      '25',
      '0 d\r\n',
      '250\r\n',
    );
    fc.assert(
      fc.property(fc.array(anyLine, { maxLength: 6 }), (lines) => {
        const text = lines.join('');
        const replies = (pieces: readonly string[]) =>
          readAll(pieces).map((one) => (one.kind === 'reply' ? one.reply : one.kind));
        expect(replies(Array.from(text))).toEqual(replies([text]));
      }),
    );
  });
});

describe('expected bytes', () => {
  it('are found wherever they stand, in any pieces', () => {
    const anyBytes = fc
      .array(fc.constantFrom('a', 'b'), { maxLength: 14 })
      .map((list) => list.join(''));
    fc.assert(
      fc.property(anyBytes, anyBytes, fc.nat(14), (text, wanted, cut) => {
        fc.pre(wanted.length > 0);
        const source = compileMatcher({ kind: 'bytes', hex: toHex(bytesOf(wanted)) });
        if (!source.ok) throw new Error(source.error);
        const scan = source.value.start();
        scan.feed(bytesOf(text.slice(0, cut)));
        scan.feed(bytesOf(text.slice(cut)));
        expect(scan.end()).toBe(text.includes(wanted));
      }),
    );
  });

  it('and expressions that are none are refused', () => {
    expect(compileMatcher({ kind: 'bytes', hex: '' })).toMatchObject({ ok: false });
    expect(compileMatcher({ kind: 'pattern', source: '(', ignoreCase: false })).toMatchObject({
      ok: false,
    });
  });

  it('are told to people in one line', () => {
    expect(quoteBytes(bytesOf('a\r\n\tb\u0000\u001b[31m'))).toBe('"a\\r\\n\\tb\\x00\\x1b[31m"');
    expect(quoteBytes(bytesOf('x'.repeat(100)), 5)).toBe('"xxxxx"…');
  });
});

describe('patterns of datagrams', () => {
  const fits = (pattern: string, bytes: readonly number[]): boolean => {
    const parsed = parseBytePattern(pattern);
    if (!parsed.ok) throw new Error(parsed.error);
    return matchesPattern(parsed.value, Uint8Array.from(bytes));
  };

  it.each<[string, readonly number[], boolean]>([
    ['a1 0x', [0xa1, 0x0f, 7], true],
    ['a1 0x', [0xa1, 0x10], false],
    ['a1 x0', [0xa1, 0xf0], true],
    ['a1xx', [0xa1], false],
    ['xX', [3], true],
    ['', [], true],
  ])('"%s" and %j: %s', (pattern, bytes, wanted) => expect(fits(pattern, bytes)).toBe(wanted));

  it.each([
    ['a', /odd number/],
    ['ag', /hexadecimal digits and x/],
  ])('"%s" is none', (pattern, wanted) => {
    const parsed = parseBytePattern(pattern);
    expect(parsed.ok ? '' : parsed.error).toMatch(wanted);
  });
});
