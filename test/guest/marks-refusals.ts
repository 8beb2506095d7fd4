/** Runs inside a guest whose kernel has nftables for bridges alone: what the table of marks says then. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createSystemClock } from '../../src/adapters/clock/system-clock.ts';
import { createNftMarks, uninstallMarks } from '../../src/adapters/linux/nft-marks.ts';
import { silentLog } from '../../src/ports/log.ts';
import { runCases, type ContractCase } from '../contract/contract-case.ts';
import { SHOP } from '../contract/marks.contract.ts';

const output = process.argv[2];
if (output === undefined) throw new Error('usage: marks-refusals.ts FILE');

const ports = { log: silentLog, clock: createSystemClock() };
const sh = (command: string): string => execFileSync('sh', ['-c', command]).toString();

/** Nothing is there, nothing is to be removed, and what cannot be written says why. */
async function refusal(): Promise<string> {
  const marks = createNftMarks(ports);
  try {
    assert.deepEqual(await marks.observe(), { ok: true, value: null });
    assert.deepEqual(await marks.remove(), { ok: true, value: undefined });
    assert.deepEqual(await uninstallMarks(ports), { ok: true, value: false });
    const refused = await marks.replace(SHOP);
    assert.equal(refused.ok, false);
    assert.deepEqual(await marks.observe(), { ok: true, value: null });
    return refused.ok ? '' : refused.error.message;
  } finally {
    marks.close();
  }
}

const cases: readonly ContractCase<null>[] = [
  {
    name: 'without nftables the module is named',
    run: async () => {
      sh('echo /bin/false >/proc/sys/kernel/modprobe');
      assert.match(await refusal(), /this kernel has no nftables; .*modprobe nf_tables/);
    },
  },
  {
    name: 'without the family inet its module is named, and nothing is left',
    run: async () => {
      sh('modprobe nf_tables');
      assert.match(await refusal(), /family inet.*nf_tables_inet/);
    },
  },
];

const results = await runCases<null>(cases, async () => ({ world: null, end: async () => {} }));
writeFileSync(output, JSON.stringify(results));
