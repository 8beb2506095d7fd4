/** What operators say of a director: that it drains, and gives its VIP groups away; or that it is dead. */
import { directorId } from '../../model/ids.ts';
import { DrainRecord, parseRecord } from '../../model/records.ts';
import { changeRecord } from '../change.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { findOrLeftover } from '../leftovers.ts';
import { findDirector, requireSpec } from '../lookup.ts';
import { registerConfirmDead } from './confirm-dead.ts';
import { problemResponses } from '../schemas/problem.ts';
import { DirectorParams, ReasonBody, WriteQuery } from '../schemas/requests.ts';
import { ChangeResult } from '../schemas/responses.ts';

const tags = ['directors'];
const response = {
  200: ChangeResult,
  ...problemResponses(400, 401, 403, 404, 409, 503, 504),
};

export function registerDirectorRoutes(app: TypedApp, ctx: ApiContext): void {
  registerDrain(app, ctx);
  registerUndrain(app, ctx);
  registerConfirmDead(app, ctx);
}

function registerDrain(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/directors/:director/drain',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'drainDirector',
        summary: 'Move the VIP groups of a director away and keep it from taking any',
        tags,
        params: DirectorParams,
        querystring: WriteQuery,
        body: ReasonBody,
        response,
      },
    },
    (request) => {
      const director = findDirector(ctx, request.params.director);
      const { reason } = request.body;
      const record = { v: 1, by: request.caller.name, reason, at: ctx.clock.wallTime() };
      return changeRecord(ctx, request.caller, {
        key: ctx.keys.drain(director),
        dryRun: request.query.dryRun ?? false,
        event: { kind: 'director.drained', subject: director, reason },
        decide: (value) => {
          const old = value === null ? null : parseRecord(DrainRecord, value);
          if (old?.ok === true && old.value.reason === reason)
            return { record: undefined, summary: `${director} is draining already`, warnings: [] };
          return { record, summary: `drain ${director}`, warnings: warningsFor(ctx, director) };
        },
      });
    },
  );
}

/** Allowed, but an operator should know before the traffic stops. */
function warningsFor(ctx: ApiContext, director: string): string[] {
  const { directors, groups } = ctx.view.status();
  if (requireSpec(ctx).directors.every(({ id }) => id === director))
    return [`${director} is the only director: its VIP groups will have no holder`];
  const others = directors.filter(
    ({ name, isAlive, isDraining }) => name !== director && isAlive && !isDraining,
  );
  if (others.length === 0)
    return ['no other director is alive and not draining: its VIP groups will have no holder'];
  return groups
    .filter(({ holder }) => holder === director)
    .filter(({ candidates }) => !candidates.some((c) => c.eligible && c.director !== director))
    .map(({ name }) => `no other director can hold the VIP group "${name}" now`);
}

function registerUndrain(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/directors/:director/undrain',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'undrainDirector',
        summary: 'Let a director take VIP groups again',
        tags,
        params: DirectorParams,
        querystring: WriteQuery,
        body: ReasonBody,
        response,
      },
    },
    async (request) => {
      const director = directorId(request.params.director);
      const key = ctx.keys.drain(director);
      // A drain may outlive the director's place in the document.
      await findOrLeftover(ctx, key, () => findDirector(ctx, director));
      return await changeRecord(ctx, request.caller, {
        key,
        dryRun: request.query.dryRun ?? false,
        event: {
          kind: 'director.undrained',
          subject: director,
          reason: request.body.reason,
        },
        decide: (value) =>
          value === null
            ? { record: null, summary: `${director} is not draining`, warnings: [] }
            : { record: null, summary: `undrain ${director}`, warnings: [] },
      });
    },
  );
}
