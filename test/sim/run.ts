/**
 * `npm run sim -- --help` tells how: many seeds from the command line, with a line for each that fails. The summary is
 * written again and again while it runs: an interrupted run leaves what it found, and with `--resume` the same command
 * does the rest, as long as the code that it runs is the same.
 */
import { execFileSync, fork } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readArguments, USAGE } from './arguments.ts';
import { mutated, runSeed } from './chaos.ts';
import { compile } from './compiled.ts';
import { mutationNamed, MUTATIONS } from './mutations.ts';
import {
  addSeed,
  addSummary,
  emptySummary,
  medianSettledMs,
  problemsOf,
  type Summary,
} from './summary.ts';
import type { WorldOptions } from './world.ts';

const given = readArguments(process.argv.slice(2));
if ('problems' in given) {
  console.error([...given.problems, '', USAGE].join('\n'));
  process.exit(2);
}
const values = given.arguments;

/** Seeds that a worker is given at once; small, so that none waits long for the last. */
const BLOCK = 100;
/** A worker ends after so many blocks and another takes its place: no process grows for ever. */
const BLOCKS_PER_WORKER = 10;
const SUMMARY_EVERY_S = 20;

export type Block = { readonly first: number; readonly count: number };

const chaosMs = values.ms;
/** First seeds of the blocks that are done. */
const done = new Set<number>();

function overridesOf(): Partial<WorldOptions> {
  const mutation = values.mutation === null ? {} : mutated(mutationNamed(values.mutation));
  return {
    ...mutation,
    ...(values.profile === null ? {} : { profile: values.profile, hasFence: true }),
  };
}

async function runBlock({ first, count }: Block): Promise<Summary> {
  const summary = emptySummary();
  for (let seed = first; seed < first + count; seed++) {
    const result = await runSeed({
      seed,
      chaosMs,
      trace: values.trace,
      overrides: overridesOf(),
    });
    addSeed(summary, result, chaosMs);
    for (const line of result.log) console.log(line);
    for (const problem of problemsOf(result)) console.log(`seed ${seed}: ${problem}`);
  }
  return summary;
}

function* blocks(): Generator<Block> {
  const end = values.seed + values.seeds;
  for (let first = values.seed; first < end; first += BLOCK)
    if (!done.has(first)) yield { first, count: Math.min(BLOCK, end - first) };
}

const commitNow = (): string =>
  execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();

function refuse(problem: string): never {
  console.error(problem);
  process.exit(2);
}

/** Goes on with what an interrupted run found: adds it to the total, and answers how long that took. */
function resume(total: Summary, file: string, code: string): number {
  if (!existsSync(file)) refuse(`${file} is not there: nothing to go on with`);
  const told = JSON.parse(readFileSync(file, 'utf8')) as Summary & {
    readonly code: string;
    readonly commit: string;
    readonly seconds: number;
    readonly doneUntil: number;
    readonly doneBeyond: readonly number[];
    readonly firstSeed: number;
  };
  if (told.code !== code)
    refuse(`${file} is of other code, that of commit ${told.commit}: begin anew`);
  if (told.firstSeed !== values.seed)
    refuse(`${file} began with seed ${told.firstSeed}: give --seed ${told.firstSeed}`);
  for (let first = told.firstSeed; first < told.doneUntil; first += BLOCK) done.add(first);
  for (const first of told.doneBeyond) done.add(first);
  addSummary(total, told);
  return told.seconds;
}

/** This program, for workers, and a digest of all that it runs. */
function compileThis(): { readonly file: string; readonly code: string } {
  const compiled = compile();
  process.once('exit', compiled.remove);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  const source = fileURLToPath(import.meta.url);
  return { file: compiled.fileOf(source), code: compiled.digestOf(source) };
}

