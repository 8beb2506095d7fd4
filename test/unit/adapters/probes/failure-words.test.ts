/** Failures in words, and whose fault they are. */
import { describe, expect, test } from 'vitest';
import {
  describeFailure,
  describeStatus,
  isLocalFailure,
} from '../../../../src/adapters/probes/failure-words.ts';

const failure = (code: string, message = `connect ${code}`): Error =>
  Object.assign(new Error(message), { code });

describe('words', () => {
  test.each([
    ['ECONNREFUSED', 'connection refused'],
    ['ECONNRESET', 'connection reset'],
    ['EHOSTUNREACH', 'no route to host'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'certificate: self-signed'],
    ['CERT_HAS_EXPIRED', 'certificate: expired'],
    ['HPE_HEADER_OVERFLOW', 'HTTP headers too long'],
    ['HPE_INVALID_CONSTANT', 'not an HTTP answer'],
  ])('%s is "%s"', (code, words) => expect(describeFailure(failure(code))).toBe(words));

  test.each([
    ['socket hang up', 'connection closed without an answer'],
    ['aborted', 'connection closed within the answer'],
  ])('a reset with the message "%s" is "%s"', (message, words) =>
    expect(describeFailure(failure('ECONNRESET', message))).toBe(words),
  );

  test.each([
    ['80A2:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:', 'not a TLS server'],
    ['SSL routines:tlsv1 alert protocol version:', 'no common TLS version'],
    [
      'SSL routines:sslv3 alert handshake failure:',
      'no common TLS cipher, or client certificate wanted',
    ],
    ['SSL routines:unrecognized name:', 'TLS: name unknown to the server'],
    ['SSL routines:something else:', 'TLS failed'],
  ])('EPROTO with "%s" is "%s"', (message, words) =>
    expect(describeFailure(failure('EPROTO', message))).toBe(words),
  );

  test('an unknown failure keeps its own text, on one line and bounded', () => {
    expect(describeFailure(new Error('two\n  lines'))).toBe('two lines');
    expect(describeFailure('thrown text')).toBe('thrown text');
    expect(describeFailure(new Error('x'.repeat(1_000)))).toHaveLength(200);
  });

  test('a status names what was wanted', () =>
    expect(
      describeStatus(404, [
        [200, 299],
        [301, 301],
      ]),
    ).toBe('HTTP status 404, wanted 200-299, 301'));
});

describe('whose failure', () => {
  test.each(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EADDRINUSE'])(
    '%s is ours',
    (code) => expect(isLocalFailure(failure(code))).toBe(true),
  );

  test.each(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'])('%s is not', (code) =>
    expect(isLocalFailure(failure(code))).toBe(false),
  );

  test('what carries no code is not ours', () => {
    expect(isLocalFailure(new Error('plain'))).toBe(false);
    expect(isLocalFailure(null)).toBe(false);
    expect(isLocalFailure({ code: 24 })).toBe(false);
  });
});
