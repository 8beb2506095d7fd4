/** The table of marks on a kernel without nftables, and on one that has them for bridges alone (6.1). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CaseResult } from '../contract/contract-case.ts';
import { GUEST_LIMIT_MS, runInGuest } from '../guest/boot.ts';

const CASES = [
  'without nftables the module is named',
  'without the family inet its module is named, and nothing is left',
];

describe('marks where the kernel cannot write them', () => {
  let results: readonly CaseResult[] = [];
  let said = '';

  beforeAll(async () => {
    const run = await runInGuest({
      command: (out) => `node --import tsx test/guest/marks-refusals.ts ${out}/results.json`,
      timeoutMs: GUEST_LIMIT_MS,
      collect: (out) => {
        try {
          results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'));
        } catch (error) {
          said = String(error);
        }
      },
    });
    said = `${said}\n${run.console}`;
  });

  for (const name of CASES)
    test(name, () => {
      const result = results.find((entry) => entry.name === name);
      expect(result, `the case did not run:\n${said}`).toBeDefined();
      expect(result?.error).toBeNull();
    });
});
