/** Overrides of one real server: drain, maintenance, back to service, another weight. */
import type { FastifyRequest } from 'fastify';
import type { AdminState } from '../../model/health.ts';
import { realServerId, serviceId } from '../../model/ids.ts';
import { parseRecord, RealOverrideRecord } from '../../model/records.ts';
import { changeRecord, type Wanted } from '../change.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { findOrLeftover } from '../leftovers.ts';
import { findRealServer } from '../lookup.ts';
import { problemResponses } from '../schemas/problem.ts';
import {
  DrainBody,
  RealServerParams,
  ReasonBody,
  WeightBody,
  WriteQuery,
} from '../schemas/requests.ts';
import { ChangeResult } from '../schemas/responses.ts';

const tags = ['real servers'];
const response = {
  200: ChangeResult,
  ...problemResponses(400, 401, 403, 404, 409, 503, 504),
};

const STATES = [
  ['ready', 'readyRealServer', 'End a drain or a maintenance'],
  ['maint', 'maintRealServer', 'Take it out of the IPVS tables'],
] as const;

export function registerRealServerRoutes(app: TypedApp, ctx: ApiContext): void {
  for (const [state, operationId, summary] of STATES)
    app.post(
      `/api/v1/services/:service/real-servers/:realServer/${state}`,
      {
        config: { role: 'operator' },
        schema: {
          operationId,
          summary,
          tags,
          params: RealServerParams,
          querystring: WriteQuery,
          body: ReasonBody,
          response,
        },
      },
      (request) =>
        override(ctx, {
          ...requestParts(request),
          kind: EVENT_KINDS[state],
          wish: { state },
          reason: request.body.reason,
        }),
    );
  registerDrain(app, ctx);
  registerWeight(app, ctx);
}

function registerDrain(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/services/:service/real-servers/:realServer/drain',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'drainRealServer',
        summary:
          'Weight 0: connections stay until they are gone or the deadline, new ones go elsewhere',
        tags,
        params: RealServerParams,
        querystring: WriteQuery,
        body: DrainBody,
        response,
      },
    },
    (request) =>
      override(ctx, {
        ...requestParts(request),
        kind: EVENT_KINDS.drain,
        wish: { state: 'drain', deadlineMs: request.body.deadlineMs ?? null },
        reason: request.body.reason,
      }),
  );
}

const EVENT_KINDS = {
  drain: 'real-server.drained',
  ready: 'real-server.readied',
  maint: 'real-server.put-into-maintenance',
} as const;

function registerWeight(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/services/:service/real-servers/:realServer/weight',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'setRealServerWeight',
        summary: 'Another weight than the cluster document says, or that one again',
        tags,
        params: RealServerParams,
        querystring: WriteQuery,
        body: WeightBody,
        response,
      },
    },
    (request) =>
      override(ctx, {
        ...requestParts(request),
        kind: 'real-server.weighted',
        wish: { weight: request.body.weight },
        reason: request.body.reason,
      }),
  );
}

type Params = { readonly service: string; readonly realServer: string };
type Parts = {
  readonly params: Params;
  readonly dryRun: boolean;
  readonly caller: FastifyRequest['caller'];
};

const requestParts = (request: {
  readonly params: Params;
  readonly query: { readonly dryRun?: boolean };
  readonly caller: FastifyRequest['caller'];
}): Parts => ({
  params: request.params,
  dryRun: request.query.dryRun ?? false,
  caller: request.caller,
});

type Override = Parts & {
  readonly kind: string;
  readonly wish:
    | { readonly state: AdminState; readonly deadlineMs?: number | null }
    | { readonly weight: number | null };
  readonly reason: string;
};

async function override(ctx: ApiContext, request: Override): Promise<ChangeResult> {
  const { params, wish, reason, kind, caller, dryRun } = request;
  const find = () => findRealServer(ctx, params.service, params.realServer);
  const leftover = ctx.keys.real(serviceId(params.service), realServerId(params.realServer));
  const isEnd = 'state' in wish && wish.state === 'ready';
  const found = isEnd ? await findOrLeftover(ctx, leftover, find) : find();
  if (found === null) return await clear(ctx, request, leftover);
  const { service, realServer } = found;
  const name = `${service.id}/${realServer.id}`;
  await ctx.view.prepareStatus();
  const warnings = warningsFor(ctx, service.id, realServer.id, wish);
  const decide = (value: string | null): Wanted => {
    const parsed = value === null ? null : parseRecord(RealOverrideRecord, value);
    const old = parsed?.ok === true ? parsed.value : READY;
    const next = nextOf(old, wish);
    const isReadable = parsed === null || parsed.ok;
    if (isReadable && isSame(next, old))
      return { record: undefined, summary: `${name} is so already`, warnings: [] };
    const summary =
      'state' in wish
        ? `${name}: ${wish.state}${deadlineWords(next)}`
        : `${name}: weight ${wish.weight ?? `${realServer.weight}, as in the cluster document`}`;
    const isDefault = next.state === 'ready' && next.weight === null;
    const record = isDefault
      ? null
      : { v: 1, ...next, by: caller.name, reason, at: ctx.clock.wallTime() };
    return { record, summary, warnings };
  };
  const key = ctx.keys.real(service.id, realServer.id);
  return await changeRecord(ctx, caller, {
    key,
    dryRun,
    decide,
    event: { kind, subject: name, reason },
  });
}

type Kept = Pick<RealOverrideRecord, 'state' | 'weight' | 'deadlineMs'>;

const READY: Kept = { state: 'ready', weight: null };

/** A deadline goes with its drain. */
function nextOf({ state, weight, deadlineMs }: Kept, wish: Override['wish']): Kept {
  if ('weight' in wish)
    return { state, weight: wish.weight, ...(deadlineMs === undefined ? {} : { deadlineMs }) };
  const asked = wish.deadlineMs ?? null;
  return { state: wish.state, weight, ...(asked === null ? {} : { deadlineMs: asked }) };
}

const isSame = (a: Kept, b: Kept): boolean =>
  a.state === b.state && a.weight === b.weight && a.deadlineMs === b.deadlineMs;

function deadlineWords({ deadlineMs }: Kept): string {
  if (deadlineMs === undefined) return '';
  return deadlineMs === 0 ? ', as long as it takes' : `, at most ${Math.ceil(deadlineMs / 1000)} s`;
}

/** Ends an override, whole, of a real server that the cluster document no longer has. */
async function clear(ctx: ApiContext, request: Override, key: string): Promise<ChangeResult> {
  const { params, reason, kind, caller, dryRun } = request;
  const subject = `${params.service}/${params.realServer}`;
  return await changeRecord(ctx, caller, {
    key,
    dryRun,
    decide: () => ({
      record: null,
      summary: `${subject}: override removed; it is not in the cluster document`,
      warnings: [],
    }),
    event: { kind, subject, reason },
  });
}

/** Taking the last one that serves is allowed, but said. */
function warningsFor(
  ctx: ApiContext,
  serviceName: string,
  id: string,
  wish: Override['wish'],
): string[] {
  const takesAway = 'state' in wish ? wish.state !== 'ready' : wish.weight === 0;
  const service = ctx.view.status().services.find(({ name }) => name === serviceName);
  if (!takesAway || service === undefined) return [];
  const others = service.realServers.filter(
    (rs) => rs.id !== id && rs.admin === 'ready' && rs.health !== 'down' && rs.wantedWeight !== 0,
  );
  if (others.length > 0) return [];
  const sorry = service.sorryServer === null ? 'it will have none' : 'the sorry server takes over';
  return [`no other real server of "${serviceName}" takes new connections: ${sorry}`];
}
