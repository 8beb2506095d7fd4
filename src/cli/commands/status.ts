/** `status`: the cluster on a screen, once or again and again. */
import { type Command, Option } from 'commander';
import { StatusDocument } from '../../model/status.ts';
import { parseAnswer } from '../answers.ts';
import { type CliIo, EXIT, type ExitCode } from '../context.ts';
import { formatValue, openSession, type Session, unlessAway } from '../session.ts';
import { formatStatus } from '../status-view.ts';

const WATCH_MS = 2000;
/** Clears the screen and goes to its first place (ECMA-48 ED, CUP). */
const CLEAR = '\u001B[2J\u001B[H';
const EXIT_OF_HEALTH = { ok: EXIT.ok, degraded: EXIT.degraded, down: EXIT.down } as const;

type Format = 'table' | 'wide' | 'json' | 'yaml';

export function addStatusCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  program
    .command('status')
    .description('who holds what, what is up; exit code 0 ok, 1 degraded, 7 down')
    .addOption(
      new Option('-o, --output <format>')
        .choices(['table', 'wide', 'json', 'yaml'])
        .default('table'),
    )
    .option('-w, --watch', 'again every two seconds, until interrupted')
    .action(async (options: { output: Format; watch?: boolean }, command: Command) => {
      const session = await openSession(io, command);
      const isWatching = options.watch === true;
      const clear = isWatching && io.isTerminal ? CLEAR : '';
      const show = (status: StatusDocument): void => {
        io.stdout(clear + formatAs(status, options.output, session));
        done(EXIT_OF_HEALTH[status.health]);
      };
      show(await fetchStatus(session));
      while (isWatching) {
        await io.clock.sleep(WATCH_MS, io.signal);
        if (io.signal.aborted) return;
        const status = await unlessAway(io, () => fetchStatus(session));
        if (status === null) io.stderr('no director answers; trying again\n');
        else show(status);
      }
    });
}

export async function fetchStatus({ client }: Session): Promise<StatusDocument> {
  const answer = await client.call({ method: 'GET', path: '/api/v1/status' });
  return parseAnswer(StatusDocument, answer.body);
}

function formatAs(status: StatusDocument, format: Format, { io, paint }: Session): string {
  if (format === 'json' || format === 'yaml') return formatValue(status, format);
  return formatStatus(status, { isWide: format === 'wide', columns: io.columns, paint });
}
