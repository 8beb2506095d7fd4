/** `rs drain|ready|maint|weight`. */
import type { Command } from 'commander';
import { ChangeResult } from '../../api/schemas/responses.ts';
import { parseAnswer, printChange } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { openSession } from '../session.ts';

type Done = (code: ExitCode) => void;
type Options = { readonly reason: string; readonly service?: string; readonly dryRun?: boolean };

const TARGET = 'SERVICE/ADDRESS[:PORT]; the port may be left out where the address is unique';

export function addRealServerCommands(program: Command, io: CliIo, done: Done): void {
  const rs = program.command('rs').description('override one real server of a virtual service');
  for (const [verb, description] of [
    ['drain', 'weight 0: connections stay, new ones go elsewhere'],
    ['ready', 'end a drain or a maintenance'],
    ['maint', 'take it out of the IPVS tables'],
  ] as const)
    addCommon(rs.command(verb).description(description)).action(
      async (target: string, options: Options, command: Command) => {
        await post({ io, command, options, target, tail: verb, body: {} });
        done(EXIT.ok);
      },
    );
  addCommon(rs.command('weight').description('another weight than the cluster document says'))
    .argument('<weight>', '0 to 65535, or "default" for that of the cluster document')
    .action(async (target: string, text: string, options: Options, command: Command) => {
      await post({ io, command, options, target, tail: 'weight', body: parseWeight(text) });
      done(EXIT.ok);
    });
}

const addCommon = (command: Command): Command =>
  command
    .argument('<target>', TARGET)
    .requiredOption('--reason <text>', 'why; kept in the audit')
    .option('--service <name>', 'the virtual service, where the target does not name it')
    .option('--dry-run', 'check everything, change nothing');

function parseWeight(text: string): { readonly weight: number | null } {
  if (text === 'default') return { weight: null };
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535)
    throw new CliError(EXIT.badInput, `"${text}" is no weight; write 0 to 65535, or "default"`);
  return { weight: Number(text) };
}

async function post(request: {
  readonly io: CliIo;
  readonly command: Command;
  readonly options: Options;
  readonly target: string;
  readonly tail: string;
  readonly body: object;
}): Promise<void> {
  const { io, command, options, tail } = request;
  const { service, realServer } = parseTarget(request.target, options.service);
  const { client } = await openSession(io, command);
  const place = `/api/v1/services/${encodeURIComponent(service)}/real-servers/${encodeURIComponent(realServer)}`;
  const answer = await client.call({
    method: 'POST',
    path: `${place}/${tail}${options.dryRun === true ? '?dryRun=true' : ''}`,
    body: { ...request.body, reason: options.reason },
    isRepeatable: true,
  });
  printChange(io, parseAnswer(ChangeResult, answer.body));
}

function parseTarget(
  target: string,
  service: string | undefined,
): { readonly service: string; readonly realServer: string } {
  const slash = target.indexOf('/');
  if (slash < 0 && service !== undefined) return { service, realServer: target };
  const named = target.slice(0, Math.max(slash, 0));
  if (named === '' || (service !== undefined && service !== named))
    throw new CliError(
      EXIT.badInput,
      `"${target}" does not name a real server; write ${TARGET} (see: leasehold status)`,
    );
  return { service: named, realServer: target.slice(slash + 1) };
}
