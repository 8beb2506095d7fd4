/** `export ipvsadm` and `import ipvsadm`: between the cluster document and the lines of ipvsadm. */
import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { ConfigDocument } from '../../api/schemas/responses.ts';
import {
  MAX_TEXT_LENGTH,
  parseClusterDocument,
  parseClusterText,
} from '../../config/cluster-document.ts';
import { formatYaml } from '../../config/format-yaml.ts';
import { formatIpvsadm, type IpvsadmForm } from '../../config/ipvsadm-format.ts';
import { importIpvsadm } from '../../config/ipvsadm-import.ts';
import { formatProblems, type Problem } from '../../config/problem.ts';
import { messageOf } from '../../lib/result.ts';
import type { ClusterSpec } from '../../model/cluster.ts';
import { NAME_PATTERN } from '../../model/ids.ts';
import type { DesiredService } from '../../model/kernel.ts';
import { parseAnswer } from '../answers.ts';
import { type CliDeps, CliError, type CliIo, EXIT, type ExitCode } from '../context.ts';
import { loadText, openSession } from '../session.ts';

type Done = (code: ExitCode) => void;

export function addIpvsadmCommands(program: Command, deps: CliDeps, done: Done): void {
  addExport(program, deps, done);
  addImport(program, deps.io, done);
}

type ExportOptions = {
  readonly file?: string;
  readonly output?: string;
  readonly form: IpvsadmForm;
};

function addExport(program: Command, { io, deriveTable }: CliDeps, done: Done): void {
  program
    .command('export')
    .description('the cluster document in the words of other programs')
    .command('ipvsadm')
    .description('input for "ipvsadm -R": the table of the document, with all real servers up')
    .option('-f, --file <file>', 'a document, - for standard input; default: the applied one')
    .option('-o, --output <file>', 'a new file; default: standard output')
    .addOption(
      new Option('--form <form>', 'restore says everything; save is what "ipvsadm -S -n" prints')
        .choices(['restore', 'save'])
        .default('restore'),
    )
    .action(async (options: ExportOptions, command: Command) => {
      const spec =
        options.file === undefined
          ? await fetchSpec(io, command)
          : await loadSpec(io, options.file);
      const table = deriveTable(spec);
      await writeOut(io, options.output, formatIpvsadm(table, options.form));
      for (const line of notExported(spec, table, options.form))
        io.stderr(`not in there: ${line}\n`);
      done(EXIT.ok);
    });
}

async function fetchSpec(io: CliIo, command: Command): Promise<ClusterSpec> {
  const { client } = await openSession(io, command);
  const answer = await client.call({ method: 'GET', path: '/api/v1/config' });
  const { document, isStale } = parseAnswer(ConfigDocument, answer.body);
  if (isStale)
    io.stderr('warning: the store does not answer; this is what the director saw last\n');
  const parsed = parseClusterDocument(document);
  if (parsed.ok) return parsed.value.spec;
  throw badInput('the applied document (of another version?)', parsed.error);
}

async function loadSpec(io: CliIo, file: string): Promise<ClusterSpec> {
  const parsed = parseClusterText(file === '-' ? await io.readStdin() : await loadText(file));
  if (parsed.ok) return parsed.value.spec;
  throw badInput(nameOf(file), parsed.error);
}

const nameOf = (file: string): string => (file === '-' ? 'standard input' : file);

function badInput(name: string, problems: readonly Problem[]): CliError {
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  return new CliError(EXIT.badInput, `${name}: ${count}\n${formatProblems(problems)}`);
}

const count = (n: number, one: string): string => `${n} ${one}${n === 1 ? '' : 's'}`;

