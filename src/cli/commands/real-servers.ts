/** `rs drain|undrain|ready|maint|weight`. */
import type { Command } from 'commander';
import { ChangeResult } from '../../api/schemas/responses.ts';
import { parseAnswer, printChange } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { awaitDrain } from '../drain-end.ts';
import { parseTarget, type RealServerTarget, TARGET } from '../real-server-target.ts';
import { openSession, requireDuration, type Session } from '../session.ts';

type Done = (code: ExitCode) => void;
type Options = { readonly reason: string; readonly service?: string; readonly dryRun?: boolean };
type DrainOptions = Options & { readonly deadline?: string; readonly wait?: string };

const WEIGHT_MAX = 0x7fff_ffff;

export function addRealServerCommands(program: Command, io: CliIo, done: Done): void {
  const rs = program.command('rs').description('override one real server of a virtual service');
  addDrain(rs, io, done);
  for (const [verb, tail, description] of [
    ['ready', 'ready', 'end a drain or a maintenance'],
    ['undrain', 'ready', 'the same as ready'],
    ['maint', 'maint', 'take it out of the IPVS tables at once: its connections are cut'],
  ] as const)
    addCommon(rs.command(verb).description(description)).action(
      async (target: string, options: Options, command: Command) => {
        const session = await openSession(io, command);
        await post(session, {
          options,
          target: parseTarget(target, options.service),
          tail,
          body: {},
        });
        done(EXIT.ok);
      },
    );
  addCommon(rs.command('weight').description('another weight than the cluster document says'))
    .argument('<weight>', `0 to ${WEIGHT_MAX}, or "default" for that of the cluster document`)
    .action(async (target: string, text: string, options: Options, command: Command) => {
      const body = parseWeight(text);
      const session = await openSession(io, command);
      const named = parseTarget(target, options.service);
      await post(session, { options, target: named, tail: 'weight', body });
      done(EXIT.ok);
    });
}

function addDrain(rs: Command, io: CliIo, done: Done): void {
  addCommon(
    rs
      .command('drain')
      .description('weight 0: connections stay until they are gone, new ones go elsewhere'),
  )
    .option(
      '--deadline <duration>',
      'who is still connected then is cut off; "none": as long as it takes; default: as the service says',
    )
    .option(
      '--wait <duration>',
      'show the progress until it is over; exit code 4 when it takes longer',
    )
    .action(async (target: string, options: DrainOptions, command: Command) => {
      const { deadline, wait } = options;
      const body = deadline === undefined ? {} : { deadlineMs: readDeadline(deadline) };
      const waitMs = wait === undefined ? 0 : requireDuration(wait, '--wait');
      const named = parseTarget(target, options.service);
      const session = await openSession(io, command);
      await post(session, { options, target: named, tail: 'drain', body });
      done(
        options.dryRun === true || waitMs === 0
          ? EXIT.ok
          : await awaitDrain(session, named, waitMs),
      );
    });
}

/** "none" is as long as it takes: 0 for the API. */
function readDeadline(text: string): number {
  if (text === 'none') return 0;
  const ms = requireDuration(text, '--deadline');
  if (ms >= 1000) return ms;
  throw new CliError(
    EXIT.badInput,
    `--deadline: "${text}" is too short; write 1s or more, "none", or use rs maint to take it out at once`,
  );
}

const addCommon = (command: Command): Command =>
  command
    .argument('<target>', TARGET)
    .requiredOption('--reason <text>', 'needed: why; kept in the audit')
    .option('--service <name>', 'the virtual service, where the target does not name it')
    .option('--dry-run', 'check everything, change nothing');

function parseWeight(text: string): { readonly weight: number | null } {
  if (text === 'default') return { weight: null };
  if (!/^\d{1,10}$/.test(text) || Number(text) > WEIGHT_MAX)
    throw new CliError(
      EXIT.badInput,
      `"${text}" is no weight; write 0 to ${WEIGHT_MAX}, or "default"`,
    );
  return { weight: Number(text) };
}

async function post(
  { client, io }: Session,
  request: {
    readonly options: Options;
    readonly target: RealServerTarget;
    readonly tail: string;
    readonly body: object;
  },
): Promise<void> {
  const { options, tail } = request;
  const { service, realServer } = request.target;
  const place = `/api/v1/services/${encodeURIComponent(service)}/real-servers/${encodeURIComponent(realServer)}`;
  const answer = await client.call({
    method: 'POST',
    path: `${place}/${tail}${options.dryRun === true ? '?dryRun=true' : ''}`,
    body: { ...request.body, reason: options.reason },
    isRepeatable: true,
  });
  printChange(io, parseAnswer(ChangeResult, answer.body));
}
