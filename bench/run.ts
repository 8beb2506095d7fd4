/**
 * `make bench`: takes the figures, prints them and writes them to bench/results/<name>.txt.
 * Usage: node --import tsx bench/run.ts [NAME...] [--runs N] [--only ROW,ROW]; without names all of them.
 * Rows are those of `failover`, `without-etcd` and `checks`; the tables of the first two go to docs/bench.md where all
 * rows were taken, or kept. Needs root.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FAULTS, WITHOUT_ETCD } from '../test/support/faults.ts';
import { monotonicMs, sleep } from '../test/support/processes.ts';
import { SITUATIONS, SITUATIONS_TOGETHER } from '../test/support/situations.ts';
import { benchAgentCost } from './agent-cost.ts';
import type { Bench, BenchOptions } from './bench-lab.ts';
import { benchChecks, CHECK_LOADS } from './checks.ts';
import { benchChecksAgent } from './checks-agent.ts';
import { benchChecksKeepalived } from './checks-keepalived.ts';
import { benchFailover } from './failover.ts';
import { benchForwarding } from './forwarding.ts';
import { benchIpvsApply } from './ipvs-apply.ts';
import { benchAgent, benchLarge } from './ipvs-large.ts';
import { formatLoad, machineFacts, resultHead } from './machine.ts';
import { benchWithoutEtcd } from './without-etcd.ts';

const BENCHES: ReadonlyMap<string, Bench> = new Map([
  ['failover', benchFailover],
  ['forwarding', benchForwarding],
  ['ipvs-apply', benchIpvsApply],
  ['ipvs-large', benchLarge],
  ['ipvs-agent', benchAgent],
  ['agent-cost', benchAgentCost],
  ['checks', benchChecks],
  ['checks-agent', benchChecksAgent],
  ['checks-keepalived', benchChecksKeepalived],
  ['without-etcd', benchWithoutEtcd],
]);
/** Their other rows keep their figures where only some are taken. */
const KEEPING: ReadonlySet<string> = new Set(['failover', 'without-etcd']);
const RESULTS = fileURLToPath(new URL('./results/', import.meta.url));
const RUNS_MAX = 20;
/** For everything: 64 minutes with three runs. */
const LIMIT_BASE_MS = 600_000;
const LIMIT_PER_RUN_MS = 1_080_000;
/** What an early end may take before the process goes anyway; the reapers finish the rest. */
const CLEAN_UP_MS = 15_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

type Wish = {
  readonly names: readonly string[];
  readonly runs: number;
  readonly only: readonly string[];
};

/** Throws with what is wrong. */
function parseWish(args: readonly string[]): Wish {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      runs: { type: 'string', default: '3' },
      only: { type: 'string', default: '' },
    },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !BENCHES.has(name));
  if (unknown.length > 0)
    throw new Error(`no bench ${unknown.join(', ')}; there are ${[...BENCHES.keys()].join(', ')}`);
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > RUNS_MAX)
    throw new Error(`--runs ${values.runs}: a whole number from 1 to ${RUNS_MAX}`);
  const only = values.only.split(',').filter(Boolean);
  const rows = [...FAULTS, ...WITHOUT_ETCD, ...SITUATIONS, ...SITUATIONS_TOGETHER, ...CHECK_LOADS];
  for (const one of only)
    if (!rows.some(({ id }) => id === one))
      throw new Error(`no row ${one}; there are ${rows.map(({ id }) => id).join(', ')}`);
  return { names: positionals.length === 0 ? [...BENCHES.keys()] : positionals, runs, only };
}

type Taken = { readonly name: string; readonly bench: Bench; readonly facts: string };

type TakeOptions = Omit<BenchOptions, 'save' | 'kept'>;

async function take({ name, bench, facts }: Taken, options: TakeOptions): Promise<void> {
  const startMs = monotonicMs();
  say(`\n=== ${name}`);
  const head = await resultHead(`${name} --runs ${options.runs}`, facts);
  mkdirSync(RESULTS, { recursive: true });
  const isWhole = options.only.length === 0 || KEEPING.has(name);
  const base = `${RESULTS}${name}${isWhole ? '' : '-part'}`;
  const underWay = `${RESULTS}${name}-part.json`;
  let hasSaved = false;
  const save = (data: object): void => {
    writeFileSync(underWay, `${JSON.stringify({ head, data })}\n`);
    hasSaved = true;
  };
  const figures = await bench({ ...options, save, kept: keptAt(`${base}.json`) });
  // What ends early leaves the former figures whole.
  if (hasSaved) renameSync(underWay, `${base}.json`);
  const seconds = ((monotonicMs() - startMs) / 1000).toFixed(0);
  const text = `${head}, after: ${formatLoad()}; took ${seconds} s\n\n${figures.text}`;
  writeFileSync(`${base}.txt`, text);
  if (figures.table !== undefined && isWhole) publish(name, figures.table);
  say(`\n${text}`);
}

function keptAt(file: string): unknown {
  if (!existsSync(file)) return null;
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly data: unknown }).data;
}

/** Into the document, between the marks of that name. */
function publish(name: string, table: string): void {
  const document = new URL('../docs/bench.md', import.meta.url);
  const [before, rest] = readFileSync(document, 'utf8').split(`<!-- ${name}: begin -->\n`);
  const after = rest?.split(`<!-- ${name}: end -->\n`)[1];
  if (before === undefined || after === undefined)
    throw new Error(`docs/bench.md has no marks of ${name}`);
  const marked = `<!-- ${name}: begin -->\n${table}<!-- ${name}: end -->\n`;
  writeFileSync(document, before + marked + after);
}

async function takeAll(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
  const failed: string[] = [];
  const facts = await machineFacts();
  const { runs, only } = wish;
  const options = { runs, only, say: (text: string) => say(`  ${text}`), signal };
  for (const [name, bench] of BENCHES) {
    if (!wish.names.includes(name) || signal.aborted) continue;
    try {
      await take({ name, bench, facts }, options);
    } catch (cause) {
      failed.push(name);
      say(`${name} FAILED: ${describe(cause)}`);
    }
  }
  return failed;
}

function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause === undefined ? cause.message : `${describe(cause.cause)} (${cause.message})`;
}

async function main(): Promise<number> {
  let wish: Wish;
  try {
    wish = parseWish(process.argv.slice(2));
  } catch (cause) {
    say(describe(cause));
    return 2;
  }
  if (process.getuid?.() !== 0) {
    say('The benches make network namespaces: run them as root.');
    return 2;
  }
  if (!existsSync(new URL('../dist/main.js', import.meta.url))) {
    say('dist/main.js is missing: run `make build` first');
    return 2;
  }
  const controller = new AbortController();
  const stop = (reason: string): void => {
    if (controller.signal.aborted) return;
    controller.abort(new Error(reason));
    void sleep(CLEAN_UP_MS).then(() => process.exit(1));
  };
  process.on('SIGINT', () => stop('interrupted'));
  process.on('SIGTERM', () => stop('interrupted'));
  const limitMs = LIMIT_BASE_MS + LIMIT_PER_RUN_MS * wish.runs;
  void sleep(limitMs).then(() => stop(`not done within ${limitMs / 1000} s`));
  const failed = await takeAll(wish, controller.signal);
  return failed.length === 0 ? 0 : 1;
}

process.exit(await main());
