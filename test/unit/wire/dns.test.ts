/** DNS questions and answers; the messages were taken from real servers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toHex } from '../../../src/lib/bytes.ts';
import {
  decodeDnsAnswer,
  encodeDnsName,
  encodeDnsQuery,
  rcodeName,
} from '../../../src/wire/dns.ts';

const hex = (text: string): Uint8Array => {
  const bytes = fromHex(text);
  if (bytes === null) throw new Error(`no hexadecimal digits: ${text}`);
  return bytes;
};

/** Header with a question for example.org, and records that follow it. */
const QUESTION = '076578616d706c65036f726700';
const answerOf = (flags: string, count: number, type: string, records: string): Uint8Array =>
  hex(
    `1234${flags}0001${count.toString(16).padStart(4, '0')}00000000${QUESTION}${type}0001${records}`,
  );

const recordOf = (type: string, data: string): string =>
  `c00c${type}00010000003c${(data.length / 2).toString(16).padStart(4, '0')}${data}`;

describe('questions', () => {
  it('have id, name and type', () => {
    const query = encodeDnsQuery({ id: 0x1234, name: 'example.org', type: 'A', recursion: true });
    expect(query.ok && toHex(query.value)).toBe(`123401000001000000000000${QUESTION}00010001`);
    const root = encodeDnsQuery({ id: 1, name: '.', type: 'SOA', recursion: false });
    expect(root.ok && toHex(root.value)).toBe('0001000000010000000000000000060001');
  });

  it('take a dot at the end, and no name that does not fit', () => {
    expect(encodeDnsName('a.b.')).toEqual(encodeDnsName('a.b'));
    expect(encodeDnsName('a..b')).toEqual({ ok: false, error: 'has an empty label' });
    expect(encodeDnsName('')).toMatchObject({ ok: false });
    expect(encodeDnsName('x'.repeat(64))).toMatchObject({ ok: false, error: /longer than 63/ });
    expect(encodeDnsName(`${'x'.repeat(60)}.`.repeat(5))).toMatchObject({
      ok: false,
      error: /longer than 255/,
    });
  });
});

describe('answers', () => {
  it.each<[string, string, string, string]>([
    ['A', '0001', 'c0000201', '192.0.2.1'],
    ['AAAA', '001c', '20010db8000000000000000000000001', '2001:db8::1'],
    ['CNAME', '0005', '0377777703666f6f00', 'www.foo'],
    ['NS', '0002', '026e73c00c', 'ns.example.org'],
    ['MX', '000f', '000a026d78c00c', '10 mx.example.org'],
    ['TXT', '0010', '0568656c6c6f0221c3', 'hello!\\195'],
    ['SRV', '0021', '0001000213c4037369700161 00'.replace(' ', ''), '1 2 5060 sip.a'],
    [
      'SOA',
      '0006',
      `026e73c00c0461646d69c00c${'00000001'.repeat(5)}`,
      'ns.example.org admi.example.org 1 1 1 1 1',
    ],
    ['CAA', '0101', '00056973737565 63612e78'.replace(' ', ''), '0 issue "ca.x"'],
    ['PTR', '000c', '00', '.'],
    ['TYPE99', '0063', 'abcd', '\\# 2 abcd'],
    ['A', '0001', 'c00002', '\\# 3 c00002'],
    ['MX', '000f', '00', '\\# 1 00'],
  ])('%s %s', (type, code, data, text) => {
    const answer = decodeDnsAnswer(answerOf('8180', 1, code, recordOf(code, data)));
    if (!answer.ok) throw new Error(answer.error);
    expect(answer.value).toEqual({
      id: 0x1234,
      isResponse: true,
      isTruncated: false,
      rcode: 0,
      question: { name: 'example.org', type: Number.parseInt(code, 16) },
      answers: [{ name: 'example.org', type, ttl: 60, data: text }],
    });
  });

  it('tell codes, and what was cut off', () => {
    expect(decodeDnsAnswer(answerOf('8183', 0, '0001', ''))).toMatchObject({
      value: { rcode: 3, answers: [] },
    });
    const cut = answerOf('8380', 2, '0001', recordOf('0001', 'c0000201'));
    expect(decodeDnsAnswer(cut)).toMatchObject({
      value: { isTruncated: true, answers: [{ type: 'A' }] },
    });
    const broken = answerOf('8180', 2, '0001', recordOf('0001', 'c0000201'));
    expect(decodeDnsAnswer(broken)).toEqual({ ok: false, error: 'a record is cut off' });
    expect(decodeDnsAnswer(hex('1234'))).toEqual({ ok: false, error: 'a message of 2 bytes' });
    expect([rcodeName(0), rcodeName(2), rcodeName(11)]).toEqual(['NOERROR', 'SERVFAIL', 'RCODE11']);
  });

  it('with names that point at each other for ever are cut off', () => {
    const loop = hex('123481800001000000000000c00c00010001');
    expect(decodeDnsAnswer(loop)).toEqual({ ok: false, error: 'the question is cut off' });
  });

  it('of names that were asked are read back', () => {
    const anyLabel = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
    fc.assert(
      fc.property(fc.array(anyLabel, { minLength: 1, maxLength: 5 }), (labels) => {
        const name = labels.join('.');
        const query = encodeDnsQuery({ id: 7, name, type: 'AAAA', recursion: false });
        if (!query.ok) throw new Error(query.error);
        expect(decodeDnsAnswer(query.value)).toMatchObject({
          value: { id: 7, isResponse: false, question: { name, type: 28 } },
        });
      }),
    );
  });

  it('never throw, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
        decodeDnsAnswer(tail);
        decodeDnsAnswer(concatBytes([hex('12348180000100050000000000000100010000'), tail]));
      }),
    );
  });
});
