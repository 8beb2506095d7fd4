import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ok } from '../../../../src/lib/result.ts';
import { createSysctlLedger } from '../../../../src/adapters/ledger/sysctl-ledger.ts';

const place = () => ok({ bootId: 'boot', namespace: '4026531840', cookie: '7' });

let folder = '';
const CHANGED = new Map([['net.ipv4.ip_forward', { was: '0', set: '1' }]]);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lh-sysctl-ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('keeps what settings were, also for another process', async () => {
  const path = join(folder, 'state', 'lab.sysctls.json');
  expect(await createSysctlLedger(path, place).load()).toEqual({ ok: true, value: new Map() });
  expect(await createSysctlLedger(path, place).save(CHANGED)).toMatchObject({ ok: true });
  expect(await createSysctlLedger(path, place).load()).toEqual({ ok: true, value: CHANGED });
  expect(readdirSync(join(folder, 'state'))).toEqual(['lab.sysctls.json']);
});

it.each(['', '{', '{"v":2,"changed":{}}', '{"v":1,"changed":{"a":{"was":1,"set":"1"}}}'])(
  'refuses a file that is none of its own: %s',
  async (text) => {
    const path = join(folder, 'lab.sysctls.json');
    writeFileSync(path, text);
    const loaded = await createSysctlLedger(path, place).load();
    expect(loaded.ok ? '' : loaded.error).toContain(path);
  },
);

it('gives nothing back of another boot or another namespace: there it is what they made it', async () => {
  const path = join(folder, 'lab.sysctls.json');
  await createSysctlLedger(path, place).save(CHANGED);
  const text = readFileSync(path, 'utf8');
  for (const [member, other] of [
    [/"bootId": "[^"]+"/, '"bootId": "before"'],
    [/"namespace": "\d+"/, '"namespace": "1"'],
    [/"cookie": [^\n]+/, '"cookie": "4711"'],
  ] as const) {
    writeFileSync(path, text.replace(member, other));
    expect(await createSysctlLedger(path, place).load()).toEqual({ ok: true, value: new Map() });
  }
  // As earlier versions wrote it.
  writeFileSync(path, '{"v":1,"changed":{"net.ipv4.ip_forward":{"was":"0","set":"1"}}}');
  expect(await createSysctlLedger(path, place).load()).toEqual({ ok: true, value: CHANGED });
});

it('says why it cannot write', async () => {
  writeFileSync(join(folder, 'file'), '');
  const saved = await createSysctlLedger(join(folder, 'file', 'lab.json'), place).save(CHANGED);
  expect(saved.ok ? '' : saved.error).toMatch(/cannot be written/);
});
