/** The contract of the table of marks on Linux, in a network namespace of its own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ensurePackage } from '../support/debian-package.ts';
import type { CaseResult } from './contract-case.ts';
import { marksCases } from './marks.contract.ts';

/** Usually some seconds. */
const LONGEST_RUN_MS = 120_000;

/** Not imported: that file runs its cases when it is loaded. */
const LINUX_CASES = [
  'nft shows who is marked, with what, and for whom',
  'packets of a client are marked by address, protocol and port, and no others',
  'fragments and extension headers are seen through',
  'what the director itself sends to its VIPs is marked where IPVS looks for it',
  'marks of others stay on all packets but those that are asked for',
  'while others come and go, no packet misses a mark that stays',
  'whatever somebody changes in the table is seen and made good',
  'tables of others are left alone, also those of our name in another family',
  'the removal of all finds the table of a process that is gone',
  'a machine that is no director any more keeps no marks',
];

describe('marks contract: Linux', () => {
  let results: readonly CaseResult[] = [];
  let ending = '';

  beforeAll(async () => {
    await ensurePackage('nftables', (text) => process.stderr.write(`${text}\n`));
    const run = await runInNamespace(LONGEST_RUN_MS);
    ending = `exit ${run.code ?? run.signal}: ${run.errors}`;
    try {
      results = JSON.parse(run.output);
    } catch {
      // A child that died wrote no results: every test below then shows how it ended.
    }
  }, 180_000);

  for (const name of [...marksCases.map((each) => each.name), ...LINUX_CASES])
    test(name, () => {
      const result = results.find((each) => each.name === name);
      expect(result, `the case did not run: ${ending}`).toBeDefined();
      expect(result?.error).toBeNull();
    });

  test('no case ran that is not named here, and the process was alive to the end', () => {
    expect(results).toHaveLength(marksCases.length + LINUX_CASES.length);
    expect(ending).toMatch(/^exit 0:/);
  });
});

type Ended = { code: number | null; signal: string | null; output: string; errors: string };

/** The namespace goes with its only process. */
function runInNamespace(timeoutMs: number): Promise<Ended> {
  const script = join(import.meta.dirname, 'support', 'nft-marks-child.ts');
  const command = 'mount -t sysfs sysfs /sys && ip link set lo up && exec node --import tsx "$@"';
  const child = spawn('unshare', ['--net', '--mount', '--', 'sh', '-c', command, 'sh', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output, errors });
    });
  });
}
