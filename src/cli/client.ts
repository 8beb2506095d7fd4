/** Speaks to the API of any director: tries the URLs in turn, and tells a request that never left from one in doubt. */
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import { messageOf } from '../lib/result.ts';
import { CliError, EXIT, type ExitCode } from './context.ts';

export type ClientOptions = {
  readonly urls: readonly URL[];
  readonly token: string | null;
  /** PEM; null: the system's authorities. */
  readonly ca: string | null;
  readonly timeoutMs: number;
  /** Ends the request under way. */
  readonly signal: AbortSignal;
};

export type ApiRequest = {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** From the root, with the query. */
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** May be sent again to another director when the outcome of the first is in doubt. */
  readonly isRepeatable?: boolean;
  /**
   * It changes the machine of the director that is asked, and of no other: once that one has got it, its answer
   * counts, whatever it is.
   */
  readonly isLocal?: boolean;
};

export type StreamRequest = Pick<ApiRequest, 'path' | 'headers'> & {
  /** The stream ends when nothing came for so long; default: it may be silent for ever. */
  readonly silentMs?: number;
};

export type ApiAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
};

/** What a timer of the process can wait: some 24 days. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Why one URL gave no answer; `isInDoubt`: the request may have arrived. */
class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  readonly isInDoubt: boolean;

  constructor(message: string, isInDoubt: boolean) {
    super(message);
    this.isInDoubt = isInDoubt;
  }
}

