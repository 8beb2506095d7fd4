/** deploy/systemd/leasehold-realserver@.service: as systemd reads it, and with commands that there are. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { RealServerRequest } from '../../../src/model/real-server-host.ts';
import { runCli } from '../cli/harness.ts';

const NAME = 'leasehold-realserver@.service';
const unit = readFileSync(
  fileURLToPath(new URL(`../../../deploy/systemd/${NAME}`, import.meta.url)),
  'utf8',
);
const valueOf = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? '';
const noAgent = async (): Promise<number> => 0;

describe(NAME, () => {
  it('is understood by systemd, where there is one', () => {
    if (!existsSync('/usr/bin/systemd-analyze')) return;
    const directory = mkdtempSync(join(tmpdir(), 'leasehold-unit-'));
    try {
      const file = join(directory, 'leasehold-realserver@web.service');
      writeFileSync(file, unit.replaceAll(/^(Exec\w+)=\S+/gm, `$1=${process.execPath}`));
      const done = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });
      const lines = `${done.stdout}${done.stderr}`.split('\n');
      expect(lines.filter((line) => line.includes('leasehold-realserver'))).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it.each([
    ['ExecStart', 'up'],
    ['ExecStopPost', 'down'],
  ])('%s is a command of leasehold: %s', async (key, verb) => {
    const options = /OPTIONS=(.*)$/m.exec(unit)?.[1] ?? '';
    const [program, ...argv] = valueOf(key).replace('$OPTIONS', options).split(' ');
    expect(program).toBe('/opt/leasehold/bin/leasehold');
    const seen: RealServerRequest[] = [];
    await runCli(argv, {}, noAgent, noAgent, async (request) => {
      seen.push(request);
      return { ok: false, error: 'seen' };
    });
    expect(seen).toMatchObject([{ verb }]);
  });

  it('takes no VIP of another instance down where its own file names none', async () => {
    const [, ...argv] = valueOf('ExecStopPost').replace(' $OPTIONS', '').split(' ');
    let isAsked = false;
    const screen = await runCli(argv, {}, noAgent, noAgent, async () => {
      isAsked = true;
      return { ok: false, error: 'seen' };
    });
    expect(screen).toMatchObject({ code: 2 });
    expect(isAsked).toBe(false);
  });

  it('lets the command do its work, and keeps the notes', () => {
    expect(unit).not.toMatch(/^ProtectKernel(Tunables|Modules)=/m);
    expect(valueOf('CapabilityBoundingSet')).toBe('CAP_NET_ADMIN CAP_SYS_MODULE');
    expect(valueOf('RestrictAddressFamilies').split(' ')).toEqual(
      expect.arrayContaining(['AF_UNIX', 'AF_NETLINK', 'AF_INET6']),
    );
    expect(valueOf('RuntimeDirectory')).toBe('leasehold');
    expect(valueOf('RuntimeDirectoryPreserve')).toBe('yes');
    expect(valueOf('RemainAfterExit')).toBe('yes');
    expect(valueOf('After')).toContain('systemd-sysctl.service');
  });
});
