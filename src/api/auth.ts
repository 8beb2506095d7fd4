/** Who may do what: bearer tokens with roles, and guards for the loopback address without tokens. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { type ApiToken, type Caller, ROLES, type Role } from './context.ts';
import { createProblem, ProblemError, problemError } from './problem.ts';

const LOCAL: Caller = { name: 'local', role: 'admin' };
const NOBODY: Caller = { name: 'anonymous', role: 'viewer' };

/** Has shown no token where tokens are configured: is told no names and no details. */
export const isAnonymous = (caller: Caller): boolean => caller === NOBODY;

export type Authenticate = (request: FastifyRequest, needed: Role | 'open') => Caller;

/** Throws a `ProblemError` (401, 403) for who may not. */
export function createAuthenticate(tokens: readonly ApiToken[]): Authenticate {
  if (tokens.length === 0) return authenticateLocal;
  const known = tokens.map(({ name, role, token }) => ({ name, role, digest: digestOf(token) }));
  return (request, needed) => {
    const match = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '');
    const caller = match === null ? null : findCaller(known, match[1] ?? '');
    if (needed === 'open') return caller ?? NOBODY;
    if (caller === null) throw unauthorized();
    if (ROLES.indexOf(caller.role) < ROLES.indexOf(needed))
      throw problemError(
        'forbidden',
        `token "${caller.name}" has the role ${caller.role}; this needs ${needed}`,
      );
    return caller;
  };
}

/** Digests have equal lengths, and every token is compared: the time tells nothing. */
function findCaller(
  known: readonly (Caller & { readonly digest: Buffer })[],
  token: string,
): Caller | null {
  const digest = digestOf(token);
  let found: Caller | null = null;
  for (const { name, role, digest: other } of known)
    if (timingSafeEqual(digest, other)) found = { name, role };
  return found;
}

const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

const unauthorized = (): ProblemError =>
  new ProblemError(
    createProblem('unauthorized', 'send "Authorization: Bearer <token>" with a token of this API'),
    { 'www-authenticate': 'Bearer realm="leasehold"' },
  );

/** Without tokens the only foe is a web page in a browser on this machine. */
function authenticateLocal(request: FastifyRequest, needed: Role | 'open'): Caller {
  // A plain HTTP/1.0 check of a load balancer; browsers always name a host.
  if (needed === 'open' && request.headers.host === undefined) return LOCAL;
  const host = hostOf(request.headers.host ?? '');
  if (host !== 'localhost' && isIP(host) === 0)
    throw problemError(
      'forbidden',
      'without tokens, call this API by IP address or localhost (a foreign name may be DNS rebinding)',
    );
  const origin = request.headers.origin;
  const isWrite = request.method !== 'GET' && request.method !== 'HEAD';
  if (isWrite && origin !== undefined && !isSameSite(origin, request.headers.host ?? ''))
    throw problemError('forbidden', `a page of "${origin}" may not change this cluster`);
  return LOCAL;
}

/** Host and port: another port of this machine is another program. */
function isSameSite(origin: string, authority: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host } = new URL(origin);
  const own = `${protocol}//${authority}`;
  return host !== '' && URL.canParse(own) && new URL(own).host === host;
}

const hostOf = (authority: string): string =>
  authority.startsWith('[')
    ? authority.slice(1, Math.max(1, authority.indexOf(']')))
    : authority.replace(/:\d+$/, '');

/** Only this machine can reach it. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
