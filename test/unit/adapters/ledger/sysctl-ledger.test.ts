import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createSysctlLedger } from '../../../../src/adapters/ledger/sysctl-ledger.ts';

let folder = '';
const CHANGED = new Map([['net.ipv4.ip_forward', { was: '0', set: '1' }]]);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lh-sysctl-ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('keeps what settings were, also for another process', async () => {
  const path = join(folder, 'state', 'lab.sysctls.json');
  expect(await createSysctlLedger(path).load()).toEqual({ ok: true, value: new Map() });
  expect(await createSysctlLedger(path).save(CHANGED)).toMatchObject({ ok: true });
  expect(await createSysctlLedger(path).load()).toEqual({ ok: true, value: CHANGED });
  expect(readdirSync(join(folder, 'state'))).toEqual(['lab.sysctls.json']);
});

it.each(['', '{', '{"v":2,"changed":{}}', '{"v":1,"changed":{"a":{"was":1,"set":"1"}}}'])(
  'refuses a file that is none of its own: %s',
  async (text) => {
    const path = join(folder, 'lab.sysctls.json');
    writeFileSync(path, text);
    const loaded = await createSysctlLedger(path).load();
    expect(loaded.ok ? '' : loaded.error).toContain(path);
  },
);

it('says why it cannot write', async () => {
  writeFileSync(join(folder, 'file'), '');
  const saved = await createSysctlLedger(join(folder, 'file', 'lab.json')).save(CHANGED);
  expect(saved.ok ? '' : saved.error).toMatch(/cannot be written/);
});
