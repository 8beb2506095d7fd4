/** `events`: what happened, and with -f what happens. */
import type { Command } from 'commander';
import { Event, EventList } from '../../api/schemas/responses.ts';
import { parseAnswer } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { openSession, type Session } from '../session.ts';
import type { Paint } from '../style.ts';

const RECONNECT_MS = 1000;
/** A director says something every 15 seconds: one that does not is gone. */
const SILENT_MS = 45_000;
const TONES = { info: 'strong', warn: 'warn', error: 'bad' } as const;

type Options = { readonly follow?: boolean; readonly number: string };

export function addEventsCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  program
    .command('events')
    .description('what happened, and who asked for it; oldest first')
    .option('-n, --number <count>', 'how many, 1 to 1000', '20')
    .option('-f, --follow', 'go on with new ones, until interrupted')
    .action(async (options: Options, command: Command) => {
      if (!/^\d{1,4}$/.test(options.number))
        throw new CliError(EXIT.badInput, `-n: "${options.number}" is no number of events`);
      const session = await openSession(io, command);
      const path = `/api/v1/events?limit=${options.number}`;
      const answer = await session.client.call({ method: 'GET', path });
      const { events } = parseAnswer(EventList, answer.body);
      for (const event of events) io.stdout(formatEvent(event, session.paint));
      // They are sorted by time; the stream goes on where the store was.
      const newest = events.toSorted((a, b) => a.revision - b.revision).at(-1);
      if (options.follow === true) await follow(session, newest?.id ?? '0');
      done(EXIT.ok);
    });
}

/** A stream that ends is opened again, at any director, after the last event seen. */
async function follow({ client, io, paint }: Session, lastId: string): Promise<void> {
  let seen = lastId;
  while (!io.signal.aborted) {
    const headers = { 'last-event-id': seen };
    const request = { path: '/api/v1/events/stream', headers, silentMs: SILENT_MS };
    try {
      for await (const line of client.stream(request, io.signal)) {
        if (!line.startsWith('data: ')) continue;
        const event = parseAnswer(Event, JSON.parse(line.slice('data: '.length)));
        seen = event.id;
        io.stdout(formatEvent(event, paint));
      }
    } catch (error) {
      if (!(error instanceof CliError) || error.exitCode !== EXIT.unreachable) throw error;
      io.stderr(`${error.message}\n`);
    }
    if (io.signal.aborted) return;
    io.stderr('the stream ended; connecting again\n');
    await io.clock.sleep(RECONNECT_MS, io.signal);
  }
}

function formatEvent({ event }: Event, paint: Paint): string {
  const { at, severity, kind, director, message, reason, by } = event;
  const tail = [
    ...(reason === null ? [] : [`reason: ${reason}`]),
    ...(by === null ? [] : [`by ${by}`]),
  ].join(', ');
  const head = `${at}  ${severity.padEnd(5)}  ${director}  ${kind}`;
  return `${paint(head, TONES[severity])}  ${message}${tail === '' ? '' : `  (${tail})`}\n`;
}
