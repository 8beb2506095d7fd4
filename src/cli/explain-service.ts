/** A virtual service, or one of its real servers, in sentences: what it has, what it should have, why, and what to do. */
import type { RealServerStatus, ServiceStatus, StatusDocument } from '../model/status.ts';
import type { QuorumStatus } from '../model/status-ipvs.ts';
import { countWords, drainWords, formatAge, formatBytes } from './service-words.ts';

type Traffic = NonNullable<ServiceStatus['counters']>;

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
const page = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

export function explainService(status: StatusDocument, service: ServiceStatus): string {
  const { director } = status;
  return page([
    `Virtual service ${service.name}: ${stateOf(service)}   (seen by ${director})`,
    ...indent([
      ...placeLines(service),
      ...holderLines(status, service),
      ...quorumLines(service.quorum),
      ...(service.explanation ?? []).filter((line) => !isOfQuorum(line, service)),
      ...sorryLines(service),
      ...trafficLines(service),
    ]),
    '',
    'Real servers:',
    ...indent(service.realServers.map((server) => realServerLine(server))),
    ...leavingLines(service),
    ...settingLines(status),
  ]);
}

/** What is to be said of kernel settings concerns services of one kind or another. */
function settingLines({ director, ipvs }: StatusDocument): readonly string[] {
  const { settings = [] } = ipvs;
  if (settings.length === 0) return [];
  return [
    '',
    `Kernel settings of ${director}:`,
    ...indent(settings.map(({ severity, text }) => `${severity}: ${text}`)),
  ];
}

function stateOf({ isHere, problem, isProgrammed, quorum, sorryServer }: ServiceStatus): string {
  if (problem !== null) return 'not as wanted';
  if (isHere === false) return 'cold standby';
  if (!isProgrammed) return 'not in the table';
  if (quorum?.isUp !== false) return 'served';
  return sorryServer?.isActive === true ? 'the sorry server answers' : 'without its quorum';
}

function placeLines({ keys, scheduler, problem, isHere }: ServiceStatus): readonly string[] {
  const shown = keys.slice(0, 5).join(', ');
  const more = keys.length > 5 ? ` and ${keys.length - 5} more` : '';
  const lines = [`${shown}${more}; scheduler ${scheduler}`];
  if (problem !== null) lines.push(`NOT AS WANTED: ${problem}`);
  // The sentences of the service say it where they are there.
  if (isHere === false && problem === null)
    lines.push('ask the director that holds its group (--api) what it does there');
  return lines;
}

function holderLines({ groups }: StatusDocument, { group }: ServiceStatus): readonly string[] {
  const found = groups.find(({ name }) => name === group);
  const holder = found?.holder ?? 'nobody';
  return [`group ${group}, held by ${holder}: leasehold explain group ${group}`];
}

/** What the line of the quorum says with more. */
const isOfQuorum = (line: string, { quorum }: ServiceStatus): boolean =>
  quorum !== undefined && line.startsWith('the quorum is ');

function quorumLines(quorum: QuorumStatus | undefined): readonly string[] {
  if (quorum === undefined) return [];
  const { isUp, forMs, live, total, upAt, downBelow, isLowered } = quorum;
  const lowered = isLowered
    ? ' (all weights together are less than what the document asks for)'
    : '';
  const since = forMs === null ? 'as long as this director knows' : `for ${formatAge(forMs)}`;
  return [
    `quorum ${isUp ? 'there' : 'lost'} ${since}: live weight ${live} of ${total}; lost below ${downBelow}, back at ${upAt}${lowered}`,
  ];
}

const SORRY: Readonly<Record<string, string>> = {
  idle: 'idle: the quorum is there',
  inhibited: 'in the table with weight 0: the quorum is there',
  answering: 'answers: the quorum is lost',
  'held-back': 'held back: the quorum is lost, but fail-open keeps the real servers in',
  elsewhere: 'not here: cold standby',
};

function sorryLines({ sorryServer }: ServiceStatus): readonly string[] {
  if (sorryServer === null) return [];
  const { id, state, isActive } = sorryServer;
  const words = state === undefined ? undefined : SORRY[state];
  return [`sorry server ${id}: ${words ?? (isActive ? 'answers' : 'idle')}`];
}