/** Runs blocks in a child process until there are none left; another one follows when it has done its share. */
async function runWorkers(total: Summary, file: string): Promise<void> {
  const queue = blocks();
  const worker = async (): Promise<void> => {
    for (let next = queue.next(); !next.done; ) {
      let current: Block | null = null;
      let hasBegun = false;
      let left = BLOCKS_PER_WORKER;
      await new Promise<void>((resolve, reject) => {
        const child = fork(file, [...process.argv.slice(2), '--worker'], {
          execArgv: ['--max-semi-space-size=64'],
        });
        const give = (): void => {
          if (next.done || left === 0) child.disconnect();
          else {
            current = next.value;
            child.send(current);
          }
        };
        child.on('message', (part: Summary | 'ready') => {
          hasBegun = true;
          if (part !== 'ready') {
            addSummary(total, part);
            if (current !== null) done.add(current.first);
            current = null;
            left--;
            next = queue.next();
          }
          give();
        });
        child.on('exit', (code, signal) => {
          if (code !== 0 && !hasBegun) return reject(new Error(`no worker begins: ${code}`));
          if (code !== 0 && current !== null) {
            const { first, count } = current;
            const text = `the worker of the seeds ${first} to ${first + count - 1} ended with ${code ?? signal}`;
            total.bad.push({ seed: first, problems: [text] });
            console.log(`seed ${first}: ${text}`);
            done.add(first);
            next = queue.next();
          }
          resolve();
        });
      });
    }
  };
  await Promise.all(Array.from({ length: values.workers }, worker));
}

function writeSummary(summary: Summary, seconds: number, code: string): void {
  if (values.summary === null) return;
  let doneUntil = values.seed;
  while (done.has(doneUntil)) doneUntil += BLOCK;
  const text = {
    ...summary,
    virtualMinutes: Math.round(summary.virtualMinutes),
    firstSeed: values.seed,
    medianSettledMs: medianSettledMs(summary),
    mutations: MUTATIONS.map(({ name }) => name),
    workers: values.workers,
    seconds: Math.round(seconds),
    doneUntil,
    doneBeyond: [...done].filter((first) => first > doneUntil),
    code,
    commit: commitNow(),
    node: process.version,
  };
  writeFileSync(values.summary, `${JSON.stringify(text, null, 2)}\n`);
}

async function main(): Promise<void> {
  const start = process.hrtime.bigint();
  const total = emptySummary();
  const hasWorkers = values.workers > 0;
  const { file, code } =
    hasWorkers || values.summary !== null ? compileThis() : { file: '', code: '' };
  const earlierS =
    values.resume && values.summary !== null ? resume(total, values.summary, code) : 0;
  const seconds = (): number => earlierS + Number(process.hrtime.bigint() - start) / 1e9;
  let writtenAt = 0;
  const look = (): void => {
    if (seconds() - writtenAt < SUMMARY_EVERY_S) return;
    writtenAt = seconds();
    writeSummary(total, seconds(), code);
    console.error(
      `${total.schedules} schedules, ${total.bad.length} bad, ${Math.round(seconds())} s`,
    );
  };
  if (hasWorkers) {
    // Its ticks keep the look alive while nothing but children work.
    const timer = setInterval(look, 1000); // oxlint-disable-line eslint/no-restricted-globals -- real time: progress for people
    await runWorkers(total, file).finally(() => clearInterval(timer));
  } else
    for (const block of blocks()) {
      addSummary(total, await runBlock(block));
      done.add(block.first);
      look();
    }
  writeSummary(total, seconds(), code);
  const faults = Object.values(total.faults).reduce((sum, one) => sum + one, 0);
  console.log(
    `${total.schedules} schedules (${total.isolation['gateway'] ?? 0} with isolation: gateway), ${faults} faults, ${total.bad.length} bad; two voices by the segment ${total.windows} times, ${total.longestWindowMs} ms at most where they could hear it; settled after peace: median within ${medianSettledMs(total)} ms, worst ${total.worstSettledMs} ms; ${seconds().toFixed(1)} s`,
  );
  process.exitCode = total.bad.length === 0 ? 0 : 1;
}

function work(): void {
  process.on('message', (block: Block) => {
    void runBlock(block).then((part) => process.send?.(part));
  });
  process.send?.('ready');
}

if (values.help) console.log(USAGE);
else if (values.worker) work();
else await main();
