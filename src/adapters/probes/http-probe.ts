/** HTTP and HTTPS checks: their requests one after the other, each on a connection of its own. */
import { createHash, type Hash } from 'node:crypto';
import { isIP } from 'node:net';
import type { Scan } from '../../lib/pattern.ts';
import { formatEndpoint } from '../../model/address.ts';
import type { HttpCheck, HttpRequest } from '../../model/check.ts';
import type { Check } from '../../model/cluster.ts';
import { compileMatcher, type ScanSource } from '../../wire/answer-scan.ts';
import { encodeHttpRequest } from '../../wire/http-request.ts';
import { type HttpProgress, HttpResponseReader } from '../../wire/http-response.ts';
import { TOO_COSTLY } from './exchange-probe.ts';
import { describeStatus, down } from './failure-words.ts';
import type { Outcome, RunningProbe } from './probe.ts';
import { originOf } from './probe-sockets.ts';
import { type Line, startStream, type StreamTools, type Talk } from './stream-probe.ts';

export type CompiledRequest = {
  readonly request: HttpRequest;
  readonly bytes: Uint8Array;
  readonly match: ScanSource | null;
  readonly noMatch: ScanSource | null;
};

/** Once for each check. */
export function compileHttp(check: Check, spec: HttpCheck): readonly CompiledRequest[] {
  return spec.requests.map((request) => ({
    request,
    bytes: encodeHttpRequest(request, spec.version, request.host ?? defaultHost(check, spec)),
    match: compiled(request.match),
    noMatch: compiled(request.noMatch),
  }));
}

function compiled(matcher: HttpRequest['match']): ScanSource | null {
  if (matcher === null) return null;
  const source = compileMatcher(matcher);
  if (!source.ok) throw new Error(`the expected text ${source.error}`);
  return source.value;
}

/** RFC 9110 7.2: the port belongs to the Host header unless it is the scheme's own. */
function defaultHost(check: Check, { kind }: HttpCheck): string {
  const isDefaultPort = check.port === (kind === 'https' ? 443 : 80);
  const endpoint = formatEndpoint(check.address, check.port);
  return isDefaultPort ? endpoint.slice(0, endpoint.lastIndexOf(':')) : endpoint;
}

export function startHttp(
  check: Check,
  spec: HttpCheck,
  requests: readonly CompiledRequest[],
  tools: StreamTools,
  done: (outcome: Outcome) => void,
): RunningProbe {
  return new HttpProbe(check, spec, requests, tools, done);
}

class HttpProbe implements RunningProbe {
  readonly #check: Check;
  readonly #spec: HttpCheck;
  readonly #requests: readonly CompiledRequest[];
  readonly #tools: StreamTools;
  readonly #done: (outcome: Outcome) => void;
  #at = 0;
  #current: RunningProbe;

  constructor(
    check: Check,
    spec: HttpCheck,
    requests: readonly CompiledRequest[],
    tools: StreamTools,
    done: (outcome: Outcome) => void,
  ) {
    this.#check = check;
    this.#spec = spec;
    this.#requests = requests;
    this.#tools = tools;
    this.#done = done;
    this.#current = this.#start();
  }

  abort(): void {
    this.#current.abort();
  }

  expire(): Outcome {
    return this.#named(this.#current.expire());
  }

  #start(): RunningProbe {
    const compiledRequest = this.#requests[this.#at];
    if (compiledRequest === undefined) throw new Error('an HTTP check has a request');
    const { host } = compiledRequest.request;
    const { id: _, address, port, spec } = this.#check;
    return startStream(
      {
        place: { address, port, origin: originOf(spec.origin) },
        timeoutMs: spec.timeoutMs,
        tls: this.#spec.tls,
        host: host === null ? null : nameOf(host),
        protocol: 'http/1.1',
        isBrief: true,
      },
      new HttpTalk(compiledRequest, this.#spec.bodyMax),
      this.#tools,
      (outcome) => this.#onOutcome(outcome),
    );
  }

  #onOutcome(outcome: Outcome): void {
    this.#at++;
    if (outcome.kind === 'up' && this.#at < this.#requests.length) this.#current = this.#start();
    else {
      this.#at--;
      this.#done(this.#named(outcome));
    }
  }

  /** Of several requests, which one. */
  #named(outcome: Outcome): Outcome {
    const path = this.#requests[this.#at]?.request.path ?? '';
    if (this.#requests.length === 1 || outcome.kind === 'local') return outcome;
    if (outcome.kind === 'up')
      return {
        ...outcome,
        detail: `${this.#requests.length} requests, the last: ${outcome.detail}`,
      };
    return { ...outcome, detail: `${path}: ${outcome.detail}` };
  }
}

