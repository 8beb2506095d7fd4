/**
 * Boots one User Mode Linux guest without a network, runs one command in it as init's only job, and
 * ends it. For what needs a kernel with ip_vs but no neighbours. The guest sees the machine's files
 * read-only and one directory read-write under its own path.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestMemory } from '../support/guest-memory.ts';

const DEFAULT_MEMORY_MB = 400;

/** For a job of a minute: several times that, where the machine is slow or has other work. */
export const GUEST_LIMIT_MS = 240_000;

export type GuestRun = {
  /** Everything that was printed: the kernel's words, the command's, and ours. */
  readonly console: string;
  /** The command's exit code; null where the guest did not come so far. */
  readonly exitCode: number | null;
};

export type GuestJob = {
  /** A shell command; `$OUT` is the shared directory, `modprobe` finds the guest's modules. */
  readonly command: (directory: string) => string;
  readonly timeoutMs: number;
  /** Default 400. */
  readonly memoryMb?: number;
  /** Looks at the shared directory before it is removed. */
  readonly collect?: (directory: string) => void;
};

/** Runs the job; the guest is gone when the promise settles, also at the time limit. */
export async function runInGuest(job: GuestJob): Promise<GuestRun> {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-guest-'));
  try {
    const init = join(directory, 'init.sh');
    writeFileSync(init, initScript(directory, job.command(directory)), { mode: 0o755 });
    const console = await bootUntilEnd(directory, init, job);
    job.collect?.(directory);
    const code = /^GUEST-EXIT (\d+)/m.exec(console)?.[1];
    return { console, exitCode: code === undefined ? null : Number(code) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function bootUntilEnd(directory: string, init: string, job: GuestJob): Promise<string> {
  const { timeoutMs, memoryMb = DEFAULT_MEMORY_MB } = job;
  const argv = [
    `mem=${memoryMb}M`,
    `uml_dir=${directory}/uml`,
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    `init=${init}`,
    'quiet',
    'panic=-1',
    'con=null',
    'con0=fd:0,fd:1',
  ];
  const child = spawn('env', [...guestMemory(directory, memoryMb), 'linux.uml', ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // Its own process group: the guest's processes end with it.
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // The group is gone already.
    }
  };
  const timer = setTimeout(() => {
    text += `\nthe guest was ended after ${timeoutMs} ms\n`;
    kill();
  }, timeoutMs);
  return new Promise((resolve, reject) => {
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new Error(`linux.uml (package user-mode-linux) does not start: ${error.message}`));
    });
    child.on('close', () => {
      clearTimeout(timer);
      kill();
      resolve(text.replaceAll('\r', ''));
    });
  });
}

function initScript(directory: string, command: string): string {
  return `#!/bin/bash
export PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TERM=dumb
mount -t proc proc /proc; mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run; mkdir -p /run/tmp /run/bin /run/m/lib; export TMPDIR=/run/tmp
mount -t hostfs -o ${directory} none ${directory}; export OUT=${directory}
ln -s /usr/lib/uml/modules /run/m/lib/modules
printf '#!/bin/sh\\nexec /sbin/modprobe -d /run/m "$@"\\n' >/run/bin/modprobe
chmod +x /run/bin/modprobe; echo /run/bin/modprobe >/proc/sys/kernel/modprobe
modprobe ipv6
ip link set lo up
cd ${process.cwd()}
( ${command} )
echo "GUEST-EXIT $?"
sync; poweroff -f
`;
}
