/**
 * Failovers as text: each file of `scenarios/` is a script, and below the line everything that the
 * directors told while it ran. `npx vitest run --project sim test/sim/scenarios -u` writes the traces anew.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { runScenario } from './scenarios/run-scenario.ts';

const FOLDER = fileURLToPath(new URL('./scenarios/', import.meta.url));
const LINE = '----';

const names = readdirSync(FOLDER).filter((name) => name.endsWith('.txt'));

describe('a failover reads as a log', () => {
  it.each(names)('%s', async (name) => {
    const [script = ''] = readFileSync(FOLDER + name, 'utf8').split(`\n${LINE}\n`);
    const { trace, violations } = await runScenario(script);
    expect(violations).toEqual([]);
    await expect(`${script.trimEnd()}\n${LINE}\n${trace.join('\n')}\n`).toMatchFileSnapshot(
      FOLDER + name,
    );
  });

  it('has a script for each that a reader should know', () => {
    expect(names.length).toBeGreaterThanOrEqual(6);
  });

  it.each(['fly d1', 'advance', 'advance soon', 'crash d9', 'cut d1 moon'])(
    'refuses the command "%s"',
    async (line) => {
      await expect(runScenario(`world directors=2 groups=1\n${line}`)).rejects.toThrow(line);
    },
  );
});
