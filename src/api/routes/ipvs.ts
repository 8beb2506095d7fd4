/** The kernel of this director, live: its IPVS table, its connections, its counters. Other directors have their own. */
import { connectionMatcher, isTemplate } from '../../model/connection-match.ts';
import type { VirtualService } from '../../model/cluster.ts';
import type { ServiceId } from '../../model/ids.ts';
import {
  ConnectionLine,
  type ConnectionRow,
  TableRow,
  type TableRow as Row,
} from '../../model/ipvs-listing.ts';
import { type IpvsConnection, type KernelError } from '../../model/kernel.ts';
import { messageOf } from '../../lib/result.ts';
import { commitIntent } from '../commit.ts';
import type { ApiContext, Caller, TypedApp } from '../context.ts';
import { breathe, type LineAnswers, type LineSink } from '../lines.ts';
import { unknownName } from '../lookup.ts';
import { type ProblemError, problemError } from '../problem.ts';
import { problemResponses } from '../schemas/problem.ts';
import {
  CONNECTIONS_DEFAULT,
  ConnectionsQuery,
  TableQuery,
  WriteQuery,
  ZeroBody,
} from '../schemas/requests.ts';
import { ZeroResult } from '../schemas/responses.ts';

const tags = ['ipvs'];
/** Rows between two breaths of the process: the hold loop must never wait for a listing. */
const ROWS_AT_ONCE = 200;

const linesOf = (schema: unknown, description: string) => ({
  description,
  content: { 'application/x-ndjson': { schema } },
});

export function registerIpvsRoutes(app: TypedApp, ctx: ApiContext, answers: LineAnswers): void {
  app.get(
    '/api/v1/ipvs/table',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'listTable',
        summary: 'The IPVS table of this director, a line of JSON for each service and destination',
        tags,
        querystring: TableQuery,
        response: {
          200: linesOf(
            TableRow,
            'the head, then each service before its destinations, then the end',
          ),
          ...problemResponses(400, 401, 404, 503),
        },
      },
    },
    (request, reply) => sendTable(ctx, answers, { reply, service: request.query.service ?? null }),
  );
  registerConnections(app, ctx, answers);
  registerZero(app, ctx);
}

type Reply = Parameters<LineAnswers['send']>[0];

async function sendTable(
  ctx: ApiContext,
  answers: LineAnswers,
  { reply, service }: { readonly reply: Reply; readonly service: string | null },
): Promise<Reply> {
  return await answers.send(reply, async (sink) => {
    const name = service === null ? null : serviceName(ctx, service);
    const listing = await ctx.view.ipvs.table(name);
    if (!listing.ok) throw kernelProblem(listing.error);
    const { head, rows } = listing.value;
    await writeRows(sink, head, rows());
  });
}

async function writeRows(sink: LineSink, head: Row, rows: Iterable<Row>): Promise<void> {
  let lines: string[] = [JSON.stringify(head)];
  const flush = async (): Promise<boolean> => {
    const text = `${lines.join('\n')}\n`;
    lines = [];
    return await sink.write(text);
  };
  for (const row of rows) {
    lines.push(JSON.stringify(row));
    if (lines.length < ROWS_AT_ONCE) continue;
    // oxlint-disable-next-line no-await-in-loop -- nothing is made that the reader does not take
    if (!(await flush())) return;
    // oxlint-disable-next-line no-await-in-loop -- other work goes first
    await breathe();
  }
  if (lines.length > 0) await flush();
}

function registerConnections(app: TypedApp, ctx: ApiContext, answers: LineAnswers): void {
  app.get(
    '/api/v1/ipvs/connections',
    {
      exposeHeadRoute: false,
      // They name clients.
      config: { role: 'operator' },
      schema: {
        operationId: 'listConnections',
        summary: 'Connections of this director as its kernel gives them, a line of JSON for each',
        tags,
        querystring: ConnectionsQuery,
        response: {
          200: linesOf(ConnectionLine, 'connections, then the end, or what failed'),
          ...problemResponses(400, 401, 403, 404, 503),
        },
      },
    },
    (request, reply) => sendConnections(ctx, answers, { reply, ...request.query }),
  );
}

type Wanted = {
  readonly reply: Reply;
  readonly service?: string;
  readonly limit?: number;
  readonly templates?: boolean;
};

