/**
 * Reads one HTTP/1 answer as it arrives (RFC 9112): bounded in every direction, and exact in what is wrong with it.
 * Content codings are left as they are. Whoever feeds it decides what the status means.
 */
import type { ProbeReason } from '../model/check.ts';
import { quoteBytes } from './answer-scan.ts';

export type HttpHead = {
  readonly status: number;
  /** Of all its headers, those that say where the body ends: values in order, as they stand there. */
  readonly codings: readonly string[];
  readonly lengths: readonly string[];
};

export type HttpFailure = { readonly reason: ProbeReason; readonly detail: string };

export type HttpProgress =
  | { readonly kind: 'head' | 'body' | 'complete' }
  /** `bodyMax` bytes of the body were given; there are more. */
  | { readonly kind: 'full' }
  | ({ readonly kind: 'failed' } & HttpFailure);

export type HttpReaderOptions = {
  /** Has the answer no body whatever its headers say (HEAD). */
  readonly isBodiless: boolean;
  readonly bodyMax: number;
  /** Gets the body in pieces, chunked or not; they are valid until it returns. */
  readonly onBody: (part: Uint8Array) => void;
};

export const HTTP_HEAD_MAX = 32_768;
const HEADERS_MAX = 256;
/** Answers like 103 before the one that counts. */
const INTERIM_MAX = 8;
const CHUNK_LINE_MAX = 1024;
/** Lengths beyond this are no numbers any more. */
const LENGTH_DIGITS_MAX = 15;

type Framing =
  | { readonly kind: 'none' | 'chunked' | 'until-end' }
  | { readonly kind: 'length'; readonly length: number };

type Mode = 'head' | 'length' | 'until-end' | 'chunk-size' | 'chunk' | 'chunk-end' | 'trailer';

const LF = 10;
const NO_BYTES = new Uint8Array(0);

export class HttpResponseReader {
  readonly #options: HttpReaderOptions;
  #mode: Mode = 'head';
  /** Of a head or of a line that has not ended yet. */
  #kept: Uint8Array = NO_BYTES;
  #interims = 0;
  #remaining = 0;
  #length: number | null = null;
  #bodyBytes = 0;
  #progress: HttpProgress = { kind: 'head' };
  head: HttpHead | null = null;

  constructor(options: HttpReaderOptions) {
    this.#options = options;
  }

  get progress(): HttpProgress {
    return this.#progress;
  }

  /** Of the body, so far. */
  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  /** The bytes may change when it has returned. */
  feed(bytes: Uint8Array): HttpProgress {
    let rest = bytes;
    while (this.#isOpen() && (rest.length > 0 || this.#mode === 'head')) {
      const next = this.#take(rest);
      if (next === null) break;
      rest = next;
    }
    return this.#progress;
  }

  /** The connection has ended in order. */
  end(): HttpProgress {
    if (!this.#isOpen()) return this.#progress;
    if (this.#mode === 'until-end') return (this.#progress = { kind: 'complete' });
    return this.#fail('closed-early', this.#describeEarlyEnd());
  }

  #describeEarlyEnd(): string {
    if (this.head === null)
      return this.#kept.length === 0
        ? 'connection closed without an answer'
        : `connection closed within the HTTP header, after ${this.#kept.length} bytes`;
    if (this.#length === null)
      return `connection closed within the body, after ${this.#bodyBytes} bytes of chunks`;
    return `connection closed after ${this.#bodyBytes} of ${this.#length} bytes of the body`;
  }

  #isOpen(): boolean {
    return this.#progress.kind === 'head' || this.#progress.kind === 'body';
  }

  /** What is left of the bytes; null: more are needed. */
  #take(bytes: Uint8Array): Uint8Array | null {
    switch (this.#mode) {
      case 'head':
        return this.#takeHead(bytes);
      case 'length':
      case 'chunk':
        return this.#takeCounted(bytes);
      case 'until-end':
        this.#give(bytes);
        return null;
      case 'chunk-size':
      case 'chunk-end':
      case 'trailer':
        return this.#takeLine(bytes);
    }
  }

