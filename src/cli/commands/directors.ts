/** `director drain|undrain|confirm-dead|list`. */
import type { Command } from 'commander';
import { ChangeResult, DirectorList } from '../../api/schemas/responses.ts';
import { parseAnswer, printChange } from '../answers.ts';
import { type CliIo, EXIT, type ExitCode } from '../context.ts';
import { openSession } from '../session.ts';
import { addConfirmDead } from './confirm-dead.ts';
import { formatDirectors } from '../status-view.ts';

export function addDirectorCommands(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  const director = program
    .command('director')
    .description('drain, confirm dead and list directors');
  for (const [verb, description] of [
    ['drain', 'move its VIP groups away and keep it from taking any'],
    ['undrain', 'let it take VIP groups again'],
  ] as const)
    director
      .command(verb)
      .description(description)
      .argument('<name>', 'the director')
      .requiredOption('--reason <text>', 'needed: why; kept in the audit')
      .option('--dry-run', 'check everything, change nothing')
      .action(
        async (name: string, options: { reason: string; dryRun?: boolean }, command: Command) => {
          const { client } = await openSession(io, command);
          const query = options.dryRun === true ? '?dryRun=true' : '';
          const answer = await client.call({
            method: 'POST',
            path: `/api/v1/directors/${encodeURIComponent(name)}/${verb}${query}`,
            body: { reason: options.reason },
            isRepeatable: true,
          });
          printChange(io, parseAnswer(ChangeResult, answer.body));
          done(EXIT.ok);
        },
      );
  addConfirmDead(director, io, done);
  director
    .command('list')
    .description('all directors and what they hold')
    .action(async (_options: object, command: Command) => {
      const { client } = await openSession(io, command);
      const answer = await client.call({ method: 'GET', path: '/api/v1/directors' });
      const { directors } = parseAnswer(DirectorList, answer.body);
      io.stdout(formatDirectors(directors, { isWide: true, columns: io.columns }));
      done(EXIT.ok);
    });
}
