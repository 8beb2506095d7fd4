/** Why a probe failed, in words for people; and which failures are our own machine's and say nothing of the target. */

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed while sending',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'no route to host',
  EHOSTDOWN: 'host is down',
  ENETUNREACH: 'network unreachable',
  EACCES: 'forbidden by a local rule',
  EPERM: 'forbidden by a local rule',
  EPROTO: 'TLS failed',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not a TLS server',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'not a TLS server',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'no common TLS version',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'no common TLS version',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate: self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate: self-signed authority',
  UNABLE_TO_GET_ISSUER_CERT: 'certificate: unknown authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate: unknown authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate: unknown authority',
  CERT_HAS_EXPIRED: 'certificate: expired',
  CERT_NOT_YET_VALID: 'certificate: not yet valid',
  CERT_REVOKED: 'certificate: revoked',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate: for another name',
  HPE_HEADER_OVERFLOW: 'HTTP headers too long',
};

/** What the TLS library says where Node gives the code EPROTO for all of it. */
const TLS_WORDS: readonly (readonly [RegExp, string])[] = [
  [/wrong version number|packet length too long|http request/, 'not a TLS server'],
  [/unsupported protocol|alert protocol version/, 'no common TLS version'],
  [
    /alert handshake failure|no shared cipher/,
    'no common TLS cipher, or client certificate wanted',
  ],
  [/unrecognized name/, 'TLS: name unknown to the server'],
];

/** Out of descriptors, ports, buffers or memory here: no reason to call a real server down. */
const LOCAL = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EADDRINUSE']);

const DETAIL_LENGTH_MAX = 200;

export const isLocalFailure = (error: unknown): boolean => LOCAL.has(codeOf(error));

export function describeFailure(error: unknown): string {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : String(error);
  // Node gives these two the code of a reset as well.
  if (text === 'socket hang up') return 'connection closed without an answer';
  if (text === 'aborted') return 'connection closed within the answer';
  const tls = code === 'EPROTO' ? TLS_WORDS.find(([pattern]) => pattern.test(text)) : undefined;
  const words = tls?.[1] ?? WORDS[code];
  if (words !== undefined) return words;
  if (code.startsWith('HPE_')) return 'not an HTTP answer';
  return text.replace(/\s+/g, ' ').slice(0, DETAIL_LENGTH_MAX);
}

export const describeStatus = (
  status: number,
  wanted: readonly (readonly [number, number])[],
): string => {
  const ranges = wanted.map(([low, high]) => (low === high ? `${low}` : `${low}-${high}`));
  return `HTTP status ${status}, wanted ${ranges.join(', ')}`;
};

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