async function sendConnections(
  ctx: ApiContext,
  answers: LineAnswers,
  { reply, service, limit = CONNECTIONS_DEFAULT, templates = false }: Wanted,
): Promise<Reply> {
  const isOf = service === undefined ? null : connectionMatcher(findService(ctx, service));
  requireIpvs(ctx);
  return await answers.send(reply, async (sink) => {
    let shown = 0;
    const visit = async (some: readonly IpvsConnection[]): Promise<boolean> => {
      const wanted = some.filter(
        (one) => (!templates || isTemplate(one)) && (isOf === null || isOf(one)),
      );
      const rows = wanted.slice(0, limit - shown);
      shown += rows.length;
      const isTaken =
        rows.length === 0 || (await sink.write(rows.map((one) => lineOf(toRow(one))).join('')));
      return isTaken && shown < limit;
    };
    const reading = await ctx.view.ipvs.visitConnections(visit, sink.signal);
    if (reading.ok) {
      const { connections: read, unreadable, isWhole } = reading.value;
      await sink.write(lineOf({ kind: 'end', shown, read, unreadable, isWhole }));
      return;
    }
    // Nothing was sent yet: the answer can still be a problem.
    if (shown === 0) throw kernelProblem(reading.error);
    await sink.write(lineOf({ kind: 'failure', detail: reading.error.message }));
  });
}

const lineOf = (row: ConnectionLine): string => `${JSON.stringify(row)}\n`;

const toRow = (connection: IpvsConnection): ConnectionRow => ({
  kind: 'connection',
  ...connection,
  isTemplate: isTemplate(connection),
});

function registerZero(app: TypedApp, ctx: ApiContext): void {
  app.post(
    '/api/v1/ipvs/zero',
    {
      config: { role: 'operator' },
      schema: {
        operationId: 'zeroCounters',
        summary: 'Set the counters of this director’s services to 0; those of others stay',
        tags,
        querystring: WriteQuery,
        body: ZeroBody,
        response: { 200: ZeroResult, ...problemResponses(400, 401, 403, 404, 503, 504) },
      },
    },
    (request) =>
      zero(ctx, {
        caller: request.caller,
        dryRun: request.query.dryRun ?? false,
        reason: request.body.reason,
        services: servicesOf(ctx, request.body.service),
        name: request.body.service ?? null,
      }),
  );
}

const servicesOf = (ctx: ApiContext, name: string | undefined): readonly ServiceId[] =>
  name === undefined
    ? (ctx.view.spec().spec?.services ?? []).map(({ id }) => id)
    : [findService(ctx, name).id];

type Zero = {
  readonly caller: Caller;
  readonly dryRun: boolean;
  readonly reason: string;
  readonly services: readonly ServiceId[];
  /** Null: all. */
  readonly name: string | null;
};

/** The audit comes first: what was not written down is not done. */
async function zero(ctx: ApiContext, request: Zero): Promise<ZeroResult> {
  const { caller, dryRun, reason, services, name } = request;
  const { director } = ctx.view;
  const summary = `${name ?? 'all services'} on ${director}: counters to 0`;
  const result = { dryRun, summary, director };
  requireIpvs(ctx);
  if (dryRun) return { ...result, services: 0, event: null };
  const committed = await commitIntent(ctx, caller, {
    compares: [],
    operations: [],
    event: { kind: 'counters.zeroed', subject: name ?? director, message: summary, reason },
  });
  if (committed.kind !== 'committed')
    throw problemError('store-unavailable', 'the event could not be written; nothing was changed');
  const zeroed = await ctx.view.ipvs.zero(services);
  if (!zeroed.ok) {
    const message = `not done: ${summary}: ${zeroed.error.message}`;
    await commitIntent(ctx, caller, {
      compares: [],
      operations: [],
      event: { kind: 'counters.kept', subject: name ?? director, message, reason },
    }).catch((error: unknown) => {
      // Who asked hears of the kernel all the same: that is what went wrong.
      ctx.log.warn({ message, error: messageOf(error) }, 'counters.kept-untold');
    });
    throw kernelProblem(zeroed.error);
  }
  return { ...result, services: zeroed.value, event: committed.eventId };
}

/** Throws a `ProblemError` that says what this kernel lacks. */
function requireIpvs(ctx: ApiContext): void {
  const { available, detail } = ctx.view.status().ipvs;
  if (!available) throw problemError('ipvs-unavailable', detail);
}

function findService(ctx: ApiContext, name: string): VirtualService {
  const services = ctx.view.spec().spec?.services ?? [];
  const found = services.find(({ id }) => id === name);
  if (found === undefined)
    throw unknownName(
      'virtual service',
      name,
      services.map(({ id }) => id),
    );
  return found;
}

/** A virtual service, or one IPVS service by its key; a foreign one has no other name. */
function serviceName(ctx: ApiContext, name: string): string {
  const isKey = /^(?:(?:tcp|udp|sctp) \S+:\d+|fwmark \d+ inet6?)$/.test(name);
  return isKey ? name : findService(ctx, name).id;
}

const kernelProblem = ({ message }: KernelError): ProblemError =>
  problemError('ipvs-unavailable', message);