function trafficLines({ connections, counters, rates }: ServiceStatus): readonly string[] {
  if (connections === undefined || counters === undefined || rates === undefined) return [];
  return [
    `connections on this director: ${countWords(connections)}`,
    `now: ${rateWords(rates)}`,
    `since the start or the last zero: ${counterWords(counters)}`,
  ];
}

const rateWords = ({ connections, packetsIn, packetsOut, bytesIn, bytesOut }: Traffic): string =>
  `${connections} connections/s, ${packetsIn} packets/s in and ${packetsOut} out, ${formatBytes(bytesIn)}/s in and ${formatBytes(bytesOut)}/s out`;

const counterWords = ({ connections, packetsIn, packetsOut, bytesIn, bytesOut }: Traffic): string =>
  `${connections} connections, ${packetsIn} packets in and ${packetsOut} out, ${formatBytes(bytesIn)} in and ${formatBytes(bytesOut)} out`;

function realServerLine(server: RealServerStatus): string {
  const { id, health, explanation } = server;
  const told = explanation ?? null;
  return `${id}: ${health}, ${weightWords(server)}${told === null ? '' : `; ${told}`}`;
}

function weightWords({ weight, wantedWeight, kernelWeight }: RealServerStatus): string {
  const wanted = kernelWeight === wantedWeight ? '' : `, wanted ${wantedWeight ?? 'out of it'}`;
  if (kernelWeight === null) return `not in the table (weight ${weight})${wanted}`;
  return `weight ${kernelWeight}${kernelWeight === weight ? '' : ` of ${weight}`}${wanted}`;
}

function leavingLines({ leaving = [] }: ServiceStatus): readonly string[] {
  if (leaving.length === 0) return [];
  return [
    '',
    'No longer in the document, and still connected:',
    ...indent(leaving.map((one) => `${one.id}: ${drainWords(one)}`)),
  ];
}

export function explainRealServer(
  status: StatusDocument,
  service: ServiceStatus,
  server: RealServerStatus,
): string {
  const { director } = status;
  const { id, health, adminReason, admin, forward } = server;
  const told = server.explanation ?? null;
  const why = adminReason === null ? '' : ` (${adminReason})`;
  return page([
    `Real server ${service.name}/${id}: ${health}   (seen by ${director})`,
    ...indent([
      `${weightWords(server)}${forward === undefined ? '' : `, forwarded by ${forward}`}`,
      ...(told === null ? [] : [told]),
      ...(admin === 'ready' ? [] : [`an operator: ${admin}${why}; leasehold rs ready ends it`]),
      ...drainLines(server),
      ...rampLines(server),
      ...connectionLines(server),
    ]),
  ]);
}

function drainLines({ drain }: RealServerStatus): readonly string[] {
  if (drain === undefined) return [];
  return [`drained for ${formatAge(drain.forMs)}: ${drainWords(drain)}`];
}

function rampLines({ ramp }: RealServerStatus): readonly string[] {
  if (ramp === undefined) return [];
  const left =
    ramp.remainingMs === null ? '' : `, the full weight in ${formatAge(ramp.remainingMs)}`;
  return [`slow start: weight ${ramp.weight} of ${ramp.of}${left}`];
}

function connectionLines(server: RealServerStatus): readonly string[] {
  const { activeConnections, inactiveConnections, persistentConnections, counters, rates } = server;
  if (activeConnections === null || inactiveConnections === null) return [];
  const count = {
    active: activeConnections,
    inactive: inactiveConnections,
    persistent: persistentConnections ?? 0,
  };
  return [
    `connections on this director: ${countWords(count)}`,
    ...(rates === undefined ? [] : [`now: ${rateWords(rates)}`]),
    ...(counters === undefined
      ? []
      : [`since the start or the last zero: ${counterWords(counters)}`]),
  ];
}

const BASIS: Readonly<Record<RealServerStatus['basis'], string>> = {
  majority: 'The majority of these votes decides:',
  kept: 'There are no votes now, and the last verdict stands:',
  initial: 'Nobody has voted yet, and what the document says for that stands:',
  alone: 'etcd is away: what this director finds decides here, not these votes:',
  unchecked: 'No check is configured, so it counts as up.',
};

/** What the status itself tells: of a director that tells no more. */
export function explainVotes({ basis, votes }: RealServerStatus): string {
  const lines = votes.map(
    ({ director, isUp, since, detail }) =>
      `${director}: ${isUp ? 'up' : 'DOWN'} since ${since} (${detail})`,
  );
  return page([BASIS[basis], ...indent(lines)]);
}
