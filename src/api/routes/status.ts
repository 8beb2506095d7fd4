/** Reads: what this director sees of the cluster. */
import { GroupStatus, StatusDocument } from '../../model/status.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { findGroup, unknownName } from '../lookup.ts';
import { GroupParams, NoQuery, RealServersQuery } from '../schemas/requests.ts';
import { problemResponses } from '../schemas/problem.ts';
import { DirectorList, GroupList, RealServerList, ServiceList } from '../schemas/responses.ts';

const tags = ['status'];

export function registerStatusRoutes(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/status',
    {
      schema: {
        operationId: 'getStatus',
        summary: 'All that this director knows, in one document',
        tags,
        querystring: NoQuery,
        response: { 200: StatusDocument, ...problemResponses(401) },
      },
    },
    () => ctx.view.status(),
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
  registerServices(app, ctx);
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

function registerServices(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/services',
    {
      schema: {
        operationId: 'listServices',
        summary: 'Virtual services with their real servers',
        tags,
        querystring: NoQuery,
        response: { 200: ServiceList, ...problemResponses(401) },
      },
    },
    () => ({ services: ctx.view.status().services }),
  );
  app.get(
    '/api/v1/real-servers',
    {
      schema: {
        operationId: 'listRealServers',
        summary: 'Real servers of all virtual services, or of one',
        tags,
        querystring: RealServersQuery,
        response: { 200: RealServerList, ...problemResponses(400, 401, 404) },
      },
    },
    (request) => {
      const { services } = ctx.view.status();
      const wanted = request.query.service;
      const chosen = services.filter(({ name }) => wanted === undefined || name === wanted);
      if (wanted !== undefined && chosen.length === 0)
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
    },
  );
}
