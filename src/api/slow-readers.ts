/**
 * What readers may cost who take their answers slowly, or not at all: an answer that is made stays in memory until it
 * is taken, and one that is made as it is taken keeps its place. Both are bounded, in time and in bytes.
 */
import type { ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { ApiContext } from './context.ts';
import { problemError } from './problem.ts';

/** A reader that takes nothing for so long is cut off. */
export const STALLED_MS = 30_000;
/** Who takes less than this, beyond `STALLED_MS` in all, is cut off too. */
export const LEAST_BYTES_PER_S = 32_768;
/** Nobody is waited for longer than this in all, however much there is to take. */
export const WAIT_MS_MAX = 600_000;
/** Of answers that are made and not taken yet, all together. */
export const UNTAKEN_BYTES_MAX = 64 * 1024 * 1024;
/** Smaller ones are always given: what went wrong must be told. */
const SMALL_BYTES = 65_536;

/** How long the reader of so many bytes may be waited for, in all. */
export const patienceMs = (bytes: number): number =>
  Math.min(STALLED_MS + (bytes * 1000) / LEAST_BYTES_PER_S, WAIT_MS_MAX);

type Clock = Pick<ApiContext['clock'], 'now' | 'schedule'>;

/** Waits for the reader of one answer that is made piece by piece. */
export class Patience {
  readonly #clock: Clock;
  readonly #raw: ServerResponse;
  readonly #cutOff: () => void;
  #bytes = 0;
  #waitedMs = 0;

  /** `cutOff`: the reader was too slow; the connection is closed then. */
  constructor(clock: Clock, raw: ServerResponse, cutOff: () => void) {
    this.#clock = clock;
    this.#raw = raw;
    this.#cutOff = cutOff;
  }

  /** Resolves when more may come; false: the reader is gone. */
  async write(text: string): Promise<boolean> {
    const raw = this.#raw;
    if (raw.destroyed) return false;
    this.#bytes += text.length;
    if (!raw.write(text)) await this.#until('drain');
    return !raw.destroyed;
  }

  /** Resolves when all of it is taken, or the reader is gone. */
  async end(): Promise<void> {
    const raw = this.#raw;
    if (raw.destroyed) return;
    raw.end();
    if (!raw.writableFinished) await this.#until('finish');
  }

  #until(event: 'drain' | 'finish'): Promise<void> {
    const clock = this.#clock;
    const raw = this.#raw;
    const begun = clock.now();
    const leftMs = Math.min(STALLED_MS, patienceMs(this.#bytes) - this.#waitedMs);
    return new Promise((resolve) => {
      const cancel = clock.schedule(Math.max(leftMs, 0), () => {
        this.#cutOff();
        raw.destroy();
      });
      const done = (): void => {
        cancel();
        raw.off(event, done);
        raw.off('close', done);
        this.#waitedMs += clock.now() - begun;
        resolve();
      };
      raw.on(event, done);
      raw.on('close', done);
    });
  }
}

/** A reader of a stream that leaves this much unread is cut off; it can resume by Last-Event-ID. */
export const UNREAD_BYTES_MAX = 1024 * 1024;
/** The same for one that has left something unread for so long. */
export const UNREAD_MS_MAX = 60_000;

/** Writes to a reader that nobody waits for: a stream that is told something now and then, for ever. */
export function streamWriter(
  clock: Pick<Clock, 'now'>,
  raw: ServerResponse,
): (text: string) => void {
  let readAllAt = clock.now();
  return (text) => {
    const now = clock.now();
    if (raw.writableLength === 0) readAllAt = now;
    const isSlow = raw.writableLength > UNREAD_BYTES_MAX || now - readAllAt > UNREAD_MS_MAX;
    if (isSlow) raw.destroy();
    else raw.write(text);
  };
}

/** The same for answers that are made at once. */
export function limitUntaken(app: FastifyInstance, ctx: ApiContext): void {
  let untaken = 0;
  app.addHook('onSend', async (_request, reply, payload: unknown) => {
    const bytes = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload.length : 0;
    if (bytes > SMALL_BYTES && untaken > 0 && untaken + bytes > UNTAKEN_BYTES_MAX)
      throw problemError(
        'overloaded',
        'readers that are too slow keep this director from giving more large answers; try again',
      );
    untaken += bytes;
    whenTaken(ctx, reply, bytes, () => {
      untaken -= bytes;
    });
    return payload;
  });
}

function whenTaken(ctx: ApiContext, reply: FastifyReply, bytes: number, taken: () => void): void {
  const { raw } = reply;
  const cancel = ctx.clock.schedule(patienceMs(bytes), () => {
    ctx.log.warn({ bytes, url: reply.request.url }, 'answer.cut-off');
    raw.destroy();
  });
  const done = (): void => {
    raw.off('finish', done);
    raw.off('close', done);
    cancel();
    taken();
  };
  raw.on('finish', done);
  raw.on('close', done);
}
