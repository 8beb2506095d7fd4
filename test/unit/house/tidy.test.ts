/** The text of the repository: words, sizes, headers, and nothing left half done. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SELF = 'test/unit/house/tidy.test.ts';
const SOURCE_LINES_MAX = 500;
const TEST_LINES_MAX = 800;

type Line = { readonly file: string; readonly number: number; readonly text: string };

function filesBelow(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((file) => file !== SELF);
}

const textOf = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** Lines that are neither blank nor comment alone, as the linter counts them. */
const codeLinesOf = (file: string): number =>
  textOf(file)
    .split('\n')
    .filter((line) => !/^\s*($|\/\/|\/\*|\*)/.test(line)).length;

/** Every file of the repository, whatever its kind. */
const trackedFiles = (): readonly string[] =>
  execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' })
    .split('\0')
    .filter((file) => file !== '' && existsSync(join(ROOT, file)));

/** Put together here, so that this file does not hold it. */
const KEY_MARK = ['PRIVATE', 'KEY-----'].join(' ');

const linesOf = (files: readonly string[]): readonly Line[] =>
  files.flatMap((file) =>
    textOf(file)
      .split('\n')
      .map((text, index) => ({ file, number: index + 1, text })),
  );

const placesOf = (lines: readonly Line[], pattern: RegExp): readonly string[] =>
  lines
    .filter(({ text }) => pattern.test(text))
    .map(({ file, number, text }) => `${file}:${number}: ${text.trim()}`);

const sources = filesBelow('src');
const tests = filesBelow('test');

/** Words that promise a later change. */
const UNFINISHED: readonly (readonly [word: string, pattern: RegExp, instead: string])[] = [
  ['TODO', /\bTODO\b/i, 'finish it, or open an issue'],
  ['FIXME', /\bFIXME\b/i, 'fix it'],
  ['XXX', /\bXXX\b/, 'say what is meant'],
  ['HACK', /\bHACK\b/, 'say why it must be so'],
  ['for now', /\bfor now\b/i, 'say what holds, and what would change it'],
  ['temporary solution', /\btemporary (solution|fix|hack|workaround)\b/i, 'say what holds'],
];

/** One word for one thing (docs/design.md); `own` are the places where others' words are quoted. */
const SYNONYMS: readonly {
  readonly word: string;
  readonly pattern: RegExp;
  readonly instead: string;
  readonly own: RegExp | null;
}[] = [
  { word: 'backend', pattern: /\bback-?ends?\b/i, instead: 'real server', own: null },
  { word: 'upstream', pattern: /\bupstreams?\b/i, instead: 'real server', own: null },
  {
    word: 'virtual server',
    pattern: /(?<!Linux )\bvirtual[ -]servers?\b/i,
    instead: 'virtual service',
    // The head of what ipvsadm prints.
    own: /^src\/cli\/ipvsadm-view/,
  },
  { word: 'vserver', pattern: /\bvservers?\b/i, instead: 'virtual service', own: null },
  {
    word: 'node',
    pattern: /(?<![\w'"/@:.-]|all )nodes?\b(?![:_'"/-])/,
    instead: 'director',
    own: null,
  },
  // etcd's members have a leader: its adapter and its port speak of that one.
  {
    word: 'leader',
    pattern: /\bleaders?\b/i,
    instead: 'holder',
    own: /^src\/(adapters\/etcd|ports\/cluster-store)/,
  },
  { word: 'slave', pattern: /\bslaves?\b/i, instead: 'candidate', own: null },
  { word: 'healthcheck', pattern: /\bhealth-?checks?\b/i, instead: 'check', own: null },
  { word: 'fencing key', pattern: /\bfencing key\b/i, instead: 'epoch', own: null },
];

describe('words', () => {
  it.each(UNFINISHED)('"%s" is in no file (%s): %s', (_word, pattern) => {
    expect(placesOf(linesOf([...sources, ...tests]), pattern)).toEqual([]);
  });

  it.each(SYNONYMS)('"$word" is "$instead"', ({ pattern, own }) => {
    const files = sources.filter((file) => own === null || !own.test(file));
    expect(placesOf(linesOf(files), pattern)).toEqual([]);
  });

  it('are found where they stand', () => {
    const line = (text: string): readonly Line[] => [{ file: 'x.ts', number: 1, text }];
    for (const { word, pattern } of SYNONYMS)
      expect(placesOf(line(`// The ${word} is up.`), pattern)).toEqual([
        `x.ts:1: // The ${word} is up.`,
      ]);
    for (const [word, pattern] of UNFINISHED)
      expect(placesOf(line(`// ${word}: later`), pattern)).toHaveLength(1);
  });
});

describe('files', () => {
  it('are there to be judged', () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(tests.length).toBeGreaterThan(20);
  });

  it('have at most 500 lines of code, tests at most 800', () => {
    const tooLong = [...sources, ...tests]
      .map((file) => ({ file, lines: codeLinesOf(file) }))
      .filter(
        ({ file, lines }) => lines > (file.startsWith('src/') ? SOURCE_LINES_MAX : TEST_LINES_MAX),
      );
    expect(tooLong).toEqual([]);
  });

  it('of src begin with a comment that says what they are', () => {
    const bare = sources.filter(
      (file) => !/^(#!.*\n)?(\/\*\*[\s\S]{20,}?\*\/|\/\/ .{20,})/.test(textOf(file)),
    );
    expect(bare).toEqual([]);
  });

  it('are named in kebab-case, and none is a barrel', () => {
    const odd = [...sources, ...tests].filter(
      (file) => !/^([a-z0-9-]+\/)*[a-z0-9-]+(\.[a-z0-9-]+)*\.ts$/.test(file),
    );
    expect(odd).toEqual([]);
    expect(sources.filter((file) => /\/(index|utils|helpers)\.ts$/.test(file))).toEqual([]);
  });
});

describe('secrets', () => {
  it('are made when a test runs: no file holds a private key', () => {
    const files = trackedFiles();
    expect(files).toContain(SELF);
    expect(files.filter((file) => textOf(file).includes(KEY_MARK))).toEqual([]);
  });
});

describe('tests', () => {
  it('all run: none is left out, alone, or still to be written', () => {
    const pattern = /\b(it|test|describe|suite)(\.\w+)*\.(only|skip|todo|skipIf|runIf|fails)\b/;
    expect(placesOf(linesOf(tests), pattern)).toEqual([]);
  });

  it('replace no module behind the back of the code', () => {
    expect(placesOf(linesOf(tests), /\b(vi|jest)\.(do)?mock\(/i)).toEqual([]);
  });

  it('of the unit kind do not sleep', () => {
    const units = tests.filter((file) => file.startsWith('test/unit/'));
    expect(placesOf(linesOf(units), /from 'node:timers\/promises'|\bawait sleep\(\d/)).toEqual([]);
  });
});
