/** A check that at most sends something and expects something: tcp and tls. */
import { fromHex } from '../../lib/bytes.ts';
import type { Scan } from '../../lib/pattern.ts';
import type { Exchange } from '../../model/check.ts';
import { compileMatcher, quoteBytes, type ScanSource } from '../../wire/answer-scan.ts';
import { down } from './failure-words.ts';
import type { Outcome } from './probe.ts';
import type { Line, Talk } from './stream-probe.ts';

/** Bytes of an answer that are looked at. */
export const ANSWER_MAX = 65_536;

export type CompiledExchange = {
  readonly send: Uint8Array | null;
  readonly expect: ScanSource | null;
};

/** Once for each check: its expression remembers what it has met. */
export function compileExchange({ send = null, expect = null }: Exchange): CompiledExchange {
  const matcher = expect === null ? null : compileMatcher(expect);
  if (matcher !== null && !matcher.ok) throw new Error(`the expected text ${matcher.error}`);
  return { send: send === null ? null : fromHex(send), expect: matcher?.value ?? null };
}

export class ExchangeTalk implements Talk {
  readonly #exchange: CompiledExchange;
  readonly #scan: Scan | null;
  #line: Line | null = null;
  #length = 0;
  /** The beginning of the answer, for people. */
  #shown = Buffer.alloc(0);

  constructor(exchange: CompiledExchange) {
    this.#exchange = exchange;
    this.#scan = exchange.expect?.start() ?? null;
  }

  onOpen(line: Line): void {
    this.#line = line;
    const note = line.certificateNote();
    if (this.#exchange.send !== null) line.write(this.#exchange.send);
    if (this.#scan === null)
      line.finish({ kind: 'up', detail: note === '' ? 'connected' : `connected, ${note}` });
  }

  onData(bytes: Buffer): void {
    const scan = this.#scan;
    if (scan === null) return;
    if (this.#shown.length < 64) this.#shown = Buffer.concat([this.#shown, bytes.subarray(0, 64)]);
    const piece = bytes.subarray(0, ANSWER_MAX - this.#length);
    this.#length += piece.length;
    if (scan.feed(piece)) this.#line?.finish({ kind: 'up', detail: 'expected answer' });
    else if (scan.isExhausted) this.#line?.finish(down('misconfigured', TOO_COSTLY));
    else if (this.#length >= ANSWER_MAX)
      this.#line?.finish(
        down('too-large', `not what is expected in the first ${ANSWER_MAX} bytes of the answer`),
      );
  }

  onEnd(): Outcome {
    if (this.#scan?.end() === true) return { kind: 'up', detail: 'expected answer' };
    if (this.#length === 0) return down('closed-early', 'connection closed without an answer');
    return down('no-match', `the answer is not what is expected: ${quoteBytes(this.#shown)}`);
  }

  awaited(): ReturnType<Talk['awaited']> {
    if (this.#length === 0) return { reason: 'timeout-first-byte', what: 'no answer' };
    const what = `answered ${quoteBytes(this.#shown)}, but not what is expected`;
    return { reason: 'timeout-answer', what };
  }
}

export const TOO_COSTLY = 'the expression takes too long on this answer: make it simpler';
