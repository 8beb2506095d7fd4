/** deploy/systemd: the unit as systemd reads it, the modules of all schedulers, and sysctls that say why. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseAgentConfig } from '../../../src/config/agent-file.ts';
import { buildTiming } from '../../../src/config/timing.ts';
import { SCHEDULERS } from '../../../src/model/cluster.ts';
import { runCli } from '../cli/harness.ts';
import { agentDocument, withKeyFile } from './key-file.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, 'deploy/systemd', file), 'utf8');

const unit = read('leasehold.service');
const valueOf = (key: string): string | null =>
  new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? null;

const ANALYZE = '/usr/bin/systemd-analyze';

/** What systemd itself says of the unit; null where this machine has none. */
function verify(text: string): string | null {
  if (!existsSync(ANALYZE)) return null;
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-unit-'));
  try {
    const file = join(directory, 'leasehold.service');
    writeFileSync(file, text);
    const done = spawnSync(ANALYZE, ['verify', '--man=no', file], { encoding: 'utf8' });
    // Other units of this machine are loaded along; their faults are not ours.
    const lines = `${done.stdout}${done.stderr}`.split('\n');
    return lines.filter((line) => line.includes('leasehold.service')).join('\n');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The unit with a program that is there on this machine. */
const runnable = (text: string): string =>
  text.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`);

describe('leasehold.service', () => {
  it('is understood by systemd, where there is one', () => {
    expect(verify(runnable(unit)) ?? '').toBe('');
  });

  it('would not be with a slip in it', () => {
    const slip = verify(runnable(unit).replace('RestartSec=1', 'RestartSecs=1'));
    if (slip !== null) expect(slip).toContain('RestartSecs');
  });

  it.each([
    ['Type', 'exec'],
    ['Restart', 'always'],
    ['RestartSec', '100ms'],
    ['ExecReload', '/bin/kill -USR2 $MAINPID'],
    ['KillSignal', 'SIGTERM'],
    ['TimeoutStopSec', '10'],
    [
      'CapabilityBoundingSet',
      'CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_MODULE CAP_SETUID CAP_SETGID CAP_KILL',
    ],
    ['ProtectSystem', 'strict'],
    ['RuntimeDirectory', 'leasehold'],
    ['RuntimeDirectoryPreserve', 'yes'],
    ['LimitNOFILE', '65536'],
    ['OOMScoreAdjust', '-900'],
    ['Nice', '-10'],
    ['WantedBy', 'multi-user.target'],
  ])('says %s=%s', (key, value) => {
    expect(valueOf(key)).toBe(value);
  });

  it('starts after the network, the modules and the sysctls', () => {
    for (const before of ['network-online.target', 'systemd-modules-load.service'])
      expect(valueOf('After')?.split(' ')).toContain(before);
    expect(valueOf('Wants')).toBe('network-online.target');
  });

  it('does not forbid what the agent does', () => {
    // modprobe, compiled JavaScript, and sockets of these families.
    expect(valueOf('ProtectKernelModules')).toBeNull();
    expect(valueOf('MemoryDenyWriteExecute')).toBeNull();
    expect(valueOf('PrivateNetwork')).toBeNull();
    // Kernel settings that the cluster document names.
    expect(valueOf('ProtectKernelTunables')).toBe('yes');
    expect(valueOf('ReadWritePaths')).toBe('/proc/sys/net');
    for (const family of ['AF_UNIX', 'AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_PACKET'])
      expect(valueOf('RestrictAddressFamilies')?.split(' ')).toContain(family);
  });

  it('starts a new agent before the gate of the former one shuts', () => {
    // F = D − P is how long the kernel lets VIPs speak after the last round of a process that left them.
    const { holdMs, permitMs } = buildTiming({ profile: 'default' });
    const waited = Number(/^(\d+)ms$/.exec(valueOf('RestartSec') ?? '')?.[1]);
    expect(waited).toBeLessThan((holdMs - permitMs) / 3);
    expect(valueOf('Restart')).toBe('always');
    expect(valueOf('RestartPreventExitStatus')).toBeNull();
    expect(valueOf('SuccessExitStatus')).toBeNull();
  });

  it('reloads by a signal that the program takes', () => {
    const signal = /-(\w+) \$MAINPID$/.exec(valueOf('ExecReload') ?? '')?.[1];
    const main = readFileSync(join(ROOT, 'src/main.ts'), 'utf8');
    expect(main).toContain(`process.on('SIG${signal}'`);
  });

  it('keeps the ledger where the agent puts it', async () => {
    await withKeyFile(async (keyFile) => {
      const parsed = await parseAgentConfig(agentDocument(keyFile), '/');
      expect(parsed.ok ? parsed.value.stateDir : null).toBe(`/run/${valueOf('RuntimeDirectory')}`);
    });
  });

  it('starts a command of leasehold', async () => {
    const [program, ...argv] = (valueOf('ExecStart') ?? '').split(' ');
    expect(program).toBe('/opt/leasehold/bin/leasehold');
    let started: unknown;
    await runCli(argv, {}, async (options) => {
      started = options;
      return 0;
    });
    expect(started).toEqual({ config: '/etc/leasehold/agent.yaml', dev: false });
  });
});

describe('modules-load.d', () => {
  it('names ip_vs and a module for every scheduler', () => {
    const modules = read('modules-load.d/leasehold.conf')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(modules.toSorted()).toEqual(
      ['ip_vs', ...SCHEDULERS.map((scheduler) => `ip_vs_${scheduler}`)].toSorted(),
    );
  });
});

describe('sysctl.d', () => {
  const paragraphs = read('sysctl.d/leasehold.conf').trim().split('\n\n').slice(1);

  it('has settings', () => {
    expect(paragraphs.length).toBeGreaterThan(4);
  });

  it.each(paragraphs)('says why, then what: %s', (paragraph) => {
    const lines = paragraph.split('\n');
    expect(lines[0]).toMatch(/^# [A-Z].{20,}[.]$/);
    const settings = lines.slice(1).filter((line) => !line.startsWith('# '));
    expect(settings.length).toBeGreaterThan(0);
    for (const setting of settings) {
      const key = /^[-#]?(net\.ipv[46]\.[\w.]+) = [012]$/.exec(setting)?.[1];
      expect(key, setting).toBeDefined();
    }
  });

  it('names sysctls that this kernel knows, apart from those of ip_vs', () => {
    if (!existsSync('/proc/sys/net/ipv4/conf/all')) return;
    const keys = [...read('sysctl.d/leasehold.conf').matchAll(/^[-#]?(net\.\S+) = /gm)]
      .map(([, key]) => key ?? '')
      .filter((key) => !key.startsWith('net.ipv4.vs.'));
    expect(keys.length).toBeGreaterThan(4);
    for (const key of keys)
      expect(existsSync(join('/proc/sys', key.replaceAll('.', '/'))), key).toBe(true);
  });
});
