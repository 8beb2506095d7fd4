/** One HTTP/1 request as bytes (RFC 9112 3). The connection ends with its answer. */
import { fromHex } from '../lib/bytes.ts';
import type { HttpRequest } from '../model/check.ts';

const USER_AGENT = 'leasehold';
/** RFC 9110 8.6: these say that they have none; servers answer 411 otherwise. */
const WITH_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** `host` is what the Host header says; headers of the request's own replace ours. */
export function encodeHttpRequest(
  { method, path, headers, body }: Pick<HttpRequest, 'method' | 'path' | 'headers' | 'body'>,
  version: '1.0' | '1.1',
  host: string,
): Uint8Array {
  const content = body === null ? null : (fromHex(body) ?? new Uint8Array(0));
  const own = new Set(headers.map(([name]) => name.toLowerCase()));
  const given: (readonly [string, string])[] = [
    ['Host', host],
    ['User-Agent', USER_AGENT],
    ['Accept', '*/*'],
    ['Connection', 'close'],
    ...(content === null && !WITH_CONTENT.has(method)
      ? []
      : [['Content-Length', `${content?.length ?? 0}`] as const]),
  ];
  const lines = [
    `${method} ${path} HTTP/${version}`,
    ...[...given.filter(([name]) => !own.has(name.toLowerCase())), ...headers].map(
      ([name, value]) => `${name}: ${value}`,
    ),
    '',
    '',
  ];
  const head = new TextEncoder().encode(lines.join('\r\n'));
  if (content === null) return head;
  const request = new Uint8Array(head.length + content.length);
  request.set(head);
  request.set(content, head.length);
  return request;
}
