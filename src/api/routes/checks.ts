/** Reads: the checks of one real server, and who says what of it. */
import { CheckReports } from '../../model/status-checks.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { findRealServer } from '../lookup.ts';
import { problemResponses } from '../schemas/problem.ts';
import { NoQuery, RealServerParams } from '../schemas/requests.ts';

export function registerCheckRoutes(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/services/:service/real-servers/:realServer/checks',
    {
      schema: {
        operationId: 'getRealServerChecks',
        summary: 'Its checks: what each director says and has seen, and what would change it',
        tags: ['real servers'],
        params: RealServerParams,
        querystring: NoQuery,
        response: { 200: CheckReports, ...problemResponses(400, 401, 404) },
      },
    },
    (request) => {
      const { service, realServer } = request.params;
      const found = findRealServer(ctx, service, realServer);
      return ctx.view.checks(found.service.id, found.realServer.id);
    },
  );
}
