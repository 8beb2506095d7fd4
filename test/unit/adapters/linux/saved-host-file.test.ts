/** The notes of `leasehold realserver`: whole or not at all, of this boot, one writer at a time. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSavedHostFile } from '../../../../src/adapters/linux/saved-host-file.ts';
import { tryRunLock } from '../../../../src/adapters/machine/run-lock.ts';
import { ok } from '../../../../src/lib/result.ts';
import { NOTHING_SAVED, type SavedHost } from '../../../../src/model/real-server-host.ts';
import { FakeClock } from '../../../fakes/fake-clock.ts';
import { ip } from '../../../fakes/fake-real-server-host.ts';

const SAVED: SavedHost = {
  vips: [
    {
      address: ip('10.90.0.100'),
      device: 'tunl0',
      tunnelDevice: 'tunl0',
      tunnel: { kind: 'gue', over: 4, guePort: 6080 },
      isAdded: true,
    },
  ],
  settings: [{ path: 'net/ipv4/conf/all/arp_ignore', before: 0, value: 1 }],
  links: [
    {
      name: 'tunl0',
      isCreated: false,
      isSwitchedOn: true,
      innerProtocol: { before: 41, value: 0 },
    },
  ],
  guePorts: [{ port: 6080, family: 4 }],
};

const portsWith = (clock: FakeClock) => ({
  clock,
  place: () => ok({ bootId: 'boot', namespace: '4026531840', cookie: '7' }),
  tryLock: tryRunLock,
});

describe('the file', () => {
  let directory: string;
  const store = () => createSavedHostFile(portsWith(new FakeClock()), directory);
  const file = (): string => {
    const [name = ''] = readdirSync(directory);
    return join(directory, name);
  };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'leasehold-realserver-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('gives back what was saved, and is gone with nothing to save', async () => {
    expect(await store().load()).toEqual({ ok: true, value: NOTHING_SAVED });
    expect(await store().save(SAVED)).toEqual({ ok: true, value: undefined });
    expect(await store().load()).toEqual({ ok: true, value: SAVED });
    expect(readdirSync(directory)).toHaveLength(1);
    await store().save(NOTHING_SAVED);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('of an earlier boot says nothing: the kernel is a new one', async () => {
    await store().save(SAVED);
    const text = readFileSync(file(), 'utf8');
    writeFileSync(file(), text.replace(/"bootId": "[^"]+"/, '"bootId": "before"'));
    expect(await store().load()).toEqual({ ok: true, value: NOTHING_SAVED });
  });

  it('of a namespace that has ended says nothing, though its number is used again', async () => {
    await store().save(SAVED);
    const text = readFileSync(file(), 'utf8');
    writeFileSync(file(), text.replace(/"cookie": [^,]+/, '"cookie": "4711"'));
    expect(await store().load()).toEqual({ ok: true, value: NOTHING_SAVED });
    // As earlier versions wrote it.
    writeFileSync(file(), text.replace(/ *"cookie": [^,]+,\n/, ''));
    expect(await store().load()).toEqual({ ok: true, value: SAVED });
  });

  it('has one writer at a time, who is named after a while', async () => {
    const clock = new FakeClock();
    const one = createSavedHostFile(portsWith(clock), directory);
    const first = await one.lock();
    expect(first.ok).toBe(true);
    const second = one.lock();
    await clock.advance(10_000);
    expect(await second).toEqual({
      ok: false,
      error: `another "leasehold realserver" (process ${process.pid}) has been at work for 10 s: look at it (ps), try again`,
    });
    if (first.ok) first.value.release();
    expect((await one.lock()).ok).toBe(true);
  });

  it.each(['', 'nonsense', '{}', '{"v":2}'])('that is not ours is refused: %s', async (text) => {
    await store().save(SAVED);
    writeFileSync(file(), text);
    const loaded = await store().load();
    expect(loaded.ok ? '' : loaded.error).toContain('is not what leasehold wrote there');
  });

  it('names no path outside /proc/sys/net', async () => {
    await store().save({
      ...SAVED,
      settings: [{ path: 'net/ipv4/conf/../../../kernel/x', before: 0, value: 1 }],
    });
    expect((await store().load()).ok).toBe(false);
  });

  it('cannot be written where the directory is a file: the error says so', async () => {
    const blocked = join(directory, 'file');
    writeFileSync(blocked, '');
    const other = createSavedHostFile(portsWith(new FakeClock()), blocked);
    const saved = await other.save(SAVED);
    expect(saved.ok ? '' : saved.error).toMatch(/cannot be written/);
  });
});
