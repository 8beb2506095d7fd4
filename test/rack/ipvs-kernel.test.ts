/** The IPVS contract, whole tables and traces on real ip_vs, in a User Mode Linux guest (the running kernel has none). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CaseResult } from '../contract/contract-case.ts';
import { ipvsCases } from '../contract/ipvs-kernel.contract.ts';
import { GUEST_LIMIT_MS, runInGuest } from '../guest/boot.ts';
import { sumCases } from '../guest/ipvs-sums.ts';
import { tableCases } from '../guest/ipvs-table.ts';
import { traceCases } from '../guest/netlink-trace.ts';

const REAL_ONLY = [
  'without the module, dump and apply say UNAVAILABLE and what to do',
  'asking for the capability loads the module',
  'a module that was loaded anew is found under its new family id',
  'without privileges the answer is EPERM and names the capability',
];

const NAMES = [
  ...REAL_ONLY,
  ...[...ipvsCases, ...tableCases, ...traceCases, ...sumCases].map(({ name }) => name),
];

describe('IPVS kernel contract: kernel', () => {
  let results: readonly CaseResult[] = [];
  let said = '';

  beforeAll(async () => {
    const run = await runInGuest({
      command: (out) => `node --import tsx test/guest/ipvs-contract.ts ${out}/results.json`,
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

  for (const name of NAMES)
    test(name, () => {
      const result = results.find((entry) => entry.name === name);
      expect(result, `the case did not run:\n${said}`).toBeDefined();
      expect(result?.error).toBeNull();
    });
});
