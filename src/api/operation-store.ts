/** Operations in the store: who reads one, which is the newest of a group, and how one is accepted. */
import { ABSENT, groupId, type LeaseId, type Revision } from '../model/ids.ts';
import { formatRecord, OperationRecord, parseRecord, SwitchoverRecord } from '../model/records.ts';
import type { Stored } from '../ports/agent-view.ts';
import {
  type Committed,
  commitIntent,
  readKey,
  STORE_DEADLINE_MS,
  storeProblem,
} from './commit.ts';
import type { ApiContext, Caller } from './context.ts';
import { type ProblemError, problemError } from './problem.ts';
import type { Operation } from './schemas/responses.ts';

/** A record that nobody ends goes by itself. */
const OPERATION_TTL_S = 24 * 3600;
/** A switchover takes seconds: one that has not ended after this has lost its agents, and blocks nothing. */
const STALE_MS = 10 * 60_000;

export const toOperation = ({ id, revision: at, record }: Stored<OperationRecord>): Operation => ({
  id,
  revision: at,
  operation: record,
});

/** What the director sees may be older than what another director just accepted: then ask the store. */
export async function loadOperation(ctx: ApiContext, id: string): Promise<Operation | null> {
  const seen = ctx.view.operations().find((operation) => operation.id === id);
  return seen === undefined ? await readOperation(ctx, id) : toOperation(seen);
}

async function readOperation(ctx: ApiContext, id: string): Promise<Operation | null> {
  const { value, modRevision } = await readKey(ctx, ctx.keys.operation(id));
  const parsed = value === null ? null : parseRecord(OperationRecord, value);
  if (parsed?.ok !== true) return null;
  return { id, revision: modRevision, operation: parsed.value };
}

/** `operation` is null where the newest has ended; `modRevision` guards that it stays the newest. */
export type Newest = {
  readonly key: string;
  readonly modRevision: Revision;
  readonly operation: Operation | null;
};

/** The newest operation of a group, fresh from the store; null where it has ended. */
export async function loadNewest(ctx: ApiContext, group: string): Promise<Newest> {
  const key = ctx.keys.switchover(groupId(group));
  const { value, modRevision } = await readKey(ctx, key);
  const parsed = value === null ? null : parseRecord(SwitchoverRecord, value);
  const found = parsed?.ok === true ? await readOperation(ctx, parsed.value.operation) : null;
  const operation = found !== null && isUnderWay(ctx, found.operation) ? found : null;
  return { key, modRevision, operation };
}

export const underWay = (group: string, operation: string): ProblemError =>
  problemError('conflict', `operation ${operation} is still moving "${group}"; wait for its end`, {
    operation,
  });

/** Pending or running, and not so old that nobody can be at it any more. */
export function isUnderWay({ clock }: ApiContext, { state, at }: OperationRecord): boolean {
  if (state !== 'pending' && state !== 'running') return false;
  // oxlint-disable-next-line no-restricted-globals -- parses a text, reads no clock
  return clock.wallMs() - Date.parse(at) <= STALE_MS;
}

/** For the records of one request; revoked by the caller where nothing came to hang on it. */
export async function grantOperationLease(ctx: ApiContext): Promise<LeaseId> {
  const granted = await ctx.store.grantLease(OPERATION_TTL_S, { deadlineMs: STORE_DEADLINE_MS });
  if (!granted.ok) throw storeProblem(granted.error);
  return granted.value.lease;
}

/** Puts the operation and makes it the newest of its group, with its audit event; conflict: somebody was first. */
export function commitOperation(
  ctx: ApiContext,
  caller: Caller,
  accepted: {
    readonly id: string;
    readonly record: OperationRecord;
    readonly newest: Newest;
    readonly lease: LeaseId;
    readonly event: { readonly kind: string; readonly message: string };
  },
): Promise<Committed> {
  const { id, record, newest, lease, event } = accepted;
  const key = ctx.keys.operation(id);
  return commitIntent(ctx, caller, {
    compares: [
      { key, modRevision: ABSENT },
      { key: newest.key, modRevision: newest.modRevision },
    ],
    operations: [
      { op: 'put', key, value: formatRecord(record), lease },
      { op: 'put', key: newest.key, value: formatRecord({ v: 1, operation: id }), lease },
    ],
    event: { ...event, subject: record.group, reason: record.reason },
  });
}