export class ApiClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** A 2xx answer; anything else throws a `CliError` with the exit code that fits. */
  async call(request: ApiRequest): Promise<ApiAnswer> {
    const answer = await this.send(request);
    if (answer.status >= 300) throw failureOf(answer);
    return answer;
  }

  /** Any answer of a director that has the store; throws when none can be had. */
  async send(request: ApiRequest): Promise<ApiAnswer> {
    const { isLocal = false, isRepeatable = request.method === 'GET' } = request;
    const failures: string[] = [];
    let withoutStore: ApiAnswer | null = null;
    for (const url of this.#options.urls) {
      try {
        const answer = await this.#try(url, request);
        if (isLocal || problemOf(answer).code !== 'store-unavailable') return answer;
        withoutStore = answer;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        failures.push(`${url.origin}: ${error.message}`);
        if (error.isInDoubt && (isLocal || !isRepeatable))
          throw new CliError(
            EXIT.unreachable,
            `${failures.join('\n')}\nThe request may have been carried out; look before you try again.`,
          );
      }
    }
    if (withoutStore !== null) return withoutStore;
    throw noDirector(failures);
  }

  /** An endless answer, line by line, until it breaks or the signal aborts. Throws when no URL gives one. */
  async *stream(
    { silentMs = 0, ...request }: StreamRequest,
    signal: AbortSignal,
  ): AsyncGenerator<string> {
    const failures: string[] = [];
    const limits = { connectMs: Math.min(this.#options.timeoutMs, TIMER_MS_MAX), silentMs };
    for (const url of this.#options.urls) {
      let response: IncomingMessage;
      let refusal: ApiAnswer | null;
      try {
        response = await this.#open(url, { method: 'GET', ...request }, signal, limits);
        refusal = response.statusCode === 200 ? null : await readAnswer(response);
      } catch (error) {
        if (signal.aborted) return;
        failures.push(`${url.origin}: ${messageOf(error)}`);
        continue;
      }
      if (refusal !== null) throw failureOf(refusal);
      yield* linesOf(response, signal);
      return;
    }
    throw noDirector(failures);
  }

  async #try(url: URL, request: ApiRequest): Promise<ApiAnswer> {
    const { timeoutMs, signal: interrupt } = this.#options;
    const signal = AbortSignal.any([
      AbortSignal.timeout(Math.min(timeoutMs, TIMER_MS_MAX)),
      interrupt,
    ]);
    try {
      return await readAnswer(await this.#open(url, request, signal));
    } catch (error) {
      if (error instanceof NoAnswer && !signal.aborted) throw error;
      const isInDoubt = error instanceof NoAnswer ? error.isInDoubt : true;
      if (interrupt.aborted) throw interrupted(isInDoubt && request.method !== 'GET');
      const cause = signal.aborted ? `no answer in ${timeoutMs} ms` : messageOf(error);
      throw new NoAnswer(cause, isInDoubt);
    }
  }

  /** Resolves with the head of the answer. `limits` null: the signal ends it in time. */
  #open(
    url: URL,
    request: ApiRequest,
    signal: AbortSignal,
    limits: StreamLimits | null = null,
  ): Promise<IncomingMessage> {
    const { token, ca } = this.#options;
    const payload = request.body === undefined ? null : JSON.stringify(request.body);
    const headers = {
      accept: 'application/json',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(payload === null
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
      ...request.headers,
    };
    const target = new URL(url.pathname.replace(/\/$/, '') + request.path, url);
    const options = {
      method: request.method,
      headers,
      signal,
      agent: false,
      ...(limits === null ? {} : { timeout: limits.connectMs }),
    } as const;
    const isTls = url.protocol === 'https:';
    return new Promise((resolve, reject) => {
      let isSent = false;
      const outgoing = isTls
        ? httpsRequest(target, ca === null ? options : { ...options, ca }, resolve)
        : httpRequest(target, options, resolve);
      outgoing.on('socket', (socket) => {
        socket.once(isTls ? 'secureConnect' : 'connect', () => {
          isSent = true;
          if (limits !== null) socket.setTimeout(limits.silentMs);
        });
      });
      if (limits !== null) endWhenSilent(outgoing, limits, () => isSent);
      outgoing.on('error', (error) => reject(new NoAnswer(explainNetwork(error), isSent)));
      outgoing.end(payload ?? undefined);
    });
  }
}

/** `silentMs` 0: none. */
type StreamLimits = { readonly connectMs: number; readonly silentMs: number };

/** A machine that lost its power closes no connection: without this its stream would be waited for without end. */
function endWhenSilent(
  outgoing: ClientRequest,
  { connectMs, silentMs }: StreamLimits,
  isConnected: () => boolean,
): void {
  outgoing.on('timeout', () => {
    const cause = isConnected()
      ? `nothing came for ${silentMs} ms`
      : `no answer in ${connectMs} ms`;
    outgoing.destroy(new Error(cause));
  });
}

const noDirector = (failures: readonly string[]): CliError =>
  new CliError(
    EXIT.unreachable,
    `No director answered:\n${failures.join('\n')}\nIs the agent running? Give its address with --api URL or LEASEHOLD_API.`,
  );

const interrupted = (isInDoubt: boolean): CliError =>
  new CliError(
    EXIT.unreachable,
    isInDoubt
      ? 'interrupted; the request may have been carried out, look before you try again'
      : 'interrupted',
  );

async function readAnswer(response: IncomingMessage): Promise<ApiAnswer> {
  const { statusCode = 0, headers } = response;
  if (Number(headers['content-length'] ?? 0) > ANSWER_BYTES_MAX) response.destroy();
  const raw = await text(response);
  try {
    return { status: statusCode, headers, body: JSON.parse(raw) };
  } catch {
    const message = `this is no leasehold API (HTTP ${statusCode}, ${headers['content-type'] ?? 'no type'})`;
    throw new NoAnswer(message, true);
  }
}

async function* linesOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<string> {
  let rest = '';
  response.setEncoding('utf8');
  try {
    for await (const chunk of response) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch (error) {
    // A broken stream is an end like any other: the caller connects again.
    if (!signal.aborted) yield `: ${messageOf(error)}`;
  }
}

function explainNetwork(error: Error): string {
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'ECONNREFUSED') return 'connection refused';
  if (code === 'ENOTFOUND') return 'the name is not known';
  if (code === 'ECONNRESET') return 'the connection was reset';
  if (code === 'DEPTH_ZERO_SELF_SIGNED_CERT' || code.startsWith('UNABLE_TO_'))
    return `the certificate is not trusted (${code}); give its authority with --cacert FILE`;
  return error.message || code;
}

type ProblemFields = {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly problems?: unknown;
  readonly confirm?: unknown;
  readonly removed?: unknown;
};

/** The members of a problem document; empty for any other answer. */
export function problemOf(answer: ApiAnswer): ProblemFields {
  const isProblem = answer.status >= 400 && typeof answer.body === 'object';
  return isProblem && answer.body !== null ? answer.body : {};
}

const EXIT_OF_STATUS: ReadonlyMap<number, ExitCode> = new Map([
  [401, EXIT.denied],
  [403, EXIT.denied],
  [409, EXIT.precondition],
  [412, EXIT.precondition],
  [428, EXIT.precondition],
  [500, EXIT.unreachable],
  [503, EXIT.unreachable],
  [504, EXIT.unreachable],
]);

/** The error of a refused request: all that the problem document says. */
export function failureOf(answer: ApiAnswer): CliError {
  const { detail, problems, removed, confirm } = problemOf(answer);
  const lines = [typeof detail === 'string' ? detail : `HTTP status ${answer.status}`];
  if (Array.isArray(problems)) for (const problem of problems) lines.push(problemLine(problem));
  if (Array.isArray(removed)) for (const name of removed) lines.push(`  - ${String(name)}`);
  if (typeof confirm === 'string') lines.push(confirm);
  if (answer.status === 401)
    lines.push('Give a token with --token, LEASEHOLD_TOKEN or LEASEHOLD_TOKEN_FILE.');
  return new CliError(EXIT_OF_STATUS.get(answer.status) ?? EXIT.badInput, lines.join('\n'));
}

function problemLine(problem: unknown): string {
  if (typeof problem !== 'object' || problem === null) return `  ${String(problem)}`;
  const { path, message, allowed } = { path: '', message: '', allowed: '', ...problem };
  const remedy = allowed === '' ? '' : ` (allowed: ${allowed})`;
  return `  ${path}: ${message}${remedy}`;
}