  #takeHead(bytes: Uint8Array): Uint8Array | null {
    const before = this.#kept.length;
    const joined = join(this.#kept, bytes);
    const strange = notHttp(joined);
    if (strange) {
      this.#fail('not-this-protocol', `not an HTTP answer: ${quoteBytes(joined)}`);
      return null;
    }
    const end = findHeadEnd(joined, Math.max(0, before - 3));
    if (end === null || end > HTTP_HEAD_MAX) {
      this.#kept = ownOf(joined, bytes);
      if (joined.length > HTTP_HEAD_MAX)
        this.#fail('too-large', `HTTP headers longer than ${HTTP_HEAD_MAX} bytes`);
      return null;
    }
    this.#kept = NO_BYTES;
    const head = parseHead(joined.subarray(0, end));
    if ('reason' in head) {
      this.#fail(head.reason, head.detail);
      return null;
    }
    const rest = joined.subarray(end);
    if (head.status >= 100 && head.status < 200 && head.status !== 101) {
      if (++this.#interims <= INTERIM_MAX) return rest.length === 0 ? null : rest;
      this.#fail('too-large', `more than ${INTERIM_MAX} interim HTTP answers`);
      return null;
    }
    this.head = head;
    this.#progress = { kind: 'body' };
    this.#begin(head);
    return rest;
  }

  #begin(head: HttpHead): void {
    const framing = framingOf(head, this.#options.isBodiless);
    if ('reason' in framing) {
      this.#fail(framing.reason, framing.detail);
      return;
    }
    switch (framing.kind) {
      case 'none':
        this.#progress = { kind: 'complete' };
        return;
      case 'chunked':
        this.#mode = 'chunk-size';
        return;
      case 'until-end':
        this.#mode = 'until-end';
        return;
      case 'length':
        this.#mode = 'length';
        this.#length = this.#remaining = framing.length;
        if (framing.length === 0) this.#progress = { kind: 'complete' };
    }
  }

  #takeCounted(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, this.#remaining);
    this.#remaining -= part.length;
    this.#give(part);
    if (this.#remaining === 0 && this.#isOpen()) {
      if (this.#mode === 'chunk') this.#mode = 'chunk-end';
      else this.#progress = { kind: 'complete' };
    }
    return bytes.subarray(part.length);
  }

  #give(part: Uint8Array): void {
    const room = this.#options.bodyMax - this.#bodyBytes;
    const given = part.subarray(0, room);
    this.#bodyBytes += given.length;
    if (given.length > 0) this.#options.onBody(given);
    if (part.length > room) this.#progress = { kind: 'full' };
  }

  #takeLine(bytes: Uint8Array): Uint8Array | null {
    const joined = join(this.#kept, bytes);
    const end = joined.indexOf(LF);
    if (end < 0) {
      this.#kept = ownOf(joined, bytes);
      if (joined.length > CHUNK_LINE_MAX)
        this.#fail('wrong-length', 'broken chunks: a line without an end');
      return null;
    }
    this.#kept = NO_BYTES;
    this.#onLine(decodeLatin1(joined.subarray(0, end)).replace(/\r$/, ''));
    return joined.subarray(end + 1);
  }

  #onLine(line: string): void {
    if (this.#mode === 'trailer') {
      if (line === '') this.#progress = { kind: 'complete' };
      else if (++this.#interims > HEADERS_MAX) this.#fail('too-large', 'too many trailers');
      return;
    }
    if (this.#mode === 'chunk-end') {
      if (line === '') this.#mode = 'chunk-size';
      else this.#fail('wrong-length', 'broken chunks: one is longer than it says');
      return;
    }
    const digits = /^([0-9A-Fa-f]{1,12})[ \t]*(?:;|$)/.exec(line)?.[1];
    if (digits === undefined) {
      this.#fail('wrong-length', 'broken chunks: one has no length');
      return;
    }
    this.#remaining = Number.parseInt(digits, 16);
    this.#mode = this.#remaining === 0 ? 'trailer' : 'chunk';
  }

  #fail(reason: ProbeReason, detail: string): HttpProgress {
    this.#progress = { kind: 'failed', reason, detail };
    return this.#progress;
  }
}

/** A server that speaks something else is told apart at its first bytes: it may never end a line. */
function notHttp(bytes: Uint8Array): boolean {
  const wanted = 'HTTP/1.';
  for (let i = 0; i < wanted.length && i < bytes.length; i++)
    if (bytes[i] !== wanted.charCodeAt(i)) return true;
  return false;
}

