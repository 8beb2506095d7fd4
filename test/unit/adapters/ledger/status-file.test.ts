import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createStatusFile } from '../../../../src/adapters/ledger/status-file.ts';
import { checkId } from '../../../../src/model/ids.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lh-statuses-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('keeps what is up and what is down for another process', async () => {
  const path = join(folder, 'state', 'lab.statuses.json');
  expect(await createStatusFile(path).load()).toEqual({ ok: true, value: new Map() });
  const known = new Map([
    [checkId('a'), true],
    [checkId('b'), false],
  ]);
  expect(await createStatusFile(path).save(known)).toMatchObject({ ok: true });
  expect(await createStatusFile(path).load()).toEqual({ ok: true, value: known });
  expect(readdirSync(join(folder, 'state'))).toEqual(['lab.statuses.json']);
});

it.each(['', '{"v":2,"up":[],"down":[]}', '{"v":1,"up":[1],"down":[]}'])(
  'tells of a file that is none of its own, and writes over it: %s',
  async (text) => {
    const path = join(folder, 'lab.statuses.json');
    writeFileSync(path, text);
    const loaded = await createStatusFile(path).load();
    expect(loaded.ok ? '' : loaded.error).toContain(path);
    await createStatusFile(path).save(new Map());
    expect((await createStatusFile(path).load()).ok).toBe(true);
  },
);
