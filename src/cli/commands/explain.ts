/** `explain group|service|rs`: why something is as it is, and what to do, in sentences. */
import type { Command } from 'commander';
import type { RealServerStatus, ServiceStatus, StatusDocument } from '../../model/status.ts';
import { type CliIo, CliError, EXIT, type ExitCode } from '../context.ts';
import { CheckReports } from '../../model/status-checks.ts';
import { parseAnswer } from '../answers.ts';
import { explainChecks } from '../explain-checks.ts';
import { explainRealServer, explainService, explainVotes } from '../explain-service.ts';
import { explainGroup } from '../explain-view.ts';
import { matchRealServers, parseTarget, TARGET } from '../real-server-target.ts';
import { openSession, type Session } from '../session.ts';
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
  explain
    .command('rs')
    .description(
      'why a real server has its weight, who says what of it, and what would change that',
    )
    .argument('<target>', TARGET)
    .action(async (target: string, _options: object, command: Command) => {
      const session = await openSession(io, command);
      const { service, server, words } = explainTarget(await fetchStatus(session), target);
      const checks = await checksOf(session, service, server.id);
      io.stdout(`${words}\n${checks === null ? explainVotes(server) : explainChecks(checks)}`);
      done(EXIT.ok);
    });
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

function explainTarget(
  status: StatusDocument,
  target: string,
): { readonly service: string; readonly server: RealServerStatus; readonly words: string } {
  const named = parseTarget(target, undefined);
  const service = find('virtual service', named.service, status.services);
  const server = realServerOf(service, named.realServer);
  const words = explainRealServer(status, service, server);
  return { service: service.name, server, words };
}

/** Null: the director tells nothing of them, as one of an older version. */
async function checksOf(
  { client }: Session,
  service: string,
  server: string,
): Promise<CheckReports | null> {
  const names = [service, server].map(encodeURIComponent);
  const path = `/api/v1/services/${names[0]}/real-servers/${names[1]}/checks`;
  try {
    const { body } = await client.call({ method: 'GET', path });
    const reports = parseAnswer(CheckReports, body);
    return reports.checks.length === 0 ? null : reports;
  } catch (error) {
    if (error instanceof CliError) return null;
    throw error;
  }
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