/** Behind the empty line; lines may end in LF alone (RFC 9112 2.2). */
function findHeadEnd(bytes: Uint8Array, from: number): number | null {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === LF) return at + 3;
  }
  return null;
}

const STATUS_LINE = /^HTTP\/1\.\d ([1-9]\d\d)(?: |$)/;

/** Most answers are a few headers of which one counts: the others are not cut out of the text. */
function parseHead(bytes: Uint8Array): HttpHead | HttpFailure {
  const text = decodeLatin1(bytes);
  let at = text.indexOf('\n') + 1;
  const first = text.slice(0, endOfLine(text, at));
  const status = STATUS_LINE.exec(first)?.[1];
  if (status === undefined) return strangeHead(`not an HTTP answer: ${quoteText(first)}`);
  const found: Record<'codings' | 'lengths', string[]> = { codings: [], lengths: [] };
  /** Whose value a continued line belongs to. */
  let last: string[] | null = null;
  for (let lines = 0; at < text.length; lines++) {
    const begin = at;
    at = text.indexOf('\n', begin) + 1;
    const end = endOfLine(text, at);
    if (end === begin) continue;
    if (lines >= HEADERS_MAX)
      return { reason: 'too-large', detail: `more than ${HEADERS_MAX} HTTP headers` };
    const initial = text[begin];
    if (initial === ' ' || initial === '\t') {
      // A continued line (RFC 9112 5.2), obsolete and harmless here.
      if (last !== null) last[last.length - 1] += ` ${text.slice(begin, end).trim()}`;
      continue;
    }
    const colon = text.indexOf(':', begin);
    if (colon <= begin || colon >= end)
      return strangeHead(`a broken HTTP header: ${quoteText(text.slice(begin, end))}`);
    const kind = framingHeader(initial) ? kindOf(text.slice(begin, colon)) : null;
    last = kind === null ? null : found[kind];
    last?.push(text.slice(colon + 1, end).trim());
  }
  return { status: Number(status), ...found };
}

const strangeHead = (detail: string): HttpFailure => ({ reason: 'not-this-protocol', detail });

/** Whether the name of one that says where the body ends begins so. */
const framingHeader = (first: string | undefined): boolean =>
  first === 'C' || first === 'c' || first === 'T' || first === 't';

/** Spaces may stand behind a name. */
function kindOf(name: string): 'codings' | 'lengths' | null {
  const lower = name.trimEnd().toLowerCase();
  if (lower === 'content-length') return 'lengths';
  return lower === 'transfer-encoding' ? 'codings' : null;
}

/** Of the line before the place `after` its line feed. */
const endOfLine = (text: string, after: number): number =>
  text[after - 2] === '\r' ? after - 2 : after - 1;

/** RFC 9112 6.3. */
function framingOf(
  { status, codings, lengths }: HttpHead,
  isBodiless: boolean,
): Framing | HttpFailure {
  if (isBodiless || status === 204 || status === 304 || status === 101) return { kind: 'none' };
  if (codings.length > 0) {
    const last = codings.at(-1)?.split(',').at(-1)?.trim().toLowerCase();
    return last === 'chunked' ? { kind: 'chunked' } : { kind: 'until-end' };
  }
  const [length, ...others] = lengths.flatMap((value) => value.split(',')).map((one) => one.trim());
  if (length === undefined) return { kind: 'until-end' };
  if (others.some((other) => other !== length))
    return { reason: 'wrong-length', detail: 'two Content-Length headers that differ' };
  if (!/^\d+$/.test(length) || length.length > LENGTH_DIGITS_MAX)
    return { reason: 'wrong-length', detail: `Content-Length is no number: ${quoteText(length)}` };
  return { kind: 'length', length: Number(length) };
}

const quoteText = (text: string): string => quoteBytes(new TextEncoder().encode(text));

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

/** What is to be kept of `joined` must not be what was fed. */
const ownOf = (joined: Uint8Array, fed: Uint8Array): Uint8Array =>
  joined === fed ? new Uint8Array(fed) : joined;

const decodeLatin1 = ({ buffer, byteOffset, length }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, length).toString('latin1');
