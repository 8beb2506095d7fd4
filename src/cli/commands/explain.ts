/** `explain group NAME`: why it is where it is, and what keeps each director from taking it, in sentences. */
import type { Command } from 'commander';
import { StatusDocument } from '../../model/status.ts';
import { parseAnswer } from '../answers.ts';
import { type CliIo, CliError, EXIT, type ExitCode } from '../context.ts';
import { explainGroup } from '../explain-view.ts';
import { openSession } from '../session.ts';

export function addExplainCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  program
    .command('explain')
    .description('why something is as it is, and what to do')
    .command('group')
    .description('who holds a VIP group, why, and what keeps the others from it')
    .argument('<name>', 'the VIP group')
    .action(async (name: string, _options: object, command: Command) => {
      const { client } = await openSession(io, command);
      const answer = await client.call({ method: 'GET', path: '/api/v1/status' });
      const status = parseAnswer(StatusDocument, answer.body);
      const group = status.groups.find((one) => one.name === name);
      if (group === undefined) {
        const known = status.groups.map((one) => one.name).join(', ');
        throw new CliError(
          EXIT.badInput,
          `there is no VIP group "${name}"; ${known === '' ? 'there are none' : `known: ${known}`}`,
        );
      }
      io.stdout(explainGroup(status, group));
      done(EXIT.ok);
    });
}
