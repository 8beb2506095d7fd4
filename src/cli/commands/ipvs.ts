/** `ipvs list|conns|zero`: the kernel of one director, as ipvsadm shows it. */
import type { Command } from 'commander';
import { createLineCheck } from '../../api/schemas/check-answer.ts';
import { ZeroResult } from '../../api/schemas/responses.ts';
import {
  ConnectionLine,
  FailureRow,
  type TableHeadRow,
  TableRow,
} from '../../model/ipvs-listing.ts';
import { parseAnswer } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import {
  formatConnection,
  formatConnectionsHead,
  formatDaemons,
  formatDestination,
  formatService,
  formatTableHead,
  formatTimeouts,
  type ListLook,
  type TableLook,
} from '../ipvsadm-view.ts';
import { openSession, type Session } from '../session.ts';

type Done = (code: ExitCode) => void;

export function addIpvsCommands(program: Command, io: CliIo, done: Done): void {
  const ipvs = program
    .command('ipvs')
    .description('the IPVS table, connections and counters of the director that is asked');
  addList(ipvs, io, done);
  addConns(ipvs, io, done);
  addZero(ipvs, io, done);
}

const LOOKS = {
  stats: 'counters since the start or the last zero',
  rate: 'rates a second',
  conns: 'weights and connections, persistence templates too (as --persistent-conn)',
  thresholds: 'thresholds and connections',
  tunInfo: 'tunnels and connections',
  timeouts: 'the timeouts alone',
  daemons: 'the sync daemons alone',
} as const;
type LookOption = keyof typeof LOOKS;

const TABLE_LOOKS: Readonly<Partial<Record<LookOption, TableLook>>> = {
  stats: 'stats',
  rate: 'rate',
  conns: 'conns',
  thresholds: 'thresholds',
  tunInfo: 'tunnels',
};

type ListOptions = Partial<Record<LookOption, boolean>> & {
  readonly persistentConn?: boolean;
  readonly exact?: boolean;
  readonly json?: boolean;
  readonly service?: string;
};

function addList(ipvs: Command, io: CliIo, done: Done): void {
  ipvs
    .command('list')
    .description(
      'services and real servers in the columns of "ipvsadm -L -n"; # tells what is special',
    )
    .option('--stats', LOOKS.stats)
    .option('--rate', LOOKS.rate)
    .option('--conns', LOOKS.conns)
    .option('--persistent-conn', 'the same as --conns')
    .option('--thresholds', LOOKS.thresholds)
    .option('--tun-info', LOOKS.tunInfo)
    .option('--timeouts', LOOKS.timeouts)
    .option('--daemons', LOOKS.daemons)
    .option('-n, --numeric', 'always so; taken from habit')
    .option('--exact', 'large numbers in full')
    .option('--service <name>', 'a virtual service, or one of the table: "tcp 10.90.0.100:80"')
    .option('--json', 'a line of JSON for each row')
    .action(async (options: ListOptions, command: Command) => {
      const look = lookOf(options);
      const session = await openSession(io, command);
      const query =
        options.service === undefined ? '' : `?service=${encodeURIComponent(options.service)}`;
      const path = `/api/v1/ipvs/table${query}`;
      if (options.json === true) await printJson(session, path);
      else await printTable(session, path, { look, isExact: options.exact === true });
      done(EXIT.ok);
    });
}

/** Throws a `CliError` where two of them exclude each other. */
function lookOf(options: ListOptions): LookOption | null {
  const given = LOOK_OPTIONS.filter((name) => options[name] === true);
  if (options.persistentConn === true && options.conns !== true) given.push('conns');
  if (given.length > 1)
    throw new CliError(
      EXIT.badInput,
      `error: ${given.map(optionOf).join(' and ')} exclude each other; choose one`,
    );
  return given[0] ?? null;
}

const isLookOption = (name: string): name is LookOption => Object.hasOwn(LOOKS, name);
const LOOK_OPTIONS = Object.keys(LOOKS).filter(isLookOption);
const optionOf = (name: LookOption): string => (name === 'tunInfo' ? '--tun-info' : `--${name}`);

/** Rows that are printed at once: some hundred kilobytes. */
const ROWS_AT_ONCE = 1000;

type PrintLook = Pick<ListLook, 'isExact'> & { readonly look: LookOption | null };

async function printTable(session: Session, path: string, print: PrintLook): Promise<void> {
  const look = print.look === null ? undefined : TABLE_LOOKS[print.look];
  const table: ListLook = { look: look ?? 'plain', isExact: print.isExact };
  let isWhole = false;
  await printLines(session, path, (line) => {
    const row = parseLine(checkTableRow, line);
    switch (row.kind) {
      case 'table':
        return headOf(row, print.look, table);
      case 'service':
        return isBeside(print.look) ? '' : formatService(row, table);
      case 'destination':
        return isBeside(print.look) ? '' : formatDestination(row, table);
      case 'end':
        isWhole = true;
        return '';
    }
  });
  if (!isWhole && !session.io.signal.aborted) throw brokenOff();
}

const isBeside = (look: LookOption | null): boolean => look === 'timeouts' || look === 'daemons';

function headOf(row: TableHeadRow, look: LookOption | null, table: ListLook): string {
  if (look === 'timeouts') return formatTimeouts(row);
  return look === 'daemons' ? formatDaemons(row) : formatTableHead(row, table);
}

