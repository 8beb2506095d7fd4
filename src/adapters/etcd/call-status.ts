/**
 * What a gRPC status of etcd means for the caller: the error's kind, and whether a transaction may have
 * been applied. Rule: in doubt it may have. Sources: etcd `api/v3rpc/rpctypes/error.go` and the order in
 * which etcd checks, proposes and applies; NoSpace is answered *after* applying.
 */
import { status } from '@grpc/grpc-js';

import type { StoreError } from '../../ports/cluster-store.ts';

/** Status code and message as they arrived, before the etcd3 library turned them into classes. */
export type CallStatus = { readonly code: number; readonly details: string };

/** A call that failed with a status known to whoever made it. */
export class StatusError extends Error {
  readonly status: CallStatus;

  constructor(status: CallStatus) {
    super(status.details);
    this.status = status;
  }
}

export type CallFailure = {
  readonly error: StoreError;
  /** True only where the request surely never reached the log. */
  readonly isSurelyNotApplied: boolean;
  /** The answer came from etcd itself: the member works, another one would say the same. */
  readonly isAnswer: boolean;
  /** The authentication token was refused; the next call needs a new one. */
  readonly isTokenRejected: boolean;
};

/**
 * grpc-js says this when it had no connection to give to the call. A try that a server turned away
 * unprocessed may come before it; neither was executed.
 */
const NEVER_CONNECTED = /^(No connection established|Name resolution failed)/;
const FROM_ETCD = /^(etcdserver|auth): /;
/** The last one: authentication was switched on since this client was told that it needs no token. */
const TOKEN_REJECTED =
  /invalid auth token|revision of auth store is old|revision in header is old|user name is empty/;
/** A member that does not vote yet, or has just started: the others take the call. Before 3.6 it is UNAVAILABLE. */
const UNFIT_MEMBER = /rpc not supported for learner|not capable/;
const LEASE_GONE = /requested lease not found/;
const NO_SPACE = /database space exceeded/;

export function classifyStatus({ code, details }: CallStatus): CallFailure {
  const isFromEtcd = FROM_ETCD.test(details);
  if (isFromEtcd && TOKEN_REJECTED.test(details)) {
    const error = { code: 'denied', message: details, isRetryable: true } as const;
    return { error, isSurelyNotApplied: true, isAnswer: true, isTokenRejected: true };
  }
  if (isFromEtcd && LEASE_GONE.test(details)) return answer('lease-gone', details);
  // 3.4 answers NoSpace after it has applied the transaction.
  if (isFromEtcd && NO_SPACE.test(details)) {
    const error = { code: 'no-space', message: details, isRetryable: true } as const;
    return { error, isSurelyNotApplied: false, isAnswer: true, isTokenRejected: false };
  }
  switch (code) {
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      if (isFromEtcd) return answer('denied', details);
      return trouble('denied', details);
    case status.INVALID_ARGUMENT:
      if (isFromEtcd)
        return answer(/authentication failed/.test(details) ? 'denied' : 'bad-request', details);
      return trouble('unavailable', details);
    case status.OUT_OF_RANGE:
    case status.FAILED_PRECONDITION: {
      if (isFromEtcd && UNFIT_MEMBER.test(details)) return trouble('unavailable', details);
      const error = { code: 'bad-request', message: details, isRetryable: false } as const;
      return { error, isSurelyNotApplied: false, isAnswer: isFromEtcd, isTokenRejected: false };
    }
    case status.DEADLINE_EXCEEDED:
      return trouble('deadline', details);
    default:
      return trouble('unavailable', details);
  }
}

/** Nothing arrived in time: the request may be on its way yet. */
export function deadlineFailure(deadlineMs: number): CallFailure {
  return trouble('deadline', `no answer within ${Math.round(deadlineMs)} ms`);
}

/** The caller's signal; `isSurelyNotApplied` when it came before the request left. */
export function abortedFailure(isSurelyNotApplied: boolean): CallFailure {
  const error = { code: 'aborted', message: 'aborted by the caller', isRetryable: false } as const;
  return { error, isSurelyNotApplied, isAnswer: true, isTokenRejected: false };
}

/** The store was closed before the request left. */
export function closedFailure(): CallFailure {
  const error = { code: 'aborted', message: 'the store is closed', isRetryable: false } as const;
  return { error, isSurelyNotApplied: true, isAnswer: true, isTokenRejected: false };
}

function answer(code: 'denied' | 'bad-request' | 'lease-gone', message: string): CallFailure {
  const error = { code, message, isRetryable: false } as const;
  return { error, isSurelyNotApplied: true, isAnswer: true, isTokenRejected: false };
}

function trouble(code: 'denied' | 'unavailable' | 'deadline', message: string): CallFailure {
  return {
    error: { code, message, isRetryable: true },
    isSurelyNotApplied: NEVER_CONNECTED.test(message),
    isAnswer: false,
    isTokenRejected: false,
  };
}
