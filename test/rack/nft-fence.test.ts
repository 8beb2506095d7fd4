/** The fence contract on an older kernel (6.1), in a User Mode Linux guest: it has family bridge alone. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CaseResult } from '../contract/contract-case.ts';
import { fenceCases, LINUX_FENCE_CASES } from '../contract/fence.contract.ts';
import { GUEST_LIMIT_MS, runInGuest } from '../guest/boot.ts';

describe('fence contract: Linux 6.1, bridge', () => {
  let results: readonly CaseResult[] = [];
  let said = '';

  beforeAll(async () => {
    const script = 'test/contract/support/nft-fence-child.ts bridge bridge';
    const run = await runInGuest({
      command: (out) =>
        `for m in bridge veth nf_tables; do modprobe $m; done; node --import tsx ${script} >${out}/results.json`,
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

  for (const name of [...fenceCases.map((entry) => entry.name), ...LINUX_FENCE_CASES])
    test(name, () => {
      const result = results.find((entry) => entry.name === name);
      expect(result, `the case did not run:\n${said}`).toBeDefined();
      expect(result?.error).toBeNull();
    });
});
