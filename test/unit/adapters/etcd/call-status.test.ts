/** What may have been applied: in doubt it may have (design 4.1). */
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { classifyStatus, deadlineFailure } from '../../../../src/adapters/etcd/call-status.ts';

describe('classifyStatus', () => {
  it.each([
    [status.PERMISSION_DENIED, 'etcdserver: permission denied', 'denied'],
    [status.INVALID_ARGUMENT, 'etcdserver: too many operations in txn request', 'bad-request'],
    [status.INVALID_ARGUMENT, 'etcdserver: duplicate key given in txn request', 'bad-request'],
    [status.INVALID_ARGUMENT, 'etcdserver: user name is empty', 'denied'],
    [
      status.INVALID_ARGUMENT,
      'etcdserver: authentication failed, invalid user ID or password',
      'denied',
    ],
    [status.UNAUTHENTICATED, 'etcdserver: invalid auth token', 'denied'],
    [status.INVALID_ARGUMENT, 'etcdserver: revision of auth store is old', 'denied'],
    [status.NOT_FOUND, 'etcdserver: requested lease not found', 'lease-gone'],
    [
      status.UNAVAILABLE,
      'No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ',
      'unavailable',
    ],
    [status.UNAVAILABLE, 'Name resolution failed for target dns:nowhere:2379', 'unavailable'],
  ])('knows that %i "%s" was not applied', (code, details, kind) => {
    expect(classifyStatus({ code, details })).toMatchObject({
      isSurelyNotApplied: true,
      error: { code: kind, message: details },
    });
  });

  it.each([
    [status.DEADLINE_EXCEEDED, 'Deadline exceeded', 'deadline'],
    [status.UNAVAILABLE, 'etcdserver: leader changed', 'unavailable'],
    [status.UNAVAILABLE, 'etcdserver: request timed out', 'unavailable'],
    [status.UNAVAILABLE, 'etcdserver: no leader', 'unavailable'],
    [status.UNAVAILABLE, 'etcdserver: rpc not supported for learner', 'unavailable'],
    [status.FAILED_PRECONDITION, 'etcdserver: rpc not supported for learner', 'unavailable'],
    [status.FAILED_PRECONDITION, 'etcdserver: not capable', 'unavailable'],
    [status.UNAVAILABLE, 'Connection dropped', 'unavailable'],
    [status.UNAVAILABLE, 'read ECONNRESET', 'unavailable'],
    [status.RESOURCE_EXHAUSTED, 'etcdserver: mvcc: database space exceeded', 'no-space'],
    [status.RESOURCE_EXHAUSTED, 'etcdserver: too many requests', 'unavailable'],
    [status.RESOURCE_EXHAUSTED, 'Received message larger than max', 'unavailable'],
    [status.INTERNAL, 'Received RST_STREAM with code 2', 'unavailable'],
    [status.CANCELLED, 'Call cancelled', 'unavailable'],
    [status.UNKNOWN, 'something new', 'unavailable'],
    [status.PERMISSION_DENIED, 'Received HTTP status code 403', 'denied'],
    [status.INVALID_ARGUMENT, 'from some proxy', 'unavailable'],
  ])('leaves %i "%s" in doubt', (code, details, kind) => {
    expect(classifyStatus({ code, details })).toMatchObject({
      isSurelyNotApplied: false,
      error: { code: kind, message: details, isRetryable: true },
    });
  });

  it('asks for a new token only where the token was refused', () => {
    const rejected = (details: string): boolean =>
      classifyStatus({ code: status.UNAUTHENTICATED, details }).isTokenRejected;
    expect(rejected('etcdserver: invalid auth token')).toBe(true);
    expect(rejected('etcdserver: user name is empty')).toBe(true);
    expect(rejected('etcdserver: permission denied')).toBe(false);
  });

  it('never calls an unknown text surely not applied', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 16 }), fc.string(), (code, details) => {
        fc.pre(!/^(etcdserver|auth): |^No connection|^Name resolution/.test(details));
        expect(classifyStatus({ code, details }).isSurelyNotApplied).toBe(false);
      }),
    );
  });

  it('counts a deadline as doubt', () => {
    expect(deadlineFailure(100)).toMatchObject({
      isSurelyNotApplied: false,
      isAnswer: false,
      error: { code: 'deadline', isRetryable: true },
    });
  });
});
