/**
 * `make bench`: takes the figures, prints them and writes them to bench/results/<name>.txt.
 * Usage: node --import tsx bench/run.ts [NAME...] [--runs N]; without names all of them. Needs root.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { monotonicMs, sleep } from '../test/support/processes.ts';
import { benchAgentCost } from './agent-cost.ts';
import type { Bench, BenchOptions } from './bench-lab.ts';
import { benchFailover } from './failover.ts';
import { benchForwarding } from './forwarding.ts';
import { benchIpvsApply } from './ipvs-apply.ts';
import { formatLoad, machineFacts, resultHead } from './machine.ts';

const BENCHES: ReadonlyMap<string, Bench> = new Map([
  ['failover', benchFailover],
  ['forwarding', benchForwarding],
  ['ipvs-apply', benchIpvsApply],
  ['agent-cost', benchAgentCost],
]);
const RESULTS = fileURLToPath(new URL('./results/', import.meta.url));
const RUNS_MAX = 20;
/** For everything: 12 minutes with three runs. */
const LIMIT_BASE_MS = 240_000;
const LIMIT_PER_RUN_MS = 160_000;
/** What an early end may take before the process goes anyway; the reapers finish the rest. */
const CLEAN_UP_MS = 15_000;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

type Wish = { readonly names: readonly string[]; readonly runs: number };

/** Throws with what is wrong. */
function parseWish(args: readonly string[]): Wish {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { runs: { type: 'string', default: '3' } },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !BENCHES.has(name));
  if (unknown.length > 0)
    throw new Error(`no bench ${unknown.join(', ')}; there are ${[...BENCHES.keys()].join(', ')}`);
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > RUNS_MAX)
    throw new Error(`--runs ${values.runs}: a whole number from 1 to ${RUNS_MAX}`);
  return { names: positionals.length === 0 ? [...BENCHES.keys()] : positionals, runs };
}

type Taken = { readonly name: string; readonly bench: Bench; readonly facts: string };

async function take({ name, bench, facts }: Taken, options: BenchOptions): Promise<void> {
  const startMs = monotonicMs();
  say(`\n=== ${name}`);
  const head = await resultHead(`${name} --runs ${options.runs}`, facts);
  const figures = await bench(options);
  const seconds = ((monotonicMs() - startMs) / 1000).toFixed(0);
  const text = `${head}, after: ${formatLoad()}; took ${seconds} s\n\n${figures}`;
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(`${RESULTS}${name}.txt`, text);
  say(`\n${text}`);
}

async function takeAll(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
  const failed: string[] = [];
  const facts = await machineFacts();
  const options = { runs: wish.runs, say: (text: string) => say(`  ${text}`), signal };
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
