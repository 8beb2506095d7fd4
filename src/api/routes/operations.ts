/** Long actions: a switchover is accepted as an operation, which the agents carry out. */
import { createHash } from 'node:crypto';
import type { OperationRecord } from '../../model/records.ts';
import type { DirectorStatus, GroupStatus } from '../../model/status.ts';
import { INELIGIBLE_WORDS, wordsOf } from '../../model/status-words.ts';
import { createEventId, STORE_DEADLINE_MS } from '../commit.ts';
import type { ApiContext, Caller, TypedApp } from '../context.ts';
import { findDirector, findGroup, unknownName } from '../lookup.ts';
import {
  commitOperation,
  grantOperationLease,
  isUnderWay,
  loadNewest,
  loadOperation,
  toOperation,
  underWay,
} from '../operation-store.ts';
import { problemError } from '../problem.ts';
import { problemResponses } from '../schemas/problem.ts';
import {
  GroupParams,
  IdempotencyHeaders,
  NoQuery,
  OperationParams,
  OperationsQuery,
  SwitchoverBody,
  WriteQuery,
} from '../schemas/requests.ts';
import { Operation, OperationAccepted, OperationList } from '../schemas/responses.ts';

const tags = ['operations'];
const OPERATION_ID_CHARS = 26;
const LIST_DEFAULT = 100;

export function registerOperationRoutes(app: TypedApp, ctx: ApiContext): void {
  registerSwitchover(app, ctx);
  app.get(
    '/api/v1/operations',
    {
      schema: {
        operationId: 'listOperations',
        summary: 'Operations, the running and the lately ended',
        tags,
        querystring: OperationsQuery,
        response: { 200: OperationList, ...problemResponses(400, 401) },
      },
    },
    (request) => ({ operations: newest(ctx, request.query.limit ?? LIST_DEFAULT) }),
  );
  app.get(
    '/api/v1/operations/:id',
    {
      schema: {
        operationId: 'getOperation',
        summary: 'State, steps and result of one operation',
        tags,
        params: OperationParams,
        querystring: NoQuery,
        response: { 200: Operation, ...problemResponses(400, 401, 404, 503) },
      },
    },
    async (request) => {
      const found = await loadOperation(ctx, request.params.id);
      if (found !== null) return found;
      const known = ctx.view.operations().map(({ id }) => id);
      throw unknownName('operation', request.params.id, known);
    },
  );
}

/** In the order of the view; records are kept for a day, however many there are. */
function newest(ctx: ApiContext, limit: number): Operation[] {
  const all = ctx.view.operations();
  const byAge = all.toSorted((a, b) => (a.record.at < b.record.at ? 1 : -1));
  const shown = new Set(byAge.slice(0, limit).map(({ id }) => id));
  return all.filter(({ id, record }) => shown.has(id) || isUnderWay(ctx, record)).map(toOperation);
}

function registerSwitchover(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/groups/:group/switchover',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'switchoverGroup',
        summary: 'Move a VIP group to another director, planned',
        tags,
        params: GroupParams,
        querystring: WriteQuery,
        headers: IdempotencyHeaders,
        body: SwitchoverBody,
        response: {
          202: OperationAccepted,
          200: OperationAccepted,
          ...problemResponses(400, 401, 403, 404, 409, 412, 503, 504),
        },
      },
    },
    async (request, reply) => {
      const accepted = await acceptSwitchover(ctx, {
        group: request.params.group,
        body: request.body,
        caller: request.caller,
        dryRun: request.query.dryRun ?? false,
        idempotencyKey: request.headers['idempotency-key'] ?? null,
      });
      if (accepted.id === null) return accepted;
      return reply.code(202).header('location', `/api/v1/operations/${accepted.id}`).send(accepted);
    },
  );
}

type Switchover = {
  readonly group: string;
  readonly body: SwitchoverBody;
  readonly caller: Caller;
  readonly dryRun: boolean;
  readonly idempotencyKey: string | null;
};

