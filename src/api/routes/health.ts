/** For supervisors, load balancers and Prometheus: without a token, yes or no and no details; the metrics need one. */
import Type from 'typebox';
import { groupId } from '../../model/ids.ts';
import { isAnonymous } from '../auth.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { findGroup } from '../lookup.ts';
import { problemResponses } from '../schemas/problem.ts';
import { NoQuery, OwnerQuery } from '../schemas/requests.ts';
import { OwnerResult, ProbeResult } from '../schemas/responses.ts';

const tags = ['health'];
const open = { role: 'open' } as const;
const ASK_WITH_TOKEN = 'not ready; ask with a token for the reasons';

export function registerHealthRoutes(app: TypedApp, ctx: ApiContext): void {
  registerProbes(app, ctx);
  registerOwner(app, ctx);
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'getMetrics',
        summary: 'Prometheus metrics',
        tags,
        response: {
          200: {
            description: 'Prometheus text',
            content: { 'text/plain': { schema: Type.String() } },
          },
          ...problemResponses(401),
        },
      },
    },
    async (_request, reply) => {
      const text = await ctx.metrics.render();
      return reply.type(ctx.metrics.contentType).serializer(String).send(text);
    },
  );
}

function registerProbes(app: TypedApp, ctx: ApiContext): void {
  const response = { 200: ProbeResult, 503: ProbeResult };
  app.get(
    '/livez',
    {
      config: open,
      schema: {
        operationId: 'livez',
        summary: '200 while the hold loop turns; else restart the agent',
        tags,
        querystring: NoQuery,
        response,
      },
    },
    (_request, reply) => {
      const reasons = ctx.view.isLive() ? [] : ['the hold loop has not turned for two rounds'];
      return reply.code(reasons.length === 0 ? 200 : 503).send(probeResult(reasons));
    },
  );
  app.get(
    '/readyz',
    {
      config: open,
      schema: {
        operationId: 'readyz',
        summary: '200 while this director can take part; else why not',
        tags,
        querystring: NoQuery,
        response,
      },
    },
    (request, reply) => {
      const { ready, problems } = ctx.view.status();
      if (ready) return reply.send(probeResult([]));
      const reasons = problems.length === 0 ? ['the agent is still starting'] : problems;
      return reply
        .code(503)
        .send(probeResult(isAnonymous(request.caller) ? [ASK_WITH_TOKEN] : reasons));
    },
  );
}

const probeResult = (reasons: readonly string[]): ProbeResult => ({
  status: reasons.length === 0 ? 'ok' : 'failed',
  reasons: [...reasons],
});

function registerOwner(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/owner',
    {
      config: open,
      schema: {
        operationId: 'getOwner',
        summary: '200 iff this director holds the group and is inside its deadline',
        tags,
        querystring: OwnerQuery,
        response: { 200: OwnerResult, 503: OwnerResult, ...problemResponses(400, 404) },
      },
    },
    (request, reply) => {
      const { group } = request.query;
      if (isAnonymous(request.caller)) {
        const holds = ctx.view.holdsNow(groupId(group));
        return reply.code(holds ? 200 : 503).send({ group, holds });
      }
      const { name } = findGroup(ctx, group);
      const holds = ctx.view.holdsNow(groupId(name));
      return reply
        .code(holds ? 200 : 503)
        .send({ group: name, director: ctx.view.director, holds });
    },
  );
}
