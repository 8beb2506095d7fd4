/** The file ledger: what is saved is loaded, replaced as a whole, and a broken file is told. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ok } from '../../../../src/lib/result.ts';
import { createFileLedger } from '../../../../src/adapters/ledger/file-ledger.ts';

const PLACE = { bootId: 'boot', namespace: '4026531840', cookie: '7' };
const place = () => ok(PLACE);

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'leasehold-ledger-'));
  path = join(directory, 'state', 'ledger.json');
});

afterEach(() => rmSync(directory, { recursive: true }));

async function loaded(): Promise<readonly string[]> {
  const result = await createFileLedger(path, place).load();
  if (!result.ok) throw new Error(result.error);
  return [...result.value].toSorted();
}

describe('a file ledger', () => {
  it('is empty where there is no file yet, and makes none by being read', async () => {
    expect(await loaded()).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });

  it('loads what was saved, whatever the words', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.string({ unit: 'grapheme' })), async (services) => {
        expect(await createFileLedger(path, place).save(new Set(services))).toEqual({ ok: true });
        expect(await loaded()).toEqual(services.toSorted());
      }),
      { numRuns: 30 },
    );
  });

  it('keeps the last of many saves at once, and leaves nothing beside the file', async () => {
    const ledger = createFileLedger(path, place);
    const saves = Array.from({ length: 20 }, (_, i) => ledger.save(new Set([`tcp 10.0.0.1:${i}`])));
    for (const saved of await Promise.all(saves)) expect(saved.ok).toBe(true);
    expect(await loaded()).toEqual(['tcp 10.0.0.1:19']);
    expect(readdirSync(join(directory, 'state'))).toEqual(['ledger.json']);
  });

  it('is not disturbed by a temporary file that a crash left half written', async () => {
    const ledger = createFileLedger(path, place);
    await ledger.save(new Set(['tcp 10.0.0.1:80']));
    writeFileSync(`${path}.tmp`, '{"v":1,"serv');
    expect(await loaded()).toEqual(['tcp 10.0.0.1:80']);
    await ledger.save(new Set(['udp 10.0.0.1:53']));
    expect(await loaded()).toEqual(['udp 10.0.0.1:53']);
  });

  it.each([
    ['half a file', '{"v":1,"services":["tcp'],
    ['nothing', ''],
    ['another version', '{"v":2,"services":[]}'],
    ['other types', '{"v":1,"services":[80]}'],
    ['null', 'null'],
  ])('with %s is an error that names the file, and is left as it is', async (_, text) => {
    mkdirSync(join(directory, 'state'));
    writeFileSync(path, text);
    const result = await createFileLedger(path, place).load();
    expect(result.ok ? '' : result.error).toContain(`${path} is no ledger`);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it.each([
    ['another boot', '"bootId": "[^"]+"', '"bootId": "before"'],
    ['another namespace', '"namespace": "\\d+"', '"namespace": "1"'],
    ['a namespace that has ended', '"cookie": [^\\n]+', '"cookie": "4711"'],
  ])('of %s names nothing that is ours', async (_, member, other) => {
    await createFileLedger(path, place).save(new Set(['tcp 10.0.0.1:80']));
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(new RegExp(member), other));
    expect(await loaded()).toEqual([]);
  });

  it('of an earlier version, which noted no place, is taken for this one', async () => {
    mkdirSync(join(directory, 'state'));
    writeFileSync(path, '{"v":1,"services":["tcp 10.0.0.1:80"]}');
    expect(await loaded()).toEqual(['tcp 10.0.0.1:80']);
  });

  it('that cannot be read or written is an error, and the next save works again', async () => {
    mkdirSync(path, { recursive: true });
    const ledger = createFileLedger(path, place);
    const read = await ledger.load();
    const saved = await ledger.save(new Set(['tcp 10.0.0.1:80']));
    expect(read.ok ? '' : read.error).toMatch(/cannot be read: EISDIR/);
    expect(saved.ok ? '' : saved.error).toMatch(/cannot be written: /);
    rmSync(path, { recursive: true });
    expect((await ledger.save(new Set(['tcp 10.0.0.1:80']))).ok).toBe(true);
    expect(await loaded()).toEqual(['tcp 10.0.0.1:80']);
  });
});
