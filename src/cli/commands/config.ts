/** The cluster document: validate, diff, apply, get. */
import { type Command, Option } from 'commander';
import {
  ConfigDiff,
  ConfigDocument,
  ConfigResult,
  type DocumentChange,
} from '../../api/schemas/responses.ts';
import { parseClusterText } from '../../config/cluster-document.ts';
import { formatProblems } from '../../config/problem.ts';
import type { ClusterSpec } from '../../model/cluster.ts';
import { parseAnswer, printChange, printWarnings } from '../answers.ts';
import { CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { formatValue, loadText, openSession, type Session } from '../session.ts';

type Done = (code: ExitCode) => void;

export function addConfigCommands(program: Command, io: CliIo, done: Done): void {
  program
    .command('validate')
    .description('judge a cluster document; needs no director')
    .argument('[file]', 'the document, - for standard input')
    .option('-f, --file <file>', 'the same')
    .action(async (file: string | undefined, options: { file?: string }) => {
      const name = file ?? options.file;
      if (name === undefined) throw new CliError(EXIT.badInput, 'validate: name a file');
      const { spec } = await loadDocument(io, name);
      io.stdout(`${name}: valid (${countObjects(spec)})\n`);
      done(EXIT.ok);
    });
  program
    .command('diff')
    .description('show what an apply would change')
    .requiredOption('-f, --file <file>', 'the document, - for standard input')
    .action(async (options: { file: string }, command: Command) => {
      const judged = await loadDocument(io, options.file);
      const session = await openSession(io, command);
      const diff = await fetchDiff(session, judged);
      printDiff(session, diff);
      done(EXIT.ok);
    });
  addApply(program, io, done);
  addGet(program, io, done);
}

function addApply(program: Command, io: CliIo, done: Done): void {
  program
    .command('apply')
    .description('replace the cluster document')
    .requiredOption('-f, --file <file>', 'the document, - for standard input')
    .option('--confirm-shrink', 'apply although much would be removed')
    .option('--dry-run', 'check everything, change nothing')
    .option('-y, --yes', 'do not ask')
    .action(async (options: ApplyOptions, command: Command) => {
      const judged = await loadDocument(io, options.file);
      const session = await openSession(io, command);
      done(await apply(session, judged, options));
    });
}

type ApplyOptions = {
  readonly file: string;
  readonly confirmShrink?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
};

async function apply(session: Session, judged: Judged, options: ApplyOptions): Promise<ExitCode> {
  const { client, io } = session;
  const { confirmShrink = false, dryRun = false } = options;
  const diff = await fetchDiff(session, judged);
  printDiff(session, diff);
  const mayAsk = options.yes !== true && !dryRun && diff.changes.length > 0;
  if (mayAsk && io.ask !== null && !/^y(es)?$/i.test(await io.ask('Apply? [y/N] '))) {
    io.stdout('nothing was applied\n');
    return EXIT.precondition;
  }
  const guard =
    diff.revision === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${diff.revision}"` };
  const answer = await client.call({
    method: 'PUT',
    path: `/api/v1/config${dryRun ? '?dryRun=true' : ''}`,
    headers: guard,
    body: { document: judged.document, confirmShrink },
  });
  const result = parseAnswer(ConfigResult, answer.body);
  // The warnings were printed with the diff.
  printChange(io, { ...result, warnings: [] });
  if (result.revision !== null) io.stdout(`revision ${result.revision}\n`);
  return EXIT.ok;
}

function addGet(program: Command, io: CliIo, done: Done): void {
  program
    .command('get')
    .description('print the cluster document as it was applied')
    .addOption(new Option('-o, --output <format>').choices(['yaml', 'json']).default('yaml'))
    .action(async (options: { output: 'yaml' | 'json' }, command: Command) => {
      const { client } = await openSession(io, command);
      const answer = await client.call({ method: 'GET', path: '/api/v1/config' });
      const config = parseAnswer(ConfigDocument, answer.body);
      if (config.isStale)
        io.stderr('warning: the store does not answer; this is what the director saw last\n');
      if (options.output === 'yaml')
        io.stdout(
          `# revision ${config.revision}, applied by ${config.by ?? '?'} at ${config.at ?? '?'}\n`,
        );
      io.stdout(formatValue(config.document, options.output));
      done(EXIT.ok);
    });
}

type Judged = {
  readonly document: unknown;
  readonly spec: ClusterSpec;
  /** As they were printed. */
  readonly warnings: readonly string[];
};

/** Judged on this side, so that a bad document never leaves it; warnings are printed. */
async function loadDocument(io: CliIo, file: string): Promise<Judged> {
  const text = file === '-' ? await io.readStdin() : await loadText(file);
  const parsed = parseClusterText(text);
  if (!parsed.ok) {
    const count = parsed.error.length === 1 ? 'one problem' : `${parsed.error.length} problems`;
    throw new CliError(EXIT.badInput, `${file}: ${count}\n${formatProblems(parsed.error)}`);
  }
  const warnings = parsed.value.warnings.map(({ path, message }) => `${path}: ${message}`);
  printWarnings(io, warnings);
  return { ...parsed.value, warnings };
}

function countObjects({ directors, groups, services }: ClusterSpec): string {
  const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;
  const realServers = services.reduce((sum, service) => sum + service.realServers.length, 0);
  return [
    count(directors.length, 'director'),
    count(groups.length, 'VIP group'),
    count(services.length, 'virtual service'),
    count(realServers, 'real server'),
  ].join(', ');
}

/** Its warnings are those that only a director can give: the others were printed before. */
async function fetchDiff({ client }: Session, { document, warnings }: Judged): Promise<ConfigDiff> {
  const answer = await client.call({
    method: 'POST',
    path: '/api/v1/config/diff',
    body: { document },
    isRepeatable: true,
  });
  const diff = parseAnswer(ConfigDiff, answer.body);
  return { ...diff, warnings: diff.warnings.filter((warning) => !warnings.includes(warning)) };
}

const SIGNS = { added: '+', removed: '-', changed: '~' } as const;
const TONES = { added: 'good', removed: 'bad', changed: 'warn' } as const;

function printDiff({ io, paint }: Session, diff: ConfigDiff): void {
  const since = diff.revision === 0 ? 'nothing was applied yet' : `revision ${diff.revision}`;
  if (diff.changes.length === 0) io.stdout(`no differences (${since})\n`);
  else io.stdout(`${diff.changes.length} differences to what is applied (${since}):\n`);
  for (const change of diff.changes)
    io.stdout(`${paint(`${SIGNS[change.op]} ${formatChange(change)}`, TONES[change.op])}\n`);
  printWarnings(io, diff.warnings);
  if (diff.shrink !== null)
    io.stderr(`warning: ${diff.shrink.message}; an apply needs --confirm-shrink\n`);
}

const VALUE_CHARS_MAX = 60;

function formatChange({ op, path, before, after }: DocumentChange): string {
  if (op === 'changed') return `${path}: ${short(before)} → ${short(after)}`;
  return `${path}: ${short(op === 'added' ? after : before)}`;
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX - 1)}…` : text;
}
