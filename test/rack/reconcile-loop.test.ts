/** The reconcile loop on real ip_vs, in a User Mode Linux guest (the running kernel has none). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CaseResult } from '../contract/contract-case.ts';
import { GUEST_LIMIT_MS, runInGuest } from '../guest/boot.ts';

const NAMES = [
  'a table that somebody flushes is back within five seconds, and nothing foreign is touched',
  'sync daemons follow what is held, and somebody who stops one does not win',
  'with backup_only a director that serves one group listens to no other, and forwards',
  'a daemon on an interface that is not there is a problem, and the table is made all the same',
  'readiness comes after the time to catch up',
  'timeouts are set as far as they are named',
  'a real server leaves when its last connection has gone',
  'a real server that was dropped while no agent ran leaves in the same way',
  'a persistence template keeps a drained real server, until it has expired',
  'an end that releases leaves what is foreign',
  'settings of ip_vs are set, set again, and given back',
];

describe('the reconcile loop on a real kernel', () => {
  let results: readonly CaseResult[] = [];
  let said = '';

  beforeAll(async () => {
    const run = await runInGuest({
      command: (out) => `node --import tsx test/guest/reconcile-loop.ts ${out}/results.json`,
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

  test.each(NAMES)('%s', (name) => {
    const result = results.find((entry) => entry.name === name);
    expect(result, `the case did not run:\n${said}`).toBeDefined();
    expect(result?.error).toBeNull();
  });
});
