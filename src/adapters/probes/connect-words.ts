/** What a connect came to, as one number, and that number in words. */
import type { ProbeSaid } from '../../ports/prober.ts';
import { nameOfErrno, UNMADE } from './connect-sockets.ts';
import { failureOutcome, ownFailure } from './failure-words.ts';

/** An errno is itself, or so much more that it has `UNMADE` in it: none is so high. */
export const SAID_UP = 1_000_000;
/** This and what is below: the deadline came, after so many milliseconds less. */
export const LATE = -1;

const UP: ProbeSaid = { isUp: true, detail: 'connected', reason: null, weight: null };

type Known = { readonly said: ProbeSaid; readonly isLocal: boolean };
const known = new Map<number, Known>();

export const saidOf = (number: number): ProbeSaid => knowOf(number).said;

/** The failure is this machine's, and says nothing of the target. */
export const isLocalErrno = (number: number): boolean => knowOf(number).isLocal;

function knowOf(number: number): Known {
  let one = known.get(number);
  if (one === undefined) {
    one = describe(number);
    known.set(number, one);
  }
  return one;
}

function describe(number: number): Known {
  if (number === SAID_UP) return { said: UP, isLocal: false };
  if (number <= LATE) {
    const detail = `no connection within ${LATE - number} ms`;
    return {
      said: { isUp: false, detail, reason: 'timeout-connect', weight: null },
      isLocal: false,
    };
  }
  if (number >= UNMADE) {
    const { detail } = ownFailure(nameOfErrno(number - UNMADE));
    return { said: { isUp: false, detail, reason: null, weight: null }, isLocal: true };
  }
  const code = nameOfErrno(number);
  const outcome = failureOutcome(Object.assign(new Error(code), { code }));
  const reason = outcome.kind === 'down' ? outcome.reason : null;
  return {
    said: { isUp: false, detail: outcome.detail, reason, weight: null },
    isLocal: outcome.kind === 'local',
  };
}
