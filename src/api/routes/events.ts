/** What happened: a list, and a stream of server-sent events (HTML standard 9.2). */
import type { ServerResponse } from 'node:http';
import type { EventRecord } from '../../model/records.ts';
import type { Stored } from '../../ports/agent-view.ts';
import { messageOf } from '../../lib/result.ts';
import type { ApiContext, TypedApp } from '../context.ts';
import { problemError } from '../problem.ts';
import { streamWriter } from '../slow-readers.ts';
import { problemResponses } from '../schemas/problem.ts';
import { EventsQuery, NoQuery } from '../schemas/requests.ts';
import { type Event, EventList } from '../schemas/responses.ts';

const tags = ['events'];
const LIMIT_DEFAULT = 100;
const HEARTBEAT_MS = 15_000;
const STREAMS_MAX = 100;
export function registerEventRoutes(app: TypedApp, ctx: ApiContext): void {
  app.get(
    '/api/v1/events',
    {
      schema: {
        operationId: 'listEvents',
        summary: 'Events and audit, oldest first',
        tags,
        querystring: EventsQuery,
        response: { 200: EventList, ...problemResponses(400, 401) },
      },
    },
    (request) => ({
      events: ctx.view
        .events()
        .slice(-(request.query.limit ?? LIMIT_DEFAULT))
        .map(toEvent),
    }),
  );
  app.get(
    '/api/v1/events/stream',
    {
      // A HEAD would open a stream that nobody reads.
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamEvents',
        summary: 'New events as they happen (text/event-stream); resumes after Last-Event-ID',
        tags,
        querystring: NoQuery,
        produces: ['text/event-stream'],
        response: {
          200: {
            description: 'id: the event id; data: the event as in the list',
            content: { 'text/event-stream': { schema: { type: 'string' } } },
          },
          ...problemResponses(401, 503),
        },
      },
    },
    (request, reply) => {
      if (ctx.streams.size >= STREAMS_MAX)
        throw problemError('overloaded', `${STREAMS_MAX} event streams are open already`);
      const lastId = request.headers['last-event-id'];
      reply.hijack();
      stream(ctx, reply.raw, typeof lastId === 'string' ? lastId : null).catch((error: unknown) => {
        ctx.log.error({ error: messageOf(error) }, 'event-stream.failed');
        reply.raw.destroy();
      });
    },
  );
}

const toEvent = ({ id, revision, record }: Stored<EventRecord>): Event => ({
  id,
  revision,
  event: record,
});

/**
 * In the order of the store, as they were streamed: what a director could write only when etcd was back, or by a
 * clock that lags, has an older id than what readers have seen.
 */
function missedSince(
  events: readonly Stored<EventRecord>[],
  lastId: string,
): readonly Stored<EventRecord>[] {
  const last = events.find(({ id }) => id === lastId);
  return events
    .filter(({ id, revision }) => (last === undefined ? id > lastId : revision > last.revision))
    .toSorted((a, b) => a.revision - b.revision);
}

const formatEvent = (stored: Stored<EventRecord>): string =>
  `id: ${stored.id}\nevent: ${stored.record.kind}\ndata: ${JSON.stringify(toEvent(stored))}\n\n`;

async function stream(ctx: ApiContext, raw: ServerResponse, lastId: string | null): Promise<void> {
  const controller = new AbortController();
  ctx.streams.add(controller);
  raw.on('close', () => controller.abort());
  const write = streamWriter(ctx.clock, raw);
  let cancelBeat = (): void => {};
  const beat = (): void => {
    write(': still here\n\n');
    cancelBeat = ctx.clock.schedule(HEARTBEAT_MS, beat);
  };
  try {
    raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const events = ctx.view.watchEvents(controller.signal);
    if (lastId !== null)
      for (const missed of missedSince(ctx.view.events(), lastId)) write(formatEvent(missed));
    beat();
    for await (const event of events) write(formatEvent(event));
  } finally {
    cancelBeat();
    ctx.streams.delete(controller);
    raw.end();
  }
}
