/**
 * `npm run fuzz -- --inputs N --seed S [--only NAME]`: each decoder with N inputs (1,000,000 by default).
 * Exit code 1 where one failed; the line names the seed and the input.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { FUZZED_DECODERS } from './decoders.ts';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string' },
    only: { type: 'string' },
  },
});
const inputs = Number(values.inputs);
const seed = Number(values.seed ?? randomInt(2 ** 32));
if (!Number.isSafeInteger(inputs) || inputs < 1 || !Number.isSafeInteger(seed)) {
  process.stderr.write('--inputs and --seed are whole numbers\n');
  process.exit(2);
}
process.stdout.write(`seed ${seed}, ${inputs} inputs for each decoder\n`);
for (const decoder of FUZZED_DECODERS) {
  if (values.only !== undefined && values.only !== decoder.name) continue;
  const start = process.hrtime.bigint();
  const finding = fuzz(decoder, inputs, seed);
  const seconds = (Number(process.hrtime.bigint() - start) / 1e9).toFixed(1);
  const verdict = finding === null ? 'ok' : `FAILED: ${finding.problem}\n  ${finding.input}`;
  process.stdout.write(`${decoder.name}: ${verdict} (${seconds} s)\n`);
  if (finding !== null) process.exitCode = 1;
}
