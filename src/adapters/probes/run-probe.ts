/**
 * One probe: TCP connect, then TLS and HTTP where the check wants them. Runs in a probe worker. Has no timer of
 * its own: whoever started it aborts it at the deadline.
 */
import { type IncomingMessage, request } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { formatEndpoint } from '../../model/address.ts';
import type { Check, CheckKind } from '../../model/cluster.ts';
import { describeFailure, describeStatus, isLocalFailure } from './failure-words.ts';
import { systemTrust } from './system-trust.ts';

/** Bytes of an answer's body that are read before the target counts as up. */
export const BODY_LENGTH_MAX = 65_536;
const HEADER_LENGTH_MAX = 32_768;
const USER_AGENT = 'leasehold';

export type Outcome =
  | { readonly kind: 'up' | 'down'; readonly detail: string }
  /** This machine could not probe; nothing is known of the target. */
  | { readonly kind: 'local'; readonly detail: string };

type HttpCheck = Extract<CheckKind, { kind: 'http' | 'https' }>;

/**
 * Calls `done` exactly once, unless aborted before. The connection ends by reset, unless a side has begun to
 * end it in order: no TIME_WAIT here, and nothing kept alive there. Returns the abort.
 */
export function runProbe(check: Check, done: (outcome: Outcome) => void): () => void {
  const tcp = connect({ host: check.address, port: check.port });
  let isOver = false;
  let tls: Duplex | null = null;
  const end = (): void => {
    isOver = true;
    // A reset is refused while a shutdown is under way, and Node then never closes the descriptor; a
    // socket that still connects would wait for its connection before it resets.
    const isEnding = tcp.writableEnded || tls?.writableEnded === true;
    if (tcp.connecting || isEnding) tcp.destroy();
    else tcp.resetAndDestroy();
    // TLS follows when TCP is closed. Destroyed here it would close at once, within a callback of the HTTP
    // client, which then gives its parser back twice: two later probes would share it.
  };
  const finish = (outcome: Outcome): void => {
    if (isOver) return;
    end();
    done(outcome);
  };
  const fail = (error: unknown): void =>
    finish({
      kind: isLocalFailure(error) ? 'local' : 'down',
      detail: describeFailure(error),
    });
  // Stays for ever: errors may follow the end, and without a listener they would end the worker.
  tcp.on('error', fail);
  tcp.once('connect', () => {
    const { spec } = check;
    try {
      if (spec.kind === 'tcp') finish({ kind: 'up', detail: 'connected' });
      else if (spec.kind === 'http') runHttp(check, spec, tcp, finish, fail);
      else {
        tls = wrapTls(check, spec, tcp, fail);
        runHttp(check, spec, tls, finish, fail);
      }
    } catch (error) {
      fail(error); // A path or host that HTTP does not allow.
    }
  });
  return end;
}

/** Without verification the certificate is not looked at at all; with it, name or address must match. */
function wrapTls(
  check: Check,
  spec: HttpCheck,
  tcp: Socket,
  fail: (error: unknown) => void,
): Duplex {
  const hasName = spec.host !== null && isIP(spec.host) === 0;
  const tls = connectTls({
    socket: tcp,
    host: spec.host ?? check.address,
    ...(hasName ? { servername: spec.host } : {}),
    rejectUnauthorized: spec.verify,
    secureContext: systemTrust(),
    ALPNProtocols: ['http/1.1'],
  });
  tls.on('error', fail);
  return tls;
}

function runHttp(
  check: Check,
  spec: HttpCheck,
  stream: Duplex,
  finish: (outcome: Outcome) => void,
  fail: (error: unknown) => void,
): void {
  const outgoing = request({
    createConnection: () => stream,
    method: spec.method,
    path: spec.path,
    headers: {
      host: spec.host ?? defaultHost(check, spec),
      'user-agent': USER_AGENT,
      accept: '*/*',
      connection: 'close',
    },
    maxHeaderSize: HEADER_LENGTH_MAX,
  });
  outgoing.on('error', fail);
  outgoing.on('upgrade', (response) =>
    finish({ kind: 'down', detail: describeStatus(response.statusCode ?? 0, spec.status) }),
  );
  let answer: IncomingMessage | null = null;
  outgoing.on('response', (response) => {
    answer = response;
    const status = response.statusCode ?? 0;
    const isWanted = spec.status.some(([low, high]) => status >= low && status <= high);
    if (!isWanted) {
      finish({ kind: 'down', detail: describeStatus(status, spec.status) });
      return;
    }
    const up: Outcome = { kind: 'up', detail: `HTTP status ${status}` };
    let length = 0;
    response.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length >= BODY_LENGTH_MAX) finish(up);
    });
    response.on('end', () => finish(up));
    response.on('error', fail);
  });
  outgoing.on('close', () => {
    // A whole answer may still wait to be read; its end says so.
    if (answer?.complete === true) return;
    const where = answer === null ? 'without an answer' : 'within the answer';
    finish({ kind: 'down', detail: `connection closed ${where}` });
  });
  outgoing.end();
}

/** RFC 9110 7.2: the port belongs to the Host header unless it is the scheme's own. */
function defaultHost(check: Check, spec: HttpCheck): string {
  const isDefaultPort = check.port === (spec.kind === 'https' ? 443 : 80);
  const endpoint = formatEndpoint(check.address, check.port);
  return isDefaultPort ? endpoint.slice(0, endpoint.lastIndexOf(':')) : endpoint;
}
