/** The fence contract on Linux, for each kind in a network namespace of its own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CaseResult } from './contract-case.ts';
import { fenceCases, LINUX_FENCE_CASES } from './fence.contract.ts';

const TWO_TABLES = ['one of two tables gone: MISSING, then managed as before and nothing enabled'];

const STACKED = [
  'a VIP on a link above another fenced one is heard while it may speak, and that one says nothing more',
];

/** Usually some twenty seconds. */
const LONGEST_RUN_MS = 150_000;

/** Each has a network of its own and mostly waits: all run at the same time. */
const runs = new Map<string, Promise<Ended>>();
const KINDS = [
  { kind: 'netdev', more: STACKED },
  { kind: 'arp-inet-ip6', more: TWO_TABLES },
  { kind: 'bridge', more: [] },
] as const;

beforeAll(() => {
  for (const { kind } of KINDS) runs.set(kind, runInNamespace(kind, LONGEST_RUN_MS));
});

describe.each(KINDS)('fence contract: Linux, $kind', ({ kind, more }) => {
  let results: readonly CaseResult[] = [];
  let ending = '';

  beforeAll(async () => {
    const run = await (runs.get(kind) ?? Promise.reject(new Error(`no run of ${kind}`)));
    ending = `exit ${run.code ?? run.signal}: ${run.errors}`;
    try {
      results = JSON.parse(run.output);
    } catch {
      // A child that died wrote no results: every test below then shows how it ended.
    }
  }, LONGEST_RUN_MS + 5_000);

  for (const name of [...fenceCases.map((entry) => entry.name), ...LINUX_FENCE_CASES, ...more])
    test(name, () => {
      const result = results.find((entry) => entry.name === name);
      expect(result, `the case did not run: ${ending}`).toBeDefined();
      expect(result?.error).toBeNull();
    });

  test('the process was alive to the end', () => expect(ending).toMatch(/^exit 0:/));
});

type Ended = { code: number | null; signal: string | null; output: string; errors: string };

/** The namespace goes with its only process; /sys shows that namespace's devices. */
function runInNamespace(kind: string, timeoutMs: number): Promise<Ended> {
  const script = join(import.meta.dirname, 'support', 'nft-fence-child.ts');
  const command = 'mount -t sysfs sysfs /sys && ip link set lo up && exec node --import tsx "$@"';
  const child = spawn(
    'unshare',
    ['--net', '--mount', '--', 'sh', '-c', command, 'sh', script, kind],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
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
