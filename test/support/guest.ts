/**
 * A User Mode Linux guest: a director with its own kernel and real ip_vs, run as an ordinary
 * process. It sees the machine's files read-only (hostfs) and one shared directory read-write under
 * its own path; its network card is a tap at the switch. Commands go in over the console: the host
 * writes a script into the shared directory, the guest runs it and answers on the console.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { guestMemory } from './guest-memory.ts';
import type { Network } from './network.ts';
import { type Completed, descendantsOf, PATIENCE_MS, signalAll, within } from './processes.ts';

/** What a director needs: the balancer, its usual schedulers and IPv6. */
export const IPVS_MODULES = [
  'ipv6',
  'ip_vs',
  'ip_vs_rr',
  'ip_vs_wrr',
  'ip_vs_lc',
  'ip_vs_wlc',
  'ip_vs_sh',
  'ip_vs_mh',
] as const;

export type GuestOptions = {
  readonly name: string;
  readonly network: Network;
  /** Addresses of `vec0`, with prefix lengths. */
  readonly addresses: readonly string[];
  /** Addresses of `vec1`, a second card at the wire inside. Default: no such card. */
  readonly inside?: readonly string[];
  /** Default 256. */
  readonly memoryMb?: number;
  /** Default `IPVS_MODULES`. A module that cannot be loaded fails the boot with its name. */
  readonly modules?: readonly string[];
};

export interface Guest {
  readonly name: string;
  /** Read-write for both sides, under the same path. */
  readonly directory: string;
  readonly consoleFile: string;
  /** What `spawn`ed programs print; written through to the host, survives a loss of power. */
  readonly logFile: string;
  readonly interface: 'vec0';
  exec(command: string | readonly string[], options?: { timeoutMs?: number }): Promise<Completed>;
  /** As exec, but any code but 0 throws. Gives the standard output. */
  execOk(command: string | readonly string[], options?: { timeoutMs?: number }): Promise<string>;
  /** Starts a program beside; gives its pid inside the guest. Its output goes to `logFile`. */
  spawn(argv: readonly string[]): Promise<number>;
  isRunning(): boolean;
  /** Of its processes on this machine, of which each of its programs is one. */
  pids(): readonly number[];
  /** Loss of power: SIGKILL of every process of the guest. */
  kill(): Promise<void>;
  /** A machine that is paused by its hypervisor. */
  pause(): void;
  resume(): void;
  shutdown(): Promise<void>;
}

/** It takes some seconds where nothing else is at work. */
const BOOT_TIMEOUT_MS = 100_000;

/** Boots and waits until commands can be run. Throws with the console's last lines otherwise. */
export async function bootGuest(options: GuestOptions): Promise<Guest> {
  const { name, network } = options;
  const directory = join(network.directory, `guest-${name}`);
  mkdirSync(directory, { recursive: true });
  const tap = await network.addTap(name);
  const inside = options.inside === undefined ? null : await network.addTap(name, 'inside');
  const init = join(directory, 'init.sh');
  writeFileSync(init, initScript(directory, options), { mode: 0o755 });
  const consoleFile = join(directory, 'console.log');
  const logFile = join(directory, 'program.log');
  const child = startKernel({ options, directory, tap, inside, init, consoleFile, logFile });
  const console = createConsole(child, consoleFile);
  const answer = await within(console.ready, BOOT_TIMEOUT_MS);
  if (answer !== 'ready') {
    await killGuest(child);
    const said = readFileSync(consoleFile, 'utf8').split('\n').slice(-15).join('\n');
    throw new Error(`guest ${name}: does not boot: ${answer ?? 'no answer'}\n${said}`);
  }
  return createGuest({ name, directory, consoleFile, logFile, child, console });
}

type Kernel = {
  readonly options: GuestOptions;
  readonly directory: string;
  readonly tap: string;
  readonly inside: string | null;
  readonly init: string;
  readonly consoleFile: string;
  readonly logFile: string;
};

function startKernel(kernel: Kernel): ChildProcess {
  const { options } = kernel;
  const memoryMb = options.memoryMb ?? 256;
  const log = openSync(kernel.logFile, 'a');
  const argv = [
    'netns',
    'exec',
    options.network.switchNamespace,
    'linux.uml',
    `mem=${memoryMb}M`,
    `umid=${options.name}`,
    `uml_dir=${kernel.directory}/uml`,
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    `init=${kernel.init}`,
    'quiet',
    'panic=-1',
    'con=null',
    'con0=fd:0,fd:1',
    'con1=null,fd:3',
    `vec0:transport=tap,ifname=${kernel.tap},depth=64`,
    ...(kernel.inside === null ? [] : [`vec1:transport=tap,ifname=${kernel.inside},depth=64`]),
  ];
  const child = spawn('env', [...guestMemory(kernel.directory, memoryMb), 'ip', ...argv], {
    stdio: ['pipe', 'pipe', 'pipe', log],
    detached: true, // Not in the terminal's process group: Ctrl-C is for the test to handle.
  });
  closeSync(log);
  return child;
}