/** What ipvsadm has no words for, as far as the document has it. */
function notExported(
  { services, groups, ipvs }: ClusterSpec,
  table: readonly DesiredService[],
  form: IpvsadmForm,
): readonly string[] {
  const checked = services.filter(({ check }) => check !== null).length;
  const sorry = services.filter(({ sorryServer }) => sorryServer !== null).length;
  const marked = services.filter(({ marks }) => marks.length > 0).length;
  const synced = groups.filter(({ connectionSync }) => connectionSync !== null).length;
  const { tcpS, tcpFinS, udpS } = ipvs.timeouts;
  const limited = table.flatMap((one) => one.destinations).filter((one) => one.upperThreshold > 0);
  const told = [
    checked === 0 ? null : `the checks of ${count(checked, 'service')}`,
    sorry === 0 ? null : `${count(sorry, 'sorry server')}`,
    marked === 0 ? null : `the marking rules of ${count(marked, 'service')}`,
    synced === 0 ? null : `the connection sync of ${count(synced, 'group')}`,
    tcpS === null && tcpFinS === null && udpS === null
      ? null
      : `timeouts: ipvsadm --set ${tcpS ?? 0} ${tcpFinS ?? 0} ${udpS ?? 0}`,
    form === 'restore' || limited.length === 0 ? null : 'thresholds: --form restore has them',
    table.length === 0 ? 'any service: the document has none' : null,
  ];
  return told.filter((line) => line !== null);
}

type ImportOptions = {
  readonly group: string;
  readonly interface: string;
  readonly director: readonly string[];
  readonly output?: string;
};

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function addImport(program: Command, io: CliIo, done: Done): void {
  program
    .command('import')
    .description('a cluster document from the words of other programs')
    .command('ipvsadm')
    .description('a cluster document from what "ipvsadm -S -n" printed')
    .argument('<file>', 'the file, - for standard input')
    .option(
      '--group <name>',
      'the VIP group of all services; more than 200 VIPs make more',
      'imported',
    )
    .option('--interface <name>', 'logical name of its interface', 'public')
    .addOption(
      new Option('--director <name=address>', 'a director; may be repeated')
        .argParser(collect)
        .default([], 'none, they are added by hand'),
    )
    .option('-o, --output <file>', 'a new file; default: standard output')
    .action(async (file: string, options: ImportOptions) => {
      const text = file === '-' ? await io.readStdin() : await loadText(file);
      const imported = importIpvsadm(text, {
        group: requireName(options.group, '--group'),
        interface: requireName(options.interface, '--interface'),
        directors: readDirectors(options.director),
      });
      if (!imported.ok) throw badInput(nameOf(file), imported.error);
      const { document, byHand, counts } = imported.value;
      const head = ['From ipvsadm. By hand:', ...byHand.map((line) => `- ${line}`)];
      const comment = head.map((line) => `# ${line}\n`).join('');
      const made = comment + formatYaml(document);
      if (made.length > MAX_TEXT_LENGTH)
        throw new CliError(
          EXIT.badInput,
          `${nameOf(file)}: ${count(counts.services, 'service')} and ${count(counts.realServers, 'real server')} make a document of ${made.length} characters, and one has ${MAX_TEXT_LENGTH} at most: import a part of the lines, and write services with the same real servers as one, with "addresses" and "ports"`,
        );
      await writeOut(io, options.output, made);
      io.stderr(
        `${count(counts.services, 'service')} and ${count(counts.realServers, 'real server')}; by hand:\n${byHand.map((line) => `  ${line}\n`).join('')}then: leasehold validate ${options.output ?? 'FILE'}, and leasehold apply -f ${options.output ?? 'FILE'}\n`,
      );
      done(EXIT.ok);
    });
}

function requireName(text: string, option: string): string {
  if (new RegExp(NAME_PATTERN).test(text)) return text;
  throw new CliError(
    EXIT.badInput,
    `${option}: "${text}" is no name; write 1 to 63 letters, digits, dots, dashes, underscores`,
  );
}

function readDirectors(texts: readonly string[]): ReadonlyMap<string, string> {
  const directors = new Map<string, string>();
  for (const text of texts) {
    const cut = text.indexOf('=');
    if (cut < 1)
      throw new CliError(
        EXIT.badInput,
        `--director: "${text}" is none; write --director d1=10.90.0.11`,
      );
    directors.set(requireName(text.slice(0, cut), '--director'), text.slice(cut + 1));
  }
  return directors;
}

/** Never over a file that is there. */
async function writeOut(io: CliIo, file: string | undefined, text: string): Promise<void> {
  if (file === undefined) {
    io.stdout(text);
    return;
  }
  try {
    await writeFile(file, text, { flag: 'wx' });
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST';
    throw new CliError(
      EXIT.badInput,
      isThere
        ? `${file} is there already, and is not overwritten; name another one`
        : `cannot write ${file}: ${messageOf(error)}`,
    );
  }
}
