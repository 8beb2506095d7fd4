/**
 * Child processes for the lab: run to the end with a limit, start and keep the output, end by id.
 * Nothing here finds a process by its name.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';

export type Completed = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type RunOptions = {
  /** The process is killed after this long and counts as code 124. Default 20 s. */
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly cwd?: string;
};

/** Runs a command to its end. Never rejects: a command that cannot be started has code 127. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<Completed> {
  const [command = '', ...rest] = argv;
  const timeoutMs = options.timeoutMs ?? 20_000;
  return new Promise((resolve) => {
    const out: Buffer[] = [];
    const errors: Buffer[] = [];
    let isLate = false;
    const child = spawn(command, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const timer = setTimeout(() => {
      isLate = true;
      child.kill('SIGKILL');
      // A grandchild may hold the pipes open: do not wait for it.
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.stdin.on('error', () => {}); // A command that does not read its input is no fault.
    child.stdin.end(options.input ?? '');
    child.on('error', (cause) => {
      clearTimeout(timer);
      resolve({ code: 127, stdout: '', stderr: cause.message });
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      const note = isLate ? `\nkilled after ${timeoutMs} ms` : '';
      resolve({
        code: isLate ? 124 : (code ?? 128),
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(errors).toString() + note,
      });
    });
  });
}

/** As `run`, but anything but code 0 throws with the command and its words. */
export async function runOk(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const done = await run(argv, options);
  if (done.code !== 0) {
    const words = `${done.stderr}${done.stdout}`.trim();
    throw new Error(`${argv.join(' ')}: code ${done.code}: ${words}`);
  }
  return done.stdout;
}

/** A process that runs beside the test; its output goes to a file. */
export interface Daemon {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves when it has ended: the exit code, or null where a signal ended it. */
  readonly ended: Promise<number | null>;
  isRunning(): boolean;
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL after `timeoutMs` (default 5 s). */
  stop(timeoutMs?: number): Promise<number | null>;
  /** SIGKILL to it and every process below it, then waits for the end. */
  kill(): Promise<void>;
}

export type DaemonOptions = {
  readonly name: string;
  readonly logFile: string;
  readonly cwd?: string;
};

/** Starts a process beside the test. Its standard output and error are appended to `logFile`. */
export function startDaemon(argv: readonly string[], options: DaemonOptions): Daemon {
  const [command = '', ...rest] = argv;
  const log = openSync(options.logFile, 'a');
  const child = spawn(command, rest, {
    stdio: ['ignore', log, log],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  closeSync(log);
  return createDaemon(child, options);
}

function createDaemon(child: ChildProcess, options: DaemonOptions): Daemon {
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${options.name}: cannot be started`);
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', (code) => resolve(code));
    child.on('error', () => resolve(127));
  });
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const kill = async (): Promise<void> => {
    if (isRunning()) killTree(pid, 'SIGKILL');
    await ended;
  };
  return {
    name: options.name,
    pid,
    logFile: options.logFile,
    ended,
    isRunning,
    log: () => readFileSync(options.logFile, 'utf8'),
    signal: (signal) => void child.kill(signal),
    kill,
    async stop(timeoutMs = 5000) {
      if (isRunning()) child.kill('SIGTERM');
      const code = await within(ended, timeoutMs);
      if (code === undefined) await kill();
      return await ended;
    },
  };
}

/** Pids of a process and of everything below it, the process first. */
export function descendantsOf(pid: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = parentOf(Number(entry));
    if (parent !== null) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const found = [pid];
  for (const each of found) found.push(...(children.get(each) ?? []));
  return found;
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null; // It ended meanwhile.
  }
}

/** Sends a signal to a process and everything below it. Processes that are gone are no error. */
export function killTree(pid: number, signal: NodeJS.Signals): void {
  signalAll(descendantsOf(pid), signal);
}

/** Sends a signal to each of the pids. Processes that are gone are no error. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (cause) {
      if (!(cause instanceof Error) || !cause.message.includes('ESRCH')) throw cause;
    }
  }
}

/** Milliseconds on the monotonic clock, shared by all processes of this machine. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/** What a process does, as one letter of proc(5): S sleeps, T is stopped. */
export function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the name, may hold blanks and brackets.
  return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? '';
}

/** How long ago it was started, to 10 ms: field 22 of proc_pid_stat(5), in ticks since the boot. */
export function ageMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the name, may hold blanks and brackets.
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  return (Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) - ticks / 100) * 1000;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** The value, or undefined where it takes longer than `timeoutMs`. */
export async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What takes a second where nothing else is at work may take so long in a guest of a machine that is busy: Node alone
 * took 17 s to listen there, beside two processes that ran without a pause. For waits that judge nothing by time.
 */
export const PATIENCE_MS = 60_000;

export type WaitOptions = { readonly timeoutMs: number; readonly intervalMs?: number };

/** Thrown by a `look` of `waitFor` where waiting on makes no sense. */
export class GiveUp extends Error {}

/**
 * Asks `look` until it gives something other than null, false or undefined. Throws at the limit
 * with `what` and the last error. Gives the value.
 */
export async function waitFor<T>(
  what: string,
  look: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  options: WaitOptions,
): Promise<T> {
  const start = monotonicMs();
  let last = '';
  for (;;) {
    try {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
      last = '';
    } catch (cause) {
      if (cause instanceof GiveUp) throw new Error(`${what}: ${cause.message}`, { cause });
      last = cause instanceof Error ? `: ${cause.message}` : '';
    }
    if (monotonicMs() - start > options.timeoutMs)
      throw new Error(`not within ${options.timeoutMs} ms: ${what}${last}`);
    await sleep(options.intervalMs ?? 50);
  }
}
