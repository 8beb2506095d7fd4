/**
 * Answers of any length as newline-delimited JSON: what the reader does not take is not made, and a reader
 * that takes too little for long is cut off. Nothing is collected.
 */
import type { FastifyReply } from 'fastify';
import { messageOf } from '../lib/result.ts';
import type { ApiContext } from './context.ts';
import { jsonPieces } from '../lib/json-pieces.ts';
import { problemError } from './problem.ts';
import { Patience } from './slow-readers.ts';

export const LINES_TYPE = 'application/x-ndjson; charset=utf-8';

/** Listings at a time: each costs the kernel a walk through its table. */
const LISTS_MAX = 4;
/** Large documents at a time: each is tens of megabytes. */
const DOCUMENTS_MAX = 8;

export type LineSink = {
  readonly signal: AbortSignal;
  /** Whole lines. Resolves when more may come; false: the reader is gone. */
  write(lines: string): Promise<boolean>;
};

export type LineAnswers = {
  /**
   * The answer begins with the first line: what `produce` throws before is answered as a problem. Throws a
   * `ProblemError` (503) where too many are under way.
   */
  send(reply: FastifyReply, produce: (sink: LineSink) => Promise<void>): Promise<FastifyReply>;
  /** One JSON document, written piece by piece where it is large. */
  document(reply: FastifyReply, value: object): Promise<FastifyReply>;
};

export function createLineAnswers(ctx: ApiContext): LineAnswers {
  // Listings that nobody reads on must not keep the status from others.
  const lists = createPool(ctx, LISTS_MAX);
  const documents = createPool(ctx, DOCUMENTS_MAX);
  return {
    send: (reply, produce) => lists(reply, { type: LINES_TYPE, produce }),
    document: (reply, value) =>
      documents(reply, {
        type: JSON_TYPE,
        produce: (sink) => writePieces(sink, jsonPieces(value)),
      }),
  };
}

function createPool(
  ctx: ApiContext,
  limit: number,
): (reply: FastifyReply, wanted: Wanted) => Promise<FastifyReply> {
  let running = 0;
  return async (reply, wanted) => {
    if (running >= limit)
      throw problemError('overloaded', `${limit} such answers are under way; try again`);
    running++;
    try {
      await answer(ctx, reply, wanted);
    } finally {
      running--;
    }
    return reply;
  };
}

type Wanted = {
  readonly type: string;
  readonly produce: (sink: LineSink) => Promise<void>;
};

const JSON_TYPE = 'application/json; charset=utf-8';
/** Characters that are written at once, between two breaths of the process. */
const PIECE = 65_536;

async function writePieces(sink: LineSink, pieces: Iterable<string>): Promise<void> {
  let text = '';
  for (const piece of pieces) {
    text += piece;
    if (text.length < PIECE) continue;
    // oxlint-disable-next-line no-await-in-loop -- nothing is made that the reader does not take
    if (!(await sink.write(text))) return;
    text = '';
    // oxlint-disable-next-line no-await-in-loop -- other work goes first
    await breathe();
  }
  await sink.write(text);
}

/** Lets everything else that waits run first. */
export const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function answer(
  ctx: ApiContext,
  reply: FastifyReply,
  { type, produce }: Wanted,
): Promise<void> {
  const { raw } = reply;
  const reader = new AbortController();
  // Also when the server closes.
  reader.signal.addEventListener('abort', () => raw.destroy(), { once: true });
  ctx.streams.add(reader);
  raw.on('close', () => {
    ctx.streams.delete(reader);
    reader.abort();
  });
  const patience = new Patience(ctx.clock, raw, () =>
    ctx.log.warn({ url: reply.request.url }, 'listing.cut-off'),
  );
  let isBegun = false;
  const begin = (): void => {
    if (isBegun) return;
    isBegun = true;
    reply.hijack();
    raw.writeHead(200, { ...HEADERS, 'content-type': type });
  };
  try {
    await produce({
      signal: reader.signal,
      write: (lines) => {
        begin();
        return patience.write(lines);
      },
    });
    begin();
    await patience.end();
  } catch (error) {
    if (!isBegun) throw error;
    ctx.log.error({ error: messageOf(error) }, 'listing.failed');
    raw.destroy();
  }
}

const HEADERS = {
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
};
