/** Reads: what this director sees of the cluster. */
import { GroupStatus, StatusDocument } from '../../model/status.ts';
import type { Static } from 'typebox';
import type { ApiContext, TypedApp } from '../context.ts';
import type { LineAnswers } from '../lines.ts';
import { findGroup, unknownName } from '../lookup.ts';
import { GroupParams, NoQuery, RealServersQuery } from '../schemas/requests.ts';
import { problemResponses } from '../schemas/problem.ts';
import { DirectorList, GroupList, RealServerList, ServiceList } from '../schemas/responses.ts';

const tags = ['status'];

/** Larger answers are written piece by piece, with the hold loop in between. */
const AT_ONCE_MAX = 500;

/** The services as they are now; `write` gets what is too large for one piece. */
async function answerServices<T extends object>(
  ctx: ApiContext,
  pick: (status: StatusDocument) => T,
  write: (value: T) => Promise<unknown>,
): Promise<unknown> {
  await ctx.view.prepareStatus();
  const status = ctx.view.status();
  const value = pick(status);
  const count = status.services.reduce((sum, { realServers }) => sum + realServers.length, 0);
  return count <= AT_ONCE_MAX ? value : await write(value);
}

export function registerStatusRoutes(app: TypedApp, ctx: ApiContext, answers: LineAnswers): void {
  app.get(
    '/api/v1/status',
    {
      schema: {
        operationId: 'getStatus',
        summary: 'All that this director knows, in one document',
        tags,
        querystring: NoQuery,
        response: { 200: StatusDocument, ...problemResponses(401, 503) },
      },
    },
    (_request, reply) =>
      answerServices(
        ctx,
        (status) => status,
        (value) => answers.document(reply, value),
      ),
  );
  registerGroups(app, ctx);
  app.get(
    '/api/v1/directors',
    {
      schema: {
        operationId: 'listDirectors',
        summary: 'Directors of the spec and of the store',
        tags,
        querystring: NoQuery,
        response: { 200: DirectorList, ...problemResponses(401) },
      },
    },
    () => ({ directors: ctx.view.status().directors }),
  );
  registerServices(app, ctx, answers);
}

function registerGroups(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/groups',
    {
      schema: {
        operationId: 'listGroups',
        summary: 'VIP groups: holder, epoch, candidates, and why',
        tags,
        querystring: NoQuery,
        response: { 200: GroupList, ...problemResponses(401) },
      },
    },
    () => ({ groups: ctx.view.status().groups }),
  );
  app.get(
    '/api/v1/groups/:group',
    {
      schema: {
        operationId: 'getGroup',
        summary: 'One VIP group',
        tags,
        params: GroupParams,
        querystring: NoQuery,
        response: { 200: GroupStatus, ...problemResponses(400, 401, 404) },
      },
    },
    (request) => findGroup(ctx, request.params.group),
  );
}

function registerServices(app: TypedApp, ctx: ApiContext, answers: LineAnswers): void {
  app.get(
    '/api/v1/services',
    {
      schema: {
        operationId: 'listServices',
        summary: 'Virtual services with their real servers',
        tags,
        querystring: NoQuery,
        response: { 200: ServiceList, ...problemResponses(401, 503) },
      },
    },
    (_request, reply) =>
      answerServices(
        ctx,
        ({ services }) => ({ services }),
        (value) => answers.document(reply, value),
      ),
  );
  app.get(
    '/api/v1/real-servers',
    {
      schema: {
        operationId: 'listRealServers',
        summary: 'Real servers of all virtual services, or of one',
        tags,
        querystring: RealServersQuery,
        response: { 200: RealServerList, ...problemResponses(400, 401, 404, 503) },
      },
    },
    (request, reply) =>
      answerServices(
        ctx,
        (status) => realServersOf(status, request.query.service ?? null),
        (value) => answers.document(reply, value),
      ),
  );
}

/** Throws a `ProblemError` for a service that is not there. */
function realServersOf(
  { services }: StatusDocument,
  wanted: string | null,
): Static<typeof RealServerList> {
  const chosen = services.filter(({ name }) => wanted === null || name === wanted);
  if (wanted !== null && chosen.length === 0)
    throw unknownName(
      'virtual service',
      wanted,
      services.map(({ name }) => name),
    );
  return {
    realServers: chosen.flatMap(({ name, realServers }) =>
      realServers.map((realServer) => ({ service: name, realServer })),
    ),
  };
}
