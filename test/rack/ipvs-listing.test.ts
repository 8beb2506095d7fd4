/** The listings of a real kernel beside ipvsadm's, in a User Mode Linux guest (the running kernel has no ip_vs). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { CaseResult } from '../contract/contract-case.ts';
import { GUEST_LIMIT_MS, runInGuest } from '../guest/boot.ts';

test('listings and connections are those of ipvsadm', async () => {
  let results: readonly CaseResult[] = [];
  const run = await runInGuest({
    command: (out) => `node --import tsx test/guest/ipvs-listing.ts ${out}/results.json`,
    timeoutMs: GUEST_LIMIT_MS,
    collect: (out) => {
      results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'));
    },
  });
  expect(results.length, run.console).toBe(8);
  expect(results.filter(({ error }) => error !== null)).toEqual([]);
});