/** A Host header may carry a port, and an IPv6 address its brackets. */
function nameOf(host: string): string {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(host)?.[1];
  if (bare !== undefined) return bare;
  return isIP(host) === 0 ? host.replace(/:\d+$/, '') : host;
}

class HttpTalk implements Talk {
  readonly #compiled: CompiledRequest;
  readonly #reader: HttpResponseReader;
  readonly #hash: Hash | null;
  readonly #match: Scan | null;
  readonly #noMatch: Scan | null;
  #line: Line | null = null;
  #bytes = 0;
  #hasMatched = false;
  #hasUnwanted = false;
  #isStatusJudged = false;

  constructor(compiledRequest: CompiledRequest, bodyMax: number) {
    this.#compiled = compiledRequest;
    const { request, match, noMatch } = compiledRequest;
    this.#hash = request.digest === null ? null : createHash(request.digest.algorithm);
    this.#match = match?.start() ?? null;
    this.#noMatch = noMatch?.start() ?? null;
    this.#reader = new HttpResponseReader({
      isBodiless: request.method === 'HEAD',
      bodyMax,
      onBody: (part) => this.#onBody(part),
    });
  }

  onOpen(line: Line): void {
    this.#line = line;
    line.write(this.#compiled.bytes);
  }

  onData(bytes: Buffer): void {
    this.#bytes += bytes.length;
    this.#judge(this.#reader.feed(bytes));
  }

  onEnd(): Outcome {
    const outcome = this.#outcomeOf(this.#reader.end());
    return outcome ?? down('closed-early', 'connection closed within the answer');
  }

  awaited(): ReturnType<Talk['awaited']> {
    if (this.#bytes === 0) return { reason: 'timeout-first-byte', what: 'no answer' };
    const { head, bodyBytes } = this.#reader;
    const part =
      head === null
        ? `the HTTP header was not complete (${this.#bytes} bytes)`
        : `HTTP status ${head.status}, but the body was not complete (${bodyBytes} bytes)`;
    return { reason: 'timeout-answer', what: part };
  }

  #onBody(part: Uint8Array): void {
    this.#hash?.update(part);
    if (this.#match?.feed(part) === true) this.#hasMatched = true;
    if (this.#noMatch?.feed(part) === true) this.#hasUnwanted = true;
  }

  #judge(progress: HttpProgress): void {
    const outcome = this.#outcomeOf(progress);
    if (outcome !== null) this.#line?.finish(outcome);
  }

  /** Null: more of the answer is needed. */
  #outcomeOf(progress: HttpProgress): Outcome | null {
    const { head } = this.#reader;
    if (head !== null && !this.#isStatusJudged) {
      this.#isStatusJudged = true;
      const { status } = this.#compiled.request;
      const isWanted = status.some(([low, high]) => head.status >= low && head.status <= high);
      if (!isWanted) return down('wrong-status', describeStatus(head.status, status));
    }
    switch (progress.kind) {
      case 'failed':
        return down(progress.reason, progress.detail);
      case 'complete':
        return this.#judgeBody(true);
      case 'full':
        return this.#judgeBody(false);
      case 'head':
      case 'body':
        return this.#judgeEarly();
    }
  }

  /** What needs no end of the body to be known. */
  #judgeEarly(): Outcome | null {
    if (this.#hasUnwanted) return down('unwanted-match', 'the body has what it must not have');
    if (this.#match?.isExhausted === true || this.#noMatch?.isExhausted === true)
      return down('misconfigured', TOO_COSTLY);
    return null;
  }

  #judgeBody(isWhole: boolean): Outcome {
    const { head, bodyBytes } = this.#reader;
    if (isWhole && this.#match?.end() === true) this.#hasMatched = true;
    if (isWhole && this.#noMatch?.end() === true) this.#hasUnwanted = true;
    const early = this.#judgeEarly();
    if (early !== null) return early;
    const { digest } = this.#compiled.request;
    if (digest !== null && !isWhole)
      return down('too-large', `a body of more than ${bodyBytes} bytes: no digest is made of it`);
    if (this.#match !== null && !this.#hasMatched)
      return down(
        isWhole ? 'no-match' : 'too-large',
        isWhole
          ? `the body (${bodyBytes} bytes) has not what is expected`
          : `the first ${bodyBytes} bytes of the body have not what is expected`,
      );
    if (digest !== null) {
      const hex = this.#hash?.digest('hex') ?? '';
      if (hex !== digest.hex)
        return down(
          'wrong-digest',
          `${digest.algorithm} of the body is ${hex}, wanted ${digest.hex}`,
        );
    }
    return { kind: 'up', detail: `HTTP status ${head?.status ?? 0}` };
  }
}
