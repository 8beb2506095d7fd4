/** Reads replies of a mail server as they arrive (RFC 5321 4.2): a code, and one or several lines of text. */
import { quoteBytes } from './answer-scan.ts';

export type SmtpReply = { readonly code: number; readonly lines: readonly string[] };

export type SmtpProgress =
  | { readonly kind: 'more' }
  | { readonly kind: 'reply'; readonly reply: SmtpReply }
  | { readonly kind: 'broken'; readonly isTooLarge: boolean; readonly detail: string };

/** RFC 5321 4.5.3.1.5 allows 512 bytes with the line's end; some servers say more. */
const LINE_MAX = 2048;
const LINES_MAX = 128;
const LF = 10;

export class SmtpReplyReader {
  #kept = new Uint8Array(0);
  #code: number | null = null;
  #lines: string[] = [];
  #broken: SmtpProgress | null = null;

  feed(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.#kept.length + bytes.length);
    joined.set(this.#kept);
    joined.set(bytes, this.#kept.length);
    this.#kept = joined;
  }

  /** Bytes that wait: before TLS begins nothing may (RFC 3207 4.2). */
  get hasLeftovers(): boolean {
    return this.#kept.length > 0;
  }

  /** The next reply of what was fed. */
  next(): SmtpProgress {
    while (this.#broken === null) {
      const end = this.#kept.indexOf(LF);
      if (end < 0) {
        if (this.#kept.length > LINE_MAX) this.#break(true, `a line longer than ${LINE_MAX} bytes`);
        // What cannot become a reply is told before its line ends: it may never.
        else if (!couldBegin(this.#kept)) this.#break(false, quoteBytes(this.#kept));
        else return { kind: 'more' };
        break;
      }
      if (end > LINE_MAX) {
        this.#break(true, `a line longer than ${LINE_MAX} bytes`);
        break;
      }
      const line = this.#kept.subarray(0, end);
      this.#kept = this.#kept.slice(end + 1);
      const reply = this.#take(line);
      if (reply !== null) return { kind: 'reply', reply };
    }
    return this.#broken ?? { kind: 'more' };
  }

  #take(bytes: Uint8Array): SmtpReply | null {
    const line = String.fromCharCode(...bytes).replace(/\r$/, '');
    const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(line);
    const code = Number(match?.[1]);
    if (match === null || (this.#code !== null && code !== this.#code)) {
      this.#break(false, quoteBytes(bytes));
      return null;
    }
    this.#lines.push(match[3] ?? '');
    if (match[2] === '-') {
      this.#code = code;
      if (this.#lines.length > LINES_MAX) this.#break(true, `more than ${LINES_MAX} lines`);
      return null;
    }
    const reply = { code, lines: this.#lines };
    this.#code = null;
    this.#lines = [];
    return reply;
  }

  #break(isTooLarge: boolean, detail: string): void {
    this.#broken = { kind: 'broken', isTooLarge, detail };
  }
}

function couldBegin(bytes: Uint8Array): boolean {
  for (let i = 0; i < Math.min(bytes.length, 3); i++) {
    const byte = bytes[i] ?? 0;
    if (byte < 48 || byte > 57) return false;
  }
  return true;
}
