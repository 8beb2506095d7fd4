/** `npm run sim:many -- --seeds N --seed S [--trace]`: many seeds from the command line, a line each that fails. */
import { parseArgs } from 'node:util';
import { runSeed } from './chaos.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    ms: { type: 'string', default: '60000' },
    trace: { type: 'boolean', default: false },
  },
});

const first = Number(values.seed);
const count = Number(values.seeds);
const healed: number[] = [];
let faults = 0;
let bad = 0;
const start = process.hrtime.bigint();
for (let seed = first; seed < first + count; seed++) {
  const result = await runSeed({ seed, chaosMs: Number(values.ms), trace: values.trace });
  faults += result.faults;
  if (result.healedMs !== null) healed.push(result.healedMs);
  if (result.violations.length === 0 && result.healedMs !== null && !values.trace) continue;
  for (const line of result.log) console.log(line);
  for (const { at, text } of result.violations.slice(0, 5))
    console.log(`seed ${seed}: ${(at / 1000).toFixed(3)} s: ${text}`);
  if (result.healedMs === null) console.log(`seed ${seed}: not settled after peace`);
  if (result.violations.length > 0 || result.healedMs === null) bad++;
}
healed.sort((a, b) => a - b);
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const median = healed[Math.floor(healed.length / 2)] ?? Number.NaN;
const worst = healed.at(-1) ?? Number.NaN;
console.log(
  `${count} seeds, ${faults} faults, ${bad} bad; settled after peace: median ${Math.round(median)} ms, worst ${Math.round(worst)} ms; ${seconds.toFixed(1)} s`,
);
process.exitCode = bad === 0 ? 0 : 1;
