/** Answers of real servers that checks read, for the fuzzing: DNS, HTTP and SMTP. */
import { concatBytes, fromHex } from '../../src/lib/bytes.ts';
import { compileMatcher } from '../../src/wire/answer-scan.ts';
import { decodeDnsAnswer } from '../../src/wire/dns.ts';
import { HttpResponseReader } from '../../src/wire/http-response.ts';
import { SmtpReplyReader } from '../../src/wire/smtp-reply.ts';
import type { FuzzedDecoder } from './decoders.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const ofHex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array(0);

const QUESTION = ofHex('076578616d706c65036f72670000060001');
const SOA = ofHex(`c00c000600010000003c001f026e73c00c0461646d69c00c${'00000001'.repeat(5)}`);
const TXT = ofHex('c00c001000010000003c00090568656c6c6f0221c3');
const dns = (count: number, ...records: Uint8Array[]): Uint8Array =>
  concatBytes([ofHex(`123481800001000${count}00000000`), QUESTION, ...records]);

const HTTP = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\nA: b\n c\n\nbody',
].map(bytesOf);
const SMTP = ['220 mx ESMTP\r\n250-mx\r\n250-STARTTLS\r\n250 SIZE 1000\r\n221 bye\r\n'].map(
  bytesOf,
);

function readHttp(bytes: Uint8Array): unknown {
  const body: number[] = [];
  const reader = new HttpResponseReader({
    isBodiless: false,
    bodyMax: 100,
    onBody: (part) => body.push(...part),
  });
  reader.feed(bytes.subarray(0, 20));
  reader.feed(bytes.subarray(20));
  return [reader.progress, reader.end(), reader.head, body];
}

function readSmtp(bytes: Uint8Array): unknown {
  const reader = new SmtpReplyReader();
  reader.feed(bytes);
  const seen = [reader.next()];
  while (seen.at(-1)?.kind === 'reply') seen.push(reader.next());
  return [seen, reader.hasLeftovers];
}

const PATTERN = compileMatcher({
  kind: 'pattern',
  source: '(?i)^h.*(l+|[^x]{3})o$',
  ignoreCase: false,
});

function scan(bytes: Uint8Array): unknown {
  if (!PATTERN.ok) throw new Error(PATTERN.error);
  const started = PATTERN.value.start();
  return [started.feed(bytes), started.end()];
}

export const ANSWER_DECODERS: readonly FuzzedDecoder[] = [
  { name: 'decodeDnsAnswer', corpus: [dns(1, SOA), dns(2, SOA, TXT)], decode: decodeDnsAnswer },
  { name: 'HttpResponseReader', corpus: HTTP, decode: readHttp },
  { name: 'SmtpReplyReader', corpus: SMTP, decode: readSmtp },
  { name: 'compileMatcher', corpus: [bytesOf('hello'), ...HTTP], decode: scan },
];
