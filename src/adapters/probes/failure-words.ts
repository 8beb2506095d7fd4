/** Why a probe failed, in a word for machines and words for people; and which failures are our own machine's. */
import type { ProbeReason } from '../../model/check.ts';
import type { Outcome } from './probe.ts';

export type Failure = { readonly reason: ProbeReason; readonly detail: string };

type Entry = readonly [ProbeReason, string];

const AUTHORITY: Entry = ['certificate-unknown-authority', 'certificate: unknown authority'];
const NOT_TLS: Entry = ['not-tls', 'not a TLS server'];
const NO_VERSION: Entry = ['tls-failed', 'no common TLS version'];

const ENTRIES: Readonly<Record<string, Entry>> = {
  ECONNREFUSED: ['refused', 'connection refused'],
  ECONNRESET: ['reset', 'connection reset'],
  EPIPE: ['reset', 'connection closed while sending'],
  ETIMEDOUT: ['timeout-connect', 'connection timed out'],
  EHOSTUNREACH: ['unreachable', 'no route to host'],
  EHOSTDOWN: ['unreachable', 'host is down'],
  ENETUNREACH: ['unreachable', 'network unreachable'],
  ENETDOWN: ['unreachable', 'network is down'],
  EACCES: ['forbidden', 'forbidden by a local rule'],
  EPERM: ['forbidden', 'forbidden by a local rule'],
  EMSGSIZE: ['too-large', 'larger than the path allows'],
  ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NOT_TLS,
  ERR_SSL_HTTP_REQUEST: NOT_TLS,
  ERR_SSL_UNSUPPORTED_PROTOCOL: NO_VERSION,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: NO_VERSION,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: ['tls-failed', 'TLS: client certificate wanted'],
  DEPTH_ZERO_SELF_SIGNED_CERT: ['certificate-self-signed', 'certificate: self-signed'],
  SELF_SIGNED_CERT_IN_CHAIN: ['certificate-self-signed', 'certificate: self-signed authority'],
  UNABLE_TO_GET_ISSUER_CERT: AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: AUTHORITY,
  CERT_HAS_EXPIRED: ['certificate-expired', 'certificate: expired'],
  CERT_NOT_YET_VALID: ['certificate-not-yet-valid', 'certificate: not yet valid'],
  CERT_REVOKED: ['certificate-revoked', 'certificate: revoked'],
  CERT_SIGNATURE_FAILURE: ['certificate-invalid', 'certificate: wrong signature'],
  INVALID_CA: ['certificate-invalid', 'certificate: signed by what is no authority'],
  INVALID_PURPOSE: ['certificate-invalid', 'certificate: not for servers'],
  CERT_UNTRUSTED: ['certificate-invalid', 'certificate: not trusted for this use'],
  CERT_REJECTED: ['certificate-invalid', 'certificate: refused for this use'],
  PATH_LENGTH_EXCEEDED: [
    'certificate-invalid',
    'certificate: more authorities in the chain than allowed',
  ],
  CERT_CHAIN_TOO_LONG: ['certificate-invalid', 'certificate: chain too long'],
  ERR_TLS_CERT_ALTNAME_INVALID: ['certificate-wrong-name', 'certificate: for another name'],
};

/** What the TLS library says, where Node gives the code EPROTO for all of it or one that is not named above. */
const TLS_ENTRIES: readonly (readonly [RegExp, Entry])[] = [
  [/wrong version number|packet length too long|http request/, NOT_TLS],
  [/unsupported protocol|alert protocol version/, NO_VERSION],
  [
    /alert handshake failure|no shared cipher/,
    ['tls-failed', 'no common TLS cipher, or client certificate wanted'],
  ],
  [/certificate required/, ['tls-failed', 'TLS: client certificate wanted']],
  [/alert unknown ca|alert bad certificate/, ['tls-failed', 'TLS: client certificate refused']],
  [/unrecognized name/, ['tls-failed', 'TLS: name unknown to the server']],
];

/** Out of descriptors, ports, buffers or memory here: no reason to call a real server down. */
const LOCAL = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EADDRNOTAVAIL',
  'EADDRINUSE',
  'EAFNOSUPPORT',
  'ENODEV',
]);

const DETAIL_LENGTH_MAX = 200;

export const isLocalFailure = (error: unknown): boolean => LOCAL.has(codeOf(error));

export function describeFailure(error: unknown): Failure {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : String(error);
  const isTls = code.startsWith('ERR_SSL_') || code === 'EPROTO';
  const tls = isTls ? TLS_ENTRIES.find(([pattern]) => pattern.test(text)) : undefined;
  const entry = ENTRIES[code] ?? tls?.[1];
  if (entry !== undefined) return { reason: entry[0], detail: entry[1] };
  // OpenSSL has more of them than anybody names: its own words after the codes.
  if (isTls) return { reason: 'tls-failed', detail: `TLS failed: ${oneLine(lastWords(text))}` };
  return { reason: 'other', detail: oneLine(text) };
}

/** `error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:…`. */
const lastWords = (text: string): string =>
  text
    .split(':')
    .filter((part) => /[a-z] [a-z]/.test(part) && !/^SSL (routines|alert number)/.test(part))
    .at(-1) ?? text;

export function failureOutcome(error: unknown): Outcome {
  const { reason, detail } = describeFailure(error);
  return isLocalFailure(error)
    ? { kind: 'local', detail: LOCAL_WORDS[codeOf(error)] ?? detail }
    : { kind: 'down', reason, detail };
}

/** Of a socket that could not even be made as the check wants it: whatever it is, the target has no part in it. */
export const ownFailure = (code: string): Outcome & { readonly kind: 'local' } => ({
  kind: 'local',
  detail: LOCAL_WORDS[code] ?? UNMADE_WORDS[code] ?? `this machine cannot make the socket: ${code}`,
});

const UNMADE_WORDS: Readonly<Record<string, string>> = {
  EPERM:
    'the source of the check is not permitted: a mark needs CAP_NET_ADMIN, an interface CAP_NET_RAW',
  EACCES: 'the source address or port of the check is not permitted',
  EINVAL: 'no socket can have the source of the check (an address of the other family?)',
};

const LOCAL_WORDS: Readonly<Record<string, string>> = {
  EMFILE: 'this process has no file descriptor left (LimitNOFILE of its unit)',
  ENFILE: 'this machine has no file descriptor left (fs.file-max)',
  ENOBUFS: 'this machine has no buffer left',
  ENOMEM: 'this machine has no memory left',
  EADDRNOTAVAIL: 'no source address or port left (is the source address of the check bound here?)',
  ENODEV: 'the interface of the check is not there on this director',
  EADDRINUSE: 'the source port of the check is in use',
  EAFNOSUPPORT:
    'this machine does not speak the address family of the target (is IPv6 switched off?)',
};

export const down = (reason: ProbeReason, detail: string): Outcome => ({
  kind: 'down',
  reason,
  detail,
});

export const describeStatus = (
  status: number,
  wanted: readonly (readonly [number, number])[],
): string => {
  const ranges = wanted.map(([low, high]) => (low === high ? `${low}` : `${low}-${high}`));
  return `HTTP status ${status}, wanted ${ranges.join(', ')}`;
};

/** For a detail: without what confuses a terminal or a log, and no longer than a line. */
export const oneLine = (text: string): string =>
  text
    .replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, DETAIL_LENGTH_MAX);

export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
