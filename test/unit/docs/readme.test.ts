/** What the documents tell people to type exists: make targets, npm scripts, commands, options, files, YAML. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseAgentConfig } from '../../../src/config/agent-file.ts';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { runCli } from '../cli/harness.ts';
import { withKeyFile } from '../deploy/key-file.ts';
import {
  anchorsOf,
  blocksOf,
  DOCUMENTS,
  inlineCodeOf,
  linksOf,
  proseOf,
  read,
  ROOT,
  wordsOf,
} from './documents.ts';

const makeTargets = [...read('Makefile').matchAll(/^([a-z]+):.*## /gm)].map(([, name]) => name);
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

/** Programs that the documents may use and that are none of ours. */
const OUTSIDE = 'apt-get cd install ip ln nft openssl sysctl systemctl'.split(' ');
const NPM_OWN = ['ci', 'prune'];
const FOLDERS =
  /^(?:\/opt\/leasehold\/)?((?:bench|bin|deploy|docs|openapi|scripts|src|test)\/[\w./-]+)$/;

type Line = { readonly file: string; readonly line: string };

const shellLines: readonly Line[] = DOCUMENTS.flatMap((file) =>
  blocksOf(file)
    .filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.trim().split('\n'))
    .map((line) => ({ file, line })),
);
const inlineLines: readonly Line[] = DOCUMENTS.flatMap((file) =>
  inlineCodeOf(file)
    .filter((code) => /^(make|npm run|leasehold) [a-z]/.test(code))
    .map((line) => ({ file, line })),
);

/** The program and its words; `(umask 077; openssl …)` runs the second. */
const commandOf = (line: string): readonly string[] =>
  wordsOf(line.replace(/^\(umask 077; (.+)\)$/, '$1'));

/** What a line names that does not exist. */
async function faultsOf(line: string): Promise<readonly string[]> {
  const [program = '', ...words] = commandOf(line);
  const files = words
    .map((word) => FOLDERS.exec(word)?.[1] ?? null)
    .filter((path) => path !== null)
    .filter((path) => !existsSync(join(ROOT, path)))
    .map((path) => `${path} does not exist`);
  if (program === 'make')
    return words.filter((word) => !makeTargets.includes(word)).map((word) => `make has no ${word}`);
  if (program === 'npm') {
    const [verb = '', script = ''] = words;
    if (verb !== 'run') return NPM_OWN.includes(verb) ? [] : [`npm ${verb}`];
    return script in scripts ? [] : [`npm run has no ${script}`];
  }
  if (program === 'leasehold') return [...files, ...(await commandFaults(words))];
  return OUTSIDE.includes(program) ? files : [`${program} is not a known program`];
}

const EXAMPLE = join(ROOT, 'deploy/config/cluster.yaml');
/** Nobody listens there: a command that is right ends as unreachable. */
const NOWHERE = 'http://127.0.0.1:1';
const EXIT_BAD_INPUT = 2;

/** Holds each option against the help, then runs the command for what the help does not say. */
async function commandFaults(words: readonly string[]): Promise<readonly string[]> {
  const argv = words.map((word) => (word === 'cluster.yaml' ? EXAMPLE : word));
  const path = await subcommandOf(argv);
  if (path.length === 0) return [`no command ${argv[0] ?? ''}`];
  const helps = [await helpOf([]), await helpOf(path)].join('\n');
  const known = new Set(helps.match(/(?<=[\s,])--?[a-z][\w-]*/g));
  const options = argv.filter((word) => /^--?[a-z]/.test(word));
  const unknown = options.filter((option) => !known.has(option));
  if (unknown.length > 0) return unknown.map((option) => `${path.join(' ')} has no ${option}`);
  const { code, err } = await runCli([...argv, '--api', NOWHERE]);
  return code === EXIT_BAD_INPUT ? [err] : [];
}

const helpOf = async (path: readonly string[]): Promise<string> =>
  (await runCli([...path, '--help'])).out;

/** The leading words that name a command and its subcommand. */
async function subcommandOf(argv: readonly string[]): Promise<readonly string[]> {
  const path: string[] = [];
  for (const word of argv) {
    const commands = (await helpOf(path)).split('Commands:\n')[1] ?? '';
    if (!new RegExp(`^  ${word}(?= |$)`, 'm').test(commands)) break;
    path.push(word);
  }
  return path;
}

