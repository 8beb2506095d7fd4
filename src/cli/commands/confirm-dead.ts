/** `director confirm-dead NAME`: says what it risks, asks, and gives the word about the session that was shown. */
import type { Command } from 'commander';
import { ChangeResult, DirectorList } from '../../api/schemas/responses.ts';
import { parseAnswer, printChange, printWarnings } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { openSession, type Session } from '../session.ts';
import { formatAge } from '../service-words.ts';

type Options = { readonly reason: string; readonly dryRun?: boolean; readonly yes?: boolean };

export function addConfirmDead(director: Command, io: CliIo, done: (code: ExitCode) => void): void {
  director
    .command('confirm-dead')
    .description('say that it is off, where nobody that is left may take over from it')
    .argument('<name>', 'the director')
    .requiredOption('--reason <text>', 'needed: how you know; kept in the audit')
    .option('--dry-run', 'check everything, change nothing')
    .option('-y, --yes', 'do not ask whether it is off')
    .action(async (name: string, options: Options, command: Command) => {
      done(await confirmDead(await openSession(io, command), name, options));
    });
}

async function confirmDead(session: Session, name: string, options: Options): Promise<ExitCode> {
  const { io } = session;
  const meant = await sessionOf(session, name);
  const wanted = { reason: options.reason, ...(meant === null ? {} : { session: meant }) };
  // Whatever speaks against it is told before anybody is asked.
  const expected = await post(session, name, wanted, true);
  if (options.dryRun === true || !expected.changed) {
    printChange(io, { ...expected, dryRun: options.dryRun === true });
    return EXIT.ok;
  }
  printWarnings(io, expected.warnings);
  if (options.yes !== true) {
    if (io.ask === null)
      throw new CliError(
        EXIT.badInput,
        `nobody can be asked here whether ${name} is off; say so with --yes`,
      );
    if (
      !/^y(es)?$/i.test(
        await io.ask(`Is ${name} off, by your own eyes or its power switch? [y/N] `),
      )
    ) {
      io.stdout('nothing was confirmed\n');
      return EXIT.precondition;
    }
  }
  // They were printed before the question.
  printChange(io, { ...(await post(session, name, wanted, false)), warnings: [] });
  io.stdout(
    'It is challenged now, and shut out when it leaves that unanswered: leasehold status\n',
  );
  return EXIT.ok;
}

/** The session that is shown, so that the word is about no other; null where the API has to say what is the case. */
async function sessionOf({ client, io }: Session, name: string): Promise<number | null> {
  const answer = await client.call({ method: 'GET', path: '/api/v1/directors' });
  const { directors } = parseAnswer(DirectorList, answer.body);
  const silence = directors.find((one) => one.name === name)?.silence;
  if (silence === undefined) return null;
  io.stdout(`${name}: session ${silence.session}, not heard for ${formatAge(silence.forMs)}\n`);
  return silence.session;
}

async function post(
  { client }: Session,
  name: string,
  body: object,
  isDry: boolean,
): Promise<ChangeResult> {
  const answer = await client.call({
    method: 'POST',
    path: `/api/v1/directors/${encodeURIComponent(name)}/confirm-dead${isDry ? '?dryRun=true' : ''}`,
    body,
    isRepeatable: true,
  });
  return parseAnswer(ChangeResult, answer.body);
}