function initScript(directory: string, options: GuestOptions): string {
  const cards = { vec0: options.addresses, ...(options.inside && { vec1: options.inside }) };
  return `#!/bin/bash
export PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TERM=dumb
mount -t proc proc /proc; mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run; mkdir /run/tmp; export TMPDIR=/run/tmp
mount -t hostfs -o ${directory} none ${directory}
exec </dev/console >/dev/console 2>&1
stty raw -echo
die() { echo "FAILED $*"; sleep 1; poweroff -f; }
mkdir -p /run/bin /run/m/lib; ln -s /usr/lib/uml/modules /run/m/lib/modules
printf '#!/bin/sh\\nexec /sbin/modprobe -d /run/m "$@"\\n' >/run/bin/modprobe
chmod +x /run/bin/modprobe; echo /run/bin/modprobe >/proc/sys/kernel/modprobe
for module in ${(options.modules ?? IPVS_MODULES).join(' ')}; do
  modprobe "$module" || die "modprobe $module"
done
hostname ${options.name}
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip link set lo up
${Object.entries(cards)
  .flatMap(([card, addresses]) => cardLines(card, addresses))
  .join('\n')}
work() {
  bash "${directory}/$1.sh" >"${directory}/$1.out" 2>"${directory}/$1.err" </dev/null
  echo "DONE $1 $?"
}
echo READY
while read -r id; do work "$id" & done
poweroff -f
`;
}

function cardLines(card: string, addresses: readonly string[]): readonly string[] {
  return [
    `sysctl -qw net.ipv6.conf.${card}.accept_dad=0`,
    `ip link set ${card} up || die ${card}`,
    ...addresses.map((address) => {
      const flags = address.includes(':') ? ' nodad' : '';
      return `ip address add ${address} dev ${card}${flags}`;
    }),
  ];
}

interface Console {
  readonly ready: Promise<string>;
  /** Runs script `id`; gives its exit code, or null where the guest ended first. */
  run(id: string): Promise<number | null>;
}

function createConsole(child: ChildProcess, consoleFile: string): Console {
  const waiting = new Map<string, (code: number | null) => void>();
  let buffer = '';
  const ready = new Promise<string>((resolve) => {
    // Its kernel may speak in the same line.
    const onLine = (line: string): void => {
      if (/\bREADY\b/.test(line)) resolve('ready');
      if (/\bFAILED\b/.test(line)) resolve(line);
      const [, id = '', code] = /\bDONE (command-\d+) (\d+)/.exec(line) ?? [];
      waiting.get(id)?.(Number(code));
      waiting.delete(id);
    };
    const onData = (chunk: Buffer): void => {
      appendFileSync(consoleFile, chunk);
      buffer += chunk.toString();
      const lines = buffer.split('\n');
      buffer = lines.pop() ?? '';
      lines.forEach(onLine);
    };
    child.stdout?.on('data', onData);
    child.stderr?.on('data', onData);
    child.on('error', (cause) => resolve(cause.message));
    child.on('exit', () => {
      resolve('it ended');
      for (const settle of waiting.values()) settle(null);
      waiting.clear();
    });
  });
  child.stdin?.on('error', () => {}); // The guest is gone: 'exit' tells.
  return {
    ready,
    run: (id) =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve(null);
        waiting.set(id, resolve);
        child.stdin?.write(`${id}\n`);
      }),
  };
}

type Booted = {
  readonly name: string;
  readonly directory: string;
  readonly consoleFile: string;
  readonly logFile: string;
  readonly child: ChildProcess;
  readonly console: Console;
};

function createGuest(booted: Booted): Guest {
  const { name, directory, child } = booted;
  let sequence = 0;
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const exec: Guest['exec'] = async (command, options = {}) => {
    sequence += 1;
    const id = `command-${sequence}`;
    const path = join(directory, id);
    const text = typeof command === 'string' ? command : command.map(quote).join(' ');
    writeFileSync(`${path}.sh`, `${text}\n`);
    const timeoutMs = options.timeoutMs ?? PATIENCE_MS;
    const code = await within(booted.console.run(id), timeoutMs);
    if (code === undefined)
      return { code: 124, stdout: '', stderr: `guest ${name}: no answer in ${timeoutMs} ms` };
    if (code === null) return { code: 128, stdout: '', stderr: `guest ${name}: it ended` };
    return {
      code,
      stdout: readFileSync(`${path}.out`, 'utf8'),
      stderr: readFileSync(`${path}.err`, 'utf8'),
    };
  };
  const execOk: Guest['execOk'] = async (command, options) => {
    const done = await exec(command, options);
    if (done.code === 0) return done.stdout;
    throw new Error(`guest ${name}: ${String(command)}: code ${done.code}: ${done.stderr}`);
  };
  return {
    name,
    directory,
    consoleFile: booted.consoleFile,
    logFile: booted.logFile,
    interface: 'vec0',
    exec,
    execOk,
    async spawn(argv) {
      const started = `setsid ${argv.map(quote).join(' ')} >/dev/tty1 2>&1 & echo $!`;
      return Number(await execOk(started));
    },
    isRunning,
    pids: () => (child.pid === undefined ? [] : descendantsOf(child.pid)),
    kill: () => killGuest(child),
    pause: () => signalAll(untraced(descendantsOf(child.pid ?? 0)), 'SIGSTOP'),
    resume: () => signalAll(untraced(descendantsOf(child.pid ?? 0)), 'SIGCONT'),
    async shutdown() {
      if (!isRunning()) return;
      child.stdin?.end();
      const ended = new Promise<true>((resolve) => {
        child.on('exit', () => resolve(true));
      });
      void exec('poweroff -f');
      if ((await within(ended, 5000)) === undefined) await killGuest(child);
    },
  };
}

async function killGuest(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => {
    child.on('exit', resolve);
  });
  signalAll(descendantsOf(child.pid), 'SIGKILL');
  await ended;
}

// The guest's programs are traced by its kernel: they rest while it does, and a stop of their own
// would be taken for one of theirs.
function untraced(pids: readonly number[]): readonly number[] {
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/status`, 'utf8').includes('TracerPid:\t0\n');
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

/** One word of a shell command. */
export function quote(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
