/** Looks for what a check expects in an answer that arrives in pieces. */
import { fromHex } from '../lib/bytes.ts';
import { Pattern, type Scan } from '../lib/pattern.ts';
import { err, ok, type Result } from '../lib/result.ts';
import type { Matcher } from '../model/check.ts';

/** Makes one scan after the other: what was learnt of an expression serves all of them. */
export type ScanSource = { readonly start: () => Scan };

/** The error is the rest of a sentence that begins with the expression. */
export function compileMatcher(matcher: Matcher): Result<ScanSource, string> {
  if (matcher.kind === 'bytes') {
    const bytes = fromHex(matcher.hex);
    if (bytes === null || bytes.length === 0) return err('is no text');
    const fallback = fallbackOf(bytes);
    return ok({ start: () => new BytesScan(bytes, fallback) });
  }
  const pattern = Pattern.compile(matcher.source, matcher.ignoreCase);
  return pattern.ok ? ok({ start: () => pattern.value.scan() }) : pattern;
}

/** Knuth, Morris and Pratt: no byte is looked at twice, so pieces need not be kept. */
class BytesScan implements Scan {
  readonly #wanted: Uint8Array;
  readonly #fallback: Uint16Array;
  #matched = 0;
  readonly isExhausted = false;

  constructor(wanted: Uint8Array, fallback: Uint16Array) {
    this.#wanted = wanted;
    this.#fallback = fallback;
  }

  feed(bytes: Uint8Array): boolean {
    const wanted = this.#wanted;
    for (const byte of bytes) {
      if (this.#matched === wanted.length) return true;
      while (this.#matched > 0 && wanted[this.#matched] !== byte)
        this.#matched = this.#fallback[this.#matched - 1] ?? 0;
      if (wanted[this.#matched] === byte) this.#matched++;
    }
    return this.end();
  }

  end(): boolean {
    return this.#matched === this.#wanted.length;
  }
}

function fallbackOf(wanted: Uint8Array): Uint16Array {
  const fallback = new Uint16Array(wanted.length);
  for (let i = 1, length = 0; i < wanted.length; i++) {
    while (length > 0 && wanted[i] !== wanted[length]) length = fallback[length - 1] ?? 0;
    if (wanted[i] === wanted[length]) length++;
    fallback[i] = length;
  }
  return fallback;
}

/** How an answer may be told to people: its beginning, in one line, without what confuses a terminal. */
export function quoteBytes(bytes: Uint8Array, lengthMax = 60): string {
  let text = '';
  for (const byte of bytes.subarray(0, lengthMax))
    text +=
      byte >= 32 && byte < 127
        ? String.fromCharCode(byte)
        : (ESCAPES[byte] ?? '\\x' + byte.toString(16).padStart(2, '0'));
  return `"${text}"${bytes.length > lengthMax ? '…' : ''}`;
}

const ESCAPES: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r' };
