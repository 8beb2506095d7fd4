/**
 * Errors as RFC 9457 problem documents. `ProblemError` is thrown only inside route handlers and
 * hooks; the server's error handler turns it into the answer.
 */
import type { Problem } from './schemas/problem.ts';

export const PROBLEM_TYPE = 'application/problem+json';

const TITLES = {
  'bad-request': [400, 'The request does not fit its schema'],
  unauthorized: [401, 'A valid token is needed'],
  forbidden: [403, 'Not allowed'],
  'not-found': [404, 'No such route'],
  'unknown-name': [404, 'No such object'],
  conflict: [409, 'The state of the cluster does not allow this'],
  'shrink-refused': [409, 'The document would remove too much'],
  'precondition-failed': [412, 'Somebody else changed it first'],
  'too-large': [413, 'The request is too large'],
  'uri-too-long': [414, 'A name in the path is too long'],
  'unsupported-media-type': [415, 'The body must be JSON'],
  'invalid-document': [422, 'The cluster document has problems'],
  'precondition-required': [428, 'If-Match is needed'],
  internal: [500, 'A bug in leasehold'],
  'store-unavailable': [503, 'The cluster store did not answer'],
  'not-holding': [503, 'This director does not hold the group'],
  'ipvs-unavailable': [503, 'The kernel’s IPVS cannot be used here'],
  overloaded: [503, 'Too much is under way'],
  'outcome-unknown': [504, 'It may have happened'],
} as const satisfies Record<string, readonly [number, string]>;

export type ProblemCode = keyof typeof TITLES;

type ProblemExtra = Omit<Partial<Problem>, 'type' | 'title' | 'status' | 'code' | 'detail'>;

/** Builds the document of one problem; `detail` says what is wrong and what to do. */
export function createProblem(
  code: ProblemCode,
  detail: string,
  extra: ProblemExtra = {},
): Problem {
  const [status, title] = TITLES[code];
  return { type: `urn:leasehold:problem:${code}`, title, status, code, detail, ...extra };
}

/** A problem on its way to the client. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;

  constructor(problem: Problem, headers: Readonly<Record<string, string>> = {}) {
    super(problem.detail);
    this.problem = problem;
    this.headers = headers;
  }
}

/** The `ProblemError` of a code, to be thrown. */
export const problemError = (
  code: ProblemCode,
  detail: string,
  extra: ProblemExtra = {},
): ProblemError => new ProblemError(createProblem(code, detail, extra));
