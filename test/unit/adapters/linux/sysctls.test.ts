import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSysctls } from '../../../../src/adapters/linux/sysctls.ts';
import { SYSCTLS } from '../../../../src/config/sysctls.ts';

let root = '';
const FORWARD = 'net.ipv4.ip_forward';
const THRESHOLD = 'net.ipv4.vs.sync_threshold';

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lh-sysctls-'));
  mkdirSync(join(root, 'net/ipv4/vs'), { recursive: true });
  writeFileSync(join(root, 'net/ipv4/ip_forward'), '0\n');
  writeFileSync(join(root, 'net/ipv4/vs/sync_threshold'), '3\t50\n');
});
afterEach(() => rmSync(root, { recursive: true }));

describe('kernel settings', () => {
  it('are read as one text with single spaces; what is not there is null', async () => {
    const read = await createSysctls(root).read([FORWARD, THRESHOLD, 'net.ipv4.vs.nothing']);
    expect([...read]).toEqual([
      [FORWARD, { ok: true, value: '0' }],
      [THRESHOLD, { ok: true, value: '3 50' }],
      ['net.ipv4.vs.nothing', { ok: true, value: null }],
    ]);
  });

  it('are written where they are, and never made', async () => {
    const sysctls = createSysctls(root);
    expect(await sysctls.write(FORWARD, '1')).toEqual({ ok: true, value: undefined });
    expect(readFileSync(join(root, 'net/ipv4/ip_forward'), 'utf8').startsWith('1')).toBe(true);
    const missing = await sysctls.write('net.ipv4.vs.nothing', '1');
    expect(missing.ok ? '' : missing.error).toBe(
      `this kernel has no such setting (${join(root, 'net/ipv4/vs/nothing')})`,
    );
    expect((await sysctls.read(['net.ipv4.vs.nothing'])).get('net.ipv4.vs.nothing')).toEqual({
      ok: true,
      value: null,
    });
  });

  it('of a device with dots are named as sysctl(8) does', async () => {
    mkdirSync(join(root, 'net/ipv4/conf/eth0.100'), { recursive: true });
    writeFileSync(join(root, 'net/ipv4/conf/eth0.100/rp_filter'), '1\n');
    const name = 'net.ipv4.conf.eth0/100.rp_filter';
    const read = await createSysctls(root).read([name]);
    expect(read.get(name)).toEqual({ ok: true, value: '1' });
  });

  it.each([
    'net.ipv4.conf.../..',
    'net.ipv4./',
    'net.ipv4.a//b',
    '../etc/passwd',
    'net..ipv4',
    'net/ipv4/ip_forward',
    '',
    'net',
  ])('are none under the name "%s"', async (name) => {
    const sysctls = createSysctls(root);
    expect((await sysctls.read([name])).get(name)?.ok).toBe(false);
    expect((await sysctls.write(name, '1')).ok).toBe(false);
  });

  it('that a document may name are all read from this kernel, or not there', async () => {
    const names = SYSCTLS.map(({ name }) => name);
    const read = await createSysctls().read(names);
    expect([...read.values()].every(({ ok }) => ok)).toBe(true);
    const forward = read.get(FORWARD);
    expect(forward?.ok === true ? forward.value : null).toMatch(/^[01]$/);
  });
});
