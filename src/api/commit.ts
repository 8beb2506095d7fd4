/**
 * Writes an operator's intent: one guarded txn with its audit event, and the truth about what became of it.
 * The event's key makes a doubtful txn decidable: the write compares that the event is absent, so a second
 * txn that puts the event under another kind either finds the first one done or makes it impossible for ever.
 */
import { unreachable } from '../lib/assert.ts';
import { formatUlid, ULID_RANDOM_BYTES } from '../lib/ulid.ts';
import type { Revision } from '../model/ids.ts';
import { ABSENT } from '../model/ids.ts';
import { EventRecord, formatRecord, parseRecord } from '../model/records.ts';
import type {
  Compare,
  StoreError,
  StoreOperation,
  Txn,
  TxnAnswer,
} from '../ports/cluster-store.ts';
import type { ApiContext, Caller } from './context.ts';
import { createProblem, ProblemError, problemError } from './problem.ts';

/** One call to the store. */
export const STORE_DEADLINE_MS = 2000;
/** Between tries of what surely did not reach the store: a connection may rest after an outage. */
const REFUSED_PAUSE_MS = 100;
/** Tries to learn the outcome of a doubtful txn. */
const RESOLVE_TRIES = 2;
const EVENT_TTL_S = 7 * 24 * 3600;
const ABANDONED = 'request.abandoned';

export type Intent = {
  readonly compares: readonly Compare[];
  readonly operations: readonly StoreOperation[];
  readonly event: Pick<EventRecord, 'kind' | 'subject' | 'message' | 'reason'>;
};

export type Committed =
  | { readonly kind: 'committed'; readonly revision: Revision; readonly eventId: string }
  /** A compare did not hold: somebody else was first. */
  | { readonly kind: 'conflict' };

/** Throws a `ProblemError` when the store did not take it: 503 nothing happened, 504 unknown. */
export async function commitIntent(
  ctx: ApiContext,
  caller: Caller,
  intent: Intent,
): Promise<Committed> {
  const lease = await ctx.store.grantLease(EVENT_TTL_S, { deadlineMs: STORE_DEADLINE_MS });
  if (!lease.ok) throw storeProblem(lease.error);
  const eventId = createEventId(ctx);
  const event: EventRecord = {
    v: 1,
    at: ctx.clock.wallTime(),
    director: ctx.view.director,
    severity: 'info',
    ...intent.event,
    epoch: null,
    by: caller.name,
  };
  const key = ctx.keys.event(eventId);
  const put = { op: 'put', key, lease: lease.value.lease } as const;
  const answer = await firstTaken(ctx, {
    compares: [...intent.compares, { key, modRevision: ABSENT }],
    success: [...intent.operations, { ...put, value: formatRecord(event) }],
    failure: [],
  });
  const outcome = await learnOutcome(ctx, answer, {
    ...put,
    value: formatRecord({
      ...event,
      kind: ABANDONED,
      severity: 'warn',
      message: `not done, as the store gave no answer: ${event.message}`,
    }),
  });
  if (outcome === null) {
    // Nothing hangs on the lease; if this fails, it ends by itself.
    await ctx.store.revokeLease(lease.value.lease, { deadlineMs: STORE_DEADLINE_MS });
    return { kind: 'conflict' };
  }
  ctx.log.info({ ...intent.event, by: caller.name, revision: outcome }, 'intent.committed');
  return { kind: 'committed', revision: outcome, eventId };
}

/** Repeats what surely did not reach the store, and may at another try, until the deadline. */
async function firstTaken(ctx: ApiContext, txn: Txn): Promise<TxnAnswer> {
  const endsAt = ctx.clock.now() + STORE_DEADLINE_MS;
  for (;;) {
    const deadlineMs = endsAt - ctx.clock.now();
    const answer = await ctx.store.txn(txn, { deadlineMs });
    if (answer.kind !== 'refused' || !answer.error.isRetryable) return answer;
    await ctx.clock.sleep(REFUSED_PAUSE_MS);
    // A process that was paused may wake up long after it.
    if (ctx.clock.now() >= endsAt) return answer;
  }
}

/** Sorts by time; also the id of an operation without an Idempotency-Key. */
export const createEventId = ({ clock, random }: ApiContext): string =>
  formatUlid(clock.wallMs(), random.hex(ULID_RANDOM_BYTES));

/** The revision of the commit, or null for a guard that did not hold. */
async function learnOutcome(
  ctx: ApiContext,
  answer: TxnAnswer,
  abandon: Extract<StoreOperation, { op: 'put' }>,
): Promise<Revision | null> {
  switch (answer.kind) {
    case 'answered':
      return answer.succeeded ? answer.revision : null;
    case 'refused':
      throw storeProblem(answer.error);
    case 'ambiguous':
      return await resolve(ctx, answer.error, abandon);
    default:
      return unreachable(answer);
  }
}

async function resolve(
  ctx: ApiContext,
  error: StoreError,
  abandon: Extract<StoreOperation, { op: 'put' }>,
): Promise<Revision> {
  const { key } = abandon;
  for (let i = 0; i < RESOLVE_TRIES; i++) {
    const answer = await ctx.store.txn(
      {
        compares: [{ key, modRevision: ABSENT }],
        success: [abandon],
        failure: [{ op: 'get', key }],
      },
      { deadlineMs: STORE_DEADLINE_MS },
    );
    if (answer.kind !== 'answered') continue;
    const read = answer.reads[0];
    if (answer.succeeded || read === undefined || isAbandoned(read.value))
      throw storeProblem(error);
    return read.modRevision;
  }
  const detail = `the cluster store did not say whether the change was made (${error.message}); read the state before you try again`;
  throw new ProblemError(createProblem('outcome-unknown', detail));
}

function isAbandoned(value: string | null): boolean {
  const record = value === null ? null : parseRecord(EventRecord, value);
  return record === null || !record.ok || record.value.kind === ABANDONED;
}

/** 503 with Retry-After: nothing was changed. */
export function storeProblem(error: StoreError): ProblemError {
  if (error.code === 'bad-request' && error.message.includes('request is too large'))
    return problemError(
      'too-large',
      `the cluster store refused (${error.message}); nothing was changed; etcd takes requests up to its --max-request-bytes, 1.5 MiB where nobody set it`,
    );
  const detail =
    error.code === 'denied' || error.code === 'bad-request'
      ? `the cluster store refused (${error.message}); nothing was changed; check the rights of leasehold's etcd user`
      : `the cluster store did not answer (${error.message}); nothing was changed; try again`;
  return new ProblemError(createProblem('store-unavailable', detail), { 'retry-after': '2' });
}

/** The current value and revision of a key. Throws 503. */
export async function readKey(
  ctx: ApiContext,
  key: string,
): Promise<{ readonly value: string | null; readonly modRevision: Revision }> {
  const read = await ctx.store.get(key, { deadlineMs: STORE_DEADLINE_MS });
  if (!read.ok) throw storeProblem(read.error);
  return read.value;
}
