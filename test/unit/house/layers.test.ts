/**
 * The layer table of src/README.md is enforced: for each row, forbidden imports planted in a copy of the
 * tree are reported, allowed ones are not, and the tree as it is has none.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

type Row = {
  /** Where the files are planted, below src. */
  readonly layer: string;
  readonly allowed: readonly string[];
  readonly forbidden: readonly string[];
};

const up = (depth: number, names: readonly string[]): readonly string[] =>
  names.map((name) => `${'../'.repeat(depth)}${name}/x.ts`);

const { dependencies, devDependencies } = JSON.parse(
  readFileSync(join(ROOT, 'package.json'), 'utf8'),
) as Record<'dependencies' | 'devDependencies', Record<string, string>>;

/** Every package of ours and some modules of Node, without those a layer may use. */
const outside = (...allowed: readonly string[]): readonly string[] =>
  [
    ...Object.keys({ ...dependencies, ...devDependencies }),
    'node:fs',
    'node:child_process',
    'node:dgram',
    'node:timers/promises',
    'node:worker_threads',
  ].filter((name) => !allowed.includes(name));

const TABLE: readonly Row[] = [
  {
    layer: 'lib',
    allowed: ['./result.ts'],
    forbidden: [
      ...up(1, [
        'model',
        'core',
        'wire',
        'ports',
        'config',
        'adapters',
        'agent',
        'api',
        'cli',
        'ui',
      ]),
      ...outside(),
    ],
  },
  {
    layer: 'model',
    allowed: [...up(1, ['lib']), 'typebox', 'typebox/value', './ids.ts'],
    forbidden: [
      ...up(1, ['core', 'wire', 'ports', 'config', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside('typebox'),
    ],
  },
  {
    layer: 'core',
    allowed: [...up(1, ['lib', 'model']), './health/x.ts'],
    forbidden: [
      ...up(1, ['wire', 'ports', 'config', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside(),
    ],
  },
  {
    layer: 'core/health',
    allowed: [...up(2, ['lib', 'model']), '../election/x.ts'],
    forbidden: [
      ...up(2, ['wire', 'ports', 'config', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside(),
    ],
  },
  {
    layer: 'wire',
    allowed: up(1, ['lib', 'model']),
    forbidden: [
      ...up(1, ['core', 'ports', 'config', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside(),
    ],
  },
  {
    layer: 'ports',
    allowed: up(1, ['lib', 'model']),
    forbidden: [
      ...up(1, ['core', 'wire', 'config', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside(),
    ],
  },
  {
    layer: 'config',
    allowed: [...up(1, ['lib', 'model']), 'typebox', 'typebox/value', 'yaml', 'node:fs/promises'],
    forbidden: [
      ...up(1, ['core', 'wire', 'ports', 'adapters', 'agent', 'api', 'cli', 'ui']),
      ...outside('typebox', 'yaml', 'node:fs'),
      'node:net',
    ],
  },
  {
    layer: 'agent',
    allowed: up(1, ['lib', 'model', 'core', 'ports']),
    forbidden: [...up(1, ['wire', 'config', 'adapters', 'api', 'cli', 'ui']), ...outside()],
  },
  {
    layer: 'adapters/etcd',
    allowed: [
      ...up(2, ['lib', 'model', 'ports', 'wire', 'config']),
      '../clock/system-clock.ts',
      '../raw-sockets/x.ts',
      './x.ts',
      './deep/x.ts',
      'etcd3',
      '@grpc/grpc-js',
      'node:fs',
    ],
    forbidden: [
      ...up(2, ['core', 'agent', 'api', 'cli', 'ui']),
      '../linux/x.ts',
      '../prom/x.ts',
      '../announce/x.ts',
      '../c-other/x.ts',
      '../r-other/x.ts',
      'node:timers/promises',
    ],
  },
  {
    layer: 'adapters/etcd/deep',
    allowed: [...up(3, ['lib', 'model', 'ports', 'wire']), '../x.ts', '../../clock/x.ts', 'etcd3'],
    forbidden: [...up(3, ['core', 'agent', 'api', 'cli', 'ui']), '../../linux/x.ts'],
  },
  {
    layer: 'api/routes',
    allowed: [
      ...up(2, ['lib', 'model', 'ports', 'config']),
      '../schemas/x.ts',
      '../server.ts',
      'fastify',
      '@fastify/swagger',
      'typebox',
      'node:crypto',
    ],
    forbidden: [
      ...up(2, ['core', 'wire', 'adapters', 'agent', 'cli', 'ui']),
      ...outside('fastify', '@fastify/swagger', 'typebox'),
    ],
  },
  {
    layer: 'cli/commands',
    allowed: [
      ...up(2, ['lib', 'model', 'config', 'api/schemas']),
      '../table.ts',
      'commander',
      'node:http',
      'node:readline/promises',
    ],
    forbidden: [
      ...up(2, ['core', 'wire', 'ports', 'adapters', 'agent', 'ui', 'api', 'api/routes']),
      ...outside('commander').filter((name) => !name.startsWith('node:')),
    ],
  },
  {
    layer: 'ui',
    allowed: up(1, ['lib', 'model', 'api/schemas']),
    forbidden: [
      ...up(1, ['core', 'wire', 'ports', 'config', 'adapters', 'agent', 'cli', 'api/routes']),
      ...outside(),
    ],
  },
];

/** Time, randomness and the environment are inputs. */
const INPUTS: readonly (readonly [where: string, code: string, isAllowed: boolean])[] = [
  ['core', 'export const x = Date.now();', false],
  ['agent', 'export const x = new Date();', false],
  ['adapters/etcd', 'setTimeout(() => {}, 1);', false],
  ['agent', 'setInterval(() => {}, 1);', false],
  ['core', 'export const x = Math.random();', false],
  ['api', 'export const x = performance.now();', false],
  ['agent', 'export const x = process.env;', false],
  ['config', 'export const x = process.env;', true],
  ['adapters/clock', 'export const x = Date.now();', true],
  ['api', "console.log('x');", false],
  ['cli', "console.log('x');", true],
  ['model', 'export default 1;', false],
];

type Planted = {
  readonly file: string;
  readonly title: string;
  readonly code: string;
  readonly isAllowed: boolean;
};

const planted: readonly Planted[] = [
  ...TABLE.flatMap(({ layer, allowed, forbidden }) => [
    ...allowed.map((target) => ({ layer, code: `import '${target}';`, isAllowed: true })),
    ...forbidden.map((target) => ({ layer, code: `import '${target}';`, isAllowed: false })),
  ]),
  ...INPUTS.map(([layer, code, isAllowed]) => ({ layer, code, isAllowed })),
].map(({ layer, code, isAllowed }, index) => ({
  file: `src/${layer}/planted-${index}.ts`,
  title: `${layer}: ${code}`,
  code,
  isAllowed,
}));

const LAYER_RULES = [
  'eslint(no-restricted-imports)',
  'eslint(no-restricted-globals)',
  'eslint(no-restricted-properties)',
  'eslint(no-console)',
  'import(no-cycle)',
  'import(no-default-export)',
];

type Report = { readonly file: string; readonly rule: string };
let directory: string;
let reports: readonly Report[];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-layers-'));
  cpSync(join(ROOT, 'src'), join(directory, 'src'), { recursive: true });
  const config = JSON.parse(readFileSync(join(ROOT, '.oxlintrc.json'), 'utf8')) as {
    options: { typeAware: boolean };
  };
  // These rules need no types, and the copy has no packages to take them from.
  config.options.typeAware = false;
  writeFileSync(join(directory, '.oxlintrc.json'), JSON.stringify(config));
  for (const { file, code } of planted) {
    mkdirSync(dirname(join(directory, file)), { recursive: true });
    writeFileSync(join(directory, file), `${code}\n`);
  }
  reports = lint(directory);
}, 60_000);

afterAll(() => rmSync(directory, { recursive: true }));

function lint(cwd: string): readonly Report[] {
  const linter = join(ROOT, 'node_modules/oxlint/bin/oxlint');
  let output: string;
  try {
    output = execFileSync(process.execPath, [linter, '--format', 'json', 'src'], {
      cwd,
      encoding: 'utf8',
      maxBuffer: 100_000_000,
    });
  } catch (error) {
    // Exit code 1: something was reported, which is what is wanted here.
    output = (error as { stdout: string }).stdout;
  }
  const { diagnostics } = JSON.parse(output) as {
    diagnostics: { code: string; filename: string }[];
  };
  return diagnostics
    .map(({ code, filename }) => ({ file: filename, rule: code }))
    .filter(({ rule }) => LAYER_RULES.includes(rule));
}

describe('the layers', () => {
  it.each(planted.filter(({ isAllowed }) => !isAllowed))('forbid $title', ({ file }) => {
    expect(reports.filter((report) => report.file === file)).toHaveLength(1);
  });

  it.each(planted.filter(({ isAllowed }) => isAllowed))('allow $title', ({ file }) => {
    expect(reports.filter((report) => report.file === file)).toEqual([]);
  });

  it('are kept by the tree as it is', () => {
    const files = new Set(planted.map(({ file }) => file));
    expect(reports.filter(({ file }) => !files.has(file))).toEqual([]);
  });

  it('find a cycle', () => {
    const cycle = mkdtempSync(join(tmpdir(), 'leasehold-cycle-'));
    try {
      cpSync(join(directory, '.oxlintrc.json'), join(cycle, '.oxlintrc.json'));
      mkdirSync(join(cycle, 'src/core'), { recursive: true });
      writeFileSync(
        join(cycle, 'src/core/a.ts'),
        "import { b } from './b.ts';\nexport const a = () => b;\n",
      );
      writeFileSync(
        join(cycle, 'src/core/b.ts'),
        "import { a } from './a.ts';\nexport const b = () => a;\n",
      );
      expect(lint(cycle).map(({ rule }) => rule)).toEqual(['import(no-cycle)', 'import(no-cycle)']);
    } finally {
      rmSync(cycle, { recursive: true });
    }
  });
});
