/** Spreading the VIP groups anew: a plan, and one operation for each move. */
import { createHash } from 'node:crypto';
import {
  type DirectorId,
  directorId,
  type GroupId,
  groupId,
  type LeaseId,
} from '../../model/ids.ts';
import type { OperationRecord } from '../../model/records.ts';
import { createEventId, STORE_DEADLINE_MS } from '../commit.ts';
import type { ApiContext, Caller, RebalancePlanner, TypedApp } from '../context.ts';
import { requireSpec } from '../lookup.ts';
import {
  commitOperation,
  grantOperationLease,
  isUnderWay,
  loadNewest,
  loadOperation,
  underWay,
} from '../operation-store.ts';
import { ProblemError } from '../problem.ts';
import { problemResponses } from '../schemas/problem.ts';
import { IdempotencyHeaders, RebalanceBody, WriteQuery } from '../schemas/requests.ts';
import { type RebalanceMove, RebalanceResult } from '../schemas/responses.ts';

/** Together as long as other ids of operations. */
const KEY_DIGITS = 16;
const GROUP_DIGITS = 10;

type Plan = ReturnType<RebalancePlanner>;
type Request = {
  readonly reason: string;
  readonly caller: Caller;
  readonly idempotencyKey: string | null;
};

export function registerRebalanceRoute(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/rebalance',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'rebalance',
        summary: 'Spread the VIP groups over the directors anew, by planned handovers',
        tags: ['operations'],
        querystring: WriteQuery,
        headers: IdempotencyHeaders,
        body: RebalanceBody,
        response: {
          202: RebalanceResult,
          200: RebalanceResult,
          ...problemResponses(400, 401, 403, 404, 409, 503, 504),
        },
      },
    },
    async (request, reply) => {
      const plan = planNow(ctx);
      if (request.query.dryRun === true)
        return resultOf(plan, {
          dryRun: true,
          moves: plan.moves.map((move) => ({ ...move, operation: null, problem: null })),
        });
      const moves = await acceptMoves(ctx, plan, {
        reason: request.body.reason,
        caller: request.caller,
        idempotencyKey: request.headers['idempotency-key'] ?? null,
      });
      const result = resultOf(plan, { dryRun: false, moves });
      if (!moves.some(({ operation }) => operation !== null)) return result;
      return reply.code(202).header('location', '/api/v1/operations').send(result);
    },
  );
}

/** From what this director sees: its status is what placement goes by, too. */
function planNow(ctx: ApiContext): Plan {
  const { directors, groups } = requireSpec(ctx);
  const status = ctx.view.status();
  const candidates = new Map(
    status.groups.flatMap((group) =>
      group.candidates.map((candidate) => [`${group.name} ${candidate.director}`, candidate]),
    ),
  );
  const candidateOf = (director: DirectorId, group: GroupId) =>
    candidates.get(`${group} ${director}`);
  return ctx.planRebalance({
    situation: {
      directors,
      groups,
      owners: new Map(
        status.groups.map(({ name, holder }) => [
          groupId(name),
          holder === null ? null : directorId(holder),
        ]),
      ),
      able: new Set(
        status.directors
          .filter(({ inSpec, isAlive, isDraining }) => inSpec && isAlive && !isDraining)
          .map(({ name }) => directorId(name)),
      ),
      bonus: (director, group) => candidateOf(director, group)?.bonus ?? 0,
    },
    canHold: (director, group) => candidateOf(director, group)?.eligible ?? false,
  });
}

function resultOf(
  plan: Plan,
  { dryRun, moves }: Pick<RebalanceResult, 'dryRun' | 'moves'>,
): RebalanceResult {
  const refused = moves.filter(({ problem }) => problem !== null);
  return {
    dryRun,
    summary: moves.length === 0 ? 'nothing to move' : `${moves.length} of the VIP groups to move`,
    moves,
    bound: plan.bound,
    load: [...plan.before].map(([director, before]) => ({
      director,
      before,
      after: plan.after.get(director) ?? before,
    })),
    warnings: refused.map(({ group, problem }) => `${group} was not asked to move: ${problem}`),
  };
}

/**
 * The same key again gives the same operations. What was accepted stays accepted: when the store goes
 * away in between, the moves that are left say so instead of the whole request.
 */
async function acceptMoves(
  ctx: ApiContext,
  { moves }: Plan,
  request: Request,
): Promise<RebalanceMove[]> {
  const prefix = request.idempotencyKey === null ? null : prefixOf(request);
  const mine = (id: string): boolean => prefix !== null && id.startsWith(prefix);
  const known = ctx.view.operations();
  for (const { group } of moves) {
    const running = known.find(({ record }) => record.group === group && isUnderWay(ctx, record));
    if (running !== undefined && !mine(running.id)) throw underWay(group, running.id);
  }
  const answered: RebalanceMove[] = known
    .filter(({ id, record }) => mine(id) && !moves.some(({ group }) => group === record.group))
    .map(({ id, record }) => repeated(id, record, null));
  if (moves.length === 0) return answered;
  const lease = await grantOperationLease(ctx);
  let stopped: string | null = null;
  for (const move of moves) {
    if (stopped !== null) {
      answered.push({ ...move, operation: null, problem: stopped });
      continue;
    }
    try {
      answered.push(await acceptMove(ctx, move, { ...request, lease, prefix }));
    } catch (error) {
      const isFirst = answered.every(({ operation }) => operation === null);
      if (!(error instanceof ProblemError) || isFirst) throw error;
      stopped = error.message;
      answered.push({ ...move, operation: null, problem: stopped });
    }
  }
  if (!answered.some(({ operation }) => operation !== null))
    await ctx.store.revokeLease(lease, { deadlineMs: STORE_DEADLINE_MS });
  return answered;
}

async function acceptMove(
  ctx: ApiContext,
  move: Plan['moves'][number],
  request: Request & { readonly lease: LeaseId; readonly prefix: string | null },
): Promise<RebalanceMove> {
  const { caller, reason, lease, prefix } = request;
  const { group, from, to } = move;
  const id = prefix === null ? createEventId(ctx) : prefix + digest(group, GROUP_DIGITS);
  const newest = await loadNewest(ctx, group);
  if (newest.operation !== null && newest.operation.id !== id)
    return { ...move, operation: null, problem: underWay(group, newest.operation.id).message };
  const record: OperationRecord = {
    v: 1,
    kind: 'rebalance',
    group,
    from,
    to,
    by: caller.name,
    reason,
    at: ctx.clock.wallTime(),
    state: 'pending',
    steps: [],
    result: null,
  };
  const message = `rebalance: ${group} from ${from} to ${to} (${move.reason})`;
  const event = { kind: 'rebalance.requested', message };
  const committed = await commitOperation(ctx, caller, { id, record, newest, lease, event });
  if (committed.kind === 'committed') return { ...move, operation: id, problem: null };
  const other = await loadOperation(ctx, id);
  if (other !== null) return repeated(id, other.operation, move.reason);
  return { ...move, operation: null, problem: `another move of "${group}" was accepted just now` };
}

const repeated = (
  id: string,
  { group, from, to }: OperationRecord,
  reason: RebalanceMove['reason'],
): RebalanceMove => ({
  group,
  from: from ?? '',
  to: to ?? '',
  reason,
  operation: id,
  problem: null,
});

const prefixOf = ({ caller, idempotencyKey }: Request): string =>
  digest(`${caller.name}\n${idempotencyKey}`, KEY_DIGITS);

const digest = (text: string, digits: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, digits);
