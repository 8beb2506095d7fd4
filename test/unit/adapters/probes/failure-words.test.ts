/** Failures in words, and whose fault they are. */
import { describe, expect, test } from 'vitest';
import {
  describeFailure,
  describeStatus,
  failureOutcome,
  isLocalFailure,
  oneLine,
} from '../../../../src/adapters/probes/failure-words.ts';

const failure = (code: string, message = `connect ${code}`): Error =>
  Object.assign(new Error(message), { code });

describe('words', () => {
  test.each([
    ['ECONNREFUSED', 'refused', 'connection refused'],
    ['ECONNRESET', 'reset', 'connection reset'],
    ['EHOSTUNREACH', 'unreachable', 'no route to host'],
    ['ENETUNREACH', 'unreachable', 'network unreachable'],
    ['EPERM', 'forbidden', 'forbidden by a local rule'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'certificate-self-signed', 'certificate: self-signed'],
    ['CERT_UNTRUSTED', 'certificate-invalid', 'certificate: not trusted for this use'],
    ['CERT_HAS_EXPIRED', 'certificate-expired', 'certificate: expired'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'certificate-wrong-name', 'certificate: for another name'],
  ])('%s is %s, "%s"', (code, reason, detail) =>
    expect(describeFailure(failure(code))).toEqual({ reason, detail }),
  );

  test.each([
    ['80A2:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:', 'not a TLS server'],
    ['SSL routines:tlsv1 alert protocol version:', 'no common TLS version'],
    [
      'SSL routines:sslv3 alert handshake failure:',
      'no common TLS cipher, or client certificate wanted',
    ],
    ['SSL routines:unrecognized name:', 'TLS: name unknown to the server'],
    ['SSL routines:alert certificate required:', 'TLS: client certificate wanted'],
  ])('EPROTO with "%s" is "%s"', (message, words) =>
    expect(describeFailure(failure('EPROTO', message)).detail).toBe(words),
  );

  test('a code of its own has the same words', () => {
    const text =
      '80A2:error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:../x.c:1590:SSL alert number 48';
    expect(describeFailure(failure('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', text))).toEqual({
      reason: 'tls-failed',
      detail: 'TLS: client certificate refused',
    });
  });

  test('what TLS says that nobody has named is told in its own words', () => {
    const text = '80A2:error:0A0000C6:SSL routines:tls_get_more_records:packet too short:../ssl';
    expect(describeFailure(failure('ERR_SSL_PACKET_TOO_SHORT', text))).toEqual({
      reason: 'tls-failed',
      detail: 'TLS failed: packet too short',
    });
  });

  test('an alert is told by its name, not its number', () => {
    const text =
      '80A2:error:0A000438:SSL routines:ssl3_read_bytes:tlsv1 alert internal error:../x.c:1590:SSL alert number 80';
    expect(describeFailure(failure('EPROTO', text)).detail).toBe(
      'TLS failed: tlsv1 alert internal error',
    );
  });

  test('what has no words is told as it is, on one line and not endlessly', () => {
    const text = `a\nlong\u0007 ${'x'.repeat(500)}`;
    const { reason, detail } = describeFailure(new Error(text));
    expect(reason).toBe('other');
    expect(detail).toMatch(/^a long x+$/);
    expect(detail).toHaveLength(200);
    expect(describeFailure('a text').detail).toBe('a text');
    expect(oneLine('\u202Eleft\tright\r\n')).toBe('left right');
  });

  test('a status is told beside what was wanted', () => {
    const wanted = [
      [200, 299],
      [301, 301],
    ] as const;
    expect(describeStatus(404, wanted)).toBe('HTTP status 404, wanted 200-299, 301');
  });
});

describe('whose fault', () => {
  test.each(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EADDRINUSE'])(
    '%s is ours, and says what to do',
    (code) => {
      expect(isLocalFailure(failure(code))).toBe(true);
      expect(failureOutcome(failure(code))).toMatchObject({ kind: 'local' });
    },
  );

  test.each(['ECONNREFUSED', 'EHOSTUNREACH', 'CERT_HAS_EXPIRED', 'EPERM'])(
    '%s is not ours',
    (code) => {
      expect(isLocalFailure(failure(code))).toBe(false);
      expect(failureOutcome(failure(code))).toMatchObject({ kind: 'down' });
    },
  );

  test('an error without a code is not ours', () => {
    expect(isLocalFailure(new Error('EMFILE'))).toBe(false);
    expect(isLocalFailure(null)).toBe(false);
  });
});
