/** `explain group|service|rs`: why something is as it is, and what to do, in sentences. */
import type { Command } from 'commander';
import type { RealServerStatus, ServiceStatus, StatusDocument } from '../../model/status.ts';
import { type CliIo, CliError, EXIT, type ExitCode } from '../context.ts';
import { explainRealServer, explainService } from '../explain-service.ts';
import { explainGroup } from '../explain-view.ts';
import { matchRealServers, parseTarget, TARGET } from '../real-server-target.ts';
import { openSession } from '../session.ts';
import { fetchStatus } from './status.ts';

export function addExplainCommand(
  program: Command,
  io: CliIo,
  done: (code: ExitCode) => void,
): void {
  const explain = program
    .command('explain')
    .description('why something is as it is, and what to do');
  const add = (spec: readonly [string, string, string, string], words: Words): void => {
    const [name, description, argument, meaning] = spec;
    explain
      .command(name)
      .description(description)
      .argument(argument, meaning)
      .action(async (target: string, _options: object, command: Command) => {
        const status = await fetchStatus(await openSession(io, command));
        io.stdout(words(status, target));
        done(EXIT.ok);
      });
  };
  add(
    [
      'group',
      'who holds a VIP group, why, and what keeps the others from it',
      '<name>',
      'the VIP group',
    ],
    (status, name) => explainGroup(status, find('VIP group', name, status.groups)),
  );
  add(
    [
      'service',
      'what a virtual service does, its quorum, its traffic',
      '<name>',
      'the virtual service',
    ],
    (status, name) => explainService(status, find('virtual service', name, status.services)),
  );
  add(
    ['rs', 'why a real server has its weight, and how far a drain is', '<target>', TARGET],
    explainTarget,
  );
}

type Words = (status: StatusDocument, target: string) => string;

function find<T extends { readonly name: string }>(
  kind: string,
  name: string,
  all: readonly T[],
): T {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw unknown(
    kind,
    name,
    all.map((one) => one.name),
  );
}

function unknown(kind: string, name: string, known: readonly string[]): CliError {
  const list = known.length === 0 ? 'there are none' : `known: ${known.slice(0, 100).join(', ')}`;
  return new CliError(EXIT.badInput, `there is no ${kind} "${name}"; ${list}`);
}

function explainTarget(status: StatusDocument, target: string): string {
  const named = parseTarget(target, undefined);
  const service = find('virtual service', named.service, status.services);
  return explainRealServer(status, service, realServerOf(service, named.realServer));
}

/** By its id, or by its address where the service has it once. */
function realServerOf(service: ServiceStatus, text: string): RealServerStatus {
  const matches = matchRealServers(service, text);
  const [found, ...others] = matches;
  if (found !== undefined && others.length === 0) return found;
  throw unknown(
    `single real server of ${service.name}`,
    text,
    (matches.length > 0 ? matches : service.realServers).map(({ id }) => id),
  );
}