async function printJson(session: Session, path: string): Promise<void> {
  let last = '';
  await printLines(session, path, (line) => {
    last = line;
    return `${line}\n`;
  });
  if (last.startsWith('{"kind":"failure"')) throw failed(parseLine(checkFailureRow, last).detail);
  const isWhole = last.startsWith('{"kind":"end"');
  if (!isWhole && !session.io.signal.aborted) throw brokenOff();
}

/** No more of them are held than are printed at once. */
async function printLines(
  { client, io }: Session,
  path: string,
  format: (line: string) => string,
): Promise<void> {
  let text = '';
  let rows = 0;
  const flush = async (): Promise<void> => {
    io.stdout(text);
    text = '';
    rows = 0;
    await io.written();
  };
  for await (const line of client.stream({ path }, io.signal)) {
    if (line.startsWith(':')) break;
    text += format(line);
    if (++rows >= ROWS_AT_ONCE) await flush();
    if (io.signal.aborted) return;
  }
  await flush();
}

const checkTableRow = createLineCheck(TableRow);
const checkConnectionLine = createLineCheck(ConnectionLine);
const checkFailureRow = createLineCheck(FailureRow);

function parseLine<T>(
  check: (
    line: string,
  ) => { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string },
  line: string,
): T {
  const row = check(line);
  if (row.ok) return row.value;
  throw new CliError(
    EXIT.unreachable,
    `the director answered something else than expected (${row.error}); is it of another version?`,
  );
}

const failed = (detail: string): CliError =>
  new CliError(EXIT.unreachable, `the list broke off: ${detail}`);

const brokenOff = (): CliError =>
  new CliError(
    EXIT.unreachable,
    'the list broke off: the director ended it. It cuts off who takes nothing for 30 seconds, or too little for long: write to a file, or ask for less (--service, --limit).',
  );

type ConnsOptions = {
  readonly service?: string;
  readonly limit?: string;
  readonly templates?: boolean;
  readonly persistentConn?: boolean;
  readonly json?: boolean;
};

function addConns(ipvs: Command, io: CliIo, done: Done): void {
  ipvs
    .command('conns')
    .description('connections in the columns of "ipvsadm -L -c -n", in the order of the kernel')
    .option('--service <name>', 'those of a virtual service')
    .option('--limit <count>', 'at most so many', '1000000')
    .option('--templates', 'persistence templates alone')
    .option('--persistent-conn', 'with the data of persistence engines')
    .option('-n, --numeric', 'always so; taken from habit')
    .option('--json', 'a line of JSON for each connection')
    .action(async (options: ConnsOptions, command: Command) => {
      const session = await openSession(io, command);
      const path = `/api/v1/ipvs/connections?${connectionsQuery(options)}`;
      if (options.json === true) await printJson(session, path);
      else await printConnections(session, path, options.persistentConn === true);
      done(EXIT.ok);
    });
}

function connectionsQuery({ service, limit = '', templates }: ConnsOptions): string {
  if (!/^[1-9]\d{0,7}$/.test(limit) || Number(limit) > 10_000_000)
    throw new CliError(EXIT.badInput, `--limit: "${limit}" is none; write 1 to 10000000`);
  const parts = [`limit=${limit}`];
  if (service !== undefined) parts.push(`service=${encodeURIComponent(service)}`);
  if (templates === true) parts.push('templates=true');
  return parts.join('&');
}

async function printConnections(
  session: Session,
  path: string,
  withEngine: boolean,
): Promise<void> {
  const { io } = session;
  let ending: string | null = null;
  let isHeadDue = true;
  const head = (): string => {
    if (!isHeadDue) return '';
    isHeadDue = false;
    return formatConnectionsHead(withEngine);
  };
  await printLines(session, path, (line) => {
    const row = parseLine(checkConnectionLine, line);
    if (row.kind === 'connection') return head() + formatConnection(row, withEngine);
    if (row.kind === 'failure') throw failed(row.detail);
    ending = row.isWhole ? '' : `stopped after ${row.shown} connections (--limit)\n`;
    if (row.unreadable > 0)
      ending += `${row.unreadable} lines of the kernel are no connections that leasehold knows\n`;
    return head();
  });
  if (ending === null && !io.signal.aborted) throw brokenOff();
  io.stderr(ending ?? '');
}

type ZeroOptions = { readonly reason: string; readonly dryRun?: boolean };

function addZero(ipvs: Command, io: CliIo, done: Done): void {
  ipvs
    .command('zero')
    .description('set counters to 0, as "ipvsadm -Z", but never those of services of others')
    .argument('[service]', 'a virtual service; default: all of the cluster document')
    .requiredOption('--reason <text>', 'needed: why; kept in the audit')
    .option('--dry-run', 'check everything, change nothing')
    .action(async (service: string | undefined, options: ZeroOptions, command: Command) => {
      const { client } = await openSession(io, command);
      const answer = await client.call({
        method: 'POST',
        path: `/api/v1/ipvs/zero${options.dryRun === true ? '?dryRun=true' : ''}`,
        body: { reason: options.reason, ...(service === undefined ? {} : { service }) },
        isLocal: true,
      });
      const { dryRun, summary, services } = parseAnswer(ZeroResult, answer.body);
      const count = `${services} IPVS service${services === 1 ? '' : 's'}`;
      io.stdout(dryRun ? `dry run: ${summary}\n` : `${summary} (${count})\n`);
      done(EXIT.ok);
    });
}