describe('the judge of command lines', () => {
  it.each([
    ['make demoo', /make has no demoo/],
    ['npm run unti', /npm run has no unti/],
    ['leasehold statsu', /no command statsu/],
    ['leasehold status --wid', /status has no --wid/],
    ['leasehold director drain d1', /reason/],
    ['leasehold switchover --reason "x"', /group/],
    ['leasehold apply -f deploy/config/clusters.yaml', /clusters\.yaml does not exist/],
    ['install -m 644 deploy/systemd/leasehold.unit /etc', /leasehold\.unit does not exist/],
    ['leashold status', /leashold is not a known program/],
  ])('finds the fault of %s', async (line, fault) => {
    expect((await faultsOf(line)).join('\n')).toMatch(fault);
  });
});

describe('what is to be typed', () => {
  it('is there to be judged', () => {
    expect(shellLines.length).toBeGreaterThan(40);
    expect(inlineLines.length).toBeGreaterThan(5);
    expect(shellLines.map(({ line }) => line)).toEqual(
      expect.arrayContaining(['make demo', 'make test']),
    );
  });

  it.each([...shellLines, ...inlineLines])('$file: $line', async ({ line }) => {
    expect(await faultsOf(line)).toEqual([]);
  });
});

describe('code blocks', () => {
  const blocks = DOCUMENTS.flatMap(blocksOf);

  it('are of a kind that is judged, or a drawing', () => {
    expect(blocks.filter(({ language }) => !['', 'sh', 'yaml', 'text'].includes(language))).toEqual(
      [],
    );
    const drawings = blocks.filter(({ language }) => language === '');
    expect(drawings.filter(({ text }) => /^\s*(leasehold|make|npm) /m.test(text))).toEqual([]);
  });

  const examples = [
    ...blocks.filter(({ language }) => language === 'yaml'),
    ...['agent.yaml', 'cluster.yaml'].map((name) => ({
      file: `deploy/config/${name}`,
      text: read(`deploy/config/${name}`),
    })),
  ];

  it('have examples of both files', () => {
    expect(examples.length).toBeGreaterThanOrEqual(5);
  });

  it.each(examples)('of YAML in $file are what leasehold parses', async ({ text }) => {
    const document = parse(text) as Record<string, unknown>;
    if ('apiVersion' in document) {
      const parsed = parseClusterText(text);
      expect(parsed.ok ? parsed.value.warnings : parsed.error).toEqual([]);
      return;
    }
    await withKeyFile(async (keyFile) => {
      const parsed = await parseAgentConfig({ ...document, keyFile }, ROOT);
      expect(parsed.ok ? [] : parsed.error).toEqual([]);
    });
  });
});

describe('links and paths', () => {
  it.each(DOCUMENTS)('%s links to what is there', (file) => {
    for (const link of linksOf(file)) {
      const [path = '', anchor = null] = link.split('#');
      const target = path === '' ? file : join(dirname(file), path);
      expect(existsSync(join(ROOT, target)), `${link} in ${file}`).toBe(true);
      if (anchor !== null) expect(anchorsOf(read(target)), `${link} in ${file}`).toContain(anchor);
    }
  });

  it.each(DOCUMENTS)('%s names files that are there', (file) => {
    const isSource = file === 'src/README.md';
    const pattern = isSource
      ? /^[a-z][\w-]*(?:\/[\w.-]+)*\/$|^[a-z][\w.-]*(?:\/[\w.-]+)+$/
      : FOLDERS;
    const missing = inlineCodeOf(file)
      .filter((code) => pattern.test(code))
      .map((code) => FOLDERS.exec(code)?.[1] ?? code)
      .filter((path) => !existsSync(join(ROOT, path)))
      .filter((path) => !isSource || !existsSync(join(ROOT, 'src', path)));
    expect(missing).toEqual([]);
  });

  it('lead from the index to every document', () => {
    const linked = linksOf('docs/index.md').map((link) => join('docs', link));
    for (const file of DOCUMENTS) if (file !== 'docs/index.md') expect(linked).toContain(file);
  });
});

describe('the text', () => {
  it.each(DOCUMENTS)('%s has lines of at most 120 characters, and one title', (file) => {
    const tooLong = read(file)
      .split('\n')
      .filter((line) => line.length > 120);
    expect(tooLong).toEqual([]);
    expect(proseOf(file).match(/^# /gm)).toHaveLength(1);
  });
});