async function acceptSwitchover(ctx: ApiContext, request: Switchover): Promise<OperationAccepted> {
  const { body, caller, dryRun, idempotencyKey } = request;
  const id = operationId(ctx, caller, idempotencyKey);
  const earlier = idempotencyKey === null ? null : await loadOperation(ctx, id);
  if (earlier !== null) return repeat(earlier, request);
  const group = findGroup(ctx, request.group);
  const warnings = checkSwitchover(ctx, group, body);
  const newest = await loadNewest(ctx, group.name);
  if (newest.operation?.id === id) return repeat(newest.operation, request);
  if (newest.operation !== null) throw underWay(group.name, newest.operation.id);
  const record: OperationRecord = {
    v: 1,
    kind: 'switchover',
    group: group.name,
    from: body.from ?? group.holder,
    to: body.to ?? null,
    by: caller.name,
    reason: body.reason,
    at: ctx.clock.wallTime(),
    state: 'pending',
    steps: [],
    result: null,
  };
  const to = body.to ?? 'the best candidate';
  const summary = `switchover of ${group.name} from ${group.holder ?? 'nobody'} to ${to}`;
  const accepted = { summary, dryRun, operation: record, warnings };
  if (dryRun) return { id: null, ...accepted };
  const lease = await grantOperationLease(ctx);
  const committed = await commitOperation(ctx, caller, {
    id,
    record,
    newest,
    lease,
    event: { kind: 'switchover.requested', message: summary },
  });
  if (committed.kind === 'committed') return { id, ...accepted };
  await ctx.store.revokeLease(lease, { deadlineMs: STORE_DEADLINE_MS });
  const other = await loadOperation(ctx, id);
  if (other === null)
    throw problemError(
      'conflict',
      `another switchover of "${group.name}" was accepted at the same moment; look at the operations`,
    );
  return repeat(other, request);
}

function operationId(ctx: ApiContext, caller: Caller, key: string | null): string {
  if (key === null) return createEventId(ctx);
  const digest = createHash('sha256').update(`${caller.name}\n${key}`).digest('hex');
  return digest.slice(0, OPERATION_ID_CHARS);
}

/** The same key again: the same operation, unless something else was asked with it. */
function repeat(
  { id, operation }: Operation,
  { group, body, dryRun }: Switchover,
): OperationAccepted {
  const isSame =
    operation.kind === 'switchover' &&
    operation.group === group &&
    operation.to === (body.to ?? null) &&
    (body.from === undefined || operation.from === body.from);
  if (!isSame)
    throw problemError(
      'conflict',
      `this Idempotency-Key was used for another switchover (${operation.group}); take a new key`,
      { operation: id },
    );
  const summary = `accepted before; now ${operation.state}`;
  return { id, dryRun, summary, operation, warnings: [] };
}

/** Refuses what the agents would refuse anyway, sooner and in words. Answers warnings. */
function checkSwitchover(ctx: ApiContext, group: GroupStatus, body: SwitchoverBody): string[] {
  if (body.from !== undefined) findDirector(ctx, body.from);
  if (body.to !== undefined) findDirector(ctx, body.to);
  if (group.holder === null)
    throw problemError(
      'conflict',
      `nobody holds "${group.name}" (${group.reason}): nothing to move`,
    );
  if (body.from !== undefined && body.from !== group.holder)
    throw problemError(
      'precondition-failed',
      `"${group.name}" is held by ${group.holder}, not by ${body.from}`,
    );
  if (body.to === group.holder)
    throw problemError('conflict', `${body.to} holds "${group.name}" already`);
  const running = ctx.view
    .operations()
    .find(({ record }) => record.group === group.name && isUnderWay(ctx, record));
  if (running !== undefined) throw underWay(group.name, running.id);
  const { directors } = ctx.view.status();
  const wanted = body.to === undefined ? group.candidates : candidatesNamed(group, body.to);
  const obstacles = wanted
    .filter(({ director }) => director !== group.holder)
    .map((candidate) => obstacleOf(candidate, directors));
  if (obstacles.includes(null)) return [];
  const why = obstacles.length === 0 ? 'there is no other candidate' : obstacles.join('; ');
  throw problemError('conflict', `"${group.name}" cannot move: ${why}`);
}

type Candidate = GroupStatus['candidates'][number];

function candidatesNamed(group: GroupStatus, name: string): readonly Candidate[] {
  const found = group.candidates.filter(({ director }) => director === name);
  if (found.length > 0) return found;
  const reason = 'is no candidate of this group';
  return [{ director: name, eligible: false, reason, ready: false, priority: null, bonus: 0 }];
}

/** Why this one cannot take the group now; null: it can. */
function obstacleOf(
  { director, eligible, reason }: Candidate,
  directors: readonly DirectorStatus[],
): string | null {
  const seen = directors.find(({ name }) => name === director);
  if (seen === undefined || !seen.inSpec) return `${director} is not in the cluster document`;
  if (!seen.isAlive) return `${director} is not alive`;
  if (seen.isDraining) return `${director} is draining`;
  if (eligible) return null;
  if (reason === null) return `${director} is not eligible`;
  const { what, remedy } = wordsOf(INELIGIBLE_WORDS, reason);
  const told = what === reason ? '' : `: ${what}`;
  return `${director} is not eligible (${reason})${told}${remedy === null ? '' : ` (${remedy})`}`;
}
